/* Sessions on the model that ships: batches of any cut, several sequences, and pages in any order give the same logits
 * as one sequence alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/kv.h"
#include "runtime/session.h"

enum { N_VOCAB = 4096, N = 70 };

static struct engine *open_with(struct engine_options o) {
    char dir[600];
    struct engine *en;
    struct err e;
    snprintf(dir, sizeof dir, "%s/models/tiny", getenv("SNUG_SOURCE"));
    if (engine_open(dir, &o, &en, &e)) fail_msg("%s", e.msg);
    assert_int_equal(en->model->hp.n_vocab, N_VOCAB);
    return en;
}

static struct engine *open_tiny(const char *backend, bool exact, unsigned threads) {
    return open_with((struct engine_options){ .backend = backend, .threads = threads, .exact = exact });
}

static int32_t token(unsigned seq, unsigned i) { return (int32_t)(100 + (i * 37 + seq * 1009) % 3900); }

static void eval(struct session *s, const struct batch *b, float *logits) {
    struct err e;
    if (session_eval(s, b, logits, &e)) fail_msg("%s", e.msg);
}

/* The last logits of sequence seq, run alone in one batch. */
static void alone(struct engine *en, unsigned seq, size_t n, float *logits) {
    struct session *s;
    int32_t ids[N];
    for (unsigned i = 0; i < n; i++) ids[i] = token(seq, i);
    assert_int_equal(session_open(en, &(struct pass_desc){ .n_ctx = N }, &s, NULL), ERR_NONE);
    eval(s, &(struct batch){ .n = n, .ids = ids }, logits);
    session_close(s);
}

static float largest_difference(const float *a, const float *b) {
    float worst = 0;
    for (int i = 0; i < N_VOCAB; i++) worst = fmaxf(worst, fabsf(a[i] - b[i]));
    return worst;
}

/* Float sums differ in order only: far below the 5e-4 that separates right from wrong (tests/golden). */
static void assert_close(const float *a, const float *b) {
    float d = largest_difference(a, b);
    if (!(d < 1e-4f)) fail_msg("logits differ by %g", (double)d);
}

static float a[N_VOCAB], b[3 * N_VOCAB];

static void test_any_cut_of_a_batch(void **state) {
    (void)state;
    struct engine *en = open_tiny("cpu", true, 2);
    alone(en, 0, N, a);
    for (unsigned step = 1; step < N; step += 13) {
        struct session *s;
        int32_t ids[N];
        for (unsigned i = 0; i < N; i++) ids[i] = token(0, i);
        assert_int_equal(session_open(en, &(struct pass_desc){ .n_ctx = N, .n_batch = step + 3 }, &s, NULL), ERR_NONE);
        for (unsigned i = 0; i < N; i += step) {
            unsigned n = i + step < N ? step : N - i;
            eval(s, &(struct batch){ .n = n, .ids = ids + i }, b);
        }
        assert_int_equal(session_length(s, 0), N);
        assert_close(a, b);
        session_close(s);
    }
    engine_close(en);
}

static void test_several_sequences_in_one_batch(void **state) {
    (void)state;
    struct engine *en = open_tiny("cpu", true, 2);
    struct session *s;
    int32_t ids[3 * N];
    uint32_t seq[3 * N];
    bool want[3 * N] = { false };
    size_t n = 0, lengths[3] = { N, 33, 7 };
    assert_int_equal(session_open(en, &(struct pass_desc){ .n_ctx = N, .n_seq = 3, .n_out = 3 }, &s, NULL), ERR_NONE);
    for (unsigned i = 0; i < N; i++) /* interleaved, so that the sequences' pages are too */
        for (unsigned q = 0; q < 3; q++) {
            if (i >= lengths[q]) continue;
            ids[n] = token(q, i);
            seq[n] = q;
            want[n++] = i + 1 == lengths[q];
        }
    eval(s, &(struct batch){ .n = n, .ids = ids, .seq = seq, .want = want }, b);
    for (unsigned q = 0; q < 3; q++) { /* wanted rows come in the batch's order: the shortest sequence ends first */
        alone(en, q, lengths[q], a);
        assert_close(a, b + (2 - q) * N_VOCAB);
    }
    session_close(s);
    engine_close(en);
}

static void test_truncated_sequence_goes_on(void **state) {
    (void)state;
    struct engine *en = open_tiny("cpu", true, 2);
    struct session *s;
    int32_t ids[N], other[40];
    for (unsigned i = 0; i < N; i++) ids[i] = token(0, i);
    for (unsigned i = 0; i < 40; i++) other[i] = token(5, i);
    assert_int_equal(session_open(en, &(struct pass_desc){ .n_ctx = N }, &s, NULL), ERR_NONE);
    eval(s, &(struct batch){ .n = 30, .ids = ids }, b);
    eval(s, &(struct batch){ .n = 40, .ids = other }, b);
    session_truncate(s, 0, 30);
    assert_int_equal(session_length(s, 0), 30);
    eval(s, &(struct batch){ .n = N - 30, .ids = ids + 30 }, b);
    alone(en, 0, N, a);
    assert_close(a, b);
    session_close(s);
    engine_close(en);
}

