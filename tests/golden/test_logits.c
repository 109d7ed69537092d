/* Logits and greedy tokens of whole models against the original framework's (reference.safetensors beside each model:
 * transformers, float, eager attention, no cache): from the directory and from the GGUF that we make of it, on both
 * back ends, in float; and logits from a GGUF quantized to 9 bits a weight, calibrated on the reference's ids. Prints
 * the errors.
 *
 * Tolerance (from the reference data's own description): correct float arithmetic differs by at most
 * max(5e-4, 20 * noise) in any logit and 1e-4 of the standard deviation in the mean; noise is below 2.5e-5 for all of
 * these models, so 5e-4 holds. Greedy tokens were chosen with a lead of 1e-2 and must be equal.
 *
 * Quantized, nearly every matrix is in Q8_0, whose codes err by 1/127/sqrt(12) of a block's largest weight, some 0.5 %
 * of a matrix; the errors of some ten matrices on a token's way add up like noise, more where norms magnify it: 6 % of
 * the logits' standard deviation at most. Where experts are chosen, a token near the edge between two may get the other
 * one, and its row of logits becomes another: 30 %. A matrix in a wrong order is off by more than 100 %. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "../assert_ok.h"
#include "../remove_all.h"
#include "base/os.h"
#include "format/safetensors.h"
#include "quant/convert.h"
#include "quant/job.h"
#include "runtime/session.h"

enum { N_CALIB = 16 };
static const double quantized_rms = 0.06, quantized_experts_rms = 0.3;

struct reference { struct os_map map; struct safetensors *file; };

static const struct tfile_tensor *find(const struct reference *r, const char *name) {
    for (size_t i = 0; i < r->file->n_tensors; i++)
        if (!strcmp(r->file->tensors[i].name, name)) return &r->file->tensors[i];
    fail_msg("the reference has no %s", name);
    return NULL;
}

static struct reference open_reference(const char *dir) {
    struct reference r;
    struct err e;
    char *path = os_path_join(dir, "reference.safetensors");
    assert_ok(os_map_open(path, &r.map, &e), &e);
    assert_ok(safetensors_open((struct span){ r.map.p, r.map.n }, &r.file, &e), &e);
    mem_free(path);
    return r;
}

static void close_reference(struct reference *r) {
    safetensors_close(r->file);
    os_map_close(&r->map);
}

/* The last rows of a sequence's logits against expected ones. */
struct bound { double max, rms; };

static void compare(const float *got, const float *want, size_t rows, size_t n_vocab, struct bound bound,
                    const char *what) {
    double worst = 0, square = 0, sum = 0, sum2 = 0;
    size_t n = rows * n_vocab;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)got[i] - (double)want[i]);
        if (!(d <= worst)) worst = d;
        square += d * d;
        sum += want[i];
        sum2 += (double)want[i] * want[i];
    }
    double std = sqrt(sum2 / n - sum / n * (sum / n)), rms = sqrt(square / n) / std;
    printf("%-40s max %.2e rms/std %.2e\n", what, worst, rms);
    if (!(worst <= bound.max) || !(rms <= bound.rms)) fail_msg("%s: max %.3e, rms/std %.3e", what, worst, rms);
}

static void check_logits(struct engine *en, const struct reference *r, struct bound bound, const char *what) {
    const struct tfile_tensor *ids = find(r, "input_ids"), *logits = find(r, "logits");
    size_t n_tok = ids->ne[0], rows = logits->ne[1], n_vocab = logits->ne[0];
    assert_int_equal(n_vocab, en->model->hp.n_vocab);
    float *got = mem_alloc(rows * n_vocab, sizeof *got), *want = mem_alloc(rows * n_vocab, sizeof *want);
    bool *wanted = NEW_ARRAY(bool, n_tok);
    int32_t *seq = mem_alloc(n_tok, sizeof *seq);
    struct err e;
    for (size_t i = n_tok - rows; i < n_tok; i++) wanted[i] = true;
    for (size_t s = 0; s < ids->ne[1]; s++) {
        struct session *session;
        struct pass_desc d = { .n_ctx = (uint32_t)n_tok, .n_out = (uint32_t)rows };
        assert_ok(session_open(en, &d, &session, &e), &e);
        memcpy(seq, ids->data + s * n_tok * 4, n_tok * 4);
        memcpy(want, logits->data + s * rows * n_vocab * 4, rows * n_vocab * 4);
        struct batch b = { .n = n_tok, .ids = seq, .want = wanted };
        assert_ok(session_eval(session, &b, got, &e), &e);
        compare(got, want, rows, n_vocab, bound, what);
        session_close(session);
    }
    mem_free(got);
    mem_free(want);
    mem_free(wanted);
    mem_free(seq);
}

static int32_t likeliest(const float *x, size_t n) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return (int32_t)best;
}

