/* Rows of weights in points of four times several tokens of int8 activations, in AVX-512 VNNI and VBMI: magnitudes are
 * added to the type's offset or taken off it, since here many activations share a code. */
#include "backend/cpu/x86/lanes_avx512.h"
#include "backend/cpu/x86/unpack_grid_vbmi.h"

#define SIGNED_LANES(codec, offset)                                                                                    \
    static ALWAYS_INLINE void put_##codec(const uint8_t *b, struct lanes_unit *out) {                                  \
        struct signed512 s;                                                                                            \
        struct unit512 u;                                                                                              \
        take_##codec(b, IN_ORDER, &s);                                                                                 \
        signed_to_unit(&s, offset, &u);                                                                                \
        put_unit(&u, PAIRS_OF_8, out);                                                                                 \
    }                                                                                                                  \
    LANES_AVX512(codec, vbmi, { { { 32, offset, false }, .fours = { 32, 1, 2, 4, 8, 16 } }, LANES_IN_ORDER })

SIGNED_LANES(iq3_xxs, 128)
SIGNED_LANES(iq3_s, 16)
