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

/* A block whose sums over lanes are not taken yet; s NULL: none. */
struct unsummed { vec acc[DOT_SUMS]; float *s; };

static ALWAYS_INLINE void sum_up(const struct attn_job *j, struct unsummed *b, const unsigned n_x) {
    if (b->s) store_scores(b->s, j->s_stride, b->acc, n_x);
    b->s = NULL;
}

/* A block at work. */
struct dot_block { const uint8_t *rows[DOT_ROWS]; const float *x[DOT_X]; vec acc[DOT_SUMS], scale[DOT_ROWS]; };

/* Numbers k .. end of the rows, k a multiple of Q8_0_WEIGHTS. Returns where a last vector of fewer begins. */
static ALWAYS_INLINE size_t dot_steps(struct dot_block *b, size_t k, size_t end, const unsigned n_x,
                                      const enum qtype type) {
    const unsigned n_r = rows_beside(n_x);
    for (; k + VEC <= end; k += VEC) {
        if (type == QTYPE_Q8_0 && k % Q8_0_WEIGHTS == 0) {
#pragma GCC unroll 8
            for (unsigned r = 0; r < n_r; r++)
                b->scale[r] = vec_q8_0_scale(b->rows[r] + k / Q8_0_WEIGHTS * Q8_0_BYTES);
        }
        vec q[DOT_X];
#pragma GCC unroll 4
        for (unsigned i = 0; i < n_x; i++) q[i] = vec_load(b->x[i] + k);
#pragma GCC unroll 8
        for (unsigned r = 0; r < n_r; r++) {
            const vec row = vec_of_row(b->rows[r], k, type, b->scale[r]);
#pragma GCC unroll 4
            for (unsigned i = 0; i < n_x; i++) b->acc[i * n_r + r] = vec_fma(q[i], row, b->acc[i * n_r + r]);
        }
    }
    return k;
}

/* The last n < VEC numbers, from k on. */
static ALWAYS_INLINE void dot_last(struct dot_block *b, size_t k, size_t n, const unsigned n_x, const enum qtype type) {
    const unsigned n_r = rows_beside(n_x);
    for (unsigned r = 0; r < n_r; r++) {
        const vec row = vec_widen_some(b->rows[r] + k * vec_bytes_of(type), n, type);
        for (unsigned i = 0; i < n_x; i++)
            b->acc[i * n_r + r] = vec_fma(vec_load_some(b->x[i] + k, n), row, b->acc[i * n_r + r]);
    }
}

static ALWAYS_INLINE void begin_block(struct dot_block *b, const struct attn_job *j, size_t x0, size_t r0,
                                      const unsigned n_x, const bool whole) {
    const unsigned n_r = rows_beside(n_x);
#pragma GCC unroll 8
    for (unsigned r = 0; r < n_r; r++) {
        b->rows[r] = (const uint8_t *)j->rows + (whole || r0 + r < j->n_rows ? r0 + r : j->n_rows - 1) * j->row_bytes;
        b->scale[r] = vec_all(0);
    }
#pragma GCC unroll 4
    for (unsigned i = 0; i < n_x; i++)
        b->x[i] = j->x + (whole || x0 + i < j->n_x ? x0 + i : j->n_x - 1) * j->x_stride;
#pragma GCC unroll 16
    for (unsigned i = 0; i < n_x * n_r; i++) b->acc[i] = vec_all(0);
}

/* n_x vectors by some rows, of whole vectors. Where registers hold both, and no scales besides, the lanes of the block
 * before are added up half way, and this one's are left to the next: at the block's end additions would wait for its
 * last products, and the next block's with them. */
static ALWAYS_INLINE void dot_whole(const struct attn_job *j, size_t x0, size_t r0, const unsigned n_x,
                                    const enum qtype type, struct unsummed *before) {
    float *s = j->s + x0 * j->s_stride + r0;
    struct dot_block b;
    begin_block(&b, j, x0, r0, n_x, true);
    if (VEC_REGISTERS < 32 || type == QTYPE_Q8_0) {
        dot_steps(&b, 0, j->n, n_x, type);
        store_scores(s, j->s_stride, b.acc, n_x);
        return;
    }
    const size_t half = dot_steps(&b, 0, j->n / 2 / Q8_0_WEIGHTS * Q8_0_WEIGHTS, n_x, type);
    sum_up(j, before, n_x);
    dot_steps(&b, half, j->n, n_x, type);
#pragma GCC unroll 16
    for (unsigned i = 0; i < n_x * rows_beside(n_x); i++) before->acc[i] = b.acc[i];
    before->s = s;
}

/* The same at the edges: rows and vectors beyond the last repeat it and are not stored. */
static ALWAYS_INLINE void dot_some(const struct attn_job *j, size_t x0, size_t r0, const unsigned n_x,
                                   const enum qtype type) {
    const unsigned n_r = rows_beside(n_x);
    struct dot_block b;
    float *s = j->s + x0 * j->s_stride + r0, sums[DOT_SUMS];
    begin_block(&b, j, x0, r0, n_x, false);
    const size_t k = dot_steps(&b, 0, j->n, n_x, type);
    if (k < j->n && type != QTYPE_Q8_0) dot_last(&b, k, j->n - k, n_x, type);
    store_scores(sums, n_r, b.acc, n_x);
    for (unsigned i = 0; i < n_x && x0 + i < j->n_x; i++)
        for (unsigned r = 0; r < n_r && r0 + r < j->n_rows; r++) s[i * j->s_stride + r] = sums[i * n_r + r];
}

/* n_x vectors, of which n_x or fewer are left, by all rows. */
static ALWAYS_INLINE void dot_rows(const struct attn_job *j, size_t x0, const unsigned n_x, const enum qtype type) {
    const unsigned n_r = rows_beside(n_x);
    struct unsummed before;
    size_t r = 0;
    before.s = NULL;
    for (; j->n % VEC == 0 && x0 + n_x <= j->n_x && r + n_r <= j->n_rows; r += n_r) {
        if (x0 == 0) attn_ask_next(j, r, n_r);
        dot_whole(j, x0, r, n_x, type, &before);
    }
    sum_up(j, &before, n_x);
    for (; r < j->n_rows; r += n_r) {
        if (x0 == 0) attn_ask_next(j, r, n_r);
        dot_some(j, x0, r, n_x, type);
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
