/* The solver against brute force on small cases, and its promises on one the size of a 70B. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>
#include "base/mem.h"
#include "base/rng.h"
#include "quant/allocate.h"

enum { MAX_ITEMS = 600, OPTIONS = 9 };
static struct allocate_option options[MAX_ITEMS][OPTIONS];
static struct allocate_item items[MAX_ITEMS];
static uint8_t chosen[MAX_ITEMS];

static void make(struct rng *r, size_t n, unsigned n_options, unsigned spread) {
    for (size_t i = 0; i < n; i++) {
        items[i] = (struct allocate_item){ options[i], 1 + rng_below(r, n_options) };
        for (size_t k = 0; k < items[i].n; k++) {
            options[i][k].bytes = 32 * (1 + rng_below(r, spread));
            options[i][k].loss = rng_below(r, 8) == 0 ? 0.25 : rng_f64(r); /* some ties */
        }
    }
}

static double loss_of(size_t n, uint64_t *bytes) {
    double loss = 0;
    *bytes = 0;
    for (size_t i = 0; i < n; i++) {
        assert_true(chosen[i] < items[i].n);
        loss += options[i][chosen[i]].loss;
        *bytes += options[i][chosen[i]].bytes;
    }
    return loss;
}

static double brute_force(size_t n, size_t i, uint64_t left) {
    if (i == n) return 0;
    double best = INFINITY;
    for (size_t k = 0; k < items[i].n; k++) {
        if (options[i][k].bytes > left) continue;
        double l = options[i][k].loss + brute_force(n, i + 1, left - options[i][k].bytes);
        if (l < best) best = l;
    }
    return best;
}

static void test_equals_brute_force(void **state) {
    (void)state;
    struct rng r;
    rng_seed(&r, 7);
    for (int trial = 0; trial < 2000; trial++) {
        size_t n = 1 + rng_below(&r, 6);
        make(&r, n, 5, trial % 2 ? 6 : 1000);
        uint64_t least = allocate_least(items, n), budget = least + 32 * rng_below(&r, 2000), bytes;
        assert_int_equal(allocate(items, n, budget, chosen, NULL), ERR_NONE);
        double got = loss_of(n, &bytes), want = brute_force(n, 0, budget);
        assert_true(bytes <= budget);
        if (fabs(got - want) > 1e-12) fail_msg("trial %d: loss %.17g, brute force %.17g", trial, got, want);
    }
}

static void test_too_small_budget_says_so(void **state) {
    (void)state;
    struct rng r;
    struct err e;
    rng_seed(&r, 1);
    make(&r, 5, 5, 100);
    uint64_t least = allocate_least(items, 5);
    assert_int_equal(allocate(items, 5, least, chosen, &e), ERR_NONE);
    assert_int_equal(allocate(items, 5, least - 1, chosen, &e), ERR_TOO_LARGE);
}

static void test_ties_go_to_the_lower_option(void **state) {
    (void)state;
    struct allocate_option same[3] = { { 64, 1 }, { 64, 1 }, { 32, 1 } };
    struct allocate_item it[2] = { { same, 2 }, { same, 3 } };
    assert_int_equal(allocate(it, 2, 1000, chosen, NULL), ERR_NONE);
    assert_int_equal(chosen[0], 0); /* equal in all: the first */
    assert_int_equal(chosen[1], 2); /* equal loss, fewer bytes */
}

static void test_options_that_cannot_be_had(void **state) {
    (void)state;
    struct allocate_option o[2] = { { 32, INFINITY }, { 64, 3 } };
    struct allocate_item it = { o, 2 };
    assert_int_equal(allocate_least(&it, 1), 64);
    assert_int_equal(allocate(&it, 1, 64, chosen, NULL), ERR_NONE);
    assert_int_equal(chosen[0], 1);
}

/* 80 layers of 7 matrices at nine widths of 2.6 to 16 bits, losses falling by 2^-2b with sensitivities spread over four
 * decades: the bits of a 70B. */
static void make_70b(void) {
    static const double weights[7] = { 67.1e6, 8.4e6, 8.4e6, 67.1e6, 234.9e6, 234.9e6, 234.9e6 };
    static const double bits[OPTIONS] = { 2.625, 3.4375, 4.25, 4.5, 5.5, 6.5625, 8.5, 12, 16 };
    struct rng r;
    rng_seed(&r, 3);
    for (size_t i = 0; i < 560; i++) {
        double a = exp(9 * rng_f64(&r));
        items[i] = (struct allocate_item){ options[i], OPTIONS };
        for (int k = 0; k < OPTIONS; k++)
            options[i][k] = (struct allocate_option){ (uint64_t)(weights[i % 7] * bits[k] / 8 / 32) * 32,
                                                      a * exp2(-2 * bits[k]) };
    }
}

static void test_70b(void **state) {
    (void)state;
    make_70b();
    uint64_t bytes;
    double last = INFINITY;
    for (double bpw = 2.7; bpw < 9; bpw += 0.7) {
        uint64_t budget = (uint64_t)(560 / 7 * 855.7e6 * bpw / 8);
        assert_int_equal(allocate(items, 560, budget, chosen, NULL), ERR_NONE);
        double loss = loss_of(560, &bytes);
        assert_true(bytes <= budget);
        assert_true((double)bytes >= 0.995 * (double)budget);
        assert_true(loss <= last);
        last = loss;
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equals_brute_force), cmocka_unit_test(test_too_small_budget_says_so),
        cmocka_unit_test(test_ties_go_to_the_lower_option), cmocka_unit_test(test_options_that_cannot_be_had),
        cmocka_unit_test(test_70b),
    };
    return cmocka_run_group_tests_name("allocate", tests, NULL, NULL);
}
