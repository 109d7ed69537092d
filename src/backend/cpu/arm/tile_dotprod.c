/* Panels times tiles of tokens, with the dot product instruction: four codes of each of four rows times four
 * activations, which it takes from a lane. */
#include "backend/cpu/arm/tile_loop_arm.h"

/* The instruction's lane is part of its code, so the four steps of 16 elements are written out. */
#define STEP(lane)                                                                                               \
    _Pragma("GCC unroll 2")                                                                                      \
    for (int v = 0; v < VECTORS; v++) {                                                                          \
        const int8x16_t codes = signed_codes(w + (lane) * CODES_STEP + 16 * v, form);                            \
        _Pragma("GCC unroll 4")                                                                                  \
        for (unsigned t = 0; t < n_tok; t++) isum[t][v] = vdotq_laneq_s32(isum[t][v], codes, q[t], lane);        \
    }

static ALWAYS_INLINE void sub_block(const uint8_t *w, const struct x_unit *x, unsigned e, const struct int8_form form,
                                    const unsigned n_tok, int32x4_t isum[TOKENS_AT_ONCE][VECTORS]) {
#pragma GCC unroll 4
    for (unsigned t = 0; t < n_tok; t++)
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++) isum[t][v] = first_sum(&x[t], e, form);
#pragma GCC unroll 2
    for (unsigned i = 0; i < form.sub; i += 16, w += 4 * CODES_STEP) {
        int8x16_t q[TOKENS_AT_ONCE];
#pragma GCC unroll 4
        for (unsigned t = 0; t < n_tok; t++) q[t] = vld1q_s8(x[t].q + e + i);
        STEP(0)
        STEP(1)
        STEP(2)
        STEP(3)
    }
}

TILE_KERNELS(dotprod)
