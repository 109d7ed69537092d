/* Float kernels in NEON: dot, packing, the register tile, widening. */
#include "backend/cpu/arm/vec_neon.h"
#include "backend/cpu/vec/f32_loop.h"

float dot_f32_neon(const float *a, const float *b, size_t n) { return dot(a, b, n); }
void pack_f32_neon(const struct pack_f32_job *j) { pack(j); }
void widen_f16_neon(const void *w, float *out, size_t n) { widen_16(w, out, n, QTYPE_F16); }
void widen_bf16_neon(const void *w, float *out, size_t n) { widen_16(w, out, n, QTYPE_BF16); }
void widen_q8_0_neon(const void *w, float *out, size_t n) { widen_q8_0(w, out, n); }

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
        const float32x4_t w0 = vld1q_f32(w), w1 = vld1q_f32(w + VEC);
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
        vst1q_f32(out + VEC, j->add ? vaddq_f32(s1[t], vld1q_f32(out + VEC)) : s1[t]);
    }
}

void tile_f32_neon(const struct f32_tile_job *j) {
    for (unsigned row = 0; row < F32_ROWS; row += 2 * VEC) {
        if (j->n_tok <= 4) tile_body(j, row, 1);
        else if (j->n_tok <= 8) tile_body(j, row, 2);
        else tile_body(j, row, 3);
    }
}
