/* The whole job on a small random model that the test makes: targets, identity of bytes, refusals, and kill -9 at
 * random moments. Killed jobs are this program itself, started with arguments. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>
#include "format_files.h"
#include "expert_model.h"
#include "quant/job.h"
#include "random_model.h"

enum { N_EMBD = 256, N_HEAD = 4, N_HEAD_KV = 2, N_VOCAB = 256, N_LAYER = 2, N_FF = 512, N_CTX = 64 };
#ifdef __SANITIZE_THREAD__ /* a race is there or not, however often the job is killed */
enum { KILLS_MEASURING = 1, KILLS_WRITING = 3, KILLS_EXPERTS = 1 };
#else
enum { KILLS_MEASURING = 10, KILLS_WRITING = 40, KILLS_EXPERTS = 4 };
#endif

/* A path in the scratch directory that stays valid. */
static const char *at(const char *name) {
    static char *paths[128];
    const char *path = scratch(name);
    size_t i = 0;
    while (paths[i] && strcmp(paths[i], path)) i++;
    assert_true(i + 1 < ARRAY_LEN(paths));
    if (!paths[i]) paths[i] = mem_strdup(path);
    return paths[i];
}

/* --- The model --- */

static const struct random_shape shape = { N_EMBD, N_HEAD, N_HEAD_KV, N_VOCAB, N_LAYER, N_FF, N_CTX };

static void make_poisoned(const char *path, uint64_t seed, const char *victim, float poison) {
    random_model(path, &shape, seed, victim, poison);
}
static void make_model(const char *path, uint64_t seed) { random_model(path, &shape, seed, "", 0); }

static void make_text(const char *path, uint64_t seed) {
    struct buf text = { 0 };
    struct rng r;
    rng_seed(&r, seed);
    for (int i = 0; i < 200; i++) buf_addf(&text, "%c%u", i ? ',' : '[', (unsigned)rng_below(&r, N_VOCAB));
    buf_addc(&text, ']');
    write_bytes(path, text.p, text.n);
    buf_fini(&text);
}

/* --- Jobs --- */

static struct job_desc bpw_job(const char *out, double bpw) {
    return (struct job_desc){ .model = at("model.gguf"), .out = out, .version = "test", .target = JOB_BPW,
                              .bits_per_weight = bpw, .calib = { at("text.json"), 4, 32 }, .threads = 2,
                              .measurement = at("m.json") };
}

static struct job_desc recipe_job(const char *out, const char *recipe) {
    struct job_desc d = bpw_job(out, 0);
    d.target = JOB_RECIPE;
    d.recipe = recipe;
    d.measurement = NULL;
    return d;
}

static struct job_result run_ok(const struct job_desc *d) {
    struct job_result r;
    struct err e = { 0 };
    if (job_run(d, &r, &e)) fail_msg("%s: %s", e.where, e.msg);
    return r;
}

static void run_quietly(const struct job_desc *d) {
    struct job_result r = run_ok(d);
    job_result_fini(&r);
}

/* The error's whole text has both words; nothing stands at the output or beside it. */
static void expect_refusal(const struct job_desc *d, enum err_code code, const char *a, const char *b) {
    struct job_result r;
    struct err e = { 0 };
    char all[800], part[800];
    assert_int_equal(job_run(d, &r, &e), code);
    err_format(&e, all, sizeof all);
    if (!strstr(all, a) || !strstr(all, b)) fail_msg("'%s' does not say '%s' and '%s'", all, a, b);
    if (!d->out) return;
    snprintf(part, sizeof part, "%s.part", d->out);
    assert_false(os_exists(part));
}

static uint64_t file_size(const char *path) {
    struct span s = read_bytes(path);
    mem_free((void *)s.p);
    return s.n;
}

/* Files whose name begins so. */
static size_t count_files(const char *prefix) {
    char **names;
    size_t n, found = 0;
    assert_int_equal(os_list_dir(scratch_dir, &names, &n, NULL), ERR_NONE);
    for (size_t i = 0; i < n; i++) {
        found += !strncmp(names[i], prefix, strlen(prefix));
        mem_free(names[i]);
    }
    mem_free(names);
    return found;
}

/* Whether the measurement that a job keeps beside its output is there: OUT.HASH.json. */
static bool has_work(const char *out) {
    char **names;
    size_t n, len = strlen(out);
    bool found = false;
    assert_int_equal(os_list_dir(scratch_dir, &names, &n, NULL), ERR_NONE);
    for (size_t i = 0; i < n; i++) {
        size_t k = strlen(names[i]);
        found |= !strncmp(names[i], out, len) && k > len + 5 && !strcmp(names[i] + k - 5, ".json");
        mem_free(names[i]);
    }
    mem_free(names);
    return found;
}

static void remove_files(const char *prefix) {
    char **names;
    size_t n;
    assert_int_equal(os_list_dir(scratch_dir, &names, &n, NULL), ERR_NONE);
    for (size_t i = 0; i < n; i++) {
        if (!strncmp(names[i], prefix, strlen(prefix))) assert_int_equal(unlink(at(names[i])), 0);
        mem_free(names[i]);
    }
    mem_free(names);
}

/* --- Targets and identity --- */

