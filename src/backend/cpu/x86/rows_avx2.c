/* Rows of stored weights times a few tokens of int8 activations, in AVX2.
 *
 * A unit is taken apart once into eight vectors of 32 codes. For each token a vector is multiplied into 16-bit sums of
 * two products, which must not overflow: codes up to 63 give at most 63 * 127 * 2; levels of 8 bits are multiplied as
 * magnitude times activation with the level's sign, at most 128 * 127 * 2. The sums are added as integers until a lane
 * is a sub-block, so that there is one conversion to float and one scale for each. For this a vector has halves of two
 * sub-blocks, which stay in their halves of the register to the end; the activations are brought to the order of the
 * codes once for all rows (arrange).
 *
 * One row at a time: the weights are then one stream in ascending order, which the processor fetches ahead at the
 * memory's speed. */
#include <immintrin.h>

#include "backend/cpu/x86/row_sums_avx2.h"
#include "backend/cpu/x86/rows_loop.h"
#include "backend/cpu/x86/rows_units_avx2.h"

static ALWAYS_INLINE __m256i x_codes(const struct x_unit *x, int v) {
    return _mm256_load_si256((const __m256i *)(x->q + 32 * v));
}

/* --- Integer sums --- */

static ALWAYS_INLINE __m256i add_twos(__m256i words) { return _mm256_madd_epi16(words, _mm256_set1_epi16(1)); }

static ALWAYS_INLINE __m256i signed_products(__m256i levels, __m256i x) {
    return _mm256_maddubs_epi16(_mm256_abs_epi8(levels), _mm256_sign_epi8(x, levels));
}

/* Adds neighbours of a and of b; in each half those of a come first. small: the numbers of both fit in 16 bits. */
static ALWAYS_INLINE __m256i add_pairs(__m256i a, __m256i b, const bool small) {
    return small ? add_twos(_mm256_packs_epi32(a, b)) : _mm256_hadd_epi32(a, b);
}

/* How the codes of a type are added. Sums of four products fit in 16 bits unless is_signed. */
struct order {
    int offset;
    bool has_min, is_signed;
    bool small8, small16; /* sums of 8 products fit in 16 bits, sums of 16 */
};

/* --- Sub-blocks of 32: vectors 2j and 2j + 1 have both halves of j and of j + 4. --- */

static ALWAYS_INLINE __m256i products32(const struct unit256 *w, const struct x_unit *x, const bool is_signed, int j) {
    __m256i x0 = x_codes(x, 2 * j), x1 = x_codes(x, 2 * j + 1), w0 = w->q[2 * j], w1 = w->q[2 * j + 1];
    if (!is_signed) return add_twos(_mm256_add_epi16(_mm256_maddubs_epi16(w0, x0), _mm256_maddubs_epi16(w1, x1)));
    return _mm256_add_epi32(add_twos(signed_products(w0, x0)), add_twos(signed_products(w1, x1)));
}

static ALWAYS_INLINE void multiply32(const struct unit256 *w, const struct x_unit *x, const struct order o,
                                     const unsigned n_tok, struct row_sums *sums) {
#pragma GCC unroll 4
    for (unsigned t = 0; t < n_tok; t++, x++) {
        struct row_sums *s = &sums[t];
        __m256i low = add_pairs(products32(w, x, o.is_signed, 0), products32(w, x, o.is_signed, 1), o.small8);
        __m256i high = add_pairs(products32(w, x, o.is_signed, 2), products32(w, x, o.is_signed, 3), o.small8);
        __m256i sum = add_pairs(low, high, o.small16);
        if (o.offset) sum = _mm256_add_epi32(sum, _mm256_load_si256((const __m256i *)x->corr));
        __m256 scale = _mm256_mul_ps(w->scale[0], _mm256_load_ps(x->scale));
        s->a = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), scale, s->a);
        if (o.has_min) s->b = _mm256_fmadd_ps(w->min[0], _mm256_load_ps(x->sum), s->b);
    }
}

/* --- Sub-blocks of 16: vector i has i and i + 8. --- */

static ALWAYS_INLINE __m256i products16(const struct unit256 *w, const struct x_unit *x, int i) {
    return add_twos(_mm256_maddubs_epi16(w->q[i], x_codes(x, i)));
}

