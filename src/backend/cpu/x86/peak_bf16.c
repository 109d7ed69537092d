/* The machine's limit of BF16 multiply-adds between registers with AVX512_BF16, 32 products a step. */
#include <immintrin.h>

#include "backend/cpu/kern.h"

enum { CHAINS = 12 }; /* sums that do not wait for one another: latency 6, up to two a cycle */

uint64_t spin_bf16_bf16(size_t loops, uint64_t *ops) {
    __m512 s[CHAINS];
    const __m512bh a = (__m512bh)_mm512_set1_epi32((int)(loops & 1));
    for (int c = 0; c < CHAINS; c++) s[c] = _mm512_set1_ps((float)c);
    for (size_t i = 0; i < loops; i++) {
#pragma GCC unroll 12
        for (int c = 0; c < CHAINS; c++) s[c] = _mm512_dpbf16_ps(s[c], a, a);
    }
    for (int c = 1; c < CHAINS; c++) s[0] = _mm512_add_ps(s[0], s[c]);
    *ops = loops * CHAINS * 32 * 2;
    return (uint64_t)(uint32_t)_mm_extract_epi32(_mm_castps_si128(_mm512_castps512_ps128(s[0])), 0);
}
