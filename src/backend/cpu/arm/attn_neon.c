/* Attention in NEON: vectors against rows of a cache, 4 numbers at a time, those beyond a multiple of 4 one by one.
 *
 * Blocks of vectors and rows share loads; each result still comes from one chain of additions whose order no blocking
 * changes, so a token's attention does not depend on how many others are computed beside it. */
#include <arm_neon.h>

#include "backend/cpu/kern.h"
#include "base/num.h"
#include "qtype/codec.h"

enum { V = 4, SUMS = 8 /* accumulators of a block of dots */, MIX_VECTORS = 8 /* of a row at a time */ };

static ALWAYS_INLINE float32x4_t load(const uint8_t *row, size_t i, const enum qtype type) {
    if (type == QTYPE_F32) return vreinterpretq_f32_u8(vld1q_u8(row + 4 * i));
    if (type == QTYPE_F16) return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(row + 2 * i)));
    const uint8_t *block = row + i / 32 * 34; /* of Q8_0: a half, the scale, and 32 bytes */
    const int16x8_t codes = vmovl_s8(vcreate_s8(load_u32(block + 2 + i % 32)));
    const float32x4_t scale = vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(load_u16(block))));
    return vmulq_f32(scale, vcvtq_f32_s32(vmovl_s16(vget_low_s16(codes))));
}
/* Not of Q8_0, whose rows are whole blocks. */
static ALWAYS_INLINE float load_one(const uint8_t *row, size_t i, const enum qtype type) {
    if (type == QTYPE_F16) return f32_from_f16(((const uint16_t *)(const void *)row)[i]);
    return ((const float *)(const void *)row)[i];
}

/* n_x vectors by SUMS / n_x rows; rows beyond the last repeat it and are not stored. */
static ALWAYS_INLINE void dot_block(const struct attn_job *j, size_t x0, size_t r0, const unsigned n_x,
                                    const enum qtype type) {
    const unsigned n_r = SUMS / n_x;
    const uint8_t *rows[SUMS];
    const float *x = j->x + x0 * j->x_stride;
    float32x4_t acc[SUMS];
#pragma GCC unroll 8
    for (unsigned r = 0; r < n_r; r++)
        rows[r] = (const uint8_t *)j->rows + (r0 + r < j->n_rows ? r0 + r : j->n_rows - 1) * j->row_bytes;
#pragma GCC unroll 8
    for (unsigned i = 0; i < SUMS; i++) acc[i] = vdupq_n_f32(0);
    size_t k = 0;
    for (; k + V <= j->n; k += V)
#pragma GCC unroll 8
        for (unsigned r = 0; r < n_r; r++) {
            const float32x4_t row = load(rows[r], k, type);
#pragma GCC unroll 2
            for (unsigned i = 0; i < n_x; i++)
                acc[i * n_r + r] = vfmaq_f32(acc[i * n_r + r], vld1q_f32(x + i * j->x_stride + k), row);
        }
    for (unsigned i = 0; i < n_x; i++)
        for (unsigned r = 0; r < n_r && r0 + r < j->n_rows; r++) {
            float sum = vaddvq_f32(acc[i * n_r + r]);
            for (size_t rest = k; rest < j->n; rest++)
                sum += x[i * j->x_stride + rest] * load_one(rows[r], rest, type);
            j->s[(x0 + i) * j->s_stride + r0 + r] = sum;
        }
}

static ALWAYS_INLINE void dot_rows(const struct attn_job *j, size_t x0, const unsigned n_x, const enum qtype type) {
    for (size_t r = 0; r < j->n_rows; r += SUMS / n_x) {
        if (x0 == 0) attn_ask_next(j, r, SUMS / n_x);
        dot_block(j, x0, r, n_x, type);
    }
}

static ALWAYS_INLINE void attn_dot(const struct attn_job *j, const enum qtype type) {
    size_t x = 0;
    for (; x + 2 <= j->n_x; x += 2) dot_rows(j, x, 2, type);
    if (x < j->n_x) dot_rows(j, x, 1, type);
}

void attn_dot_f32_neon(const struct attn_job *j) { attn_dot(j, QTYPE_F32); }
void attn_dot_f16_neon(const struct attn_job *j) { attn_dot(j, QTYPE_F16); }
void attn_dot_q8_0_neon(const struct attn_job *j) { attn_dot(j, QTYPE_Q8_0); }

/* Numbers k .. of n_x vectors take in all rows, n_v vectors of the row at a time. */
static ALWAYS_INLINE void mix_block(const struct attn_job *j, size_t x0, size_t k, const unsigned n_x,
                                    const unsigned n_v, const enum qtype type) {
    float *x = j->x + x0 * j->x_stride + k;
    const float *s = j->s + x0 * j->s_stride;
    float32x4_t acc[2][MIX_VECTORS];
#pragma GCC unroll 2
    for (unsigned i = 0; i < n_x; i++) {
#pragma GCC unroll 8
        for (unsigned v = 0; v < n_v; v++) acc[i][v] = vld1q_f32(x + i * j->x_stride + v * V);
    }
    const uint8_t *row = j->rows;
    for (size_t r = 0; r < j->n_rows; r++, row += j->row_bytes) {
        if (x0 == 0 && k == 0) attn_ask_next(j, r, 1);
#pragma GCC unroll 8
        for (unsigned v = 0; v < n_v; v++) {
            const float32x4_t number = load(row, k + v * V, type);
#pragma GCC unroll 2
            for (unsigned i = 0; i < n_x; i++) acc[i][v] = vfmaq_n_f32(acc[i][v], number, s[i * j->s_stride + r]);
        }
    }
#pragma GCC unroll 2
    for (unsigned i = 0; i < n_x; i++) {
#pragma GCC unroll 8
        for (unsigned v = 0; v < n_v; v++) vst1q_f32(x + i * j->x_stride + v * V, acc[i][v]);
    }
}

static ALWAYS_INLINE void mix_vectors(const struct attn_job *j, size_t x0, const unsigned n_x, const enum qtype type) {
    size_t k = 0;
    for (; k + MIX_VECTORS * V <= j->n; k += MIX_VECTORS * V) mix_block(j, x0, k, n_x, MIX_VECTORS, type);
    for (; k + V <= j->n; k += V) mix_block(j, x0, k, n_x, 1, type);
    if (k == j->n) return;
    const uint8_t *row = j->rows;
    for (size_t r = 0; r < j->n_rows; r++, row += j->row_bytes)
        for (unsigned i = 0; i < n_x; i++)
            for (size_t rest = k; rest < j->n; rest++)
                j->x[(x0 + i) * j->x_stride + rest] += j->s[(x0 + i) * j->s_stride + r] * load_one(row, rest, type);
}

static ALWAYS_INLINE void attn_mix(const struct attn_job *j, const enum qtype type) {
    size_t x = 0;
    for (; x + 2 <= j->n_x; x += 2) mix_vectors(j, x, 2, type);
    if (x < j->n_x) mix_vectors(j, x, 1, type);
}

void attn_mix_f32_neon(const struct attn_job *j) { attn_mix(j, QTYPE_F32); }
void attn_mix_f16_neon(const struct attn_job *j) { attn_mix(j, QTYPE_F16); }
void attn_mix_q8_0_neon(const struct attn_job *j) { attn_mix(j, QTYPE_Q8_0); }
