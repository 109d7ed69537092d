/* Scalar bodies of the kernels that read stored blocks: rows and panel of the types whose groups of weights are points
 * of a grid, and of those whose codes are very small numbers. They say what the fast ones must do.
 *
 * Levels are signed; the codes are moved up by the type's offset. */
#include "backend/cpu/unit_ref.h"

/* n elements of a point, bit i of `signs` telling whether element i is negative. */
static void put_signed(uint8_t *q, const int8_t *point, unsigned signs, int n, int offset) {
    for (int i = 0; i < n; i++) q[i] = (uint8_t)(signs >> i & 1 ? offset - point[i] : offset + point[i]);
}

static const int8_t *point_of(const struct iq_grid *g, unsigned i) { return g->points + (size_t)g->len * i; }

static void unpack_iq2_xxs(const uint8_t *b, struct unit_codes *u) {
    float d = f32_from_f16(load_u16(b));
    b += 2;
    for (int g = 0; g < 8; g++, b += 8) {
        uint32_t word = load_u32(b + 4);
        u->scale[g] = d * (0.5f + (float)(word >> 28)) * 0.25f;
        for (int l = 0; l < 4; l++)
            put_signed(u->q + 32 * g + 8 * l, point_of(&iq2_xxs_grid, b[l]), even_signs(word >> 7 * l), 8, 128);
    }
}

static void nibble_scales(const uint8_t *b, float d, struct unit_codes *u) {
    for (int s = 0; s < 16; s++) u->scale[s] = d * (0.5f + (float)(b[s / 2] >> 4 * (s & 1) & 15)) * 0.25f;
}

static void unpack_iq2_xs(const uint8_t *b, struct unit_codes *u) {
    nibble_scales(b + 66, f32_from_f16(load_u16(b)), u);
    for (int l = 0; l < 32; l++) {
        unsigned q = load_u16(b + 2 + 2 * l);
        put_signed(u->q + 8 * l, point_of(&iq2_xs_grid, q & 511), even_signs(q >> 9), 8, 128);
    }
}

static void unpack_iq2_s(const uint8_t *b, struct unit_codes *u) {
    nibble_scales(b + 74, f32_from_f16(load_u16(b)), u);
    for (int l = 0; l < 32; l++) {
        unsigned i = b[2 + l] | (b[66 + l / 4] >> 2 * (l & 3) & 3u) << 8;
        put_signed(u->q + 8 * l, point_of(&iq2_s_grid, i), b[34 + l], 8, 128);
    }
}

static void unpack_iq3_xxs(const uint8_t *b, struct unit_codes *u) {
    float d = f32_from_f16(load_u16(b));
    for (int g = 0; g < 8; g++) u->scale[g] = d * (0.5f + (float)(load_u32(b + 66 + 4 * g) >> 28)) * 0.5f;
    for (int l = 0; l < 64; l++) {
        unsigned signs = even_signs(load_u32(b + 66 + 4 * (l / 8)) >> 7 * (l / 2 & 3)) >> 4 * (l & 1);
        put_signed(u->q + 4 * l, point_of(&iq3_xxs_grid, b[2 + l]), signs, 4, 128);
    }
}

static void unpack_iq3_s(const uint8_t *b, struct unit_codes *u) {
    float d = f32_from_f16(load_u16(b));
    for (int g = 0; g < 8; g++) u->scale[g] = d * (float)(1 + 2 * (b[106 + g / 2] >> 4 * (g & 1) & 15));
    for (int l = 0; l < 64; l++) {
        unsigned i = b[2 + l] | (b[66 + l / 8] >> (l & 7) & 1u) << 8;
        put_signed(u->q + 4 * l, point_of(&iq3_s_grid, i), b[74 + l / 2] >> 4 * (l & 1), 4, 16);
    }
}

/* Eighths of a step. */
static void put_shifted(uint8_t *q, const int8_t *point, bool down) {
    for (int i = 0; i < 8; i++) q[i] = (uint8_t)(16 + 8 * point[i] + (down ? -1 : 1));
}

