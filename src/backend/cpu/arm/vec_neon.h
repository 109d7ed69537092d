#ifndef BACKEND_CPU_ARM_VEC_NEON_H
#define BACKEND_CPU_ARM_VEC_NEON_H
/* The vec of NEON. backend/cpu/vec/vec.h tells what each function promises. */
#include <arm_neon.h>
#include <stddef.h>
#include <string.h>

#include "backend/cpu/arm/transpose_neon.h"
#include "base/compiler.h"
#include "qtype/codec.h"

typedef float32x4_t vec;
typedef uint16x4_t vec16;
enum { VEC = 4, VEC_REGISTERS = 32 };

static ALWAYS_INLINE vec vec_load(const void *p) { return vreinterpretq_f32_u8(vld1q_u8(p)); }
static ALWAYS_INLINE void vec_store(float *p, vec v) { vst1q_f32(p, v); }
static ALWAYS_INLINE vec vec_all(float x) { return vdupq_n_f32(x); }
static ALWAYS_INLINE vec vec_fma(vec a, vec b, vec c) { return vfmaq_f32(c, a, b); }
static ALWAYS_INLINE vec vec_max(vec a, vec b) { return vmaxq_f32(a, b); }
static ALWAYS_INLINE vec vec_min(vec a, vec b) { return vminq_f32(a, b); }
static ALWAYS_INLINE float vec_most(vec v) { return vmaxvq_f32(v); }
static ALWAYS_INLINE vec vec_nearest(vec v) { return vrndnq_f32(v); }
/* By two normal powers, which is exact but for the last product. */
static ALWAYS_INLINE vec vec_scaled(vec v, vec n) {
    const int32x4_t e = vcvtq_s32_f32(n), e1 = vshrq_n_s32(e, 1), e2 = vsubq_s32(e, e1), bias = vdupq_n_s32(127);
    v *= vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(e1, bias), 23));
    return v * vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(e2, bias), 23));
}
static ALWAYS_INLINE float vec_sum(vec v) { return vaddvq_f32(v); }

static ALWAYS_INLINE vec16 vec16_load(const void *p) { return vreinterpret_u16_u8(vld1_u8(p)); }
static ALWAYS_INLINE vec16 vec16_all(uint16_t x) { return vdup_n_u16(x); }
static ALWAYS_INLINE vec vec_of_f16(vec16 h) { return vcvt_f32_f16(vreinterpret_f16_u16(h)); }
static ALWAYS_INLINE vec vec_of_bf16(vec16 h) { return vreinterpretq_f32_u32(vshll_n_u16(h, 16)); }
static ALWAYS_INLINE vec vec_load_i8(const void *p) {
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vcreate_s8(load_u32(p))))));
}

static ALWAYS_INLINE vec vec_load_some(const void *p, size_t n) {
    vec some = vdupq_n_f32(0);
    memcpy(&some, p, 4 * n);
    return some;
}
static ALWAYS_INLINE void vec_store_some(float *p, vec v, size_t n) { memcpy(p, &v, 4 * n); }
static ALWAYS_INLINE vec16 vec16_load_some(const void *p, size_t n) {
    vec16 some = vdup_n_u16(0);
    memcpy(&some, p, 2 * n);
    return some;
}

static ALWAYS_INLINE vec vec_sums(const vec v[VEC]) {
    return vpaddq_f32(vpaddq_f32(v[0], v[1]), vpaddq_f32(v[2], v[3]));
}
static ALWAYS_INLINE void vec_store_halves(float *low, float *high, vec v) {
    vst1_f32(low, vget_low_f32(v));
    vst1_f32(high, vget_high_f32(v));
}

static ALWAYS_INLINE void vec_transpose(vec v[VEC]) {
    uint32x4_t bits[VEC];
#pragma GCC unroll 4
    for (int i = 0; i < VEC; i++) bits[i] = vreinterpretq_u32_f32(v[i]);
    transpose4(bits);
#pragma GCC unroll 4
    for (int i = 0; i < VEC; i++) v[i] = vreinterpretq_f32_u32(bits[i]);
}

/* No weights are fetched ahead: nobody has measured whether it pays here. */
static ALWAYS_INLINE void fetch_ahead(const uint8_t *p, size_t bytes) { (void)p, (void)bytes; }
#endif