static void files_meet_their_target(void **state) {
    static const double bpws[] = { 3, 3.5, 4, 4.3, 5, 6, 8 };
    uint64_t parameters = 0;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bpws); i++) {
        struct job_desc d = bpw_job(at("t.gguf"), bpws[i]);
        d.force = true;
        struct job_result r = run_ok(&d);
        parameters = r.parameters;
        assert_int_equal(r.target_bytes, (uint64_t)(bpws[i] * (double)parameters / 8));
        assert_int_equal(r.file_bytes, file_size(d.out));
        if (r.file_bytes > r.target_bytes || (double)r.file_bytes < 0.995 * (double)r.target_bytes)
            fail_msg("%g bpw: %llu bytes of %llu", bpws[i], (unsigned long long)r.file_bytes,
                     (unsigned long long)r.target_bytes);
        assert_int_equal(r.n_choices, 1 + 7 * N_LAYER);
        assert_true(r.predicted_kld > 0);
        job_result_fini(&r);
    }
    /* By hand: embedding and final norm; per block q and output, k and v, three of the feed-forward, two norms. */
    assert_int_equal(parameters, 256 * 256 + 256 + 2 * (2 * 65536 + 2 * 32768 + 3 * 131072 + 2 * 256));
    struct job_desc d = bpw_job(at("t.gguf"), 0);
    d.target = JOB_BYTES;
    d.bytes = 700000;
    d.force = true;
    struct job_result r = run_ok(&d);
    assert_true(r.file_bytes <= 700000 && r.file_bytes >= 696500);
    job_result_fini(&r);
}

/* With all the room there is, every matrix has its largest type: the model as it was. */
static void ample_room_keeps_all(void **state) {
    (void)state;
    struct job_desc d = bpw_job(at("big.gguf"), 30);
    struct job_result r = run_ok(&d);
    for (size_t i = 0; i < r.n_choices; i++) assert_int_equal(r.choices[i].type, QTYPE_BF16);
    assert_true(r.predicted_kld == 0);
    job_result_fini(&r);
}

static void bytes_do_not_depend_on_threads(void **state) {
    (void)state;
    struct job_desc one = bpw_job(at("one.gguf"), 4), two = one, again = one;
    one.threads = 1;
    one.measurement = NULL; /* measured thrice, too */
    two.out = at("two.gguf");
    two.measurement = NULL;
    again.out = at("again.gguf");
    run_quietly(&one);
    run_quietly(&two);
    run_quietly(&again);
    assert_true(same_bytes(one.out, two.out));
    assert_true(same_bytes(one.out, again.out));
    assert_int_equal(count_files("one.gguf"), 1);
    struct job_desc r1 = recipe_job(at("r1.gguf"), "Q4_K_M"), r2 = r1;
    r1.threads = 1;
    r2.out = at("r2.gguf");
    run_quietly(&r1);
    run_quietly(&r2);
    assert_true(same_bytes(r1.out, r2.out));
}

static void measurement_serves_any_target(void **state) {
    (void)state;
    struct job_desc d = bpw_job(NULL, 0);
    d.target = JOB_MEASURE_ONLY;
    d.measurement = at("only.json");
    run_quietly(&d);
    struct job_desc a = bpw_job(at("only.gguf"), 3.5), b = bpw_job(at("m35.gguf"), 3.5);
    a.measurement = at("only.json");
    a.calib.file = at("gone.json"); /* not looked at: nothing is measured again */
    run_quietly(&a);
    run_quietly(&b);
    assert_true(same_bytes(a.out, b.out));
    make_model(at("other.gguf"), 2);
    a.model = at("other.gguf");
    a.force = true;
    expect_refusal(&a, ERR_FORMAT, "only.json", "other weights");
}

/* Cache and activations of 16 tokens do not fit 300 kB; more room for them leaves fewer bytes to the file. */
static void vram_leaves_room_for_the_cache(void **state) {
    (void)state;
    struct job_desc d = bpw_job(at("v.gguf"), 0);
    d.target = JOB_VRAM;
    d.dry_run = true;
    d.bytes = 3000;
    expect_refusal(&d, ERR_TOO_LARGE, "KV cache", "--ctx");
    d.bytes = 2000000;
    d.n_ctx = 32;
    struct job_result small = run_ok(&d);
    d.n_ctx = 64;
    struct job_result large = run_ok(&d);
    /* 32 cells more of keys and values in half precision, at least. */
    uint64_t cells = 32 * 2 * N_LAYER * N_HEAD_KV * (N_EMBD / N_HEAD) * 2;
    assert_true(small.target_bytes < 2000000 && small.target_bytes >= large.target_bytes + cells);
    job_result_fini(&small);
    job_result_fini(&large);
}

static void kept_types_are_honoured(void **state) {
    static const char *const keep[] = { "blk.*.attn_v.weight=Q6_K", "blk.1.*=Q5_0", "token_embd.weight=F16" };
    (void)state;
    struct job_desc d = bpw_job(NULL, 6), recipe = recipe_job(NULL, "Q4_K_M");
    struct job_desc *both[] = { &d, &recipe };
    for (size_t b = 0; b < 2; b++) {
        both[b]->keep = keep;
        both[b]->n_keep = 3;
        both[b]->dry_run = true;
        struct job_result r = run_ok(both[b]);
        for (size_t i = 0; i < r.n_choices; i++) {
            const char *name = r.choices[i].name;
            if (!strncmp(name, "blk.1.", 6)) assert_int_equal(r.choices[i].type, QTYPE_Q5_0);
            else if (strstr(name, "attn_v")) assert_int_equal(r.choices[i].type, QTYPE_Q6_K);
            else if (strstr(name, "token_embd")) assert_int_equal(r.choices[i].type, QTYPE_F16);
        }
        job_result_fini(&r);
    }
}

