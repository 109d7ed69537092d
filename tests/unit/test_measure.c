/* Measuring: calibration windows made by hand, statistics and errors against plain sums in double, probes against
 * another engine's logits, and that neither threads nor interruptions change a byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>

#include "base/num.h"
#include "base/rng.h"
#include "base/utf8.h"
#include "format_files.h"
#include "quant/encoder.h"
#include "plan/inventory.h"
#include "quant/measure.h"
#include "quant/tries.h"
#include "runtime/score.h"

static const char *source(const char *rest) {
    const char *root = getenv("SNUG_SOURCE");
    return path_of(root ? root : ".", rest);
}

static struct engine *open_engine(const char *path, const char *backend) {
    struct engine_options o = { .backend = backend, .threads = 1, .exact = true };
    struct engine *en;
    struct err e = { 0 };
    if (engine_open(source(path), &o, &en, &e)) fail_msg("%s: %s", e.where, e.msg);
    return en;
}

static const char *write_text(const char *name, const char *text) {
    write_bytes(scratch(name), text, strlen(text));
    return scratch(name);
}

/* --- Calibration text --- */

/* 17 ids in windows of 4 are 4 windows. Two rows take the middles of the halves: windows 1 and 3. */
static void test_windows(void **state) {
    (void)state;
    struct engine *en = open_engine("tests/data/arch/llama", NULL);
    struct calib_options o = { write_text("ids.json", "[[10,11,12,13,14,15,16],[17,18,19,20,21,22,23,24,25],[26]]"), 2,
                               4 };
    struct calib_tokens c;
    struct err e = { 0 };
    assert_int_equal(calib_open(en, &o, &c, &e), ERR_NONE);
    const int32_t want[] = { 14, 15, 16, 17, 22, 23, 24, 25 };
    assert_int_equal(c.rows, 2);
    assert_memory_equal(c.ids, want, sizeof want);
    assert_string_equal(c.source, "ids.json");
    calib_close(&c);
    o.rows = 100; /* more than there are: all */
    assert_int_equal(calib_open(en, &o, &c, &e), ERR_NONE);
    assert_int_equal(c.rows, 4);
    assert_int_equal(c.ids[15], 25);
    calib_close(&c);
    engine_close(en);
}

static void assert_calib_fails(const struct engine *en, struct calib_options o, const char *says) {
    struct calib_tokens c;
    struct err e = { 0 };
    assert_int_not_equal(calib_open(en, &o, &c, &e), ERR_NONE);
    if (!strstr(e.msg, says)) fail_msg("\"%s\" does not say \"%s\"", e.msg, says);
    calib_close(&c);
}

static void test_calib_errors(void **state) {
    (void)state;
    struct engine *en = open_engine("tests/data/arch/llama", NULL); /* a vocabulary of 325 without tokenizer */
    assert_calib_fails(en, (struct calib_options){ write_text("big.json", "[1,2,3,325]"), 1, 2 }, "325");
    assert_calib_fails(en, (struct calib_options){ write_text("short.json", "[1,2,3]"), 1, 4 }, "3 tokens");
    assert_calib_fails(en, (struct calib_options){ write_text("t.txt", "Once upon a time"), 1, 4 }, "no tokenizer");
    assert_calib_fails(en, (struct calib_options){ NULL, 1, 4 }, "no tokenizer");
    assert_calib_fails(en, (struct calib_options){ write_text("ok.json", "[1,2,3]"), 1, 1 }, "1 tokens");
    assert_calib_fails(en, (struct calib_options){ scratch("ok.json"), 1, 513 }, "513");
    engine_close(en);
}

