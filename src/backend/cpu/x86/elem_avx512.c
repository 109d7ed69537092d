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

static ALWAYS_INLINE __mmask16 rest_mask(size_t rest) { return (__mmask16)(rest < V ? (1u << rest) - 1 : 0xffff); }

float softmax_avx512(float *s, size_t n, float *max) {
    const __m512 lowest = _mm512_set1_ps(-INFINITY);
    __m512 most = lowest, sum = _mm512_setzero_ps();
    for (size_t i = 0; i < n; i += V) most = _mm512_max_ps(most, _mm512_mask_loadu_ps(lowest, rest_mask(n - i), s + i));
    *max = _mm512_reduce_max_ps(most);
    most = _mm512_set1_ps(*max);
    for (size_t i = 0; i < n; i += V) {
        const __mmask16 mask = rest_mask(n - i);
        const __m512 w = _mm512_maskz_mov_ps(mask, exp16(_mm512_sub_ps(_mm512_maskz_loadu_ps(mask, s + i), most)));
        _mm512_mask_storeu_ps(s + i, mask, w);
        sum = _mm512_add_ps(sum, w);
    }
    return _mm512_reduce_add_ps(sum);
}

void silu_mul_avx512(const float *gate, const float *up, float *out, size_t n) {
    const __m512 one = _mm512_set1_ps(1.0f);
    for (size_t i = 0; i < n; i += V) {
        const __mmask16 mask = rest_mask(n - i);
        const __m512 g = _mm512_maskz_loadu_ps(mask, gate + i), u = _mm512_maskz_loadu_ps(mask, up + i);
        const __m512 e = exp16(_mm512_sub_ps(_mm512_setzero_ps(), g));
        _mm512_mask_storeu_ps(out + i, mask, _mm512_mul_ps(_mm512_div_ps(g, _mm512_add_ps(one, e)), u));
    }
}
