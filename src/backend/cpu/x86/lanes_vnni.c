/* Rows of stored weights times several tokens of int8 activations, in AVX-512 VNNI: the types without a grid. */
#include "backend/cpu/x86/lanes_avx512.h"
#include "backend/cpu/x86/rows_units_vnni.h"
#include "backend/cpu/x86/unpack_grid_vnni.h"

/* --- Codes that are read in place --- */

static ALWAYS_INLINE void put_q4_k(const uint8_t *b, struct lanes_unit *out) {
    struct unit512 u;
    k4_scales(b, &u);
    put_scales(u.scale, out);
}

static ALWAYS_INLINE void put_q4_0(const uint8_t *b, struct lanes_unit *out) {
    const struct unit_words w = load_words(b, 144);
    put_scales(scales_of(&w, 9), out);
}

static ALWAYS_INLINE void put_q2_k(const uint8_t *b, struct lanes_unit *out) {
    const __m512i at = _mm512_setr_epi32(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15);
    struct unit512 u;
    rows_unpack_q2_k(b, &u);
    _mm512_store_ps(out->scale + UNIT_SUBS, _mm512_permutexvar_ps(at, u.min));
    put_scales(_mm512_permutexvar_ps(at, u.scale), out);
}

static ALWAYS_INLINE void put_tq2_0(const uint8_t *b, struct lanes_unit *out) { put_scales(half_to_all(b + 64), out); }

LANES_AVX512(q4_k, vnni, { { { 32, 0, true }, { 8, 1, 2, 4, 16, 32 }, .times = { 16 } }, LANES_Q4_K })
LANES_AVX512(q4_0, vnni, { { { 32, 8, false }, { 4, 1, 2, 8, 16, 32 }, .times = { 16 }, .one_sub = true }, LANES_Q4_0 })
LANES_AVX512(q2_k, vnni, { { { 16, 0, true }, { 8, 1, 2, 4, 16, 32 }, .times = { 4, 0, 0, 0, 16 } }, LANES_Q2_K })
LANES_AVX512(tq2_0, vnni,
             { { { 32, 1, false }, { 8, 1, 2, 4, 16, 32 }, .times = { 4, 0, 0, 0, 16 } }, LANES_TQ2_0 })

/* --- Codes that are taken apart as for rows kernels --- */

/* at: of the scales, for put_unit. */
#define ROWS_LANES(codec, at, ...)                                                                                     \
    static ALWAYS_INLINE void put_##codec(const uint8_t *b, struct lanes_unit *out) {                                  \
        struct unit512 u;                                                                                              \
        rows_unpack_##codec(b, &u);                                                                                    \
        put_unit(&u, at, out);                                                                                         \
    }                                                                                                                  \
    LANES_AVX512(codec, vnni, __VA_ARGS__)

ROWS_LANES(q4_1, PAIRS_WITH_MINS, { { { 32, 0, true }, .fours = { 32, 1, 2, 4, 8, 16 } }, LANES_BY_BLOCKS })
ROWS_LANES(q5_k, EVEN_THEN_ODD, { { { 32, 0, true }, { 8, 1, 2, 4, 16, 32 }, .times = { 2 } }, LANES_BY_BLOCKS })
ROWS_LANES(q5_0, PAIRS_OF_8, { { { 32, 16, false }, .fours = { 32, 1, 2, 4, 8, 16 } }, LANES_BY_BLOCKS })
ROWS_LANES(q5_1, PAIRS_WITH_MINS, { { { 32, 0, true }, .fours = { 32, 1, 2, 4, 8, 16 } }, LANES_BY_BLOCKS })
ROWS_LANES(iq4_nl, PAIRS_OF_8, { { { 32, 128, false }, .fours = { 32, 1, 2, 4, 8, 16 } }, LANES_BY_BLOCKS })
ROWS_LANES(iq4_xs, PAIRS_OF_8, { { { 32, 128, false }, .fours = { 32, 1, 2, 4, 8, 16 } }, LANES_BY_BLOCKS })
ROWS_LANES(q3_k, EVEN_THEN_ODD,
           { { { 16, 4, false }, { 16, 1, 2, 4, 32, 8 }, .times = { 0, 0, 0, 0, 0, 4 } }, LANES_IN_ORDER })
ROWS_LANES(q6_k, EVEN_THEN_ODD, { { { 16, 32, false }, .fours = { 32, 1, 2, 4, 8, 16 } }, LANES_IN_ORDER })

ROWS_LANES(nvfp4, EVEN_THEN_ODD, { { { 16, 16, false }, .fours = { 32, 1, 2, 4, 8, 16 } }, LANES_IN_ORDER })

/* --- Q8_0 --- */

/* Read in place, eight bytes of a block at a time, A and B would be in one sub-block: twice as many floats to add. */
static ALWAYS_INLINE void put_q8_0(const uint8_t *b, struct lanes_unit *out) {
    struct unit512 u;
    unpack_q8_0(b, &u);
    put_unit(&u, PAIRS_OF_8, out);
}

LANES_AVX512(q8_0, vnni, { { { 32, 128, false }, .fours = { 32, 1, 2, 4, 8, 16 } }, LANES_IN_ORDER })

/* --- MXFP4 --- */

/* Codes of four blocks: quarter i has the first half of block i in q[0], the second one in q[1]. */
static ALWAYS_INLINE void mxfp4_codes(const uint8_t *b, __m512i q[2]) {
    split(four_blocks(b + 1, 17), q);
    q[0] = fp4_of(q[0]);
    q[1] = fp4_of(q[1]);
}

static ALWAYS_INLINE void rows_unpack_mxfp4(const uint8_t *b, struct unit512 *u) {
    mxfp4_codes(b, u->q);
    mxfp4_codes(b + 68, u->q + 2);
    u->scale = mxfp4_scales(b);
}

ROWS_LANES(mxfp4, PAIRS_OF_8, { { { 32, 16, false }, .fours = { 32, 1, 2, 4, 8, 16 } }, LANES_BY_BLOCKS })
