#ifndef BACKEND_CPU_ARM_UNPACK_NEON_H
#define BACKEND_CPU_ARM_UNPACK_NEON_H
/* Taking units of stored weights apart in NEON registers, in element order. The layouts are those of docs/formats/
 * blocks.md; the scalar bodies in unit_ref.c say the same without vectors. */
#include <arm_neon.h>
#include <string.h>

#include "backend/cpu/unit.h"
#include "base/compiler.h"
#include "qtype/codec.h"

struct unit_neon {
    uint8x16_t q[16];      /* 16 codes each */
    float32x4_t scale[4];  /* of 16 sub-blocks; of 8: the first two */
    float32x4_t min[4];    /* likewise, for types that have it */
};

/* Every type that has int8 kernels with its form (int8_form gives the same numbers to the others). */
#define UNIT_CODECS(X)          \
    X(q4_0, 32, 8, false)       \
    X(q4_1, 32, 0, true)        \
    X(q5_0, 32, 16, false)      \
    X(q5_1, 32, 0, true)        \
    X(q8_0, 32, 128, false)     \
    X(iq4_nl, 32, 128, false)   \
    X(q2_k, 16, 0, true)        \
    X(q3_k, 16, 4, false)       \
    X(q4_k, 32, 0, true)        \
    X(q5_k, 32, 0, true)        \
    X(q6_k, 16, 32, false)      \
    X(iq4_xs, 32, 128, false)   \
    X(tq1_0, 32, 1, false)      \
    X(tq2_0, 32, 1, false)

/* The bits of `mask` of each byte, moved to the right, or to the left by a negative shift. */
static ALWAYS_INLINE uint8x16_t bits(uint8x16_t v, int shift, int mask) {
    return vandq_u8(vshlq_u8(v, vdupq_n_s8((int8_t)-shift)), vdupq_n_u8((uint8_t)mask));
}

/* `bit` in the bytes of v that have any of the bits of `which`. */
static ALWAYS_INLINE uint8x16_t bit_where(uint8x16_t v, uint8x16_t which, int bit) {
    return vandq_u8(vtstq_u8(v, which), vdupq_n_u8((uint8_t)bit));
}

static ALWAYS_INLINE float32x4_t half_to_all(const uint8_t *p) {
    return vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(load_u16(p))));
}

/* The halves at p, p + step, ... of eight blocks. */
static ALWAYS_INLINE void eight_halves(const uint8_t *p, size_t step, float32x4_t f[2]) {
    uint16_t h[8];
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) h[g] = load_u16(p + (size_t)g * step);
    f[0] = vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(h)));
    f[1] = vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(h + 4)));
}

/* Sixteen signed bytes as floats, times d. */
static ALWAYS_INLINE void scaled_bytes(int8x16_t b, float32x4_t d, float32x4_t f[4]) {
    int16x8_t low = vmovl_s8(vget_low_s8(b)), high = vmovl_high_s8(b);
    f[0] = vmulq_f32(d, vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))));
    f[1] = vmulq_f32(d, vcvtq_f32_s32(vmovl_high_s16(low)));
    f[2] = vmulq_f32(d, vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))));
    f[3] = vmulq_f32(d, vcvtq_f32_s32(vmovl_high_s16(high)));
}

/* 16 bytes of nibbles: low ones are elements 0..15, high ones 16..31. */
static ALWAYS_INLINE void nibbles16(const uint8_t *p, uint8x16_t q[2]) {
    uint8x16_t v = vld1q_u8(p);
    q[0] = vandq_u8(v, vdupq_n_u8(15));
    q[1] = vshrq_n_u8(v, 4);
}

/* The fifth bits of 32 codes from the 32 bits at p. */
static ALWAYS_INLINE void fifth_bits(const uint8_t *p, uint8x16_t q[2]) {
    const uint8x8_t one = vcreate_u8(0x8040201008040201ull);
    const uint8x16_t which = vcombine_u8(one, one);
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
        uint8x16_t v = vcombine_u8(vdup_n_u8(p[2 * h]), vdup_n_u8(p[2 * h + 1]));
        q[h] = vorrq_u8(q[h], bit_where(v, which, 16));
    }
}

static ALWAYS_INLINE void unpack_q4_0(const uint8_t *b, struct unit_neon *u) {
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) nibbles16(b + 18 * g + 2, &u->q[2 * g]);
    eight_halves(b, 18, u->scale);
}

static ALWAYS_INLINE void unpack_q4_1(const uint8_t *b, struct unit_neon *u) {
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) nibbles16(b + 20 * g + 4, &u->q[2 * g]);
    eight_halves(b, 20, u->scale);
    eight_halves(b + 2, 20, u->min);
}

static ALWAYS_INLINE void unpack_q5_0(const uint8_t *b, struct unit_neon *u) {
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) {
        nibbles16(b + 22 * g + 6, &u->q[2 * g]);
        fifth_bits(b + 22 * g + 2, &u->q[2 * g]);
    }
    eight_halves(b, 22, u->scale);
}

