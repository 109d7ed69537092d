/* Rows of stored weights with signs times a few tokens of int8 activations, in AVX2: as rows_avx2.c, but the codes are
 * magnitudes, and the signs are given to the activations, so that no offset has to be taken off. Sums of two products
 * are at most 62 * 127 * 2. */
#include "backend/cpu/x86/row_sums_avx2.h"
#include "backend/cpu/x86/rows_loop.h"
#include "backend/cpu/x86/unpack_grid_avx2.h"

/* The scales of vector v in its lanes. sub: weights under one scale. */
static ALWAYS_INLINE __m256 scale_lanes(const __m256 *scale, const unsigned sub, const int v) {
    if (sub == 32) return _mm256_permutevar8x32_ps(scale[0], _mm256_set1_epi32(v));
    const int s = 2 * (v & 3);
    return _mm256_permutevar8x32_ps(scale[v / 4], _mm256_setr_epi32(s, s, s, s, s + 1, s + 1, s + 1, s + 1));
}

static ALWAYS_INLINE void multiply(const struct signed256 *w, const struct x_unit *x, const unsigned sub,
                                   const unsigned n_tok, struct row_sums *sums) {
    const __m256i ones = _mm256_set1_epi16(1);
#pragma GCC unroll 4
    for (unsigned t = 0; t < n_tok; t++) {
        struct row_sums *s = &sums[t];
        __m256 scale[2];
        for (unsigned i = 0; i < 32 / sub; i++)
            scale[i] = _mm256_mul_ps(w->scale[i], _mm256_load_ps(x[t].scale + 8 * i));
#pragma GCC unroll 8
        for (int v = 0; v < 8; v++) {
            __m256i q = _mm256_load_si256((const __m256i *)(x[t].q + 32 * v));
            q = _mm256_sub_epi8(_mm256_xor_si256(q, w->minus[v]), w->minus[v]);
            __m256 p = _mm256_cvtepi32_ps(_mm256_madd_epi16(_mm256_maddubs_epi16(w->q[v], q), ones));
            __m256 lanes = scale_lanes(scale, sub, v);
            if (v & 1) s->b = _mm256_fmadd_ps(p, lanes, s->b);
            else s->a = _mm256_fmadd_ps(p, lanes, s->a);
        }
    }
}

#define SIGNED_ROWS(codec, sub) ROWS_LOOP(codec, avx2, signed256, take_##codec, multiply, sub)

SIGNED_ROWS(iq1_s, 32)
SIGNED_ROWS(iq1_m, 16)
SIGNED_ROWS(iq2_xxs, 32)
SIGNED_ROWS(iq2_xs, 16)
SIGNED_ROWS(iq2_s, 16)
SIGNED_ROWS(iq3_xxs, 32)
SIGNED_ROWS(iq3_s, 32)
SIGNED_ROWS(mxfp4, 32)
