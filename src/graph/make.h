#ifndef GRAPH_MAKE_H
#define GRAPH_MAKE_H
/* What the builder functions of operations share; for src/graph alone. */
#include <string.h>

#include "base/compiler.h"
#include "graph/graph.h"

/* Whether the builder is sound and every needed source exists. Sources that the operation does not have become
 * NO_TENSOR. Every builder function begins with it. */
bool graph_sources_ok(struct graph *g, struct op *op);
/* Keeps the first error. Returns NO_TENSOR, like the next. */
PRINTF_LIKE(2, 3) tensor_id graph_fail(struct graph *g, const char *fmt, ...);
/* "MATMUL: rule, but they are a and b", with the tensors' names, types and shapes. */
tensor_id graph_mismatch(struct graph *g, enum op_kind kind, const char *rule, tensor_id a, tensor_id b);
/* Appends an operation that writes to a tensor which exists already. Returns op->dst. */
tensor_id graph_append(struct graph *g, const struct op *op);
/* Appends an operation with a new activation as its result. It is named after the operation and its number, and after
 * the first weight that goes in: "MATMUL.7 blk.0.attn_q.weight". */
tensor_id graph_make(struct graph *g, const struct op *proto, uint32_t type, const uint64_t *ne, unsigned n_dims);

static inline bool is_f32(const struct graph *g, tensor_id t) { return g->tensors[t].type == QTYPE_F32; }
/* n0 numbers in each of n1 rows. */
static inline bool is_matrix_of(const struct graph *g, tensor_id t, uint32_t type, uint64_t n0, uint64_t n1) {
    const struct tensor *x = &g->tensors[t];
    return x->type == type && x->ne[0] == n0 && x->ne[1] == n1 && x->ne[2] == 1 && x->ne[3] == 1;
}
/* n numbers in one row. */
static inline bool is_vector(const struct graph *g, tensor_id t, uint32_t type, uint64_t n) {
    return is_matrix_of(g, t, type, n, 1);
}
static inline bool is_matrix(const struct graph *g, tensor_id t) {
    return g->tensors[t].ne[2] == 1 && g->tensors[t].ne[3] == 1;
}
static inline bool same_shape(const struct graph *g, tensor_id a, tensor_id b) {
    return !memcmp(g->tensors[a].ne, g->tensors[b].ne, sizeof g->tensors[a].ne);
}
#endif
