/* Rows of weights in points of eight times several tokens of int8 activations, in AVX-512 VNNI. */
#include "backend/cpu/x86/lanes_grid_avx512.h"

SIGNED_LANES(iq1_s, vnni, 32, 16, PAIRS_OF_8)
SIGNED_LANES(iq1_m, vnni, 16, 16, PAIRS_OF_16)
SIGNED_LANES(iq2_xxs, vnni, 32, 128, PAIRS_OF_8)
SIGNED_LANES(iq2_xs, vnni, 16, 128, PAIRS_OF_16)
SIGNED_LANES(iq2_s, vnni, 16, 128, PAIRS_OF_16)
