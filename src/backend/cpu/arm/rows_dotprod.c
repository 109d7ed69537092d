/* Rows of stored weights times a few tokens, with the dot product instruction: four products to each of the sums. */
#include "backend/cpu/arm/rows_loop_arm.h"
#include "backend/cpu/arm/unpack_grid_neon.h"

static ALWAYS_INLINE int32x4_t dot16(int32x4_t sum, int8x16_t w, int8x16_t x) {
    return vdotq_s32(sum, w, x);
}

#define ROWS_DOTPROD(codec, sub, offset, has_min) ROWS_KERNEL(dotprod, codec, sub, offset, has_min)
UNIT_CODECS(ROWS_DOTPROD)
GRID_CODECS(ROWS_DOTPROD)
