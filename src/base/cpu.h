#ifndef BASE_CPU_H
#define BASE_CPU_H
/* What the processor can do, found at run time. */
#include <stdbool.h>
#include <stdint.h>

enum cpu_feature {
    CPU_SSE42 = 1u << 0,
    CPU_AVX2 = 1u << 1,     /* with FMA and F16C: every AVX2 processor has them */
    CPU_AVX512 = 1u << 2,   /* F, BW, DQ, VL */
    CPU_VNNI = 1u << 3,     /* AVX512_VNNI */
    CPU_AVXVNNI = 1u << 4,
    CPU_BF16 = 1u << 5,     /* AVX512_BF16 */
    CPU_AMX_INT8 = 1u << 6,
    CPU_AMX_BF16 = 1u << 7,
    CPU_NEON = 1u << 8,
    CPU_DOTPROD = 1u << 9,
    CPU_I8MM = 1u << 10,
    CPU_VBMI = 1u << 11,    /* AVX512_VBMI */
};
/* Features of this machine, usable by the operating system too, less those that cpu_limit took away. Thread-safe. */
unsigned cpu_features(void);
/* Caps the features to a level: "scalar", "avx2" ("neon"), "avx512", "vnni" ("dotprod"), "amx" ("i8mm"), "native"; the
 * names in brackets mean the same levels. false if the name is unknown. Call before any work starts. */
bool cpu_limit(const char *level);
/* "AVX2 AVX512 VNNI" */
const char *cpu_features_text(unsigned features, char *buf, unsigned size);
/* Model name as the system gives it, "unknown" otherwise. */
const char *cpu_name(char *buf, unsigned size);
/* Physical cores that this process may use, at least 1; a quota counts as so many cores. */
unsigned cpu_physical_cores(void);
/* Cores that threads can be bound to, numbered from 0: those of which the process may use a hardware thread, whatever
 * its quota. 0 if the system does not say. */
unsigned cpu_places(void);
/* The place that the calling thread runs on at the moment; cpu_places() if that is unknown. */
unsigned cpu_place(void);
/* Keeps the calling thread on a place, on those of its hardware threads that the process may use. false if refused. */
bool cpu_bind(unsigned place);
/* Largest cache of one core's view, in bytes (the last level); 0 if unknown. */
uint64_t cpu_last_level_cache(void);
#endif
