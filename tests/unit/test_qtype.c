/* Stored types: decoding is compared to the last bit with blocks whose weights another program computed
 * (tests/data/blocks), halves with their definition, packing with the formula of each layout. */
#include <ctype.h>
#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "base/num.h"
#include "base/rng.h"
#include "qtype/codec.h"
#include "qtype/qtype.h"

static uint8_t *read_data(const char *type, const char *suffix, size_t *n) {
    const char *root = getenv("SNUG_SOURCE");
    char path[512], lower[16];
    size_t i = 0;
    for (; type[i]; i++) lower[i] = (char)tolower(type[i]);
    lower[i] = 0;
    snprintf(path, sizeof path, "%s/tests/data/blocks/%s.%s", root ? root : ".", lower, suffix);
    FILE *f = fopen(path, "rb");
    if (!f) fail_msg("cannot open %s", path);
    uint8_t *p = malloc(1 << 20);
    *n = fread(p, 1, 1 << 20, f);
    fclose(f);
    return p;
}

static void decodes_bit_equal(void **state) {
    (void)state;
    size_t n_types, n_tested = 0;
    const enum qtype *types = qtype_all(&n_types);
    for (size_t t = 0; t < n_types; t++) {
        const struct qtype_info *q = qtype_info(types[t]);
        if (qtype_is_float(q->type)) continue;
        size_t n_bytes, n_expected;
        uint8_t *blocks = read_data(q->name, "blocks", &n_bytes), *expected = read_data(q->name, "f32", &n_expected);
        size_t n = n_bytes / q->block_bytes * q->block_weights;
        assert_true(n > 0);
        assert_int_equal(n * 4, n_expected);
        /* One byte off, so that no decoder may count on alignment. */
        uint8_t *shifted = malloc(n_bytes + 1);
        memcpy(shifted + 1, blocks, n_bytes);
        float *out = malloc(n * sizeof *out);
        q->decode(shifted + 1, out, n);
        for (size_t i = 0; i < n; i++) {
            float e;
            memcpy(&e, expected + 4 * i, 4);
            /* A zero's sign is not the format's business. */
            if (f32_to_bits(e) != f32_to_bits(out[i]) && !(e == 0 && out[i] == 0))
                fail_msg("%s weight %zu: %.9g, expected %.9g", q->name, i, (double)out[i], (double)e);
        }
        free(out); free(shifted); free(blocks); free(expected);
        n_tested++;
    }
    assert_int_equal(n_tested, n_types - 3);
}

static double half_by_definition(uint32_t h) {
    int sign = h & 0x8000 ? -1 : 1, exp = h >> 10 & 31, man = h & 0x3ff;
    if (exp == 31) return man ? NAN : sign * INFINITY;
    return exp ? sign * ldexp(1024 + man, exp - 25) : sign * ldexp(man, -24);
}

static void halves_all_codes(void **state) {
    (void)state;
    const struct qtype_info *f16 = qtype_info(QTYPE_F16), *bf16 = qtype_info(QTYPE_BF16);
    static uint16_t codes[65536], back[65536];
    static float x[65536];
    for (uint32_t h = 0; h < 65536; h++) codes[h] = (uint16_t)h;
    f16->decode(codes, x, 65536);
    f16->encode(x, back, 65536);
    for (uint32_t h = 0; h < 65536; h++) {
        double e = half_by_definition(h);
        if (isnan(e)) {
            assert_true(isnan(x[h]) && isnan(half_by_definition(back[h])));
            continue;
        }
        if ((double)x[h] != e || back[h] != h) fail_msg("half %04x: %g, back %04x", h, (double)x[h], back[h]);
        assert_int_equal(f32_to_bits(x[h]), f32_to_bits(f32_from_f16((uint16_t)h)));
    }
    bf16->decode(codes, x, 65536);
    bf16->encode(x, back, 65536);
    for (uint32_t h = 0; h < 65536; h++) {
        assert_int_equal(f32_to_bits(x[h]), h << 16);
        if (!isnan(x[h])) assert_int_equal(back[h], h);
        else assert_true((back[h] & 0x7f80) == 0x7f80 && (back[h] & 0x7f));
    }
}

