/* Unpacking panels of 16 rows of weights in points of four, in AVX-512 VBMI. */
#include "backend/cpu/x86/panel_grid_avx512.h"
#include "backend/cpu/x86/unpack_grid_vbmi.h"

SIGNED_PANEL_KERNEL(iq3_xxs, vbmi, 128)
SIGNED_PANEL_KERNEL(iq3_s, vbmi, 16)