/* prompt tokens, then one at a time through the cache. */
static void check_greedy(struct engine *en, const int32_t *prompt, size_t n_prompt, const int32_t *want, size_t n) {
    struct session *s;
    struct err e;
    struct pass_desc d = { .n_ctx = (uint32_t)(n_prompt + n) };
    assert_ok(session_open(en, &d, &s, &e), &e);
    size_t n_vocab = en->model->hp.n_vocab;
    float *logits = mem_alloc(n_vocab, sizeof *logits);
    assert_ok(session_eval(s, &(struct batch){ .n = n_prompt, .ids = prompt }, logits, &e), &e);
    for (size_t i = 0; i < n; i++) {
        int32_t id = likeliest(logits, n_vocab);
        if (id != want[i]) fail_msg("greedy token %zu is %d, not %d", i, id, want[i]);
        assert_ok(session_eval(s, &(struct batch){ .n = 1, .ids = &id }, logits, &e), &e);
    }
    mem_free(logits);
    session_close(s);
}

/* How a model is read and run. */
enum form { DIRECTORY, GGUF, QUANTIZED };
struct way { const char *backend; enum form form; };
static const struct way ways[] = {
    { "ref", DIRECTORY }, { "cpu", DIRECTORY }, { "ref", GGUF }, { "cpu", GGUF }, { "cpu", QUANTIZED },
};

static char made[] = "/tmp/snug-logits-XXXXXX"; /* folder of the files that the test makes */

/* The model as stored in another container: the same numbers in another order of rows, under other names and keys. */
static void make_gguf(const char *dir, char *path, size_t size) {
    struct err e;
    struct convert_result r;
    snprintf(path, size, "%s/model.gguf", made);
    struct convert_options o = { .in = dir, .out = path, .type = QTYPE_NONE, .force = true, .threads = 2 };
    assert_ok(convert_run(&o, &r, &e), &e);
    mem_free(r.file);
}

/* Measures, chooses and writes. Calibration: the ids of the reference's first sequence. */
static void quantize(const char *dir, const struct reference *r, double bits, char *path, size_t size) {
    const struct tfile_tensor *ids = find(r, "input_ids");
    struct err e;
    struct job_result result;
    struct buf text = { 0 };
    char *calib = os_path_join(made, "ids.json");
    for (size_t i = 0; i < N_CALIB; i++) {
        int32_t id;
        memcpy(&id, ids->data + i * sizeof id, sizeof id);
        buf_addf(&text, "%c%d", i ? ',' : '[', id);
    }
    buf_addz(&text, "]");
    assert_ok(os_write_file(calib, text.p, text.n, &e), &e);
    snprintf(path, size, "%s/quantized.gguf", made);
    struct job_desc d = { .model = dir, .out = path, .target = JOB_BPW, .bits_per_weight = bits, .no_resume = true,
                          .force = true, .threads = 2,
                          .calib = { .file = calib, .rows = 1, .length = N_CALIB } };
    assert_ok(job_run(&d, &result, &e), &e);
    job_result_fini(&result);
    buf_fini(&text);
    mem_free(calib);
}

/* Families in tests/data/arch of this repository, or of the reference data, and the tiny model. */
struct row {
    const char *name;
    bool no_gguf; /* GGUF has no key for what the family does */
    double bits;  /* that are enough for it; 0: 9 */
};

static void check_quantized(const char *dir, const struct row *row) {
    struct reference r = open_reference(dir);
    struct engine *en;
    struct err e;
    char path[600], what[200];
    quantize(dir, &r, row->bits > 0 ? row->bits : 9, path, sizeof path);
    assert_ok(engine_open(path, &(struct engine_options){ .threads = 2, .exact = true }, &en, &e), &e);
    snprintf(what, sizeof what, "%s quantized", row->name);
    double rms = en->model->hp.n_expert ? quantized_experts_rms : quantized_rms;
    check_logits(en, &r, (struct bound){ INFINITY, rms }, what);
    engine_close(en);
    close_reference(&r);
}

static void check_model(const char *dir, const struct way *way, bool tiny) {
    struct reference r = open_reference(dir);
    struct engine *en;
    struct err e;
    struct engine_options o = { .backend = way->backend, .threads = 2, .exact = true };
    char gguf[600], what[200];
    if (way->form == GGUF) make_gguf(dir, gguf, sizeof gguf);
    assert_ok(engine_open(way->form == GGUF ? gguf : dir, &o, &en, &e), &e);
    snprintf(what, sizeof what, "%s%s on %s", strrchr(dir, '/') + 1, way->form == GGUF ? " as GGUF" : "", way->backend);
    check_logits(en, &r, (struct bound){ 5e-4, 1e-4 }, what);
    const struct tfile_tensor *ids = find(&r, "input_ids"), *greedy = find(&r, "greedy");
    int32_t want[128], prompt[64];
    size_t n = greedy->ne[0], n_prompt = 8;
    assert_true(n <= 128);
    for (size_t s = 0; s < (tiny ? 1 : greedy->ne[1]); s++) {
        memcpy(want, greedy->data + s * n * 4, n * 4);
        memcpy(prompt, ids->data + s * ids->ne[0] * 4, n_prompt * 4);
        if (tiny) { /* "Once upon a time," and what follows */
            int32_t *text;
            assert_ok(tok_encode(en->tok, STR("Once upon a time,"), TOK_ADD_SPECIAL, &text, &n_prompt, &e), &e);
            memcpy(prompt, text, n_prompt * 4);
            mem_free(text);
            assert_memory_equal(prompt, want, n_prompt * 4);
            check_greedy(en, prompt, n_prompt, want + n_prompt, n - n_prompt);
        } else {
            check_greedy(en, prompt, n_prompt, want, n);
        }
    }
    engine_close(en);
    close_reference(&r);
}

