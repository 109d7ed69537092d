/* Unpacking panels of 16 rows of the types with signs, in AVX-512: magnitudes are added to the type's offset or taken
 * off it. */
#include "backend/cpu/x86/panel_loop_avx512.h"
#include "backend/cpu/x86/unpack_grid_vnni.h"

#define SIGNED_PANEL_KERNEL(codec, offset)                                                                             \
    static ALWAYS_INLINE void unpack_##codec(const uint8_t *b, struct unit512 *u) {                                    \
        struct signed512 s;                                                                                            \
        take_##codec(b, IN_ORDER, &s);                                                                                 \
        signed_to_unit(&s, offset, u);                                                                                 \
    }                                                                                                                  \
    PANEL_KERNEL(codec, vnni, false)

SIGNED_PANEL_KERNEL(iq1_s, 16)
SIGNED_PANEL_KERNEL(iq1_m, 16)
SIGNED_PANEL_KERNEL(iq2_xxs, 128)
SIGNED_PANEL_KERNEL(iq2_xs, 128)
SIGNED_PANEL_KERNEL(iq2_s, 128)
SIGNED_PANEL_KERNEL(mxfp4, 16)
