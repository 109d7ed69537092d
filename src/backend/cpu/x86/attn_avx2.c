/* Attention in AVX2: vectors against rows of a cache, 8 numbers at a time, those beyond a multiple of 8 one by one.
 *
 * Blocks of vectors and rows share loads; each result still comes from one chain of additions whose order no blocking
 * changes, so a token's attention does not depend on how many others are computed beside it. */
#include <immintrin.h>
#include <string.h>

#include "backend/cpu/kern.h"
#include "base/num.h"

enum { V = 8, SUMS = 8 /* accumulators of a block of dots */, MIX_VECTORS = 4 /* of a row at a time */, ASK_ROWS = 4 };

/* The scale of a Q8_0 block, a half before its 32 bytes, which holds number i of a row. */
static ALWAYS_INLINE __m256 scale_of(const uint8_t *row, size_t i) {
    short half;
    memcpy(&half, row + i / 32 * 34, sizeof half);
    return _mm256_cvtph_ps(_mm_set1_epi16(half));
}

/* scale: with Q8_0 alone. */
static ALWAYS_INLINE __m256 load(const uint8_t *row, size_t i, const enum qtype type, __m256 scale) {
    if (type == QTYPE_F32) return _mm256_loadu_ps((const float *)(const void *)row + i);
    if (type == QTYPE_F16) return _mm256_cvtph_ps(_mm_loadu_si128((const void *)(row + 2 * i)));
    const __m128i codes = _mm_loadl_epi64((const void *)(row + i / 32 * 34 + 2 + i % 32));
    return _mm256_mul_ps(scale, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes)));
}
/* Not of Q8_0, whose rows are whole blocks. */
static ALWAYS_INLINE float load_one(const uint8_t *row, size_t i, const enum qtype type) {
    if (type == QTYPE_F16) return f32_from_f16(((const uint16_t *)(const void *)row)[i]);
    return ((const float *)(const void *)row)[i];
}

/* Lane i of the result: the sum of v[i]'s lanes, neighbours first. */
static ALWAYS_INLINE __m256 sums_of_8(const __m256 v[SUMS]) {
    __m256 low = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
    __m256 high = _mm256_hadd_ps(_mm256_hadd_ps(v[4], v[5]), _mm256_hadd_ps(v[6], v[7]));
    return _mm256_add_ps(_mm256_permute2f128_ps(low, high, 0x20), _mm256_permute2f128_ps(low, high, 0x31));
}

/* Lanes i * n_r .. of the sums, n_r = SUMS / n_x, go to row i of s. */
static ALWAYS_INLINE void store_sums(float *s, size_t stride, __m256 sums, const unsigned n_x) {
    const __m128 low = _mm256_castps256_ps128(sums), high = _mm256_extractf128_ps(sums, 1);
    _mm_storeu_ps(s, low);
    _mm_storeu_ps(n_x == 2 ? s + stride : s + 4, high);
}

/* n_x vectors by SUMS / n_x rows; rows beyond the last repeat it and are not stored. */
static ALWAYS_INLINE void dot_block(const struct attn_job *j, size_t x0, size_t r0, const unsigned n_x,
                                    const enum qtype type) {
    const unsigned n_r = SUMS / n_x;
    const uint8_t *rows[SUMS];
    const float *x[2];
    __m256 acc[SUMS], scale[SUMS];
    float sums[SUMS];
#pragma GCC unroll 8
    for (unsigned r = 0; r < n_r; r++)
        rows[r] = (const uint8_t *)j->rows + (r0 + r < j->n_rows ? r0 + r : j->n_rows - 1) * j->row_bytes;
#pragma GCC unroll 2
    for (unsigned i = 0; i < n_x; i++) x[i] = j->x + (x0 + i) * j->x_stride;
#pragma GCC unroll 8
    for (unsigned i = 0; i < SUMS; i++) acc[i] = scale[i] = _mm256_setzero_ps();
    size_t k = 0;
    for (; k + V <= j->n; k += V) {
        if (type == QTYPE_Q8_0 && k % 32 == 0) {
#pragma GCC unroll 8
            for (unsigned r = 0; r < n_r; r++) scale[r] = scale_of(rows[r], k);
        }
        __m256 q[2];
#pragma GCC unroll 2
        for (unsigned i = 0; i < n_x; i++) q[i] = _mm256_loadu_ps(x[i] + k);
#pragma GCC unroll 8
        for (unsigned r = 0; r < n_r; r++) {
            __m256 row = load(rows[r], k, type, scale[r]);
#pragma GCC unroll 2
            for (unsigned i = 0; i < n_x; i++) acc[i * n_r + r] = _mm256_fmadd_ps(q[i], row, acc[i * n_r + r]);
        }
    }
    const __m256 sum = sums_of_8(acc);
    if (k == j->n && r0 + n_r <= j->n_rows) {
        store_sums(j->s + x0 * j->s_stride + r0, j->s_stride, sum, n_x);
        return;
    }
    _mm256_storeu_ps(sums, sum);
    for (unsigned i = 0; i < n_x; i++) {
        float *s = j->s + (x0 + i) * j->s_stride + r0;
        for (unsigned r = 0; r < n_r && r0 + r < j->n_rows; r++) {
            s[r] = sums[i * n_r + r];
            for (size_t rest = k; rest < j->n; rest++) s[r] += x[i][rest] * load_one(rows[r], rest, type);
        }
    }
}

