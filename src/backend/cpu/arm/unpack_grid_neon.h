#ifndef BACKEND_CPU_ARM_UNPACK_GRID_NEON_H
#define BACKEND_CPU_ARM_UNPACK_GRID_NEON_H
/* Taking units of the types with signs apart in NEON registers, in element order: those whose groups of weights are
 * points of a grid, and small floats. The layouts are those of docs/formats/blocks.md; grid_ref.c says the same without
 * vectors. */
#include "backend/cpu/arm/unpack_neon.h"

/* As UNIT_CODECS. */
#define GRID_CODECS(X)          \
    X(nvfp4, 16, 16, false)     \
    X(iq1_s, 32, 16, false)     \
    X(iq1_m, 16, 16, false)     \
    X(iq2_xxs, 32, 128, false)  \
    X(iq2_xs, 16, 128, false)   \
    X(iq2_s, 16, 128, false)    \
    X(iq3_xxs, 32, 128, false)  \
    X(iq3_s, 32, 16, false)     \
    X(mxfp4, 32, 16, false)

static ALWAYS_INLINE uint8x16_t two_points(const struct iq_grid *g, unsigned i0, unsigned i1) {
    return vreinterpretq_u8_s8(vcombine_s8(vld1_s8(g->points + 8 * (size_t)i0), vld1_s8(g->points + 8 * (size_t)i1)));
}

static ALWAYS_INLINE uint32_t point4(const struct iq_grid *g, unsigned i) {
    return load_u32((const uint8_t *)g->points + 4 * (size_t)i);
}

/* Points of the four bytes at p; bit i of `high` is the ninth bit of number i. */
static ALWAYS_INLINE uint8x16_t four_points(const struct iq_grid *g, const uint8_t *p, unsigned high) {
    const uint32x4_t v = { point4(g, p[0] | (high << 8 & 256)), point4(g, p[1] | (high << 7 & 256)),
                           point4(g, p[2] | (high << 6 & 256)), point4(g, p[3] | (high << 5 & 256)) };
    return vreinterpretq_u8_u32(v);
}

/* The unit's magnitudes become codes: offset + q, or offset - q where the element's bit of the 32 bytes is set. */
static ALWAYS_INLINE void give_signs(uint8x16_t q[16], const uint8_t *signs, int offset) {
    const uint8x8_t one = vcreate_u8(0x8040201008040201ull);
    const uint8x16_t zero = vdupq_n_u8((uint8_t)offset), which = vcombine_u8(one, one);
#pragma GCC unroll 16
    for (int v = 0; v < 16; v++) {
        const uint8x16_t bytes = vcombine_u8(vdup_n_u8(signs[2 * v]), vdup_n_u8(signs[2 * v + 1]));
        q[v] = vbslq_u8(vtstq_u8(bytes, which), vsubq_u8(zero, q[v]), vaddq_u8(zero, q[v]));
    }
}

/* The eighth bit makes the number of ones even, as even_signs. */
static ALWAYS_INLINE uint8x16_t even_signs16(uint8x16_t sevens) {
    return vorrq_u8(sevens, vshlq_n_u8(vcntq_u8(sevens), 7));
}

/* d (2n + 1) of eight numbers n. Where the type says d (n + 1/2) times a power of two, that is the same: all exact. */
static ALWAYS_INLINE void odd_scales(uint8x8_t n, float32x4_t d, float32x4_t scale[2]) {
    const uint16x8_t odd = vaddq_u16(vshll_n_u8(n, 1), vdupq_n_u16(1));
    scale[0] = vmulq_f32(d, vcvtq_f32_u32(vmovl_u16(vget_low_u16(odd))));
    scale[1] = vmulq_f32(d, vcvtq_f32_u32(vmovl_high_u16(odd)));
}

/* The nibbles of four bytes, low ones first. */
static ALWAYS_INLINE uint8x8_t eight_nibbles(const uint8_t *p) {
    const uint8x8_t b = vcreate_u8(load_u32(p));
    return vzip1_u8(vand_u8(b, vdup_n_u8(15)), vshr_n_u8(b, 4));
}

