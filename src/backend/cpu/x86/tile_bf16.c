/* The register tile over pairs of BF16, in AVX512_BF16: a lane of 32 bits is two weights of a row, and a broadcast the
 * same two activations of a token, where the float tile has one. */
#include "backend/cpu/x86/vec_avx512.h"
#include "backend/cpu/vec/f32_loop.h"

static ALWAYS_INLINE vec add_pairs(vec w, vec x, vec sums) { return _mm512_dpbf16_ps(sums, (__m512bh)w, (__m512bh)x); }

void tile_bf16_bf16(const struct f32_tile_job *j) { tile(j, add_pairs); }
