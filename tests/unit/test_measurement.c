/* Measurements: the loss model against arithmetic by hand, the files against what was written, damaged and foreign
 * files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <sys/mman.h>

#include "quant/measurement.h"
#include "format_files.h"

/* --- Loss --- */

static const struct measured_try tries[] = {
    { QTYPE_Q2_K, 2.625, 0.4 }, { QTYPE_Q3_K, 3.4375, 0.2 }, { QTYPE_Q4_K, 4.5, 0.1 }, { QTYPE_Q8_0, 8.5, 0.01 },
    { QTYPE_BF16, 16, 0 },
};

static void test_loss_without_probes(void **state) {
    (void)state;
    struct measured_tensor t = { .tries = tries, .n_tries = ARRAY_LEN(tries), .sensitivity = 3 };
    assert_true(fabs(measured_loss(&t, QTYPE_Q3_K) - 3 * 0.04) < 1e-15);
    assert_true(measured_loss(&t, QTYPE_BF16) == 0);
    assert_true(measured_loss(&t, QTYPE_Q6_K) == INFINITY);
}

/* Probes at errors of 0.2 and 0.1: 0.8 and 0.1 nats. The error halves while the loss falls to an eighth: an
 * exponent of log 8 / log 2 = 3. Outside it is 2. */
static void test_loss_between_probes(void **state) {
    (void)state;
    const struct measured_probe probes[] = { { QTYPE_Q3_K, 0.8 }, { QTYPE_Q4_K, 0.1 } };
    static const struct measured_try more[] = {
        { QTYPE_Q2_K, 2.625, 0.4 }, { QTYPE_Q3_K, 3.4375, 0.2 }, { QTYPE_IQ4_XS, 4.25, 0.15 },
        { QTYPE_Q4_K, 4.5, 0.1 },   { QTYPE_Q6_K, 6.5625, 0.02 }, { QTYPE_BF16, 16, 0 },
    };
    struct measured_tensor t = { .tries = more, .n_tries = ARRAY_LEN(more), .probes = probes, .n_probes = 2 };
    assert_true(fabs(measured_loss(&t, QTYPE_Q2_K) - 3.2) < 1e-12);
    assert_true(fabs(measured_loss(&t, QTYPE_Q3_K) - 0.8) < 1e-12);
    assert_true(fabs(measured_loss(&t, QTYPE_IQ4_XS) - 0.3375) < 1e-12); /* 0.1 * 1.5^3 */
    assert_true(fabs(measured_loss(&t, QTYPE_Q4_K) - 0.1) < 1e-12);
    assert_true(fabs(measured_loss(&t, QTYPE_Q6_K) - 0.004) < 1e-12); /* 0.1 / 5^2 */
    assert_true(measured_loss(&t, QTYPE_BF16) == 0);
}

/* --- Files --- */

static const char *source(const char *rest) {
    const char *root = getenv("SNUG_SOURCE");
    return path_of(root ? root : ".", rest);
}

/* A made-up measurement of `model`: numbers that need all their digits. */
static struct measurement *make(const struct model *model) {
    struct measurement *m = NEW(struct measurement);
    snprintf(m->model_name, sizeof m->model_name, "%s", model->hp.name);
    snprintf(m->arch, sizeof m->arch, "%s", model->hp.arch->name);
    m->parameters = model_parameters(model);
    assert_int_equal(measurement_hash_model(model, &m->model_hash, NULL), ERR_NONE);
    m->settings = (struct measured_settings){ "some \"text\".txt", 0xfedcba9876543210, 100, 37, 8, 30, 2, 0 };
    m->tensors = arena_alloc(&m->mem, model->n_weights, sizeof *m->tensors);
    for (uint32_t i = 0; i < model->n_weights; i++) {
        const struct weight *w = &model->weights[i];
        if (!slot_info(w->slot)->matrix) continue;
        float *a = arena_alloc(&m->mem, w->ne[0], sizeof *a);
        for (uint64_t j = 0; j < w->ne[0]; j++) a[j] = 1.0f / (float)(3 + i + j);
        struct measured_try *t = arena_alloc(&m->mem, 2, sizeof *t);
        t[0] = (struct measured_try){ QTYPE_Q3_K, qtype_bpw(QTYPE_Q3_K), 1.0 / (7 + i) };
        t[1] = (struct measured_try){ QTYPE_BF16, 16, 0 };
        struct measured_probe *p = arena_alloc(&m->mem, 1, sizeof *p);
        p[0] = (struct measured_probe){ QTYPE_Q3_K, 1.0 / (70 + i) };
        m->tensors[m->n_tensors++] = (struct measured_tensor){
            .name = arena_strdup(&m->mem, w->name), .ne = { w->ne[0], w->ne[1], 1 }, .tries = t, .n_tries = 2,
            .probes = p, .n_probes = i % 2, .sensitivity = 1.0 / (3 + i),
            .importance = w->slot == SLOT_TOKEN_EMBD ? NULL : a,
        };
    }
    return m;
}

