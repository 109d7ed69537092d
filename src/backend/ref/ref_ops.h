#ifndef BACKEND_REF_OPS_H
#define BACKEND_REF_OPS_H
/* The body of every operation, as graph.h defines it. */
#include "backend/host_dev.h"

/* Scratch memory that an operation needs, in floats; saturates. */
uint64_t ref_op_scratch(const struct graph *g, const struct op *op);
/* Runs one operation of a compiled program; scratch holds what ref_op_scratch says. */
void ref_op_run(const struct program *p, const struct op *op, float *scratch);
/* Of ref_attn.c, in the same terms. */
uint64_t ref_attention_scratch(const struct graph *g, const struct op *op);
void ref_attention(const struct program *p, const struct op *op, float *scratch);
#endif
