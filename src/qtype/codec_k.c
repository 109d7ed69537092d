/* Codecs of the K types: super-blocks of 256 weights whose sub-blocks have small integer scales (and, in Q2_K, Q4_K
 * and Q5_K, mins) under one or two halves. Decoding is exact: the products are rounded in the order (d * scale) *
 * code - (dmin * min), which is how other programs compute them too. Encoding takes scales from the extreme values
 * and rounds. */
#include "qtype/codec.h"
#include "qtype/round.h"

enum { LEN = 256 };

/* Q2_K: scale[16] (scale in the low nibble, min in the high one), q[64], d, dmin. Byte 32h + l of q holds elements
 * 128h + 32t + l, t = 0..3, at bits 2t. */
void decode_q2_k(const void *blocks, float *out, size_t n) {
    for (const uint8_t *b = blocks; n; n -= LEN, b += 84) {
        float d = f32_from_f16(load_u16(b + 80)), dmin = f32_from_f16(load_u16(b + 82));
        for (int s = 0; s < 16; s++, out += 16) {
            const uint8_t *q = b + 16 + 32 * (s >> 3) + 16 * (s & 1);
            float scale = d * (float)(b[s] & 15), min = dmin * (float)(b[s] >> 4);
            int shift = s & 6;
            for (int j = 0; j < 16; j++) out[j] = scale * (float)(q[j] >> shift & 3) - min;
        }
    }
}

/* The bit pairs of Q2_K and Q3_K: the low two bits of each code. */
static void pack_pairs(const uint8_t *q, uint8_t *out) {
    for (int h = 0; h < 2; h++)
        for (int l = 0; l < 32; l++) {
            const uint8_t *e = q + 128 * h + l;
            out[32 * h + l] = (uint8_t)((e[0] & 3) | (e[32] & 3) << 2 | (e[64] & 3) << 4 | (e[96] & 3) << 6);
        }
}

void pack_q2_k(const struct block_codes *c, void *out) {
    uint8_t *b = out;
    for (int s = 0; s < 16; s++) b[s] = (uint8_t)(c->scale[s] | c->min[s] << 4);
    pack_pairs(c->q, b + 16);
    store_u16(b + 80, c->d);
    store_u16(b + 82, c->dmin);
}

/* Q3_K: high[32], q[64] as Q2_K, scales[12], d. Bit 4h + t of high[l] is the third bit of element 128h + 32t + l;
 * code and scale are signed by a bias of 4 and 32. Scale s has its low nibble in scales[s % 8] and two bits in
 * scales[8 + s % 4]. */
void decode_q3_k(const void *blocks, float *out, size_t n) {
    for (const uint8_t *b = blocks; n; n -= LEN, b += 110) {
        const uint8_t *sc = b + 96;
        float d = f32_from_f16(load_u16(b + 108));
        for (int s = 0; s < 16; s++, out += 16) {
            const uint8_t *q = b + 32 + 32 * (s >> 3) + 16 * (s & 1), *high = b + 16 * (s & 1);
            int low_scale = s < 8 ? sc[s] & 15 : sc[s - 8] >> 4, high_scale = sc[8 + (s & 3)] >> 2 * (s >> 2) & 3;
            float scale = d * (float)((low_scale | high_scale << 4) - 32);
            int shift = s & 6, bit = s >> 1;
            for (int j = 0; j < 16; j++) {
                int code = (q[j] >> shift & 3) | (high[j] >> bit & 1) << 2;
                out[j] = scale * (float)(code - 4);
            }
        }
    }
}

void pack_q3_k(const struct block_codes *c, void *out) {
    uint8_t *b = out, *sc = b + 96;
    memset(b, 0, 32);
    for (int e = 0; e < LEN; e++) b[e & 31] |= (uint8_t)((c->q[e] >> 2) << (e >> 5));
    pack_pairs(c->q, b + 32);
    memset(sc, 0, 12);
    for (int s = 0; s < 16; s++) {
        sc[s & 7] |= (uint8_t)((c->scale[s] & 15) << 4 * (s >> 3));
        sc[8 + (s & 3)] |= (uint8_t)((c->scale[s] >> 4) << 2 * (s >> 2));
    }
    store_u16(b + 108, c->d);
}

/* Q4_K: d, dmin, scales[12], q[128]. Bytes 32p..32p+31 of q hold sub-block 2p in the low and 2p + 1 in the high
 * nibble. */