static void test_bad_batches_leave_the_session_alone(void **state) {
    (void)state;
    struct engine *en = open_tiny("cpu", true, 1);
    struct session *s;
    struct err e;
    int32_t ids[N + 1];
    uint32_t seq[1] = { 1 };
    for (unsigned i = 0; i <= N; i++) ids[i] = token(0, i);
    assert_int_equal(session_open(en, &(struct pass_desc){ .n_ctx = N }, &s, NULL), ERR_NONE);
    assert_int_equal(session_eval(s, &(struct batch){ .n = N + 1, .ids = ids }, b, &e), ERR_TOO_LARGE);
    ids[3] = N_VOCAB;
    assert_int_equal(session_eval(s, &(struct batch){ .n = 5, .ids = ids }, b, &e), ERR_USAGE);
    ids[3] = -1;
    assert_int_equal(session_eval(s, &(struct batch){ .n = 5, .ids = ids }, b, &e), ERR_USAGE);
    assert_int_equal(session_eval(s, &(struct batch){ .n = 1, .ids = ids, .seq = seq }, b, &e), ERR_USAGE);
    assert_int_equal(session_length(s, 0), 0);
    session_close(s);
    engine_close(en);
}

static void test_threads_change_nothing(void **state) {
    (void)state;
    struct engine *one = open_tiny("cpu", false, 1), *two = open_tiny("cpu", false, 2);
    alone(one, 0, N, a);
    alone(two, 0, N, b);
    assert_memory_equal(a, b, sizeof a);
    engine_close(one);
    engine_close(two);
}

static void test_memory_is_what_was_said(void **state) {
    (void)state;
    struct engine *en = open_tiny("cpu", false, 2);
    struct session *s;
    struct pass_memory said;
    int32_t ids[N];
    struct pass_desc d = { .n_ctx = 100 };
    for (unsigned i = 0; i < N; i++) ids[i] = token(0, i);
    assert_int_equal(session_memory(en, &d, &said, NULL), ERR_NONE);
    /* 100 tokens take 4 pages of 32: keys and values of 6 layers, 2 heads of 64, 2 bytes each */
    assert_int_equal(said.kv_bytes, 2 * 6 * 128 * 2 * 2 * 64);
    assert_int_equal(session_open(en, &d, &s, NULL), ERR_NONE);
    for (unsigned n = N; n > 1; n /= 2) { /* shapes of all sizes within the same memory */
        session_truncate(s, 0, 0);
        eval(s, &(struct batch){ .n = n, .ids = ids }, b);
    }
    struct pass_memory taken = session_taken(s);
    assert_int_equal(pass_memory_total(&taken), pass_memory_total(&said));
    session_close(s);
    engine_close(en);
}

static void test_pages_come_and_go(void **state) {
    (void)state;
    struct kv kv;
    assert_int_equal(kv_init(&kv, 2, 10, 4, NULL), ERR_NONE);
    assert_int_equal(kv_cells(&kv), 2 * 3 * 4);
    for (int i = 0; i < 4; i++) assert_int_equal(kv_append(&kv, 0), i);
    assert_int_equal(kv_append(&kv, 1), 4); /* page 1 */
    assert_int_equal(kv_append(&kv, 0), 8); /* page 2 */
    kv_truncate(&kv, 0, 4);                 /* gives page 2 back, keeps page 0 */
    assert_int_equal(kv.length[0], 4);
    assert_int_equal(kv_append(&kv, 0), 8);
    kv_truncate(&kv, 0, 2);
    assert_int_equal(kv_append(&kv, 0), 2);
    kv_truncate(&kv, 0, 0);
    kv_truncate(&kv, 1, 0);
    assert_int_equal(kv.n_free, 6);
    kv_fini(&kv);
}

struct listener { unsigned calls, stop_at; double last; };

static bool listen(void *user, const char *what, double done, double total) {
    struct listener *l = user;
    assert_non_null(what);
    assert_true(done >= l->last && done <= total && total == N);
    l->last = done;
    return ++l->calls != l->stop_at;
}

/* A batch in one piece is asked about at least once a block, and may be left at any of these places: the sequence is
 * then where it was, and the same batch gives the same logits. */
