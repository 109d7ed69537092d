/* Attention in NEON: vectors against rows of a cache, 4 numbers at a time, those beyond a multiple of 4 one by one.
 *
 * Blocks of vectors and rows share loads; each result still comes from one chain of additions whose order no blocking
 * changes, so a token's attention does not depend on how many others are computed beside it. */
#include <arm_neon.h>

#include "backend/cpu/kern.h"
#include "base/num.h"

enum { V = 4, SUMS = 8 /* accumulators of a block of dots */, MIX_VECTORS = 8 /* of a row at a time */ };

static ALWAYS_INLINE float32x4_t load(const uint8_t *row, size_t i, const bool half) {
    if (half) return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(row + 2 * i)));
    return vreinterpretq_f32_u8(vld1q_u8(row + 4 * i));
}
static ALWAYS_INLINE float load_one(const uint8_t *row, size_t i, const bool half) {
    if (half) return f32_from_f16(((const uint16_t *)(const void *)row)[i]);
    return ((const float *)(const void *)row)[i];
}

/* n_x vectors by SUMS / n_x rows; rows beyond the last repeat it and are not stored. */
static ALWAYS_INLINE void dot_block(const struct attn_job *j, size_t x0, size_t r0, const unsigned n_x,
                                    const bool half) {
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
            const float32x4_t row = load(rows[r], k, half);
#pragma GCC unroll 2
            for (unsigned i = 0; i < n_x; i++)
                acc[i * n_r + r] = vfmaq_f32(acc[i * n_r + r], vld1q_f32(x + i * j->x_stride + k), row);
        }
    for (unsigned i = 0; i < n_x; i++)
        for (unsigned r = 0; r < n_r && r0 + r < j->n_rows; r++) {
            float sum = vaddvq_f32(acc[i * n_r + r]);
            for (size_t rest = k; rest < j->n; rest++)
                sum += x[i * j->x_stride + rest] * load_one(rows[r], rest, half);
            j->s[(x0 + i) * j->s_stride + r0 + r] = sum;
        }
}

static ALWAYS_INLINE void dot_rows(const struct attn_job *j, size_t x0, const unsigned n_x, const bool half) {
    for (size_t r = 0; r < j->n_rows; r += SUMS / n_x) {
        if (x0 == 0) attn_ask_next(j, r, SUMS / n_x);
        dot_block(j, x0, r, n_x, half);
    }
}

static ALWAYS_INLINE void attn_dot(const struct attn_job *j, const bool half) {
    size_t x = 0;
    for (; x + 2 <= j->n_x; x += 2) dot_rows(j, x, 2, half);
    if (x < j->n_x) dot_rows(j, x, 1, half);
}

void attn_dot_f32_neon(const struct attn_job *j) { attn_dot(j, false); }
void attn_dot_f16_neon(const struct attn_job *j) { attn_dot(j, true); }

/* Numbers k .. of n_x vectors take in all rows, n_v vectors of the row at a time. */
static ALWAYS_INLINE void mix_block(const struct attn_job *j, size_t x0, size_t k, const unsigned n_x,
                                    const unsigned n_v, const bool half) {
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
            const float32x4_t number = load(row, k + v * V, half);
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

static ALWAYS_INLINE void mix_vectors(const struct attn_job *j, size_t x0, const unsigned n_x, const bool half) {
    size_t k = 0;
    for (; k + MIX_VECTORS * V <= j->n; k += MIX_VECTORS * V) mix_block(j, x0, k, n_x, MIX_VECTORS, half);
    for (; k + V <= j->n; k += V) mix_block(j, x0, k, n_x, 1, half);
    if (k == j->n) return;
    const uint8_t *row = j->rows;
    for (size_t r = 0; r < j->n_rows; r++, row += j->row_bytes)
        for (unsigned i = 0; i < n_x; i++)
            for (size_t rest = k; rest < j->n; rest++)
                j->x[(x0 + i) * j->x_stride + rest] += j->s[(x0 + i) * j->s_stride + r] * load_one(row, rest, half);
}

static ALWAYS_INLINE void attn_mix(const struct attn_job *j, const bool half) {
    size_t x = 0;
    for (; x + 2 <= j->n_x; x += 2) mix_vectors(j, x, 2, half);
    if (x < j->n_x) mix_vectors(j, x, 1, half);
}

void attn_mix_f32_neon(const struct attn_job *j) { attn_mix(j, false); }
void attn_mix_f16_neon(const struct attn_job *j) { attn_mix(j, true); }