void decode_q4_k(const void *blocks, float *out, size_t n) {
    for (const uint8_t *b = blocks; n; n -= LEN, b += 144) {
        float d = f32_from_f16(load_u16(b)), dmin = f32_from_f16(load_u16(b + 2));
        for (unsigned s = 0; s < 8; s++, out += 32) {
            const uint8_t *q = b + 16 + 32 * (s >> 1);
            float scale = d * (float)k4_scale(b + 4, s), min = dmin * (float)k4_min(b + 4, s);
            unsigned shift = 4 * (s & 1);
            for (int j = 0; j < 32; j++) out[j] = scale * (float)(q[j] >> shift & 15) - min;
        }
    }
}

/* Q5_K: as Q4_K with high[32] before q; bit s of high[j] is the fifth bit of element j of sub-block s. */
void decode_q5_k(const void *blocks, float *out, size_t n) {
    for (const uint8_t *b = blocks; n; n -= LEN, b += 176) {
        float d = f32_from_f16(load_u16(b)), dmin = f32_from_f16(load_u16(b + 2));
        const uint8_t *high = b + 16;
        for (unsigned s = 0; s < 8; s++, out += 32) {
            const uint8_t *q = b + 48 + 32 * (s >> 1);
            float scale = d * (float)k4_scale(b + 4, s), min = dmin * (float)k4_min(b + 4, s);
            unsigned shift = 4 * (s & 1);
            for (int j = 0; j < 32; j++)
                out[j] = scale * (float)((q[j] >> shift & 15) | (high[j] >> s & 1) << 4) - min;
        }
    }
}

static void pack_k4_scales(const struct block_codes *c, uint8_t *b) {
    for (int j = 0; j < 4; j++) {
        b[j] = (uint8_t)(c->scale[j] | (c->scale[j + 4] >> 4) << 6);
        b[j + 4] = (uint8_t)(c->min[j] | (c->min[j + 4] >> 4) << 6);
        b[j + 8] = (uint8_t)((c->scale[j + 4] & 15) | (c->min[j + 4] & 15) << 4);
    }
}

static void pack_k4_nibbles(const uint8_t *q, uint8_t *out) {
    for (int p = 0; p < 4; p++)
        for (int l = 0; l < 32; l++) out[32 * p + l] = (uint8_t)((q[64 * p + l] & 15) | (q[64 * p + 32 + l] & 15) << 4);
}

void pack_q4_k(const struct block_codes *c, void *out) {
    uint8_t *b = out;
    store_u16(b, c->d);
    store_u16(b + 2, c->dmin);
    pack_k4_scales(c, b + 4);
    pack_k4_nibbles(c->q, b + 16);
}

void pack_q5_k(const struct block_codes *c, void *out) {
    uint8_t *b = out;
    store_u16(b, c->d);
    store_u16(b + 2, c->dmin);
    pack_k4_scales(c, b + 4);
    memset(b + 16, 0, 32);
    for (int e = 0; e < LEN; e++) b[16 + (e & 31)] |= (uint8_t)((c->q[e] >> 4) << (e >> 5));
    pack_k4_nibbles(c->q, b + 48);
}

/* Q6_K: low[128], high[64], int8 scales[16], d. In half h, sub-block pair t = 0..3 has its low nibbles in bytes
 * 32 * (t & 1) .. + 31 of low (high nibble for t >= 2) and its upper two bits at bits 2t of high. */
void decode_q6_k(const void *blocks, float *out, size_t n) {
    for (const uint8_t *b = blocks; n; n -= LEN, b += 210) {
        float d = f32_from_f16(load_u16(b + 208));
        for (int s = 0; s < 16; s++, out += 16) {
            int h = s >> 3, t = s >> 1 & 3, odd = s & 1;
            const uint8_t *low = b + 64 * h + 32 * (t & 1) + 16 * odd, *high = b + 128 + 32 * h + 16 * odd;
            float scale = d * (float)(int8_t)b[192 + s];
            int low_shift = 4 * (t >> 1), high_shift = 2 * t;
            for (int j = 0; j < 16; j++)
                out[j] = scale * (float)(((low[j] >> low_shift & 15) | (high[j] >> high_shift & 3) << 4) - 32);
        }
    }
}

