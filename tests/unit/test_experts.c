/* Experts where they are units of their own: in the file that keeps each by itself, in what a block hands out, in the
 * error of a stack and in the bytes that are written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include "base/rng.h"
#include "format/gguf_write.h"
#include "format_files.h"
#include "expert_model.h"
#include "quant/encoder.h"
#include "quant/job.h"
#include "quant/tries.h"
#include "runtime/block.h"
#include "runtime/session.h"

/* A path in the scratch directory that stays valid. */
static const char *at(const char *name) {
    static char paths[16][64];
    size_t i = 0;
    const char *path = scratch(name);
    while (paths[i][0] && strcmp(paths[i], path)) i++;
    assert_true(i + 1 < ARRAY_LEN(paths));
    snprintf(paths[i], sizeof paths[i], "%s", path);
    return paths[i];
}

/* Skips the test, aloud, where the folder is not there. */
static const char *folder(const char *name) {
    static char path[512];
    char rest[64];
    snprintf(rest, sizeof rest, "models/arch/%s", name);
    const char *found = shared(rest);
    if (!found) skip();
    snprintf(path, sizeof path, "%s", found);
    return path;
}

static float *random_floats(uint64_t seed, size_t n) {
    struct rng r;
    float *x = mem_alloc(n, sizeof *x);
    rng_seed(&r, seed);
    for (size_t i = 0; i < n; i++) x[i] = 2 * rng_f32(&r) - 1;
    return x;
}

/* --- In the file --- */

static struct engine *open_on(const char *path, const char *backend) {
    struct engine *en;
    struct err e = { 0 };
    if (engine_open(path, &(struct engine_options){ .backend = backend, .exact = true, .threads = 2 }, &en, &e))
        fail_msg("%s: %s", e.where, e.msg);
    return en;
}

/* What is not mapped is vectors alone. */
static void assert_experts_are_mapped(const struct engine *en) {
    uint64_t vectors = 0, matrices = 0;
    for (uint32_t i = 0; i < en->model->n_weights; i++) {
        const struct weight *w = &en->model->weights[i];
        if (slot_info(w->slot)->matrix) matrices += model_weight_bytes(w);
        else vectors += (w->ne[0] * model_weight_rows(w) * sizeof(float) + 63) / 64 * 64;
    }
    assert_int_equal(en->mapped_bytes, matrices);
    assert_int_equal(en->own_bytes, vectors);
}

enum { N_TOK = 24 };

static float *logits_of(struct engine *en) {
    float *out = mem_alloc(en->model->hp.n_vocab, sizeof *out);
    int32_t ids[N_TOK];
    struct session *s;
    for (int i = 0; i < N_TOK; i++) ids[i] = 5 + i * 37 % 300;
    assert_int_equal(session_open(en, &(struct pass_desc){ .n_ctx = N_TOK }, &s, NULL), ERR_NONE);
    assert_int_equal(session_eval(s, &(struct batch){ .n = N_TOK, .ids = ids }, out, NULL), ERR_NONE);
    session_close(s);
    return out;
}

static void assert_mapped_with_same_logits(const char *path, const float *want) {
    static const char *const backends[] = { "cpu", "ref" };
    for (size_t i = 0; i < ARRAY_LEN(backends); i++) {
        struct engine *en = open_on(path, backends[i]);
        assert_experts_are_mapped(en);
        float *got = logits_of(en);
        for (uint32_t j = 0; j < en->model->hp.n_vocab; j++) assert_true(fabsf(got[j] - want[j]) < 1e-4f);
        mem_free(got);
        engine_close(en);
    }
}

static void to_gguf(const char *dir, const char *out) {
    struct convert_options o = { .in = dir, .out = out, .type = QTYPE_NONE, .force = true, .threads = 2 };
    struct convert_result r;
    struct err e = { 0 };
    if (convert_run(&o, &r, &e)) fail_msg("%s: %s", e.where, e.msg);
    mem_free(r.file);
}

static bool is_stack(const struct tfile_tensor *t) { return t->n_dims == 3; }

