/* Codecs of the types whose codes look up levels in a table: IQ4_NL (blocks of 32) and IQ4_XS (super-blocks of 256
 * with a six-bit scale for each 32). Decoding is exact; encoding takes scales from the extreme values and rounds to
 * the nearest level. */
#include "qtype/codec.h"
#include "qtype/round.h"

/* Closer together near zero, where weights are dense; a constant of the format. */
const int8_t iq4_levels[16] = { -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113 };

static void decode_nibbles(const uint8_t *b, float d, float *out) {
    for (int j = 0; j < 16; j++) {
        out[j] = d * (float)iq4_levels[b[j] & 15];
        out[j + 16] = d * (float)iq4_levels[b[j] >> 4];
    }
}

void decode_iq4_nl(const void *blocks, float *out, size_t n) {
    for (const uint8_t *b = blocks; n; n -= 32, b += 18, out += 32)
        decode_nibbles(b + 2, f32_from_f16(load_u16(b)), out);
}

void decode_iq4_xs(const void *blocks, float *out, size_t n) {
    for (const uint8_t *b = blocks; n; n -= 256, b += 136, out += 256) {
        float d = f32_from_f16(load_u16(b));
        unsigned high = load_u16(b + 2);
        for (unsigned g = 0; g < 8; g++) {
            unsigned s = (b[4 + g / 2] >> 4 * (g & 1) & 15) | (high >> 2 * g & 3) << 4;
            decode_nibbles(b + 8 + 16 * g, d * (float)((int)s - 32), out + 32 * g);
        }
    }
}

void pack_iq4_xs(const struct block_codes *c, void *out) {
    uint8_t *b = out;
    unsigned high = 0;
    memset(b + 4, 0, 4);
    for (int g = 0; g < 8; g++) {
        b[4 + g / 2] |= (uint8_t)((c->scale[g] & 15) << 4 * (g & 1));
        high |= (unsigned)(c->scale[g] >> 4) << 2 * g;
    }
    store_u16(b, c->d);
    store_u16(b + 2, (uint16_t)high);
    for (int g = 0; g < 8; g++)
        for (int j = 0; j < 16; j++) b[8 + 16 * g + j] = (uint8_t)(c->q[32 * g + j] | c->q[32 * g + j + 16] << 4);
}

static uint8_t nearest_level(float x) {
    int q = 0;
    for (int k = 0; k < 15; k++) q += x > 0.5f * (float)(iq4_levels[k] + iq4_levels[k + 1]);
    return (uint8_t)q;
}

/* The level that the extreme value goes to: the longer end of the table. */
static const float end_level = -127;

void encode_iq4_nl(const float *in, void *blocks, size_t n) {
    for (uint8_t *out = blocks; n; n -= 32, in += 32, out += 18) {
        struct block_codes c = { .d = f16_clamped(extreme(in, 32) / end_level) };
        float inv = inverse_or_0(f32_from_f16(c.d));
        for (int j = 0; j < 32; j++) c.q[j] = nearest_level(in[j] * inv);
        pack_iq4_nl(&c, out);
    }
}

void encode_iq4_xs(const float *in, void *blocks, size_t n) {
    for (uint8_t *out = blocks; n; n -= 256, in += 256, out += 136) {
        /* The extreme of the whole block gets scale -32, the end that reaches further. */
        struct block_codes c = { .d = f16_clamped(extreme(in, 256) / (end_level * -32)) };
        float d = f32_from_f16(c.d), inv = inverse_or_0(d);
        for (int g = 0; g < 8; g++) {
            const float *x = in + 32 * g;
            c.scale[g] = code_of(extreme(x, 32) / end_level * inv, 32, 63);
            float sub = inverse_or_0(d * (float)(c.scale[g] - 32));
            for (int j = 0; j < 32; j++) c.q[32 * g + j] = nearest_level(x[j] * sub);
        }
        pack_iq4_xs(&c, out);
    }
}