void pack_q6_k(const struct block_codes *c, void *out) {
    uint8_t *b = out;
    for (int h = 0; h < 2; h++)
        for (int l = 0; l < 32; l++) {
            const uint8_t *q = c->q + 128 * h + l;
            b[64 * h + l] = (uint8_t)((q[0] & 15) | (q[64] & 15) << 4);
            b[64 * h + 32 + l] = (uint8_t)((q[32] & 15) | (q[96] & 15) << 4);
            b[128 + 32 * h + l] = (uint8_t)(q[0] >> 4 | (q[32] >> 4) << 2 | (q[64] >> 4) << 4 | (q[96] >> 4) << 6);
        }
    for (int s = 0; s < 16; s++) b[192 + s] = (uint8_t)(c->scale[s] - 128);
    store_u16(b + 208, c->d);
}

/* What tells one K type from another. */
struct shape {
    int len;         /* weights a sub-block; 256 / len sub-blocks */
    int top;         /* largest code */
    int bias;        /* code of value 0, symmetric types */
    int scale_top;   /* largest magnitude of a scale, and of a min */
    size_t bytes;
    block_pack *pack;
};

/* x is about d * scale * (q - bias). The extreme of each sub-block goes to code 0, whose side reaches one further,
 * and the largest of the scales to its negative end for the same reason. */
static void encode_symmetric(const float *in, uint8_t *out, size_t n, const struct shape *k) {
    for (; n; n -= LEN, in += LEN, out += k->bytes) {
        float ends[16];
        for (int s = 0; s < LEN / k->len; s++) ends[s] = extreme(in + s * k->len, (size_t)k->len) / (float)-k->bias;
        struct block_codes c = { .d = f16_clamped(extreme(ends, (size_t)(LEN / k->len)) / (float)-k->scale_top) };
        float d = f32_from_f16(c.d), inv = inverse_or_0(d);
        for (int s = 0; s < LEN / k->len; s++) {
            c.scale[s] = code_of(ends[s] * inv, k->scale_top, 2 * k->scale_top - 1);
            float sub = inverse_or_0(d * (float)(c.scale[s] - k->scale_top));
            for (int j = s * k->len; j < (s + 1) * k->len; j++) c.q[j] = code_of(in[j] * sub, k->bias, k->top);
        }
        k->pack(&c, out);
    }
}

/* x is about d * scale * q - dmin * min, where the min is never below zero: a sub-block without negative values has
 * min 0. */
static void encode_affine(const float *in, uint8_t *out, size_t n, const struct shape *k) {
    for (; n; n -= LEN, in += LEN, out += k->bytes) {
        float scales[16], mins[16];
        int n_sub = LEN / k->len;
        for (int s = 0; s < n_sub; s++) {
            float lo = 0, hi = in[s * k->len];
            for (int j = s * k->len; j < (s + 1) * k->len; j++) {
                lo = in[j] < lo ? in[j] : lo;
                hi = in[j] > hi ? in[j] : hi;
            }
            scales[s] = (hi - lo) / (float)k->top;
            mins[s] = -lo;
        }
        struct block_codes c = {
            .d = f16_clamped(extreme(scales, (size_t)n_sub) / (float)k->scale_top),
            .dmin = f16_clamped(extreme(mins, (size_t)n_sub) / (float)k->scale_top),
        };
        float d = f32_from_f16(c.d), dmin = f32_from_f16(c.dmin), inv = inverse_or_0(d), inv_min = inverse_or_0(dmin);
        for (int s = 0; s < n_sub; s++) {
            c.scale[s] = code_of(scales[s] * inv, 0, k->scale_top);
            c.min[s] = code_of(mins[s] * inv_min, 0, k->scale_top);
            float sub = inverse_or_0(d * (float)c.scale[s]), min = dmin * (float)c.min[s];
            for (int j = s * k->len; j < (s + 1) * k->len; j++) c.q[j] = code_of((in[j] + min) * sub, 0, k->top);
        }
        k->pack(&c, out);
    }
}

#define K_ENCODER(codec, rule, ...)                                \
    void encode_##codec(const float *in, void *blocks, size_t n) { \
        static const struct shape shape = { __VA_ARGS__ };         \
        rule(in, blocks, n, &shape);                               \
    }
K_ENCODER(q2_k, encode_affine, 16, 3, 0, 15, 84, pack_q2_k)
K_ENCODER(q3_k, encode_symmetric, 16, 7, 4, 32, 110, pack_q3_k)
K_ENCODER(q4_k, encode_affine, 32, 15, 0, 63, 144, pack_q4_k)
K_ENCODER(q5_k, encode_affine, 32, 31, 0, 63, 176, pack_q5_k)
K_ENCODER(q6_k, encode_symmetric, 16, 63, 32, 128, 210, pack_q6_k)
