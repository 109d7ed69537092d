#ifndef BACKEND_CPU_ARM_ROWS_LOOP_ARM_H
#define BACKEND_CPU_ARM_ROWS_LOOP_ARM_H
/* Rows of stored weights times a few tokens of int8 activations, whatever the instruction that multiplies: the file
 * that includes this has dot16, which adds the products of 16 signed codes and 16 activations to four sums.
 *
 * A unit is taken apart once. Where the codes have an offset it is taken off them, which makes them signed bytes; codes
 * under a min are at most 31 and are so already. For each token the products of a sub-block go to four integer sums,
 * then to float, and are added to the row's sums times the product of both scales.
 *
 * One row at a time: the weights are then one stream in ascending order. */
#include "backend/cpu/arm/unpack_neon.h"

static ALWAYS_INLINE int32x4_t dot16(int32x4_t sum, int8x16_t w, int8x16_t x);

/* The sums of one row and one token: two, so that additions need not wait for one another, and that of the mins. */
struct row_sums { float32x4_t even, odd, min; };

static ALWAYS_INLINE void multiply(const struct unit_neon *w, const struct x_unit *x, const struct int8_form form,
                                   const unsigned n_tok, struct row_sums *sums) {
    const unsigned n_scales = UNIT / form.sub / 4;
    const uint8x16_t offset = vdupq_n_u8(form.offset);
    for (unsigned t = 0; t < n_tok; t++) {
        struct row_sums *s = &sums[t];
#pragma GCC unroll 4
        for (unsigned i = 0; i < n_scales; i++) {
            if (form.has_min) s->min = vfmaq_f32(s->min, w->min[i], vld1q_f32(x[t].sum + 4 * i));
            float scale[4];
            vst1q_f32(scale, vmulq_f32(w->scale[i], vld1q_f32(x[t].scale + 4 * i)));
#pragma GCC unroll 4
            for (unsigned k = 0; k < 4; k++) {
                const unsigned sub = 4 * i + k, vectors = form.sub / 16;
                int32x4_t isum = vdupq_n_s32(0);
#pragma GCC unroll 2
                for (unsigned v = sub * vectors; v < (sub + 1) * vectors; v++)
                    isum = dot16(isum, vreinterpretq_s8_u8(vsubq_u8(w->q[v], offset)), vld1q_s8(x[t].q + 16 * v));
                const float32x4_t p = vcvtq_f32_s32(isum);
                if (k & 1) s->odd = vfmaq_n_f32(s->odd, p, scale[k]);
                else s->even = vfmaq_n_f32(s->even, p, scale[k]);
            }
        }
    }
}

static ALWAYS_INLINE void row_clear(struct row_sums *s) { s->even = s->odd = s->min = vdupq_n_f32(0); }

static ALWAYS_INLINE float row_total(const struct row_sums *s) {
    return vaddvq_f32(vaddq_f32(vaddq_f32(s->even, s->odd), s->min));
}

/* The form is written out, so that it is a constant in the loop. */
#define ROWS_KERNEL(isa, codec, sub, offset, has_min)                                                                  \
    static ALWAYS_INLINE void codec##_rows(const struct rows_job *j, const unsigned n_tok) {                           \
        const struct int8_form form = { sub, offset, has_min };                                                        \
        uint8_t copy[UNIT_BYTES_MAX];                                                                                  \
        for (size_t r = 0; r < j->n_rows; r++) {                                                                       \
            struct row_sums sums[ROWS_TOKENS];                                                                         \
            struct unit_neon unit;                                                                                     \
            const struct x_unit *x = j->x;                                                                             \
            for (unsigned t = 0; t < n_tok; t++) row_clear(&sums[t]);                                                  \
            for (size_t u = 0; u * UNIT < j->n_in; u++, x += n_tok) {                                                  \
                unpack_##codec(unit_at(j->w + r * j->row_bytes, u, j->n_in, UNIT_BYTES_##codec, BLOCK_BYTES_##codec,   \
                                       copy), &unit);                                                                  \
                multiply(&unit, x, form, n_tok, sums);                                                                 \
            }                                                                                                          \
            for (unsigned t = 0; t < n_tok; t++) j->out[t * j->out_stride + r] = row_total(&sums[t]);                  \
        }                                                                                                              \
    }                                                                                                                  \
    void rows_##codec##_##isa(const struct rows_job *j) {                                                              \
        if (j->n_tok == 1) codec##_rows(j, 1);                                                                         \
        else codec##_rows(j, j->n_tok);                                                                                \
    }
#endif
