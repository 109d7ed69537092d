#ifndef QUANT_ENC_TILE_H
#define QUANT_ENC_TILE_H
/* Inside of the encoders: what the searches of all block types share.
 *
 * A tile is 256 weights turned so that the sub-blocks, each with a scale of its own, lie side by side: lane b of row
 * j is element j of sub-block b. All lanes are searched at once, each with its own candidate; loops over lanes have
 * no branches and no sum across lanes, so compilers make vector code of them, and the result is the same at every
 * vector length. */
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/num.h"
#include "qtype/codec.h"

enum { TILE = 256, MAX_LANES = 16 };

struct tile {
    float x[TILE]; /* (256 / lanes, lanes) */
    float w[TILE]; /* the weights of the squared errors, same shape */
};

/* One search per row of qtype.def: encodes a row of n weights x, a multiple of the type's block, finite and within the
 * type's reach, minimising sum w (x - x')^2; w (n) is finite and positive. */
#define QTYPE(name, id, weights, bytes, codec, text) \
    void search_##codec(const float *x, const float *w, void *out, size_t n);
#include "qtype/qtype.def"
#undef QTYPE

/* Loads up to 256 weights; lanes beyond n / (256 / lanes) are zero with weight zero. */
static ALWAYS_INLINE void tile_load(struct tile *t, const float *x, const float *w, size_t n, int lanes) {
    int len = TILE / lanes, used = n < TILE ? (int)n / len : lanes;
    if (used < lanes) memset(t, 0, sizeof *t);
    for (int b = 0; b < used; b++)
        for (int j = 0; j < len; j++) {
            t->x[j * lanes + b] = x[b * len + j];
            t->w[j * lanes + b] = w[b * len + j];
        }
}

/* Nearest integer of |x| < 2^22: at this magnitude the float's last bit counts ones. */
static ALWAYS_INLINE float nearest(float x) { return (x + 0x1.8p23f) - 0x1.8p23f; }
static ALWAYS_INLINE float clamp(float x, float lo, float hi) { return x < lo ? lo : x > hi ? hi : x; }
/* 1/x, or 0 for scales so small that the inverse is useless: all codes are then that of 0. */
static ALWAYS_INLINE float inverse(float x) { return fabsf(x) > 0x1p-60f ? 1 / x : 0; }
static ALWAYS_INLINE float half_rounded(float x) { return f32_from_f16(f16_from_f32(clamp(x, -65504, 65504))); }

/* Turns the codes of a tile, one small whole float each, back into element order, adding bias. */
static ALWAYS_INLINE void tile_codes(const float *v, float bias, int lanes, uint8_t *q) {
    int len = TILE / lanes;
    for (int b = 0; b < lanes; b++)
        for (int j = 0; j < len; j++) q[b * len + j] = (uint8_t)(v[j * lanes + b] + bias);
}
#endif
