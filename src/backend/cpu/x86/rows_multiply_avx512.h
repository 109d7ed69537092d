#ifndef BACKEND_CPU_X86_ROWS_MULTIPLY_AVX512_H
#define BACKEND_CPU_X86_ROWS_MULTIPLY_AVX512_H
/* Units with sub-blocks of 32, taken apart by rows_units_vnni.h, times activations, which are brought to the order of
 * the codes. */
#include "backend/cpu/kern.h"
#include "backend/cpu/x86/row_sums_avx512.h"
#include "backend/cpu/x86/unpack_vnni.h"

static ALWAYS_INLINE __m512i x_codes(const struct x_unit *x, int v) { return _mm512_load_si512(x->q + 64 * v); }

/* Where the codes of a type stand. */
struct order32 {
    bool has_min;   /* scales and mins by turns */
    bool odd_last;  /* vectors 0 and 1 have sub-blocks 0, 2, 4, 6, the others 1, 3, 5, 7; otherwise 0..3, 4..7 */
    int offset;
};

/* The scales of vector pair `second`, from lanes where the scale of sub-block s is lane s, or 2s beside its min. */
static ALWAYS_INLINE __m512 lanes32(__m512 scale, const struct order32 o, const int second) {
    const int lanes = o.has_min ? 2 : 1, step = lanes * (o.odd_last ? 2 : 1), first = lanes * (o.odd_last ? 1 : 4);
    const __m512i quarter = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    __m512i at = _mm512_mullo_epi32(quarter, _mm512_set1_epi32(step));
    return _mm512_permutexvar_ps(_mm512_add_epi32(at, _mm512_set1_epi32(second * first)), scale);
}

static ALWAYS_INLINE void multiply32(const struct unit512 *w, const struct x_unit *x, const struct order32 o,
                                     const unsigned n_tok, struct row_sums *sums) {
#pragma GCC unroll 4
    for (unsigned t = 0; t < n_tok; t++, x++) {
        struct row_sums *s = &sums[t];
        __m512 scale = _mm512_mul_ps(w->scale, _mm512_load_ps(x->scale));
        __m512i a = _mm512_setzero_si512(), b = a;
        if (o.has_min) {
            s->a = _mm512_mask_add_ps(s->a, 0xaaaa, s->a, scale);
        } else {
            __m512i eights = _mm512_load_si512(x->corr);
            a = _mm512_madd_epi16(eights, _mm512_set1_epi32(-o.offset & 0xffff));
            b = _mm512_madd_epi16(eights, _mm512_set1_epi32((int)(-(unsigned)o.offset << 16)));
        }
        a = _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(a, w->q[0], x_codes(x, 0)), w->q[1], x_codes(x, 1));
        b = _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(b, w->q[2], x_codes(x, 2)), w->q[3], x_codes(x, 3));
        s->a = _mm512_fmadd_ps(_mm512_cvtepi32_ps(a), lanes32(scale, o, 0), s->a);
        s->b = _mm512_fmadd_ps(_mm512_cvtepi32_ps(b), lanes32(scale, o, 1), s->b);
    }
}

/* Brings granule order[i] to place i. */
static ALWAYS_INLINE void reorder(struct x_unit *x, const uint8_t order[16]) {
    __m128i g[16];
    for (int i = 0; i < 16; i++) g[i] = _mm_load_si128((const __m128i *)(x->q + 16 * order[i]));
    for (int i = 0; i < 16; i++) _mm_store_si128((__m128i *)(x->q + 16 * i), g[i]);
}

/* In each lane the sum of the eight activations that it is multiplied with: in the low half for vectors 0 and 1, in
 * the high one for the others. */
static ALWAYS_INLINE void put_eights(struct x_unit *x) {
    const __m512i zero = _mm512_setzero_si512(), one = _mm512_set1_epi8(1);
    __m512i a = _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(zero, one, x_codes(x, 0)), one, x_codes(x, 1));
    __m512i b = _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(zero, one, x_codes(x, 2)), one, x_codes(x, 3));
    _mm512_store_si512(x->corr, _mm512_mask_blend_epi16(0xaaaaaaaa, a, _mm512_slli_epi32(b, 16)));
}

/* odd: what the codes of odd sub-blocks are multiplied with. */
static ALWAYS_INLINE void arrange32(struct x_unit *x, const struct order32 o, const float odd) {
    static const uint8_t by_blocks[16] = { 0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15 };
    static const uint8_t odd_last[16] = { 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15 };
    const struct x_unit old = *x;
    reorder(x, o.odd_last ? odd_last : by_blocks);
    for (int s = 0; o.has_min && s < 8; s++) {
        x->scale[2 * s] = old.scale[s] / (s & 1 ? odd : 1);
        x->scale[2 * s + 1] = old.sum[s];
    }
    if (!o.has_min) put_eights(x);
}
#endif