static void recipes_and_pure(void **state) {
    (void)state;
    struct job_desc d = recipe_job(NULL, "Q4_K_M");
    d.dry_run = true;
    struct job_result r = run_ok(&d);
    assert_int_equal(r.choices[0].type, QTYPE_Q6_K); /* an embedding that is the head */
    assert_int_equal(r.tries, 0);
    assert_true(r.predicted_kld > 0);
    double mixed = r.predicted_kld;
    job_result_fini(&r);
    d.measurement = at("m.json");
    r = run_ok(&d); /* the sum of the losses of each alone: near what they do together */
    assert_true(r.predicted_kld > 0.5 * mixed && r.predicted_kld < 2 * mixed);
    job_result_fini(&r);
    d.measurement = NULL;
    d.pure = true;
    d.recipe = "Q4_K";
    r = run_ok(&d);
    for (size_t i = 0; i < r.n_choices; i++) assert_int_equal(r.choices[i].type, QTYPE_Q4_K);
    assert_true(r.predicted_kld > mixed);
    job_result_fini(&r);
    d.recipe = "Q8_0"; /* it needs no calibration, so nothing predicts */
    r = run_ok(&d);
    assert_true(r.predicted_kld < 0);
    job_result_fini(&r);
}

/* --- Importances in files --- */

static void save_importances(const char *path, const struct calib_options *calib) {
    struct job_desc d = { .model = at("model.gguf"), .target = JOB_IMPORTANCES_ONLY, .save_imatrix = path, .threads = 2,
                          .calib = *calib };
    run_quietly(&d);
}

/* Whether all tensors of two files have the same bytes, whatever their metadata say. */
static bool same_tensors(const char *a, const char *b) {
    struct span x = read_bytes(a), y = read_bytes(b);
    struct gguf *g, *h;
    assert_int_equal(gguf_open(x, &g, NULL), ERR_NONE);
    assert_int_equal(gguf_open(y, &h, NULL), ERR_NONE);
    bool same = g->n_tensors == h->n_tensors;
    for (size_t i = 0; i < g->n_tensors && same; i++)
        same = g->tensors[i].bytes == h->tensors[i].bytes &&
               !memcmp(g->tensors[i].data, h->tensors[i].data, g->tensors[i].bytes);
    gguf_close(g);
    gguf_close(h);
    mem_free((void *)x.p);
    mem_free((void *)y.p);
    return same;
}

/* 4 x 32 tokens: sums of a power of two of them come back bit for bit, in both forms. */
static void saved_importances_stand_in_for_text(void **state) {
    (void)state;
    struct job_desc text = recipe_job(at("im-text.gguf"), "Q4_K_M"), gguf = text, older = text, flat = text;
    text.save_imatrix = at("im-a.gguf");
    run_quietly(&text);
    save_importances(at("im-b.gguf"), &text.calib);
    assert_true(same_bytes(at("im-a.gguf"), at("im-b.gguf")));
    gguf.out = at("im-gguf.gguf");
    gguf.imatrix = at("im-a.gguf");
    gguf.save_imatrix = at("im-a.dat");
    gguf.calib.file = at("gone.json"); /* not looked at */
    run_quietly(&gguf);
    assert_true(same_tensors(text.out, gguf.out));
    older.out = at("im-older.gguf");
    older.imatrix = at("im-a.dat");
    run_quietly(&older);
    assert_true(same_tensors(text.out, older.out));
    flat.out = at("im-flat.gguf");
    flat.calib.file = at("gone.json");
    expect_refusal(&flat, ERR_NOT_FOUND, "gone.json", "");
    /* An output that no importance changes is the same with and without. */
    struct job_desc plain = recipe_job(at("im-p.gguf"), "Q8_0"), saving = plain;
    run_quietly(&plain);
    saving.out = at("im-q.gguf");
    saving.save_imatrix = at("im-c.gguf");
    run_quietly(&saving);
    assert_true(same_bytes(plain.out, saving.out) && same_bytes(at("im-a.gguf"), at("im-c.gguf")));
}

/* With importances of another text, a measured mix has those: its file of importances is the one that was given. */
static void measuring_uses_given_importances(void **state) {
    (void)state;
    make_text(at("text3.json"), 5);
    save_importances(at("im-other.imatrix.gguf"), &(struct calib_options){ at("text3.json"), 4, 32 });
    struct job_desc d = bpw_job(at("im-i.gguf"), 4);
    d.imatrix = at("im-other.imatrix.gguf");
    expect_refusal(&d, ERR_USAGE, "m.json", "measured without these importances");
    d.measurement = at("im-i.json");
    run_quietly(&d);
    struct imatrix *given, *used;
    assert_int_equal(imatrix_open(d.imatrix, &given, NULL), ERR_NONE);
    assert_int_equal(imatrix_open(at("im-i.imatrix.gguf"), &used, NULL), ERR_NONE);
    assert_int_equal(given->n_entries, used->n_entries);
    for (size_t i = 0; i < given->n_entries; i++)
        assert_memory_equal(given->entries[i].sums, used->entries[i].sums, given->entries[i].n * sizeof(float));
    imatrix_close(given);
    imatrix_close(used);
    struct job_desc without = bpw_job(at("im-k.gguf"), 4), again = d;
    again.out = at("im-j.gguf");
    again.measurement = NULL; /* kept beside the output under a name of its own, then gone */
    run_quietly(&again);
    assert_int_equal(count_files("im-j.gguf"), 1);
    assert_true(same_bytes(d.out, again.out));
    run_quietly(&without);
    assert_false(same_tensors(d.out, without.out));
}

