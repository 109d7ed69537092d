/* Panels times tiles of tokens, with the matrix product of unsigned and signed bytes: an instruction multiplies eight
 * codes of two rows with eight activations of two tokens, so codes need no change and every offset is in the
 * activations' correction. Without a second token the first one stands in for it. */
#include "backend/cpu/arm/tile_loop_arm.h"

/* Four rows times two tokens: the rows' pairs as the instruction leaves them, tokens 0 1 0 1. */
struct four_by_two { int32x4_t rows01, rows23; };

static ALWAYS_INLINE void sub_block(const uint8_t *w, const struct x_unit *x, unsigned e, const struct int8_form form,
                                    const unsigned n_tok, int32x4_t isum[TOKENS_AT_ONCE][VECTORS]) {
    struct four_by_two sum[TOKENS_AT_ONCE / 2][VECTORS];
#pragma GCC unroll 2
    for (unsigned t = 0; t < n_tok; t += 2)
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++) sum[t / 2][v].rows01 = sum[t / 2][v].rows23 = vdupq_n_s32(0);
#pragma GCC unroll 2
    for (unsigned i = 0; i < form.sub; i += 8, w += 2 * CODES_STEP) {
        int8x16_t q[TOKENS_AT_ONCE / 2];
#pragma GCC unroll 2
        for (unsigned t = 0; t < n_tok; t += 2)
            q[t / 2] = vcombine_s8(vld1_s8(x[t].q + e + i), vld1_s8(x[t + 1 < n_tok ? t + 1 : t].q + e + i));
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++) {
            const uint32x4_t w0 = vreinterpretq_u32_u8(vld1q_u8(w + 16 * v));
            const uint32x4_t w1 = vreinterpretq_u32_u8(vld1q_u8(w + CODES_STEP + 16 * v));
            const uint8x16_t rows01 = vreinterpretq_u8_u32(vzip1q_u32(w0, w1));
            const uint8x16_t rows23 = vreinterpretq_u8_u32(vzip2q_u32(w0, w1));
#pragma GCC unroll 2
            for (unsigned t = 0; t < n_tok; t += 2) {
                struct four_by_two *s = &sum[t / 2][v];
                s->rows01 = vusmmlaq_s32(s->rows01, rows01, q[t / 2]);
                s->rows23 = vusmmlaq_s32(s->rows23, rows23, q[t / 2]);
            }
        }
    }
#pragma GCC unroll 4
    for (unsigned t = 0; t < n_tok; t++)
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++) {
            const struct four_by_two *s = &sum[t / 2][v];
            const int32x4_t rows = t & 1 ? vuzp2q_s32(s->rows01, s->rows23) : vuzp1q_s32(s->rows01, s->rows23);
            isum[t][v] = form.has_min ? rows : vaddq_s32(rows, vdupq_n_s32(x[t].corr[e / form.sub]));
        }
}

TILE_KERNELS(i8mm)