/* "blk.0.ffn_up_exps.weight" -> "blk.0.ffn_up.7.weight", as files had it before 2024-04. */
static const char *old_name(const struct tfile_tensor *t, unsigned expert, char out[64]) {
    int stem = (int)(strstr(t->name, "_exps") - t->name);
    snprintf(out, 64, "%.*s.%u.weight", stem, t->name, expert);
    return out;
}

static void take_apart(const char *in, const char *out) {
    struct span file = read_bytes(in);
    struct gguf *g;
    struct gguf_writer *w;
    struct tstream *s;
    char name[64];
    assert_int_equal(gguf_open(file, &g, NULL), ERR_NONE);
    assert_int_equal(gguf_writer_new(&w, NULL), ERR_NONE);
    for (size_t i = 0; i < g->n_kv; i++) gguf_writer_copy(w, &g->kv[i]);
    for (size_t i = 0; i < g->n_tensors; i++) {
        const struct tfile_tensor *t = &g->tensors[i];
        for (unsigned x = 0; is_stack(t) && x < t->ne[2]; x++)
            assert_int_equal(gguf_writer_tensor(w, old_name(t, x, name), t->type, 2, t->ne, NULL), ERR_NONE);
        if (!is_stack(t)) assert_int_equal(gguf_writer_tensor(w, t->name, t->type, t->n_dims, t->ne, NULL), ERR_NONE);
    }
    assert_int_equal(gguf_writer_open(w, out, NULL, &s, NULL), ERR_NONE);
    for (size_t i = 0; i < g->n_tensors; i++) {
        const struct tfile_tensor *t = &g->tensors[i];
        uint64_t n = is_stack(t) ? t->ne[2] : 1; /* each tensor ends where it is declared to */
        for (uint64_t x = 0; x < n; x++)
            assert_int_equal(tstream_put(s, t->data + x * (t->bytes / n), t->bytes / n, NULL), ERR_NONE);
    }
    assert_int_equal(tstream_commit(s, NULL), ERR_NONE);
    gguf_writer_free(w);
    gguf_close(g);
    mem_free((void *)file.p);
}

static void experts_are_not_copied(void **state) {
    (void)state;
    const char *dir = folder("mixtral");
    to_gguf(dir, at("stacked.gguf"));
    take_apart(at("stacked.gguf"), at("apart.gguf"));
    struct engine *en = open_on(at("stacked.gguf"), "ref");
    float *want = logits_of(en);
    engine_close(en);
    assert_mapped_with_same_logits(at("stacked.gguf"), want);
    assert_mapped_with_same_logits(dir, want);
    assert_mapped_with_same_logits(at("apart.gguf"), want);
    mem_free(want);
}

/* --- What a block hands out --- */

/* Inputs of a block's stacks, copied while they are given. */
struct seen { float *x[SLOT_COUNT]; int32_t *ids[SLOT_COUNT]; struct block_input in[SLOT_COUNT]; };

static void see(void *user, const struct block_input *in) {
    struct seen *s = user;
    size_t n = in->n_in * in->n_tok * (in->shared ? 1 : in->n_slot), n_ids = in->n_slot * in->n_tok;
    s->in[in->slot] = *in;
    s->x[in->slot] = mem_alloc(n, sizeof(float));
    memcpy(s->x[in->slot], in->x, n * sizeof(float));
    if (!in->ids) return;
    s->ids[in->slot] = mem_alloc(n_ids, sizeof(int32_t));
    memcpy(s->ids[in->slot], in->ids, n_ids * sizeof(int32_t));
}

static double product(const struct weight *w, uint64_t row, const float *x) {
    float v[64];
    double sum = 0;
    model_read_file_rows(w, row, 1, v);
    for (uint64_t j = 0; j < w->ne[0]; j++) sum += (double)v[j] * (double)x[j];
    return sum;
}

