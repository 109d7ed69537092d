/* Codecs of the types whose groups of weights are points of a grid (iq_grids.txt): IQ2 and IQ3 store magnitudes and
 * apart from them signs, IQ1 steps of -1, 0, 1 that are shifted by an eighth. Super-blocks of 256 with a small integer
 * scale for each 16 or 32 weights under one half. Decoding is exact: the half is multiplied with the scale first, as
 * other programs do it. */
#include "qtype/codec.h"
#include "qtype/round.h"

enum { LEN = 256 };

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

/* Four times seven signs and a scale. */
static uint32_t signs_and_scale(const uint8_t *signs, unsigned scale) {
    uint32_t word = (uint32_t)scale << 28;
    for (int l = 0; l < 4; l++) word |= (uint32_t)(signs[l] & 127) << 7 * l;
    return word;
}

void pack_iq2_xxs(const struct block_codes *c, void *out) {
    uint8_t *b = out;
    store_u16(b, c->d);
    for (int g = 0; g < 8; g++) {
        for (int l = 0; l < 4; l++) b[2 + 8 * g + l] = (uint8_t)c->point[4 * g + l];
        store_u32(b + 6 + 8 * g, signs_and_scale(c->sign + 4 * g, c->scale[g]));
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

/* Two scales of four bits a byte. */
static void pack_scales(const uint8_t *scale, int bytes, uint8_t *out) {
    for (int i = 0; i < bytes; i++) out[i] = (uint8_t)(scale[2 * i] | scale[2 * i + 1] << 4);
}

void pack_iq2_xs(const struct block_codes *c, void *out) {
    uint8_t *b = out;
    store_u16(b, c->d);
    for (int l = 0; l < 32; l++) store_u16(b + 2 + 2 * l, (uint16_t)(c->point[l] | (c->sign[l] & 127) << 9));
    pack_scales(c->scale, 8, b + 66);
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

void pack_iq2_s(const struct block_codes *c, void *out) {
    uint8_t *b = out;
    store_u16(b, c->d);
    memset(b + 66, 0, 8);
    for (int l = 0; l < 32; l++) {
        b[2 + l] = (uint8_t)c->point[l];
        b[34 + l] = c->sign[l];
        b[66 + l / 4] |= (uint8_t)(c->point[l] >> 8 << 2 * (l & 3));
    }
    pack_scales(c->scale, 8, b + 74);
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

void pack_iq3_xxs(const struct block_codes *c, void *out) {
    uint8_t *b = out;
    store_u16(b, c->d);
    for (int l = 0; l < 64; l++) b[2 + l] = (uint8_t)c->point[l];
    for (int g = 0; g < 8; g++) store_u32(b + 66 + 4 * g, signs_and_scale(c->sign + 4 * g, c->scale[g]));
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

void pack_iq3_s(const struct block_codes *c, void *out) {
    uint8_t *b = out;
    store_u16(b, c->d);
    memset(b + 66, 0, 8);
    for (int l = 0; l < 64; l++) {
        b[2 + l] = (uint8_t)c->point[l];
        b[66 + l / 8] |= (uint8_t)(c->point[l] >> 8 << (l & 7));
    }
    memcpy(b + 74, c->sign, 32);
    pack_scales(c->scale, 4, b + 106);
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

void pack_iq1_s(const struct block_codes *c, void *out) {
    uint8_t *b = out;
    store_u16(b, c->d);
    for (int g = 0; g < 8; g++) {
        unsigned word = (unsigned)c->scale[g] << 12 | (unsigned)c->sign[4 * g] << 15;
        for (int l = 0; l < 4; l++) {
            b[2 + 4 * g + l] = (uint8_t)c->point[4 * g + l];
            word |= (unsigned)(c->point[4 * g + l] >> 8) << 3 * l;
        }
        store_u16(b + 34 + 2 * g, (uint16_t)word);
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

void pack_iq1_m(const struct block_codes *c, void *out) {
    uint8_t *b = out;
    memset(b + 32, 0, 16);
    for (int l = 0; l < 32; l++) {
        b[l] = (uint8_t)c->point[l];
        b[32 + l / 2] |= (uint8_t)((c->point[l] >> 8 | c->sign[l] << 3) << 4 * (l & 1));
    }
    for (int i = 0; i < 4; i++) {
        unsigned word = (unsigned)(c->d >> 4 * i & 15) << 12;
        for (int s = 0; s < 4; s++) word |= (unsigned)c->scale[4 * i + s] << 3 * s;
        store_u16(b + 48 + 2 * i, (uint16_t)word);
    }
}

/* What the plain encoding needs to know. */
struct shape {
    const struct iq_grid *grid;
    int sub, scale_top; /* weights under one scale; its largest value */
    float unit;         /* value = d unit (s + 1/2) times an element */
    float end;          /* the largest element */
    bool even;          /* seven signs are stored */
    size_t bytes;
    block_pack *pack;
};

/* The point nearest to x, in units of the elements. */
static uint16_t nearest_point(const struct iq_grid *g, const float *x) {
    float least = INFINITY;
    int best = 0;
    for (int i = 0; i < g->n_points; i++) {
        const int8_t *v = point_of(g, (unsigned)i);
        float sum = 0;
        for (int e = 0; e < g->len; e++) sum += (x[e] - (float)v[e]) * (x[e] - (float)v[e]);
        if (sum < least) least = sum, best = i;
    }
    return (uint16_t)best;
}

/* Signs of 8 weights, which become magnitudes; if need be the smallest takes the other sign, so that the number of
 * minus signs is even. */
static uint8_t take_signs(float *x, bool even) {
    unsigned signs = 0, smallest = 0;
    for (unsigned i = 0; i < 8; i++) {
        signs |= (unsigned)(x[i] < 0) << i;
        x[i] = fabsf(x[i]);
        if (x[i] < x[smallest]) smallest = i;
    }
    if (even && even_signs(signs) != signs) {
        signs ^= 1u << smallest;
        x[smallest] = -x[smallest];
    }
    return (uint8_t)signs;
}

/* The extreme of each sub-block goes to the largest element. The steps of IQ1 are always shifted up. */
static void encode_grid(const float *in, uint8_t *out, size_t n, const struct shape *k) {
    const struct iq_grid *g = k->grid;
    const bool has_signs = g->level[0] > 0;
    const float end = k->end * k->unit;
    for (; n; n -= LEN, in += LEN, out += k->bytes) {
        struct block_codes c = { .d = f16_clamped(fabsf(extreme(in, LEN)) / (end * ((float)k->scale_top + 0.5f))) };
        float d = f32_from_f16(c.d), inv = inverse_or_0(d * end);
        for (int i = 0; i < LEN; i += 8) {
            float x[8], largest = fabsf(extreme(in + i / k->sub * k->sub, (size_t)k->sub));
            uint8_t scale = c.scale[i / k->sub] = code_of(largest * inv - 0.5f, 0, k->scale_top);
            float sub = inverse_or_0(d * k->unit * ((float)scale + 0.5f));
            for (int e = 0; e < 8; e++) x[e] = in[i + e] * sub - (has_signs ? 0 : eighth);
            c.sign[i / 8] = has_signs ? take_signs(x, k->even) : 0;
            for (int e = 0; e < 8; e += g->len) c.point[(i + e) / g->len] = nearest_point(g, x + e);
        }
        k->pack(&c, out);
    }
}

#define GRID_ENCODER(codec, points, ...)                                                  \
    void encode_##codec(const float *in, void *blocks, size_t n) {                        \
        static const struct shape shape = { &points, __VA_ARGS__, .pack = pack_##codec }; \
        encode_grid(in, blocks, n, &shape);                                               \
    }
GRID_ENCODER(iq1_s, iq1_grid, 32, 7, .unit = 2, .end = 1.125f, .bytes = 50)
GRID_ENCODER(iq1_m, iq1_grid, 16, 7, .unit = 2, .end = 1.125f, .bytes = 56)
GRID_ENCODER(iq2_xxs, iq2_xxs_grid, 32, 15, .unit = 0.25f, .end = 43, .even = true, .bytes = 66)
GRID_ENCODER(iq2_xs, iq2_xs_grid, 16, 15, .unit = 0.25f, .end = 43, .even = true, .bytes = 74)
GRID_ENCODER(iq2_s, iq2_s_grid, 16, 15, .unit = 0.25f, .end = 43, .bytes = 82)
GRID_ENCODER(iq3_xxs, iq3_xxs_grid, 32, 15, .unit = 0.5f, .end = 62, .even = true, .bytes = 98)
GRID_ENCODER(iq3_s, iq3_s_grid, 32, 15, .unit = 2, .end = 15, .bytes = 110)