static void importances_of_other_models_are_refused(void **state) {
    (void)state;
    float sums[N_EMBD] = { 0 }, count = 1;
    struct imatrix_entry entry = { "blk.0.ffn_down.weight", N_EMBD, 1, sums, &count };
    struct imatrix m = { .entries = &entry, .n_entries = 1 };
    struct job_desc d = recipe_job(at("im-x.gguf"), "Q4_K_M");
    d.imatrix = at("im-x.dat");
    assert_int_equal(imatrix_write(&m, d.imatrix, NULL), ERR_NONE);
    expect_refusal(&d, ERR_FORMAT, "im-x.dat", "the weight has 512 inputs");
    entry.name = "blk.7.ffn_down.weight";
    assert_int_equal(imatrix_write(&m, d.imatrix, NULL), ERR_NONE);
    expect_refusal(&d, ERR_FORMAT, "im-x.dat", "none of the model's matrices");
    d.imatrix = at("text.json");
    expect_refusal(&d, ERR_FORMAT, "text.json", "no importance file");
    d = recipe_job(at("im-x.gguf"), "Q4_K_M");
    d.save_imatrix = at("im-x.dat");
    expect_refusal(&d, ERR_EXISTS, "im-x.dat", "--force");
    assert_false(os_exists(d.out));
}

/* --- Refusals --- */

static void too_small_says_the_least(void **state) {
    (void)state;
    struct job_desc d = bpw_job(at("s.gguf"), 1.5);
    d.measurement = at("never.json");
    expect_refusal(&d, ERR_TOO_LARGE, "1.500 bits per weight", "the least is");
    assert_false(os_exists(at("never.json"))); /* at once, not after measuring */
    struct job_result r;
    struct err e;
    unsigned long long least;
    d = bpw_job(at("s.gguf"), 1.5);
    assert_int_equal(job_run(&d, &r, &e), ERR_TOO_LARGE);
    assert_int_equal(sscanf(strstr(e.msg, "the least is"), "the least is %llu bytes", &least), 1);
    /* What it says is nearly enough: the account of a measured choice takes a few hundred bytes. */
    d.target = JOB_BYTES;
    d.bytes = least + 1000;
    run_quietly(&d);
    d.bytes = least - 32;
    d.force = true;
    expect_refusal(&d, ERR_TOO_LARGE, "the least is", "bytes");
}

static void outputs_are_not_replaced(void **state) {
    (void)state;
    write_bytes(at("there.gguf"), "mine", 4);
    struct job_desc d = bpw_job(at("there.gguf"), 4);
    expect_refusal(&d, ERR_EXISTS, "there.gguf", "--force");
    assert_int_equal(file_size(at("there.gguf")), 4);
    d.dry_run = true;
    run_quietly(&d);
    assert_int_equal(file_size(at("there.gguf")), 4);
    d.dry_run = false;
    d.force = true;
    run_quietly(&d);
    assert_true(file_size(at("there.gguf")) > 4);
    d.out = scratch_dir;
    expect_refusal(&d, ERR_USAGE, scratch_dir, "directory");
    d.out = at("none/x.gguf");
    expect_refusal(&d, ERR_NOT_FOUND, "none", "No such");
}

static void dry_runs_write_nothing(void **state) {
    (void)state;
    size_t before = count_files("");
    struct job_desc d = bpw_job(at("dry.gguf"), 4);
    d.dry_run = true;
    struct job_result r = run_ok(&d);
    assert_true(r.file_bytes > 0 && r.n_choices > 0);
    job_result_fini(&r);
    d.measurement = NULL;
    run_quietly(&d);
    assert_int_equal(count_files(""), before);
}

/* A matrix, vectors and the embedding; in the first block, too, whose statistics come before those of the others. */
static void bad_weights_are_named(void **state) {
    static const char *const victims[] = { "blk.1.ffn_up.weight", "blk.0.attn_norm.weight", "blk.1.ffn_norm.weight",
                                           "output_norm.weight", "token_embd.weight" };
    (void)state;
    struct job_desc d = bpw_job(at("n.gguf"), 4), plain = recipe_job(at("n.gguf"), "Q8_0");
    struct job_desc mixed = recipe_job(at("n.gguf"), "Q4_K_M");
    struct job_desc *all[] = { &d, &plain, &mixed };
    d.measurement = NULL;
    for (size_t i = 0; i < ARRAY_LEN(victims) * ARRAY_LEN(all); i++) {
        struct job_desc *job = all[i % ARRAY_LEN(all)];
        const char *victim = victims[i / ARRAY_LEN(all)];
        make_poisoned(at("nan.gguf"), 1, victim, i % 2 ? INFINITY : NAN);
        job->model = at("nan.gguf");
        expect_refusal(job, ERR_FORMAT, victim, i % 2 ? "inf" : "nan");
        if (!strcmp(victim, victims[0])) expect_refusal(job, ERR_FORMAT, victim, "row 256, column 0"); /* the middle */
        assert_false(os_exists(at("n.gguf")));
    }
}