/* What reaches an expert's last matrix is silu(gate) * up of the same expert and token. */
static void blocks_tell_which_expert_met_what(void **state) {
    (void)state;
    struct engine *en = open_on(folder("mixtral"), "cpu");
    const struct weight *gate = model_weight(en->model, SLOT_EXPERT_GATE, 1), *up = model_weight(en->model,
                                                                                               SLOT_EXPERT_UP, 1);
    struct block_runner *r;
    struct seen s = { 0 };
    float *x = random_floats(3, (size_t)en->model->hp.n_embd * N_TOK);
    assert_int_equal(block_open(en, N_TOK, &r, NULL), ERR_NONE);
    assert_int_equal(block_run(r, 1, x, see, &s, NULL), ERR_NONE);
    const struct block_input *in = &s.in[SLOT_EXPERT_GATE], *down = &s.in[SLOT_EXPERT_DOWN];
    assert_int_equal(in->n_slot, 2); /* of 8 experts */
    assert_true(in->shared && !down->shared);
    assert_int_equal(down->n_in, gate->ne[1]);
    for (uint64_t i = 0; i < N_TOK * in->n_slot; i++) {
        uint64_t expert = (uint64_t)s.ids[SLOT_EXPERT_GATE][i];
        assert_true(expert < 8 && s.ids[SLOT_EXPERT_DOWN][i] == s.ids[SLOT_EXPERT_GATE][i]);
        const float *from = s.x[SLOT_EXPERT_GATE] + i / in->n_slot * in->n_in;
        for (uint64_t o = 0; o < gate->ne[1]; o++) {
            double g = product(gate, expert * gate->ne[1] + o, from), u = product(up, expert * gate->ne[1] + o, from);
            double got = (double)s.x[SLOT_EXPERT_DOWN][i * down->n_in + o];
            assert_true(fabs(got - g / (1 + exp(-g)) * u) < 1e-4);
        }
    }
    for (size_t i = 0; i < SLOT_COUNT; i++) {
        mem_free(s.x[i]);
        mem_free(s.ids[i]);
    }
    mem_free(x);
    block_close(r);
    engine_close(en);
}

/* --- The error of a stack --- */

enum { N_IN = 64, N_OUT = 70, N_MAT = 3, REACHED = 2 };
static const uint64_t n_inputs[N_MAT] = { 11, 700, 0 }; /* of the 700, which are alike, 512 are kept */
enum { N_INPUTS = 711 };

/* ||(W - W') X||^2 of one matrix and ||W X||^2, in plain loops. */
static void add_plainly(const float *w, const float *x, uint64_t n, const float *importance, double sums[2]) {
    struct encoder_input in = { .importance = importance };
    uint8_t blocks[N_IN];
    float back[N_IN];
    for (size_t r = 0; r < N_OUT; r++) {
        assert_int_equal(encode_rows(QTYPE_Q4_0, w + r * N_IN, 1, N_IN, &in, blocks, NULL), ERR_NONE);
        qtype_info(QTYPE_Q4_0)->decode(blocks, back, N_IN);
        for (uint64_t t = 0; t < n; t++) {
            double y = 0, d = 0;
            for (size_t j = 0; j < N_IN; j++) {
                y += (double)w[r * N_IN + j] * (double)x[t * N_IN + j];
                d += ((double)w[r * N_IN + j] - (double)back[j]) * (double)x[t * N_IN + j];
            }
            sums[0] += d * d;
            sums[1] += y * y;
        }
    }
}