/* Conversations are lines of text, windows begin with BOS (tiny: 0), and text comes back from its ids. */
static void test_text(void **state) {
    (void)state;
    struct engine *en = open_engine("models/tiny", NULL);
    write_text("chat.jsonl", "{\"messages\":[{\"role\":\"user\",\"content\":\"Who lived in the wood?\"},"
                             "{\"role\":\"assistant\",\"content\":\"A fox and a wolf.\"}]}\n");
    struct calib_options chat = { scratch("chat.jsonl"), 1, 8 };
    struct calib_options text = { write_text("t.txt", "user: Who lived in the wood?\nassistant: A fox and a wolf.\n"),
                                  1, 8 };
    struct calib_tokens a, b;
    assert_int_equal(calib_open(en, &chat, &a, NULL), ERR_NONE);
    assert_int_equal(calib_open(en, &text, &b, NULL), ERR_NONE);
    assert_memory_equal(a.ids, b.ids, 8 * sizeof *a.ids);
    assert_int_equal(a.ids[0], en->vocab.bos);
    assert_true(a.hash == b.hash);
    struct buf back = { 0 };
    assert_int_equal(tok_decode(en->tok, a.ids + 1, 7, false, &back, NULL), ERR_NONE);
    assert_non_null(strstr("user: Who lived in the wood?\nassistant: A fox and a wolf.\n", back.p));
    buf_fini(&back);
    calib_close(&a);
    calib_close(&b);
    engine_close(en);
}

static void test_builtin(void **state) {
    (void)state;
    struct str text = calib_builtin();
    struct span prose = read_bytes(source("data/calibration/prose.txt")),
        code = read_bytes(source("data/calibration/code.txt"));
    assert_int_equal(text.n, prose.n + code.n);
    assert_memory_equal(text.p, prose.p, prose.n);
    assert_memory_equal(text.p + prose.n, code.p, code.n);
    assert_true(utf8_valid(text.p, text.n));
    mem_free((void *)prose.p);
    mem_free((void *)code.p);
}

/* --- Statistics --- */

enum { N_IN = 96, N_TOKENS = 1000 };

static float *random_floats(uint64_t seed, size_t n) {
    struct rng r;
    float *x = mem_alloc(n, sizeof *x);
    rng_seed(&r, seed);
    for (size_t i = 0; i < n; i++) x[i] = (rng_f32(&r) - 0.5f) * (i % 7 == 0 ? 5.0f : 1.0f);
    return x;
}

static void test_stats(void **state) {
    (void)state;
    float *x = random_floats(1, (size_t)N_TOKENS * N_IN), a[N_IN];
    struct stats s;
    assert_int_equal(stats_init(&s, N_IN, N_TOKENS, NULL), ERR_NONE);
    for (size_t t = 0; t < N_TOKENS; t += 50) stats_add(&s, x + t * N_IN, 50);
    assert_true(stats_importance(&s, 1, a));
    for (size_t j = 0; j < N_IN; j++) {
        double sum = 0;
        for (size_t t = 0; t < N_TOKENS; t++) sum += (double)x[t * N_IN + j] * (double)x[t * N_IN + j];
        assert_true(fabs((double)a[j] / (sum / N_TOKENS) - 1) < 1e-5);
    }
    /* Each sample is a token, later than the one before, and no part of the text is left out. */
    assert_int_equal(s.n_taken, STATS_SAMPLE);
    for (size_t k = 0, t = 0; k < STATS_SAMPLE; k++, t++) {
        while (t < N_TOKENS && memcmp(s.sample + k * N_IN, x + t * N_IN, N_IN * sizeof *x) != 0) t++;
        assert_true(t < N_TOKENS);
        assert_true(fabs((double)t - (double)k * N_TOKENS / STATS_SAMPLE) <= 2);
    }
    stats_fini(&s);
    assert_int_equal(stats_init(&s, N_IN, N_TOKENS, NULL), ERR_NONE);
    x[5] = 1e38f;
    x[N_IN + 5] = 3e38f;
    stats_add(&s, x, 2);
    assert_false(stats_importance(&s, 1, a));
    stats_fini(&s);
    mem_free(x);
}

/* --- Tries --- */

