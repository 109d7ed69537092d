/* Mixtures of experts: the choice for each token, products with the chosen matrices, and the sum of what they make. */
#include "backend/cpu/cpu_matmul.h"
#include "backend/cpu/cpu_ops.h"
#include "backend/experts.h"
#include "base/num.h"

enum {
    COLUMNS = 1024, /* numbers of a token's sum that are computed at once: they stay in the first-level cache */
    TOKENS = 4,     /* whose experts are chosen in one piece */
};

/* --- The choice --- */

/* Scores of one token's experts for every thread. */
uint64_t cpu_experts_scratch(const struct cpu_dev *d, const struct graph *g, const struct op *op) {
    return (uint64_t)pool_size(d->pool) * EXPERTS_SCRATCH * sizeof(float) * graph_tensor(g, op->src[0])->ne[0];
}

static float *own_scratch(const struct cpu_run *r, unsigned thread) {
    return (float *)r->scratch + thread * EXPERTS_SCRATCH * src_tensor(r->p, r->op, 0)->ne[0];
}

static void pick(void *arg, size_t begin, size_t end, unsigned thread) {
    const struct cpu_run *r = arg;
    const size_t n_expert = src_tensor(r->p, r->op, 0)->ne[0]; // (n_expert, n_tok)
    const float *bias = r->op->src[1] == NO_TENSOR ? NULL : src_f32(r->p, r->op, 1);
    for (size_t t = begin; t < end; t++)
        experts_pick(&r->op->pick, src_f32(r->p, r->op, 0) + t * n_expert, bias, (uint32_t)n_expert,
                     own_scratch(r, thread), dst_i32(r->p, r->op) + t * r->op->pick.n_used);
}

void cpu_pick_experts(struct cpu_run *r) {
    pool_run(r->d->pool, src_tensor(r->p, r->op, 0)->ne[1], TOKENS, pick, r);
}

static void weigh(void *arg, size_t begin, size_t end, unsigned thread) {
    const struct cpu_run *r = arg;
    const size_t n_expert = src_tensor(r->p, r->op, 0)->ne[0]; // (n_expert, n_tok)
    const size_t n_used = src_tensor(r->p, r->op, 1)->ne[0];   // (n_used, n_tok)
    for (size_t t = begin; t < end; t++)
        experts_weigh(&r->op->weigh, src_f32(r->p, r->op, 0) + t * n_expert, (uint32_t)n_expert,
                      src_i32(r->p, r->op, 1) + t * n_used, (uint32_t)n_used, own_scratch(r, thread),
                      dst_f32(r->p, r->op) + t * n_used);
}

void cpu_weigh_experts(struct cpu_run *r) {
    pool_run(r->d->pool, src_tensor(r->p, r->op, 0)->ne[1], TOKENS, weigh, r);
}

/* --- Products --- */

/* All but addresses, which a graph that is only measured has not. */
static struct matmul_id shape_of(const struct graph *g, const struct op *op) {
    const struct tensor *w = graph_tensor(g, op->src[0]), *x = graph_tensor(g, op->src[1]);
    struct matmul_id m = { .n_mat = w->ne[2], .n_slot = tensor_numbers(graph_tensor(g, op->dst)) / w->ne[1] };
    m.each = (struct matmul){
        .type = (enum qtype)w->type, .row_bytes = tensor_row_bytes(w), .n_in = w->ne[0], .n_out = w->ne[1],
        .x_stride = w->ne[0], .out_stride = w->ne[1],
        .share = (uint32_t)(m.n_slot / (tensor_numbers(x) / w->ne[0])),
    };
    return m;
}

uint64_t cpu_matmul_id_op_scratch(const struct cpu_dev *d, const struct graph *g, const struct op *op) {
    const struct matmul_id m = shape_of(g, op);
    return cpu_matmul_id_scratch(&m, pool_size(d->pool), d->exact);
}

void cpu_matmul_id_op(struct cpu_run *r) {
    struct matmul_id m = shape_of(r->p->g, r->op);
    m.each.w = r->p->at[r->op->src[0]];
    m.apart = r->p->apart[r->op->src[0]];
    m.each.x = src_f32(r->p, r->op, 1);
    m.each.out = dst_f32(r->p, r->op);
    if (r->op->src[2] != NO_TENSOR) m.ids = src_i32(r->p, r->op, 2);
    if (r->op->src[3] != NO_TENSOR) m.each.bias = src_f32(r->p, r->op, 3);
    cpu_matmul_id(&r->d->kern, r->d->pool, &m, r->scratch, r->d->exact);
}

/* --- The sum --- */

/* Pieces are COLUMNS of one token. */
static void sum(void *arg, size_t begin, size_t end, unsigned thread) {
    (void)thread;
    const struct cpu_run *r = arg;
    const struct tensor *x = src_tensor(r->p, r->op, 0); // (n, n_slot, n_tok)
    const size_t n = x->ne[0], n_slot = x->ne[1], pieces = div_up(n, COLUMNS);
    for (size_t i = begin; i < end; i++) {
        const size_t t = i / pieces, first = i % pieces * COLUMNS, width = min_u64(n - first, COLUMNS);
        const float *w = src_f32(r->p, r->op, 1) + t * n_slot, *from = src_f32(r->p, r->op, 0) + t * n_slot * n + first;
        float *out = dst_f32(r->p, r->op) + t * n + first;
        for (size_t k = 0; k < width; k++) out[k] = w[0] * from[k];
        for (size_t s = 1; s < n_slot; s++) r->d->kern.blend(out, 1, from + s * n, w[s], width);
    }
}

void cpu_sum_experts(struct cpu_run *r) {
    const struct tensor *x = src_tensor(r->p, r->op, 0);
    pool_run(r->d->pool, x->ne[2] * div_up(x->ne[0], COLUMNS), 1, sum, r);
}
