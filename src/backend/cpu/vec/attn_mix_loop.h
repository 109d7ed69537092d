#ifndef BACKEND_CPU_VEC_ATTN_MIX_LOOP_H
#define BACKEND_CPU_VEC_ATTN_MIX_LOOP_H
/* Weighted sums of attention: rows of a cache added to vectors. Blocks of vectors share loads of a row; each number
 * takes in the rows in ascending order. */
#include "backend/cpu/kern.h"
#include "backend/cpu/vec/vec.h"
#include "base/num.h"

/* A block's sums are half of the registers: vectors of a row at a time, by MIX_X vectors. */
enum { MIX_VECTORS = VEC == 4 ? 8 : 4, MIX_X = VEC_REGISTERS / 2 / MIX_VECTORS, ASK_ROWS = 4 };

/* Numbers k .. of n_x vectors take in all rows; n_v vectors of the row at a time; unless `whole`, one
 * vector whose first numbers alone are there. */
static ALWAYS_INLINE void mix_block(const struct attn_job *j, size_t x0, size_t k, const unsigned n_x,
                                    const unsigned n_v, const enum qtype type, const bool whole) {
    const size_t some = j->n - k;
    float *x = j->x + x0 * j->x_stride + k;
    const float *s = j->s + x0 * j->s_stride;
    vec acc[MIX_X][MIX_VECTORS];
#pragma GCC unroll 4
    for (unsigned i = 0; i < n_x; i++)
#pragma GCC unroll 8
        for (unsigned v = 0; v < n_v; v++) {
            const float *at = x + i * j->x_stride + v * VEC;
            acc[i][v] = whole ? vec_load(at) : vec_load_some(at, some);
        }
    const uint8_t *row = j->rows;
    for (size_t r = 0; r < j->n_rows;) {
        const size_t end = min_u64(r + ASK_ROWS, j->n_rows);
        if (x0 == 0 && k == 0) attn_ask_next(j, r, end - r);
        for (; r < end; r++, row += j->row_bytes) {
            vec w[MIX_X], scale = vec_all(0);
#pragma GCC unroll 4
            for (unsigned i = 0; i < n_x; i++) w[i] = vec_all(s[i * j->s_stride + r]);
#pragma GCC unroll 8
            for (unsigned v = 0; v < n_v; v++) {
                const size_t at = k + v * VEC;
                if (type == QTYPE_Q8_0 && v % (Q8_0_WEIGHTS / VEC) == 0)
                    scale = vec_q8_0_scale(row + at / Q8_0_WEIGHTS * Q8_0_BYTES);
                const vec number = whole ? vec_of_row(row, at, type, scale)
                                         : vec_widen_some(row + at * vec_bytes_of(type), some, type);
#pragma GCC unroll 4
                for (unsigned i = 0; i < n_x; i++) acc[i][v] = vec_fma(w[i], number, acc[i][v]);
            }
        }
    }
#pragma GCC unroll 4
    for (unsigned i = 0; i < n_x; i++)
#pragma GCC unroll 8
        for (unsigned v = 0; v < n_v; v++)
            if (whole) vec_store(x + i * j->x_stride + v * VEC, acc[i][v]);
            else vec_store_some(x + i * j->x_stride, acc[i][v], some);
}

static ALWAYS_INLINE void mix_vectors(const struct attn_job *j, size_t x0, const unsigned n_x, const enum qtype type) {
    size_t k = 0;
    for (; k + MIX_VECTORS * VEC <= j->n; k += MIX_VECTORS * VEC) mix_block(j, x0, k, n_x, MIX_VECTORS, type, true);
    for (; k + VEC <= j->n; k += VEC) mix_block(j, x0, k, n_x, 1, type, true);
    if (k < j->n && type != QTYPE_Q8_0) mix_block(j, x0, k, n_x, 1, type, false);
}

static ALWAYS_INLINE void attn_mix(const struct attn_job *j, const enum qtype type) {
    size_t x = 0;
    if (MIX_X == 4)
        for (; x + 4 <= j->n_x; x += 4) mix_vectors(j, x, MIX_X, type);
    for (; x + 2 <= j->n_x; x += 2) mix_vectors(j, x, 2, type);
    if (x < j->n_x) mix_vectors(j, x, 1, type);
}
#endif
