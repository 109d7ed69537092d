#ifndef BACKEND_CPU_ARM_TRANSPOSE_NEON_H
#define BACKEND_CPU_ARM_TRANSPOSE_NEON_H
#include <arm_neon.h>

#include "base/compiler.h"

/* v[r] lane c becomes v[c] lane r, for 4 x 4 dwords. */
static ALWAYS_INLINE void transpose4(uint32x4_t v[4]) {
    const uint32x4_t even_low = vzip1q_u32(v[0], v[2]), even_high = vzip2q_u32(v[0], v[2]);
    const uint32x4_t odd_low = vzip1q_u32(v[1], v[3]), odd_high = vzip2q_u32(v[1], v[3]);
    v[0] = vzip1q_u32(even_low, odd_low);
    v[1] = vzip2q_u32(even_low, odd_low);
    v[2] = vzip1q_u32(even_high, odd_high);
    v[3] = vzip2q_u32(even_high, odd_high);
}
#endif
