/* Rows of stored weights times several tokens of int8 activations, in AVX2: a lane is a token.
 *
 * A vector of activations has four elements of each of 8 tokens, or of 4 tokens from two places A and B of the unit.
 * Codes are taken apart in the order of the elements and put in the first-level cache, from where four of a row, or
 * eight, are broadcast. Each lane then has two sums of 16 bits for whatever products fit in them: of codes up to 15
 * those of a whole sub-block, of codes up to 31 half as many, of codes up to 63 a quarter. So few sums are widened,
 * which in rows takes half as long as the products. Levels of 8 bits fill 16 with two products; they are multiplied as
 * magnitude times activation with the level's sign. 16 tokens are two groups of 8 that share what is broadcast. */
#include <immintrin.h>

#include "backend/cpu/x86/lanes_loop.h"
#include "backend/cpu/x86/unpack_grid_avx2.h"

struct lanes_type {
    struct lanes_order order;
    unsigned steps; /* fours whose products are added in 16 bits; 1: levels of 8 bits */
};

/* What is taken out of a unit: codes, or levels and magnitudes; scales and mins of the pairs. A and B by turns. */
struct lanes_unit {
    uint8_t q[UNIT], magnitude[UNIT];
    float scale[UNIT_SUBS], min[UNIT_SUBS];
} ALIGNED(64);

/* Sums of a row by groups of tokens, for 8 tokens those of A and those of B, for 4 of both by turns in the first. */
struct lanes_sum { __m256 of[2][2]; };

/* Unrolled, a unit is so long a stretch of code that the compiler works on it for ten seconds, for no gain. */
static ALWAYS_INLINE unsigned hidden(unsigned n) {
    __asm__("" : "+r"(n));
    return n;
}
#define LANES_TIMES(n) hidden(n)

/* --- Multiplying --- */

/* Bytes at p in all lanes: four of A or B, or eight of both. */
static ALWAYS_INLINE __m256i to_lanes(const void *p, const unsigned n) {
    int32_t four;
    int64_t eight;
    if (n == 8) {
        memcpy(&four, p, 4);
        return _mm256_set1_epi32(four);
    }
    memcpy(&eight, p, 8);
    return _mm256_set1_epi64x(eight);
}

static ALWAYS_INLINE __m256 floats_to_lanes(const void *p, const unsigned n) {
    return _mm256_castsi256_ps(to_lanes(p, n));
}

/* Where the fours of step k of all pairs are. */
static ALWAYS_INLINE size_t lanes_at(size_t k) {
    return 64 * (k / 8) + 32 * (k % 4 / 2) + 16 * (k / 4 % 2) + 8 * (k % 2);
}

/* Half h of pair p + odd, p even, or all of it, of LANES_ROWS rows times groups of n tokens: what is broadcast serves
 * both groups. */
