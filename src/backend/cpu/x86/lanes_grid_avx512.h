#ifndef BACKEND_CPU_X86_LANES_GRID_AVX512_H
#define BACKEND_CPU_X86_LANES_GRID_AVX512_H
/* Rows of the types with a grid times several tokens of int8 activations: magnitudes are added to the type's offset or
 * taken off it, since here many activations share a code, and put in the buffer in the order of the elements. */
#include "backend/cpu/x86/lanes_avx512.h"
#include "backend/cpu/x86/unpack_grid_vnni.h"

#define SIGNED_LANES(codec, isa, sub, offset, pairs)                                                                   \
    static ALWAYS_INLINE void put_##codec(const uint8_t *b, struct lanes_unit *out) {                                  \
        struct signed512 s;                                                                                            \
        struct unit512 u;                                                                                              \
        take_##codec(b, IN_ORDER, &s);                                                                                 \
        signed_to_unit(&s, offset, &u);                                                                                \
        put_unit(&u, pairs, out);                                                                                      \
    }                                                                                                                  \
    LANES_AVX512(codec, isa, { { { sub, offset, false }, .fours = { 32, 1, 2, 4, 8, 16 } }, LANES_IN_ORDER })
#endif
