#ifndef BACKEND_CPU_VEC_ROWS_F32_LOOP_H
#define BACKEND_CPU_VEC_ROWS_F32_LOOP_H
/* Rows of F32, F16 and BF16 times a few tokens. One token takes one row at a time, which is one stream in ascending
 * order; several tokens take several rows at a time, each vector of activations being loaded for all of them. */
#include "backend/cpu/kern.h"
#include "backend/cpu/vec/vec.h"
#include "base/num.h"

/* Numbers of a step, in vectors that have a sum of their own each, so that additions need not wait for one another. */
enum { STEP = 16, SUMS = STEP / VEC, MOST_ROWS = 4 };

static ALWAYS_INLINE void rows_block(const struct rows_job *j, size_t first, const unsigned n_row, const unsigned n_tok,
                                     const enum qtype type) {
    const size_t size = vec_bytes_of(type), row_bytes = j->row_bytes;
    const uint8_t *w = j->w + first * row_bytes;
    const float *x = j->x;
    vec s[MOST_ROWS][ROWS_F32_TOKENS][SUMS];
    size_t i = 0;
#pragma GCC unroll 4
    for (unsigned r = 0; r < n_row; r++)
#pragma GCC unroll 4
        for (unsigned t = 0; t < n_tok; t++)
#pragma GCC unroll 4
            for (int v = 0; v < SUMS; v++) s[r][t][v] = vec_all(0);
    for (; i + STEP <= j->n_in; i += STEP) {
        /* All rows as one stream; it is ahead of the last of them by what it is ahead of a single one. */
        fetch_ahead(w + (n_row - 1) * row_bytes + n_row * i * size, n_row * STEP * size);
#pragma GCC unroll 4
        for (int v = 0; v < SUMS; v++)
#pragma GCC unroll 4
            for (unsigned r = 0; r < n_row; r++) {
                const vec row = vec_widen(w + r * row_bytes + (i + v * VEC) * size, type);
#pragma GCC unroll 4
                for (unsigned t = 0; t < n_tok; t++)
                    s[r][t][v] = vec_fma(row, vec_load(x + t * j->x_stride + i + v * VEC), s[r][t][v]);
            }
    }
    for (; i < j->n_in; i += VEC) {
        const size_t n = min_u64(j->n_in - i, VEC);
#pragma GCC unroll 4
        for (unsigned r = 0; r < n_row; r++) {
            const vec row = vec_widen_some(w + r * row_bytes + i * size, n, type);
#pragma GCC unroll 4
            for (unsigned t = 0; t < n_tok; t++)
                s[r][t][0] = vec_fma(row, vec_load_some(x + t * j->x_stride + i, n), s[r][t][0]);
        }
    }
#pragma GCC unroll 4
    for (unsigned r = 0; r < n_row; r++)
#pragma GCC unroll 4
        for (unsigned t = 0; t < n_tok; t++) {
            const vec *v = s[r][t], sum = SUMS == 4 ? (v[0] + v[1]) + (v[SUMS - 2] + v[SUMS - 1]) : v[0] + v[1];
            j->out[t * j->out_stride + first + r] = vec_sum(sum);
        }
}

static ALWAYS_INLINE void rows_by(const struct rows_job *j, const unsigned n_row, const unsigned n_tok,
                                  const enum qtype type) {
    size_t r = 0;
    for (; r + n_row <= j->n_rows; r += n_row) rows_block(j, r, n_row, n_tok, type);
    for (; r < j->n_rows; r++) rows_block(j, r, 1, n_tok, type);
}

/* most: rows that 3 or 4 tokens take at a time, up to MOST_ROWS. */
static ALWAYS_INLINE void float_rows(const struct rows_job *j, const enum qtype type, const unsigned most) {
    if (j->n_tok == 1) rows_by(j, 1, 1, type);
    else if (j->n_tok == 2) rows_by(j, 2, 2, type);
    else if (j->n_tok == 3) rows_by(j, most, 3, type);
    else rows_by(j, most, 4, type);
}
#endif
