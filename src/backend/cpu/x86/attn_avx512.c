/* Attention in AVX-512: vectors against rows of a cache. Scores are summed in lanes of 8: the sum over lanes at the end
 * of a row, a third of the work for a head of 64, takes half the time of one in lanes of 16 (Zen 4, where both multiply
 * equally fast; 1.3 times the speed). Weighted sums have no such end and go 16 numbers at a time.
 *
 * Blocks of vectors and rows share loads; each result still comes from one chain of additions whose order no blocking
 * changes, so a token's attention does not depend on how many others are computed beside it. */
#include <immintrin.h>
#include <string.h>

#include "backend/cpu/kern.h"

enum {
    D = 8, SUMS = 16,        /* dots: lanes, accumulators of a block */
    V = 16, MIX_VECTORS = 4, /* sums: lanes, vectors of a row at a time */
    ASK_ROWS = 4,
};

/* Rows of Q8_0 are whole blocks of 32: a half, the scale, and 32 bytes. Its scale is loaded once a block. */
static ALWAYS_INLINE short scale_at(const uint8_t *row, size_t i) {
    short half;
    memcpy(&half, row + i / 32 * 34, sizeof half);
    return half;
}
static ALWAYS_INLINE const uint8_t *number_at(const uint8_t *row, size_t i, const enum qtype type) {
    if (type == QTYPE_Q8_0) return row + i / 32 * 34 + 2 + i % 32;
    return row + i * (type == QTYPE_F16 ? 2 : 4);
}

/* D numbers of a row, or those of the mask; scale and no mask with Q8_0 alone. */
static ALWAYS_INLINE __m256 load_d(const uint8_t *row, size_t i, const enum qtype type, const bool all, __mmask8 mask,
                                   __m256 scale) {
    const void *p = number_at(row, i, type);
    if (type == QTYPE_F32) return all ? _mm256_loadu_ps(p) : _mm256_maskz_loadu_ps(mask, p);
    if (type == QTYPE_F16) return _mm256_cvtph_ps(all ? _mm_loadu_si128(p) : _mm_maskz_loadu_epi16(mask, p));
    return _mm256_mul_ps(scale, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p))));
}

/* V numbers of a row, likewise. */
static ALWAYS_INLINE __m512 load_v(const uint8_t *row, size_t i, const enum qtype type, const bool all, __mmask16 mask,
                                   __m512 scale) {
    const void *p = number_at(row, i, type);
    if (type == QTYPE_F32) return all ? _mm512_loadu_ps(p) : _mm512_maskz_loadu_ps(mask, p);
    if (type == QTYPE_F16) return _mm512_cvtph_ps(all ? _mm256_loadu_si256(p) : _mm256_maskz_loadu_epi16(mask, p));
    return _mm512_mul_ps(scale, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p))));
}

/* Lane i of the result: the sum of v[i]'s lanes, (0 + 2) + (1 + 3) within each half, then the halves. */
static ALWAYS_INLINE __m256 sums_of_8(const __m256 v[8]) {
    __m256 pairs[4], quads[2];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        __m256 a = v[2 * i], b = v[2 * i + 1];
        pairs[i] = _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        __m256d a = _mm256_castps_pd(pairs[2 * i]), b = _mm256_castps_pd(pairs[2 * i + 1]);
        __m256d low = _mm256_unpacklo_pd(a, b), high = _mm256_unpackhi_pd(a, b);
        quads[i] = _mm256_add_ps(_mm256_castpd_ps(low), _mm256_castpd_ps(high));
    }
    return _mm256_add_ps(_mm256_permute2f128_ps(quads[0], quads[1], 0x20),
                         _mm256_permute2f128_ps(quads[0], quads[1], 0x31));
}

/* The sums acc[i * n_r + r] of n_x vectors by n_r = SUMS / n_x rows. */
static ALWAYS_INLINE void store_sums(float *s, size_t stride, const __m256 acc[SUMS], const unsigned n_x) {
    const __m256 low = sums_of_8(acc), high = sums_of_8(acc + 8);
    if (n_x == 4) { /* a masked store takes several times as long as these */
        _mm_storeu_ps(s, _mm256_castps256_ps128(low));
        _mm_storeu_ps(s + stride, _mm256_extractf128_ps(low, 1));
        _mm_storeu_ps(s + 2 * stride, _mm256_castps256_ps128(high));
        _mm_storeu_ps(s + 3 * stride, _mm256_extractf128_ps(high, 1));
    } else {
        _mm256_storeu_ps(s, low);
        _mm256_storeu_ps(n_x == 2 ? s + stride : s + 8, high);
    }
}