static struct model *open_model(const char *rest) {
    struct model *m;
    struct err e = { 0 };
    if (model_open(source(rest), false, &m, &e)) fail_msg("%s: %s", e.where, e.msg);
    return m;
}

static void assert_same_tensor(const struct measured_tensor *a, const struct measured_tensor *b) {
    assert_string_equal(a->name, b->name);
    assert_memory_equal(a->ne, b->ne, sizeof a->ne);
    assert_memory_equal(&a->sensitivity, &b->sensitivity, sizeof a->sensitivity);
    assert_int_equal(a->n_tries, b->n_tries);
    assert_int_equal(a->n_probes, b->n_probes);
    for (size_t i = 0; i < a->n_tries; i++) {
        assert_int_equal(a->tries[i].type, b->tries[i].type);
        assert_true(a->tries[i].bpw == b->tries[i].bpw && a->tries[i].rfn == b->tries[i].rfn);
    }
    for (size_t i = 0; i < a->n_probes; i++) {
        assert_int_equal(a->probes[i].type, b->probes[i].type);
        assert_true(a->probes[i].kld == b->probes[i].kld);
    }
    assert_int_equal(a->importance == NULL, b->importance == NULL);
    if (a->importance) assert_memory_equal(a->importance, b->importance, a->ne[0] * sizeof *a->importance);
}

static void test_round_trip(void **state) {
    (void)state;
    struct model *model = open_model("tests/data/arch/llama");
    struct measurement *m = make(model), *back;
    struct err e = { 0 };
    assert_int_equal(measurement_write(m, scratch("m.json"), &e), ERR_NONE);
    if (measurement_read(scratch("m.json"), model, &back, &e)) fail_msg("%s: %s", e.where, e.msg);
    assert_string_equal(back->model_name, m->model_name);
    assert_string_equal(back->arch, m->arch);
    assert_true(back->parameters == m->parameters && back->model_hash == m->model_hash);
    assert_string_equal(back->settings.source, m->settings.source);
    assert_true(back->settings.text_hash == m->settings.text_hash);
    assert_int_equal(back->settings.rows, 100);
    assert_int_equal(back->settings.length, 37);
    assert_int_equal(back->settings.probe_rows, 8);
    assert_int_equal(back->settings.probe_length, 30);
    assert_int_equal(back->settings.probe_layers, 2);
    assert_int_equal(back->n_tensors, m->n_tensors);
    for (size_t i = 0; i < m->n_tensors; i++) assert_same_tensor(&m->tensors[i], &back->tensors[i]);
    assert_int_equal(measurement_write(back, scratch("m2.json"), &e), ERR_NONE);
    assert_true(same_bytes(scratch("m.json"), scratch("m2.json")));
    assert_true(same_bytes(scratch("m.imatrix.gguf"), scratch("m2.imatrix.gguf")));
    measurement_free(back);
    measurement_free(m);
    model_close(model);
}

/* Reads path against model and wants an error that says so. */
static void assert_refused(const char *path, const struct model *model, const char *says) {
    struct measurement *m;
    struct err e = { 0 };
    assert_int_not_equal(measurement_read(path, model, &m, &e), ERR_NONE);
    assert_null(m);
    if (!strstr(e.msg, says)) fail_msg("\"%s\" does not say \"%s\"", e.msg, says);
    assert_non_null(strstr(e.where, "json"));
}

/* Replaces the first `from` in the file by `to` and wants an error. */
static void assert_damage(const char *from, const char *to, const char *says) {
    struct span s = read_bytes(scratch("m.json"));
    const char *text = (const char *)s.p, *at = strstr(text, from);
    struct buf b = { 0 };
    assert_non_null(at);
    buf_add(&b, text, (size_t)(at - text));
    buf_addz(&b, to);
    buf_addz(&b, at + strlen(from));
    write_bytes(scratch("bad.json"), b.p, b.n);
    assert_refused(scratch("bad.json"), NULL, says);
    buf_fini(&b);
    mem_free((void *)s.p);
}

static void write_good(struct model **model) {
    *model = open_model("tests/data/arch/llama");
    struct measurement *m = make(*model);
    assert_int_equal(measurement_write(m, scratch("m.json"), NULL), ERR_NONE);
    assert_int_equal(measurement_write(m, scratch("bad.json"), NULL), ERR_NONE); /* importances beside it */
    measurement_free(m);
}