static void a_stacks_error_is_that_of_all_products(void **state) {
    (void)state;
    float *x = random_floats(1, N_INPUTS * N_IN), *w = random_floats(2, N_MAT * N_OUT * N_IN), a[N_MAT * N_IN];
    const float *of[N_MAT] = { x, x + 11 * N_IN, NULL };
    struct tfile_tensor t = { .name = "s", .type = QTYPE_F32, .type_name = "F32", .n_dims = 3,
                              .ne = { N_IN, N_OUT, N_MAT, 1 }, .data = (uint8_t *)w, .bytes = sizeof(float) * N_IN *
                              N_OUT * N_MAT };
    struct weight stack = { .name = "s", .slot = SLOT_EXPERT_UP, .src = &t, .n_parts = 1, .type = QTYPE_F32,
                            .ne = { N_IN, N_OUT, N_MAT, 1 } };
    stack.map = model_plain_map(&stack);
    struct stats s[N_MAT];
    for (uint64_t k = 1; k < n_inputs[1]; k++) memcpy(x + (11 + k) * N_IN, x + 11 * N_IN, N_IN * sizeof *x);
    for (size_t i = 0; i < N_MAT; i++) {
        assert_int_equal(stats_init_stacked(&s[i], N_IN, N_MAT, NULL), ERR_NONE);
        for (uint64_t k = 0; k < n_inputs[i]; k++) { /* of different size, so that the experts' means differ */
            for (size_t j = 0; j < N_IN; j++) ((float *)of[i])[k * N_IN + j] *= (float)(1 + i + j % 3);
            stats_add(&s[i], of[i] + k * N_IN, 1);
        }
    }
    assert_true(stats_importance(s, N_MAT, a));
    double sums[2] = { 0 };
    for (size_t i = 0; i < REACHED; i++) add_plainly(w + i * N_OUT * N_IN, of[i], n_inputs[i], a + i * N_IN, sums);
    for (size_t j = 0; j < N_IN; j++) { /* an expert that no token reached has the mean over all tokens */
        double sum = 0;
        for (size_t k = 0; k < N_INPUTS; k++) sum += (double)x[k * N_IN + j] * (double)x[k * N_IN + j];
        assert_true(fabs((double)a[2 * N_IN + j] / (sum / N_INPUTS) - 1) < 1e-5);
    }
    enum qtype types[] = { QTYPE_Q4_0, QTYPE_F32 };
    double rfn[2], again[2], want = sqrt(sums[0] / sums[1]);
    struct pool *one, *two;
    assert_int_equal(pool_open(1, &one, NULL), ERR_NONE);
    assert_int_equal(pool_open(2, &two, NULL), ERR_NONE);
    assert_int_equal(tries_run(one, &stack, s, a, types, 2, rfn, NULL), ERR_NONE);
    assert_int_equal(tries_run(two, &stack, s, a, types, 2, again, NULL), ERR_NONE);
    assert_memory_equal(rfn, again, sizeof rfn);
    if (fabs(rfn[0] / want - 1) > 1e-4) fail_msg("%.9g, plainly %.9g", rfn[0], want);
    assert_true(rfn[1] == 0);
    pool_close(one);
    pool_close(two);
    for (size_t i = 0; i < N_MAT; i++) stats_fini(&s[i]);
    mem_free(x);
    mem_free(w);
}

/* Of 20,000 inputs, numbered, 512 are kept at most of a lone matrix; their mean number must be near the middle: the
 * standard error is 20000 / sqrt(12 * 512) = 255. */
static void samples_are_fair(void **state) {
    (void)state;
    enum { MANY = 20000 };
    struct stats s;
    double sum = 0;
    assert_int_equal(stats_init_stacked(&s, 1, 1, NULL), ERR_NONE);
    for (int i = 0; i < MANY; i++) stats_add(&s, &(float){ (float)i }, 1);
    assert_int_equal(s.n_taken, STATS_SAMPLE);
    for (size_t k = 0; k < s.n_taken; k++) sum += (double)s.sample[k] / (double)s.n_taken;
    assert_true(fabs(sum - MANY / 2.0) < 1020);
    stats_fini(&s);
}

/* --- The whole job --- */

static void make_ids(const char *path) {
    struct buf text = { 0 };
    struct rng r;
    rng_seed(&r, 11);
    for (int i = 0; i < 512; i++) buf_addf(&text, "%c%u", i ? ',' : '[', (unsigned)rng_below(&r, 320));
    buf_addc(&text, ']');
    write_bytes(path, text.p, text.n);
    buf_fini(&text);
}

static double quantized_kld(const char *dir, const char *out, double bpw, unsigned threads) {
    struct job_desc d = { .model = dir, .out = out, .target = JOB_BPW, .bits_per_weight = bpw, .threads = threads,
                          .calib = { at("ids.json"), 8, 64 }, .measurement = at("m.json"), .force = true,
                          .check = true };
    struct job_result r;
    struct err e = { 0 };
    if (job_run(&d, &r, &e)) fail_msg("%s: %s", e.where, e.msg);
    double kld = r.measured_kld;
    assert_true(isfinite(kld) && kld >= 0 && r.file_bytes * 8.0 <= bpw * (double)r.parameters);
    job_result_fini(&r);
    return kld;
}

