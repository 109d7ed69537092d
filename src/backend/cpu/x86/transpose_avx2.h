#ifndef BACKEND_CPU_X86_TRANSPOSE_AVX2_H
#define BACKEND_CPU_X86_TRANSPOSE_AVX2_H
#include <immintrin.h>

#include "base/compiler.h"

/* v[r] lane c becomes v[c] lane r, for 8 x 8 floats: pairs of rows, fours of rows, then the 128-bit halves. */
static ALWAYS_INLINE void transpose8(__m256 v[8]) {
    __m256 a[8], b[8];
#pragma GCC unroll 4
    for (int r = 0; r < 8; r += 2) {
        a[r] = _mm256_unpacklo_ps(v[r], v[r + 1]);
        a[r + 1] = _mm256_unpackhi_ps(v[r], v[r + 1]);
    }
#pragma GCC unroll 2
    for (int r = 0; r < 8; r += 4) {
        b[r] = _mm256_shuffle_ps(a[r], a[r + 2], 0x44);
        b[r + 1] = _mm256_shuffle_ps(a[r], a[r + 2], 0xee);
        b[r + 2] = _mm256_shuffle_ps(a[r + 1], a[r + 3], 0x44);
        b[r + 3] = _mm256_shuffle_ps(a[r + 1], a[r + 3], 0xee);
    }
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) {
        v[c] = _mm256_permute2f128_ps(b[c], b[c + 4], 0x20);
        v[c + 4] = _mm256_permute2f128_ps(b[c], b[c + 4], 0x31);
    }
}
#endif
