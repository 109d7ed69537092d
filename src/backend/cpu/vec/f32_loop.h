#ifndef BACKEND_CPU_VEC_F32_LOOP_H
#define BACKEND_CPU_VEC_F32_LOOP_H
/* Float kernels: dot, packing, the register tile, widening. */
#include "backend/cpu/kern.h"
#include "backend/cpu/vec/vec.h"
#include "base/num.h"

/* Four sums, so that additions need not wait for one another. */
static ALWAYS_INLINE float dot(const float *a, const float *b, size_t n) {
    vec s[4] = { vec_all(0), vec_all(0), vec_all(0), vec_all(0) };
    size_t i = 0;
    for (; i + 4 * VEC <= n; i += 4 * VEC)
#pragma GCC unroll 4
        for (int v = 0; v < 4; v++) s[v] = vec_fma(vec_load(a + i + v * VEC), vec_load(b + i + v * VEC), s[v]);
    for (; i + VEC <= n; i += VEC) s[0] = vec_fma(vec_load(a + i), vec_load(b + i), s[0]);
    if (i < n) s[0] = vec_fma(vec_load_some(a + i, n - i), vec_load_some(b + i, n - i), s[0]);
    return vec_sum((s[0] + s[1]) + (s[2] + s[3]));
}

/* --- Packing: transposes of VEC x VEC --- */

/* Columns k .. of rows row .. become rows k .. of out; `whole` if there are VEC of each. */
static ALWAYS_INLINE void pack_block(const struct pack_f32_job *j, size_t row, size_t k, const bool whole) {
    const size_t rows = row < j->n_rows ? min_u64(j->n_rows - row, VEC) : 0;
    const size_t columns = min_u64(j->n_k - k, VEC), width = min_u64(j->width - row, VEC);
    float *out = j->out + k * j->width + row;
    vec v[VEC];
#pragma GCC unroll 16
    for (size_t r = 0; r < VEC; r++) {
        const float *in = j->rows + (row + r) * j->stride + k;
        v[r] = whole ? vec_load(in) : r < rows ? vec_load_some(in, columns) : vec_all(0);
    }
    vec_transpose(v);
    for (size_t c = 0; c < (whole ? VEC : columns); c++, out += j->width)
        if (whole) vec_store(out, v[c]);
        else vec_store_some(out, v[c], width);
}

static ALWAYS_INLINE void pack(const struct pack_f32_job *j) {
    for (size_t row = 0; row < j->width; row += VEC)
        for (size_t k = 0; k < j->n_k; k += VEC) {
            if (row + VEC <= min_u64(j->n_rows, j->width) && k + VEC <= j->n_k) pack_block(j, row, k, true);
            else pack_block(j, row, k, false);
        }
}

/* --- The tile: two vectors of rows times several tokens, 24 sums in 32 registers or 12 in 16. One step loads two
 * vectors of weights and broadcasts one float for each token, or what stands for a float. --- */

/* Products w * x added to sums. */
typedef vec tile_step(vec w, vec x, vec sums);

enum { TILE_AT_ONCE = VEC_REGISTERS == 32 ? 12 : 6 };

static ALWAYS_INLINE void tile_block(const struct f32_tile_job *j, unsigned row, unsigned t0, const unsigned n_tok,
                                     tile_step *step) {
    vec s0[TILE_AT_ONCE], s1[TILE_AT_ONCE];
    float *out = j->out + t0 * j->out_stride + row;
    const float *w = j->w + row, *x = j->x + t0;
#pragma GCC unroll 12
    for (unsigned t = 0; t < n_tok; t++) s0[t] = s1[t] = vec_all(0);
    for (size_t k = 0; k < j->n_k; k++, w += F32_ROWS, x += TILE_TOKENS) {
        const vec w0 = vec_load(w), w1 = vec_load(w + VEC);
#pragma GCC unroll 12
        for (unsigned t = 0; t < n_tok; t++) {
            s0[t] = step(w0, vec_all(x[t]), s0[t]);
            s1[t] = step(w1, vec_all(x[t]), s1[t]);
        }
    }
#pragma GCC unroll 12
    for (unsigned t = 0; t < n_tok; t++, out += j->out_stride) {
        if (j->add) {
            s0[t] += vec_load(out);
            s1[t] += vec_load(out + VEC);
        }
        vec_store(out, s0[t]);
        vec_store(out + VEC, s1[t]);
    }
}

static ALWAYS_INLINE void tile(const struct f32_tile_job *j, tile_step *step) {
    for (unsigned row = 0; row < F32_ROWS; row += 2 * VEC) {
        unsigned t = 0;
        for (; t + TILE_AT_ONCE <= j->n_tok; t += TILE_AT_ONCE) tile_block(j, row, t, TILE_AT_ONCE, step);
        for (; t + TILE_AT_ONCE / 3 <= j->n_tok; t += TILE_AT_ONCE / 3)
            tile_block(j, row, t, TILE_AT_ONCE / 3, step);
        for (; t < j->n_tok; t++) tile_block(j, row, t, 1, step);
    }
}

/* --- Widening --- */

static ALWAYS_INLINE void widen_16(const uint8_t *w, float *out, size_t n, const enum qtype type) {
    size_t i = 0;
    for (; i + VEC <= n; i += VEC) vec_store(out + i, vec_widen(w + 2 * i, type));
    if (i < n) vec_store_some(out + i, vec_widen_some(w + 2 * i, n - i, type), n - i);
}

static ALWAYS_INLINE void widen_q8_0(const uint8_t *w, float *out, size_t n) {
    for (size_t i = 0; i < n; i += Q8_0_WEIGHTS, w += Q8_0_BYTES) {
        const vec scale = vec_q8_0_scale(w);
        for (size_t k = 0; k < Q8_0_WEIGHTS; k += VEC) vec_store(out + i + k, scale * vec_load_i8(w + 2 + k));
    }
}
#endif
