/* Element-wise kernels in AVX2: exponentials of softmax and SiLU, blending, rounding to half. */
#include <immintrin.h>
#include <string.h>

#include "backend/cpu/vec/elem_loop.h"
#include "base/num.h"
#include "qtype/round.h"

float softmax_avx2(float *s, size_t n, float *max) { return softmax(s, n, max); }
void silu_mul_avx2(const float *gate, const float *up, float *out, size_t n) { silu_mul(gate, up, out, n); }
void blend_avx2(float *acc, float a, const float *x, float b, size_t n) { blend(acc, a, x, b, n); }

void narrow_f16_avx2(const float *x, void *out, size_t n) {
    uint16_t *half = out;
    size_t i = 0;
    for (; i + VEC <= n; i += VEC)
        _mm_storeu_si128((void *)(half + i), _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT));
    for (; i < n; i++) half[i] = f16_from_f32(x[i]);
}

/* One block: the scale of its largest magnitude, a half, and 32 codes within -127 .. 127. */
static void narrow_q8_0_block(const float *x, uint8_t *out) {
    const __m256 sign = _mm256_set1_ps(-0.0f), top = _mm256_set1_ps(127), bottom = _mm256_set1_ps(-127);
    __m256 most = _mm256_setzero_ps();
    __m256i codes[4];
    float lanes[VEC];
    for (int i = 0; i < 4; i++) most = _mm256_max_ps(_mm256_andnot_ps(sign, _mm256_loadu_ps(x + i * VEC)), most);
    _mm256_storeu_ps(lanes, most);
    const uint16_t d = f16_clamped(extreme(lanes, VEC) / 127);
    const __m256 inv = _mm256_set1_ps(inverse_or_0(f32_from_f16(d)));
    for (int i = 0; i < 4; i++) {
        const __m256 q = _mm256_round_ps(_mm256_mul_ps(_mm256_loadu_ps(x + i * VEC), inv), _MM_FROUND_TO_NEAREST_INT);
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
