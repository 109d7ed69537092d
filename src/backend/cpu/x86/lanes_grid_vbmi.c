/* Rows of weights in points of a grid times several tokens of int8 activations, in AVX-512 VNNI and VBMI: magnitudes
 * are added to the type's offset or taken off it, since here many activations share a code. */
#include "backend/cpu/x86/lanes_avx512.h"
#include "backend/cpu/x86/rows_units_vbmi.h"

/* Codes of vector v of a unit. */
static ALWAYS_INLINE __m512i signed_codes(const struct sixteens *s, int v, const uint8_t offset) {
    const __m512i o = _mm512_set1_epi8((char)offset);
    return _mm512_mask_sub_epi8(_mm512_add_epi8(o, s->q[v]), s->minus[v], o, s->q[v]);
}

/* Of a lane's two neighbours, sub-blocks of 16, one is A and one is B. */
static ALWAYS_INLINE void put_16(const struct sixteens *s, const uint8_t offset, struct lanes_unit *out) {
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) _mm512_store_si512(out->q[v], signed_codes(s, v, offset));
    put_scales(s->scale, out);
}

/* Lanes l and l + 8 make a pair; two lanes have one scale. */
static ALWAYS_INLINE void put_32(const struct sixteens *s, const uint8_t offset, struct lanes_unit *out) {
    const __m512i pairs = _mm512_setr_epi32(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
    const __m512i every_other = _mm512_setr_epi32(0, 8, 2, 10, 4, 12, 6, 14, 0, 0, 0, 0, 0, 0, 0, 0);
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++)
        _mm512_store_si512(out->q[v], _mm512_permutexvar_epi32(pairs, signed_codes(s, v, offset)));
    put_scales(_mm512_permutexvar_ps(every_other, s->scale), out);
}

#define ORDER_16 { 4, 1, 2, 8, 16, 32 }
#define ORDER_32 { 32, 1, 2, 4, 8, 16 }

#define SIGNED_LANES(codec, sub, offset)                                                                               \
    static ALWAYS_INLINE void put_##codec(const uint8_t *b, struct lanes_unit *out) {                                  \
        struct sixteens s;                                                                                             \
        rows_unpack_##codec(b, &s);                                                                                    \
        put_##sub(&s, offset, out);                                                                                    \
    }                                                                                                                  \
    LANES_AVX512(codec, vbmi, { { { sub, offset, false }, .fours = ORDER_##sub }, LANES_BY_LANES })

#define SIGNED_LANES_OF_TWO(codec, sub, offset)                                                                        \
    static ALWAYS_INLINE void put_##codec(const uint8_t *b, const uint8_t *next, struct lanes_unit out[2]) {           \
        struct sixteens s[2];                                                                                          \
        two_units_##codec(b, next, s);                                                                                 \
        put_##sub(&s[0], offset, &out[0]);                                                                             \
        put_##sub(&s[1], offset, &out[1]);                                                                             \
    }                                                                                                                  \
    LANES_AVX512_OF(2, codec, vbmi, { { { sub, offset, false }, .fours = ORDER_##sub }, LANES_BY_LANES })

SIGNED_LANES_OF_TWO(iq2_xxs, 32, 128)
SIGNED_LANES_OF_TWO(iq2_xs, 16, 128)
SIGNED_LANES_OF_TWO(iq2_s, 16, 128)
SIGNED_LANES(iq3_xxs, 32, 128)
SIGNED_LANES(iq3_s, 32, 16)