/* Words, `step` bytes apart, of four times seven bits of signs and four of the scale: the scale times d, the signs of a
 * unit given to its magnitudes. */
static ALWAYS_INLINE void take_words(const uint8_t *words, size_t step, float32x4_t d, struct unit_neon *u) {
    uint8_t signs[32];
    uint16x4_t top[2];
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++, words += 4 * step) {
        const uint32x4_t w = { load_u32(words), load_u32(words + step), load_u32(words + 2 * step),
                               load_u32(words + 3 * step) };
        uint32x4_t s = vandq_u32(w, vdupq_n_u32(0x7f));
        s = vorrq_u32(s, vandq_u32(vshlq_n_u32(w, 1), vdupq_n_u32(0x7f00)));
        s = vorrq_u32(s, vandq_u32(vshlq_n_u32(w, 2), vdupq_n_u32(0x7f0000)));
        s = vorrq_u32(s, vandq_u32(vshlq_n_u32(w, 3), vdupq_n_u32(0x7f000000)));
        vst1q_u8(signs + 16 * h, even_signs16(vreinterpretq_u8_u32(s)));
        top[h] = vmovn_u32(vshrq_n_u32(w, 28));
    }
    odd_scales(vmovn_u16(vcombine_u16(top[0], top[1])), d, u->scale);
    give_signs(u->q, signs, 128);
}

static ALWAYS_INLINE void unpack_iq2_xxs(const uint8_t *b, struct unit_neon *u) {
#pragma GCC unroll 16
    for (int v = 0; v < 16; v++) {
        const uint8_t *p = b + 2 + 8 * (v / 2) + 2 * (v & 1);
        u->q[v] = two_points(&iq2_xxs_grid, p[0], p[1]);
    }
    take_words(b + 6, 8, vmulq_n_f32(half_to_all(b), 0.125f), u);
}

static ALWAYS_INLINE void unpack_iq2_xs(const uint8_t *b, struct unit_neon *u) {
    uint8_t signs[32];
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
        const uint16x8_t low = vreinterpretq_u16_u8(vld1q_u8(b + 2 + 32 * h));
        const uint16x8_t high = vreinterpretq_u16_u8(vld1q_u8(b + 18 + 32 * h));
        const uint8x16_t sevens = vcombine_u8(vmovn_u16(vshrq_n_u16(low, 9)), vmovn_u16(vshrq_n_u16(high, 9)));
        vst1q_u8(signs + 16 * h, even_signs16(sevens));
        odd_scales(eight_nibbles(b + 66 + 4 * h), vmulq_n_f32(half_to_all(b), 0.125f), &u->scale[2 * h]);
    }
#pragma GCC unroll 16
    for (int v = 0; v < 16; v++)
        u->q[v] = two_points(&iq2_xs_grid, load_u16(b + 2 + 4 * v) & 511, load_u16(b + 4 + 4 * v) & 511);
    give_signs(u->q, signs, 128);
}

static ALWAYS_INLINE void unpack_iq2_s(const uint8_t *b, struct unit_neon *u) {
#pragma GCC unroll 16
    for (int v = 0; v < 16; v++) {
        const unsigned high = (unsigned)b[66 + v / 2] << 8 >> 4 * (v & 1);
        u->q[v] = two_points(&iq2_s_grid, b[2 + 2 * v] | (high & 0x300), b[3 + 2 * v] | (high >> 2 & 0x300));
    }
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++)
        odd_scales(eight_nibbles(b + 74 + 4 * h), vmulq_n_f32(half_to_all(b), 0.125f), &u->scale[2 * h]);
    give_signs(u->q, b + 34, 128);
}

static ALWAYS_INLINE void unpack_iq3_xxs(const uint8_t *b, struct unit_neon *u) {
#pragma GCC unroll 16
    for (int v = 0; v < 16; v++) u->q[v] = four_points(&iq3_xxs_grid, b + 2 + 4 * v, 0);
    take_words(b + 66, 4, vmulq_n_f32(half_to_all(b), 0.25f), u);
}

