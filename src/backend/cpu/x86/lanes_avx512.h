#ifndef BACKEND_CPU_X86_LANES_AVX512_H
#define BACKEND_CPU_X86_LANES_AVX512_H
/* Rows of stored weights times several tokens of int8 activations, in AVX-512 VNNI: a lane is a token.
 *
 * Where the rows kernels have elements of one row in their lanes and the tiles have rows, a vector of activations here
 * has four elements of each of 8 tokens, from two places A and B of the unit (or of 4 tokens, in half a vector). The
 * codes of a row are broadcast to it, eight bytes, so that nothing is interleaved among rows; often they are masked out
 * of what is stored by the very instruction that broadcasts it. A and B are chosen so that this works, and in different
 * sub-blocks if possible, as each sum that becomes a float then is a whole one:
 *
 *   stored, Q4_K    | k..k+3: sub-block s in the low nibbles, s + 1 in the high ones |
 *   codes           | s k..k+3 | (s+1) k..k+3 | s k..k+3 | (s+1) k..k+3 | ...             mask 0f, f0, 0f, f0 ...
 *   activations     | token 0  | token 0      | token 1  | token 1      | ...             dpbusd
 *
 * lanes_loop.h has the loop and brings the activations to their order. */
#include <immintrin.h>

#include "backend/cpu/x86/lanes_loop.h"
#include "backend/cpu/x86/unpack_vnni.h"

/* Where codes come from: what is stored, or a buffer where they have been put with A and B by turns, vector by vector;
 * there a sub-block is a quarter of a vector or two, a quarter of two vectors, or a lane or two of all four. */
enum lanes_source {
    LANES_Q4_K, LANES_Q4_0, LANES_Q2_K, LANES_TQ2_0,
    LANES_IN_ORDER, LANES_BY_BLOCKS, LANES_BY_LANES,
};
struct lanes_type { struct lanes_order order; enum lanes_source from; };

/* What is taken out of a unit of weights: scales and mins of the pairs, A and B by turns, and codes where they cannot
 * be read in place. */
struct lanes_unit {
    uint8_t q[4][64];
    float scale[2 * UNIT_SUBS]; /* mins behind the scales, if there are any */
} ALIGNED(64);

#define LANES_TIMES(n) (n)
#define LANES_SUM8 __m512
#define LANES_SUM4 __m256

#define LANES_N 8
#include "backend/cpu/x86/lanes_avx512.def"
#undef LANES_N
#define LANES_N 4
#include "backend/cpu/x86/lanes_avx512.def"
#undef LANES_N

/* Where A and B are in one sub-block both their sums become floats, so each takes off the offset of its own part. */
static ALWAYS_INLINE void correct(struct x_unit *x, unsigned n_tok, const struct lanes_order *order) {
    if (!order->one_sub) return;
    for (unsigned t = 0; t < n_tok; t += 8) {
        if (is_eight(t, n_tok)) correct8(x + t, order);
        else correct4(x + t, order);
    }
}

#define LANES_AVX512_OF(per, codec, isa, ...)                                                                          \
    static const struct lanes_type codec##_type = __VA_ARGS__;                                                         \
    LANES_LOOP(per, codec, 8, LANES_SUM8)                                                                              \
    LANES_LOOP(per, codec, 4, LANES_SUM4)                                                                              \
    void lanes_##codec##_##isa(const struct rows_job *j) {                                                             \
        for (unsigned t = 0; t < j->n_tok; t += 8) {                                                                   \
            if (is_eight(t, j->n_tok)) codec##_lanes8(j, t);                                                           \
            else codec##_lanes4(j, t);                                                                                 \
        }                                                                                                              \
    }                                                                                                                  \
    void turn_##codec##_##isa(struct x_unit *x, unsigned n_tok) {                                                      \
        turn_all(x, n_tok, &codec##_type.order);                                                                       \
        correct(x, n_tok, &codec##_type.order);                                                                        \
    }
#define LANES_AVX512(codec, isa, ...) LANES_AVX512_OF(1, codec, isa, __VA_ARGS__)

/* --- Taking units apart --- */

/* The compiler would rather keep what is put in registers, and shuffle it from there. */
static ALWAYS_INLINE void in_memory(struct lanes_unit *u) { __asm__("" : "+m"(*u)); }

/* Scales of eight sub-blocks, or of eight and their mins. */
static ALWAYS_INLINE void put_scales(__m512 scale, struct lanes_unit *out) {
    _mm512_store_ps(out->scale, scale);
    in_memory(out);
}

/* Codes to the buffer, those of vectors 0 and 1 as A and of 2 and 3 as B. */
static ALWAYS_INLINE void put_codes(const struct unit512 *u, struct lanes_unit *out) {
#pragma GCC unroll 2
    for (int v = 0; v < 2; v++) {
        _mm512_store_si512(out->q[2 * v], _mm512_unpacklo_epi32(u->q[v], u->q[v + 2]));
        _mm512_store_si512(out->q[2 * v + 1], _mm512_unpackhi_epi32(u->q[v], u->q[v + 2]));
    }
}

/* The same with scales in the order `at`. */
static ALWAYS_INLINE void put_unit(const struct unit512 *u, __m512i at, struct lanes_unit *out) {
    put_codes(u, out);
    put_scales(_mm512_permutexvar_ps(at, u->scale), out);
}

/* Orders for put_unit: sub-blocks s and s + 4 make a pair; the same with mins by turns; what stands by turns is brought
 * apart. */
#define PAIRS_OF_8 _mm512_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7, 0, 0, 0, 0, 0, 0, 0, 0)
#define PAIRS_WITH_MINS _mm512_setr_epi32(0, 8, 2, 10, 4, 12, 6, 14, 1, 9, 3, 11, 5, 13, 7, 15)
#define EVEN_THEN_ODD _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15)
#endif
