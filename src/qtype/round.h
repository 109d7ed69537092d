#ifndef QTYPE_ROUND_H
#define QTYPE_ROUND_H
/* Small steps that the plain encoders share. */
#include <stddef.h>
#include <stdint.h>

#include "base/num.h"

enum { F16_MAX = 65504 };

/* The value of largest magnitude, with its sign; 0 for n = 0. */
static inline float extreme(const float *x, size_t n) {
    float best = 0;
    for (size_t i = 0; i < n; i++) best = fabsf(x[i]) > fabsf(best) ? x[i] : best;
    return best;
}

/* A half that is never infinite: what is too large becomes the largest. */
static inline uint16_t f16_clamped(float f) {
    return f16_from_f32(f > F16_MAX ? F16_MAX : f < -F16_MAX ? -F16_MAX : f);
}

/* 1/f, or 0 where that would overflow: a scale too small to divide by stores zeros. */
static inline float inverse_or_0(float f) { return fabsf(f) > 0x1p-100f ? 1 / f : 0; }

/* round(x) + bias, kept in [0, top]. */
static inline uint8_t code_of(float x, int bias, int top) {
    float q = nearbyintf(x) + (float)bias;
    return (uint8_t)(q < 0 ? 0 : q > (float)top ? (float)top : q);
}
#endif
