/* Rows of stored weights times a few tokens, on any 64-bit ARM: products to 16 bits, where two of 128 * 127 fit, then
 * pairs of neighbours to the four sums. */
#include "backend/cpu/arm/rows_loop_arm.h"
#include "backend/cpu/arm/unpack_grid_neon.h"

static ALWAYS_INLINE int32x4_t dot16(int32x4_t sum, int8x16_t w, int8x16_t x) {
    int16x8_t low = vmull_s8(vget_low_s8(w), vget_low_s8(x));
    return vpadalq_s16(sum, vmlal_high_s8(low, w, x));
}

#define ROWS_NEON(codec, sub, offset, has_min) ROWS_KERNEL(neon, codec, sub, offset, has_min)
UNIT_CODECS(ROWS_NEON)
GRID_CODECS(ROWS_NEON)