static void test_a_batch_can_be_left(void **state) {
    static const char *const devices[] = { "cpu", "ref" };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(devices); i++) {
        struct engine *en = open_tiny(devices[i], true, 2);
        struct session *s;
        struct listener heard = { 0 };
        int32_t ids[N];
        for (unsigned t = 0; t < N; t++) ids[t] = token(0, t);
        assert_int_equal(session_open(en, &(struct pass_desc){ .n_ctx = N + 5 }, &s, NULL), ERR_NONE);
        struct batch batch = { .n = N, .ids = ids, .progress = { .step = listen, .user = &heard } };
        eval(s, &batch, a);
        assert_true(heard.calls >= en->model->hp.n_layer);
        session_truncate(s, 0, 0);
        eval(s, &(struct batch){ .n = 5, .ids = ids }, b);
        for (unsigned stop_at = 1; stop_at <= heard.calls; stop_at += 20) {
            struct listener l = { .stop_at = stop_at };
            batch.progress.user = &l;
            assert_int_equal(session_eval(s, &batch, b, NULL), ERR_INTERRUPTED);
            assert_int_equal(l.calls, stop_at);
            assert_int_equal(session_length(s, 0), 5);
        }
        session_truncate(s, 0, 0);
        eval(s, &(struct batch){ .n = N, .ids = ids }, b);
        assert_memory_equal(a, b, N_VOCAB * sizeof *a);
        session_close(s);
        engine_close(en);
    }
}

/* Truncated and run again in the same batches, a sequence gives the same bits; keys and values differ from those in
 * float, but not by much: logits here are of the order of 10. */
static void test_a_cache_of_bytes(void **state) {
    (void)state;
    struct engine_options o = { .backend = "cpu", .threads = 2, .exact = true, .cache_type_k = "q8_0",
                                .cache_type_v = "q8_0" };
    struct engine *en = open_with(o), *exact = open_tiny("cpu", true, 2);
    struct session *s;
    int32_t ids[N];
    struct pass_memory said;
    for (unsigned i = 0; i < N; i++) ids[i] = token(0, i);
    assert_int_equal(session_memory(en, &(struct pass_desc){ .n_ctx = 100 }, &said, NULL), ERR_NONE);
    /* 4 pages of 32 cells, 6 layers, keys and values; a cell is 2 heads of 64 numbers, 34 bytes for 32 of them */
    assert_int_equal(said.kv_bytes, 2 * 6 * 128 * (2 * 64 / 32 * 34));
    assert_int_equal(session_open(en, &(struct pass_desc){ .n_ctx = N }, &s, NULL), ERR_NONE);
    for (int again = 0; again < 2; again++) {
        session_truncate(s, 0, again ? 33 : 0);
        if (!again) eval(s, &(struct batch){ .n = 33, .ids = ids }, a);
        eval(s, &(struct batch){ .n = N - 33, .ids = ids + 33 }, again ? b : a);
    }
    session_close(s);
    assert_memory_equal(a, b, sizeof a);
    alone(exact, 0, N, b);
    const float d = largest_difference(a, b);
    print_message("a cache of bytes: logits differ by %g\n", (double)d);
    assert_true(d > 1e-4f && d < 0.5f);
    engine_close(en);
    engine_close(exact);
}

static void test_cache_types_are_checked(void **state) {
    (void)state;
    struct kv_types kv;
    struct err e = { 0 };
    assert_int_equal(kv_types_named("q8_0", NULL, false, &kv, &e), ERR_NONE);
    assert_true(kv.k == QTYPE_Q8_0 && kv.v == QTYPE_F16);
    const struct hparams narrow = { .n_head_kv = 2, .head_dim = 80, .head_dim_v = 64 };
    assert_int_equal(kv_types_check(&narrow, kv, &e), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "80"));
    assert_int_equal(kv_types_named("q8_0", "q5_0", true, &kv, &e), ERR_USAGE);
    assert_non_null(strstr(e.msg, "--cache-type-v q5_0"));
    assert_int_equal(kv_types_named(NULL, "q8_0", true, &kv, &e), ERR_NONE);
    assert_int_equal(kv_types_check(&narrow, kv, &e), ERR_NONE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_cut_of_a_batch), cmocka_unit_test(test_several_sequences_in_one_batch),
        cmocka_unit_test(test_truncated_sequence_goes_on), cmocka_unit_test(test_bad_batches_leave_the_session_alone),
        cmocka_unit_test(test_threads_change_nothing), cmocka_unit_test(test_memory_is_what_was_said),
        cmocka_unit_test(test_pages_come_and_go), cmocka_unit_test(test_a_batch_can_be_left),
        cmocka_unit_test(test_a_cache_of_bytes), cmocka_unit_test(test_cache_types_are_checked),
    };
    return cmocka_run_group_tests_name("session", tests, NULL, NULL);
}
