/* Codecs of the types whose groups of weights are points of a grid (iq_grids.txt): IQ2 and IQ3 store magnitudes and
 * apart from them signs, IQ1 steps of -1, 0, 1 that are shifted by an eighth. Super-blocks of 256 with a small integer
 * scale for each 16 or 32 weights under one half. Decoding is exact: the half is multiplied with the scale first, as
 * other programs do it. */
#include "qtype/codec.h"
#include "qtype/round.h"

enum { LEN = 256 };

/* Seven stored signs to eight: the last makes the number of minus signs even. */
static inline unsigned even_signs(unsigned seven) {
    unsigned x = seven & 127, odd = x ^ x >> 4;
    odd ^= odd >> 2;
    odd ^= odd >> 1;
    return x | (odd & 1) << 7;
}

/* n elements of a point, bit i of `signs` telling whether element i is negative. */
static inline void put_signed(float *out, float scale, const int8_t *point, unsigned signs, int n) {
    for (int i = 0; i < n; i++) {
        float v = scale * (float)point[i];
        out[i] = signs >> i & 1 ? -v : v;
    }
}

static inline const int8_t *point_of(const struct iq_grid *g, unsigned i) { return g->points + (size_t)g->len * i; }

/* IQ2_XXS: d, then for each 32 weights index[4] and a u32 of four times seven signs and the scale on top. */
void decode_iq2_xxs(const void *blocks, float *out, size_t n) {
    for (const uint8_t *b = blocks; n; n -= LEN, b += 66) {
        float d = f32_from_f16(load_u16(b));
        for (const uint8_t *g = b + 2; g < b + 66; g += 8, out += 32) {
            uint32_t signs = load_u32(g + 4);
            float scale = d * (0.5f + (float)(signs >> 28)) * 0.25f;
            for (int l = 0; l < 4; l++)
                put_signed(out + 8 * l, scale, point_of(&iq2_xxs_grid, g[l]), even_signs(signs >> 7 * l), 8);
        }
    }
}

/* IQ2_XS: d, u16 q[32] of nine bits of index and seven signs, scales[8] of two nibbles for 16 weights each. */
void decode_iq2_xs(const void *blocks, float *out, size_t n) {
    for (const uint8_t *b = blocks; n; n -= LEN, b += 74) {
        float d = f32_from_f16(load_u16(b));
        for (int l = 0; l < 32; l++, out += 8) {
            unsigned q = load_u16(b + 2 + 2 * l), s = b[66 + l / 4] >> 2 * (l & 2) & 15;
            float scale = d * (0.5f + (float)s) * 0.25f;
            put_signed(out, scale, point_of(&iq2_xs_grid, q & 511), even_signs(q >> 9), 8);
        }
    }
}

/* IQ2_S: d, low[32], signs[32], high[8] of four times two bits of index, scales[8] as IQ2_XS. */
void decode_iq2_s(const void *blocks, float *out, size_t n) {
    for (const uint8_t *b = blocks; n; n -= LEN, b += 82) {
        float d = f32_from_f16(load_u16(b));
        for (int l = 0; l < 32; l++, out += 8) {
            unsigned i = b[2 + l] | (b[66 + l / 4] >> 2 * (l & 3) & 3u) << 8, s = b[74 + l / 4] >> 2 * (l & 2) & 15;
            put_signed(out, d * (0.5f + (float)s) * 0.25f, point_of(&iq2_s_grid, i), b[34 + l], 8);
        }
    }
}

/* IQ3_XXS: d, index[64] of four weights each, then for each 32 weights a u32 as that of IQ2_XXS. */
void decode_iq3_xxs(const void *blocks, float *out, size_t n) {
    for (const uint8_t *b = blocks; n; n -= LEN, b += 98) {
        float d = f32_from_f16(load_u16(b));
        for (int l = 0; l < 32; l++, out += 8) {
            uint32_t word = load_u32(b + 66 + 4 * (l / 4));
            unsigned signs = even_signs(word >> 7 * (l & 3));
            float scale = d * (0.5f + (float)(word >> 28)) * 0.5f;
            put_signed(out, scale, point_of(&iq3_xxs_grid, b[2 + 2 * l]), signs, 4);
            put_signed(out + 4, scale, point_of(&iq3_xxs_grid, b[3 + 2 * l]), signs >> 4, 4);
        }
    }
}

/* IQ3_S: d, low[64], high[8] with the ninth bit of each index, signs[32], scales[4] of two nibbles for 32 weights. */
void decode_iq3_s(const void *blocks, float *out, size_t n) {
    for (const uint8_t *b = blocks; n; n -= LEN, b += 110) {
        float d = f32_from_f16(load_u16(b));
        for (int l = 0; l < 64; l++, out += 4) {
            unsigned i = b[2 + l] | (b[66 + l / 8] >> (l & 7) & 1u) << 8, s = b[106 + l / 16] >> 4 * (l / 8 & 1) & 15;
            put_signed(out, d * (float)(1 + 2 * s), point_of(&iq3_s_grid, i), b[74 + l / 2] >> 4 * (l & 1), 4);
        }
    }
}

/* What lies between the codes of IQ1. */
static const float eighth = 0.125f;

static inline void put_shifted(float *out, float scale, const int8_t *point, bool down) {
    float shift = down ? -eighth : eighth;
    for (int i = 0; i < 8; i++) out[i] = scale * ((float)point[i] + shift);
}

/* IQ1_S: d, low[32], for each 32 weights a u16 of four times three bits of index, the scale, and the shift's sign. */
void decode_iq1_s(const void *blocks, float *out, size_t n) {
    for (const uint8_t *b = blocks; n; n -= LEN, b += 50) {
        float d = f32_from_f16(load_u16(b));
        for (int l = 0; l < 32; l++, out += 8) {
            unsigned word = load_u16(b + 34 + 2 * (l / 4)), i = b[2 + l] | (word >> 3 * (l & 3) & 7) << 8;
            put_shifted(out, d * (float)(2 * (word >> 12 & 7) + 1), point_of(&iq1_grid, i), word >> 15);
        }
    }
}

/* IQ1_M: low[32], high[16] of a nibble for each 8 weights (three bits of index, the shift's sign), u16 scales[4] of
 * four times three bits for 16 weights each; the top nibbles of the four make up d. */
void decode_iq1_m(const void *blocks, float *out, size_t n) {
    for (const uint8_t *b = blocks; n; n -= LEN, b += 56) {
        unsigned sc[4], half = 0;
        for (int i = 0; i < 4; i++) half |= ((sc[i] = load_u16(b + 48 + 2 * i)) >> 12) << 4 * i;
        float d = f32_from_f16((uint16_t)half);
        for (int l = 0; l < 32; l++, out += 8) {
            unsigned high = b[32 + l / 2] >> 4 * (l & 1), i = b[l] | (high & 7) << 8;
            unsigned s = sc[l / 8] >> 3 * (l / 2 & 3) & 7;
            put_shifted(out, d * (float)(2 * s + 1), point_of(&iq1_grid, i), high >> 3 & 1);
        }
    }
}