/* Between two neighbours of a 16-bit float the nearer wins, and half way the one whose last bit is 0. */
static void halves_round_to_even(void **state) {
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        const struct qtype_info *q = qtype_info(kind ? QTYPE_BF16 : QTYPE_F16);
        uint32_t inf = kind ? 0x7f80 : 0x7c00;
        for (uint32_t h = 0; h + 1 < inf; h++) {
            uint16_t pair[2] = { (uint16_t)h, (uint16_t)(h + 1) }, got[3];
            float x[2], y[3];
            q->decode(pair, x, 2);
            y[0] = (float)(((double)x[0] + (double)x[1]) / 2); /* exact: both have at most 11 bits */
            y[1] = nextafterf(y[0], -1);
            y[2] = nextafterf(y[0], FLT_MAX);
            if (y[0] == x[0] || y[1] <= x[0]) continue; /* bfloat subnormals at the end of float */
            q->encode(y, got, 3);
            assert_int_equal(got[0], h & 1 ? h + 1 : h);
            assert_int_equal(got[1], h);
            assert_int_equal(got[2], h + 1);
        }
    }
}

static void table(void **state) {
    (void)state;
    /* Ids, weights and bytes a block as the GGUF specification lists them. */
    static const struct { const char *name; unsigned id, weights, bytes; } known[] = {
        { "F32", 0, 1, 4 }, { "F16", 1, 1, 2 }, { "BF16", 30, 1, 2 }, { "Q4_0", 2, 32, 18 }, { "Q4_1", 3, 32, 20 },
        { "Q5_0", 6, 32, 22 }, { "Q5_1", 7, 32, 24 }, { "Q8_0", 8, 32, 34 }, { "IQ4_NL", 20, 32, 18 },
        { "Q2_K", 10, 256, 84 }, { "Q3_K", 11, 256, 110 }, { "Q4_K", 12, 256, 144 }, { "Q5_K", 13, 256, 176 },
        { "Q6_K", 14, 256, 210 }, { "IQ4_XS", 23, 256, 136 }, { "IQ3_S", 21, 256, 110 }, { "IQ3_XXS", 18, 256, 98 },
        { "IQ2_S", 22, 256, 82 }, { "IQ2_XS", 17, 256, 74 }, { "IQ2_XXS", 16, 256, 66 }, { "IQ1_M", 29, 256, 56 },
        { "IQ1_S", 19, 256, 50 }, { "TQ1_0", 34, 256, 54 }, { "TQ2_0", 35, 256, 66 }, { "MXFP4", 39, 32, 17 },
        { "NVFP4", 40, 64, 36 },
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const struct qtype_info *q = qtype_info(known[i].id);
        assert_non_null(q);
        assert_string_equal(q->name, known[i].name);
        assert_int_equal(q->type, known[i].id);
        assert_int_equal(q->block_weights, known[i].weights);
        assert_int_equal(q->block_bytes, known[i].bytes);
        assert_int_equal(qtype_from_name(known[i].name), known[i].id);
    }
    size_t n;
    const enum qtype *all = qtype_all(&n);
    for (size_t i = 0; i + 1 < n; i++) {
        double a = qtype_bpw(all[i]), b = qtype_bpw(all[i + 1]);
        assert_true(a < b || (a == b && all[i] < all[i + 1]));
    }
    assert_int_equal(qtype_from_name("q4_k"), QTYPE_Q4_K);
    assert_int_equal(qtype_from_name("Q4_K_M"), QTYPE_NONE);
    assert_null(qtype_info(4));
    assert_null(qtype_info(64));
    assert_null(qtype_info(UINT32_MAX));
    assert_string_equal(qtype_name(QTYPE_NONE), "?");
    assert_true(qtype_bpw(QTYPE_NONE) == 0 && qtype_bpw(QTYPE_Q6_K) == 6.5625);
    assert_int_equal(sizeof known / sizeof *known, n);
    assert_true(qtype_can_write(QTYPE_F32) && !qtype_can_write(QTYPE_NVFP4) && !qtype_can_write(QTYPE_NONE));
    assert_true(qtype_is_float(QTYPE_BF16) && !qtype_is_float(QTYPE_Q8_0) && !qtype_is_float(QTYPE_NONE));
}

