/* Scoring: softmax, divergence, windows and statistics, against arithmetic that is written out beside each test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/score.h"

static void assert_near(double got, double want, double tolerance) {
    if (!(fabs(got - want) <= tolerance)) fail_msg("%.12g instead of %.12g", got, want);
}

static void test_log_softmax(void **state) {
    (void)state;
    /* e^x = 1, 2, 5: the sum is 8. A constant added to all logits changes nothing, also where e^x overflows. */
    for (float shift = -500; shift <= 500; shift += 250) {
        float l[] = { shift, shift + logf(2), shift + logf(5) };
        log_softmax(l, 3);
        assert_near(l[0], log(1.0 / 8), 5e-5);
        assert_near(l[1], log(2.0 / 8), 5e-5);
        assert_near(l[2], log(5.0 / 8), 5e-5);
    }
    /* The largest need not come first: 0 and 1000 have e^-1000 between them, which is nothing. */
    float far[] = { 0, 1000, 0 };
    log_softmax(far, 3);
    assert_near(far[0], -1000, 0);
    assert_near(far[1], 0, 0);
    float one = 7;
    log_softmax(&one, 1);
    assert_near(one, 0, 0);
}

static void test_kl_divergence(void **state) {
    (void)state;
    /* p = (1/2, 1/4, 1/4), q = (1/4, 1/4, 1/2): 1/2 ln 2 + 0 + 1/4 ln(1/2) = 1/4 ln 2. */
    float p[] = { logf(0.5f), logf(0.25f), logf(0.25f) }, q[] = { logf(0.25f), logf(0.25f), logf(0.5f) };
    assert_near(kl_divergence(p, q, 3), 0.25 * log(2), 1e-7);
    assert_near(kl_divergence(p, p, 3), 0, 0);
    /* It is not symmetric: with r = (1/8, 1/8, 3/4), KL(p||r) = 1/2 ln 4 + 1/4 ln 2 + 1/4 ln(1/3), and
     * KL(r||p) = 1/8 ln(1/4) + 1/8 ln(1/2) + 3/4 ln 3. */
    float r[] = { logf(0.125f), logf(0.125f), logf(0.75f) };
    assert_near(kl_divergence(p, r, 3), 1.25 * log(2) - 0.25 * log(3), 1e-6);
    assert_near(kl_divergence(r, p, 3), 0.75 * log(3) - 0.375 * log(2), 1e-6);
}

static void test_windows(void **state) {
    (void)state;
    int32_t ids[13], *out;
    uint32_t n;
    for (int i = 0; i < 13; i++) ids[i] = 100 + i;
    /* 13 ids make three windows of 4; the thirteenth is left over. BOS replaces the first of each. */
    assert_int_equal(windows_cut(ids, 13, 4, 0, 1, &out, &n, NULL), ERR_NONE);
    const int32_t want[] = { 1, 101, 102, 103, 1, 105, 106, 107, 1, 109, 110, 111 };
    assert_int_equal(n, 3);
    assert_memory_equal(out, want, sizeof want);
    mem_free(out);
    assert_int_equal(windows_cut(ids, 13, 4, 0, 0, &out, &n, NULL), ERR_NONE); /* the first token of all is one too */
    assert_int_equal(out[4], 0);
    mem_free(out);
    assert_int_equal(windows_cut(ids, 13, 4, 2, -1, &out, &n, NULL), ERR_NONE);
    assert_int_equal(n, 2);
    assert_memory_equal(out, ids, 8 * sizeof *ids);
    mem_free(out);
    assert_int_equal(windows_cut(ids, 8, 4, 7, -1, &out, &n, NULL), ERR_NONE);
    assert_int_equal(n, 2);
    mem_free(out);
    struct err e;
    /* The second half of two tokens is one, which predicts nothing. */
    for (uint32_t ctx = 1; ctx < 3; ctx++) {
        assert_int_equal(windows_cut(ids, 13, ctx, 0, -1, &out, &n, &e), ERR_USAGE);
        assert_null(out);
    }
    assert_int_equal(windows_cut(ids, 13, 3, 0, -1, &out, &n, &e), ERR_NONE);
    mem_free(out);
    /* One id short of two windows. */
    assert_int_equal(windows_cut(ids, 7, 4, 0, 1, &out, &n, &e), ERR_USAGE);
    assert_null(out);
    assert_non_null(strstr(e.msg, " 7 "));
    assert_non_null(strstr(e.msg, " 4"));
    /* The second half is scored but for the last token, which predicts nothing: of 8, tokens 4..6 predict 5..7. */
    struct windows w = { .n_ctx = 8 };
    assert_int_equal(windows_first(&w), 4);
    assert_int_equal(windows_rows(&w), 3);
}