/* A matrix of F32 weights in memory. */
struct matrix { struct tfile_tensor t; struct weight w; float *x; };

static void matrix_init(struct matrix *m, uint64_t n_in, uint64_t n_out) {
    m->x = random_floats(2, n_in * n_out);
    m->t = (struct tfile_tensor){ .name = "m", .type = QTYPE_F32, .type_name = "F32", .n_dims = 2, .ne = { n_in, n_out,
            1, 1 },
                                  .data = (uint8_t *)m->x, .bytes = n_in * n_out * sizeof(float) };
    m->w = (struct weight){ .name = "m", .slot = SLOT_FFN_UP, .src = &m->t, .n_parts = 1, .type = QTYPE_F32,
                            .ne = { n_in, n_out, 1, 1 } };
    m->w.map = model_plain_map(&m->w);
}

/* ||(W - W') X|| / ||W X|| in plain loops; inputs NULL: of the weights themselves. */
static double direct_rfn(const struct matrix *m, enum qtype t, const struct stats *s, const float *importance) {
    uint64_t n_in = m->w.ne[0], n_out = m->w.ne[1], row_bytes;
    struct encoder_input in = { .importance = importance };
    double error = 0, whole = 0;
    float *back = mem_alloc(n_in, sizeof *back);
    qtype_row_bytes(t, n_in, &row_bytes);
    uint8_t *blocks = mem_alloc(row_bytes, 1);
    for (uint64_t r = 0; r < n_out; r++) {
        const float *row = m->x + r * n_in;
        assert_int_equal(encode_rows(t, row, 1, n_in, &in, blocks, NULL), ERR_NONE);
        qtype_info(t)->decode(blocks, back, n_in);
        for (size_t k = 0; k < (s ? s->n_sample : n_in); k++) {
            double y = 0, d = 0;
            for (uint64_t j = s ? 0 : k; j < (s ? n_in : k + 1); j++) {
                double x = s ? (double)s->sample[k * n_in + j] : 1;
                y += (double)row[j] * x;
                d += ((double)row[j] - (double)back[j]) * x;
            }
            whole += y * y;
            error += d * d;
        }
    }
    mem_free(back);
    mem_free(blocks);
    return sqrt(error / whole);
}

static void check_tries(uint64_t n_in, uint64_t n_out, bool with_inputs) {
    struct matrix m;
    struct stats s = { 0 };
    struct pool *one, *two;
    float *a = NULL, *x = random_floats(3, 700 * n_in);
    enum qtype types[QTYPE_ID_LIMIT];
    double rfn[QTYPE_ID_LIMIT], again[QTYPE_ID_LIMIT];
    matrix_init(&m, n_in, n_out);
    assert_int_equal(pool_open(1, &one, NULL), ERR_NONE);
    assert_int_equal(pool_open(2, &two, NULL), ERR_NONE);
    if (with_inputs) {
        a = mem_alloc(n_in, sizeof *a);
        assert_int_equal(stats_init(&s, n_in, 700, NULL), ERR_NONE);
        stats_add(&s, x, 700);
        stats_importance(&s, 1, a);
    }
    const struct stats *inputs = with_inputs ? &s : NULL;
    size_t n = tries_types(&m.w, 3, types);
    assert_true(n >= 6);
    for (size_t i = 1; i < n; i++) assert_true(qtype_bpw(types[i]) >= qtype_bpw(types[i - 1]));
    assert_true(qtype_is_float(types[n - 1]));
    assert_int_equal(tries_run(one, &m.w, inputs, a, types, n, rfn, NULL), ERR_NONE);
    assert_int_equal(tries_run(two, &m.w, inputs, a, types, n, again, NULL), ERR_NONE);
    assert_memory_equal(rfn, again, n * sizeof *rfn);
    for (size_t i = 0; i < n; i++) {
        double want = direct_rfn(&m, types[i], inputs, a);
        if (fabs(rfn[i] / want - 1) > 1e-4) fail_msg("%s: %.9g, direct %.9g", qtype_name(types[i]), rfn[i], want);
    }
    stats_fini(&s);
    mem_free(a);
    mem_free(x);
    mem_free(m.x);
    pool_close(one);
    pool_close(two);
}