/* Blocks that keep their type are copied, but not unread. */
static void bad_scales_are_named(void **state) {
    (void)state;
    struct job_desc d = recipe_job(at("scales.gguf"), "Q8_0"), again = recipe_job(at("of-nan.gguf"), "Q8_0");
    run_quietly(&d);
    struct span s = read_bytes(d.out);
    struct gguf *g;
    size_t i = 0;
    assert_int_equal(gguf_open(s, &g, NULL), ERR_NONE);
    while (strcmp(g->tensors[i].name, "blk.1.ffn_down.weight")) i++;
    /* The half scale of row 3's first block: NaN. */
    memcpy((uint8_t *)g->tensors[i].data + 3 * (N_FF / 32) * 34, "\x00\x7e", 2);
    write_bytes(at("nan-scale.gguf"), s.p, s.n);
    gguf_close(g);
    mem_free((void *)s.p);
    again.model = at("nan-scale.gguf");
    expect_refusal(&again, ERR_FORMAT, "blk.1.ffn_down.weight", "row 3, column 0 is nan");
    assert_false(os_exists(again.out));
}

static void wrong_arguments(void **state) {
    (void)state;
    static const char *const bad[] = { "blk.*=Q4_K_M" };
    struct job_desc d = bpw_job(NULL, 4);
    expect_refusal(&d, ERR_USAGE, "-o", "");
    d = bpw_job(at("w.gguf"), 4);
    d.pure = true;
    expect_refusal(&d, ERR_USAGE, "--pure", "--type");
    d.pure = false;
    d.n_ctx = 32;
    expect_refusal(&d, ERR_USAGE, "--ctx", "--vram");
    d = bpw_job(at("w.gguf"), 4);
    d.keep = bad;
    d.n_keep = 1;
    expect_refusal(&d, ERR_USAGE, "Q4_K_M", "not known");
    d = recipe_job(at("w.gguf"), "NVFP4");
    expect_refusal(&d, ERR_USAGE, "NVFP4", "not known");
    d = bpw_job(NULL, 0);
    d.target = JOB_MEASURE_ONLY;
    d.measurement = NULL;
    expect_refusal(&d, ERR_USAGE, "--measurement", "");
}

static void keep_line(void *user, enum log_level level, const char *line) {
    struct buf *said = user;
    if (level == LOG_WARN) buf_addf(said, "%s\n", line);
}

/* A file that this program quantized before: its matrices keep their types or get smaller ones. */
static void quantized_input_is_warned_of(void **state) {
    (void)state;
    struct buf said = { 0 };
    struct job_desc first = recipe_job(at("q8.gguf"), "Q8_0"), again = recipe_job(at("q4.gguf"), "Q4_K_M");
    log_set(keep_line, &said);
    run_quietly(&first);
    assert_null(said.p);
    again.model = first.out;
    run_quietly(&again);
    log_set(NULL, NULL);
    assert_non_null(strstr(said.p, at("q8.gguf")));
    assert_non_null(strstr(said.p, "quantized already"));
    assert_non_null(strstr(said.p, "Q8_0"));
    buf_fini(&said);
}

/* --- Full disks --- */

static uint64_t pretended_free = UINT64_MAX;

/* The system's call, whose answer can be made up. */
int statvfs(const char *path, struct statvfs *out) {
    int fd = open(path, O_RDONLY | O_CLOEXEC), rc = fd < 0 ? -1 : fstatvfs(fd, out);
    if (fd >= 0) close(fd);
    if (!rc && pretended_free != UINT64_MAX) out->f_bavail = pretended_free / out->f_frsize;
    return rc;
}

static void disk_space_is_checked_first(void **state) {
    (void)state;
    struct job_desc d = bpw_job(at("full.gguf"), 4), recipe = recipe_job(at("full.gguf"), "Q4_K_M");
    struct job_result whole = run_ok(&d);
    assert_int_equal(unlink(d.out), 0);
    d.measurement = at("unmade.json");
    pretended_free = 75 * 4096; /* the file takes twice that */
    expect_refusal(&d, ERR_NO_SPACE, "full.gguf", "307 kB left");
    expect_refusal(&recipe, ERR_NO_SPACE, "full.gguf", "left");
    assert_false(os_exists(at("unmade.json"))); /* at once, not after measuring */
    d = bpw_job(at("full.gguf"), 4);
    pretended_free = whole.target_bytes + (64 << 10);
    run_quietly(&d);
    assert_int_equal(unlink(d.out), 0);
    pretended_free = UINT64_MAX;
    job_result_fini(&whole);
}

/* A disk that fills up while the file grows, which a limit on the size of files stands for: no output, and the same
 * command goes on when there is room. */
static void full_disk_is_survived(void **state) {
    (void)state;
    struct rlimit old, small = { 200 << 10, RLIM_INFINITY };
    struct job_desc d = bpw_job(at("grow.gguf"), 4), undisturbed = bpw_job(at("ungrow.gguf"), 4);
    struct job_result r;
    struct err e = { 0 };
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small.rlim_max = old.rlim_max;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    enum err_code rc = job_run(&d, &r, &e);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, handler);
    assert_true(rc == ERR_IO || rc == ERR_NO_SPACE);
    assert_non_null(strstr(e.where, "grow.gguf.part"));
    assert_false(os_exists(d.out));
    run_quietly(&d);
    run_quietly(&undisturbed);
    assert_true(same_bytes(d.out, undisturbed.out));
}