static void test_damaged(void **state) {
    (void)state;
    struct model *model;
    write_good(&model);
    assert_damage("snug measurement", "something else", "no measurement file");
    assert_damage("\"version\": 1", "\"version\": 2", "version 2");
    assert_damage("\"Q3_K\"", "\"Q9_K\"", "Q9_K");
    assert_damage("\"rfn_error\": 0.", "\"rfn_error\": -0.", "rfn_error");
    assert_damage("\"rfn_error\": 0.", "\"rfn_error\": \"x\", \"y\": 0.", "rfn_error");
    assert_damage("\"bpw\": 3.4375", "\"bpw\": 3.5", "bpw");
    assert_damage("\"sensitivity\": 0.", "\"sensitivity\": 0.0, \"x\": 0.", "sensitivity");
    assert_damage("blk.0.attn_k.weight", "blk.0.attn_q.weight", "twice");
    assert_damage("\"tensors\": [", "\"tensors\": [], \"others\": [", "tensors");
    assert_damage("\"text_hash\": \"fedc", "\"text_hash\": \"FEDC", "text_hash");
    assert_damage("\"shape\": [", "\"shape\": [-1, ", "shape");
    assert_damage("\"rows\": 100", "\"rows\": 1e2", "rows");
    assert_damage("\"importance\": true", "\"importance\": false", "another run");
    assert_damage("\"importance\": false", "\"importance\": true", "no importances of token_embd.weight");
    model_close(model);
}

/* Cut anywhere, it is refused; so are importances that are cut, absent or of another run. */
static void test_cut(void **state) {
    (void)state;
    struct model *model;
    write_good(&model);
    struct span s = read_bytes(scratch("m.json"));
    for (size_t n = 0; n + 2 < s.n; n += n < 600 ? 1 : 97) {
        struct measurement *m;
        write_bytes(scratch("bad.json"), s.p, n);
        assert_int_not_equal(measurement_read(scratch("bad.json"), NULL, &m, NULL), ERR_NONE);
    }
    mem_free((void *)s.p);
    s = read_bytes(scratch("m.imatrix.gguf"));
    write_bytes(scratch("m.imatrix.gguf"), s.p, s.n / 2);
    assert_refused(scratch("m.json"), model, "");
    ((uint8_t *)s.p)[s.n - 40] ^= 1;
    write_bytes(scratch("m.imatrix.gguf"), s.p, s.n);
    assert_refused(scratch("m.json"), model, "another run");
    mem_free((void *)s.p);
    unlink(scratch("m.imatrix.gguf"));
    assert_refused(scratch("m.json"), model, "");
    model_close(model);
}

static void test_other_model(void **state) {
    (void)state;
    struct model *model, *tiny = open_model("models/tiny");
    write_good(&model);
    assert_refused(scratch("m.json"), tiny, "another model");
    struct measurement *m = make(model);
    m->model_hash ^= 1;
    assert_int_equal(measurement_write(m, scratch("m.json"), NULL), ERR_NONE);
    assert_refused(scratch("m.json"), model, "other weights");
    snprintf(m->arch, sizeof m->arch, "mamba");
    assert_int_equal(measurement_write(m, scratch("m.json"), NULL), ERR_NONE);
    assert_refused(scratch("m.json"), model, "architecture mamba");
    measurement_free(m);
    model_close(model);
    model_close(tiny);
}

/* A matrix of ones, rows of 1024, in memory. Changing any 64th of it, rows or columns, changes the hash. */
static void test_hash_sees_everywhere(void **state) {
    enum { N = 1024, BAND = N / 64 };
    (void)state;
    /* Like a file, it keeps its values when its pages are let go. */
    float *x = mmap(NULL, N * N * sizeof *x, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(x != MAP_FAILED);
    struct tfile_tensor t = { .name = "m", .type = QTYPE_F32, .n_dims = 2, .ne = { N, N, 1, 1 }, .data = (uint8_t *)x,
                              .bytes = N * N * sizeof *x };
    struct weight w = { .name = "m", .slot = SLOT_FFN_UP, .src = &t, .n_parts = 1, .type = QTYPE_F32,
                        .ne = { N, N, 1, 1 } };
    const struct tfile_tensor *part = &t;
    w.parts = &part;
    w.map = model_plain_map(&w);
    struct model m = { .weights = &w, .n_weights = 1 };
    for (size_t i = 0; i < N * N; i++) x[i] = 1;
    uint64_t as_it_was, now;
    assert_int_equal(measurement_hash_model(&m, &as_it_was, NULL), ERR_NONE);
    for (size_t band = 0; band < N; band += BAND)
        for (int of_columns = 0; of_columns < 2; of_columns++) {
            for (int change = 1; change >= 0; change--) {
                for (size_t i = 0; i < (size_t)N * BAND; i++)
                    x[of_columns ? i / BAND * N + band + i % BAND : band * N + i] = 1 + (float)change;
                assert_int_equal(measurement_hash_model(&m, &now, NULL), ERR_NONE);
                if ((now == as_it_was) == (change == 0)) continue;
                fail_msg("%s %zu to %zu are not seen", of_columns ? "columns" : "rows", band, band + BAND - 1);
            }
        }
    munmap(x, N * N * sizeof *x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loss_without_probes), cmocka_unit_test(test_loss_between_probes),
        cmocka_unit_test(test_round_trip),          cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_cut),                 cmocka_unit_test(test_other_model),
        cmocka_unit_test(test_hash_sees_everywhere),
    };
    return cmocka_run_group_tests_name("measurement", tests, scratch_make, scratch_remove);
}
