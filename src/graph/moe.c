/* The builder functions of mixtures of experts: which experts, what each computes, and the sum of what they make. */
#include "graph/make.h"

/* Without ids: every matrix once, slots side by side. */
static tensor_id matmul_each(struct graph *g, const struct op *op) {
    const struct tensor *w = &g->tensors[op->src[0]], *x = &g->tensors[op->src[1]];
    const bool wide = x->ne[0] / w->ne[2] == w->ne[0] && x->ne[0] % w->ne[2] == 0;
    if (!is_f32(g, op->src[1]) || !is_matrix(g, op->src[1]) || (!wide && x->ne[0] != w->ne[0]))
        return graph_mismatch(g, op->kind, "with w (n_in, n_out, n_mat) and no ids x must be F32 (n_in * n_mat, n_tok) "
                              "or (n_in, n_tok)", op->src[0], op->src[1]);
    return graph_make(g, op, QTYPE_F32, (uint64_t[]){ w->ne[1] * w->ne[2], x->ne[1] }, 2);
}

tensor_id graph_matmul_id(struct graph *g, tensor_id w, tensor_id x, tensor_id ids, tensor_id bias) {
    struct op op = { .kind = OP_MATMUL_ID, .src = { w, x, ids, bias } };
    if (!graph_sources_ok(g, &op)) return NO_TENSOR;
    const struct tensor *tw = &g->tensors[w], *tx = &g->tensors[x];
    if (tw->type == TENSOR_I32 || tw->ne[3] != 1)
        return graph_mismatch(g, op.kind, "w must be (n_in, n_out, n_mat)", w, x);
    if (bias != NO_TENSOR && !is_matrix_of(g, bias, QTYPE_F32, tw->ne[1], tw->ne[2]))
        return graph_mismatch(g, op.kind, "with w (n_in, n_out, n_mat) the bias must be F32 (n_out, n_mat)", w, bias);
    if (ids == NO_TENSOR) return matmul_each(g, &op);
    const struct tensor *ti = &g->tensors[ids];
    if (ti->type != TENSOR_I32 || !is_matrix(g, ids))
        return graph_mismatch(g, op.kind, "ids must be I32 (n_slot, n_tok)", w, ids);
    const bool shared = is_matrix_of(g, x, QTYPE_F32, tw->ne[0], ti->ne[1]);
    if (!shared && (!is_f32(g, x) || tx->ne[0] != tw->ne[0] || tx->ne[1] != ti->ne[0] || tx->ne[2] != ti->ne[1] ||
                    tx->ne[3] != 1))
        return graph_mismatch(g, op.kind,
                              "with ids (n_slot, n_tok) x must be F32 (n_in, n_slot, n_tok) or (n_in, n_tok)",
                              x, ids);
    return graph_make(g, &op, QTYPE_F32, (uint64_t[]){ tw->ne[1], ti->ne[0], ti->ne[1] }, 3);
}

/* Whether n_used experts can be had from the groups. */
static bool fits_groups(const struct pick_desc *d, uint64_t n_expert) {
    if (d->n_group <= 1) return true;
    const uint64_t per_group = n_expert / d->n_group;
    return n_expert % d->n_group == 0 && d->n_group_used >= 1 && d->n_group_used <= d->n_group &&
           d->n_used <= per_group * d->n_group_used && d->group_best >= 1 && d->group_best <= 2 &&
           d->group_best <= per_group;
}

tensor_id graph_pick_experts(struct graph *g, tensor_id logits, tensor_id bias, const struct pick_desc *d) {
    struct op op = { .kind = OP_PICK_EXPERTS, .src = { logits, bias }, .pick = *d };
    if (!graph_sources_ok(g, &op)) return NO_TENSOR;
    const struct tensor *t = &g->tensors[logits];
    if (!is_f32(g, logits) || !is_matrix(g, logits) || (bias != NO_TENSOR && !is_vector(g, bias, QTYPE_F32, t->ne[0])))
        return graph_mismatch(g, op.kind, "logits must be F32 (n_expert, n_tok) and the bias F32 (n_expert)", logits,
                              bias);
    if (d->n_used == 0 || d->n_used > t->ne[0] || t->ne[0] > INT32_MAX || !fits_groups(d, t->ne[0]))
        return graph_fail(g,
                          "PICK_EXPERTS: %u of %llu experts cannot be had of the best %u of %u groups (group_best %u)",
                          d->n_used, (unsigned long long)t->ne[0], d->n_group_used, d->n_group, d->group_best);
    if (d->score == SCORE_SOFTMAX_CHOSEN)
        return graph_fail(g, "PICK_EXPERTS: a softmax over the chosen ones says nothing about which to choose");
    if (op.pick.n_group == 0) op.pick.n_group = 1;
    return graph_make(g, &op, TENSOR_I32, (uint64_t[]){ d->n_used, t->ne[1] }, 2);
}

tensor_id graph_weigh_experts(struct graph *g, tensor_id logits, tensor_id ids, const struct weigh_desc *d) {
    struct op op = { .kind = OP_WEIGH_EXPERTS, .src = { logits, ids }, .weigh = *d };
    if (!graph_sources_ok(g, &op)) return NO_TENSOR;
    const struct tensor *t = &g->tensors[logits], *i = &g->tensors[ids];
    if (!is_f32(g, logits) || !is_matrix(g, logits) || !is_matrix_of(g, ids, TENSOR_I32, i->ne[0], t->ne[1]))
        return graph_mismatch(g, op.kind, "logits must be F32 (n_expert, n_tok) and ids I32 (n_used, n_tok)", logits,
                              ids);
    return graph_make(g, &op, QTYPE_F32, (uint64_t[]){ i->ne[0], i->ne[1] }, 2);
}

tensor_id graph_sum_experts(struct graph *g, tensor_id x, tensor_id weights) {
    struct op op = { .kind = OP_SUM_EXPERTS, .src = { x, weights } };
    if (!graph_sources_ok(g, &op)) return NO_TENSOR;
    const struct tensor *t = &g->tensors[x];
    if (!is_f32(g, x) || t->ne[3] != 1 || !is_matrix_of(g, weights, QTYPE_F32, t->ne[1], t->ne[2]))
        return graph_mismatch(g, op.kind, "x must be F32 (n, n_slot, n_tok) and weights F32 (n_slot, n_tok)", x,
                              weights);
    return graph_make(g, &op, QTYPE_F32, (uint64_t[]){ t->ne[0], t->ne[2] }, 2);
}
