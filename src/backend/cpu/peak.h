#ifndef BACKEND_CPU_PEAK_H
#define BACKEND_CPU_PEAK_H
/* What this machine can do at most, measured: the limits that speeds are shown as a share of. */
#include "backend/cpu/kern.h"
#include "base/err.h"
#include "base/pool.h"

struct peak {
    double read_gb_s;   /* 10^9 bytes read from memory in a second, all threads of the pool together */
    double int8_gops;   /* 10^9 int8 multiplications and additions in a second (two for each pair) */
    double f32_gflops;  /* likewise in float */
    double bf16_gflops; /* of pairs of BF16, added in float; 0 if the processor cannot */
};
/* Runs for about a second. The buffer it reads is several times the last-level cache. */
enum err_code peak_measure(const struct kern *k, struct pool *pool, struct peak *out, struct err *e);
#endif
