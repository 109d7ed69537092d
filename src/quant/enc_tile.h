#ifndef QUANT_ENC_TILE_H
#define QUANT_ENC_TILE_H
/* Inside of the encoders: what the searches of all block types share.
 *
 * A tile is 256 weights turned so that the sub-blocks, each with a scale of its own, lie side by side: lane b of row
 * j is element j of sub-block b. All lanes are searched at once, each with its own candidate. Passes over the tile take
 * VEC lanes at a time down all rows; no lane's sum ever meets another's, so the result is the same at every VEC.
 *
 * The searches are compiled once per instruction set. Names that they export end in ENC_SUFFIX, which the build sets.
 * */
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/num.h"
#include "qtype/codec.h"
#include "quant/enc_level.h"
#include "quant/enc_vec.h"

#ifndef ENC_SUFFIX
#define ENC_SUFFIX _base /* for those who look at the header alone */
#endif
#define ENC_PASTE_(a, b) a##b
#define ENC_PASTE(a, b) ENC_PASTE_(a, b)
#define ENC_NAME(name) ENC_PASTE(name, ENC_SUFFIX)

enum { TILE = 256, MAX_LANES = 16 };

struct tile {
    ALIGNED(32) float x[TILE]; /* (256 / lanes, lanes) */
    ALIGNED(32) float w[TILE]; /* the weights of the squared errors, same shape */
};

/* The searches of this compilation. */
#define QTYPE_READ(name, id, weights, bytes, codec, text)
#define QTYPE(name, id, weights, bytes, codec, text) search_fn ENC_NAME(search_##codec);
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

static ALWAYS_INLINE float clamp(float x, float lo, float hi) { return x < lo ? lo : x > hi ? hi : x; }
/* As vec_inverse. */
static ALWAYS_INLINE float inverse(float x) { return fabsf(x) > 0x1p-60f ? 1 / x : 0; }
static ALWAYS_INLINE float half_rounded(float x) { return f32_from_f16(f16_from_f32(clamp(x, -65504, 65504))); }
static ALWAYS_INLINE vec vec_half(vec x) {
    float v[VEC];
    vec_store(v, x);
    for (int i = 0; i < VEC; i++) v[i] = half_rounded(v[i]);
    return vec_load(v);
}

/* Turns the codes of a tile, one small whole float each, back into element order, adding bias. */
static ALWAYS_INLINE void tile_codes(const float *v, float bias, int lanes, uint8_t *q) {
    int len = TILE / lanes;
    for (int b = 0; b < lanes; b++)
        for (int j = 0; j < len; j++) q[b * len + j] = (uint8_t)(v[j * lanes + b] + bias);
}
#endif
