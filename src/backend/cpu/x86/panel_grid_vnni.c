/* Unpacking panels of 16 rows of the types with signs, in AVX-512. */
#include "backend/cpu/x86/panel_grid_avx512.h"

SIGNED_PANEL_KERNEL(iq1_s, vnni, 16)
SIGNED_PANEL_KERNEL(iq1_m, vnni, 16)
SIGNED_PANEL_KERNEL(iq2_xxs, vnni, 128)
SIGNED_PANEL_KERNEL(iq2_xs, vnni, 128)
SIGNED_PANEL_KERNEL(iq2_s, vnni, 128)
SIGNED_PANEL_KERNEL(mxfp4, vnni, 16)