static void test_rfn(void **state) {
    (void)state;
    check_tries(512, 150, true);
    check_tries(96, 70, true);
    check_tries(256, 90, false);
}

/* Which types a matrix is tried at: block, size and reach decide. */
static void test_types(void **state) {
    (void)state;
    enum qtype types[QTYPE_ID_LIMIT];
    struct weight w = { .type = QTYPE_BF16, .ne = { 256, 4, 1, 1 } };
    size_t n = tries_types(&w, 1, types);
    assert_int_equal(types[0], smallest_type(256));
    for (size_t i = 0; i < n; i++) assert_true(qtype_can_write(types[i]));
    assert_int_equal(types[n - 1], QTYPE_BF16);
    w.ne[0] = 96;
    n = tries_types(&w, 1, types);
    for (size_t i = 0; i < n; i++) assert_true(96 % qtype_info(types[i])->block_weights == 0);
    w.ne[0] = 100;
    assert_int_equal(tries_types(&w, 1, types), 1);
    assert_int_equal(types[0], QTYPE_BF16);
    w.ne[0] = 256;
    assert_int_equal(tries_types(&w, 1e6f, types), 1); /* beyond half's range */
    assert_int_equal(types[0], QTYPE_BF16);
    w.type = QTYPE_F32;
    n = tries_types(&w, 1, types);
    assert_int_equal(qtype_bpw(types[n - 1]), 16);
    w.type = QTYPE_Q4_K;
    n = tries_types(&w, 1, types);
    assert_int_equal(types[n - 1], QTYPE_Q4_K);
}

static void test_scan_and_encode(void **state) {
    (void)state;
    struct matrix m;
    struct pool *p;
    struct err e = { 0 };
    float max;
    matrix_init(&m, 96, 333);
    m.x[96 * 200 + 7] = -9;
    assert_int_equal(pool_open(2, &p, NULL), ERR_NONE);
    assert_int_equal(weight_scan(p, &m.w, &max, &e), ERR_NONE);
    assert_true(max == 9);
    uint8_t *all = mem_alloc(96 * 333, 4), *rows = mem_alloc(96 * 333, 4);
    struct encoder_input none = { 0 };
    assert_int_equal(weight_encode(p, &m.w, QTYPE_Q5_0, NULL, all, &e), ERR_NONE);
    assert_int_equal(encode_rows(QTYPE_Q5_0, m.x, 333, 96, &none, rows, &e), ERR_NONE);
    assert_memory_equal(all, rows, 333 * 66); /* 3 blocks of 22 bytes a row */
    assert_int_equal(weight_encode(p, &m.w, QTYPE_F32, NULL, all, &e), ERR_NONE);
    assert_memory_equal(all, m.x, 333 * 96 * 4);
    m.x[96 * 300 + 11] = NAN;
    assert_int_equal(weight_scan(p, &m.w, &max, &e), ERR_FORMAT);
    assert_non_null(strstr(e.msg, "row 300, column 11"));
    assert_string_equal(e.where, "m");
    mem_free(all);
    mem_free(rows);
    mem_free(m.x);
    pool_close(p);
}

/* --- The whole --- */

static const char *ids_file(void) {
    struct buf b = { 0 };
    buf_addz(&b, "[");
    struct rng r;
    rng_seed(&r, 5);
    for (int i = 0; i < 40 * 24; i++) buf_addf(&b, "%s%u", i ? "," : "", rng_below(&r, 320));
    buf_addz(&b, "]");
    static char path[300]; /* stays, unlike what scratch gives */
    snprintf(path, sizeof path, "%s", scratch("calib.json"));
    write_bytes(path, b.p, b.n);
    buf_fini(&b);
    return path;
}