/* --- Interruption --- */

struct stopper { const char *what; int left; };
static bool stop_after(void *user, const char *what, double done, double total) {
    struct stopper *s = user;
    (void)done;
    (void)total;
    return strcmp(what, s->what) || s->left-- > 0;
}

static struct job_desc stopped(struct job_desc d, struct stopper *s) {
    d.progress = (struct progress){ stop_after, s };
    return d;
}

/* Progress of a job that is started again begins where the last one ended. */
struct first_step { double done; };
static bool note_first(void *user, const char *what, double done, double total) {
    struct first_step *f = user;
    if (!strcmp(what, "writing") && f->done < 0) f->done = done / total;
    return true;
}

static void interrupted_jobs_go_on(void **state) {
    static const char *const phases[] = { "calibrating", "trying types", "writing" };
    (void)state;
    struct job_desc whole = bpw_job(at("whole.gguf"), 3.7), d = whole;
    run_quietly(&whole);
    d.out = at("i.gguf");
    d.measurement = NULL;
    for (size_t i = 0; i < ARRAY_LEN(phases); i++) {
        struct stopper s = { phases[i], 2 };
        struct job_desc half = stopped(d, &s);
        struct job_result r;
        struct err e;
        assert_int_equal(job_run(&half, &r, &e), ERR_INTERRUPTED);
        assert_non_null(strstr(e.msg, "goes on"));
        assert_false(os_exists(d.out));
        assert_true(count_files("i.gguf") > 0);
    }
    assert_true(os_exists(at("i.gguf.part")));
    run_quietly(&d);
    assert_true(same_bytes(d.out, whole.out));
    assert_int_equal(count_files("i.gguf"), 1);
}

/* Files of a job in the middle of its writing, or put back from there: the measurement and its importances. */
static void move_work(const char *from, const char *to) {
    char **names, a[300], b[300];
    size_t n;
    assert_int_equal(os_list_dir(scratch_dir, &names, &n, NULL), ERR_NONE);
    for (size_t i = 0; i < n; i++) {
        if (!strncmp(names[i], from, strlen(from)) && !strstr(names[i], ".part")) {
            snprintf(a, sizeof a, "%s/%s", scratch_dir, names[i]);
            snprintf(b, sizeof b, "%s/%s%s", scratch_dir, to, names[i] + strlen(from));
            assert_int_equal(link(a, b), 0);
        }
        mem_free(names[i]);
    }
    mem_free(names);
}

/* Of the files f.gguf.*. */
static void remove_ending(const char *end) {
    char **names, path[300];
    size_t n;
    assert_int_equal(os_list_dir(scratch_dir, &names, &n, NULL), ERR_NONE);
    for (size_t i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/%s", scratch_dir, names[i]);
        size_t len = strlen(names[i]), m = strlen(end);
        if (!strncmp(names[i], "f.gguf.", 7) && len > m && !strcmp(names[i] + len - m, end)) unlink(path);
        mem_free(names[i]);
    }
    mem_free(names);
}

/* A kill after the output has its name leaves the measurement: the same job is found done and tidies up, another one is
 * still refused, and a forced one tidies up what was left under other settings. */
static void finished_jobs_tidy_up(void **state) {
    (void)state;
    struct stopper s = { "writing", 2 };
    struct job_desc d = bpw_job(at("f.gguf"), 3.7), half, other;
    d.measurement = NULL;
    half = stopped(d, &s);
    struct job_result r;
    assert_int_equal(job_run(&half, &r, NULL), ERR_INTERRUPTED);
    move_work("f.gguf.", "saved.");
    run_quietly(&d);
    assert_int_equal(count_files("f.gguf"), 1);
    move_work("f.gguf", "copy.gguf");

    move_work("saved.", "f.gguf.");
    assert_int_equal(count_files("f.gguf"), 3);
    other = d;
    other.bits_per_weight = 4.5;
    expect_refusal(&other, ERR_EXISTS, "f.gguf", "--force");
    assert_int_equal(count_files("f.gguf"), 3);
    struct job_result done = run_ok(&d);
    assert_int_equal(done.file_bytes, file_size(d.out));
    job_result_fini(&done);
    assert_true(same_bytes(d.out, at("copy.gguf")));
    assert_int_equal(count_files("f.gguf"), 1);
    expect_refusal(&d, ERR_EXISTS, "f.gguf", "--force"); /* nothing is left that would show whose it is */

    move_work("saved.", "f.gguf.");
    remove_ending(".json"); /* as after a kill while it tidied up */
    assert_int_equal(count_files("f.gguf"), 2);
    expect_refusal(&d, ERR_EXISTS, "f.gguf", "--force");
    assert_int_equal(count_files("f.gguf"), 1);

    move_work("saved.", "f.gguf.");
    write_bytes(at("f.gguf.0123.json"), "mine", 4); /* no name that a job gives */
    other.measurement = at("m.json");
    other.force = true;
    run_quietly(&other);
    assert_int_equal(count_files("f.gguf"), 2);
}

/* A part that was left behind is continued by a job of the same bytes only: what a mark put into it in place of weights
 * tells. */
