#ifndef BACKEND_CPU_ARM_TILE_LOOP_ARM_H
#define BACKEND_CPU_ARM_TILE_LOOP_ARM_H
/* Panels of 16 rows times tiles of tokens, whatever the instruction that multiplies: 8 of the rows times up to 4
 * tokens, whose integer and float sums stay in registers. A lane of 32 bits is a row. The file that includes this has
 * sub_block. */
#include <arm_neon.h>

#include "backend/cpu/kern.h"

enum { TOKENS_AT_ONCE = 4, VECTORS = 2 /* of 4 rows */ };

/* isum[t][v] = sums of code * activation over the sub-block that begins at element e, less the form's offset. w: the
 * four codes of e of the first row. */
static ALWAYS_INLINE void sub_block(const uint8_t *w, const struct x_unit *x, unsigned e, const struct int8_form form,
                                    const unsigned n_tok, int32x4_t isum[TOKENS_AT_ONCE][VECTORS]);

/* Bytes from the codes of element e to those of e + 4. */
enum { CODES_STEP = 4 * PANEL_ROWS };

/* Codes of 8 bits become signed by taking their offset off; lower ones are signed already, and the sums begin with the
 * activations' correction instead. */
static ALWAYS_INLINE int8x16_t signed_codes(const uint8_t *w, const struct int8_form form) {
    return vreinterpretq_s8_u8(vsubq_u8(vld1q_u8(w), vdupq_n_u8(form.offset == 128 ? 128 : 0)));
}

static ALWAYS_INLINE int32x4_t first_sum(const struct x_unit *x, unsigned e, const struct int8_form form) {
    return vdupq_n_s32(form.has_min || form.offset == 128 ? 0 : x->corr[e / form.sub]);
}

static ALWAYS_INLINE void tile_body(const struct tile_job *j, unsigned row, unsigned t0, const struct int8_form form,
                                    const unsigned n_tok) {
    float32x4_t sums[TOKENS_AT_ONCE][VECTORS];
    int32x4_t isum[TOKENS_AT_ONCE][VECTORS];
    const struct x_unit *x = j->x + t0;
    float *out = j->out + t0 * j->out_stride + row;
#pragma GCC unroll 4
    for (unsigned t = 0; t < n_tok; t++)
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++)
            sums[t][v] = j->add ? vld1q_f32(out + t * j->out_stride + 4 * v) : vdupq_n_f32(0);
    for (size_t u = 0; u < j->n_units; u++, x += j->x_tokens)
        for (unsigned s = 0; s < UNIT / form.sub; s++) {
            const struct panel_unit *w = &j->w[u];
            sub_block(w->q[s * form.sub / 4][row], x, s * form.sub, form, n_tok, isum);
#pragma GCC unroll 4
            for (unsigned t = 0; t < n_tok; t++)
#pragma GCC unroll 2
                for (int v = 0; v < VECTORS; v++) {
                    const float32x4_t both = vmulq_n_f32(vld1q_f32(&w->scale[s][row + 4 * v]), x[t].scale[s]);
                    sums[t][v] = vfmaq_f32(sums[t][v], vcvtq_f32_s32(isum[t][v]), both);
                    if (form.has_min)
                        sums[t][v] = vfmaq_n_f32(sums[t][v], vld1q_f32(&w->min[s][row + 4 * v]), x[t].sum[s]);
                }
        }
#pragma GCC unroll 4
    for (unsigned t = 0; t < n_tok; t++)
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++) vst1q_f32(out + t * j->out_stride + 4 * v, sums[t][v]);
}

static ALWAYS_INLINE void tile_tokens(const struct tile_job *j, const struct int8_form form) {
    for (unsigned row = 0; row < PANEL_ROWS; row += 4 * VECTORS) {
        unsigned t = 0;
        for (; t + 4 <= j->n_tok; t += 4) tile_body(j, row, t, form, 4);
        for (; t + 2 <= j->n_tok; t += 2) tile_body(j, row, t, form, 2);
        if (t < j->n_tok) tile_body(j, row, t, form, 1);
    }
}

/* What of the form matters is written out, so that it is a constant in the loop: any offset below 128 is alike. */
static ALWAYS_INLINE void tile_of(const struct tile_job *j, const unsigned sub) {
    if (j->form->has_min) tile_tokens(j, (struct int8_form){ (uint8_t)sub, 0, true });
    else if (j->form->offset < 128) tile_tokens(j, (struct int8_form){ (uint8_t)sub, 32, false });
    else tile_tokens(j, (struct int8_form){ (uint8_t)sub, 128, false });
}

#define TILE_KERNELS(isa)                                                 \
    void tile16_##isa(const struct tile_job *j) { tile_of(j, 16); }       \
    void tile32_##isa(const struct tile_job *j) { tile_of(j, 32); }
#endif