/* CRC-32 as zlib has it. */
static uint32_t crc32_of(const void *data, size_t n) {
    uint32_t crc = ~0u;
    for (const uint8_t *p = data; n--; p++) {
        crc ^= *p;
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

/* The points that the build makes of iq_grids.txt, against checksums of other programs' tables; and the two halves of
 * each point. */
static void grids(void **state) {
    (void)state;
    static const struct { const struct iq_grid *g; int n_points; uint32_t crc; } known[] = {
        { &iq2_xxs_grid, 256, 0x9924ff02 }, { &iq2_xs_grid, 512, 0xfa1e1bfd }, { &iq2_s_grid, 1024, 0x25ae5bf1 },
        { &iq3_xxs_grid, 256, 0x07ba9ed0 }, { &iq3_s_grid, 512, 0xf576e4f3 },  { &iq1_grid, 2048, 0xb85e6ccf },
    };
    for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
        const struct iq_grid *g = known[k].g;
        assert_int_equal(g->n_points, known[k].n_points);
        assert_int_equal(crc32_of(g->points, (size_t)(g->n_points * g->len)), known[k].crc);
        assert_int_equal(g->first[g->n_halves], g->n_points);
        for (int h = 0; h < g->n_halves; h++)
            for (int i = g->first[h]; i < g->first[h + 1]; i++) {
                int pattern[2] = { g->low[i], h };
                for (int e = 0; e < g->len; e++) {
                    int *digits = &pattern[e / (g->len / 2)];
                    assert_int_equal(g->points[g->len * i + e], g->level[*digits % g->n_levels]);
                    *digits /= g->n_levels;
                }
                assert_true(pattern[0] == 0 && pattern[1] == 0);
            }
    }
}

static void row_bytes(void **state) {
    (void)state;
    uint64_t b;
    assert_true(qtype_row_bytes(QTYPE_Q4_K, 4096, &b) && b == 4096 / 256 * 144);
    assert_true(qtype_row_bytes(QTYPE_F16, 3, &b) && b == 6);
    assert_true(qtype_row_bytes(QTYPE_Q8_0, 0, &b) && b == 0);
    assert_false(qtype_row_bytes(QTYPE_Q4_K, 4096 + 32, &b));
    assert_false(qtype_row_bytes(QTYPE_Q4_0, 31, &b));
    assert_false(qtype_row_bytes(QTYPE_NONE, 256, &b));
    assert_false(qtype_row_bytes(QTYPE_F32, UINT64_MAX / 4 + 1, &b));
    assert_true(qtype_row_bytes(QTYPE_F32, UINT64_MAX / 4, &b));
}

/* Codes packed by each layout's writer decode to the layout's formula. */
static void packs_every_code(void **state) {
    (void)state;
    static const struct {
        enum qtype type;
        block_pack *pack;
        int len, code_top, bias, scale_top, scale_bias;
        bool min, levels;
    } shapes[] = {
        { QTYPE_Q4_0, pack_q4_0, 32, 15, 8, 0, 0, false, false },
        { QTYPE_Q4_1, pack_q4_1, 32, 15, 0, 0, 0, true, false },
        { QTYPE_Q5_0, pack_q5_0, 32, 31, 16, 0, 0, false, false },
        { QTYPE_Q5_1, pack_q5_1, 32, 31, 0, 0, 0, true, false },
        { QTYPE_Q8_0, pack_q8_0, 32, 255, 128, 0, 0, false, false },
        { QTYPE_IQ4_NL, pack_iq4_nl, 32, 15, 0, 0, 0, false, true },
        { QTYPE_Q2_K, pack_q2_k, 16, 3, 0, 15, 0, true, false },
        { QTYPE_Q3_K, pack_q3_k, 16, 7, 4, 63, 32, false, false },
        { QTYPE_Q4_K, pack_q4_k, 32, 15, 0, 63, 0, true, false },
        { QTYPE_Q5_K, pack_q5_k, 32, 31, 0, 63, 0, true, false },
        { QTYPE_Q6_K, pack_q6_k, 16, 63, 32, 255, 128, false, false },
        { QTYPE_IQ4_XS, pack_iq4_xs, 32, 15, 0, 63, 32, false, true },
        { QTYPE_TQ1_0, pack_tq1_0, 256, 2, 1, 0, 0, false, false },
        { QTYPE_TQ2_0, pack_tq2_0, 256, 2, 1, 0, 0, false, false },
    };
    struct rng rng;
    rng_seed(&rng, 5);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int round = 0; round < 100; round++) {
            const struct qtype_info *q = qtype_info(shapes[i].type);
            struct block_codes c = { .d = f16_from_f32(0.25f), .dmin = f16_from_f32(0.5f) };
            for (int s = 0; s < 16; s++) {
                c.scale[s] = (uint8_t)rng_below(&rng, (uint32_t)shapes[i].scale_top + 1);
                c.min[s] = (uint8_t)rng_below(&rng, (uint32_t)shapes[i].scale_top + 1);
            }
            for (int j = 0; j < 256; j++) c.q[j] = (uint8_t)rng_below(&rng, (uint32_t)shapes[i].code_top + 1);
            uint8_t block[256];
            float out[256];
            memset(block, 0xaa, sizeof block);
            shapes[i].pack(&c, block);
            for (size_t k = q->block_bytes; k < sizeof block; k++) assert_int_equal(block[k], 0xaa);
            q->decode(block, out, q->block_weights);
            for (uint32_t j = 0; j < q->block_weights; j++) {
                int s = (int)j / shapes[i].len, code = shapes[i].levels ? iq4_levels[c.q[j]] : c.q[j] - shapes[i].bias;
                float expected;
                if (!shapes[i].scale_top) expected = 0.25f * (float)code + (shapes[i].min ? 0.5f : 0);
                else expected = 0.25f * (float)(c.scale[s] - shapes[i].scale_bias) * (float)code
                                - (shapes[i].min ? 0.5f * (float)c.min[s] : 0);
                if (out[j] != expected)
                    fail_msg("%s element %u: %g, not %g", q->name, j, (double)out[j], (double)expected);
            }
        }
}