static void mark_part(const char *part) {
    FILE *f = fopen(part, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, -64, SEEK_END), 0); /* of the last tensor that is whole */
    assert_int_equal(fwrite("MARK", 1, 4, f), 4);
    fclose(f);
}

static bool has_mark(const char *path) {
    struct span s = read_bytes(path);
    bool found = memmem(s.p, s.n, "MARK", 4) != NULL;
    mem_free((void *)s.p);
    return found;
}

static void leave_marked_part(const struct job_desc *d) {
    struct stopper s = { "writing", 5 };
    struct job_desc half = stopped(*d, &s);
    struct job_result r;
    assert_int_equal(job_run(&half, &r, NULL), ERR_INTERRUPTED);
    mark_part(at("p.gguf.part"));
}

static void foreign_parts_are_not_continued(void **state) {
    static const char *const keep[] = { "blk.1.ffn_down.weight=Q8_0" };
    (void)state;
    struct job_desc d = bpw_job(at("p.gguf"), 4), recipe = recipe_job(at("p.gguf"), "Q4_K_M");
    d.force = recipe.force = true;
    leave_marked_part(&d);
    run_quietly(&d);
    assert_true(has_mark(d.out)); /* the same job trusts what is there */
    struct first_step f = { -1 };
    leave_marked_part(&d);
    d.progress = (struct progress){ note_first, &f };
    run_quietly(&d);
    assert_true(f.done > 0.2);
    d.progress = (struct progress){ 0 };

    make_text(at("text2.json"), 77);
    make_model(at("model2.gguf"), 2);
    struct job_desc others[6] = { d, d, d, d, recipe, recipe };
    others[0].bits_per_weight = 4.001;
    others[1].keep = keep;
    others[1].n_keep = 1;
    others[2].version = "another";
    others[3].no_resume = true;
    others[4].calib.file = at("text2.json"); /* other importances, the same types */
    others[5].model = at("model2.gguf");
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        leave_marked_part(others[i].recipe ? &recipe : &d);
        run_quietly(&others[i]);
        if (has_mark(others[i].out)) fail_msg("job %zu continued a foreign part", i);
    }
}

/* --- A source that changed --- */

static void set_age(const char *path, time_t seconds) {
    struct timespec t[2];
    clock_gettime(CLOCK_REALTIME, &t[0]);
    t[0].tv_sec -= seconds;
    t[1] = t[0];
    assert_int_equal(utimensat(AT_FDCWD, path, t, 0), 0);
}

/* As if the files whose name begins so had been left long ago, and the model been written since. */
static void change_after(const char *model, const char *prefix) {
    char **names;
    size_t n;
    assert_int_equal(os_list_dir(scratch_dir, &names, &n, NULL), ERR_NONE);
    for (size_t i = 0; i < n; i++) {
        if (!strncmp(names[i], prefix, strlen(prefix))) set_age(at(names[i]), 60);
        mem_free(names[i]);
    }
    mem_free(names);
    set_age(model, 30);
}

static void interrupt(const struct job_desc *d, const char *phase, int steps) {
    struct stopper s = { phase, steps };
    struct job_desc half = stopped(*d, &s);
    struct job_result r;
    assert_int_equal(job_run(&half, &r, NULL), ERR_INTERRUPTED);
}

static bool note_tries(void *user, const char *what, double done, double total) {
    (void)done;
    (void)total;
    *(bool *)user |= !strcmp(what, "trying types");
    return true;
}

/* The hash of a model looks at samples, so what was left before the model's files were written last is not used: a
 * journal, a measurement with a part, an output that is complete but still has its work beside it. */
static void changed_sources_begin_anew(void **state) {
    (void)state;
    bool tried = false;
    make_model(at("changing.gguf"), 9);
    set_age(at("changing.gguf"), 90);
    struct job_desc d = bpw_job(at("p.gguf"), 4);
    d.model = at("changing.gguf");
    d.measurement = at("changing.json");
    d.force = true;
    interrupt(&d, "trying types", 5);
    uint64_t kept = file_size(at("changing.json.journal.part"));
    interrupt(&d, "calibrating", 0);
    assert_int_equal(file_size(at("changing.json.journal.part")), kept);
    change_after(d.model, "changing.json");
    interrupt(&d, "calibrating", 0);
    uint64_t begun = file_size(at("changing.json.journal.part"));
    assert_true(begun > 0 && begun < kept);
    interrupt(&d, "trying types", 5);
    d.no_resume = true;
    interrupt(&d, "calibrating", 0);
    assert_int_equal(file_size(at("changing.json.journal.part")), begun);

    d = bpw_job(at("p.gguf"), 4);
    d.model = at("changing.gguf");
    d.measurement = NULL;
    d.force = true;
    leave_marked_part(&d);
    move_work("p.gguf.", "kept.");
    change_after(d.model, "p.gguf");
    d.progress = (struct progress){ note_tries, &tried };
    run_quietly(&d);
    assert_true(tried && !has_mark(d.out));
    d.progress = (struct progress){ 0 };

    move_work("kept.", "p.gguf.");
    change_after(d.model, "p.gguf");
    d.force = false;
    expect_refusal(&d, ERR_EXISTS, "p.gguf", "--force");
    remove_files("p.gguf");
}

/* --- kill -9 --- */

