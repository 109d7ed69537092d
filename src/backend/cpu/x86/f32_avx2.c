/* Float kernels in AVX2: dot, packing, the register tile, widening. */
#include <immintrin.h>
#include <string.h>

#include "backend/cpu/kern.h"
#include "backend/cpu/x86/transpose_avx2.h"
#include "base/num.h"

enum { V = 8 };

static ALWAYS_INLINE float sum8(__m256 v) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

float dot_f32_avx2(const float *a, const float *b, size_t n) {
    __m256 s0 = _mm256_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
    size_t i = 0;
    for (; i + 4 * V <= n; i += 4 * V) {
        s0 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i), s0);
        s1 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + V), _mm256_loadu_ps(b + i + V), s1);
        s2 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 2 * V), _mm256_loadu_ps(b + i + 2 * V), s2);
        s3 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 3 * V), _mm256_loadu_ps(b + i + 3 * V), s3);
    }
    float s = sum8(_mm256_add_ps(_mm256_add_ps(s0, s1), _mm256_add_ps(s2, s3)));
    for (; i < n; i++) s += a[i] * b[i];
    return s;
}

/* --- Packing: transposes of 8 x 8, the edges one by one --- */

void pack_f32_avx2(const struct pack_f32_job *j) {
    size_t whole_rows = min_u64(j->n_rows, j->width) & ~(size_t)(V - 1), whole_k = j->n_k & ~(size_t)(V - 1);
    for (size_t row = 0; row < whole_rows; row += V)
        for (size_t k = 0; k < whole_k; k += V) {
            __m256 v[V];
            for (size_t r = 0; r < V; r++) v[r] = _mm256_loadu_ps(j->rows + (row + r) * j->stride + k);
            transpose8(v);
            for (size_t c = 0; c < V; c++) _mm256_storeu_ps(j->out + (k + c) * j->width + row, v[c]);
        }
    for (size_t k = 0; k < j->n_k; k++)
        for (size_t r = k < whole_k ? whole_rows : 0; r < j->width; r++)
            j->out[k * j->width + r] = r < j->n_rows ? j->rows[r * j->stride + k] : 0;
}

/* --- The tile: 16 of the 32 rows in two vectors times up to 6 tokens, 12 of the 16 registers --- */

enum { TOKENS_AT_ONCE = 6 };

static ALWAYS_INLINE void tile_body(const struct f32_tile_job *j, unsigned row, unsigned t0, const unsigned n_tok) {
    __m256 s0[TOKENS_AT_ONCE], s1[TOKENS_AT_ONCE];
    float *out = j->out + t0 * j->out_stride + row;
    const float *w = j->w + row, *x = j->x + t0;
#pragma GCC unroll 6
    for (unsigned t = 0; t < n_tok; t++) s0[t] = s1[t] = _mm256_setzero_ps();
    for (size_t k = 0; k < j->n_k; k++, w += F32_ROWS, x += TILE_TOKENS) {
        __m256 w0 = _mm256_loadu_ps(w), w1 = _mm256_loadu_ps(w + V);
#pragma GCC unroll 6
        for (unsigned t = 0; t < n_tok; t++) {
            __m256 b = _mm256_broadcast_ss(x + t);
            s0[t] = _mm256_fmadd_ps(w0, b, s0[t]);
            s1[t] = _mm256_fmadd_ps(w1, b, s1[t]);
        }
    }
#pragma GCC unroll 6
    for (unsigned t = 0; t < n_tok; t++, out += j->out_stride) {
        if (j->add) {
            s0[t] = _mm256_add_ps(s0[t], _mm256_loadu_ps(out));
            s1[t] = _mm256_add_ps(s1[t], _mm256_loadu_ps(out + V));
        }
        _mm256_storeu_ps(out, s0[t]);
        _mm256_storeu_ps(out + V, s1[t]);
    }
}

void tile_f32_avx2(const struct f32_tile_job *j) {
    for (unsigned row = 0; row < F32_ROWS; row += 2 * V) {
        unsigned t = 0;
        for (; t + TOKENS_AT_ONCE <= j->n_tok; t += TOKENS_AT_ONCE) tile_body(j, row, t, TOKENS_AT_ONCE);
        for (; t + 2 <= j->n_tok; t += 2) tile_body(j, row, t, 2);
        if (t < j->n_tok) tile_body(j, row, t, 1);
    }
}

/* --- Widening --- */

static ALWAYS_INLINE __m256 load_f16(const uint8_t *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)); }
static ALWAYS_INLINE __m256 load_bf16(const uint8_t *p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)), 16));
}
static inline float one_f16(const uint8_t *p) { uint16_t h; memcpy(&h, p, 2); return f32_from_f16(h); }
static inline float one_bf16(const uint8_t *p) { uint16_t h; memcpy(&h, p, 2); return f32_from_bf16(h); }

#define WIDEN(codec)                                                                                   \
    void widen_##codec##_avx2(const void *w, float *out, size_t n) {                                   \
        const uint8_t *p = w;                                                                          \
        size_t i = 0;                                                                                  \
        for (; i + V <= n; i += V) _mm256_storeu_ps(out + i, load_##codec(p + 2 * i));                 \
        for (; i < n; i++) out[i] = one_##codec(p + 2 * i);                                            \
    }

void widen_q8_0_avx2(const void *w, float *out, size_t n) {
    const uint8_t *b = w;
    for (size_t i = 0; i < n; i += 32, b += 34) {
        short half;
        memcpy(&half, b, sizeof half);
        const __m256 scale = _mm256_cvtph_ps(_mm_set1_epi16(half));
        for (size_t k = 0; k < 32; k += V) {
            const __m256i codes = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)(b + 2 + k)));
            _mm256_storeu_ps(out + i + k, _mm256_mul_ps(scale, _mm256_cvtepi32_ps(codes)));
        }
    }
}

WIDEN(f16)
WIDEN(bf16)