static void forget_measurement(void) {
    remove(at("m.json"));
    remove(at("m.imatrix.gguf"));
}

/* From few bits to many the divergence falls; one thread and two write the same bytes. */
static void models_with_experts_are_quantized(void **state) {
    (void)state;
    static const struct { const char *name; double low, high; } models[] = {
        { "mixtral", 8.5, 12 }, { "deepseek-v3", 8.5, 12 }, { "gpt-oss-mxfp4", 6, 8 },
    };
    make_ids(at("ids.json"));
    for (size_t i = 0; i < ARRAY_LEN(models); i++) {
        const char *dir = folder(models[i].name);
        forget_measurement();
        double low = quantized_kld(dir, at("one.gguf"), models[i].low, 1);
        double high = quantized_kld(dir, at("high.gguf"), models[i].high, 2);
        forget_measurement();
        quantized_kld(dir, at("two.gguf"), models[i].low, 2);
        assert_true(same_bytes(at("one.gguf"), at("two.gguf")));
        if (!(high < low)) fail_msg("%s: %g nats at few bits, %g at many", models[i].name, low, high);
    }
}

/* Each expert is encoded with its own importance, as the file beside the measurement has it. */
static void experts_are_written_by_their_own_importance(void **state) {
    (void)state;
    const char *dir = folder("olmoe"), *name = "blk.0.ffn_up_exps.weight";
    struct job_desc d = { .model = dir, .out = at("r.gguf"), .target = JOB_RECIPE, .recipe = "Q4_0", .pure = true,
                          .threads = 2, .calib = { at("ids.json"), 8, 64 }, .measurement = at("m.json") };
    struct job_result r;
    struct model *m;
    struct measurement *measured;
    make_ids(at("ids.json"));
    forget_measurement();
    assert_int_equal(job_run(&d, &r, NULL), ERR_NONE);
    job_result_fini(&r);
    assert_int_equal(model_open(dir, false, &m, NULL), ERR_NONE);
    assert_int_equal(measurement_read(at("m.json"), m, &measured, NULL), ERR_NONE);
    const struct measured_tensor *t = measurement_find(measured, name);
    const struct weight *w = model_weight(m, SLOT_EXPERT_UP, 0);
    assert_int_equal(t->ne[2], m->hp.n_expert);
    struct span file = read_bytes(at("r.gguf"));
    struct gguf *g;
    assert_int_equal(gguf_open(file, &g, NULL), ERR_NONE);
    const struct tfile_tensor *got = NULL;
    for (size_t i = 0; i < g->n_tensors; i++)
        if (!strcmp(g->tensors[i].name, name)) got = &g->tensors[i];
    assert_int_equal(got->type, QTYPE_Q4_0);
    float row[64];
    uint8_t blocks[36]; /* two blocks of 18 bytes */
    assert_int_equal(w->ne[0], 64);
    for (uint64_t i = 0; i < model_weight_rows(w); i++) {
        struct encoder_input in = { .importance = t->importance + i / w->ne[1] * 64 };
        model_read_rows(w, i, 1, row);
        assert_int_equal(encode_rows(QTYPE_Q4_0, row, 1, 64, &in, blocks, NULL), ERR_NONE);
        assert_memory_equal(got->data + i * sizeof blocks, blocks, sizeof blocks);
    }
    gguf_close(g);
    mem_free((void *)file.p);
    measurement_free(measured);
    model_close(m);
}

/* --- Types with blocks of 256 --- */

static bool is_wide(enum qtype t) { return qtype_info(t)->block_weights == 256; }
static bool is_iq(enum qtype t) { return !strncmp(qtype_name(t), "IQ", 2); }

/* The kernels against the scalar oracle: exactly, and with activations in 8 bits, whose error averages out. A router
 * that is nearly undecided may then choose another expert, so the bound is no tight one. */
