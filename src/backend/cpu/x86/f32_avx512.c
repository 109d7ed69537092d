/* Float kernels in AVX-512: dot, packing, the register tile, widening. */
#include <immintrin.h>

#include "backend/cpu/kern.h"
#include "backend/cpu/x86/transpose_avx512.h"
#include "base/num.h"

enum { V = 16 };

static inline __mmask16 first_lanes(size_t n) { return n >= V ? 0xffff : (__mmask16)((1u << n) - 1); }

float dot_f32_avx512(const float *a, const float *b, size_t n) {
    __m512 s0 = _mm512_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
    size_t i = 0;
    for (; i + 4 * V <= n; i += 4 * V) {
        s0 = _mm512_fmadd_ps(_mm512_loadu_ps(a + i), _mm512_loadu_ps(b + i), s0);
        s1 = _mm512_fmadd_ps(_mm512_loadu_ps(a + i + V), _mm512_loadu_ps(b + i + V), s1);
        s2 = _mm512_fmadd_ps(_mm512_loadu_ps(a + i + 2 * V), _mm512_loadu_ps(b + i + 2 * V), s2);
        s3 = _mm512_fmadd_ps(_mm512_loadu_ps(a + i + 3 * V), _mm512_loadu_ps(b + i + 3 * V), s3);
    }
    for (; i < n; i += V) {
        __mmask16 m = first_lanes(n - i);
        s0 = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(m, a + i), _mm512_maskz_loadu_ps(m, b + i), s0);
    }
    return _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(s0, s1), _mm512_add_ps(s2, s3)));
}

/* --- Packing: transposes of 16 x 16 --- */

/* Columns k..k+15 of up to 16 rows, to out[k..k+15] whose rows are `width` apart. */
static void pack_block(const struct pack_f32_job *j, size_t row, size_t k) {
    size_t rows = row < j->n_rows ? min_u64(j->n_rows - row, V) : 0, columns = min_u64(j->n_k - k, V);
    __mmask16 load = first_lanes(columns), store = first_lanes(j->width - row);
    __m512i v[V];
    for (size_t r = 0; r < V; r++)
        v[r] = r < rows ? _mm512_maskz_loadu_epi32(load, j->rows + (row + r) * j->stride + k) : _mm512_setzero_si512();
    transpose16(v);
    for (size_t c = 0; c < columns; c++) _mm512_mask_storeu_epi32(j->out + (k + c) * j->width + row, store, v[c]);
}

void pack_f32_avx512(const struct pack_f32_job *j) {
    for (size_t row = 0; row < j->width; row += V)
        for (size_t k = 0; k < j->n_k; k += V) pack_block(j, row, k);
}

/* --- The tile: 32 rows in two vectors times up to 12 tokens, 24 sums in registers. One step loads two vectors of
 * weights and broadcasts one float for each token. --- */

static ALWAYS_INLINE void tile_body(const struct f32_tile_job *j, unsigned t0, const unsigned n_tok) {
    __m512 s0[TILE_TOKENS], s1[TILE_TOKENS];
    float *out = j->out + t0 * j->out_stride;
    const float *w = j->w, *x = j->x + t0;
#pragma GCC unroll 12
    for (unsigned t = 0; t < n_tok; t++) s0[t] = s1[t] = _mm512_setzero_ps();
    for (size_t k = 0; k < j->n_k; k++, w += F32_ROWS, x += TILE_TOKENS) {
        __m512 w0 = _mm512_loadu_ps(w), w1 = _mm512_loadu_ps(w + V);
#pragma GCC unroll 12
        for (unsigned t = 0; t < n_tok; t++) {
            __m512 b = _mm512_set1_ps(x[t]);
            s0[t] = _mm512_fmadd_ps(w0, b, s0[t]);
            s1[t] = _mm512_fmadd_ps(w1, b, s1[t]);
        }
    }
#pragma GCC unroll 12
    for (unsigned t = 0; t < n_tok; t++, out += j->out_stride) {
        if (j->add) {
            s0[t] = _mm512_add_ps(s0[t], _mm512_loadu_ps(out));
            s1[t] = _mm512_add_ps(s1[t], _mm512_loadu_ps(out + V));
        }
        _mm512_storeu_ps(out, s0[t]);
        _mm512_storeu_ps(out + V, s1[t]);
    }
}

void tile_f32_avx512(const struct f32_tile_job *j) {
    unsigned t = 0;
    if (j->n_tok == 12) {
        tile_body(j, 0, 12);
        return;
    }
    for (; t + 4 <= j->n_tok; t += 4) tile_body(j, t, 4);
    for (; t < j->n_tok; t++) tile_body(j, t, 1);
}

/* --- Widening --- */

static ALWAYS_INLINE __m512 load_f16(const uint8_t *p, __mmask16 m) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(m, p));
}
static ALWAYS_INLINE __m512 load_bf16(const uint8_t *p, __mmask16 m) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, p)), 16));
}

void widen_f16_avx512(const void *w, float *out, size_t n) {
    for (size_t i = 0; i < n; i += V) {
        __mmask16 m = first_lanes(n - i);
        _mm512_mask_storeu_ps(out + i, m, load_f16((const uint8_t *)w + 2 * i, m));
    }
}

void widen_bf16_avx512(const void *w, float *out, size_t n) {
    for (size_t i = 0; i < n; i += V) {
        __mmask16 m = first_lanes(n - i);
        _mm512_mask_storeu_ps(out + i, m, load_bf16((const uint8_t *)w + 2 * i, m));
    }
}
