/* Scalar bodies of the kernels of attention and of element-wise work, in the order of the formulas. */
#include <math.h>
#include <string.h>

#include "backend/cpu/kern.h"
#include "base/num.h"

/* at(row, i): number i of a cache's row, as a float. */
#define ATTN_BODIES(codec, at)                                                                   \
    void attn_dot_##codec##_ref(const struct attn_job *j) {                                      \
        for (size_t r = 0; r < j->n_rows; r++) {                                                 \
            const uint8_t *row = (const uint8_t *)j->rows + r * j->row_bytes;                    \
            for (size_t q = 0; q < j->n_x; q++) {                                                \
                float sum = 0;                                                                   \
                for (size_t i = 0; i < j->n; i++) sum += j->x[q * j->x_stride + i] * at(row, i); \
                j->s[q * j->s_stride + r] = sum;                                                 \
            }                                                                                    \
        }                                                                                        \
    }                                                                                            \
    void attn_mix_##codec##_ref(const struct attn_job *j) {                                      \
        for (size_t r = 0; r < j->n_rows; r++) {                                                 \
            const uint8_t *row = (const uint8_t *)j->rows + r * j->row_bytes;                    \
            for (size_t q = 0; q < j->n_x; q++) {                                                \
                const float s = j->s[q * j->s_stride + r];                                       \
                for (size_t i = 0; i < j->n; i++) j->x[q * j->x_stride + i] += s * at(row, i);   \
            }                                                                                    \
        }                                                                                        \
    }

static float at_f32(const uint8_t *row, size_t i) { return ((const float *)(const void *)row)[i]; }
static float at_f16(const uint8_t *row, size_t i) { return f32_from_f16(((const uint16_t *)(const void *)row)[i]); }
/* A block of 32: a half, the scale, and the bytes. */
static float at_q8_0(const uint8_t *row, size_t i) {
    const uint8_t *b = row + i / 32 * 34;
    uint16_t half;
    memcpy(&half, b, sizeof half);
    return f32_from_f16(half) * (float)(int8_t)b[2 + i % 32];
}
ATTN_BODIES(f32, at_f32)
ATTN_BODIES(f16, at_f16)
ATTN_BODIES(q8_0, at_q8_0)

float softmax_ref(float *s, size_t n, float *max) {
    float m = s[0], sum = 0;
    for (size_t i = 1; i < n; i++) m = fmaxf(m, s[i]);
    for (size_t i = 0; i < n; i++) {
        s[i] = expf(s[i] - m);
        sum += s[i];
    }
    *max = m;
    return sum;
}

void blend_ref(float *acc, float a, const float *x, float b, size_t n) {
    for (size_t i = 0; i < n; i++) acc[i] = a * acc[i] + b * x[i];
}

void silu_mul_ref(const float *gate, const float *up, float *out, size_t n) {
    for (size_t i = 0; i < n; i++) out[i] = gate[i] / (1.0f + expf(-gate[i])) * up[i];
}

void narrow_f32_ref(const float *x, void *out, size_t n) {
    memcpy(out, x, n * sizeof *x);
}

void narrow_f16_ref(const float *x, void *out, size_t n) {
    uint16_t *half = out;
    for (size_t i = 0; i < n; i++) half[i] = f16_from_f32(x[i]);
}

void narrow_q8_0_ref(const float *x, void *out, size_t n) {
    qtype_info(QTYPE_Q8_0)->encode(x, out, n);
}