static ALWAYS_INLINE void unpack_q5_1(const uint8_t *b, struct unit_neon *u) {
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) {
        nibbles16(b + 24 * g + 8, &u->q[2 * g]);
        fifth_bits(b + 24 * g + 4, &u->q[2 * g]);
    }
    eight_halves(b, 24, u->scale);
    eight_halves(b + 2, 24, u->min);
}

static ALWAYS_INLINE void unpack_q8_0(const uint8_t *b, struct unit_neon *u) {
#pragma GCC unroll 16
    for (int v = 0; v < 16; v++) u->q[v] = vaddq_u8(vld1q_u8(b + 34 * (v / 2) + 2 + 16 * (v & 1)), vdupq_n_u8(128));
    eight_halves(b, 34, u->scale);
}

/* Nibbles to the 16 levels plus 128. */
static ALWAYS_INLINE void iq4_codes(uint8x16_t q[16]) {
    const uint8x16_t levels = vaddq_u8(vreinterpretq_u8_s8(vld1q_s8(iq4_levels)), vdupq_n_u8(128));
#pragma GCC unroll 16
    for (int v = 0; v < 16; v++) q[v] = vqtbl1q_u8(levels, q[v]);
}

static ALWAYS_INLINE void unpack_iq4_nl(const uint8_t *b, struct unit_neon *u) {
    unpack_q4_0(b, u);
    iq4_codes(u->q);
}

/* Scale g: nibble g of the four bytes at 4, below pair g of the two at 2. */
static ALWAYS_INLINE void unpack_iq4_xs(const uint8_t *b, struct unit_neon *u) {
    const int32x4_t nibble = { 0, -4, -8, -12 }, pair = { 0, -2, -4, -6 };
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
        uint32x4_t low = vshlq_u32(vdupq_n_u32(load_u16(b + 4 + 2 * h)), nibble);
        uint32x4_t high = vshlq_u32(vdupq_n_u32(b[2 + h]), pair);
        uint32x4_t s = vandq_u32(low, vdupq_n_u32(15));
        s = vorrq_u32(s, vshlq_n_u32(vandq_u32(high, vdupq_n_u32(3)), 4));
        int32x4_t centred = vsubq_s32(vreinterpretq_s32_u32(s), vdupq_n_s32(32));
        u->scale[h] = vmulq_f32(half_to_all(b), vcvtq_f32_s32(centred));
    }
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) nibbles16(b + 8 + 16 * g, &u->q[2 * g]);
    iq4_codes(u->q);
}

/* Pairs of bits: byte l of 32 has elements l, l + 32, l + 64, l + 96 from its low bits up; twice. */
static ALWAYS_INLINE void pairs(const uint8_t *b, uint8x16_t q[16]) {
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) {
        uint8x16_t four = vld1q_u8(b + 16 * v), *to = &q[8 * (v / 2) + (v & 1)];
#pragma GCC unroll 4
        for (int g = 0; g < 4; g++) to[2 * g] = bits(four, 2 * g, 3);
    }
}

/* Bit g of byte l of 32 becomes `bit` of element 32g + l. */
static ALWAYS_INLINE void high_bits(const uint8_t *b, int bit, uint8x16_t q[16]) {
#pragma GCC unroll 16
    for (int v = 0; v < 16; v++) {
        uint8x16_t which = vdupq_n_u8((uint8_t)(1 << v / 2));
        q[v] = vorrq_u8(q[v], bit_where(vld1q_u8(b + 16 * (v & 1)), which, bit));
    }
}

static ALWAYS_INLINE void unpack_q2_k(const uint8_t *b, struct unit_neon *u) {
    uint8x16_t s = vld1q_u8(b);
    scaled_bytes(vreinterpretq_s8_u8(bits(s, 0, 15)), half_to_all(b + 80), u->scale);
    scaled_bytes(vreinterpretq_s8_u8(bits(s, 4, 15)), vnegq_f32(half_to_all(b + 82)), u->min);
    pairs(b + 16, u->q);
}

static ALWAYS_INLINE void unpack_tq2_0(const uint8_t *b, struct unit_neon *u) {
    pairs(b, u->q);
    u->scale[0] = u->scale[1] = half_to_all(b + 64);
}

/* Digit t of base three of fractions in 256ths, times: 3^t. */
static ALWAYS_INLINE uint8x16_t digits(uint8x16_t fractions, uint8x16_t times) {
    const uint8x16_t f = vmulq_u8(fractions, times);
    const uint8x16_t one = vcgtq_u8(f, vdupq_n_u8(85)), two = vcgtq_u8(f, vdupq_n_u8(170));
    return vsubq_u8(vdupq_n_u8(0), vaddq_u8(one, two));
}

/* Five digits of 32 bytes, five of 16, four of 4. */
static ALWAYS_INLINE void unpack_tq1_0(const uint8_t *b, struct unit_neon *u) {
    const uint8x16_t f0 = vld1q_u8(b), f1 = vld1q_u8(b + 16), f2 = vld1q_u8(b + 32);
    const uint32x4_t last = vdupq_n_u32(load_u32(b + 48)), powers = { 0x01010101, 0x03030303, 0x09090909, 0x1b1b1b1b };
#pragma GCC unroll 5
    for (int t = 0, power = 1; t < 5; t++, power *= 3) {
        const uint8x16_t times = vdupq_n_u8((uint8_t)power);
        u->q[2 * t] = digits(f0, times);
        u->q[2 * t + 1] = digits(f1, times);
        u->q[10 + t] = digits(f2, times);
    }
    u->q[15] = digits(vreinterpretq_u8_u32(last), vreinterpretq_u8_u32(powers));
    u->scale[0] = u->scale[1] = half_to_all(b + 52);
}

