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

/* 8 numbers, or those of the mask: a masked store takes several times as long as a whole one. */
static ALWAYS_INLINE __m256 load(const float *p, const bool all, __m256i mask) {
    return all ? _mm256_loadu_ps(p) : _mm256_maskload_ps(p, mask);
}
static ALWAYS_INLINE void store(float *p, __m256 x, const bool all, __m256i mask) {
    if (all) _mm256_storeu_ps(p, x);
    else _mm256_maskstore_ps(p, mask, x);
}

/* The first `rest` of 8 lanes. */
static ALWAYS_INLINE __m256i first_lanes(size_t rest) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)rest), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

/* s becomes exp(s - max) in the lanes that count; the others of the result are 0. */
static ALWAYS_INLINE __m256 exp_less(float *s, __m256 max, const bool all, __m256i mask) {
    const __m256 w = exp8(_mm256_sub_ps(load(s, all, mask), max));
    store(s, w, all, mask);
    return all ? w : _mm256_and_ps(w, _mm256_castsi256_ps(mask));
}

float softmax_avx2(float *s, size_t n, float *max) {
    const size_t whole = n / V * V;
    const __m256i mask = first_lanes(n - whole);
    float lanes[V], m;
    __m256 most = _mm256_blendv_ps(_mm256_set1_ps(-INFINITY), _mm256_maskload_ps(s + whole, mask),
                                   _mm256_castsi256_ps(mask));
    for (size_t i = 0; i < whole; i += V) most = _mm256_max_ps(most, _mm256_loadu_ps(s + i));
    _mm256_storeu_ps(lanes, most);
    m = lanes[0];
    for (int i = 1; i < V; i++) m = fmaxf(m, lanes[i]);
    *max = m;
    most = _mm256_set1_ps(m);
    __m256 sum = _mm256_setzero_ps();
    for (size_t i = 0; i < whole; i += V) sum = _mm256_add_ps(sum, exp_less(s + i, most, true, mask));
    if (whole < n) sum = _mm256_add_ps(sum, exp_less(s + whole, most, false, mask));
    _mm256_storeu_ps(lanes, sum);
    return ((lanes[0] + lanes[4]) + (lanes[1] + lanes[5])) + ((lanes[2] + lanes[6]) + (lanes[3] + lanes[7]));
}

static ALWAYS_INLINE void silu_mul(const float *gate, const float *up, float *out, const bool all, __m256i mask) {
    const __m256 g = load(gate, all, mask), e = exp8(_mm256_sub_ps(_mm256_setzero_ps(), g));
    const __m256 below = _mm256_add_ps(_mm256_set1_ps(1.0f), e);
    store(out, _mm256_mul_ps(_mm256_div_ps(g, below), load(up, all, mask)), all, mask);
}

void silu_mul_avx2(const float *gate, const float *up, float *out, size_t n) {
    const __m256i mask = first_lanes(n % V);
    size_t i = 0;
    for (; i + V <= n; i += V) silu_mul(gate + i, up + i, out + i, true, mask);
    if (i < n) silu_mul(gate + i, up + i, out + i, false, mask);
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