static struct measurement *measure(const char *model, unsigned threads, const char *file) {
    struct measure_options o = { .threads = threads, .calib = { ids_file(), 30, 24 }, .file = file };
    struct measurement *m;
    struct err e = { 0 };
    if (measure_model(source(model), &o, &m, &e)) fail_msg("%s: %s", e.where, e.msg);
    return m;
}

/* Log-probabilities of the first probe_length tokens of every probe row: (n_vocab, probe_length, probe_rows). */
static float *direct_logits(struct engine *en, const struct measurement *m, const struct calib_tokens *c) {
    uint32_t n_vocab = en->model->hp.n_vocab, length = m->settings.probe_length;
    size_t row = (size_t)length * n_vocab;
    float *logits = mem_alloc(m->settings.probe_rows * row, sizeof *logits);
    bool *want = mem_alloc(length, 1);
    memset(want, 1, length);
    for (uint32_t r = 0; r < m->settings.probe_rows; r++) {
        struct session *s;
        struct pass_desc d = { .n_ctx = length, .n_batch = length, .n_out = length };
        struct batch b = { .n = length, .want = want };
        b.ids = c->ids + (size_t)r * c->rows / m->settings.probe_rows * c->length;
        assert_int_equal(session_open(en, &d, &s, NULL), ERR_NONE);
        assert_int_equal(session_eval(s, &b, logits + r * row, NULL), ERR_NONE);
        session_close(s);
    }
    for (size_t i = 0; i < m->settings.probe_rows * row; i += n_vocab) log_softmax(logits + i, n_vocab);
    mem_free(want);
    return logits;
}

/* Mean divergence, from log_p, of the model with one matrix replaced: whole sequences through sessions of another back
 * end. */
static double direct_kld(struct engine *en, const struct measurement *m, const struct calib_tokens *c,
                         const float *log_p, uint32_t weight, enum qtype t) {
    const struct weight *w = &en->model->weights[weight];
    uint32_t n_vocab = en->model->hp.n_vocab, n = m->settings.probe_rows * m->settings.probe_length, buffer;
    uint64_t row_bytes;
    qtype_row_bytes(t, w->ne[0], &row_bytes);
    uint8_t *blocks = mem_alloc(row_bytes, w->ne[1]);
    struct pool *pool;
    assert_int_equal(pool_open(1, &pool, NULL), ERR_NONE);
    assert_int_equal(weight_encode(pool, w, t, measurement_find(m, w->name)->importance, blocks, NULL), ERR_NONE);
    assert_int_equal(backend_import(en->be, blocks, row_bytes * w->ne[1], &buffer, NULL), ERR_NONE);
    struct placed own = en->placed[weight];
    en->placed[weight] = (struct placed){ t, { buffer, 0 }, NULL };
    float *log_q = direct_logits(en, m, c);
    double sum = 0;
    for (size_t i = 0; i < (size_t)n * n_vocab; i += n_vocab) sum += kl_divergence(log_p + i, log_q + i, n_vocab);
    en->placed[weight] = own;
    backend_release(en->be, buffer);
    pool_close(pool);
    mem_free(blocks);
    mem_free(log_q);
    return sum / n;
}

