/* Mixtures of experts on every device: products with chosen matrices, the choice itself, weights and sums. */
#include "devices.h"

#include <math.h>
#include <string.h>

#include "base/num.h"

/* --- MATMUL_ID --- */

/* Which matrices the slots of a token name. */
enum pattern {
    SPREAD, /* at random, different ones */
    ONE,    /* all slots matrix 1 */
    EACH,   /* no ids: slot s matrix s */
};

struct id_case {
    enum qtype type;
    uint64_t n_in, n_out, n_mat, n_slot, n_tok;
    enum pattern pattern;
    bool shared, has_bias; /* shared: all slots of a token multiply one vector */
    const void *w;
    const float *x, *bias;
    const int32_t *ids;
};

static tensor_id build_matmul_id(struct rig *r, const void *arg) {
    const struct id_case *c = arg;
    tensor_id w = rig_matrices(r, c->type, (uint64_t[]){ c->n_in, c->n_out, c->n_mat }, c->w, true);
    const uint64_t slots = c->shared ? 1 : c->n_slot;
    tensor_id x = c->pattern == EACH ? rig_f32(r, c->n_in * slots, c->n_tok, c->x)
                  : c->shared        ? rig_f32(r, c->n_in, c->n_tok, c->x)
                                     : rig_f32_3d(r, c->n_in, slots, c->n_tok, c->x);
    tensor_id ids = c->ids ? rig_i32(r, c->n_slot, c->n_tok, c->ids) : NO_TENSOR;
    tensor_id bias = c->has_bias ? rig_weight(r, QTYPE_F32, c->n_out, c->n_mat, c->bias, false) : NO_TENSOR;
    return graph_matmul_id(r->g, w, x, ids, bias);
}

/* Indices for every token; marks the matrices that are named. */
static int32_t *choose(const struct id_case *c, bool *named) {
    struct rng rng;
    rng_seed(&rng, c->n_tok);
    int32_t *ids = rig_data(c->n_slot * c->n_tok, sizeof *ids);
    for (uint64_t i = 0; i < c->n_slot * c->n_tok; i++) {
        /* Matrix 0 is nobody's; others follow from a random one. */
        const uint64_t first = c->n_mat > 1 ? c->n_mat - 1 : 1, step = i % c->n_slot;
        ids[i] = step && c->pattern == SPREAD ? (int32_t)((uint64_t)ids[i - 1] % first + (c->n_mat > 1))
                                              : (int32_t)(rng_below(&rng, (uint32_t)first) + (c->n_mat > 1));
        if (c->pattern == ONE) ids[i] = 1;
        if (c->pattern == EACH) ids[i] = (int32_t)step;
        named[ids[i]] = true;
    }
    return ids;
}

/* The case with numbers. Matrices that nobody names are filled with bytes that are NaN in every type with a scale. */
static void check_id(const struct id_case *proto, uint64_t seed) {
    struct id_case c = *proto;
    float *w;
    bool *named = rig_data(c.n_mat, sizeof *named);
    uint8_t *stored = random_stored(seed, c.type, c.n_in, c.n_out * c.n_mat, &w);
    const int32_t *ids = choose(&c, named);
    uint64_t row_bytes;
    assert_true(qtype_row_bytes(c.type, c.n_in, &row_bytes));
    for (uint64_t m = 0; m < c.n_mat; m++)
        if (!named[m]) memset(stored + m * c.n_out * row_bytes, 0xff, c.n_out * row_bytes);
    c.w = stored;
    c.ids = c.pattern == EACH ? NULL : ids;
    c.x = random_f32(seed + 1, c.n_in * c.n_tok * (c.shared ? 1 : c.n_slot), 2.0f);
    c.bias = random_f32(seed + 2, c.n_out * c.n_mat, 1.0f);
    struct expected x = expect(qtype_name(c.type), c.n_out * c.n_slot * c.n_tok);
    for (size_t i = 0; i < x.n; i++) {
        const size_t o = i % c.n_out, slot = i / c.n_out, row = (size_t)ids[slot] * c.n_out + o;
        expect_product(&x, i, w + row * c.n_in, c.x + (c.shared ? slot / c.n_slot : slot) * c.n_in, c.n_in,
                       c.has_bias ? c.bias[row] : 0);
    }
    check_devices(build_matmul_id, &c, &x);
    rig_data_free(NULL);
}