/* --- Statistics --- */

enum { VOCAB = 2, CTX = 4, WINDOWS = 5 };

/* Window i of five windows has one scored row (token 2 predicts token 3). The model gives the right token, 1, the
 * probability 2^-(i+1); the reference gives it 1/2. */
static enum err_code halving(void *user, uint32_t window, float *logits, struct err *e) {
    (void)user, (void)e;
    double right = ldexp(1, -(int)window - 1);
    logits[0] = (float)log(1 - right);
    logits[1] = (float)log(right);
    return ERR_NONE;
}

static enum err_code even(void *user, uint32_t window, float *logits, struct err *e) {
    (void)user, (void)window, (void)e;
    logits[0] = logits[1] = 3;
    return ERR_NONE;
}

/* Tokens exchanged: the model's likeliest becomes the other, but for the tie of window 0. */
static enum err_code exchanged(void *user, uint32_t window, float *logits, struct err *e) {
    TRY(halving(user, window, logits, e));
    float first = logits[0];
    logits[0] = logits[1];
    logits[1] = first;
    return ERR_NONE;
}

static enum err_code broken(void *user, uint32_t window, float *logits, struct err *e) {
    return window == 2 ? err_set(e, ERR_IO, "no window %u", window) : halving(user, window, logits, e);
}

static enum err_code not_a_number(void *user, uint32_t window, float *logits, struct err *e) {
    TRY(halving(user, window, logits, e));
    if (window == 1) logits[1] = NAN;
    return ERR_NONE;
}

struct heard { unsigned windows, kept; double ppl[WINDOWS]; };

static void hear(void *user, uint32_t window, double ppl) {
    struct heard *h = user;
    assert_int_equal(window, h->windows);
    h->ppl[h->windows++] = ppl;
}

static enum err_code keep(void *user, uint32_t window, const float *log_probs, struct err *e) {
    struct heard *h = user;
    (void)e;
    assert_near(log_probs[1], -(double)(window + 1) * log(2), 1e-6);
    h->kept++;
    return ERR_NONE;
}

static const int32_t ids[WINDOWS * CTX] = { 0, 1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1 };
static const struct windows windows = { .ids = ids, .n_ctx = CTX, .n_windows = WINDOWS, .n_vocab = VOCAB };

static void test_statistics(void **state) {
    (void)state;
    struct heard h = { 0 };
    struct score_result r;
    struct score_desc d = { .windows = &windows, .model = halving, .ref = even, .keep = keep, .on_window = hear,
                            .user = &h };
    assert_int_equal(score_run(&d, &r, NULL), ERR_NONE);
    assert_int_equal(r.tokens, 5);
    assert_int_equal(h.kept, 5);
    /* Negative log-likelihoods are 1, 2, 3, 4, 5 times ln 2: mean 3, so the perplexity is 2^3; after two windows it is
     * 2^1.5. Their variance is 2 ln^2 2, the error of the mean sqrt(2 / (5 - 1)) ln 2, and the perplexity's error that
     * times the perplexity. */
    assert_near(r.ppl, 8, 1e-4);
    assert_near(h.ppl[1], pow(2, 1.5), 1e-5);
    assert_near(r.ppl_error, 8 * sqrt(0.5) * log(2), 1e-4);
    assert_near(r.ref_ppl, 2, 1e-6);
    /* KL((1/2, 1/2) || (1 - x, x)) = -ln 2 - 1/2 ln(x - x^2). */
    double kld[WINDOWS], sum = 0, sum2 = 0;
    for (int i = 0; i < WINDOWS; i++) {
        double x = ldexp(1, -i - 1);
        kld[i] = -log(2) - 0.5 * log(x - x * x);
        sum += kld[i];
        sum2 += kld[i] * kld[i];
    }
    assert_near(r.kld_mean, sum / 5, 1e-5);
    assert_near(r.kld_error, sqrt((sum2 / 5 - sum * sum / 25) / 4), 1e-5);
    /* They rise with the window. Quantile q of five lies at place 4 q: 2, 3.6, 3.96, 3.996. */
    assert_near(r.kld_median, kld[2], 1e-5);
    assert_near(r.kld_p90, 0.4 * kld[3] + 0.6 * kld[4], 1e-5);
    assert_near(r.kld_p99, 0.04 * kld[3] + 0.96 * kld[4], 1e-5);
    assert_near(r.kld_p999, 0.004 * kld[3] + 0.996 * kld[4], 1e-5);
    assert_near(r.kld_max, kld[4], 1e-5);
    /* Both prefer token 0 (a tie goes to the lower id). The right token's probability falls by 0, 1/4, 3/8, 7/16,
     * 15/32. */
    assert_near(r.top1, 100, 0);
    assert_near(r.dp_mean, -100 * (0.25 + 0.375 + 0.4375 + 0.46875) / 5, 1e-4);
    assert_near(r.dp_rms, 100 * sqrt((0.0625 + 0.140625 + 0.19140625 + 0.2197265625) / 5), 1e-4);
}

