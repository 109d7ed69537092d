/* The sampler's steps on small vocabularies, with probabilities worked out by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>
#include "runtime/sample.h"

enum { DRAWS = 20000 };

static const struct sample_params neutral = { .temp = 1, .top_p = 1, .repeat_penalty = 1, .repeat_last_n = 64,
                                              .seed = 5 };

/* How often each of n tokens is drawn from logits. */
static void count(const struct sample_params *p, const int32_t *seen, size_t n_seen, const float *logits, uint32_t n,
                  int *counts) {
    struct sampler *s;
    float copy[16];
    assert_int_equal(sampler_open(p, n, &s, NULL), ERR_NONE);
    for (size_t i = 0; i < n_seen; i++) assert_int_equal(sampler_accept(s, seen[i], NULL), ERR_NONE);
    memset(counts, 0, n * sizeof *counts);
    for (int i = 0; i < DRAWS; i++) {
        memcpy(copy, logits, n * sizeof *copy);
        counts[sampler_pick(s, copy)]++;
    }
    sampler_close(s);
}

/* Five standard deviations of a binomial count: sqrt(20000 * 0.25) * 5 = 354. */
static void assert_share(int count, double share) {
    if (fabs(count - share * DRAWS) > 354) fail_msg("%d of %d draws, not a share of %g", count, DRAWS, share);
}

static void test_draws_follow_the_probabilities(void **state) {
    (void)state;
    float logits[3] = { logf(5), logf(3), logf(2) };
    int c[3];
    count(&neutral, NULL, 0, logits, 3, c);
    assert_share(c[0], 0.5);
    assert_share(c[1], 0.3);
    assert_share(c[2], 0.2);
}

static void test_temperature(void **state) {
    (void)state;
    float logits[3] = { logf(2), logf(1), logf(1) };
    int c[3];
    struct sample_params p = neutral;
    p.temp = 0.5f; /* probabilities squared: 4 : 1 : 1 */
    count(&p, NULL, 0, logits, 3, c);
    assert_share(c[0], 4.0 / 6);
    p.temp = 0;
    float tie[3] = { 1, 7, 7 };
    count(&p, NULL, 0, tie, 3, c);
    assert_int_equal(c[1], DRAWS); /* the lower id of two equal ones */
}

static void test_top_k(void **state) {
    (void)state;
    float logits[5] = { 0, logf(3), 0, logf(1), logf(9) };
    int c[5];
    struct sample_params p = neutral;
    p.top_k = 2;
    count(&p, NULL, 0, logits, 5, c);
    assert_share(c[4], 0.75);
    assert_share(c[1], 0.25);
    assert_int_equal(c[0] + c[2] + c[3], 0);
}

static void test_top_p(void **state) {
    (void)state;
    float logits[4] = { logf(5), logf(3), logf(1), logf(1) };
    int c[4];
    struct sample_params p = neutral;
    p.top_p = 0.75f; /* 0.5 is less, 0.5 + 0.3 is enough */
    count(&p, NULL, 0, logits, 4, c);
    assert_share(c[0], 5.0 / 8);
    assert_int_equal(c[2] + c[3], 0);
    p.top_p = 0; /* the likeliest always stays */
    count(&p, NULL, 0, logits, 4, c);
    assert_int_equal(c[0], DRAWS);
}

static void test_min_p(void **state) {
    (void)state;
    float logits[3] = { logf(10), logf(3), logf(1) };
    int c[3];
    struct sample_params p = neutral;
    p.min_p = 0.2f; /* of 10: 2 */
    count(&p, NULL, 0, logits, 3, c);
    assert_share(c[0], 10.0 / 13);
    assert_int_equal(c[2], 0);
}

static void test_penalties(void **state) {
    (void)state;
    float logits[3] = { 2, 1.5f, -1 };
    int32_t seen[] = { 2, 0, 0 };
    int c[3];
    struct sample_params p = neutral;
    p.temp = 0;
    p.repeat_penalty = 2; /* 2 / 2 = 1 < 1.5 */
    count(&p, seen, 3, logits, 3, c);
    assert_int_equal(c[1], DRAWS);
    p.repeat_last_n = 0; /* looks at nothing */
    count(&p, seen, 3, logits, 3, c);
    assert_int_equal(c[0], DRAWS);
    p = neutral;
    p.temp = 0;
    p.frequency_penalty = 0.3f; /* 2 - 2 * 0.3 = 1.4 < 1.5 */
    count(&p, seen, 3, logits, 3, c);
    assert_int_equal(c[1], DRAWS);
    p.frequency_penalty = 0;
    p.presence_penalty = 0.6f;
    count(&p, seen, 3, logits, 3, c);
    assert_int_equal(c[1], DRAWS);
    p.presence_penalty = 0.4f; /* 1.6 > 1.5: counted once, not twice */
    count(&p, seen, 3, logits, 3, c);
    assert_int_equal(c[0], DRAWS);
}