static void assert_backends_agree(const char *path) {
    struct engine *ref = open_on(path, "ref"), *cpu = open_on(path, "cpu"), *fast;
    uint32_t n = ref->model->hp.n_vocab;
    double dot = 0, all = 0, apart = 0;
    assert_int_equal(engine_open(path, &(struct engine_options){ .threads = 2 }, &fast, NULL), ERR_NONE);
    float *want = logits_of(ref), *got = logits_of(cpu), *rough = logits_of(fast);
    for (uint32_t i = 0; i < n; i++) {
        if (fabsf(got[i] - want[i]) >= 1e-4f) fail_msg("%s: logit %u: %g, %g", path, i, got[i], want[i]);
        dot += (double)want[i] * want[i];
        apart += ((double)rough[i] - want[i]) * ((double)rough[i] - want[i]);
        all += isfinite(want[i]);
    }
    assert_true(all == n && dot > 0 && apart < 0.0025 * dot); /* 5 % */
    mem_free(want);
    mem_free(got);
    mem_free(rough);
    engine_close(ref);
    engine_close(cpu);
    engine_close(fast);
}

/* Types of the stacks of a job's choices: *k and *iq count those that are 256 wide. */
static void count_stacks(const struct job_result *r, enum qtype only, unsigned *k, unsigned *iq) {
    unsigned n = 0;
    for (size_t i = 0; i < r->n_choices; i++) {
        enum qtype t = r->choices[i].type;
        if (!strstr(r->choices[i].name, "_exps")) continue;
        n++;
        assert_true(only == QTYPE_NONE || t == only);
        *iq += is_wide(t) && is_iq(t);
        *k += is_wide(t) && !is_iq(t);
    }
    assert_int_equal(n, 3);
}

static void quantize_wide(double bpw, enum qtype kept, unsigned *k, unsigned *iq) {
    char keep[64];
    const char *keeps[] = { keep };
    struct job_desc d = { .model = at("wide.gguf"), .out = at("w.gguf"), .target = JOB_BPW, .bits_per_weight = bpw,
                          .threads = 2, .calib = { at("ids.json"), 8, 64 }, .measurement = at("w.json"), .force = true,
                          .keep = keeps, .n_keep = kept != QTYPE_NONE };
    struct job_result r;
    struct err e = { 0 };
    snprintf(keep, sizeof keep, "*_exps.weight=%s", qtype_name(kept));
    if (job_run(&d, &r, &e)) fail_msg("%s: %s", e.where, e.msg);
    count_stacks(&r, kept, k, iq);
    job_result_fini(&r);
    assert_backends_agree(d.out);
}

/* The solver gives stacks K and IQ types where the target asks for them, and every other type where it is told to. */
static void wide_types_serve_stacks(void **state) {
    (void)state;
    static const double targets[] = { 2.2, 3.1, 4.6, 5.6 };
    unsigned k = 0, iq = 0;
    size_t n, n_wide = 0;
    make_ids(at("ids.json"));
    expert_model(at("wide.gguf"), 7);
    for (size_t i = 0; i < ARRAY_LEN(targets); i++) quantize_wide(targets[i], QTYPE_NONE, &k, &iq);
    if (!k || !iq) fail_msg("of 12 stacks %u got K types and %u IQ types", k, iq);
    const enum qtype *all = qtype_all(&n);
    for (size_t i = 0; i < n; i++) {
        if (!is_wide(all[i]) || !qtype_can_write(all[i])) continue;
        quantize_wide(9, all[i], &k, &iq);
        n_wide++;
    }
    assert_int_equal(n_wide, 5 + 8 + 2); /* Q2_K to Q6_K, the IQ types but IQ4_NL, TQ1_0 and TQ2_0 */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(experts_are_not_copied),
        cmocka_unit_test(blocks_tell_which_expert_met_what),
        cmocka_unit_test(a_stacks_error_is_that_of_all_products),
        cmocka_unit_test(samples_are_fair),
        cmocka_unit_test(models_with_experts_are_quantized),
        cmocka_unit_test(experts_are_written_by_their_own_importance),
        cmocka_unit_test(wide_types_serve_stacks),
    };
    return cmocka_run_group_tests_name("experts", tests, scratch_make, scratch_remove);
}
