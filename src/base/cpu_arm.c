/* Owns: what Linux says of a 64-bit ARM processor.
 * Promises: only what every core of the machine has, which is what the kernel reports.
 * Leaves to others: which kernel is chosen. */
#include <asm/hwcap.h>
#include <sys/auxv.h>
#include "base/cpu_detect.h"

unsigned cpu_detect(void) {
    unsigned long caps = getauxval(AT_HWCAP), caps2 = getauxval(AT_HWCAP2);
    unsigned f = 0;
    if (caps & HWCAP_ASIMD) f |= CPU_NEON;
    if (caps & HWCAP_ASIMDDP) f |= CPU_DOTPROD;
    if (caps2 & HWCAP2_I8MM) f |= CPU_I8MM;
    return f;
}