/* Two windows of 8 tokens and 3 scored rows each. Row i of window w is a distribution of its own, and the tokens of the
 * second half differ, so that a row or a token taken for its neighbour gives another sum. */
static const int32_t rows_ids[2 * 8] = { 0, 0, 0, 0, 2, 1, 0, 2, 0, 0, 0, 0, 1, 2, 1, 0 };
static const double rows_p[2][3][3] = { { { 0.5, 0.3, 0.2 }, { 0.1, 0.2, 0.7 }, { 0.25, 0.6, 0.15 } },
                                        { { 0.4, 0.35, 0.25 }, { 0.05, 0.15, 0.8 }, { 0.45, 0.1, 0.45 } } };
static const double rows_q[2][3][3] = { { { 0.2, 0.2, 0.6 }, { 0.3, 0.3, 0.4 }, { 0.7, 0.2, 0.1 } },
                                        { { 0.1, 0.1, 0.8 }, { 0.5, 0.25, 0.25 }, { 0.3, 0.4, 0.3 } } };

static enum err_code give_rows(void *table, uint32_t window, float *logits, struct err *e) {
    const double (*t)[3][3] = table;
    (void)e;
    for (int i = 0; i < 3; i++)
        for (int v = 0; v < 3; v++) logits[i * 3 + v] = (float)log(t[window][i][v]);
    return ERR_NONE;
}

static void test_rows_and_tokens_belong_together(void **state) {
    (void)state;
    struct score_result r;
    const struct windows w = { .ids = rows_ids, .n_ctx = 8, .n_windows = 2, .n_vocab = 3 };
    struct score_desc d = { .windows = &w, .model = give_rows, .model_user = (void *)(uintptr_t)rows_q,
                            .ref = give_rows, .ref_user = (void *)(uintptr_t)rows_p };
    assert_int_equal(score_run(&d, &r, NULL), ERR_NONE);
    assert_int_equal(r.tokens, 6);
    /* Tokens 5, 6, 7 of each window: 1, 0, 2 and 2, 1, 0. */
    assert_near(r.ppl, pow(0.2 * 0.3 * 0.1 * 0.8 * 0.25 * 0.3, -1.0 / 6), 1e-5);
    assert_near(r.ref_ppl, pow(0.3 * 0.1 * 0.15 * 0.25 * 0.15 * 0.45, -1.0 / 6), 1e-5);
    double kld = 0;
    for (int i = 0; i < 2 * 3 * 3; i++) {
        double p = rows_p[i / 9][i / 3 % 3][i % 3];
        kld += p * log(p / rows_q[i / 9][i / 3 % 3][i % 3]);
    }
    assert_near(r.kld_mean, kld / 6, 1e-6);
    /* Likeliest of reference and model: 0 2, 2 2, 1 0, 0 2, 2 0, 0 1. */
    assert_near(r.top1, 100.0 / 6, 1e-9);
}