/* The same of the types whose weights are points of a grid: value = d unit (s + 1/2) times the element, with its
 * sign, or shifted. */
static void packs_every_point(void **state) {
    (void)state;
    static const struct {
        enum qtype type;
        block_pack *pack;
        const struct iq_grid *grid;
        int sub;
        float unit;
        bool even;
        int n_shifted; /* eights of weights that share a shift; 0: signs */
    } shapes[] = {
        { QTYPE_IQ1_S, pack_iq1_s, &iq1_grid, 32, 2, false, 4 },
        { QTYPE_IQ1_M, pack_iq1_m, &iq1_grid, 16, 2, false, 1 },
        { QTYPE_IQ2_XXS, pack_iq2_xxs, &iq2_xxs_grid, 32, 0.25f, true, 0 },
        { QTYPE_IQ2_XS, pack_iq2_xs, &iq2_xs_grid, 16, 0.25f, true, 0 },
        { QTYPE_IQ2_S, pack_iq2_s, &iq2_s_grid, 16, 0.25f, false, 0 },
        { QTYPE_IQ3_XXS, pack_iq3_xxs, &iq3_xxs_grid, 32, 0.5f, true, 0 },
        { QTYPE_IQ3_S, pack_iq3_s, &iq3_s_grid, 32, 2, false, 0 },
    };
    struct rng rng;
    rng_seed(&rng, 6);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int round = 0; round < 100; round++) {
            const struct qtype_info *q = qtype_info(shapes[i].type);
            const struct iq_grid *g = shapes[i].grid;
            struct block_codes c = { .d = f16_from_f32(0.25f) };
            const uint32_t n_scales = shapes[i].n_shifted ? 8 : 16;
            for (int s = 0; s < 256 / shapes[i].sub; s++) c.scale[s] = (uint8_t)rng_below(&rng, n_scales);
            for (int p = 0; p < 256 / g->len; p++) c.point[p] = (uint16_t)rng_below(&rng, (uint32_t)g->n_points);
            for (int l = 0; l < 32; l++) {
                unsigned bits = rng_below(&rng, 256), ones = 0;
                for (int b = 0; b < 7; b++) ones += bits >> b & 1;
                c.sign[l] = (uint8_t)(shapes[i].even ? (bits & 127) | (ones & 1) << 7 : bits);
                if (shapes[i].n_shifted) c.sign[l] = l % shapes[i].n_shifted ? c.sign[l - 1] : bits & 1;
            }
            uint8_t block[256];
            float out[256];
            memset(block, 0xaa, sizeof block);
            shapes[i].pack(&c, block);
            for (size_t k = q->block_bytes; k < sizeof block; k++) assert_int_equal(block[k], 0xaa);
            q->decode(block, out, 256);
            for (int j = 0; j < 256; j++) {
                float v = g->points[g->len * c.point[j / g->len] + j % g->len];
                if (shapes[i].n_shifted) v += c.sign[j / 8] ? -0.125f : 0.125f;
                float expected = 0.25f * shapes[i].unit * ((float)c.scale[j / shapes[i].sub] + 0.5f) * v;
                if (!shapes[i].n_shifted && c.sign[j / 8] >> j % 8 & 1) expected = -expected;
                if (out[j] != expected)
                    fail_msg("%s element %d: %g, not %g", q->name, j, (double)out[j], (double)expected);
            }
        }
}

