#ifndef BACKEND_CPU_X86_VEC_AVX512_H
#define BACKEND_CPU_X86_VEC_AVX512_H
/* The vec of AVX-512. backend/cpu/vec/vec.h tells what each function promises. */
#include <immintrin.h>
#include <stddef.h>

#include "backend/cpu/x86/fetch.h"
#include "backend/cpu/x86/transpose_avx512.h"
#include "base/compiler.h"

typedef __m512 vec;
typedef __m256i vec16;
enum { VEC = 16, VEC_REGISTERS = 32 };

static ALWAYS_INLINE vec vec_load(const void *p) { return _mm512_loadu_ps(p); }
static ALWAYS_INLINE void vec_store(float *p, vec v) { _mm512_storeu_ps(p, v); }
static ALWAYS_INLINE vec vec_all(float x) { return _mm512_set1_ps(x); }
static ALWAYS_INLINE vec vec_fma(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
static ALWAYS_INLINE vec vec_max(vec a, vec b) { return _mm512_max_ps(a, b); }
static ALWAYS_INLINE vec vec_min(vec a, vec b) { return _mm512_min_ps(a, b); }
static ALWAYS_INLINE float vec_most(vec v) { return _mm512_reduce_max_ps(v); }
static ALWAYS_INLINE vec vec_nearest(vec v) { return _mm512_roundscale_ps(v, 0); }
static ALWAYS_INLINE vec vec_scaled(vec v, vec n) { return _mm512_scalef_ps(v, n); }
static ALWAYS_INLINE float vec_sum(vec v) { return _mm512_reduce_add_ps(v); }

static ALWAYS_INLINE vec16 vec16_load(const void *p) { return _mm256_loadu_si256(p); }
static ALWAYS_INLINE vec16 vec16_all(uint16_t x) { return _mm256_set1_epi16((short)x); }
static ALWAYS_INLINE vec vec_of_f16(vec16 h) { return _mm512_cvtph_ps(h); }
static ALWAYS_INLINE vec vec_of_bf16(vec16 h) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}
static ALWAYS_INLINE vec vec_load_i8(const void *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p)));
}

static ALWAYS_INLINE __mmask16 vec_first(size_t n) { return (__mmask16)((1u << n) - 1); }
static ALWAYS_INLINE vec vec_load_some(const void *p, size_t n) { return _mm512_maskz_loadu_ps(vec_first(n), p); }
static ALWAYS_INLINE void vec_store_some(float *p, vec v, size_t n) { _mm512_mask_storeu_ps(p, vec_first(n), v); }
static ALWAYS_INLINE vec16 vec16_load_some(const void *p, size_t n) {
    return _mm256_maskz_loadu_epi16(vec_first(n), p);
}

static ALWAYS_INLINE void vec_transpose(vec v[VEC]) {
    __m512i bits[VEC];
#pragma GCC unroll 16
    for (int i = 0; i < VEC; i++) bits[i] = _mm512_castps_si512(v[i]);
    transpose16(bits);
#pragma GCC unroll 16
    for (int i = 0; i < VEC; i++) v[i] = _mm512_castsi512_ps(bits[i]);
}
#endif
