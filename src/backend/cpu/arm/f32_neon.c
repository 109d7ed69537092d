/* Float kernels in NEON: dot, packing, the register tile, widening. */
#include <arm_neon.h>
#include <string.h>

#include "backend/cpu/arm/transpose_neon.h"
#include "backend/cpu/kern.h"
#include "base/num.h"
#include "qtype/codec.h"

enum { V = 4, STEP = 4 /* vectors, each with a sum of its own, so that additions need not wait for one another */ };

static ALWAYS_INLINE float sum_of(const float32x4_t s[STEP]) {
    return vaddvq_f32(vaddq_f32(vaddq_f32(s[0], s[1]), vaddq_f32(s[2], s[3])));
}

float dot_f32_neon(const float *a, const float *b, size_t n) {
    float32x4_t s[STEP] = { vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0) };
    size_t i = 0;
    for (; i + STEP * V <= n; i += STEP * V)
#pragma GCC unroll 4
        for (int v = 0; v < STEP; v++) s[v] = vfmaq_f32(s[v], vld1q_f32(a + i + v * V), vld1q_f32(b + i + v * V));
    float sum = sum_of(s);
    for (; i < n; i++) sum += a[i] * b[i];
    return sum;
}

/* --- Packing: transposes of 4 x 4, the edges one by one --- */

void pack_f32_neon(const struct pack_f32_job *j) {
    size_t whole_rows = min_u64(j->n_rows, j->width) & ~(size_t)(V - 1), whole_k = j->n_k & ~(size_t)(V - 1);
    for (size_t row = 0; row < whole_rows; row += V)
        for (size_t k = 0; k < whole_k; k += V) {
            uint32x4_t v[V];
            for (size_t r = 0; r < V; r++) v[r] = vreinterpretq_u32_f32(vld1q_f32(j->rows + (row + r) * j->stride + k));
            transpose4(v);
            for (size_t c = 0; c < V; c++) vst1q_f32(j->out + (k + c) * j->width + row, vreinterpretq_f32_u32(v[c]));
        }
    for (size_t k = 0; k < j->n_k; k++)
        for (size_t r = k < whole_k ? whole_rows : 0; r < j->width; r++)
            j->out[k * j->width + r] = r < j->n_rows ? j->rows[r * j->stride + k] : 0;
}

/* --- The tile: 8 of the 32 rows in two vectors times up to 12 tokens, 24 of the 32 registers --- */

/* A token is a lane of the vector that holds four tokens of one k; the instruction takes it from there. */
#define TOKEN(g, lane)                                                                  \
    s0[4 * (g) + (lane)] = vfmaq_laneq_f32(s0[4 * (g) + (lane)], w0, b, lane);          \
    s1[4 * (g) + (lane)] = vfmaq_laneq_f32(s1[4 * (g) + (lane)], w1, b, lane);

/* The groups of four tokens of the packed tile that n_tok reaches into; sums beyond n_tok are not stored. */
static ALWAYS_INLINE void tile_body(const struct f32_tile_job *j, unsigned row, const unsigned groups) {
    float32x4_t s0[TILE_TOKENS], s1[TILE_TOKENS];
    const float *w = j->w + row, *x = j->x;
    float *out = j->out + row;
#pragma GCC unroll 12
    for (unsigned t = 0; t < 4 * groups; t++) s0[t] = s1[t] = vdupq_n_f32(0);
    for (size_t k = 0; k < j->n_k; k++, w += F32_ROWS, x += TILE_TOKENS) {
        const float32x4_t w0 = vld1q_f32(w), w1 = vld1q_f32(w + V);
#pragma GCC unroll 3
        for (unsigned g = 0; g < groups; g++) {
            const float32x4_t b = vld1q_f32(x + 4 * g);
            TOKEN(g, 0)
            TOKEN(g, 1)
            TOKEN(g, 2)
            TOKEN(g, 3)
        }
    }
#pragma GCC unroll 12
    for (unsigned t = 0; t < 4 * groups; t++, out += j->out_stride) {
        if (t >= j->n_tok) return;
        vst1q_f32(out, j->add ? vaddq_f32(s0[t], vld1q_f32(out)) : s0[t]);
        vst1q_f32(out + V, j->add ? vaddq_f32(s1[t], vld1q_f32(out + V)) : s1[t]);
    }
}

void tile_f32_neon(const struct f32_tile_job *j) {
    for (unsigned row = 0; row < F32_ROWS; row += 2 * V) {
        if (j->n_tok <= 4) tile_body(j, row, 1);
        else if (j->n_tok <= 8) tile_body(j, row, 2);
        else tile_body(j, row, 3);
    }
}

/* --- Widening --- */

static ALWAYS_INLINE float32x4_t load_f16(const uint8_t *p) { return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p))); }
static ALWAYS_INLINE float32x4_t load_bf16(const uint8_t *p) {
    return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(p)), 16));
}
static inline float one_f16(const uint8_t *p) { uint16_t h; memcpy(&h, p, 2); return f32_from_f16(h); }
static inline float one_bf16(const uint8_t *p) { uint16_t h; memcpy(&h, p, 2); return f32_from_bf16(h); }

#define WIDEN(codec)                                                                    \
    void widen_##codec##_neon(const void *w, float *out, size_t n) {                    \
        const uint8_t *p = w;                                                           \
        size_t i = 0;                                                                   \
        for (; i + V <= n; i += V) vst1q_f32(out + i, load_##codec(p + 2 * i));         \
        for (; i < n; i++) out[i] = one_##codec(p + 2 * i);                             \
    }

WIDEN(f16)
WIDEN(bf16)

void widen_q8_0_neon(const void *w, float *out, size_t n) {
    const uint8_t *b = w;
    for (size_t i = 0; i < n; i += 32, b += 34) {
        const float32x4_t scale = vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(load_u16(b))));
        for (size_t k = 0; k < 32; k += 2 * V) {
            const int16x8_t codes = vmovl_s8(vld1_s8((const int8_t *)b + 2 + k));
            vst1q_f32(out + i + k, vmulq_f32(scale, vcvtq_f32_s32(vmovl_s16(vget_low_s16(codes)))));
            vst1q_f32(out + i + k + V, vmulq_f32(scale, vcvtq_f32_s32(vmovl_high_s16(codes))));
        }
    }
}
