#ifndef BACKEND_CPU_X86_ROW_SUMS_AVX512_H
#define BACKEND_CPU_X86_ROW_SUMS_AVX512_H
/* What the rows kernels in AVX-512 add up in: the sums of a row, and integer sums of sub-blocks of 16. */
#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"

/* The sums of one row and one token: two, so that additions need not wait for one another. */
struct row_sums { __m512 a, b; };

static ALWAYS_INLINE void row_clear(struct row_sums *s) { s->a = s->b = _mm512_setzero_ps(); }

static ALWAYS_INLINE float row_total(const struct row_sums *s) {
    return _mm512_reduce_add_ps(_mm512_add_ps(s->a, s->b));
}

static ALWAYS_INLINE __m512i add_twos(__m512i sum, __m512i words) {
    return _mm512_dpwssd_epi32(sum, words, _mm512_set1_epi16(1));
}

/* Lane 4i + j becomes the sum of quarter i of vector j. wide: sums of eight products need more than 16 bits. */
static ALWAYS_INLINE __m512i sums_of_quarters(const __m512i p[4], __m512i sum, const bool wide) {
    const __m512i zero = _mm512_setzero_si512();
    __m512i a = add_twos(zero, _mm512_packs_epi32(p[0], p[1])), b = add_twos(zero, _mm512_packs_epi32(p[2], p[3]));
    if (!wide) return add_twos(sum, _mm512_packs_epi32(a, b));
    __m512 fa = _mm512_castsi512_ps(a), fb = _mm512_castsi512_ps(b);
    __m512i even = _mm512_castps_si512(_mm512_shuffle_ps(fa, fb, _MM_SHUFFLE(2, 0, 2, 0)));
    __m512i odd = _mm512_castps_si512(_mm512_shuffle_ps(fa, fb, _MM_SHUFFLE(3, 1, 3, 1)));
    return _mm512_add_epi32(_mm512_add_epi32(even, odd), sum);
}

/* For arranging activations. */
static ALWAYS_INLINE int32_t sum16(const int8_t *q) {
    int32_t sum = 0;
    for (int i = 0; i < 16; i++) sum += q[i];
    return sum;
}
#endif