static ALWAYS_INLINE void multiply_half(const struct lanes_type *type, const struct lanes_unit u[LANES_ROWS],
                                        const struct x_unit *x, size_t p, const unsigned odd, const unsigned h,
                                        const unsigned n, const unsigned groups, struct lanes_sum sums[LANES_ROWS]) {
    const size_t steps = lanes_steps(&type->order), halves = n / 4, pair = p + odd, lane = 8 * (halves * pair + h);
    const bool has_min = type->order.form.has_min, wide = type->steps == 1;
    __m256i sum[2][LANES_ROWS];
#pragma GCC unroll 8
    for (size_t i = 0; i < steps; i += type->steps) {
        __m256i part[2][LANES_ROWS];
#pragma GCC unroll 8
        for (size_t k = i; k < i + type->steps; k++) {
            const size_t at = 8 * steps * p + lanes_at(steps * odd + k) + 4 * h;
            __m256i q[2];
#pragma GCC unroll 2
            for (unsigned g = 0; g < groups; g++)
                q[g] = load256((const uint8_t *)(x + 8 * g) + 32 * (halves * (steps * pair + k) + h));
#pragma GCC unroll 4
            for (int r = 0; r < LANES_ROWS; r++) {
                const __m256i w = to_lanes(u[r].q + at, n);
                const __m256i magnitude = wide ? to_lanes(u[r].magnitude + at, n) : w;
#pragma GCC unroll 2
                for (unsigned g = 0; g < groups; g++) {
                    const __m256i twos = _mm256_maddubs_epi16(magnitude, wide ? _mm256_sign_epi8(q[g], w) : q[g]);
                    part[g][r] = k == i ? twos : _mm256_add_epi16(part[g][r], twos);
                    /* One after the other: a tree of sums would need too many registers. */
                    __asm__("" : "+x"(part[g][r]));
                }
            }
        }
#pragma GCC unroll 8
        for (unsigned v = 0; v < groups * LANES_ROWS; v++) {
            const unsigned g = v / LANES_ROWS, r = v % LANES_ROWS;
            const __m256i wider = _mm256_madd_epi16(part[g][r], _mm256_set1_epi16(1));
            sum[g][r] = i == 0 ? wider : _mm256_add_epi32(sum[g][r], wider);
        }
    }
#pragma GCC unroll 2
    for (unsigned g = 0; g < groups; g++) {
        const struct lanes_x of = lanes_x((struct x_unit *)x + 8 * g, n);
        const __m256 x_scale = _mm256_load_ps(of.scale + lane), x_sum = _mm256_load_ps(of.sum + lane);
#pragma GCC unroll 4
        for (int r = 0; r < LANES_ROWS; r++) {
            if (!has_min && !wide) sum[g][r] = _mm256_add_epi32(sum[g][r], _mm256_castps_si256(x_sum));
            const __m256 scale = _mm256_mul_ps(floats_to_lanes(u[r].scale + 2 * pair + h, n), x_scale);
            __m256 s = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum[g][r]), scale, sums[r].of[g][h]);
            if (has_min) s = _mm256_fmadd_ps(floats_to_lanes(u[r].min + 2 * pair + h, n), x_sum, s);
            sums[r].of[g][h] = s;
        }
    }
}

static void store_group(const struct rows_job *j, size_t row, unsigned t, unsigned n, unsigned g,
                        const struct lanes_sum s[LANES_ROWS]) {
    for (size_t r = 0; r < LANES_ROWS && row + r < j->n_rows; r++) {
        float all[16];
        _mm256_storeu_ps(all, s[r].of[g][0]);
        _mm256_storeu_ps(all + 8, s[r].of[g][1]);
        for (unsigned i = 0; i < n && t + i < j->n_tok; i++)
            j->out[(t + i) * j->out_stride + row + r] = n == 8 ? all[i] + all[8 + i] : all[2 * i] + all[2 * i + 1];
    }
}

/* For n tokens: pairs p and p + 1; the results of LANES_ROWS rows from `row` on, tokens from t on. */
#define LANES_OF(n, group, groups)                                                                                     \
    static ALWAYS_INLINE void multiply##n(const struct lanes_type *type, const uint8_t *const w[LANES_ROWS],           \
                                          const struct lanes_unit u[LANES_ROWS], const struct x_unit *x, size_t p,     \
                                          struct lanes_sum sums[LANES_ROWS]) {                                         \
        (void)w;                                                                                                       \
        _Pragma("GCC unroll 4") for (unsigned h = 0; h < (group) / 2; h++)                                             \
            multiply_half(type, u, x, p, h / ((group) / 4), h % ((group) / 4), group, groups, sums);                   \
    }                                                                                                                  \
    static void store##n(const struct rows_job *j, size_t row, unsigned t, const struct lanes_sum s[LANES_ROWS]) {     \
        for (unsigned g = 0; g < (groups); g++) store_group(j, row, t + 8 * g, group, g, s);                           \
    }

LANES_OF(16, 8, 2)
LANES_OF(8, 8, 1)
LANES_OF(4, 4, 1)

/* --- Taking units apart --- */

