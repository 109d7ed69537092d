/* Rounding activations to int8 in AVX-512. The same operations in the same order as round_ref, so the same bits. */
#include <immintrin.h>
#include <string.h>

#include "backend/cpu/kern.h"

enum { V = 16 };

void round_avx512(const float *x, size_t n, const struct int8_form *form, struct x_unit *out) {
    const bool two = form->sub == 2 * V;
    memset(out, 0, sizeof *out);
    for (size_t s = 0; s * form->sub < n; s++, x += form->sub) {
        __m512 v0 = _mm512_loadu_ps(x), v1 = two ? _mm512_loadu_ps(x + V) : _mm512_setzero_ps();
        float max = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(v0), _mm512_abs_ps(v1)));
        if (max < ROUND_TINY) continue;
        __m512 inv = _mm512_set1_ps(127 / max);
        __m512i q0 = _mm512_cvtps_epi32(_mm512_mul_ps(v0, inv)), q1 = _mm512_cvtps_epi32(_mm512_mul_ps(v1, inv));
        _mm_storeu_si128((__m128i *)(out->q + s * form->sub), _mm512_cvtepi32_epi8(q0));
        if (two) _mm_storeu_si128((__m128i *)(out->q + s * form->sub + V), _mm512_cvtepi32_epi8(q1));
        int32_t sum = _mm512_reduce_add_epi32(_mm512_add_epi32(q0, q1));
        out->scale[s] = max / 127;
        if (form->has_min) out->sum[s] = out->scale[s] * (float)sum;
        else out->corr[s] = -form->offset * sum;
    }
}