/* n_x vectors by SUMS / n_x rows. Unless `whole`, rows and vectors beyond the last repeat it and are not stored. */
static ALWAYS_INLINE void dot_block(const struct attn_job *j, size_t x0, size_t r0, const unsigned n_x,
                                    const bool whole, const enum qtype type) {
    const unsigned n_r = SUMS / n_x;
    const uint8_t *rows[SUMS];
    const float *x[4];
    __m256 acc[SUMS], scale[SUMS];
#pragma GCC unroll 16
    for (unsigned r = 0; r < n_r; r++)
        rows[r] = (const uint8_t *)j->rows + (whole || r0 + r < j->n_rows ? r0 + r : j->n_rows - 1) * j->row_bytes;
#pragma GCC unroll 4
    for (unsigned i = 0; i < n_x; i++) x[i] = j->x + (whole || x0 + i < j->n_x ? x0 + i : j->n_x - 1) * j->x_stride;
#pragma GCC unroll 16
    for (unsigned i = 0; i < SUMS; i++) acc[i] = scale[i] = _mm256_setzero_ps();
    size_t k = 0;
    for (; k + D <= j->n; k += D) {
        if (type == QTYPE_Q8_0 && k % 32 == 0) {
#pragma GCC unroll 16
            for (unsigned r = 0; r < n_r; r++) scale[r] = _mm256_cvtph_ps(_mm_set1_epi16(scale_at(rows[r], k)));
        }
        __m256 q[4];
#pragma GCC unroll 4
        for (unsigned i = 0; i < n_x; i++) q[i] = _mm256_loadu_ps(x[i] + k);
#pragma GCC unroll 16
        for (unsigned r = 0; r < n_r; r++) {
            __m256 row = load_d(rows[r], k, type, true, 0, scale[r]);
#pragma GCC unroll 4
            for (unsigned i = 0; i < n_x; i++) acc[i * n_r + r] = _mm256_fmadd_ps(q[i], row, acc[i * n_r + r]);
        }
    }
    if (k < j->n) {
        const __mmask8 mask = (__mmask8)((1u << (j->n - k)) - 1);
#pragma GCC unroll 16
        for (unsigned r = 0; r < n_r; r++) {
            __m256 row = load_d(rows[r], k, type, false, mask, scale[r]);
#pragma GCC unroll 4
            for (unsigned i = 0; i < n_x; i++)
                acc[i * n_r + r] = _mm256_fmadd_ps(_mm256_maskz_loadu_ps(mask, x[i] + k), row, acc[i * n_r + r]);
        }
    }
    float *s = j->s + x0 * j->s_stride + r0, sums[SUMS];
    if (whole) {
        store_sums(s, j->s_stride, acc, n_x);
        return;
    }
    store_sums(sums, n_r, acc, n_x);
    for (unsigned i = 0; i < n_x && x0 + i < j->n_x; i++)
        for (unsigned r = 0; r < n_r && r0 + r < j->n_rows; r++) s[i * j->s_stride + r] = sums[i * n_r + r];
}

/* n_x vectors, of which n_x or fewer are left, by all rows. */
static ALWAYS_INLINE void dot_rows(const struct attn_job *j, size_t x0, const unsigned n_x, const enum qtype type) {
    const unsigned n_r = SUMS / n_x;
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
    for (; x + 2 < j->n_x; x += 4) dot_rows(j, x, 4, type);
    if (j->n_x - x == 2) dot_rows(j, x, 2, type);
    else if (x < j->n_x) dot_rows(j, x, 1, type);
}

void attn_dot_f32_avx512(const struct attn_job *j) { attn_dot(j, QTYPE_F32); }
void attn_dot_f16_avx512(const struct attn_job *j) { attn_dot(j, QTYPE_F16); }
void attn_dot_q8_0_avx512(const struct attn_job *j) { attn_dot(j, QTYPE_Q8_0); }

/* Numbers k .. of n_x vectors take in all rows; n_v vectors of the row at a time, the last masked unless whole. */
static ALWAYS_INLINE void mix_block(const struct attn_job *j, size_t x0, size_t k, const unsigned n_x,
                                    const unsigned n_v, const enum qtype type, const bool whole) {
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
    for (size_t r = 0; r < j->n_rows;) {
        const size_t end = r + ASK_ROWS < j->n_rows ? r + ASK_ROWS : j->n_rows;
        if (x0 == 0 && k == 0) attn_ask_next(j, r, end - r);
        for (; r < end; r++, row += j->row_bytes) {
            __m512 w[4], scale = _mm512_setzero_ps();
#pragma GCC unroll 4
            for (unsigned i = 0; i < n_x; i++) w[i] = _mm512_set1_ps(s[i * j->s_stride + r]);
#pragma GCC unroll 4
            for (unsigned v = 0; v < n_v; v++) {
                if (type == QTYPE_Q8_0 && v % 2 == 0)
                    scale = _mm512_cvtph_ps(_mm256_set1_epi16(scale_at(row, k + v * V)));
                __m512 number = load_v(row, k + v * V, type, whole, mask, scale);
#pragma GCC unroll 4
                for (unsigned i = 0; i < n_x; i++) acc[i][v] = _mm512_fmadd_ps(w[i], number, acc[i][v]);
            }
        }
    }
#pragma GCC unroll 4
    for (unsigned i = 0; i < n_x; i++) {
#pragma GCC unroll 4
        for (unsigned v = 0; v < n_v; v++) _mm512_mask_storeu_ps(x + i * j->x_stride + v * V, mask, acc[i][v]);
    }
}

static ALWAYS_INLINE void mix_vectors(const struct attn_job *j, size_t x0, const unsigned n_x, const enum qtype type) {
    size_t k = 0;
    for (; k + MIX_VECTORS * V <= j->n; k += MIX_VECTORS * V) mix_block(j, x0, k, n_x, MIX_VECTORS, type, true);
    for (; k + V <= j->n; k += V) mix_block(j, x0, k, n_x, 1, type, true);
    if (k < j->n) mix_block(j, x0, k, n_x, 1, type, false);
}

static ALWAYS_INLINE void attn_mix(const struct attn_job *j, const enum qtype type) {
    size_t x = 0;
    for (; x + 4 <= j->n_x; x += 4) mix_vectors(j, x, 4, type);
    if (x + 2 <= j->n_x) {
        mix_vectors(j, x, 2, type);
        x += 2;
    }
    if (x < j->n_x) mix_vectors(j, x, 1, type);
}

void attn_mix_f32_avx512(const struct attn_job *j) { attn_mix(j, QTYPE_F32); }
void attn_mix_f16_avx512(const struct attn_job *j) { attn_mix(j, QTYPE_F16); }
void attn_mix_q8_0_avx512(const struct attn_job *j) { attn_mix(j, QTYPE_Q8_0); }