/* Every matrix has tries, probes and a sensitivity; the probes are what another engine finds. */
static void check_model(const char *path) {
    struct measurement *m = measure(path, 2, NULL);
    struct engine *en = open_engine(path, "ref");
    struct calib_options o = { ids_file(), 30, 24 };
    struct calib_tokens c;
    assert_int_equal(calib_open(en, &o, &c, NULL), ERR_NONE);
    assert_int_equal(m->settings.probe_layers, en->model->hp.n_layer);
    float *log_p = direct_logits(en, m, &c);
    for (uint32_t i = 0, n = 0; i < en->model->n_weights; i++) {
        const struct weight *w = &en->model->weights[i];
        if (!slot_info(w->slot)->matrix) continue;
        const struct measured_tensor *t = &m->tensors[n++];
        assert_string_equal(t->name, w->name);
        assert_true(t->sensitivity > 0 && t->n_tries > 0);
        assert_int_equal(t->importance == NULL, w->slot == SLOT_TOKEN_EMBD && !en->model->hp.tied);
        if (t->n_tries > 1) assert_true(t->n_probes > 0);
        for (size_t k = 0; k < t->n_probes; k++) {
            double want = direct_kld(en, m, &c, log_p, i, t->probes[k].type), got = t->probes[k].kld;
            if (fabs(got - want) > 2e-3 * want + 2e-8)
                fail_msg("%s as %s: %.9g, directly %.9g", t->name, qtype_name(t->probes[k].type), got, want);
        }
    }
    mem_free(log_p);
    calib_close(&c);
    engine_close(en);
    measurement_free(m);
}

static void test_probes(void **state) {
    (void)state;
    check_model("tests/data/arch/llama");     /* rows of 256, a head of its own */
    check_model("tests/data/arch/llama-mha"); /* rows of 64 and of 172, which only float types fit */
}

static void test_tied(void **state) {
    (void)state;
    struct measure_options o = { .threads = 2, .calib = { write_text("tale.txt",
        "Once upon a time there was a king who had three sons, and the youngest was the one whom nobody asked for "
        "advice. One day the king fell ill, and no doctor in the land knew what to do about it."), 2, 16 } };
    struct measurement *m;
    struct err e = { 0 };
    if (measure_model(source("models/tiny"), &o, &m, &e)) fail_msg("%s: %s", e.where, e.msg);
    struct engine *en = open_engine("models/tiny", "ref");
    struct calib_tokens c;
    assert_int_equal(calib_open(en, &o.calib, &c, NULL), ERR_NONE);
    const struct measured_tensor *t = measurement_find(m, "token_embd.weight");
    assert_non_null(t->importance); /* it is the head too, and the replacement serves in both places */
    float *log_p = direct_logits(en, m, &c);
    double want = direct_kld(en, m, &c, log_p, 0, t->probes[0].type);
    assert_true(fabs(t->probes[0].kld / want - 1) < 2e-3);
    mem_free(log_p);
    calib_close(&c);
    engine_close(en);
    measurement_free(m);
}

/* All matrices as Q4_0, or as they are where that does not fit: what joint.c finds is what a session finds with all of
 * them in place. */
