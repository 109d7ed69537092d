/* Rows of weights in points of a grid times several tokens of int8 activations, in AVX-512 VNNI and VBMI: magnitudes
 * are added to the type's offset or taken off it, since here many activations share a code. */
#include "backend/cpu/x86/lanes_avx512.h"
#include "backend/cpu/x86/rows_units_vbmi.h"

/* Lanes l and l + 8 make a pair; two lanes have one scale. */
static ALWAYS_INLINE void put_sixteens(const struct sixteens *s, const uint8_t offset, struct lanes_unit *out) {
    const __m512i pairs = _mm512_setr_epi32(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
    const __m512i every_other = _mm512_setr_epi32(0, 8, 2, 10, 4, 12, 6, 14, 0, 0, 0, 0, 0, 0, 0, 0);
    const __m512i o = _mm512_set1_epi8((char)offset);
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) {
        __m512i q = _mm512_mask_sub_epi8(_mm512_add_epi8(o, s->q[v]), s->minus[v], o, s->q[v]);
        _mm512_store_si512(out->q[v], _mm512_permutexvar_epi32(pairs, q));
    }
    put_scales(_mm512_permutexvar_ps(every_other, s->scale), out);
}

/* ...: takes a unit at b apart, to s[0]. */
#define SIGNED_LANES(codec, offset, ...)                                                                               \
    static ALWAYS_INLINE void put_##codec(const uint8_t *b, struct lanes_unit *out) {                                  \
        struct sixteens s[2];                                                                                          \
        __VA_ARGS__;                                                                                                   \
        put_sixteens(&s[0], offset, out);                                                                              \
    }                                                                                                                  \
    LANES_AVX512(codec, vbmi, { { { 32, offset, false }, .fours = { 32, 1, 2, 4, 8, 16 } }, LANES_BY_LANES })

/* What takes two units apart at once is given one twice. */
SIGNED_LANES(iq2_xxs, 128, two_units_iq2_xxs(b, b, s))
SIGNED_LANES(iq3_xxs, 128, rows_unpack_iq3_xxs(b, s))
SIGNED_LANES(iq3_s, 16, rows_unpack_iq3_s(b, s))
