#ifndef BASE_NUM_H
#define BASE_NUM_H
/* Scalar number work: checked integer arithmetic, sizes in words, and conversions of 16-bit floats, exact to the last
 * bit. */
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* false when the result does not fit; *out is then undefined. */
static inline bool add_u64(uint64_t a, uint64_t b, uint64_t *out) { return !__builtin_add_overflow(a, b, out); }
static inline bool mul_u64(uint64_t a, uint64_t b, uint64_t *out) { return !__builtin_mul_overflow(a, b, out); }
/* align: power of two. Caller knows that n + align does not overflow. */
static inline uint64_t round_up(uint64_t n, uint64_t align) { return (n + align - 1) & ~(align - 1); }
static inline uint64_t div_up(uint64_t n, uint64_t d) { return (n + d - 1) / d; }
static inline uint64_t min_u64(uint64_t a, uint64_t b) { return a < b ? a : b; }
static inline uint64_t max_u64(uint64_t a, uint64_t b) { return a > b ? a : b; }

/* "4.92 GB", three significant figures, decimal units; buf of at least 16. */
const char *format_bytes(uint64_t n, char *buf, size_t size);

static inline float f32_from_bits(uint32_t u) { float f; memcpy(&f, &u, 4); return f; }
static inline uint32_t f32_to_bits(float f) { uint32_t u; memcpy(&u, &f, 4); return u; }

static inline float f32_from_bf16(uint16_t h) { return f32_from_bits((uint32_t)h << 16); }
/* Round to nearest even; a NaN stays a (quiet) NaN. */
static inline uint16_t bf16_from_f32(float f) {
    uint32_t u = f32_to_bits(f);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

static inline float f32_from_f16(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exp = h >> 10 & 31, man = h & 0x3ff;
    if (exp == 31) return f32_from_bits(sign | 0x7f800000u | man << 13);
    if (exp == 0) { /* zero or subnormal: man * 2^-24 is exact in float */
        float f = (float)man * 0x1p-24f;
        return f32_from_bits(f32_to_bits(f) | sign);
    }
    return f32_from_bits(sign | (exp + 112) << 23 | man << 13);
}
/* Round to nearest even; overflow gives infinity, NaN stays NaN. */
static inline uint16_t f16_from_f32(float f) {
    uint32_t u = f32_to_bits(f), sign = u >> 16 & 0x8000, mag = u & 0x7fffffffu;
    if (mag > 0x7f800000u) return (uint16_t)(sign | 0x7e00);
    if (mag >= 0x477ff000u) return (uint16_t)(sign | 0x7c00);
    if (mag < 0x38800000u) { /* subnormal half: adding 0.5 leaves man * 2^-24 rounded in the low bits */
        float r = f32_from_bits(mag) + 0.5f;
        return (uint16_t)(sign | (f32_to_bits(r) - 0x3f000000u));
    }
    mag += 0xfff + (mag >> 13 & 1);
    return (uint16_t)(sign | (mag - 0x38000000u) >> 13);
}
#endif