static void test_same_seed_same_tokens(void **state) {
    (void)state;
    float logits[8] = { 0 };
    int a[8], b[8], other[8];
    struct sample_params p = neutral;
    count(&p, NULL, 0, logits, 8, a);
    count(&p, NULL, 0, logits, 8, b);
    p.seed++;
    count(&p, NULL, 0, logits, 8, other);
    assert_memory_equal(a, b, sizeof a);
    assert_memory_not_equal(a, other, sizeof a);
}

static void test_settings_of_a_file(void **state) {
    (void)state;
    struct hf_config *c;
    struct sample_params p;
    struct err e;
    static const char json[] = "{\"temperature\": 0.7, \"top_p\": 0.9, \"top_k\": 20, \"repetition_penalty\": 1.05}";
    assert_int_equal(sample_defaults(NULL, &p, &e), ERR_NONE); /* llama.cpp's */
    assert_true(p.temp == 0.8f && p.top_k == 40 && p.top_p == 0.95f && p.min_p == 0.05f && p.repeat_penalty == 1
                && p.repeat_last_n == 64);
    assert_int_equal(hf_config_parse((struct span){ (const uint8_t *)json, sizeof json - 1 }, "generation_config.json",
                                     &c, &e), ERR_NONE);
    assert_int_equal(sample_defaults(c, &p, &e), ERR_NONE);
    assert_true(p.temp == 0.7f && p.top_k == 20 && p.top_p == 0.9f && p.min_p == 0.05f && p.repeat_penalty == 1.05f);
    hf_config_close(c);
}

/* The file and the key are to blame, not an option that nobody gave. */
static void test_bad_settings_of_a_file(void **state) {
    (void)state;
    static const struct { const char *json, *key; } bad[] = {
        { "{\"temperature\": \"hot\"}", "temperature" }, { "{\"temperature\": -0.5}", "temperature" },
        { "{\"top_p\": 1.5}", "top_p" }, { "{\"top_p\": -0.1}", "top_p" },
        { "{\"min_p\": 2}", "min_p" }, { "{\"min_p\": -1}", "min_p" },
        { "{\"top_k\": -1}", "top_k" }, { "{\"top_k\": 1.5}", "top_k" },
        { "{\"repetition_penalty\": 0}", "repetition_penalty" },
        { "{\"repetition_penalty\": -2}", "repetition_penalty" },
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct hf_config *c;
        struct sample_params p;
        struct err e;
        char text[800];
        assert_int_equal(hf_config_parse((struct span){ (const uint8_t *)bad[i].json, strlen(bad[i].json) },
                                         "generation_config.json", &c, &e), ERR_NONE);
        if (sample_defaults(c, &p, &e) != ERR_FORMAT) fail_msg("%s is taken", bad[i].json);
        err_format(&e, text, sizeof text);
        if (!strstr(text, "generation_config.json") || !strstr(text, bad[i].key) || strstr(text, "--"))
            fail_msg("%s: %s", bad[i].json, text);
        hf_config_close(c);
    }
    /* The ends of the ranges are inside. */
    static const char edge[] = "{\"temperature\": 0, \"top_p\": 0, \"min_p\": 1, \"repetition_penalty\": 0.01}";
    struct hf_config *c;
    struct sample_params p;
    assert_int_equal(hf_config_parse((struct span){ (const uint8_t *)edge, sizeof edge - 1 }, "g", &c, NULL), ERR_NONE);
    assert_int_equal(sample_defaults(c, &p, NULL), ERR_NONE);
    hf_config_close(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_draws_follow_the_probabilities), cmocka_unit_test(test_temperature),
            cmocka_unit_test(test_top_k),
        cmocka_unit_test(test_top_p), cmocka_unit_test(test_min_p), cmocka_unit_test(test_penalties),
        cmocka_unit_test(test_same_seed_same_tokens), cmocka_unit_test(test_settings_of_a_file),
        cmocka_unit_test(test_bad_settings_of_a_file),
    };
    return cmocka_run_group_tests_name("sample", tests, NULL, NULL);
}
