/* Owns one level's table of searches, and those of types whose blocks are single numbers, where there is nothing to
 * search. */
#include "base/cpu.h"
#include "quant/enc_tile.h"

#if defined(__AVX2__)
#define LEVEL "avx2", CPU_AVX2
#else
#define LEVEL "base", 0
#endif

void ENC_NAME(search_f32)(const float *x, const float *w, void *out, size_t n) { (void)w; encode_f32(x, out, n); }
void ENC_NAME(search_f16)(const float *x, const float *w, void *out, size_t n) { (void)w; encode_f16(x, out, n); }
void ENC_NAME(search_bf16)(const float *x, const float *w, void *out, size_t n) { (void)w; encode_bf16(x, out, n); }

extern const struct enc_level ENC_NAME(enc_level);
const struct enc_level ENC_NAME(enc_level) = { LEVEL, {
#define QTYPE_READ(name, id, weights, bytes, codec, text)
#define QTYPE(name, id, weights, bytes, codec, text) [id] = ENC_NAME(search_##codec),
#include "qtype/qtype.def"
#undef QTYPE
} };
