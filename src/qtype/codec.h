#ifndef QTYPE_CODEC_H
#define QTYPE_CODEC_H
/* Inside of the stored types: prototypes of every codec (those that a row of qtype.def names) and the writers of block
 * layouts, which the plain encoders here and the searching encoders of quant share. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/num.h"

#define QTYPE_READ(name, id, weights, bytes, codec, text)        \
    void decode_##codec(const void *blocks, float *out, size_t n);
#define QTYPE(name, id, weights, bytes, codec, text)               \
    void decode_##codec(const void *blocks, float *out, size_t n); \
    void encode_##codec(const float *in, void *blocks, size_t n);
#include "qtype/qtype.def"
#undef QTYPE

/* What one block holds, one number a slot, before it is packed. A type uses the slots that its layout has;
 * docs/formats/blocks.md says which. All integers are the unsigned bits that the file keeps, so a signed scale s is
 * s + 32 (Q3_K, IQ4_XS) or s + 128 (Q6_K), MXFP4's e is scale[0], and a signed code q of Q4_0, Q5_0, Q8_0, Q3_K,
 * Q6_K is q + 8, 16, 128, 4, 32. */
struct block_codes {
    uint16_t d, dmin;   /* half: the block's scale; scale of the mins, or Q4_1's and Q5_1's own min */
    uint8_t scale[16];  /* per sub-block */
    uint8_t min[16];
    union {
        uint8_t q[256]; /* in element order */
        struct {        /* types whose groups of weights are points of a grid */
            uint16_t point[64]; /* of each 8 weights, or 4 (IQ3) */
            uint8_t sign[32];   /* of each 8: bit i for a negative weight i; IQ1: 1 for a shift by -1/8 */
        };
    };
};

/* Writes one block (qtype_info.block_bytes) at out, any alignment. */
typedef void block_pack(const struct block_codes *c, void *out);
block_pack pack_q4_0, pack_q4_1, pack_q5_0, pack_q5_1, pack_q8_0, pack_iq4_nl;
block_pack pack_q2_k, pack_q3_k, pack_q4_k, pack_q5_k, pack_q6_k, pack_iq4_xs;
block_pack pack_iq1_s, pack_iq1_m, pack_iq2_xxs, pack_iq2_xs, pack_iq2_s, pack_iq3_xxs, pack_iq3_s;
block_pack pack_tq1_0, pack_tq2_0, pack_mxfp4;

/* The 16 levels of IQ4_NL and IQ4_XS, ascending. */
extern const int8_t iq4_levels[16];
/* Of MXFP4 and NVFP4, doubled, in the order of their codes. */
extern const int8_t fp4_levels[16];
/* The code of the level nearest to x, x as doubled as the levels; of two as near, the one nearer to 0. */
uint8_t fp4_code(float x);
/* 2^(e - 128): half of what MXFP4's e says, for levels that are doubled. */
static inline float mxfp4_scale(unsigned e) { return f32_from_bits(e < 2 ? 0x00200000u << e : (e - 1) << 23); }
/* Half of an unsigned float of four exponent and three mantissa bits, for levels that are doubled. Read as a float's,
 * they are 2^-120 times too small, subnormals included. 0x7f is not a number, which counts as zero. */
static inline float nvfp4_scale(unsigned x) { return x == 0x7f ? 0 : f32_from_bits((x & 127) << 20) * 0x1p119f; }
/* MXFP4's e that brings a block's largest magnitude to within 4 and 8, or 0, the least, for one below its reach. */
int mxfp4_exponent(float most);

/* The points that groups of weights of an IQ type may be. Point i has the elements points[len * i + 0 .. len - 1]; seen
 * as two halves, points first[h] .. first[h + 1] - 1 are those whose upper half has pattern h, and low[i] is the
 * pattern of point i's lower half. A pattern is the number that its elements' places in `level` are the digits of, the
 * first element's the least. */
struct iq_grid {
    int len, n_points, n_levels, n_halves; /* n_halves = n_levels^(len / 2) */
    int8_t level[8];                       /* ascending */
    const int8_t *points;                  /* (n_points, len) */
    const uint8_t *low;                    /* (n_points) */
    const uint16_t *first;                 /* (n_halves + 1) */
};
extern const struct iq_grid iq1_grid, iq2_xxs_grid, iq2_xs_grid, iq2_s_grid, iq3_xxs_grid, iq3_s_grid;
/* Places in `level` of the elements of each point, 16 bits together: first those of the lower half of all points, two
 * of four bits or four of two bits in a byte, then of the upper half. Aligned to 64 bytes. */
extern const uint8_t iq2_xxs_places[2][256], iq2_xs_places[2][512], iq2_s_places[2][1024];
extern const uint8_t iq3_xxs_places[2][256], iq3_s_places[2][512];

/* Seven stored signs to eight: the last makes the number of minus signs even. */
static inline unsigned even_signs(unsigned seven) {
    unsigned x = seven & 127, odd = x ^ x >> 4;
    odd ^= odd >> 2;
    odd ^= odd >> 1;
    return x | (odd & 1) << 7;
}

static inline uint16_t load_u16(const uint8_t *p) { uint16_t u; memcpy(&u, p, 2); return u; }
static inline uint32_t load_u32(const uint8_t *p) { uint32_t u; memcpy(&u, p, 4); return u; }
static inline void store_u16(uint8_t *p, uint16_t u) { memcpy(p, &u, 2); }
static inline void store_u32(uint8_t *p, uint32_t u) { memcpy(p, &u, 4); }
/* The scale and the min of sub-block j of Q4_K and Q5_K, six bits each, from the 12 bytes b. */
static inline uint8_t k4_scale(const uint8_t *b, unsigned j) {
    return j < 4 ? b[j] & 63 : (uint8_t)((b[j + 4] & 15) | (b[j - 4] >> 6) << 4);
}
static inline uint8_t k4_min(const uint8_t *b, unsigned j) {
    return j < 4 ? b[j + 4] & 63 : (uint8_t)(b[j + 4] >> 4 | (b[j] >> 6) << 4);
}
#endif
