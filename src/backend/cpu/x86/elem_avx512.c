/* Element-wise kernels in AVX-512: exponentials of softmax and SiLU. */
#include <immintrin.h>
#include <math.h>

#include "backend/cpu/kern.h"

enum { V = 16 };

/* exp(x) = 2^n * exp(r), n = round(x / ln 2), |r| <= ln(2) / 2; ln 2 in two parts and the polynomial are those of the
 * Cephes library's expf, whose error is under two units in the last place. The clamp keeps n in the range that scaling
 * turns into zero or infinity; a NaN passes. */
static ALWAYS_INLINE __m512 exp16(__m512 x) {
    x = _mm512_min_ps(_mm512_set1_ps(200.0f), _mm512_max_ps(_mm512_set1_ps(-200.0f), x));
    const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504088896341f)), 0);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
    __m512 y = _mm512_set1_ps(1.9875691500e-4f);
    y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(1.3981999507e-3f));
    y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(8.3334519073e-3f));
    y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(4.1665795894e-2f));
    y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(1.6666665459e-1f));
    y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(5.0000001201e-1f));
    y = _mm512_add_ps(_mm512_fmadd_ps(_mm512_mul_ps(r, r), y, r), _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(y, n);
}

/* 16 numbers, or those of the mask: a masked store takes several times as long as a whole one. */
static ALWAYS_INLINE __m512 load(const float *p, const bool all, __mmask16 mask) {
    return all ? _mm512_loadu_ps(p) : _mm512_maskz_loadu_ps(mask, p);
}
static ALWAYS_INLINE void store(float *p, __m512 x, const bool all, __mmask16 mask) {
    if (all) _mm512_storeu_ps(p, x);
    else _mm512_mask_storeu_ps(p, mask, x);
}

/* The first rest of 16 lanes, rest below 16. */
static ALWAYS_INLINE __mmask16 first_lanes(size_t rest) { return (__mmask16)((1u << rest) - 1); }

/* s becomes exp(s - max) in the lanes that count; the others of the result are 0. */
static ALWAYS_INLINE __m512 exp_less(float *s, __m512 max, const bool all, __mmask16 mask) {
    const __m512 w = exp16(_mm512_sub_ps(load(s, all, mask), max));
    store(s, w, all, mask);
    return all ? w : _mm512_maskz_mov_ps(mask, w);
}

float softmax_avx512(float *s, size_t n, float *max) {
    const size_t whole = n / V * V;
    const __mmask16 mask = first_lanes(n - whole);
    __m512 most = _mm512_mask_loadu_ps(_mm512_set1_ps(-INFINITY), mask, s + whole), sum = _mm512_setzero_ps();
    for (size_t i = 0; i < whole; i += V) most = _mm512_max_ps(most, _mm512_loadu_ps(s + i));
    *max = _mm512_reduce_max_ps(most);
    most = _mm512_set1_ps(*max);
    for (size_t i = 0; i < whole; i += V) sum = _mm512_add_ps(sum, exp_less(s + i, most, true, 0));
    if (mask) sum = _mm512_add_ps(sum, exp_less(s + whole, most, false, mask));
    return _mm512_reduce_add_ps(sum);
}

static ALWAYS_INLINE void silu_mul(const float *gate, const float *up, float *out, const bool all, __mmask16 mask) {
    const __m512 g = load(gate, all, mask), e = exp16(_mm512_sub_ps(_mm512_setzero_ps(), g));
    const __m512 below = _mm512_add_ps(_mm512_set1_ps(1.0f), e);
    store(out, _mm512_mul_ps(_mm512_div_ps(g, below), load(up, all, mask)), all, mask);
}

void silu_mul_avx512(const float *gate, const float *up, float *out, size_t n) {
    size_t i = 0;
    for (; i + V <= n; i += V) silu_mul(gate + i, up + i, out + i, true, 0);
    if (i < n) silu_mul(gate + i, up + i, out + i, false, first_lanes(n - i));
}