static ALWAYS_INLINE void unpack_iq3_s(const uint8_t *b, struct unit_neon *u) {
#pragma GCC unroll 16
    for (int v = 0; v < 16; v++)
        u->q[v] = four_points(&iq3_s_grid, b + 2 + 4 * v, (unsigned)b[66 + v / 2] >> 4 * (v & 1));
    odd_scales(eight_nibbles(b + 106), half_to_all(b), u->scale);
    give_signs(u->q, b + 74, 16);
}

/* Two points of steps -1, 0, 1: eighths of them, and one more, or less where the bit is set. */
static ALWAYS_INLINE uint8x16_t two_shifted(unsigned i0, unsigned i1, unsigned down0, unsigned down1) {
    const uint8x16_t one = vcombine_u8(vdup_n_u8(down0 ? 15 : 17), vdup_n_u8(down1 ? 15 : 17));
    return vaddq_u8(vshlq_n_u8(two_points(&iq1_grid, i0, i1), 3), one);
}

static ALWAYS_INLINE void unpack_iq1_s(const uint8_t *b, struct unit_neon *u) {
    const uint16x8_t words = vreinterpretq_u16_u8(vld1q_u8(b + 34));
#pragma GCC unroll 16
    for (int v = 0; v < 16; v++) {
        const unsigned word = load_u16(b + 34 + 2 * (v / 2)), high = word >> 6 * (v & 1), down = word & 0x8000;
        u->q[v] = two_shifted(b[2 + 2 * v] | (high << 8 & 0x700), b[3 + 2 * v] | (high << 5 & 0x700), down, down);
    }
    odd_scales(vand_u8(vshrn_n_u16(vshrq_n_u16(words, 4), 8), vdup_n_u8(7)), vmulq_n_f32(half_to_all(b), 0.125f),
               u->scale);
}

static ALWAYS_INLINE void unpack_iq1_m(const uint8_t *b, struct unit_neon *u) {
    uint8_t scales[16];
    unsigned half = 0;
#pragma GCC unroll 16
    for (int v = 0; v < 16; v++) {
        const unsigned word = load_u16(b + 48 + 2 * (v / 4)), high = b[32 + v];
        u->q[v] = two_shifted(b[2 * v] | (high << 8 & 0x700), b[2 * v + 1] | (high << 4 & 0x700), high & 8, high & 128);
        scales[v] = word >> 3 * (v & 3) & 7;
        if (v % 4 == 0) half |= word >> 12 << v;
    }
    const float32x4_t d = vdupq_n_f32(f32_from_f16((uint16_t)half) * 0.125f);
    odd_scales(vld1_u8(scales), d, u->scale);
    odd_scales(vld1_u8(scales + 8), d, u->scale + 2);
}

static ALWAYS_INLINE void unpack_mxfp4(const uint8_t *b, struct unit_neon *u) {
    const uint8x16_t levels = vaddq_u8(vreinterpretq_u8_s8(vld1q_s8(fp4_levels)), vdupq_n_u8(16));
    float scale[8];
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) {
        nibbles16(b + 17 * g + 1, &u->q[2 * g]);
        scale[g] = mxfp4_scale(b[17 * g]);
    }
#pragma GCC unroll 16
    for (int v = 0; v < 16; v++) u->q[v] = vqtbl1q_u8(levels, u->q[v]);
    u->scale[0] = vld1q_f32(scale);
    u->scale[1] = vld1q_f32(scale + 4);
}

static ALWAYS_INLINE void unpack_nvfp4(const uint8_t *b, struct unit_neon *u) {
    const uint8x16_t levels = vaddq_u8(vreinterpretq_u8_s8(vld1q_s8(fp4_levels)), vdupq_n_u8(16));
    float scale[16];
#pragma GCC unroll 16
    for (int s = 0; s < 16; s++) {
        const uint8_t *block = b + 36 * (s / 4);
        const uint8x8_t n = vld1_u8(block + 4 + 8 * (s % 4));
        u->q[s] = vqtbl1q_u8(levels, vcombine_u8(vand_u8(n, vdup_n_u8(15)), vshr_n_u8(n, 4)));
        scale[s] = nvfp4_scale(block[s % 4]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) u->scale[i] = vld1q_f32(scale + 4 * i);
}
#endif
