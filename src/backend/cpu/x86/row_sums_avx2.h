#ifndef BACKEND_CPU_X86_ROW_SUMS_AVX2_H
#define BACKEND_CPU_X86_ROW_SUMS_AVX2_H
/* What the rows kernels in AVX2 add up in. */
#include <immintrin.h>

#include "base/compiler.h"

/* The sums of one row and one token: two, so that additions need not wait for one another. */
struct row_sums { __m256 a, b; };

static ALWAYS_INLINE void row_clear(struct row_sums *s) { s->a = s->b = _mm256_setzero_ps(); }

static ALWAYS_INLINE float row_total(const struct row_sums *s) {
    __m256 v = _mm256_add_ps(s->a, s->b);
    __m128 h = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    h = _mm_add_ps(h, _mm_movehl_ps(h, h));
    return _mm_cvtss_f32(_mm_add_ss(h, _mm_movehdup_ps(h)));
}
#endif
