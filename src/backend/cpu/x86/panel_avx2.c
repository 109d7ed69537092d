/* Unpacking panels of 16 rows in AVX2: Q4_0 to Q8_0, IQ4, the K types, NVFP4 and TQ. */
#include "backend/cpu/x86/panel_loop_avx2.h"

PANEL_KERNEL(q4_0, 32, 8, false)
PANEL_KERNEL(q4_1, 32, 0, true)
PANEL_KERNEL(q5_0, 32, 16, false)
PANEL_KERNEL(q5_1, 32, 0, true)
PANEL_KERNEL(q8_0, 32, 128, false)
PANEL_KERNEL(iq4_nl, 32, 128, false)
PANEL_KERNEL(q2_k, 16, 0, true)
PANEL_KERNEL(q3_k, 16, 4, false)
PANEL_KERNEL(q4_k, 32, 0, true)
PANEL_KERNEL(q5_k, 32, 0, true)
PANEL_KERNEL(q6_k, 16, 32, false)
PANEL_KERNEL(iq4_xs, 32, 128, false)
PANEL_KERNEL(nvfp4, 16, 16, false)
PANEL_KERNEL(tq1_0, 32, 1, false)
PANEL_KERNEL(tq2_0, 32, 1, false)
