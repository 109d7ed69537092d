/* Attention in AVX-512: vectors against rows of a cache, 16 numbers at a time.
 *
 * Blocks of vectors and rows share loads; each result still comes from one chain of additions whose order no blocking
 * changes, so a token's attention does not depend on how many others are computed beside it. */
#include <immintrin.h>

#include "backend/cpu/kern.h"

enum { V = 16, SUMS = 16 /* accumulators of a block of dots */, MIX_VECTORS = 4 /* of a row at a time */ };

/* 16 numbers of a row, those of the mask. */
static ALWAYS_INLINE __m512 load(const uint8_t *row, size_t i, const bool half, const bool whole, __mmask16 mask) {
    if (half) {
        const uint16_t *p = (const uint16_t *)(const void *)row + i;
        return _mm512_cvtph_ps(whole ? _mm256_loadu_si256((const void *)p) : _mm256_maskz_loadu_epi16(mask, p));
    }
    const float *p = (const float *)(const void *)row + i;
    return whole ? _mm512_loadu_ps(p) : _mm512_maskz_loadu_ps(mask, p);
}

/* Lane i of the result: the sum of v[i]'s lanes, (0 + 2) + (1 + 3) within each quarter, then the quarters likewise. */
static ALWAYS_INLINE __m512 sums_of_16(const __m512 v[SUMS]) {
    __m512 pairs[8], quads[4], halves[2];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        __m512 a = v[2 * i], b = v[2 * i + 1];
        pairs[i] = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        __m512d a = _mm512_castps_pd(pairs[2 * i]), b = _mm512_castps_pd(pairs[2 * i + 1]);
        __m512d low = _mm512_unpacklo_pd(a, b), high = _mm512_unpackhi_pd(a, b);
        quads[i] = _mm512_add_ps(_mm512_castpd_ps(low), _mm512_castpd_ps(high));
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++)
        halves[i] = _mm512_add_ps(_mm512_shuffle_f32x4(quads[2 * i], quads[2 * i + 1], 0x88),
                                  _mm512_shuffle_f32x4(quads[2 * i], quads[2 * i + 1], 0xdd));
    return _mm512_add_ps(_mm512_shuffle_f32x4(halves[0], halves[1], 0x88),
                         _mm512_shuffle_f32x4(halves[0], halves[1], 0xdd));
}

/* n_x vectors by SUMS / n_x rows; rows and vectors beyond the last repeat it and are not stored. */
static ALWAYS_INLINE void dot_block(const struct attn_job *j, size_t x0, size_t r0, const unsigned n_x,
                                    const bool half) {
    const unsigned n_r = SUMS / n_x;
    const uint8_t *rows[SUMS];
    const float *x[4];
    __m512 acc[SUMS];
#pragma GCC unroll 16
    for (unsigned r = 0; r < n_r; r++)
        rows[r] = (const uint8_t *)j->rows + (r0 + r < j->n_rows ? r0 + r : j->n_rows - 1) * j->row_bytes;
#pragma GCC unroll 4
    for (unsigned i = 0; i < n_x; i++) x[i] = j->x + (x0 + i < j->n_x ? x0 + i : j->n_x - 1) * j->x_stride;
#pragma GCC unroll 16
    for (unsigned i = 0; i < SUMS; i++) acc[i] = _mm512_setzero_ps();
    size_t k = 0;
    for (; k + V <= j->n; k += V) {
        __m512 q[4];
#pragma GCC unroll 4
        for (unsigned i = 0; i < n_x; i++) q[i] = _mm512_loadu_ps(x[i] + k);
#pragma GCC unroll 16
        for (unsigned r = 0; r < n_r; r++) {
            __m512 row = load(rows[r], k, half, true, 0);
#pragma GCC unroll 4
            for (unsigned i = 0; i < n_x; i++) acc[i * n_r + r] = _mm512_fmadd_ps(q[i], row, acc[i * n_r + r]);
        }
    }
    if (k < j->n) {
        const __mmask16 mask = (__mmask16)((1u << (j->n - k)) - 1);
#pragma GCC unroll 16
        for (unsigned r = 0; r < n_r; r++) {
            __m512 row = load(rows[r], k, half, false, mask);
#pragma GCC unroll 4
            for (unsigned i = 0; i < n_x; i++)
                acc[i * n_r + r] = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(mask, x[i] + k), row, acc[i * n_r + r]);
        }
    }
    const __m512 sums = sums_of_16(acc);
    const unsigned n_store = (unsigned)(j->n_rows - r0 < n_r ? j->n_rows - r0 : n_r);
