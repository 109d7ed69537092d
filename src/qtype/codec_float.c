/* Codecs of the types whose block is one number: F32, F16, BF16. Exact both ways where the value fits; encoding
 * rounds to nearest even, and a value beyond half's range becomes infinity, as IEEE has it: who must not write that
 * asks encoder_check (quant) first. The loops have no branches, so that compilers make vector code of them. */
#include "base/num.h"
#include "qtype/codec.h"

void decode_f32(const void *blocks, float *out, size_t n) { memcpy(out, blocks, n * sizeof *out); }
void encode_f32(const float *in, void *blocks, size_t n) { memcpy(blocks, in, n * sizeof *in); }

void decode_f16(const void *blocks, float *out, size_t n) {
    const uint8_t *b = blocks;
    for (size_t i = 0; i < n; i++) {
        uint32_t h = load_u16(b + 2 * i), mag = (h & 0x7fff) << 13;
        /* Read as a float, exponent and mantissa are 2^-112 times too small, subnormals included. */
        uint32_t u = f32_to_bits(f32_from_bits(mag) * 0x1p112f);
        u = mag >= 0x0f800000u ? mag | 0x7f800000u : u;
        out[i] = f32_from_bits(u | (h & 0x8000) << 16);
    }
}

void encode_f16(const float *in, void *blocks, size_t n) {
    uint8_t *b = blocks;
    for (size_t i = 0; i < n; i++) store_u16(b + 2 * i, f16_from_f32(in[i]));
}

void decode_bf16(const void *blocks, float *out, size_t n) {
    const uint8_t *b = blocks;
    for (size_t i = 0; i < n; i++) out[i] = f32_from_bf16(load_u16(b + 2 * i));
}

void encode_bf16(const float *in, void *blocks, size_t n) {
    uint8_t *b = blocks;
    for (size_t i = 0; i < n; i++) store_u16(b + 2 * i, bf16_from_f32(in[i]));
}
