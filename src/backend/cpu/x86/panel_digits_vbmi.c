/* Unpacking panels of 16 rows of TQ1_0, in AVX-512 VBMI. */
#include "backend/cpu/x86/panel_loop_avx512.h"
#include "backend/cpu/x86/unpack_digits_vbmi.h"

PANEL_KERNEL(tq1_0, vbmi, false)