#pragma GCC unroll 4
    for (unsigned i = 0; i < n_x; i++) {
        if (x0 + i >= j->n_x) break;
        /* Lanes i * n_r .. of the sums go to the front of the store's address. */
        const __mmask16 lanes = (__mmask16)(((1u << n_store) - 1) << (i * n_r));
        _mm512_mask_storeu_ps(j->s + (x0 + i) * j->s_stride + r0 - i * n_r, lanes, sums);
    }
}

static ALWAYS_INLINE void dot_rows(const struct attn_job *j, size_t x0, const unsigned n_x, const bool half) {
    for (size_t r = 0; r < j->n_rows; r += SUMS / n_x) dot_block(j, x0, r, n_x, half);
}

static ALWAYS_INLINE void attn_dot(const struct attn_job *j, const bool half) {
    size_t x = 0;
    for (; x + 2 < j->n_x; x += 4) dot_rows(j, x, 4, half);
    if (j->n_x - x == 2) dot_rows(j, x, 2, half);
    else if (x < j->n_x) dot_rows(j, x, 1, half);
}

void attn_dot_f32_avx512(const struct attn_job *j) { attn_dot(j, false); }
void attn_dot_f16_avx512(const struct attn_job *j) { attn_dot(j, true); }

/* Numbers k .. of n_x vectors take in all rows; n_v vectors of the row at a time, the last masked unless whole. */
static ALWAYS_INLINE void mix_block(const struct attn_job *j, size_t x0, size_t k, const unsigned n_x,
                                    const unsigned n_v, const bool half, const bool whole) {
    const __mmask16 mask = whole ? 0xffff : (__mmask16)((1u << (j->n - k)) - 1);
    float *x = j->x + x0 * j->x_stride + k;
    const float *s = j->s + x0 * j->s_stride;
    __m512 acc[4][MIX_VECTORS];
#pragma GCC unroll 4
    for (unsigned i = 0; i < n_x; i++) {
#pragma GCC unroll 4
        for (unsigned v = 0; v < n_v; v++) acc[i][v] = _mm512_maskz_loadu_ps(mask, x + i * j->x_stride + v * V);
    }
    const uint8_t *row = j->rows;
    for (size_t r = 0; r < j->n_rows; r++, row += j->row_bytes) {
        __m512 w[4];
#pragma GCC unroll 4
        for (unsigned i = 0; i < n_x; i++) w[i] = _mm512_set1_ps(s[i * j->s_stride + r]);
#pragma GCC unroll 4
        for (unsigned v = 0; v < n_v; v++) {
            __m512 number = load(row, k + v * V, half, whole, mask);
#pragma GCC unroll 4
            for (unsigned i = 0; i < n_x; i++) acc[i][v] = _mm512_fmadd_ps(w[i], number, acc[i][v]);
        }
    }
#pragma GCC unroll 4
    for (unsigned i = 0; i < n_x; i++) {
#pragma GCC unroll 4
        for (unsigned v = 0; v < n_v; v++) _mm512_mask_storeu_ps(x + i * j->x_stride + v * V, mask, acc[i][v]);
    }
}

static ALWAYS_INLINE void mix_vectors(const struct attn_job *j, size_t x0, const unsigned n_x, const bool half) {
    size_t k = 0;
    for (; k + MIX_VECTORS * V <= j->n; k += MIX_VECTORS * V) mix_block(j, x0, k, n_x, MIX_VECTORS, half, true);
    for (; k + V <= j->n; k += V) mix_block(j, x0, k, n_x, 1, half, true);
    if (k < j->n) mix_block(j, x0, k, n_x, 1, half, false);
}

static ALWAYS_INLINE void attn_mix(const struct attn_job *j, const bool half) {
    size_t x = 0;
    for (; x + 4 <= j->n_x; x += 4) mix_vectors(j, x, 4, half);
    if (x + 2 <= j->n_x) {
        mix_vectors(j, x, 2, half);
        x += 2;
    }
    if (x < j->n_x) mix_vectors(j, x, 1, half);
}

void attn_mix_f32_avx512(const struct attn_job *j) { attn_mix(j, false); }
void attn_mix_f16_avx512(const struct attn_job *j) { attn_mix(j, true); }
