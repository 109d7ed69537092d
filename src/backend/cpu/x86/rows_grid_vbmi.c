/* Rows of weights in points of four times a few tokens of int8 activations, in AVX-512 VNNI and VBMI. */
#include "backend/cpu/x86/rows_grid_avx512.h"
#include "backend/cpu/x86/unpack_grid_vbmi.h"

SIGNED_ROWS_KERNEL(iq3_xxs, vbmi, 32)
SIGNED_ROWS_KERNEL(iq3_s, vbmi, 32)
