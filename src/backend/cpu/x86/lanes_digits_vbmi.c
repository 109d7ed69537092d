/* Rows of TQ1_0 times several tokens of int8 activations, in AVX-512 VNNI and VBMI. */
#include "backend/cpu/x86/lanes_avx512.h"
#include "backend/cpu/x86/unpack_digits_vbmi.h"

static ALWAYS_INLINE void put_tq1_0(const uint8_t *b, struct lanes_unit *out) {
    struct unit512 u;
    unpack_tq1_0(b, &u);
    put_unit(&u, PAIRS_OF_8, out);
}

LANES_AVX512(tq1_0, vbmi, { { { 32, 1, false }, .fours = { 32, 1, 2, 4, 8, 16 } }, LANES_IN_ORDER })