static struct row rows[] = {
    { .name = "llama" }, { .name = "llama-mha" }, { .name = "llama-rope3" }, { .name = "llama-yarn" },
    { .name = "llama-linear" }, { .name = "llama-dynamic", .no_gguf = true }, { .name = "llama-bias" },
    { .name = "llama-sharded" }, { .name = "mistral-nemo", .bits = 15 }, { .name = "mistral" }, { .name = "mixtral" },
    { .name = "mixtral-sharded" }, { .name = "qwen2-moe" }, { .name = "qwen3-moe" }, { .name = "olmoe" },
    { .name = "granitemoe" }, { .name = "glm4-moe" }, { .name = "ernie4_5_moe" }, { .name = "hunyuan-moe" },
    { .name = "deepseek-v2" }, { .name = "deepseek-v2-lite" }, { .name = "deepseek-v3" }, { .name = "gpt-oss" },
    { .name = "gpt-oss-mxfp4" }, { .name = "glm4" }, { .name = "olmo2" }, { .name = "olmo3" }, { .name = "granite" },
    { .name = "cohere" }, { .name = "cohere-qknorm" }, { .name = "cohere2" }, { .name = "starcoder2" },
    { .name = "stablelm" }, { .name = "stablelm-12b" }, { .name = "ernie4_5" }, { .name = "exaone4" },
    { .name = "hunyuan-dense" }, { .name = "qwen2" }, { .name = "qwen2-window" }, { .name = "qwen3" },
    { .name = "seed-oss" }, { .name = "smollm3" }, { .name = "gemma" }, { .name = "gemma2" }, { .name = "gemma3" },
    { .name = "phi3" }, { .name = "phi3-longrope" }, { .name = "ministral3" }, { .name = "minimax-m2" },
    { .name = "tiny" },
};
struct try { struct row *row; const struct way *way; };

static void test_model(void **state) {
    const struct try *t = *state;
    const bool tiny = !strcmp(t->row->name, "tiny");
    const char *shared = getenv("SNUG_SHARED");
    char dir[600];
    snprintf(dir, sizeof dir, "%s/tests/data/arch/%s", getenv("SNUG_SOURCE"), t->row->name);
    if (!os_is_dir(dir))
        snprintf(dir, sizeof dir, "%s/models/%s%s", shared ? shared : "", tiny ? "" : "arch/", t->row->name);
    if (!os_is_dir(dir)) {
        printf("SKIPPED: the reference logits of %s are not at hand (SNUG_SHARED)\n", t->row->name);
        skip();
    }
    if (t->way->form == QUANTIZED) check_quantized(dir, t->row);
    else check_model(dir, t->way, tiny);
}

/* What GGUF cannot say is refused rather than dropped. */
static void test_no_gguf(void **state) {
    const struct row *row = *state;
    char dir[600], path[600];
    struct convert_result r;
    snprintf(dir, sizeof dir, "%s/tests/data/arch/%s", getenv("SNUG_SOURCE"), row->name);
    snprintf(path, sizeof path, "%s/refused.gguf", made);
    struct convert_options o = { .in = dir, .out = path, .type = QTYPE_NONE };
    assert_int_not_equal(convert_run(&o, &r, NULL), ERR_NONE);
    assert_false(os_exists(path));
}

static int make_folder(void **state) {
    (void)state;
    return mkdtemp(made) ? 0 : -1;
}
static int remove_folder(void **state) {
    (void)state;
    remove_all(made);
    return 0;
}

int main(void) {
    enum { N = ARRAY_LEN(rows) * ARRAY_LEN(ways) };
    static struct try tries[N];
    static char names[N][64];
    static const char *const endings[] = { [DIRECTORY] = "", [GGUF] = "_gguf", [QUANTIZED] = "_quantized" };
    struct CMUnitTest tests[N];
    size_t n = 0;
    for (size_t i = 0; i < N; i++) {
        struct row *row = &rows[i / ARRAY_LEN(ways)];
        const struct way *way = &ways[i % ARRAY_LEN(ways)];
        bool refused = way->form != DIRECTORY && row->no_gguf;
        if (refused && !strcmp(way->backend, "cpu")) continue; /* once is enough */
        if (way->form == QUANTIZED && !strcmp(row->name, "tiny")) continue; /* takes ten seconds */
        tries[n] = (struct try){ row, way };
        snprintf(names[n], sizeof names[n], "%s_%s%s", row->name, refused ? "no" : way->backend, endings[way->form]);
        tests[n] = refused ? (struct CMUnitTest){ names[n], test_no_gguf, NULL, NULL, row }
                           : (struct CMUnitTest){ names[n], test_model, NULL, NULL, &tries[n] };
        n++;
    }
    return _cmocka_run_group_tests("logits", tests, n, make_folder, remove_folder);
}