static ALWAYS_INLINE void unpack_q3_k(const uint8_t *b, struct unit_neon *u) {
    /* Scale s: the low nibble of byte s % 8 (s < 8) or the high one, and pair s / 4 of byte 8 + s % 4. */
    const uint8x8_t l = vld1_u8(b + 96);
    const uint32x4_t h = vshlq_u32(vdupq_n_u32(load_u32(b + 104)), (int32x4_t){ 4, 2, 0, -2 });
    uint8x16_t s = vcombine_u8(vand_u8(l, vdup_n_u8(15)), vshr_n_u8(l, 4));
    s = vorrq_u8(s, vandq_u8(vreinterpretq_u8_u32(h), vdupq_n_u8(0x30)));
    scaled_bytes(vreinterpretq_s8_u8(vsubq_u8(s, vdupq_n_u8(32))), half_to_all(b + 108), u->scale);
    pairs(b + 32, u->q);
    high_bits(b, 4, u->q);
}

/* d, dmin and the 12 bytes of six-bit scales and mins of Q4_K and Q5_K. In dwords w of four: scales 0..3 are the low
 * six bits of w0, 4..7 the low nibbles of w2 and the high pairs of w0; mins likewise of w1 and the high nibbles of
 * w2. */
static ALWAYS_INLINE void k4_scales(const uint8_t *b, struct unit_neon *u) {
    const uint32_t w0 = load_u32(b + 4), w1 = load_u32(b + 8), w2 = load_u32(b + 12);
    const uint32_t six = 0x3f3f3f3f, four = 0x0f0f0f0f, top = 0x30303030;
    const uint64_t scales = (w0 & six) | (uint64_t)((w2 & four) | (w0 >> 2 & top)) << 32;
    const uint64_t mins = (w1 & six) | (uint64_t)((w2 >> 4 & four) | (w1 >> 2 & top)) << 32;
    const int16x8_t s = vmovl_s8(vcreate_s8(scales)), m = vmovl_s8(vcreate_s8(mins));
    const float32x4_t d = half_to_all(b), dmin = vnegq_f32(half_to_all(b + 2));
    u->scale[0] = vmulq_f32(d, vcvtq_f32_s32(vmovl_s16(vget_low_s16(s))));
    u->scale[1] = vmulq_f32(d, vcvtq_f32_s32(vmovl_high_s16(s)));
    u->min[0] = vmulq_f32(dmin, vcvtq_f32_s32(vmovl_s16(vget_low_s16(m))));
    u->min[1] = vmulq_f32(dmin, vcvtq_f32_s32(vmovl_high_s16(m)));
}

/* 32 bytes of nibbles: low ones are elements 0..31, high ones 32..63; four times. */
static ALWAYS_INLINE void nibbles32(const uint8_t *b, uint8x16_t q[16]) {
#pragma GCC unroll 8
    for (int v = 0; v < 8; v++) {
        uint8x16_t two = vld1q_u8(b + 16 * v), *to = &q[4 * (v / 2) + (v & 1)];
        to[0] = vandq_u8(two, vdupq_n_u8(15));
        to[2] = vshrq_n_u8(two, 4);
    }
}

static ALWAYS_INLINE void unpack_q4_k(const uint8_t *b, struct unit_neon *u) {
    k4_scales(b, u);
    nibbles32(b + 16, u->q);
}

static ALWAYS_INLINE void unpack_q5_k(const uint8_t *b, struct unit_neon *u) {
    k4_scales(b, u);
    nibbles32(b + 48, u->q);
    high_bits(b + 16, 16, u->q);
}

/* Half h: 64 bytes of low nibbles and 32 bytes of pairs make 128 elements. The pairs are moved to bits 4 and 5. */
static ALWAYS_INLINE void unpack_q6_k(const uint8_t *b, struct unit_neon *u) {
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) {
        const int h = v / 2, at = 16 * (v & 1);
        uint8x16_t low = vld1q_u8(b + 64 * h + at), high = vld1q_u8(b + 64 * h + 32 + at), *to = &u->q[8 * h + (v & 1)];
        uint8x16_t p = vld1q_u8(b + 128 + 32 * h + at);
        to[0] = vorrq_u8(bits(low, 0, 15), bits(p, -4, 0x30));
        to[2] = vorrq_u8(bits(high, 0, 15), bits(p, -2, 0x30));
        to[4] = vorrq_u8(bits(low, 4, 15), bits(p, 0, 0x30));
        to[6] = vorrq_u8(bits(high, 4, 15), bits(p, 2, 0x30));
    }
    scaled_bytes(vld1q_s8((const int8_t *)b + 192), half_to_all(b + 208), u->scale);
}
#endif