/* n_in: blocks of the type, or 51 numbers each where a block is one. */
static void every_type_multiplies(void **state) {
    (void)state;
    static const struct id_case cases[] = {
        { 0, 1, 3, 2, 1, 1, SPREAD, true, false, 0, 0, 0, 0 },  { 0, 2, 17, 5, 2, 3, SPREAD, true, true, 0, 0, 0, 0 },
        { 0, 1, 40, 4, 2, 17, SPREAD, false, true, 0, 0, 0, 0 }, { 0, 1, 5, 2, 1, 27, ONE, false, false, 0, 0, 0, 0 },
        { 0, 2, 18, 3, 3, 17, EACH, false, true, 0, 0, 0, 0 },
        { 0, 2, 21, 4, 2, 8, SPREAD, true, false, 0, 0, 0, 0 },
    };
    size_t n_types;
    const enum qtype *types = qtype_all(&n_types);
    for (size_t i = 0; i < n_types; i++) {
        for (size_t k = 0; k < ARRAY_LEN(cases); k++) {
            struct id_case c = cases[k];
            const uint32_t block = qtype_info(types[i])->block_weights;
            c.type = types[i];
            c.n_in *= block == 1 ? 51 : block;
            check_id(&c, i);
        }
    }
}

static void shapes_multiply(void **state) {
    (void)state;
    static const struct id_case cases[] = {
        /* Few tokens of each matrix, more rows than wait beside the matrix; several pieces. */
        { QTYPE_Q8_0, 64, 300, 3, 1, 4, ONE, true, false, 0, 0, 0, 0 },
        { QTYPE_F32, 1024, 70, 4, 2, 3, SPREAD, true, true, 0, 0, 0, 0 },
        { QTYPE_F16, 600, 37, 8, 3, 3, SPREAD, false, false, 0, 0, 0, 0 },
        /* Longer than a panel's chunk, some matrices with one token and some with many. */
        { QTYPE_Q4_K, 4352, 19, 6, 3, 33, SPREAD, true, false, 0, 0, 0, 0 },
        { QTYPE_F16, 600, 37, 3, 2, 33, SPREAD, false, true, 0, 0, 0, 0 },
        { QTYPE_BF16, 131, 65, 2, 1, 64, ONE, true, false, 0, 0, 0, 0 },
        /* All slots of a token name one matrix; heads side by side; heads that share a vector; more matrices than
         * slots. */
        { QTYPE_Q5_K, 256, 33, 3, 4, 6, ONE, true, true, 0, 0, 0, 0 },
        { QTYPE_F32, 128, 512, 16, 16, 3, EACH, false, false, 0, 0, 0, 0 },
        { QTYPE_Q8_0, 32, 9, 5, 5, 13, EACH, true, false, 0, 0, 0, 0 },
        { QTYPE_Q6_K, 256, 7, 200, 8, 1, SPREAD, true, false, 0, 0, 0, 0 },
    };
    for (size_t k = 0; k < ARRAY_LEN(cases); k++) check_id(&cases[k], 50 + k);
}

/* --- PICK_EXPERTS --- */

struct pick_case { struct pick_desc d; uint64_t n_expert, n_tok; const float *logits, *bias; };

static tensor_id build_pick(struct rig *r, const void *arg) {
    const struct pick_case *c = arg;
    tensor_id logits = rig_f32(r, c->n_expert, c->n_tok, c->logits);
    tensor_id bias = c->bias ? rig_weight(r, QTYPE_F32, c->n_expert, 1, c->bias, false) : NO_TENSOR;
    return graph_pick_experts(r->g, logits, bias, &c->d);
}

#define PICK(n_used, score, n_group, n_group_used, group_best) { n_used, score, n_group, n_group_used, group_best }