/* Plain encoding is off by at most half a step, and a step is at most what the block's range, its levels and the
 * rounding of its scales allow. Symmetric codes reach one step less on one side, so there it is a whole step. */
static void plain_encoding_is_near(void **state) {
    (void)state;
    /* Steps the range is cut into; and how much the scale's own coarseness may stretch them (4-bit scales: 1/15 of the
     * largest scale up or down, plus mins that are as coarse). IQ4's widest gap is 24 of 240. */
    static const struct { enum qtype type; float steps, stretch; bool one_sided; } kinds[] = {
        { QTYPE_Q4_0, 8, 2.1f, false },   { QTYPE_Q4_1, 15, 1.1f, true },   { QTYPE_Q5_0, 16, 2.1f, false },
        { QTYPE_Q5_1, 31, 1.1f, true },   { QTYPE_Q8_0, 127, 1.1f, false }, { QTYPE_IQ4_NL, 5, 1.4f, false },
        { QTYPE_Q2_K, 3, 2, true },       { QTYPE_Q3_K, 4, 2.2f, false },   { QTYPE_Q4_K, 15, 1.6f, true },
        { QTYPE_Q5_K, 31, 2.2f, true },   { QTYPE_Q6_K, 32, 2.6f, false },  { QTYPE_IQ4_XS, 5, 1.6f, false },
        /* MXFP4's steps are 2 of 6; what is between 6 and 8 becomes 6. */
        { QTYPE_TQ1_0, 1, 1.1f, false },  { QTYPE_TQ2_0, 1, 1.1f, false },  { QTYPE_MXFP4, 2, 1.1f, false },
    };
    struct rng rng;
    rng_seed(&rng, 9);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        for (int round = 0; round < 200; round++) {
            const struct qtype_info *q = qtype_info(kinds[i].type);
            float x[256], y[256], scale = ldexpf(1, (int)rng_below(&rng, 16) - 8);
            uint8_t block[2048];
            for (int j = 0; j < 256; j++) x[j] = scale * (2 * rng_f32(&rng) - 1);
            q->encode(x, block, 256);
            q->decode(block, y, 256);
            for (int j = 0; j < 256; j++) {
                /* Uniform in [-scale, scale]: one-sided types see a reach of 1, two-sided ones a range of 2. */
                float range = kinds[i].one_sided ? 2 * scale : scale;
                float bound = kinds[i].stretch * range / kinds[i].steps / 2;
                if (fabsf(x[j] - y[j]) > bound)
                    fail_msg("%s: %g became %g, bound %g", q->name, (double)x[j], (double)y[j], (double)bound);
            }
        }
}

/* Zeros stay zeros; what is beyond a type's reach saturates and never decodes to infinity or NaN. */
static void plain_encoding_of_extremes(void **state) {
    (void)state;
    size_t n_types;
    const enum qtype *types = qtype_all(&n_types);
    static const float values[] = { 0, 1e-45f, 1e-30f, 1e-9f, 3e-8f, 65504, 1e7f, 1e20f, FLT_MAX };
    for (size_t t = 0; t < n_types; t++) {
        const struct qtype_info *q = qtype_info(types[t]);
        if (qtype_is_float(q->type) || !qtype_can_write(q->type)) continue;
        for (size_t v = 0; v < sizeof values / sizeof *values; v++)
            for (int sign = 0; sign < 3; sign++) {
                float x[256], y[256];
                uint8_t block[2048];
                for (int j = 0; j < 256; j++) x[j] = sign == 0 || (sign == 2 && j % 3) ? values[v] : -values[v];
                q->encode(x, block, 256);
                q->decode(block, y, 256);
                for (int j = 0; j < 256; j++) {
                    assert_true(isfinite(y[j]));
                    if (values[v] == 0) assert_true(y[j] == 0);
                    /* MXFP4 has no level between 4 and 6, and 5 counts as 6 from there on. */
                    float above = q->type == QTYPE_MXFP4 ? 1.2f : 1.1f;
                    assert_true(fabsf(y[j]) <= fmaxf(above * values[v], 1e-7f));
                }
            }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decodes_bit_equal),
        cmocka_unit_test(halves_all_codes),
        cmocka_unit_test(halves_round_to_even),
        cmocka_unit_test(table),
        cmocka_unit_test(grids),
        cmocka_unit_test(row_bytes),
        cmocka_unit_test(packs_every_code),
        cmocka_unit_test(packs_every_point),
        cmocka_unit_test(plain_encoding_is_near),
        cmocka_unit_test(plain_encoding_of_extremes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
