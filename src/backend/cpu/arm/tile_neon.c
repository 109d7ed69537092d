/* Panels times tiles of tokens, on any 64-bit ARM: a product of 16 bits for each element, of which two of 128 * 127
 * fit a lane, then neighbours to 32 bits, and once more to the lane of their row. */
#include <string.h>

#include "backend/cpu/arm/tile_loop_arm.h"

/* Twice the four activations from q on. */
static ALWAYS_INLINE int8x8_t four_twice(const int8_t *q) {
    int32_t four;
    memcpy(&four, q, 4);
    return vreinterpret_s8_s32(vdup_n_s32(four));
}

static ALWAYS_INLINE void sub_block(const uint8_t *w, const struct x_unit *x, unsigned e, const struct int8_form form,
                                    const unsigned n_tok, int32x4_t isum[TOKENS_AT_ONCE][VECTORS]) {
#pragma GCC unroll 4
    for (unsigned t = 0; t < n_tok; t++)
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++) isum[t][v] = first_sum(&x[t], e, form);
#pragma GCC unroll 1 /* two steps at once would be more loads than registers */
    for (unsigned i = 0; i < form.sub; i += 8, w += 2 * CODES_STEP)
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++) {
            const int8x16_t w0 = signed_codes(w + 16 * v, form), w1 = signed_codes(w + CODES_STEP + 16 * v, form);
#pragma GCC unroll 4
            for (unsigned t = 0; t < n_tok; t++) {
                const int8x8_t x0 = four_twice(x[t].q + e + i), x1 = four_twice(x[t].q + e + i + 4);
                int16x8_t low = vmlal_s8(vmull_s8(vget_low_s8(w0), x0), vget_low_s8(w1), x1);
                int16x8_t high = vmlal_s8(vmull_s8(vget_high_s8(w0), x0), vget_high_s8(w1), x1);
                int32x4_t rows = vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high));
                isum[t][v] = vaddq_s32(isum[t][v], rows);
            }
        }
}

TILE_KERNELS(neon)