/* Rows of the second half of a window, as the model gives them to a session that saw this window alone. */
static void test_rows_of_a_model(void **state) {
    (void)state;
    enum { N_CTX = 10, N_WINDOWS = 3, N_VOCAB = 4096, ROWS = 4 };
    int32_t text[N_CTX * N_WINDOWS];
    char dir[600];
    struct engine *en;
    struct model_source source;
    float *rows = mem_calloc((ROWS + 1) * N_VOCAB, sizeof *rows), *alone = mem_alloc(N_VOCAB, sizeof *alone);
    snprintf(dir, sizeof dir, "%s/models/tiny", getenv("SNUG_SOURCE"));
    assert_int_equal(engine_open(dir, &(struct engine_options){ .threads = 1, .exact = true }, &en, NULL), ERR_NONE);
    for (int i = 0; i < N_CTX * N_WINDOWS; i++) text[i] = 100 + 31 * i;
    const struct windows w = { .ids = text, .n_ctx = N_CTX, .n_windows = N_WINDOWS, .n_vocab = N_VOCAB };
    assert_int_equal(model_source_open(&source, en, &w, NULL), ERR_NONE);
    for (uint32_t k = N_WINDOWS; k-- > 0;) {
        assert_int_equal(model_source_rows(&source, k, rows, NULL), ERR_NONE);
        for (int i = 0; i < ROWS; i++) { /* row i predicts token 5 + i + 1, from the tokens before it */
            struct session *s;
            assert_int_equal(session_open(en, &(struct pass_desc){ .n_ctx = N_CTX }, &s, NULL), ERR_NONE);
            struct batch b = { .n = 5 + (size_t)i + 1, .ids = text + k * N_CTX };
            assert_int_equal(session_eval(s, &b, alone, NULL), ERR_NONE);
            for (int v = 0; v < N_VOCAB; v++) assert_near(rows[i * N_VOCAB + v], alone[v], 1e-4);
            session_close(s);
        }
        for (int v = 0; v < N_VOCAB; v++) assert_true(rows[ROWS * N_VOCAB + v] == 0); /* none for the last token */
    }
    model_source_close(&source);
    engine_close(en);
    mem_free(rows);
    mem_free(alone);
}

static void test_top1_counts_equal_choices(void **state) {
    (void)state;
    struct score_result r;
    struct score_desc d = { .windows = &windows, .model = halving, .ref = halving };
    assert_int_equal(score_run(&d, &r, NULL), ERR_NONE);
    assert_near(r.top1, 100, 0);
    assert_near(r.kld_max, 0, 0);
    assert_near(r.dp_rms, 0, 0);
    d.ref = exchanged;
    assert_int_equal(score_run(&d, &r, NULL), ERR_NONE);
    assert_near(r.top1, 20, 0);
}

static bool stop_at_three(void *user, const char *what, double done, double total) {
    (void)user, (void)what, (void)total;
    return done < 3;
}

static void test_errors_end_the_scoring(void **state) {
    (void)state;
    struct score_result r;
    struct err e;
    struct heard h = { 0 };
    struct score_desc d = { .windows = &windows, .model = broken, .on_window = hear, .user = &h };
    assert_int_equal(score_run(&d, &r, &e), ERR_IO);
    assert_string_equal(e.msg, "no window 2");
    assert_int_equal(h.windows, 2);
    d = (struct score_desc){ .windows = &windows, .model = halving, .ref = broken };
    assert_int_equal(score_run(&d, &r, &e), ERR_IO);
    d = (struct score_desc){ .windows = &windows, .model = halving, .progress = { .step = stop_at_three } };
    assert_int_equal(score_run(&d, &r, &e), ERR_INTERRUPTED);
    /* A damaged model is not scored: neither the one looked at nor the reference. */
    d = (struct score_desc){ .windows = &windows, .model = not_a_number };
    assert_int_equal(score_run(&d, &r, &e), ERR_FORMAT);
    d = (struct score_desc){ .windows = &windows, .model = halving, .ref = not_a_number };
    assert_int_equal(score_run(&d, &r, &e), ERR_FORMAT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log_softmax),
        cmocka_unit_test(test_kl_divergence),
        cmocka_unit_test(test_windows),
        cmocka_unit_test(test_statistics),
        cmocka_unit_test(test_rows_and_tokens_belong_together),
        cmocka_unit_test(test_rows_of_a_model),
        cmocka_unit_test(test_top1_counts_equal_choices),
        cmocka_unit_test(test_errors_end_the_scoring),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