static void check_mix(const char *path) {
    struct engine *en = open_engine(path, "ref");
    const struct model *model = en->model;
    enum qtype mix[64];
    double got;
    struct measure_options o = { .threads = 2, .calib = { ids_file(), 30, 24 }, .importances_only = true,
                                 .mix = mix, .mix_kld = &got };
    struct calib_tokens c;
    struct measurement *m;
    struct pool *pool;
    size_t n = 0;
    uint64_t row;
    for (uint32_t i = 0; i < model->n_weights; i++) {
        const struct weight *w = &model->weights[i];
        if (slot_info(w->slot)->matrix) mix[n++] = qtype_row_bytes(QTYPE_Q4_0, w->ne[0], &row) ? QTYPE_Q4_0 : w->type;
    }
    struct err e = { 0 };
    if (measure_model(source(path), &o, &m, &e)) fail_msg("%s: %s", e.where, e.msg);
    assert_int_equal(calib_open(en, &o.calib, &c, NULL), ERR_NONE);
    float *log_p = direct_logits(en, m, &c);
    assert_int_equal(pool_open(1, &pool, NULL), ERR_NONE);
    struct { struct placed was; uint8_t *blocks; uint32_t buffer; } put[64] = { 0 };
    for (uint32_t i = 0; i < model->n_weights; i++) {
        const struct weight *w = &model->weights[i];
        const struct measured_tensor *t = measurement_find(m, w->name);
        put[i].was = en->placed[i];
        if (!t || !qtype_row_bytes(QTYPE_Q4_0, w->ne[0], &row)) continue;
        assert_true(t->n_tries == 0 && t->n_probes == 0);
        put[i].blocks = mem_alloc(row, w->ne[1]);
        assert_int_equal(weight_encode(pool, w, QTYPE_Q4_0, t->importance, put[i].blocks, NULL), ERR_NONE);
        assert_int_equal(backend_import(en->be, put[i].blocks, row * w->ne[1], &put[i].buffer, NULL), ERR_NONE);
        en->placed[i] = (struct placed){ QTYPE_Q4_0, { put[i].buffer, 0 }, NULL };
    }
    float *log_q = direct_logits(en, m, &c);
    size_t tokens = (size_t)m->settings.probe_rows * m->settings.probe_length;
    double want = 0;
    for (size_t i = 0; i < tokens; i++)
        want += kl_divergence(log_p + i * model->hp.n_vocab, log_q + i * model->hp.n_vocab, model->hp.n_vocab) /
                (double)tokens;
    if (fabs(got - want) > 2e-3 * want) fail_msg("%s: %.9g, directly %.9g", path, got, want);
    for (uint32_t i = 0; i < model->n_weights; i++) {
        en->placed[i] = put[i].was;
        if (put[i].buffer) backend_release(en->be, put[i].buffer);
        mem_free(put[i].blocks);
    }
    mem_free(log_p);
    mem_free(log_q);
    pool_close(pool);
    calib_close(&c);
    measurement_free(m);
    engine_close(en);
}

static void test_mix(void **state) {
    (void)state;
    check_mix("tests/data/arch/llama");
    check_mix("tests/data/arch/llama-mha");
}

static void assert_same_files(const char *a, const char *b) {
    char x[300], y[300];
    snprintf(x, sizeof x, "%s.json", a);
    snprintf(y, sizeof y, "%s.json", b);
    assert_true(same_bytes(scratch(x), scratch(y)));
    snprintf(x, sizeof x, "%s.imatrix.gguf", a);
    snprintf(y, sizeof y, "%s.imatrix.gguf", b);
    assert_true(same_bytes(scratch(x), scratch(y)));
}

static void test_threads(void **state) {
    (void)state;
    measurement_free(measure("tests/data/arch/llama", 1, scratch("one.json")));
    measurement_free(measure("tests/data/arch/llama", 2, scratch("two.json")));
    assert_same_files("one", "two");
}

/* With memory for few copies the probes are made in many waves, each from where the last one's states were kept. */
static void test_waves(void **state) {
    (void)state;
    struct measure_options o = { .threads = 1, .calib = { ids_file(), 30, 24 }, .probe_bytes = 1 };
    struct measurement *few, *all = measure("tests/data/arch/llama", 1, NULL);
    assert_int_equal(measure_model(source("tests/data/arch/llama"), &o, &few, NULL), ERR_NONE);
    for (size_t i = 0; i < all->n_tensors; i++) {
        const struct measured_tensor *a = &all->tensors[i], *b = &few->tensors[i];
        assert_int_equal(a->n_probes, b->n_probes);
        for (size_t k = 0; k < a->n_probes; k++) assert_true(a->probes[k].kld == b->probes[k].kld);
    }
    measurement_free(few);
    measurement_free(all);
}

struct stop { int steps, tries; };
static bool stop_step(void *user, const char *what, double done, double total) {
    struct stop *s = user;
    (void)what;
    assert_true(done >= 0 && done <= total);
    return s->steps-- > 0;
}
static void count_try(void *user, const struct measured_tensor *tensor, const struct measured_try *t) {
    struct stop *s = user;
    assert_non_null(tensor->name);
    assert_true(t->rfn >= 0);
    s->tries++;
}

