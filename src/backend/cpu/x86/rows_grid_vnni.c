/* Rows of stored weights with signs times a few tokens of int8 activations, in AVX-512 VNNI. */
#include "backend/cpu/x86/rows_grid_avx512.h"

SIGNED_ROWS_KERNEL(iq1_s, vnni, 32)
SIGNED_ROWS_KERNEL(iq1_m, vnni, 16)
SIGNED_ROWS_KERNEL(iq2_xxs, vnni, 32)
SIGNED_ROWS_KERNEL(iq2_xs, vnni, 16)
SIGNED_ROWS_KERNEL(iq2_s, vnni, 16)
SIGNED_ROWS_KERNEL(mxfp4, vnni, 32)