/* Written down by hand. */
static void picks_the_best(void **state) {
    (void)state;
    static const float logits[] = { 0, 3, -1, 3, 2, -5, 1, 2.5f };
    /* 3 twice: index 1 before 3; then 2.5 at 7, 2 at 4. */
    static const int32_t plain[] = { 1, 3, 7, 4 };
    /* Sigmoids: .5 .953 .269 .953 .881 .007 .731 .924; with the bias .5 .353 .269 .953 .881 1.007 .731 .924. */
    static const float bias[] = { 0, -0.6f, 0, 0, 0, 1, 0, 0 };
    static const int32_t biased[] = { 5, 3, 7 };
    /* Groups of two: best 3, 3, 2, 2.5, so groups 0 and 1 (the lower index first among equals), without 7 and 4. */
    static const int32_t by_best[] = { 1, 3, 0 };
    /* Sums of two: 3, 2, -3, 3.5: group 3 (1, 2.5) and group 0 (0, 3). */
    static const int32_t by_two[] = { 1, 7, 6, 0 };
    static const struct { struct pick_case c; const int32_t *want; } cases[] = {
        { { PICK(4, SCORE_LOGIT, 0, 0, 0), 8, 1, logits, NULL }, plain },
        { { PICK(4, SCORE_SOFTMAX, 1, 1, 1), 8, 1, logits, NULL }, plain },
        { { PICK(3, SCORE_SIGMOID, 0, 0, 0), 8, 1, logits, bias }, biased },
        { { PICK(3, SCORE_LOGIT, 4, 2, 1), 8, 1, logits, NULL }, by_best },
        { { PICK(4, SCORE_LOGIT, 4, 2, 2), 8, 1, logits, NULL }, by_two },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        check_devices_i32("PICK_EXPERTS", build_pick, &cases[i].c, cases[i].want, cases[i].c.d.n_used);
}

static double score_of(const struct pick_case *c, const float *logits, uint64_t e) {
    double sum = 0;
    if (c->d.score == SCORE_SIGMOID) return 1 / (1 + exp(-(double)logits[e]));
    for (uint64_t i = 0; i < c->n_expert; i++) sum += exp((double)logits[i]);
    return exp((double)logits[e]) / sum;
}

/* Each place goes to the best that is not taken, in the best groups. */
static void expect_pick(const struct pick_case *c, const float *logits, int32_t *want) {
    const uint64_t groups = c->d.n_group > 1 ? c->d.n_group : 1, size = c->n_expert / groups;
    double *score = rig_data(c->n_expert, sizeof *score), *worth = rig_data(groups, sizeof *worth);
    for (uint64_t e = 0; e < c->n_expert; e++) score[e] = score_of(c, logits, e) + (c->bias ? c->bias[e] : 0);
    for (uint64_t g = 0; g < groups; g++) {
        double most = -INFINITY;
        for (uint64_t a = g * size; a < (g + 1) * size; a++)
            for (uint64_t b = g * size; b < (g + 1) * size; b++)
                if (a != b) most = fmax(most, score[a] + (c->d.group_best == 2 ? score[b] : 0));
        worth[g] = most;
    }
    for (uint64_t e = 0; e < c->n_expert && groups > 1; e++) {
        unsigned better = 0;
        for (uint64_t g = 0; g < groups; g++) better += worth[g] > worth[e / size];
        if (better >= c->d.n_group_used) score[e] = -INFINITY;
    }
    for (uint32_t u = 0; u < c->d.n_used; u++) {
        uint64_t best = 0;
        for (uint64_t e = 1; e < c->n_expert; e++)
            if (score[e] > score[best]) best = e;
        want[u] = (int32_t)best;
        score[best] = -INFINITY;
    }
}

/* The sizes of real routers. */
static void picks_at_random(void **state) {
    (void)state;
    static const float none = 0;
    static const struct pick_case cases[] = {
        { PICK(2, SCORE_SOFTMAX, 0, 0, 0), 8, 17, 0, 0 },        { PICK(8, SCORE_SOFTMAX, 1, 1, 0), 128, 64, 0, 0 },
        { PICK(8, SCORE_SIGMOID, 8, 4, 2), 256, 17, 0, &none },  { PICK(6, SCORE_SOFTMAX, 8, 3, 1), 160, 3, 0, 0 },
        { PICK(4, SCORE_SIGMOID, 0, 0, 0), 4, 3, 0, &none },     { PICK(1, SCORE_SIGMOID, 0, 0, 0), 1, 1, 0, 0 },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct pick_case c = cases[i];
        c.logits = random_f32(i, c.n_expert * c.n_tok, 2.0f);
        if (c.bias) c.bias = random_f32(i + 10, c.n_expert, 0.2f);
        int32_t *want = rig_data(c.d.n_used * c.n_tok, sizeof *want);
        for (uint64_t t = 0; t < c.n_tok; t++) expect_pick(&c, c.logits + t * c.n_expert, want + t * c.d.n_used);
        check_devices_i32("PICK_EXPERTS", build_pick, &c, want, c.d.n_used * c.n_tok);
        rig_data_free(NULL);
    }
}

/* A broken model must not send anyone out of bounds. */
static void nan_picks_are_experts(void **state) {
    (void)state;
    static const float logits[] = { NAN, NAN, 1, NAN, NAN, NAN, 2, NAN };
    static const struct pick_case cases[] = {
        { PICK(8, SCORE_SOFTMAX, 0, 0, 0), 8, 1, logits, NULL }, { PICK(4, SCORE_LOGIT, 4, 2, 2), 8, 1, logits, NULL },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int32_t got[8];
        rig_run(&(struct device){ "cpu", 1, false }, build_pick, &cases[i], got, cases[i].d.n_used * sizeof *got);
        for (uint32_t a = 0; a < cases[i].d.n_used; a++) {
            assert_in_range(got[a], 0, 7);
            for (uint32_t b = 0; b < a; b++) assert_int_not_equal(got[a], got[b]);
        }
    }
}

/* --- WEIGH_EXPERTS, SUM_EXPERTS --- */

struct weigh_case { struct weigh_desc d; uint64_t n_expert, n_used, n_tok; const float *logits; const int32_t *ids; };

static tensor_id build_weigh(struct rig *r, const void *arg) {
    const struct weigh_case *c = arg;
    tensor_id logits = rig_f32(r, c->n_expert, c->n_tok, c->logits);
    return graph_weigh_experts(r->g, logits, rig_i32(r, c->n_used, c->n_tok, c->ids), &c->d);
}

static void expect_weights(const struct weigh_case *c, uint64_t t, struct expected *x) {
    const float *logits = c->logits + t * c->n_expert;
    const int32_t *ids = c->ids + t * c->n_used;
    double all = 0, chosen = 0, sum = 0;
    for (uint64_t e = 0; e < c->n_expert; e++) all += exp((double)logits[e]);
    for (uint64_t u = 0; u < c->n_used; u++) chosen += exp((double)logits[ids[u]]);
    for (uint64_t u = 0; u < c->n_used; u++) {
        const double l = logits[ids[u]];
        const double w = c->d.score == SCORE_SOFTMAX          ? exp(l) / all
                         : c->d.score == SCORE_SOFTMAX_CHOSEN ? exp(l) / chosen
                         : c->d.score == SCORE_SIGMOID        ? 1 / (1 + exp(-l))
                                                              : l;
        expect_number(x, t * c->n_used + u, w, 0, 0);
        sum += w;
    }
    for (uint64_t u = 0; u < c->n_used; u++) {
        const size_t i = t * c->n_used + u;
        /* Differences of logits up to 40, exp, sums of positive numbers, quotients. */
        expect_number(x, i, x->want[i] * c->d.scale / (c->d.normalize ? sum : 1), 2.0 * (double)c->n_expert + 100, 0);
    }
}

static void weights_follow_the_scores(void **state) {
    (void)state;
    static const struct weigh_case cases[] = {
        { { SCORE_SOFTMAX, false, 1 }, 8, 2, 17, 0, 0 },       { { SCORE_SOFTMAX, true, 1 }, 128, 8, 64, 0, 0 },
        { { SCORE_SIGMOID, true, 2.5f }, 256, 8, 3, 0, 0 },    { { SCORE_SIGMOID, false, 1 }, 16, 1, 3, 0, 0 },
        { { SCORE_SOFTMAX_CHOSEN, false, 1 }, 32, 4, 17, 0, 0 }, { { SCORE_LOGIT, false, 0.5f }, 16, 1, 1, 0, 0 },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct weigh_case c = cases[i];
        struct rng rng;
        rng_seed(&rng, i);
        int32_t *ids = rig_data(c.n_used * c.n_tok, sizeof *ids);
        for (uint64_t k = 0; k < c.n_used * c.n_tok; k++) ids[k] = (int32_t)rng_below(&rng, (uint32_t)c.n_expert);
        c.ids = ids;
        c.logits = random_f32(i, c.n_expert * c.n_tok, 4.0f);
        struct expected x = expect("WEIGH_EXPERTS", c.n_used * c.n_tok);
        for (uint64_t t = 0; t < c.n_tok; t++) expect_weights(&c, t, &x);
        check_devices(build_weigh, &c, &x);
        rig_data_free(NULL);
    }
}

/* Scores of zero have no sum to divide by and stay zero. */
static void weights_of_nothing_are_zero(void **state) {
    (void)state;
    static const float logits[] = { -200, -200, -200, 0 };
    static const int32_t ids[] = { 0, 2 };
    static const struct weigh_case c = { { SCORE_SIGMOID, true, 1 }, 4, 2, 1, logits, ids };
    struct expected x = expect("WEIGH_EXPERTS of nothing", 2);
    check_devices(build_weigh, &c, &x);
}

struct sum_case { uint64_t n, n_slot, n_tok; const float *x, *w; };

static tensor_id build_sum(struct rig *r, const void *arg) {
    const struct sum_case *c = arg;
    tensor_id x = rig_f32_3d(r, c->n, c->n_slot, c->n_tok, c->x);
    return graph_sum_experts(r->g, x, rig_f32(r, c->n_slot, c->n_tok, c->w));
}

static void sums_over_slots(void **state) {
    (void)state;
    static const struct sum_case cases[] = {
        { 1, 1, 1, 0, 0 }, { 37, 2, 3, 0, 0 }, { 2049, 8, 17, 0, 0 }, { 64, 6, 64, 0, 0 },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct sum_case c = cases[i];
        c.x = random_f32(i, c.n * c.n_slot * c.n_tok, 1.0f);
        c.w = random_f32(i + 10, c.n_slot * c.n_tok, 1.0f);
        struct expected x = expect("SUM_EXPERTS", c.n * c.n_tok);
        for (size_t k = 0; k < x.n; k++) {
            const size_t t = k / c.n, at = k % c.n;
            double sum = 0, size = 0;
            for (uint64_t s = 0; s < c.n_slot; s++) {
                const double product = (double)c.w[t * c.n_slot + s] * c.x[(t * c.n_slot + s) * c.n + at];
                sum += product;
                size += fabs(product);
            }
            expect_number(&x, k, sum, 0, (double)(c.n_slot + 1) * size);
        }
        check_devices(build_sum, &c, &x);
        rig_data_free(NULL);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(every_type_multiplies, rig_data_free),
        cmocka_unit_test_teardown(shapes_multiply, rig_data_free),
        cmocka_unit_test_teardown(picks_the_best, rig_data_free),
        cmocka_unit_test_teardown(picks_at_random, rig_data_free),
        cmocka_unit_test_teardown(nan_picks_are_experts, rig_data_free),
        cmocka_unit_test_teardown(weights_follow_the_scores, rig_data_free),
        cmocka_unit_test_teardown(weights_of_nothing_are_zero, rig_data_free),
        cmocka_unit_test_teardown(sums_over_slots, rig_data_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
