#ifndef BACKEND_CPU_X86_VEC_AVX2_H
#define BACKEND_CPU_X86_VEC_AVX2_H
/* The vec of AVX2. backend/cpu/vec/vec.h tells what each function promises. */
#include <immintrin.h>
#include <stddef.h>
#include <string.h>

#include "backend/cpu/x86/fetch.h"
#include "backend/cpu/x86/transpose_avx2.h"
#include "base/compiler.h"

typedef __m256 vec;
typedef __m128i vec16;
#ifdef __AVX512VL__
enum { VEC = 8, VEC_REGISTERS = 32 };
#else
enum { VEC = 8, VEC_REGISTERS = 16 };
#endif

static ALWAYS_INLINE vec vec_load(const void *p) { return _mm256_loadu_ps(p); }
static ALWAYS_INLINE void vec_store(float *p, vec v) { _mm256_storeu_ps(p, v); }
static ALWAYS_INLINE vec vec_all(float x) { return _mm256_set1_ps(x); }
static ALWAYS_INLINE vec vec_fma(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }
static ALWAYS_INLINE vec vec_max(vec a, vec b) { return _mm256_max_ps(a, b); }
static ALWAYS_INLINE vec vec_min(vec a, vec b) { return _mm256_min_ps(a, b); }
static ALWAYS_INLINE float vec_most(vec v) {
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}
static ALWAYS_INLINE vec vec_nearest(vec v) { return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT); }
/* By two normal powers, which is exact but for the last product. */
static ALWAYS_INLINE vec vec_scaled(vec v, vec n) {
    const __m256i e = _mm256_cvtps_epi32(n), e1 = _mm256_srai_epi32(e, 1), e2 = _mm256_sub_epi32(e, e1);
    const __m256i bias = _mm256_set1_epi32(127);
    v *= _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(e1, bias), 23));
    return v * _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(e2, bias), 23));
}
static ALWAYS_INLINE float vec_sum(vec v) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

static ALWAYS_INLINE vec16 vec16_load(const void *p) { return _mm_loadu_si128(p); }
static ALWAYS_INLINE vec16 vec16_all(uint16_t x) { return _mm_set1_epi16((short)x); }
static ALWAYS_INLINE vec vec_of_f16(vec16 h) { return _mm256_cvtph_ps(h); }
static ALWAYS_INLINE vec vec_of_bf16(vec16 h) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}
static ALWAYS_INLINE vec vec_load_i8(const void *p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p)));
}

static ALWAYS_INLINE __m256i vec_first(size_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
static ALWAYS_INLINE vec vec_load_some(const void *p, size_t n) { return _mm256_maskload_ps(p, vec_first(n)); }
/* A masked store takes several times as long. */
static ALWAYS_INLINE void vec_store_some(float *p, vec v, size_t n) {
    __m128 part = _mm256_castps256_ps128(v);
    if (n == VEC) {
        _mm256_storeu_ps(p, v);
        return;
    }
    if (n & 4) {
        _mm_storeu_ps(p, part);
        part = _mm256_extractf128_ps(v, 1);
    }
    if (n & 2) {
        _mm_storel_pi((void *)(p + (n & 4)), part);
        part = _mm_movehl_ps(part, part);
    }
    if (n & 1) _mm_store_ss(p + (n & 6), part);
}
static ALWAYS_INLINE vec16 vec16_load_some(const void *p, size_t n) {
    vec16 some = _mm_setzero_si128();
    memcpy(&some, p, 2 * n);
    return some;
}

/* (0 + 2) + (1 + 3) within each half, then the halves. */
static ALWAYS_INLINE vec vec_sums(const vec v[VEC]) {
    vec pairs[4], quads[2];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        pairs[i] = _mm256_unpacklo_ps(v[2 * i], v[2 * i + 1]) + _mm256_unpackhi_ps(v[2 * i], v[2 * i + 1]);
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        const __m256d a = _mm256_castps_pd(pairs[2 * i]), b = _mm256_castps_pd(pairs[2 * i + 1]);
        quads[i] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, b)) + _mm256_castpd_ps(_mm256_unpackhi_pd(a, b));
    }
    return _mm256_permute2f128_ps(quads[0], quads[1], 0x20) + _mm256_permute2f128_ps(quads[0], quads[1], 0x31);
}
static ALWAYS_INLINE void vec_store_halves(float *low, float *high, vec v) {
    _mm_storeu_ps(low, _mm256_castps256_ps128(v));
    _mm_storeu_ps(high, _mm256_extractf128_ps(v, 1));
}

static ALWAYS_INLINE void vec_transpose(vec v[VEC]) { transpose8(v); }
#endif
