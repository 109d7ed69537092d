/* Unpacking panels of 16 rows of the types with signs, in AVX2: magnitudes are added to the type's offset or taken off
 * it. */
#include "backend/cpu/x86/panel_loop_avx2.h"
#include "backend/cpu/x86/unpack_grid_avx2.h"

#define SIGNED_PANEL_KERNEL(codec, sub, offset)                                                                        \
    SIGNED_UNPACK(codec, sub, offset)                                                                                  \
    PANEL_KERNEL(codec, sub, offset, false)

SIGNED_PANEL_KERNEL(iq1_s, 32, 16)
SIGNED_PANEL_KERNEL(iq1_m, 16, 16)
SIGNED_PANEL_KERNEL(iq2_xxs, 32, 128)
SIGNED_PANEL_KERNEL(iq2_xs, 16, 128)
SIGNED_PANEL_KERNEL(iq2_s, 16, 128)
SIGNED_PANEL_KERNEL(iq3_xxs, 32, 128)
SIGNED_PANEL_KERNEL(iq3_s, 32, 16)
SIGNED_PANEL_KERNEL(mxfp4, 32, 16)