static ALWAYS_INLINE void dot_rows(const struct attn_job *j, size_t x0, const unsigned n_x, const enum qtype type) {
    for (size_t r = 0; r < j->n_rows; r += SUMS / n_x) {
        if (x0 == 0) attn_ask_next(j, r, SUMS / n_x);
        dot_block(j, x0, r, n_x, type);
    }
}

static ALWAYS_INLINE void attn_dot(const struct attn_job *j, const enum qtype type) {
    size_t x = 0;
    for (; x + 2 <= j->n_x; x += 2) dot_rows(j, x, 2, type);
    if (x < j->n_x) dot_rows(j, x, 1, type);
}

void attn_dot_f32_avx2(const struct attn_job *j) { attn_dot(j, QTYPE_F32); }
void attn_dot_f16_avx2(const struct attn_job *j) { attn_dot(j, QTYPE_F16); }
void attn_dot_q8_0_avx2(const struct attn_job *j) { attn_dot(j, QTYPE_Q8_0); }

/* Numbers k .. of n_x vectors take in all rows, n_v vectors of the row at a time. */
static ALWAYS_INLINE void mix_block(const struct attn_job *j, size_t x0, size_t k, const unsigned n_x,
                                    const unsigned n_v, const enum qtype type) {
    float *x = j->x + x0 * j->x_stride + k;
    const float *s = j->s + x0 * j->s_stride;
    __m256 acc[2][MIX_VECTORS];
#pragma GCC unroll 2
    for (unsigned i = 0; i < n_x; i++) {
#pragma GCC unroll 4
        for (unsigned v = 0; v < n_v; v++) acc[i][v] = _mm256_loadu_ps(x + i * j->x_stride + v * V);
    }
    const uint8_t *row = j->rows;
    for (size_t r = 0; r < j->n_rows;) {
        const size_t end = min_u64(r + ASK_ROWS, j->n_rows);
        if (x0 == 0 && k == 0) attn_ask_next(j, r, end - r);
        for (; r < end; r++, row += j->row_bytes) {
            __m256 w[2], scale = _mm256_setzero_ps();
#pragma GCC unroll 2
            for (unsigned i = 0; i < n_x; i++) w[i] = _mm256_set1_ps(s[i * j->s_stride + r]);
#pragma GCC unroll 4
            for (unsigned v = 0; v < n_v; v++) {
                if (type == QTYPE_Q8_0 && v == 0) scale = scale_of(row, k);
                __m256 number = load(row, k + v * V, type, scale);
#pragma GCC unroll 2
                for (unsigned i = 0; i < n_x; i++) acc[i][v] = _mm256_fmadd_ps(w[i], number, acc[i][v]);
            }
        }
    }
#pragma GCC unroll 2
    for (unsigned i = 0; i < n_x; i++) {
#pragma GCC unroll 4
        for (unsigned v = 0; v < n_v; v++) _mm256_storeu_ps(x + i * j->x_stride + v * V, acc[i][v]);
    }
}

static ALWAYS_INLINE void mix_vectors(const struct attn_job *j, size_t x0, const unsigned n_x, const enum qtype type) {
    size_t k = 0;
    for (; k + MIX_VECTORS * V <= j->n; k += MIX_VECTORS * V) mix_block(j, x0, k, n_x, MIX_VECTORS, type);
    for (; k + V <= j->n; k += V) mix_block(j, x0, k, n_x, 1, type);
    if (k == j->n) return;
    const uint8_t *row = j->rows;
    for (size_t r = 0; r < j->n_rows; r++, row += j->row_bytes)
        for (unsigned i = 0; i < n_x; i++)
            for (size_t rest = k; rest < j->n; rest++)
                j->x[(x0 + i) * j->x_stride + rest] += j->s[(x0 + i) * j->s_stride + r] * load_one(row, rest, type);
}

static ALWAYS_INLINE void attn_mix(const struct attn_job *j, const enum qtype type) {
    size_t x = 0;
    for (; x + 2 <= j->n_x; x += 2) mix_vectors(j, x, 2, type);
    if (x < j->n_x) mix_vectors(j, x, 1, type);
}

void attn_mix_f32_avx2(const struct attn_job *j) { attn_mix(j, QTYPE_F32); }
void attn_mix_f16_avx2(const struct attn_job *j) { attn_mix(j, QTYPE_F16); }
void attn_mix_q8_0_avx2(const struct attn_job *j) { attn_mix(j, QTYPE_Q8_0); }
