/* The machine's int8 limit with AVX-512 VNNI: multiply-adds between registers. */
#include <immintrin.h>

#include "backend/cpu/kern.h"

enum { CHAINS = 12 }; /* sums that do not wait for one another: latency 4 to 5, up to two a cycle */

uint64_t spin_int8_vnni(size_t loops, uint64_t *ops) {
    __m512i s[CHAINS], a = _mm512_set1_epi8((char)(loops & 1));
    for (int c = 0; c < CHAINS; c++) s[c] = _mm512_set1_epi32(c);
    for (size_t i = 0; i < loops; i++) {
#pragma GCC unroll 12
        for (int c = 0; c < CHAINS; c++) s[c] = _mm512_dpbusd_epi32(s[c], a, a);
    }
    for (int c = 1; c < CHAINS; c++) s[0] = _mm512_xor_si512(s[0], s[c]);
    *ops = loops * CHAINS * 64 * 2;
    return (uint64_t)_mm512_reduce_add_epi32(s[0]);
}
