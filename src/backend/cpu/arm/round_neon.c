/* Rounding activations to int8 in NEON. The same operations in the same order as round_ref, so the same bits. */
#include <arm_neon.h>
#include <string.h>

#include "backend/cpu/kern.h"

enum { V = 4 };

void round_neon(const float *x, size_t n, const struct int8_form *form, struct x_unit *out) {
    memset(out, 0, sizeof *out);
    for (size_t s = 0; s * form->sub < n; s++, x += form->sub) {
        int8_t *q = out->q + s * form->sub;
        float32x4_t m = vdupq_n_f32(0);
        for (int i = 0; i < form->sub; i += V) m = vmaxnmq_f32(m, vabsq_f32(vld1q_f32(x + i)));
        const float max = vmaxnmvq_f32(m);
        if (max < ROUND_TINY) continue;
        int32x4_t sum = vdupq_n_s32(0);
        for (int i = 0; i < form->sub; i += 2 * V) {
            const int32x4_t low = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + i), 127 / max));
            const int32x4_t high = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + i + V), 127 / max));
            sum = vaddq_s32(sum, vaddq_s32(low, high));
            vst1_s8(q + i, vmovn_s16(vcombine_s16(vmovn_s32(low), vmovn_s32(high))));
        }
        out->scale[s] = max / 127;
        if (form->has_min) out->sum[s] = out->scale[s] * (float)vaddvq_s32(sum);
        else out->corr[s] = -form->offset * vaddvq_s32(sum);
    }
}
