#ifndef BACKEND_CPU_MATMUL_H
#define BACKEND_CPU_MATMUL_H
/* Matrix times activations on the CPU, for every stored type: out[t][o] = dot(row o of w, x[t]) + bias[o].
 *
 * Two ways. In float: the weights are decoded and multiplied as floats. In int8: activations are rounded to int8 in
 * blocks of 16 or 32 with a float scale each, and the weights' own codes are multiplied as integers; types whose
 * kernels exist (kernels.def) take this way unless `exact` asks for float. The result does not depend on the number
 * of threads. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/cpu/kern.h"
#include "base/pool.h"
#include "qtype/qtype.h"

struct matmul {
    enum qtype type;
    const void *w;       /* (n_out, n_in), any alignment */
    uint64_t row_bytes;  /* from one row of w to the next */
    size_t n_in;         /* a multiple of the type's block */
    size_t n_out, n_tok;
    const float *x;      /* (n_tok, n_in), finite */
    size_t x_stride;     /* floats from one token to the next */
    const float *bias;   /* (n_out), or NULL */
    float *out;          /* (n_tok, n_out), does not overlap x */
    size_t out_stride;   /* floats */
};

/* Bytes of scratch that cpu_matmul needs for such a product with a pool of n_threads; grows with n_in, n_tok and
 * n_threads, so the largest of each serves all. */
size_t cpu_matmul_scratch(enum qtype type, size_t n_in, size_t n_tok, unsigned n_threads, bool exact);
/* scratch: at least cpu_matmul_scratch bytes, aligned to 64, overwritten. One call at a time for a pool. */
void cpu_matmul(const struct kern *k, struct pool *pool, const struct matmul *m, void *scratch, bool exact);
/* Whether cpu_matmul takes the int8 way for this type when not exact. */
bool cpu_matmul_is_int8(const struct kern *k, enum qtype type);
#endif
