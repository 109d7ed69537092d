/* Element-wise kernels in NEON: exponentials of softmax and SiLU, blending, rounding to half. */
#include <arm_neon.h>
#include <math.h>
#include <string.h>

#include "backend/cpu/kern.h"
#include "base/num.h"
#include "qtype/codec.h"
#include "qtype/round.h"

enum { V = 4 };

/* exp(x) = 2^n * exp(r), n = round(x / ln 2), |r| <= ln(2) / 2; ln 2 in two parts and the polynomial are those of the
 * Cephes library's expf, whose error is under two units in the last place. The clamp keeps n within -202 .. 130, which
 * becomes zero or infinity in two multiplications by normal powers; a NaN passes. */
static ALWAYS_INLINE float32x4_t exp4(float32x4_t x) {
    static const float poly[] = { 1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f,
                                  5.0000001201e-1f };
    x = vminq_f32(vdupq_n_f32(90.0f), vmaxq_f32(vdupq_n_f32(-140.0f), x));
    const float32x4_t n = vrndnq_f32(vmulq_n_f32(x, 1.44269504088896341f));
    float32x4_t r = vfmsq_n_f32(x, n, 0.693359375f), y = vdupq_n_f32(1.9875691500e-4f);
    r = vfmsq_n_f32(r, n, -2.12194440e-4f);
#pragma GCC unroll 5
    for (size_t i = 0; i < ARRAY_LEN(poly); i++) y = vfmaq_f32(vdupq_n_f32(poly[i]), y, r);
    y = vaddq_f32(vfmaq_f32(r, vmulq_f32(r, r), y), vdupq_n_f32(1.0f));
    const int32x4_t e = vcvtq_s32_f32(n), e1 = vshrq_n_s32(e, 1), e2 = vsubq_s32(e, e1), bias = vdupq_n_s32(127);
    y = vmulq_f32(y, vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(e1, bias), 23)));
    return vmulq_f32(y, vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(e2, bias), 23)));
}

/* Four numbers of which n are there, `fill` for the others. */
static ALWAYS_INLINE float32x4_t load_some(const float *p, size_t n, float fill) {
    if (n >= V) return vld1q_f32(p);
    float v[V] = { fill, fill, fill, fill };
    for (size_t i = 0; i < n; i++) v[i] = p[i];
    return vld1q_f32(v);
}

static ALWAYS_INLINE void store_some(float *p, size_t n, float32x4_t x) {
    float v[V];
    vst1q_f32(n >= V ? p : v, x);
    for (size_t i = 0; n < V && i < n; i++) p[i] = v[i];
}

float softmax_neon(float *s, size_t n, float *max) {
    float32x4_t most = vdupq_n_f32(-INFINITY), total = vdupq_n_f32(0);
    for (size_t i = 0; i < n; i += V) most = vmaxq_f32(most, load_some(s + i, n - i, -INFINITY));
    const float m = vmaxvq_f32(most);
    for (size_t i = 0; i < n; i += V) { /* what is beyond the end adds exp(-inf), which is 0 */
        const float32x4_t x = exp4(vsubq_f32(load_some(s + i, n - i, -INFINITY), vdupq_n_f32(m)));
        store_some(s + i, n - i, x);
        total = vaddq_f32(total, x);
    }
    *max = m;
    return vaddvq_f32(total);
}

void silu_mul_neon(const float *gate, const float *up, float *out, size_t n) {
    for (size_t i = 0; i < n; i += V) {
        const float32x4_t g = load_some(gate + i, n - i, 0), u = load_some(up + i, n - i, 0);
        const float32x4_t below = vaddq_f32(vdupq_n_f32(1.0f), exp4(vnegq_f32(g)));
        store_some(out + i, n - i, vmulq_f32(vdivq_f32(g, below), u));
    }
}

void blend_neon(float *acc, float a, const float *x, float b, size_t n) {
    size_t i = 0;
    for (; i + V <= n; i += V)
        vst1q_f32(acc + i, vfmaq_n_f32(vmulq_n_f32(vld1q_f32(acc + i), a), vld1q_f32(x + i), b));
    for (; i < n; i++) acc[i] = a * acc[i] + b * x[i];
}

void narrow_f16_neon(const float *x, void *out, size_t n) {
    uint16_t *half = out;
    size_t i = 0;
    for (; i + V <= n; i += V) vst1_u16(half + i, vreinterpret_u16_f16(vcvt_f16_f32(vld1q_f32(x + i))));
    for (; i < n; i++) half[i] = f16_from_f32(x[i]);
}

/* One block: the scale of its largest magnitude, a half, and 32 codes within -127 .. 127. */
static void narrow_q8_0_block(const float *x, uint8_t *out) {
    float32x4_t most = vdupq_n_f32(0);
    for (int i = 0; i < 32; i += V) most = vmaxnmq_f32(most, vabsq_f32(vld1q_f32(x + i)));
    const uint16_t d = f16_clamped(vmaxnmvq_f32(most) / 127);
    const float inv = inverse_or_0(f32_from_f16(d));
    store_u16(out, d);
    for (int i = 0; i < 32; i += 2 * V) {
        int16x4_t words[2];
        for (int h = 0; h < 2; h++) {
            const float32x4_t q = vmulq_n_f32(vld1q_f32(x + i + h * V), inv);
            words[h] = vmovn_s32(vcvtnq_s32_f32(vmaxq_f32(vdupq_n_f32(-127), vminq_f32(vdupq_n_f32(127), q))));
        }
        vst1_s8((int8_t *)out + 2 + i, vmovn_s16(vcombine_s16(words[0], words[1])));
    }
}

void narrow_q8_0_neon(const float *x, void *out, size_t n) {
    uint8_t *b = out;
    for (size_t i = 0; i < n; i += 32, b += 34) narrow_q8_0_block(x + i, b);
}
