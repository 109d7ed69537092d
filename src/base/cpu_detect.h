#ifndef BASE_CPU_DETECT_H
#define BASE_CPU_DETECT_H
/* Between cpu.c and the one file that knows the instructions of this architecture. */
#include "base/cpu.h"

/* What processor and operating system support together; asks the hardware each time. */
#if defined(__x86_64__) || defined(__aarch64__)
unsigned cpu_detect(void);
#else
static inline unsigned cpu_detect(void) { return 0; }
#endif
#endif
