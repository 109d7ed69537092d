/* The machine's limits in AVX-512: reading memory, float multiply-adds between registers. */
#include <immintrin.h>

#include "backend/cpu/kern.h"

enum { CHAINS = 12 }; /* sums that do not wait for one another: latency 4, up to two a cycle */

uint64_t read_sum_avx512(const uint8_t *p, size_t n) {
    __m512i s0 = _mm512_setzero_si512(), s1 = s0, s2 = s0, s3 = s0;
    size_t i = 0;
    for (; i + 256 <= n; i += 256) {
        s0 = _mm512_add_epi64(s0, _mm512_loadu_si512(p + i));
        s1 = _mm512_add_epi64(s1, _mm512_loadu_si512(p + i + 64));
        s2 = _mm512_add_epi64(s2, _mm512_loadu_si512(p + i + 128));
        s3 = _mm512_add_epi64(s3, _mm512_loadu_si512(p + i + 192));
    }
    uint64_t tail = 0;
    for (; i < n; i++) tail += p[i];
    s0 = _mm512_add_epi64(_mm512_add_epi64(s0, s1), _mm512_add_epi64(s2, s3));
    return (uint64_t)_mm512_reduce_add_epi64(s0) + tail;
}

uint64_t spin_f32_avx512(size_t loops, uint64_t *ops) {
    __m512 s[CHAINS], a = _mm512_set1_ps(1 / (float)(loops + 1));
    for (int c = 0; c < CHAINS; c++) s[c] = _mm512_set1_ps((float)c);
    for (size_t i = 0; i < loops; i++) {
#pragma GCC unroll 12
        for (int c = 0; c < CHAINS; c++) s[c] = _mm512_fmadd_ps(s[c], a, a);
    }
    for (int c = 1; c < CHAINS; c++) s[0] = _mm512_add_ps(s[0], s[c]);
    *ops = loops * CHAINS * 16 * 2;
    return (uint64_t)(uint32_t)_mm_extract_epi32(_mm_castps_si128(_mm512_castps512_ps128(s[0])), 0);
}