/* This program as a job: job MODEL OUT TEXT MEASUREMENT, the last may be empty. */
static int be_job(char **arg) {
    struct job_desc d = { .model = arg[0], .out = arg[1], .version = "test", .target = JOB_BPW, .bits_per_weight = 4,
                          .calib = { arg[2], 4, 32 }, .threads = 2, .measurement = arg[3][0] ? arg[3] : NULL };
    struct job_result r;
    enum err_code rc = job_run(&d, &r, NULL);
    job_result_fini(&r);
    return (int)rc;
}

static pid_t start_job(const char *model, const char *out, const char *measurement) {
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid) return pid;
    execl("/proc/self/exe", "test_quantize", "job", model, out, at("text.json"), measurement, NULL);
    _exit(127);
}

/* true if it came to its end, which must be a good one. */
static bool ended_well(pid_t pid) {
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) return false;
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    return true;
}

static void check_complete(const char *out, const char *whole) {
    assert_true(same_bytes(out, whole));
    assert_int_equal(count_files("k.gguf"), 1);
    assert_int_equal(unlink(out), 0);
}

/* Kills jobs until so many have died, each after a random part of the time that one takes undisturbed. */
static void kill_jobs(const char *model, int kills, const char *measurement, const char *whole) {
    const char *out = at("k.gguf");
    struct rng r;
    unsigned complete = 0;
    rng_seed(&r, 5);
    uint64_t start = os_now_ns();
    assert_true(ended_well(start_job(model, out, measurement)));
    uint64_t whole_ns = os_now_ns() - start;
    check_complete(out, whole);
    while (kills > 0) {
        pid_t pid = start_job(model, out, measurement);
        usleep((useconds_t)(rng_f64(&r) * (double)whole_ns / 1000));
        kill(pid, SIGKILL);
        bool ended = ended_well(pid);
        if (os_exists(out)) { /* complete, even if the process died while it tidied up */
            assert_true(same_bytes(out, whole));
            /* The measurement goes first: once it is gone the file is a finished one, which no job may touch. */
            if (!ended && !has_work("k.gguf")) remove_files("k.gguf");
        } /* what lies beside it otherwise is for the next job to tidy up */
        if (ended) {
            check_complete(out, whole);
            complete++;
        }
        kills -= !ended;
    }
    if (!os_exists(out)) assert_true(ended_well(start_job(model, out, measurement)));
    check_complete(out, whole);
    printf("%u of the jobs were faster than their kill\n", complete);
}

static void killed_jobs_resume_to_the_same_bytes(void **state) {
    (void)state;
    struct job_desc whole = bpw_job(at("w4.gguf"), 4);
    run_quietly(&whole);
    kill_jobs(whole.model, KILLS_WRITING, whole.measurement, whole.out);
    kill_jobs(whole.model, KILLS_MEASURING, "", whole.out);
}

/* Stacks are tried, probed and written matrix by matrix, and their journal entries and parts are longer. */
static void killed_jobs_with_experts_resume_to_the_same_bytes(void **state) {
    (void)state;
    struct job_desc whole = bpw_job(at("w5.gguf"), 4);
    expert_model(at("experts.gguf"), 3);
    whole.model = at("experts.gguf");
    whole.measurement = at("m5.json");
    run_quietly(&whole);
    kill_jobs(whole.model, 2 * KILLS_EXPERTS, whole.measurement, whole.out);
    kill_jobs(whole.model, KILLS_EXPERTS, "", whole.out);
}

static int set_up(void **state) {
    if (scratch_make(state)) return -1;
    make_model(at("model.gguf"), 1);
    make_text(at("text.json"), 3);
    struct job_desc d = bpw_job(NULL, 0);
    d.target = JOB_MEASURE_ONLY;
    run_quietly(&d);
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 6 && !strcmp(argv[1], "job")) return be_job(argv + 2);
    if (argc > 1) cmocka_set_test_filter(argv[1]); /* some of the tests, by hand */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_meet_their_target),        cmocka_unit_test(ample_room_keeps_all),
        cmocka_unit_test(bytes_do_not_depend_on_threads), cmocka_unit_test(measurement_serves_any_target),
        cmocka_unit_test(vram_leaves_room_for_the_cache), cmocka_unit_test(kept_types_are_honoured),
        cmocka_unit_test(recipes_and_pure),               cmocka_unit_test(too_small_says_the_least),
        cmocka_unit_test(saved_importances_stand_in_for_text),
        cmocka_unit_test(measuring_uses_given_importances),
        cmocka_unit_test(importances_of_other_models_are_refused),
        cmocka_unit_test(outputs_are_not_replaced),       cmocka_unit_test(dry_runs_write_nothing),
        cmocka_unit_test(bad_weights_are_named),          cmocka_unit_test(bad_scales_are_named),
        cmocka_unit_test(wrong_arguments),
        cmocka_unit_test(quantized_input_is_warned_of),   cmocka_unit_test(disk_space_is_checked_first),
        cmocka_unit_test(full_disk_is_survived),
        cmocka_unit_test(interrupted_jobs_go_on),         cmocka_unit_test(foreign_parts_are_not_continued),
        cmocka_unit_test(finished_jobs_tidy_up),          cmocka_unit_test(changed_sources_begin_anew),
        cmocka_unit_test(killed_jobs_resume_to_the_same_bytes),
        cmocka_unit_test(killed_jobs_with_experts_resume_to_the_same_bytes),
    };
    return cmocka_run_group_tests_name("quantize", tests, set_up, scratch_remove);
}
