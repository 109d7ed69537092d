/* Rounding activations to int8 in AVX2. The same operations in the same order as round_ref, so the same bits. */
#include <immintrin.h>
#include <string.h>

#include "backend/cpu/kern.h"

enum { V = 8 };

static ALWAYS_INLINE float max8(__m256 v) {
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

static ALWAYS_INLINE int32_t sum8(__m256i v) {
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    s = _mm_add_epi32(s, _mm_unpackhi_epi64(s, s));
    return _mm_cvtsi128_si32(s) + _mm_extract_epi32(s, 1);
}

void round_avx2(const float *x, size_t n, const struct int8_form *form, struct x_unit *out) {
    const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
    const int vectors = form->sub / V;
    memset(out, 0, sizeof *out);
    for (size_t s = 0; s * form->sub < n; s++, x += form->sub) {
        __m256 v[4], m = _mm256_setzero_ps();
        __m256i q[4], sum = _mm256_setzero_si256();
        for (int i = 0; i < 4; i++) {
            v[i] = i < vectors ? _mm256_loadu_ps(x + V * i) : _mm256_setzero_ps();
            m = _mm256_max_ps(m, _mm256_and_ps(v[i], magnitude));
        }
        float max = max8(m);
        if (max < ROUND_TINY) continue;
        for (int i = 0; i < 4; i++) {
            q[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], _mm256_set1_ps(127 / max)));
            sum = _mm256_add_epi32(sum, q[i]);
        }
        /* Packing works within halves: dwords come out as 0 4 1 5 2 6 3 7 of what they should be. */
        __m256i p = _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
        p = _mm256_permutevar8x32_epi32(p, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
        if (vectors == 4) _mm256_storeu_si256((__m256i *)(out->q + s * form->sub), p);
        else _mm_storeu_si128((__m128i *)(out->q + s * form->sub), _mm256_castsi256_si128(p));
        out->scale[s] = max / 127;
        if (form->has_min) out->sum[s] = out->scale[s] * (float)sum8(sum);
        else out->corr[s] = -form->offset * sum8(sum);
    }
}
