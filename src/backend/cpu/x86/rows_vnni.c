/* Rows of stored weights times a few tokens of int8 activations, in AVX-512 VNNI.
 *
 * A unit is taken apart once into four vectors of 64 codes. For each token they are multiplied with dpbusd (unsigned
 * codes, signed activations: 16 sums of four products). What then costs most is turning sums to float and bringing the
 * scales to their lanes, so the order of the codes is chosen to leave few sums: two vectors of codes of the same
 * sub-blocks of 32 are added while they are integers, and those of 16 are brought to a lane each, before or after they
 * are multiplied. The activations are brought to the order of the codes beforehand, once for all rows (arrange). There
 * too goes what a code's place in its byte multiplies it with. The offset of the codes is taken off in integers, before
 * anything is rounded.
 *
 * One row at a time: the weights are then one stream in ascending order, which the processor fetches ahead at the
 * memory's speed; several rows at once halve it. */
#include <immintrin.h>

#include "backend/cpu/x86/row_sums_avx512.h"
#include "backend/cpu/x86/rows_loop.h"
#include "backend/cpu/x86/rows_multiply_avx512.h"
#include "backend/cpu/x86/rows_units_vnni.h"

/* --- Sub-blocks of 32 that fill eight lanes each: Q8_0, whose codes stay in order. --- */

static ALWAYS_INLINE void multiply_in_order(const struct unit512 *w, const struct x_unit *x,
                                            const struct int8_form form, const unsigned n_tok, struct row_sums *sums) {
    const __m512i half = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    const __m512i zero = _mm512_setzero_si512(), offset = _mm512_set1_epi8((char)form.offset);
#pragma GCC unroll 4
    for (unsigned t = 0; t < n_tok; t++, x++) {
        struct row_sums *s = &sums[t];
        __m512 scale = _mm512_mul_ps(w->scale, _mm512_load_ps(x->scale));
#pragma GCC unroll 4
        for (int v = 0; v < 4; v++) {
            __m512i first = _mm512_sub_epi32(zero, _mm512_dpbusd_epi32(zero, offset, x_codes(x, v)));
            __m512 f = _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(first, w->q[v], x_codes(x, v)));
            __m512 lanes = _mm512_permutexvar_ps(_mm512_add_epi32(half, _mm512_set1_epi32(2 * v)), scale);
            if (v & 1) s->b = _mm512_fmadd_ps(f, lanes, s->b);
            else s->a = _mm512_fmadd_ps(f, lanes, s->a);
        }
    }
}

/* --- Sub-blocks of 16, or of 32 as two of 16 that have one scale --- */

struct order16 {
    int offset;  /* of a type with sub-blocks of 32, 0 otherwise */
    bool has_min;
    enum { IN_ORDER, IN_PAIRS, IN_LANES } codes; /* as Q6_K, Q3_K and Q2_K have them */
    uint8_t times[4]; /* the code, in lanes 4i, 4i + 1 ... of the results */
};

/* In Q2_K's order all vectors have a sub-block in the same lane, otherwise each four lanes of one vector have one. */
static ALWAYS_INLINE __m512i sums16(const struct unit512 *w, const struct x_unit *x, const struct order16 o) {
    const __m512i zero = _mm512_setzero_si512();
    __m512i p[4], sum = o.has_min ? zero : _mm512_load_si512(x->corr);
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) {
        if (o.codes == IN_LANES) sum = _mm512_dpbusd_epi32(sum, w->q[v], x_codes(x, v));
        else p[v] = _mm512_dpbusd_epi32(zero, w->q[v], x_codes(x, v));
    }
    return o.codes == IN_LANES ? sum : sums_of_quarters(p, sum, o.codes == IN_ORDER);
}

static ALWAYS_INLINE void multiply16(const struct unit512 *w, const struct x_unit *x, const struct order16 o,
                                     const unsigned n_tok, struct row_sums *sums) {
#pragma GCC unroll 4
    for (unsigned t = 0; t < n_tok; t++, x++) {
        struct row_sums *s = &sums[t];
        __m512 scale = _mm512_mul_ps(w->scale, _mm512_load_ps(x->scale));
        s->a = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums16(w, x, o)), scale, s->a);
        if (o.has_min) s->b = _mm512_fmadd_ps(w->min, _mm512_load_ps(x->sum), s->b);
    }
}

static ALWAYS_INLINE void arrange16(struct x_unit *x, const struct order16 o) {
    static const uint8_t in_order[16] = { SUBS_IN_ORDER }, of_pairs[16] = { SUBS_OF_PAIRS };
    static const uint8_t codes[16] = { 0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15 };
    const struct x_unit old = *x;
    if (o.codes == IN_PAIRS) reorder(x, codes);
    for (int l = 0; l < 16; l++) {
        const int s = o.codes == IN_ORDER ? in_order[l] : of_pairs[l], times = o.times[l & 3];
        for (int v = 0; o.codes == IN_LANES && v < 4; v++)
            memcpy(x->q + 64 * v + 4 * l, old.q + 16 * s + 4 * ((v + l) & 3), 4);
        x->scale[l] = old.scale[o.offset ? s / 2 : s] / (float)times;
        if (o.has_min) x->sum[l] = old.sum[s];
        else x->corr[l] = (o.offset ? -o.offset * sum16(old.q + 16 * s) : old.corr[s]) * times;
    }
}

/* --- The types --- */

#define ROWS32(codec, order, odd)                                                                                      \
    static const struct order32 codec##_order = order;                                                                 \
    void arrange_##codec##_vnni(struct x_unit *x) { arrange32(x, codec##_order, odd); }                                \
    ROWS_LOOP(codec, vnni, unit512, rows_unpack_##codec, multiply32, codec##_order)

#define ROWS16(codec, ...)                                                                                             \
    static const struct order16 codec##_order = __VA_ARGS__;                                                           \
    void arrange_##codec##_vnni(struct x_unit *x) { arrange16(x, codec##_order); }                                     \
    ROWS_LOOP(codec, vnni, unit512, rows_unpack_##codec, multiply16, codec##_order)

#define ORDER(...) { __VA_ARGS__ }
ROWS32(q4_0, ORDER(.offset = 8), 1)
ROWS32(q4_1, ORDER(.has_min = true), 1)
ROWS32(q5_0, ORDER(.offset = 16), 1)
ROWS32(q5_1, ORDER(.has_min = true), 1)
ROWS32(iq4_nl, ORDER(.offset = 128), 1)
ROWS32(iq4_xs, ORDER(.offset = 128), 1)
ROWS32(q4_k, ORDER(.has_min = true, .odd_last = true), 16)
ROWS32(q5_k, ORDER(.has_min = true, .odd_last = true), 2)
ROWS16(q2_k, ORDER(.has_min = true, .codes = IN_LANES, .times = { 1, 4, 16, 64 }))
ROWS16(q3_k, ORDER(.codes = IN_PAIRS, .times = { 1, 4, 1, 4 }))
ROWS16(tq2_0, ORDER(.offset = 1, .codes = IN_LANES, .times = { 1, 4, 16, 64 }))
ROWS16(nvfp4, ORDER(.codes = IN_ORDER, .times = { 1, 1, 1, 1 }))
ROWS16(q6_k, ORDER(.codes = IN_ORDER, .times = { 1, 1, 1, 1 }))

static const struct int8_form q8_0_form = { 32, 128, false };
ROWS_LOOP(q8_0, vnni, unit512, unpack_q8_0, multiply_in_order, q8_0_form)
