/* Rows of IQ4_XS and IQ4_NL times a few tokens of int8 activations, in AVX-512 VNNI and VBMI: as rows_vnni.c, in the
 * same order, but levels are looked up by permuting bytes, which looks at six bits of each. So nibbles are looked up
 * where they are, whatever stands above them. */
#include <immintrin.h>

#include "backend/cpu/x86/rows_loop.h"
#include "backend/cpu/x86/rows_multiply_avx512.h"
#include "backend/cpu/x86/rows_units_vnni.h"

/* Levels of the low nibbles to q[0], of the high ones to q[1]. */
static ALWAYS_INLINE void put_levels(__m512i v, __m512i q[2]) {
    const __m512i levels = iq4_levels_in_quarters();
    q[0] = _mm512_permutexvar_epi8(v, levels);
    q[1] = _mm512_permutexvar_epi8(_mm512_srli_epi16(v, 4), levels);
}

static ALWAYS_INLINE void unpack_xs(const uint8_t *b, struct unit512 *u) {
    put_levels(load512(b + 8), u->q);
    put_levels(load512(b + 72), u->q + 2);
    u->scale = iq4_xs_scales(b);
}

static ALWAYS_INLINE void unpack_nl(const uint8_t *b, struct unit512 *u) {
    static const struct block_words at = BLOCK_WORDS(9, 1);
    struct unit_words w = load_words(b, 144);
    put_levels(words_a(&w, &at), u->q);
    put_levels(words_b(&w, &at), u->q + 2);
    u->scale = scales_of(&w, 9);
}

static const struct order32 order = { .offset = 128 };
ROWS_LOOP(iq4_nl, vbmi, unit512, unpack_nl, multiply32, order)
ROWS_LOOP(iq4_xs, vbmi, unit512, unpack_xs, multiply32, order)
