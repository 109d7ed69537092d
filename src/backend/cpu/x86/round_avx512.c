/* Rounding activations to int8 in AVX-512. The same operations in the same order as round_ref, so the same bits. */
#include <immintrin.h>
#include <string.h>

#include "backend/cpu/kern.h"

enum { V = 16 };

void round_avx512(const float *x, size_t n, const struct int8_form *form, struct x_unit *out) {
    const unsigned vectors = form->sub / V;
    memset(out, 0, sizeof *out);
    for (size_t s = 0, at = 0; at < n; s++) {
        __m512 v[2];
        v[1] = _mm512_setzero_ps();
        for (unsigned i = 0; i < vectors; i++, at += V) { /* n is any count: what is beyond it counts as 0 */
            size_t left = at < n ? n - at : 0;
            v[i] = _mm512_maskz_loadu_ps(left >= V ? 0xffff : (__mmask16)((1u << left) - 1), x + at);
        }
        float max = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(v[0]), _mm512_abs_ps(v[1])));
        if (max < ROUND_TINY) continue;
        __m512 inv = _mm512_set1_ps(127 / max);
        __m512i q0 = _mm512_cvtps_epi32(_mm512_mul_ps(v[0], inv)), q1 = _mm512_cvtps_epi32(_mm512_mul_ps(v[1], inv));
        _mm_storeu_si128((__m128i *)(out->q + s * form->sub), _mm512_cvtepi32_epi8(q0));
        if (vectors == 2) _mm_storeu_si128((__m128i *)(out->q + s * form->sub + V), _mm512_cvtepi32_epi8(q1));
        int32_t sum = _mm512_reduce_add_epi32(_mm512_add_epi32(q0, q1));
        out->scale[s] = max / 127;
        if (form->has_min) out->sum[s] = out->scale[s] * (float)sum;
        else out->corr[s] = -form->offset * sum;
    }
}