static ALWAYS_INLINE void multiply16(const struct unit256 *w, const struct x_unit *x, const struct order o,
                                     const unsigned n_tok, struct row_sums *sums) {
#pragma GCC unroll 4
    for (unsigned t = 0; t < n_tok; t++, x++) {
        struct row_sums *s = &sums[t];
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
            __m256i low = add_pairs(products16(w, x, 4 * h), products16(w, x, 4 * h + 1), true);
            __m256i high = add_pairs(products16(w, x, 4 * h + 2), products16(w, x, 4 * h + 3), true);
            __m256i sum = add_pairs(low, high, o.small8);
            if (o.offset) sum = _mm256_add_epi32(sum, _mm256_load_si256((const __m256i *)(x->corr + 8 * h)));
            __m256 scale = _mm256_mul_ps(w->scale[h], _mm256_load_ps(x->scale + 8 * h));
            s->a = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), scale, s->a);
            if (o.has_min) s->b = _mm256_fmadd_ps(w->min[h], _mm256_load_ps(x->sum + 8 * h), s->b);
        }
    }
}

/* --- Sub-blocks of 32, each a vector: Q8_0, whose codes stay in order. --- */

static ALWAYS_INLINE void multiply_in_order(const struct unit256 *w, const struct x_unit *x, const struct order o,
                                            const unsigned n_tok, struct row_sums *sums) {
    (void)o;
#pragma GCC unroll 4
    for (unsigned t = 0; t < n_tok; t++, x++) {
        struct row_sums *s = &sums[t];
        __m256 scale = _mm256_mul_ps(w->scale[0], _mm256_load_ps(x->scale));
#pragma GCC unroll 8
        for (int v = 0; v < 8; v++) {
            __m256 p = _mm256_cvtepi32_ps(add_twos(signed_products(w->q[v], x_codes(x, v))));
            __m256 lanes = _mm256_permutevar8x32_ps(scale, _mm256_set1_epi32(v));
            if (v & 1) s->b = _mm256_fmadd_ps(p, lanes, s->b);
            else s->a = _mm256_fmadd_ps(p, lanes, s->a);
        }
    }
}

/* --- The order of activations --- */

/* Sub-blocks of 16 also bring their scales and sums to the lanes: 0..3 and 8..11, then the others. */
static ALWAYS_INLINE void arrange(struct x_unit *x, const unsigned sub) {
    const struct x_unit old = *x;
    for (int i = 0; i < 16; i++) memcpy(x->q + 32 * (i & 7) + 16 * (i >> 3), old.q + 16 * i, 16);
    for (int i = 4; sub == 16 && i < 12; i++) {
        const int from = i < 8 ? i + 4 : i - 4;
        x->scale[i] = old.scale[from];
        x->corr[i] = old.corr[from]; /* or sum, whose place it is */
    }
}

/* --- The types --- */

#define ORDER(...) { __VA_ARGS__ }
#define ROWS(codec, sub, how)                                                                                          \
    static const struct order codec##_order = how;                                                                     \
    void arrange_##codec##_avx2(struct x_unit *x) { arrange(x, sub); }                                                 \
    ROWS_LOOP(codec, avx2, unit256, rows_unpack_##codec, multiply##sub, codec##_order)

ROWS(q4_0, 32, ORDER(.offset = 8, .small8 = true, .small16 = true))
ROWS(q4_1, 32, ORDER(.has_min = true, .small8 = true, .small16 = true))
ROWS(q5_0, 32, ORDER(.offset = 16, .small8 = true))
ROWS(q5_1, 32, ORDER(.has_min = true, .small8 = true))
ROWS(iq4_nl, 32, ORDER(.is_signed = true))
ROWS(iq4_xs, 32, ORDER(.is_signed = true))
ROWS(q4_k, 32, ORDER(.has_min = true, .small8 = true, .small16 = true))
ROWS(q5_k, 32, ORDER(.has_min = true, .small8 = true))
ROWS(tq1_0, 32, ORDER(.offset = 1, .small8 = true, .small16 = true))
ROWS(tq2_0, 32, ORDER(.offset = 1, .small8 = true, .small16 = true))
ROWS(nvfp4, 16, ORDER(.offset = 16, .small8 = true))
ROWS(q2_k, 16, ORDER(.has_min = true, .small8 = true))
ROWS(q3_k, 16, ORDER(.offset = 4, .small8 = true))
ROWS(q6_k, 16, ORDER(.offset = 32))

static const struct order q8_0_order;
ROWS_LOOP(q8_0, avx2, unit256, rows_unpack_q8_0, multiply_in_order, q8_0_order)