static void unpack_iq1_s(const uint8_t *b, struct unit_codes *u) {
    float d = f32_from_f16(load_u16(b));
    for (int l = 0; l < 32; l++) {
        unsigned word = load_u16(b + 34 + 2 * (l / 4)), i = b[2 + l] | (word >> 3 * (l & 3) & 7) << 8;
        u->scale[l / 4] = d * (float)(2 * (word >> 12 & 7) + 1) * 0.125f;
        put_shifted(u->q + 8 * l, point_of(&iq1_grid, i), word >> 15);
    }
}

static void unpack_iq1_m(const uint8_t *b, struct unit_codes *u) {
    unsigned sc[4], half = 0;
    for (int i = 0; i < 4; i++) half |= ((sc[i] = load_u16(b + 48 + 2 * i)) >> 12) << 4 * i;
    float d = f32_from_f16((uint16_t)half);
    for (int l = 0; l < 32; l++) {
        unsigned high = b[32 + l / 2] >> 4 * (l & 1), i = b[l] | (high & 7) << 8;
        u->scale[l / 2] = d * (float)(2 * (sc[l / 8] >> 3 * (l / 2 & 3) & 7) + 1) * 0.125f;
        put_shifted(u->q + 8 * l, point_of(&iq1_grid, i), high >> 3 & 1);
    }
}

static void unpack_mxfp4(const uint8_t *b, struct unit_codes *u) {
    for (int g = 0; g < 8; g++, b += 17) {
        u->scale[g] = mxfp4_scale(b[0]);
        nibbles16(b + 1, u->q + 32 * g);
    }
    for (int e = 0; e < UNIT; e++) u->q[e] = (uint8_t)(16 + fp4_levels[u->q[e]]);
}

static void unpack_nvfp4(const uint8_t *b, struct unit_codes *u) {
    for (int s = 0; s < 16; s++) {
        const uint8_t *block = b + 36 * (s / 4), *nibbles = block + 4 + 8 * (s % 4);
        u->scale[s] = nvfp4_scale(block[s % 4]);
        for (int j = 0; j < 16; j++) u->q[16 * s + j] = (uint8_t)(16 + fp4_levels[nibbles[j % 8] >> j / 8 * 4 & 15]);
    }
}

/* Digit t of `bytes` bytes: decode_tq1_0 tells how. */
static uint8_t *put_digits(const uint8_t *b, int bytes, unsigned power, uint8_t *q) {
    for (int m = 0; m < bytes; m++) *q++ = (uint8_t)((b[m] * power & 255) * 3 >> 8);
    return q;
}

static void one_scale(const uint8_t *d, struct unit_codes *u) {
    for (int g = 0; g < 8; g++) u->scale[g] = f32_from_f16(load_u16(d));
}

static void unpack_tq1_0(const uint8_t *b, struct unit_codes *u) {
    uint8_t *q = u->q;
    for (unsigned t = 0, power = 1; t < 5; t++, power *= 3) q = put_digits(b, 32, power, q);
    for (unsigned t = 0, power = 1; t < 5; t++, power *= 3) q = put_digits(b + 32, 16, power, q);
    for (unsigned t = 0, power = 1; t < 4; t++, power *= 3) q = put_digits(b + 48, 4, power, q);
    one_scale(b + 52, u);
}

static void unpack_tq2_0(const uint8_t *b, struct unit_codes *u) {
    pairs(b, u->q);
    one_scale(b + 64, u);
}

UNIT_KERNELS(IQ1_S, iq1_s)
UNIT_KERNELS(IQ1_M, iq1_m)
UNIT_KERNELS(IQ2_XXS, iq2_xxs)
UNIT_KERNELS(IQ2_XS, iq2_xs)
UNIT_KERNELS(IQ2_S, iq2_s)
UNIT_KERNELS(IQ3_XXS, iq3_xxs)
UNIT_KERNELS(IQ3_S, iq3_s)
UNIT_KERNELS(MXFP4, mxfp4)
UNIT_KERNELS(NVFP4, nvfp4)
UNIT_KERNELS(TQ1_0, tq1_0)
UNIT_KERNELS(TQ2_0, tq2_0)
