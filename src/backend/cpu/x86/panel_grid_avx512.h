#ifndef BACKEND_CPU_X86_PANEL_GRID_AVX512_H
#define BACKEND_CPU_X86_PANEL_GRID_AVX512_H
/* Panels of the types with signs: magnitudes are added to the type's offset or taken off it. */
#include "backend/cpu/x86/panel_loop_avx512.h"
#include "backend/cpu/x86/unpack_grid_vnni.h"

static ALWAYS_INLINE void signed_to_unit(const struct signed512 *s, int offset, struct unit512 *u) {
    const __m512i o = _mm512_set1_epi8((char)offset);
    u->scale = s->scale;
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++)
        u->q[v] = _mm512_mask_sub_epi8(_mm512_add_epi8(o, s->q[v]), s->minus[v], o, s->q[v]);
}

#define SIGNED_PANEL_KERNEL(codec, isa, offset)                                                                        \
    static ALWAYS_INLINE void unpack_##codec(const uint8_t *b, struct unit512 *u) {                                    \
        struct signed512 s;                                                                                            \
        take_##codec(b, IN_ORDER, &s);                                                                                 \
        signed_to_unit(&s, offset, u);                                                                                 \
    }                                                                                                                  \
    PANEL_KERNEL(codec, isa, false)
#endif
