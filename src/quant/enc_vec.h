#ifndef QUANT_ENC_VEC_H
#define QUANT_ENC_VEC_H
/* Inside of the encoders: VEC floats at a time, in the widest registers that this file's compilation may use.
 *
 * + - * / work on a vec, and on a vec with a float; the functions here are what C has no operator for. Each element is
 * computed on its own as float arithmetic has it, so results do not depend on VEC. No value is NaN. */
#include "base/compiler.h"

#if defined(__AVX2__)
#include <immintrin.h>
typedef __m256 vec;
enum { VEC = 8 };
static ALWAYS_INLINE vec vec_load(const float *p) { return _mm256_loadu_ps(p); }
static ALWAYS_INLINE void vec_store(float *p, vec v) { _mm256_storeu_ps(p, v); }
static ALWAYS_INLINE vec vec_all(float x) { return _mm256_set1_ps(x); }
static ALWAYS_INLINE vec vec_max(vec a, vec b) { return _mm256_max_ps(a, b); }
static ALWAYS_INLINE vec vec_min(vec a, vec b) { return _mm256_min_ps(a, b); }
static ALWAYS_INLINE vec vec_abs(vec a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
/* a > b, for vec_pick. */
static ALWAYS_INLINE vec vec_above(vec a, vec b) { return _mm256_cmp_ps(a, b, _CMP_GT_OQ); }
static ALWAYS_INLINE vec vec_pick(vec where, vec a, vec b) { return _mm256_blendv_ps(b, a, where); }
static ALWAYS_INLINE int vec_every_above(vec a, vec b) { return _mm256_movemask_ps(vec_above(a, b)) == 255; }

#elif defined(__SSE2__)
#include <emmintrin.h>
typedef __m128 vec;
enum { VEC = 4 };
static ALWAYS_INLINE vec vec_load(const float *p) { return _mm_loadu_ps(p); }
static ALWAYS_INLINE void vec_store(float *p, vec v) { _mm_storeu_ps(p, v); }
static ALWAYS_INLINE vec vec_all(float x) { return _mm_set1_ps(x); }
static ALWAYS_INLINE vec vec_max(vec a, vec b) { return _mm_max_ps(a, b); }
static ALWAYS_INLINE vec vec_min(vec a, vec b) { return _mm_min_ps(a, b); }
static ALWAYS_INLINE vec vec_abs(vec a) { return _mm_andnot_ps(_mm_set1_ps(-0.0f), a); }
static ALWAYS_INLINE vec vec_above(vec a, vec b) { return _mm_cmpgt_ps(a, b); }
static ALWAYS_INLINE vec vec_pick(vec where, vec a, vec b) {
    return _mm_or_ps(_mm_and_ps(where, a), _mm_andnot_ps(where, b));
}
static ALWAYS_INLINE int vec_every_above(vec a, vec b) { return _mm_movemask_ps(vec_above(a, b)) == 15; }

#else
#include <string.h>
typedef VECTOR_OF(float, 4) vec;
typedef VECTOR_OF(int, 4) vec_bits;
enum { VEC = 4 };
static ALWAYS_INLINE vec vec_load(const float *p) { vec v; memcpy(&v, p, sizeof v); return v; }
static ALWAYS_INLINE void vec_store(float *p, vec v) { memcpy(p, &v, sizeof v); }
static ALWAYS_INLINE vec vec_all(float x) { return (vec){ x, x, x, x }; }
static ALWAYS_INLINE vec vec_above(vec a, vec b) { return (vec)(vec_bits)(a > b); }
static ALWAYS_INLINE vec vec_pick(vec where, vec a, vec b) {
    vec_bits w = (vec_bits)where;
    return (vec)((w & (vec_bits)a) | (~w & (vec_bits)b));
}
static ALWAYS_INLINE vec vec_max(vec a, vec b) { return vec_pick(vec_above(a, b), a, b); }
static ALWAYS_INLINE vec vec_min(vec a, vec b) { return vec_pick(vec_above(b, a), a, b); }
static ALWAYS_INLINE vec vec_abs(vec a) { return (vec)((vec_bits)a & 0x7fffffff); }
static ALWAYS_INLINE int vec_every_above(vec a, vec b) {
    vec_bits w = (vec_bits)vec_above(a, b);
    return (w[0] & w[1] & w[2] & w[3]) != 0;
}
#endif

static ALWAYS_INLINE vec vec_clamp(vec x, float lo, float hi) { return vec_min(vec_max(x, vec_all(lo)), vec_all(hi)); }
/* Nearest integer of |x| < 2^22: at this magnitude the float's last bit counts ones. */
static ALWAYS_INLINE vec vec_nearest(vec x) { return (x + 0x1.8p23f) - 0x1.8p23f; }

/* 1/x, or 0 for scales so small that the inverse is useless: all codes are then that of 0. */
static ALWAYS_INLINE vec vec_inverse(vec x) {
    return vec_pick(vec_above(vec_abs(x), vec_all(0x1p-60f)), 1 / x, vec_all(0));
}

/* a / b where b > 0, else 0. */
static ALWAYS_INLINE vec vec_ratio(vec a, vec b) {
    vec positive = vec_above(b, vec_all(0));
    return vec_pick(positive, a / vec_pick(positive, b, vec_all(1)), vec_all(0));
}

/* value[i], i being how many of the 15 ascending steps x is above. Both tables are constants to the compiler. */
#if defined(__AVX2__)
/* Four comparisons, each with the middle of what the ones before have left. */
static ALWAYS_INLINE vec vec_stairs(vec x, const float *step, const float *value) {
    const __m256 quarters = _mm256_setr_ps(step[1], step[5], step[9], step[13], step[1], step[5], step[9], step[13]);
    const __m256 eighths = _mm256_setr_ps(step[0], step[2], step[4], step[6], step[8], step[10], step[12], step[14]);
    const float *v = value;
    const __m256 even = _mm256_setr_ps(v[0], v[2], v[4], v[6], v[8], v[10], v[12], v[14]);
    const __m256 odd = _mm256_setr_ps(v[1], v[3], v[5], v[7], v[9], v[11], v[13], v[15]);
    vec at = vec_above(x, vec_all(step[7]));
    __m256i i = _mm256_and_si256(_mm256_castps_si256(at), _mm256_set1_epi32(2));
    at = vec_above(x, vec_pick(at, vec_all(step[11]), vec_all(step[3])));
    i = _mm256_sub_epi32(i, _mm256_castps_si256(at)); /* true is -1 */
    at = vec_above(x, _mm256_permutevar_ps(quarters, i));
    i = _mm256_sub_epi32(_mm256_add_epi32(i, i), _mm256_castps_si256(at));
    at = vec_above(x, _mm256_permutevar8x32_ps(eighths, i));
    return vec_pick(at, _mm256_permutevar8x32_ps(odd, i), _mm256_permutevar8x32_ps(even, i));
}
#else
static ALWAYS_INLINE vec vec_stairs(vec x, const float *step, const float *value) {
    vec v = vec_all(value[0]);
    for (int i = 0; i < 15; i++) v = vec_pick(vec_above(x, vec_all(step[i])), vec_all(value[i + 1]), v);
    return v;
}
#endif
#endif
