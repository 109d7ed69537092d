/* The machine's limits in AVX2: reading memory, int8 and float multiply-adds between registers. */
#include <immintrin.h>

#include "backend/cpu/kern.h"

enum { CHAINS = 12 }; /* sums that do not wait for one another: latency 4 to 5, two or more a cycle */

uint64_t read_sum_avx2(const uint8_t *p, size_t n) {
    __m256i s0 = _mm256_setzero_si256(), s1 = s0, s2 = s0, s3 = s0;
    size_t i = 0;
    for (; i + 128 <= n; i += 128) {
        const __m256i *v = (const __m256i *)(p + i);
        s0 = _mm256_add_epi64(s0, _mm256_loadu_si256(v));
        s1 = _mm256_add_epi64(s1, _mm256_loadu_si256(v + 1));
        s2 = _mm256_add_epi64(s2, _mm256_loadu_si256(v + 2));
        s3 = _mm256_add_epi64(s3, _mm256_loadu_si256(v + 3));
    }
    uint64_t t[4], tail = 0;
    _mm256_storeu_si256((__m256i *)t, _mm256_add_epi64(_mm256_add_epi64(s0, s1), _mm256_add_epi64(s2, s3)));
    for (; i < n; i++) tail += p[i];
    return t[0] + t[1] + t[2] + t[3] + tail;
}

/* Without a dot-product instruction 32 products take two steps, as long as codes are so small that their sums fit 16
 * bits: pairs to 16 bits, add. */
uint64_t spin_int8_avx2(size_t loops, uint64_t *ops) {
    __m256i s[CHAINS], a = _mm256_set1_epi8((char)(loops & 1));
#pragma GCC unroll 12
    for (int c = 0; c < CHAINS; c++) s[c] = _mm256_set1_epi16((short)c);
    for (size_t i = 0; i < loops; i++) {
#pragma GCC unroll 12
        for (int c = 0; c < CHAINS; c++) {
            s[c] = _mm256_add_epi16(s[c], _mm256_maddubs_epi16(a, s[c]));
            /* One after the other: products moved ahead would need more registers than there are. */
            __asm__("" : "+x"(s[c]));
        }
    }
#pragma GCC unroll 12
    for (int c = 1; c < CHAINS; c++) s[0] = _mm256_xor_si256(s[0], s[c]);
    *ops = loops * CHAINS * 32 * 2;
    return (uint64_t)_mm256_extract_epi64(s[0], 0);
}

uint64_t spin_f32_avx2(size_t loops, uint64_t *ops) {
    __m256 s[CHAINS], a = _mm256_set1_ps(1 / (float)(loops + 1));
    for (int c = 0; c < CHAINS; c++) s[c] = _mm256_set1_ps((float)c);
    for (size_t i = 0; i < loops; i++) {
#pragma GCC unroll 12
        for (int c = 0; c < CHAINS; c++) s[c] = _mm256_fmadd_ps(s[c], a, a);
    }
    for (int c = 1; c < CHAINS; c++) s[0] = _mm256_add_ps(s[0], s[c]);
    *ops = loops * CHAINS * 8 * 2;
    return (uint64_t)(uint32_t)_mm256_extract_epi32(_mm256_castps_si256(s[0]), 0);
}
