/* Element-wise kernels in AVX2: exponentials of softmax and SiLU, blending, rounding to half. */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "backend/cpu/kern.h"
#include "base/num.h"
#include "qtype/round.h"

enum { V = 8 };

/* exp(x) = 2^n * exp(r), n = round(x / ln 2), |r| <= ln(2) / 2; ln 2 in two parts and the polynomial are those of the
 * Cephes library's expf, whose error is under two units in the last place. The clamp keeps n within -202 .. 130, which
 * becomes zero or infinity in two multiplications by normal powers; a NaN passes. */
static ALWAYS_INLINE __m256 exp8(__m256 x) {
    x = _mm256_min_ps(_mm256_set1_ps(90.0f), _mm256_max_ps(_mm256_set1_ps(-140.0f), x));
    const __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504088896341f)), _MM_FROUND_TO_NEAREST_INT);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), x);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.12194440e-4f), r);
    __m256 y = _mm256_set1_ps(1.9875691500e-4f);
    y = _mm256_fmadd_ps(y, r, _mm256_set1_ps(1.3981999507e-3f));
    y = _mm256_fmadd_ps(y, r, _mm256_set1_ps(8.3334519073e-3f));
    y = _mm256_fmadd_ps(y, r, _mm256_set1_ps(4.1665795894e-2f));
    y = _mm256_fmadd_ps(y, r, _mm256_set1_ps(1.6666665459e-1f));
    y = _mm256_fmadd_ps(y, r, _mm256_set1_ps(5.0000001201e-1f));
    y = _mm256_add_ps(_mm256_fmadd_ps(_mm256_mul_ps(r, r), y, r), _mm256_set1_ps(1.0f));
    const __m256i e = _mm256_cvtps_epi32(n), e1 = _mm256_srai_epi32(e, 1), e2 = _mm256_sub_epi32(e, e1);
    const __m256i bias = _mm256_set1_epi32(127);
    y = _mm256_mul_ps(y, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(e1, bias), 23)));
    return _mm256_mul_ps(y, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(e2, bias), 23)));
}

/* The first `rest` of 8 lanes (all from 8 on). */
static ALWAYS_INLINE __m256i rest_mask(size_t rest) {
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)min_u64(rest, V)), lanes);
}

float softmax_avx2(float *s, size_t n, float *max) {
    float lanes[V], m, sum[V];
    __m256 most = _mm256_set1_ps(-INFINITY), total = _mm256_setzero_ps();
    for (size_t i = 0; i < n; i += V) {
        const __m256i mask = rest_mask(n - i);
        const __m256 x = _mm256_maskload_ps(s + i, mask);
        most = _mm256_max_ps(most, _mm256_blendv_ps(_mm256_set1_ps(-INFINITY), x, _mm256_castsi256_ps(mask)));
    }
    _mm256_storeu_ps(lanes, most);
    m = lanes[0];
    for (int i = 1; i < V; i++) m = fmaxf(m, lanes[i]);
    for (size_t i = 0; i < n; i += V) {
        const __m256i mask = rest_mask(n - i);
        const __m256 x = exp8(_mm256_sub_ps(_mm256_maskload_ps(s + i, mask), _mm256_set1_ps(m)));
        _mm256_maskstore_ps(s + i, mask, x);
        total = _mm256_add_ps(total, _mm256_and_ps(x, _mm256_castsi256_ps(mask)));
    }
    _mm256_storeu_ps(sum, total);
    *max = m;
    return ((sum[0] + sum[4]) + (sum[1] + sum[5])) + ((sum[2] + sum[6]) + (sum[3] + sum[7]));
}

void silu_mul_avx2(const float *gate, const float *up, float *out, size_t n) {
    for (size_t i = 0; i < n; i += V) {
        const __m256i mask = rest_mask(n - i);
        const __m256 g = _mm256_maskload_ps(gate + i, mask), u = _mm256_maskload_ps(up + i, mask);
        const __m256 below = _mm256_add_ps(_mm256_set1_ps(1.0f), exp8(_mm256_sub_ps(_mm256_setzero_ps(), g)));
        _mm256_maskstore_ps(out + i, mask, _mm256_mul_ps(_mm256_div_ps(g, below), u));
    }
}

void blend_avx2(float *acc, float a, const float *x, float b, size_t n) {
    const __m256 va = _mm256_set1_ps(a), vb = _mm256_set1_ps(b);
    size_t i = 0;
    for (; i + V <= n; i += V) {
        const __m256 old = _mm256_mul_ps(va, _mm256_loadu_ps(acc + i));
        _mm256_storeu_ps(acc + i, _mm256_fmadd_ps(vb, _mm256_loadu_ps(x + i), old));
    }
    for (; i < n; i++) acc[i] = a * acc[i] + b * x[i];
}

void narrow_f16_avx2(const float *x, void *out, size_t n) {
    uint16_t *half = out;
    size_t i = 0;
    for (; i + V <= n; i += V)
        _mm_storeu_si128((void *)(half + i), _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT));
    for (; i < n; i++) half[i] = f16_from_f32(x[i]);
}

/* One block: the scale of its largest magnitude, a half, and 32 codes within -127 .. 127. */
static void narrow_q8_0_block(const float *x, uint8_t *out) {
    const __m256 sign = _mm256_set1_ps(-0.0f), top = _mm256_set1_ps(127), bottom = _mm256_set1_ps(-127);
    __m256 most = _mm256_setzero_ps();
    __m256i codes[4];
    float lanes[V];
    for (int i = 0; i < 4; i++) most = _mm256_max_ps(_mm256_andnot_ps(sign, _mm256_loadu_ps(x + i * V)), most);
    _mm256_storeu_ps(lanes, most);
    const uint16_t d = f16_clamped(extreme(lanes, V) / 127);
    const __m256 inv = _mm256_set1_ps(inverse_or_0(f32_from_f16(d)));
    for (int i = 0; i < 4; i++) {
        const __m256 q = _mm256_round_ps(_mm256_mul_ps(_mm256_loadu_ps(x + i * V), inv), _MM_FROUND_TO_NEAREST_INT);
        codes[i] = _mm256_cvtps_epi32(_mm256_max_ps(bottom, _mm256_min_ps(top, q)));
    }
    /* Packing works within halves of 128 bits; the permutation brings groups of four back in order. */
    const __m256i words[2] = { _mm256_packs_epi32(codes[0], codes[1]), _mm256_packs_epi32(codes[2], codes[3]) };
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    memcpy(out, &d, sizeof d);
    _mm256_storeu_si256((void *)(out + 2), _mm256_permutevar8x32_epi32(_mm256_packs_epi16(words[0], words[1]), order));
}

void narrow_q8_0_avx2(const float *x, void *out, size_t n) {
    uint8_t *b = out;
    for (size_t i = 0; i < n; i += 32, b += 34) narrow_q8_0_block(x + i, b);
}
