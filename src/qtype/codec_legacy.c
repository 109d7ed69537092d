/* Codecs of the types in blocks of 32 with one scale: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0. Decoding gives exactly the value
 * that the format defines, computed as scale times code (plus min), each step rounded to float. Encoding takes the
 * scale from the extreme value and rounds; searching for better scales is quant's work. */
#include "qtype/codec.h"
#include "qtype/round.h"

enum { LEN = 32 };

void decode_q4_0(const void *blocks, float *out, size_t n) {
    for (const uint8_t *b = blocks; n; n -= LEN, b += 18, out += LEN) {
        float d = f32_from_f16(load_u16(b));
        for (int j = 0; j < 16; j++) {
            out[j] = d * (float)((b[2 + j] & 15) - 8);
            out[j + 16] = d * (float)((b[2 + j] >> 4) - 8);
        }
    }
}

void decode_q4_1(const void *blocks, float *out, size_t n) {
    for (const uint8_t *b = blocks; n; n -= LEN, b += 20, out += LEN) {
        float d = f32_from_f16(load_u16(b)), m = f32_from_f16(load_u16(b + 2));
        for (int j = 0; j < 16; j++) {
            out[j] = d * (float)(b[4 + j] & 15) + m;
            out[j + 16] = d * (float)(b[4 + j] >> 4) + m;
        }
    }
}

void decode_q5_0(const void *blocks, float *out, size_t n) {
    for (const uint8_t *b = blocks; n; n -= LEN, b += 22, out += LEN) {
        float d = f32_from_f16(load_u16(b));
        uint32_t high = load_u32(b + 2);
        for (int j = 0; j < 16; j++) {
            out[j] = d * (float)((int)((b[6 + j] & 15) | (high >> j & 1) << 4) - 16);
            out[j + 16] = d * (float)((int)(b[6 + j] >> 4 | (high >> (j + 16) & 1) << 4) - 16);
        }
    }
}

void decode_q5_1(const void *blocks, float *out, size_t n) {
    for (const uint8_t *b = blocks; n; n -= LEN, b += 24, out += LEN) {
        float d = f32_from_f16(load_u16(b)), m = f32_from_f16(load_u16(b + 2));
        uint32_t high = load_u32(b + 4);
        for (int j = 0; j < 16; j++) {
            out[j] = d * (float)((b[8 + j] & 15) | (high >> j & 1) << 4) + m;
            out[j + 16] = d * (float)(b[8 + j] >> 4 | (high >> (j + 16) & 1) << 4) + m;
        }
    }
}

void decode_q8_0(const void *blocks, float *out, size_t n) {
    for (const uint8_t *b = blocks; n; n -= LEN, b += 34, out += LEN) {
        float d = f32_from_f16(load_u16(b));
        for (int j = 0; j < LEN; j++) out[j] = d * (float)(int8_t)b[2 + j];
    }
}

/* Code j in the low nibble of byte j, code j + 16 in the high one. */
static void pack_nibbles(const uint8_t *q, uint8_t *out) {
    for (int j = 0; j < 16; j++) out[j] = (uint8_t)((q[j] & 15) | q[j + 16] << 4);
}

/* Bit 4 of the 32 codes, code j at bit j. */
static uint32_t fifth_bits(const uint8_t *q) {
    uint32_t high = 0;
    for (int j = 0; j < LEN; j++) high |= (uint32_t)(q[j] >> 4 & 1) << j;
    return high;
}

void pack_q4_0(const struct block_codes *c, void *out) {
    uint8_t *b = out;
    store_u16(b, c->d);
    pack_nibbles(c->q, b + 2);
}

void pack_iq4_nl(const struct block_codes *c, void *out) { pack_q4_0(c, out); }

void pack_q4_1(const struct block_codes *c, void *out) {
    uint8_t *b = out;
    store_u16(b, c->d);
    store_u16(b + 2, c->dmin);
    pack_nibbles(c->q, b + 4);
}

void pack_q5_0(const struct block_codes *c, void *out) {
    uint8_t *b = out;
    store_u16(b, c->d);
    store_u32(b + 2, fifth_bits(c->q));
    pack_nibbles(c->q, b + 6);
}

void pack_q5_1(const struct block_codes *c, void *out) {
    uint8_t *b = out;
    store_u16(b, c->d);
    store_u16(b + 2, c->dmin);
    store_u32(b + 4, fifth_bits(c->q));
    pack_nibbles(c->q, b + 8);
}

void pack_q8_0(const struct block_codes *c, void *out) {
    uint8_t *b = out;
    store_u16(b, c->d);
    for (int j = 0; j < LEN; j++) b[2 + j] = (uint8_t)(c->q[j] - 128);
}

/* x is about d * (q - bias), 0 <= q < 2 * bias. The extreme value goes to the side that has one code more. */
static void encode_symmetric(const float *in, uint8_t *out, size_t n, int bias, block_pack *pack, size_t bytes) {
    for (; n; n -= LEN, in += LEN, out += bytes) {
        struct block_codes c = { .d = f16_clamped(extreme(in, LEN) / (float)-bias) };
        float inv = inverse_or_0(f32_from_f16(c.d));
        for (int j = 0; j < LEN; j++) c.q[j] = code_of(in[j] * inv, bias, 2 * bias - 1);
        pack(&c, out);
    }
}

/* x is about d * q + min, 0 <= q <= top. */
static void encode_affine(const float *in, uint8_t *out, size_t n, int top, block_pack *pack, size_t bytes) {
    for (; n; n -= LEN, in += LEN, out += bytes) {
        float lo = in[0], hi = in[0];
        for (int j = 1; j < LEN; j++) {
            lo = in[j] < lo ? in[j] : lo;
            hi = in[j] > hi ? in[j] : hi;
        }
        struct block_codes c = { .dmin = f16_clamped(lo) };
        float min = f32_from_f16(c.dmin);
        c.d = f16_clamped((hi - min) / (float)top);
        float inv = inverse_or_0(f32_from_f16(c.d));
        for (int j = 0; j < LEN; j++) c.q[j] = code_of((in[j] - min) * inv, 0, top);
        pack(&c, out);
    }
}

void encode_q4_0(const float *in, void *blocks, size_t n) { encode_symmetric(in, blocks, n, 8, pack_q4_0, 18); }
void encode_q5_0(const float *in, void *blocks, size_t n) { encode_symmetric(in, blocks, n, 16, pack_q5_0, 22); }
void encode_q4_1(const float *in, void *blocks, size_t n) { encode_affine(in, blocks, n, 15, pack_q4_1, 20); }
void encode_q5_1(const float *in, void *blocks, size_t n) { encode_affine(in, blocks, n, 31, pack_q5_1, 24); }

/* Codes of Q8_0 stay within -127..127: programs that multiply two of its blocks by pairs of bytes count on it. */
void encode_q8_0(const float *in, void *blocks, size_t n) {
    for (uint8_t *out = blocks; n; n -= LEN, in += LEN, out += 34) {
        struct block_codes c = { .d = f16_clamped(fabsf(extreme(in, LEN)) / 127) };
        float inv = inverse_or_0(f32_from_f16(c.d));
        for (int j = 0; j < LEN; j++) {
            float q = nearbyintf(in[j] * inv);
            c.q[j] = (uint8_t)(128 + (q < -127 ? -127 : q > 127 ? 127 : q));
        }
        pack_q8_0(&c, out);
    }
}
