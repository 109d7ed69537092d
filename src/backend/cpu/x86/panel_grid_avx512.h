#ifndef BACKEND_CPU_X86_PANEL_GRID_AVX512_H
#define BACKEND_CPU_X86_PANEL_GRID_AVX512_H
/* Panels of the types with signs: magnitudes are added to the type's offset or taken off it. */
#include "backend/cpu/x86/panel_loop_avx512.h"
#include "backend/cpu/x86/unpack_grid_vnni.h"

#define SIGNED_PANEL_KERNEL(codec, isa, offset)                                                                        \
    static ALWAYS_INLINE void unpack_##codec(const uint8_t *b, struct unit512 *u) {                                    \
        struct signed512 s;                                                                                            \
        take_##codec(b, IN_ORDER, &s);                                                                                 \
        signed_to_unit(&s, offset, u);                                                                                 \
    }                                                                                                                  \
    PANEL_KERNEL(codec, isa, false)
#endif
