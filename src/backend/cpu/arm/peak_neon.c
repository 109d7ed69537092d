/* The machine's limits in NEON: reading memory, int8 and float multiply-adds between registers. */
#include <arm_neon.h>

#include "backend/cpu/kern.h"

enum { CHAINS = 16 }; /* sums that do not wait for one another: latency 4, up to four a cycle */

uint64_t read_sum_neon(const uint8_t *p, size_t n) {
    uint64x2_t s[4] = { vdupq_n_u64(0), vdupq_n_u64(0), vdupq_n_u64(0), vdupq_n_u64(0) };
    size_t i = 0;
    for (; i + 64 <= n; i += 64)
#pragma GCC unroll 4
        for (int c = 0; c < 4; c++) s[c] = vaddq_u64(s[c], vreinterpretq_u64_u8(vld1q_u8(p + i + 16 * c)));
    uint64_t tail = 0;
    for (; i < n; i++) tail += p[i];
    return vaddvq_u64(vaddq_u64(vaddq_u64(s[0], s[1]), vaddq_u64(s[2], s[3]))) + tail;
}

/* Without a dot product instruction 16 products take three steps: twice eight to 16 bits, pairs to 32 bits. */
uint64_t spin_int8_neon(size_t loops, uint64_t *ops) {
    int32x4_t s[CHAINS];
    const int8x16_t a = vdupq_n_s8((int8_t)(loops & 1));
    for (int c = 0; c < CHAINS; c++) s[c] = vdupq_n_s32(c);
    for (size_t i = 0; i < loops; i++)
#pragma GCC unroll 16
        for (int c = 0; c < CHAINS; c++) {
            const int8x16_t b = vreinterpretq_s8_s32(s[c]);
            s[c] = vpadalq_s16(s[c], vmlal_high_s8(vmull_s8(vget_low_s8(a), vget_low_s8(b)), a, b));
        }
    for (int c = 1; c < CHAINS; c++) s[0] = veorq_s32(s[0], s[c]);
    *ops = loops * CHAINS * 16 * 2;
    return (uint32_t)vaddvq_s32(s[0]);
}

uint64_t spin_f32_neon(size_t loops, uint64_t *ops) {
    float32x4_t s[CHAINS];
    const float32x4_t a = vdupq_n_f32(1 / (float)(loops + 1));
    for (int c = 0; c < CHAINS; c++) s[c] = vdupq_n_f32((float)c);
    for (size_t i = 0; i < loops; i++)
#pragma GCC unroll 16
        for (int c = 0; c < CHAINS; c++) s[c] = vfmaq_f32(a, s[c], a);
    for (int c = 1; c < CHAINS; c++) s[0] = vaddq_f32(s[0], s[c]);
    *ops = loops * CHAINS * 4 * 2;
    return vgetq_lane_u32(vreinterpretq_u32_f32(s[0]), 0);
}
