#ifndef BACKEND_CPU_OPS_H
#define BACKEND_CPU_OPS_H
/* The CPU's operations: one file each or a few small ones together, every body cut into pieces for the pool whose
 * results do not depend on who runs them. */
#include "backend/cpu/kern.h"
#include "backend/host_dev.h"
#include "base/pool.h"

struct cpu_dev {
    struct host_dev host; /* first */
    struct pool *pool;
    struct kern kern;
    bool exact;
};

/* An operation of a compiled program at work. */
struct cpu_run {
    const struct cpu_dev *d;
    const struct program *p;
    const struct op *op;
    uint32_t n_done; /* operations that the body did, this one and what follows it; 1 when it is called */
    void *scratch; /* what the operation's scratch function says, aligned to 64 */
    float *turns;  /* what cpu_turns_bytes says */
    const struct op *turned; /* the last ROPE, whose sines stand in turns; NULL before the first */
};

/* Scratch memory in bytes; saturates. Operations without such a function need none. */
typedef uint64_t cpu_scratch_fn(const struct cpu_dev *d, const struct graph *g, const struct op *op);
cpu_scratch_fn cpu_attention_scratch, cpu_matmul_id_op_scratch, cpu_experts_scratch;

/* Memory for the sines of g's rotations, kept from one to the next; a multiple of 64. */
uint64_t cpu_turns_bytes(const struct graph *g);

void cpu_attention(struct cpu_run *r);
void cpu_rope(struct cpu_run *r);
void cpu_norm(struct cpu_run *r);
void cpu_get_rows(struct cpu_run *r);
void cpu_add(struct cpu_run *r);
void cpu_glu(struct cpu_run *r);
void cpu_scale(struct cpu_run *r);
void cpu_gate_rows(struct cpu_run *r);
void cpu_slice(struct cpu_run *r);
void cpu_concat(struct cpu_run *r);
void cpu_matmul_id_op(struct cpu_run *r);
void cpu_pick_experts(struct cpu_run *r);
void cpu_weigh_experts(struct cpu_run *r);
void cpu_sum_experts(struct cpu_run *r);
void cpu_kv_store(struct cpu_run *r);
#endif
