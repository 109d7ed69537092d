/* The machine's limit of int8 multiply-adds between registers, with the matrix product, 32 products a step. */
#include <arm_neon.h>

#include "backend/cpu/kern.h"

enum { CHAINS = 16 }; /* as in peak_neon.c */

uint64_t spin_int8_i8mm(size_t loops, uint64_t *ops) {
    int32x4_t s[CHAINS];
    const uint8x16_t a = vdupq_n_u8(loops & 1);
    const int8x16_t b = vdupq_n_s8(1);
    for (int c = 0; c < CHAINS; c++) s[c] = vdupq_n_s32(c);
    for (size_t i = 0; i < loops; i++)
#pragma GCC unroll 16
        for (int c = 0; c < CHAINS; c++) s[c] = vusmmlaq_s32(s[c], a, b);
    for (int c = 1; c < CHAINS; c++) s[0] = veorq_s32(s[0], s[c]);
    *ops = loops * CHAINS * 32 * 2;
    return (uint32_t)vaddvq_s32(s[0]);
}
