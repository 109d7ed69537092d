#ifndef BACKEND_CPU_X86_LOOK_UP_VBMI_H
#define BACKEND_CPU_X86_LOOK_UP_VBMI_H
/* Tables of bytes, aligned to 64, looked up 64 times at once. */
#include <immintrin.h>
#include <stdint.h>

#include "base/compiler.h"

/* Entries i .. of a table, each a constant made from its place by of(i). */
#define OF_4(of, i) of(i), of((i) + 1), of((i) + 2), of((i) + 3)
#define OF_16(of, i) OF_4(of, i), OF_4(of, (i) + 4), OF_4(of, (i) + 8), OF_4(of, (i) + 12)
#define OF_64(of, i) OF_16(of, i), OF_16(of, (i) + 16), OF_16(of, (i) + 32), OF_16(of, (i) + 48)

/* Entries i of a table of 128 bytes; a byte's top bit does not count. */
static ALWAYS_INLINE __m512i look_up(const uint8_t *table, __m512i i) {
    return _mm512_permutex2var_epi8(_mm512_load_si512(table), i, _mm512_load_si512(table + 64));
}

static ALWAYS_INLINE __m512i look_up256(const uint8_t *table, __m512i i) {
    return _mm512_mask_mov_epi8(look_up(table, i), _mm512_movepi8_mask(i), look_up(table + 128, i));
}

/* Entry i, or i + 256 where `ninth` is set. */
static ALWAYS_INLINE __m512i look_up512(const uint8_t *table, __m512i i, __mmask64 ninth) {
    return _mm512_mask_mov_epi8(look_up256(table, i), ninth, look_up256(table + 256, i));
}
#endif