/* Interrupted again and again, each time a little later and with a torn last line, it ends with the same files. */
static void test_resume(void **state) {
    (void)state;
    measurement_free(measure("tests/data/arch/llama", 2, scratch("one.json")));
    struct measurement *m = NULL;
    int stops = 0, tries = 0;
    for (int steps = 50; !m; steps += 41, stops++) {
        struct stop stop = { steps, 0 };
        struct measure_options o = { .threads = 1, .calib = { ids_file(), 30, 24 }, .file = scratch("cut.json"),
                                     .on_try = count_try, .user = &stop, .progress = { stop_step, &stop } };
        struct err e = { 0 };
        enum err_code rc = measure_model(source("tests/data/arch/llama"), &o, &m, &e);
        tries = stop.tries;
        if (!rc) break;
        assert_int_equal(rc, ERR_INTERRUPTED);
        assert_false(os_exists(scratch("cut.json")));
        FILE *f = fopen(scratch("cut.json.journal.part"), "ab");
        assert_non_null(f);
        fputs("{\"tensor\":\"blk.0.attn_q.weight\",\"tries\":[{\"type\":\"Q2_K\"", f);
        fclose(f);
    }
    assert_true(stops > 2);
    size_t all = 0;
    for (size_t i = 0; i < m->n_tensors; i++) all += m->tensors[i].n_tries;
    assert_int_equal(tries, all); /* those of the journal are told too */
    assert_same_files("one", "cut");
    assert_false(os_exists(scratch("cut.json.journal.part")));
    measurement_free(m);
}

/* What the journal holds is not done again: a value put there comes out. */
static void test_journal_is_used(void **state) {
    (void)state;
    struct stop stop = { 40, 0 };
    char file[300];
    snprintf(file, sizeof file, "%s", scratch("j.json"));
    struct measure_options o = { .calib = { ids_file(), 30, 24 }, .file = file, .progress = { stop_step, &stop } };
    struct measurement *m;
    assert_int_equal(measure_model(source("tests/data/arch/llama"), &o, &m, NULL), ERR_INTERRUPTED);
    struct span s = read_bytes(scratch("j.json.journal.part"));
    char *rfn = strstr((char *)s.p, "\"rfn_error\":0.");
    assert_non_null(rfn);
    memcpy(rfn + 14, "777", 3);
    FILE *f = fopen(scratch("j.json.journal.part"), "wb");
    fwrite(s.p, 1, s.n, f);
    fclose(f);
    stop.steps = 1 << 20;
    assert_int_equal(measure_model(source("tests/data/arch/llama"), &o, &m, NULL), ERR_NONE);
    bool seen = false;
    for (size_t i = 0; i < m->n_tensors; i++) seen |= fabs(m->tensors[i].tries[0].rfn - 0.7775) < 0.0006;
    assert_true(seen);
    measurement_free(m);
    /* Other settings: the journal is another's and is dropped. */
    f = fopen(scratch("j.json.journal.part"), "wb");
    fwrite(s.p, 1, s.n, f);
    fclose(f);
    o.calib.rows = 29;
    assert_int_equal(measure_model(source("tests/data/arch/llama"), &o, &m, NULL), ERR_NONE);
    for (size_t i = 0; i < m->n_tensors; i++) assert_true(m->tensors[i].tries[0].rfn < 0.7);
    measurement_free(m);
    mem_free((void *)s.p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_windows),         cmocka_unit_test(test_calib_errors), cmocka_unit_test(test_text),
        cmocka_unit_test(test_builtin),         cmocka_unit_test(test_stats),        cmocka_unit_test(test_rfn),
        cmocka_unit_test(test_types),           cmocka_unit_test(test_scan_and_encode),
        cmocka_unit_test(test_probes),          cmocka_unit_test(test_tied),         cmocka_unit_test(test_threads),
        cmocka_unit_test(test_mix),
        cmocka_unit_test(test_waves),
        cmocka_unit_test(test_resume),          cmocka_unit_test(test_journal_is_used),
    };
    return cmocka_run_group_tests_name("measure", tests, scratch_make, scratch_remove);
}
