#ifndef BACKEND_CPU_VEC_ATTN_DOT_LOOP_H
#define BACKEND_CPU_VEC_ATTN_DOT_LOOP_H
/* Scores of attention: vectors against rows of a cache. Blocks of both share loads; each result still comes from one
 * chain of additions whose order no blocking changes, so a token's attention does not depend on how many others are
 * computed beside it. */
#ifdef __AVX2__
/* In AVX-512 too: the sum over lanes at the end of a row, a third of the work for a head of 64, takes half the time of
 * one over 16 lanes (Zen 4, where both widths multiply equally fast; 1.3 times the speed). */
#include "backend/cpu/x86/vec_avx2.h"
#endif
#include "backend/cpu/kern.h"
#include "backend/cpu/vec/vec.h"

/* Sums of a block, half of the registers at most; vectors and rows of a block at most. */
enum { DOT_SUMS = VEC_REGISTERS / 2, DOT_X = DOT_SUMS / 4, DOT_ROWS = 8 };

/* Rows of a block of n_x vectors. */
static ALWAYS_INLINE unsigned rows_beside(const unsigned n_x) {
    return DOT_SUMS / n_x < DOT_ROWS ? DOT_SUMS / n_x : DOT_ROWS;
}

/* The sums acc[i * n_r + r] of n_x vectors by n_r rows. */
static ALWAYS_INLINE void store_scores(float *s, size_t stride, const vec acc[DOT_SUMS], const unsigned n_x) {
    const unsigned n_r = rows_beside(n_x);
#pragma GCC unroll 4
    for (unsigned i = 0; i < n_x * n_r; i += VEC) {
        float *at = s + i / n_r * stride + i % n_r;
        const vec sums = vec_sums(acc + i);
        if (n_r < VEC) vec_store_halves(at, at + stride, sums);
        else vec_store(at, sums);
    }
}

/* n_x vectors by some rows. Unless `whole`, rows and vectors beyond the last repeat it and are not stored. */
static ALWAYS_INLINE void dot_block(const struct attn_job *j, size_t x0, size_t r0, const unsigned n_x,
                                    const bool whole, const enum qtype type) {
    const unsigned n_r = rows_beside(n_x);
    const uint8_t *rows[DOT_ROWS];
    const float *x[DOT_X];
    vec acc[DOT_SUMS], scale[DOT_ROWS];
#pragma GCC unroll 8
    for (unsigned r = 0; r < n_r; r++)
        rows[r] = (const uint8_t *)j->rows + (whole || r0 + r < j->n_rows ? r0 + r : j->n_rows - 1) * j->row_bytes;
#pragma GCC unroll 4
    for (unsigned i = 0; i < n_x; i++) x[i] = j->x + (whole || x0 + i < j->n_x ? x0 + i : j->n_x - 1) * j->x_stride;
#pragma GCC unroll 16
    for (unsigned i = 0; i < n_x * n_r; i++) acc[i] = vec_all(0);
#pragma GCC unroll 8
    for (unsigned r = 0; r < n_r; r++) scale[r] = vec_all(0);
    size_t k = 0;
    for (; k + VEC <= j->n; k += VEC) {
        if (type == QTYPE_Q8_0 && k % Q8_0_WEIGHTS == 0) {
#pragma GCC unroll 8
            for (unsigned r = 0; r < n_r; r++) scale[r] = vec_q8_0_scale(rows[r] + k / Q8_0_WEIGHTS * Q8_0_BYTES);
        }
        vec q[DOT_X];
#pragma GCC unroll 4
        for (unsigned i = 0; i < n_x; i++) q[i] = vec_load(x[i] + k);
#pragma GCC unroll 8
        for (unsigned r = 0; r < n_r; r++) {
            const vec row = vec_of_row(rows[r], k, type, scale[r]);
#pragma GCC unroll 4
            for (unsigned i = 0; i < n_x; i++) acc[i * n_r + r] = vec_fma(q[i], row, acc[i * n_r + r]);
        }
    }
    if (k < j->n && type != QTYPE_Q8_0) {
#pragma GCC unroll 8
        for (unsigned r = 0; r < n_r; r++) {
            const vec row = vec_widen_some(rows[r] + k * vec_bytes_of(type), j->n - k, type);
#pragma GCC unroll 4
            for (unsigned i = 0; i < n_x; i++)
                acc[i * n_r + r] = vec_fma(vec_load_some(x[i] + k, j->n - k), row, acc[i * n_r + r]);
        }
    }
    float *s = j->s + x0 * j->s_stride + r0, sums[DOT_SUMS];
    if (whole) {
        store_scores(s, j->s_stride, acc, n_x);
        return;
    }
    store_scores(sums, n_r, acc, n_x);
    for (unsigned i = 0; i < n_x && x0 + i < j->n_x; i++)
        for (unsigned r = 0; r < n_r && r0 + r < j->n_rows; r++) s[i * j->s_stride + r] = sums[i * n_r + r];
}

/* n_x vectors, of which n_x or fewer are left, by all rows. */
static ALWAYS_INLINE void dot_rows(const struct attn_job *j, size_t x0, const unsigned n_x, const enum qtype type) {
    const unsigned n_r = rows_beside(n_x);
    size_t r = 0;
    for (; x0 + n_x <= j->n_x && r + n_r <= j->n_rows; r += n_r) {
        if (x0 == 0) attn_ask_next(j, r, n_r);
        dot_block(j, x0, r, n_x, true, type);
    }
    for (; r < j->n_rows; r += n_r) {
        if (x0 == 0) attn_ask_next(j, r, n_r);
        dot_block(j, x0, r, n_x, false, type);
    }
}

static ALWAYS_INLINE void attn_dot(const struct attn_job *j, const enum qtype type) {
    size_t x = 0;
    if (DOT_X == 4)
        for (; x + 2 < j->n_x; x += 4) dot_rows(j, x, DOT_X, type);
    for (; x + 2 <= j->n_x; x += 2) dot_rows(j, x, 2, type);
    if (x < j->n_x) dot_rows(j, x, 1, type);
}
#endif
