/* Codecs of the types whose codes are very small numbers: ternary TQ1_0 and TQ2_0, and MXFP4 and NVFP4, four-bit floats
 * under scales that are floats of eight bits. Decoding is exact. Encoding takes the scale from the extreme value and
 * rounds. */
#include "qtype/codec.h"
#include "qtype/round.h"

/* TQ1_0: q[32], q[16], q[4], d. A byte has five digits of base three, or four in the last field: as the fraction that
 * its 256ths are, digit t is the whole part after t + 1 multiplications by three. Digit t of byte m of a field of k
 * bytes is element k t + m of that field's. */
static float *put_trits(const uint8_t *b, int bytes, int digits, float d, float *out) {
    for (unsigned t = 0, power = 1; t < (unsigned)digits; t++, power *= 3)
        for (int m = 0; m < bytes; m++) {
            unsigned fraction = b[m] * power & 255;
            *out++ = (float)((int)(fraction * 3 >> 8) - 1) * d;
        }
    return out;
}

void decode_tq1_0(const void *blocks, float *out, size_t n) {
    for (const uint8_t *b = blocks; n; n -= 256, b += 54) {
        float d = f32_from_f16(load_u16(b + 52));
        out = put_trits(b, 32, 5, d, out);
        out = put_trits(b + 32, 16, 5, d, out);
        out = put_trits(b + 48, 4, 4, d, out);
    }
}

/* TQ2_0: q[64] in the order of Q2_K's, d. */
void decode_tq2_0(const void *blocks, float *out, size_t n) {
    for (const uint8_t *b = blocks; n; n -= 256, b += 66) {
        float d = f32_from_f16(load_u16(b + 64));
        for (int e = 0; e < 256; e++) {
            int code = b[32 * (e >> 7) + (e & 31)] >> 2 * (e >> 5 & 3) & 3;
            *out++ = (float)(code - 1) * d;
        }
    }
}

/* The bytes of one of TQ1_0's fields. A number of five digits counts 243rds, which round up to 256ths. */
static uint8_t *pack_trits(const uint8_t *q, int bytes, int digits, uint8_t *out) {
    for (int m = 0; m < bytes; m++) {
        unsigned v = 0;
        for (int t = 0; t < 5; t++) v = 3 * v + (t < digits ? q[bytes * t + m] : 0);
        *out++ = (uint8_t)((v * 256 + 242) / 243);
    }
    return out;
}

void pack_tq1_0(const struct block_codes *c, void *out) {
    uint8_t *b = pack_trits(c->q, 32, 5, out);
    b = pack_trits(c->q + 160, 16, 5, b);
    b = pack_trits(c->q + 240, 4, 4, b);
    store_u16(b, c->d);
}

void pack_tq2_0(const struct block_codes *c, void *out) {
    uint8_t *b = out;
    memset(b, 0, 64);
    for (int e = 0; e < 256; e++) b[32 * (e >> 7) + (e & 31)] |= (uint8_t)(c->q[e] << 2 * (e >> 5 & 3));
    store_u16(b + 64, c->d);
}

static void encode_ternary(const float *in, uint8_t *out, size_t n, block_pack *pack, size_t bytes) {
    for (; n; n -= 256, in += 256, out += bytes) {
        struct block_codes c = { .d = f16_clamped(fabsf(extreme(in, 256))) };
        float inv = inverse_or_0(f32_from_f16(c.d));
        for (int j = 0; j < 256; j++) c.q[j] = code_of(in[j] * inv, 1, 2);
        pack(&c, out);
    }
}

void encode_tq1_0(const float *in, void *blocks, size_t n) { encode_ternary(in, blocks, n, pack_tq1_0, 54); }
void encode_tq2_0(const float *in, void *blocks, size_t n) { encode_ternary(in, blocks, n, pack_tq2_0, 66); }

/* Twice the values of a float of one sign, two exponent and one mantissa bits. */
const int8_t fp4_levels[16] = { 0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12 };

/* MXFP4: e, nibbles[16] as Q4_0. */
void decode_mxfp4(const void *blocks, float *out, size_t n) {
    for (const uint8_t *b = blocks; n; n -= 32, b += 17, out += 32) {
        float d = mxfp4_scale(b[0]);
        for (int j = 0; j < 16; j++) {
            out[j] = (float)fp4_levels[b[1 + j] & 15] * d;
            out[j + 16] = (float)fp4_levels[b[1 + j] >> 4] * d;
        }
    }
}

uint8_t fp4_code(float x) {
    unsigned code = 0;
    for (unsigned i = 0; i < 7; i++) code += fabsf(x) > (float)(fp4_levels[i] + fp4_levels[i + 1]) / 2;
    return (uint8_t)(x < 0 && code ? code + 8 : code);
}

int mxfp4_exponent(float most) {
    int exponent;
    frexpf(most, &exponent); /* most < 2^exponent, and at least half of it */
    return most > 0 && exponent > -124 ? exponent + 124 : 0;
}

void pack_mxfp4(const struct block_codes *c, void *out) {
    uint8_t *b = out;
    b[0] = c->scale[0];
    for (int j = 0; j < 16; j++) b[1 + j] = (uint8_t)(c->q[j] | c->q[j + 16] << 4);
}

/* What is beyond 6 becomes 6, as the format's own text has it. */
void encode_mxfp4(const float *in, void *blocks, size_t n) {
    for (uint8_t *out = blocks; n; n -= 32, in += 32, out += 17) {
        int e = mxfp4_exponent(fabsf(extreme(in, 32)));
        struct block_codes c = { .scale = { (uint8_t)e } };
        float inv = ldexpf(1, 127 - e);
        for (int j = 0; j < 32; j++) c.q[j] = fp4_code(2 * (in[j] * inv));
        pack_mxfp4(&c, out);
    }
}

/* NVFP4: scales[4] for 16 weights each, then 8 bytes for each scale: low nibbles first. */
void decode_nvfp4(const void *blocks, float *out, size_t n) {
    for (const uint8_t *b = blocks; n; n -= 64, b += 36)
        for (int s = 0; s < 4; s++, out += 16) {
            float d = nvfp4_scale(b[s]);
            for (int j = 0; j < 8; j++) {
                unsigned q = b[4 + 8 * s + j];
                out[j] = d * (float)fp4_levels[q & 15];
                out[j + 8] = d * (float)fp4_levels[q >> 4];
            }
        }
}
