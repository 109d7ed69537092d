/* Rows of weights in points of four times several tokens of int8 activations, in AVX-512 VNNI and VBMI. */
#include "backend/cpu/x86/lanes_grid_avx512.h"
#include "backend/cpu/x86/unpack_grid_vbmi.h"

SIGNED_LANES(iq3_xxs, vbmi, 32, 128, PAIRS_OF_8)
SIGNED_LANES(iq3_s, vbmi, 32, 16, PAIRS_OF_8)
