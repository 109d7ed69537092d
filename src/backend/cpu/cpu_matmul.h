#ifndef BACKEND_CPU_MATMUL_H
#define BACKEND_CPU_MATMUL_H
/* Matrix times activations on the CPU, for every stored type: out[t][o] = dot(row o of w, x[t]) + bias[o].
 *
 * Three ways. In float: the weights are decoded and multiplied as floats. In int8: activations are rounded to int8 in
 * blocks of 16 or 32 with a float scale each, and the weights' own codes are multiplied as integers; types whose
 * kernels exist (kernels.def) take this way. In BF16, with weights that are: many tokens' activations are rounded to it
 * where the processor multiplies such pairs. `exact` asks for float. The result does not depend on the number of
 * threads. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/cpu/kern.h"
#include "base/pool.h"
#include "qtype/qtype.h"

struct matmul {
    const void *w;       /* (n_out, n_in), any alignment */
    uint64_t row_bytes;  /* from one row of w to the next */
    size_t n_in;         /* a multiple of the type's block */
    size_t n_out, n_tok;
    const float *x;      /* (n_tok, n_in), finite */
    size_t x_stride;     /* floats from one token to the next */
    const float *bias;   /* (n_out), or NULL */
    float *out;          /* (n_tok, n_out), does not overlap x */
    size_t out_stride;   /* floats */
    const uint32_t *pick; /* (n_tok): token t is row pick[t] / share of x and row pick[t] of out; NULL: row t of both */
    uint32_t share;
    enum qtype type;     /* of w */
};

/* Products with several matrices of one shape. Slot i of a list is multiplied with matrix ids[i], or i % n_mat without
 * ids; it is row i of out, and row i / share of x. */
struct matmul_id {
    struct matmul each;   /* w: the first matrix, others behind it; bias (n_mat, n_out); n_tok and pick are not used */
    uint8_t *const *apart; /* (n_mat) where the matrices are if not there; or NULL */
    const int32_t *ids;   /* (n_slot), each below n_mat, or NULL */
    size_t n_slot, n_mat; /* slots of all tokens */
};

enum { MATMUL_GROUP = 4 }; /* products that one call takes at most */

/* Bytes of scratch that cpu_matmul needs for such products with a pool of n_threads; grows with n_in, n_tok and
 * n_threads, so the largest of each serves all. */
size_t cpu_matmul_scratch(enum qtype type, size_t n_in, size_t n_tok, unsigned n_threads, bool exact);
/* n products of the same activations (x, n_in, n_tok; 1 <= n <= MATMUL_GROUP). With few tokens they are one loop, in
 * which threads wait for each other once. scratch: at least cpu_matmul_scratch bytes, aligned to 64, overwritten. One
 * call at a time for a pool; NULL: the caller works alone. */
void cpu_matmul(const struct kern *k, struct pool *pool, const struct matmul *m, size_t n, void *scratch, bool exact);
/* The same for cpu_matmul_id; UINT64_MAX if no machine has so much. */
uint64_t cpu_matmul_id_scratch(const struct matmul_id *m, unsigned n_threads, bool exact);
/* Slots are grouped by matrix; each matrix that is named is read once, the others not at all. */
void cpu_matmul_id(const struct kern *k, struct pool *pool, const struct matmul_id *m, void *scratch, bool exact);
/* Whether cpu_matmul takes the int8 way for this type when not exact. */
bool cpu_matmul_is_int8(const struct kern *k, enum qtype type);
#endif
