/* Element-wise kernels in NEON: exponentials of softmax and SiLU, blending, rounding to half. */
#include <arm_neon.h>
#include <string.h>

#include "backend/cpu/vec/elem_loop.h"
#include "base/num.h"
#include "qtype/codec.h"
#include "qtype/round.h"

float softmax_neon(float *s, size_t n, float *max) { return softmax(s, n, max); }
void silu_mul_neon(const float *gate, const float *up, float *out, size_t n) { silu_mul(gate, up, out, n); }
void blend_neon(float *acc, float a, const float *x, float b, size_t n) { blend(acc, a, x, b, n); }

void narrow_f16_neon(const float *x, void *out, size_t n) {
    uint16_t *half = out;
    size_t i = 0;
    for (; i + VEC <= n; i += VEC) vst1_u16(half + i, vreinterpret_u16_f16(vcvt_f16_f32(vld1q_f32(x + i))));
    for (; i < n; i++) half[i] = f16_from_f32(x[i]);
}

/* One block: the scale of its largest magnitude, a half, and 32 codes within -127 .. 127. */
static void narrow_q8_0_block(const float *x, uint8_t *out) {
    float32x4_t most = vdupq_n_f32(0);
    for (int i = 0; i < 32; i += VEC) most = vmaxnmq_f32(most, vabsq_f32(vld1q_f32(x + i)));
    const uint16_t d = f16_clamped(vmaxnmvq_f32(most) / 127);
    const float inv = inverse_or_0(f32_from_f16(d));
    store_u16(out, d);
    for (int i = 0; i < 32; i += 2 * VEC) {
        int16x4_t words[2];
        for (int h = 0; h < 2; h++) {
            const float32x4_t q = vmulq_n_f32(vld1q_f32(x + i + h * VEC), inv);
            words[h] = vmovn_s32(vcvtnq_s32_f32(vmaxq_f32(vdupq_n_f32(-127), vminq_f32(vdupq_n_f32(127), q))));
        }
        vst1_s8((int8_t *)out + 2 + i, vmovn_s16(vcombine_s16(words[0], words[1])));
    }
}

void narrow_q8_0_neon(const float *x, void *out, size_t n) {
    uint8_t *b = out;
    for (size_t i = 0; i < n; i += 32, b += 34) narrow_q8_0_block(x + i, b);
}
