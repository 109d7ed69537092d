#ifndef BACKEND_CPU_X86_TRANSPOSE_AVX512_H
#define BACKEND_CPU_X86_TRANSPOSE_AVX512_H
#include <immintrin.h>

#include "base/compiler.h"

/* v[r] lane c becomes v[c] lane r, for 16 x 16 lanes of 32 bits: pairs of rows, fours of rows, then 128-bit
 * quarters. */
static ALWAYS_INLINE void transpose16(__m512i v[16]) {
    __m512i a[16];
#pragma GCC unroll 8
    for (int r = 0; r < 16; r += 2) {
        a[r] = _mm512_unpacklo_epi32(v[r], v[r + 1]);
        a[r + 1] = _mm512_unpackhi_epi32(v[r], v[r + 1]);
    }
#pragma GCC unroll 4
    for (int r = 0; r < 16; r += 4) { /* v[r + c]: column c of each quarter, rows r..r+3 */
        v[r] = _mm512_unpacklo_epi64(a[r], a[r + 2]);
        v[r + 1] = _mm512_unpackhi_epi64(a[r], a[r + 2]);
        v[r + 2] = _mm512_unpacklo_epi64(a[r + 1], a[r + 3]);
        v[r + 3] = _mm512_unpackhi_epi64(a[r + 1], a[r + 3]);
    }
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) {
        __m512i lo0 = _mm512_shuffle_i32x4(v[c], v[c + 4], 0x88), hi0 = _mm512_shuffle_i32x4(v[c], v[c + 4], 0xdd);
        __m512i lo1 = _mm512_shuffle_i32x4(v[c + 8], v[c + 12], 0x88);
        __m512i hi1 = _mm512_shuffle_i32x4(v[c + 8], v[c + 12], 0xdd);
        a[c] = _mm512_shuffle_i32x4(lo0, lo1, 0x88);
        a[c + 8] = _mm512_shuffle_i32x4(lo0, lo1, 0xdd);
        a[c + 4] = _mm512_shuffle_i32x4(hi0, hi1, 0x88);
        a[c + 12] = _mm512_shuffle_i32x4(hi0, hi1, 0xdd);
    }
#pragma GCC unroll 16
    for (int r = 0; r < 16; r++) v[r] = a[r];
}

/* 16 rows of 8 lanes: v[r] has those of row r and of row r + 8; v[c] becomes lane c of all rows. */
static ALWAYS_INLINE void transpose8x16(__m512i v[8]) {
    const __m512i first = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
    const __m512i second = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
    __m512i a[8], b[8];
#pragma GCC unroll 4
    for (int r = 0; r < 8; r += 2) {
        a[r] = _mm512_unpacklo_epi32(v[r], v[r + 1]);
        a[r + 1] = _mm512_unpackhi_epi32(v[r], v[r + 1]);
    }
#pragma GCC unroll 2
    for (int r = 0; r < 8; r += 4) {
        b[r] = _mm512_unpacklo_epi64(a[r], a[r + 2]);
        b[r + 1] = _mm512_unpackhi_epi64(a[r], a[r + 2]);
        b[r + 2] = _mm512_unpacklo_epi64(a[r + 1], a[r + 3]);
        b[r + 3] = _mm512_unpackhi_epi64(a[r + 1], a[r + 3]);
    }
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) {
        v[c] = _mm512_permutex2var_epi64(b[c], first, b[c + 4]);
        v[c + 4] = _mm512_permutex2var_epi64(b[c], second, b[c + 4]);
    }
}
#endif
