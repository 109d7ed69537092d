/* Scalar bodies of the kernels of attention and of element-wise work, in the order of the formulas. */
#include <math.h>
#include <string.h>

#include "backend/cpu/kern.h"
#include "base/num.h"

/* load(p): a number of a cache's row, as a float. */
#define ATTN_BODIES(codec, T, load)                                                             \
    void attn_dot_##codec##_ref(const struct attn_job *j) {                                     \
        for (size_t r = 0; r < j->n_rows; r++) {                                                \
            const T *row = (const T *)(const void *)((const uint8_t *)j->rows + r * j->row_bytes); \
            for (size_t q = 0; q < j->n_x; q++) {                                               \
                float sum = 0;                                                                  \
                for (size_t i = 0; i < j->n; i++) sum += j->x[q * j->x_stride + i] * load(row[i]); \
                j->s[q * j->s_stride + r] = sum;                                                \
            }                                                                                   \
        }                                                                                       \
    }                                                                                           \
    void attn_mix_##codec##_ref(const struct attn_job *j) {                                     \
        for (size_t r = 0; r < j->n_rows; r++) {                                                \
            const T *row = (const T *)(const void *)((const uint8_t *)j->rows + r * j->row_bytes); \
            for (size_t q = 0; q < j->n_x; q++) {                                               \
                const float s = j->s[q * j->s_stride + r];                                      \
                for (size_t i = 0; i < j->n; i++) j->x[q * j->x_stride + i] += s * load(row[i]); \
            }                                                                                   \
        }                                                                                       \
    }
#define AS_IS(x) (x)
ATTN_BODIES(f32, float, AS_IS)
ATTN_BODIES(f16, uint16_t, f32_from_f16)

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