static ALWAYS_INLINE void put_codes(const __m256i q[8], uint8_t out[UNIT]) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        _mm256_store_si256((__m256i *)(out + 64 * j), _mm256_unpacklo_epi32(q[2 * j], q[2 * j + 1]));
        _mm256_store_si256((__m256i *)(out + 64 * j + 32), _mm256_unpackhi_epi32(q[2 * j], q[2 * j + 1]));
    }
}

/* Of sub-blocks of 16, s and s + 2 make a pair. */
static ALWAYS_INLINE __m256 in_pairs(__m256 v, const unsigned sub) {
    return sub == 32 ? v : _mm256_permute_ps(v, _MM_SHUFFLE(3, 1, 2, 0));
}

static ALWAYS_INLINE void put_unit(const struct lanes_type *type, struct unit256 *u, struct lanes_unit *out) {
    const struct int8_form form = type->order.form;
    const bool signed_levels = type->steps == 1; /* codes then have the offset 128, which is taken off */
#pragma GCC unroll 8
    for (int v = 0; v < 8 && signed_levels; v++) u->q[v] = _mm256_xor_si256(u->q[v], _mm256_set1_epi8((char)0x80));
    put_codes(u->q, out->q);
#pragma GCC unroll 8
    for (int v = 0; v < 8 && signed_levels; v++) u->q[v] = _mm256_abs_epi8(u->q[v]);
    if (signed_levels) put_codes(u->q, out->magnitude);
#pragma GCC unroll 2
    for (int i = 0; i < 32 / form.sub; i++) {
        _mm256_store_ps(out->scale + 8 * i, in_pairs(u->scale[i], form.sub));
        if (form.has_min) _mm256_store_ps(out->min + 8 * i, in_pairs(u->min[i], form.sub));
    }
    __asm__("" : "+m"(*out)); /* the compiler would rather keep it in registers, and shuffle it from there */
}

/* steps: fours whose products are added in 16 bits. */
#define LANES_AVX2(codec, sub, offset, has_min, steps)                                                                 \
    static const struct lanes_type codec##_type = {                                                                    \
        { { sub, offset, has_min }, { 8, 1, 2, 4, 16, 32 }, .apart = true }, steps                                     \
    };                                                                                                                 \
    static ALWAYS_INLINE void put_##codec(const uint8_t *b, struct lanes_unit *out) {                                  \
        struct unit256 u;                                                                                              \
        unpack_##codec(b, &u);                                                                                         \
        put_unit(&codec##_type, &u, out);                                                                              \
    }                                                                                                                  \
    LANES_LOOP(1, codec, 16, struct lanes_sum)                                                                         \
    LANES_LOOP(1, codec, 8, struct lanes_sum)                                                                          \
    LANES_LOOP(1, codec, 4, struct lanes_sum)                                                                          \
    void turn_##codec##_avx2(struct x_unit *x, unsigned n_tok) { turn_all(x, n_tok, &codec##_type.order); }            \
    void lanes_##codec##_avx2(const struct rows_job *j) {                                                              \
        unsigned t = 0;                                                                                                \
        for (; is_eight(t + 8, j->n_tok); t += 16) codec##_lanes16(j, t);                                              \
        for (; is_eight(t, j->n_tok); t += 8) codec##_lanes8(j, t);                                                    \
        if (t < j->n_tok) codec##_lanes4(j, t);                                                                        \
    }

/* --- The types --- */

LANES_AVX2(q4_0, 32, 8, false, 8)
LANES_AVX2(q4_1, 32, 0, true, 8)
LANES_AVX2(q5_0, 32, 16, false, 4)
LANES_AVX2(q5_1, 32, 0, true, 4)
LANES_AVX2(q8_0, 32, 128, false, 1)
LANES_AVX2(q2_k, 16, 0, true, 4)
LANES_AVX2(q3_k, 16, 4, false, 4)
LANES_AVX2(q4_k, 32, 0, true, 8)
LANES_AVX2(q5_k, 32, 0, true, 4)
LANES_AVX2(q6_k, 16, 32, false, 2)

SIGNED_UNPACK(mxfp4, 32, 16)
LANES_AVX2(mxfp4, 32, 16, false, 4)
