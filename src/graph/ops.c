/* The builder functions of all operations but those of moe.c: each checks its sources, says which do not fit, and
 * infers the shape of its result. */
#include "graph/make.h"

tensor_id graph_get_rows(struct graph *g, tensor_id table, tensor_id ids, float scale) {
    struct op op = { .kind = OP_GET_ROWS, .src = { table, ids }, .get_rows = { scale } };
    if (!graph_sources_ok(g, &op)) return NO_TENSOR;
    const struct tensor *t = &g->tensors[table], *i = &g->tensors[ids];
    if (t->type == TENSOR_I32 || !is_matrix(g, table) || !is_vector(g, ids, TENSOR_I32, i->ne[0]))
        return graph_mismatch(g, op.kind, "table must be (n, n_rows) and ids I32 (m)", table, ids);
    return graph_make(g, &op, QTYPE_F32, (uint64_t[]){ t->ne[0], i->ne[0] }, 2);
}

/* Weights or biases of a norm: of one group, or of every group its own. */
static bool fits_norm(const struct graph *g, tensor_id w, uint64_t group, uint64_t n) {
    return w == NO_TENSOR || is_vector(g, w, QTYPE_F32, group) || is_vector(g, w, QTYPE_F32, n) ||
           is_matrix_of(g, w, QTYPE_F32, group, n / group);
}

tensor_id graph_norm(struct graph *g, tensor_id x, tensor_id w, tensor_id bias, const struct norm_desc *d) {
    struct op op = { .kind = OP_NORM, .src = { x, w, bias }, .norm = *d };
    if (!graph_sources_ok(g, &op)) return NO_TENSOR;
    const struct tensor t = g->tensors[x];
    if (op.norm.group == 0) {
        if (t.ne[0] > UINT32_MAX) return graph_fail(g, "NORM: rows of %s pass 2^32 numbers", t.name);
        op.norm.group = (uint32_t)t.ne[0];
    }
    if (!is_f32(g, x) || t.ne[0] % op.norm.group || !fits_norm(g, w, op.norm.group, t.ne[0]))
        return graph_mismatch(g, op.kind, "x must be F32 (group * m, ...) and w F32 (group), (group * m) or (group, m)",
                              x, w);
    if (!fits_norm(g, bias, op.norm.group, t.ne[0]))
        return graph_mismatch(g, op.kind, "the bias must be F32 (group), (group * m) or (group, m)", x, bias);
    return graph_make(g, &op, QTYPE_F32, t.ne, TENSOR_DIMS);
}

tensor_id graph_matmul(struct graph *g, tensor_id w, tensor_id x, tensor_id bias) {
    struct op op = { .kind = OP_MATMUL, .src = { w, x, bias } };
    if (!graph_sources_ok(g, &op)) return NO_TENSOR;
    const struct tensor *tw = &g->tensors[w], *tx = &g->tensors[x];
    if (tw->type == TENSOR_I32 || !is_matrix(g, w) || !is_matrix(g, x) || !is_f32(g, x) || tw->ne[0] != tx->ne[0])
        return graph_mismatch(g, op.kind, "w must be (n_in, n_out) and x F32 (n_in, n_tok)", w, x);
    if (bias != NO_TENSOR && !is_vector(g, bias, QTYPE_F32, tw->ne[1]))
        return graph_mismatch(g, op.kind, "with w (n_in, n_out) the bias must be F32 (n_out)", w, bias);
    return graph_make(g, &op, QTYPE_F32, (uint64_t[]){ tw->ne[1], tx->ne[1] }, 2);
}

/* --- Number by number --- */

/* One or two sources of one shape, which is also the result's. */
static tensor_id elementwise(struct graph *g, struct op *op) {
    if (!graph_sources_ok(g, op)) return NO_TENSOR;
    tensor_id a = op->src[0], b = op->src[1];
    if (!is_f32(g, a) || (b != NO_TENSOR && (!is_f32(g, b) || !same_shape(g, a, b))))
        return graph_mismatch(g, op->kind, "both must be F32 of one shape", a, b);
    const struct tensor t = g->tensors[a];
    return graph_make(g, op, QTYPE_F32, t.ne, TENSOR_DIMS);
}

tensor_id graph_add(struct graph *g, tensor_id a, tensor_id b, float scale) {
    return elementwise(g, &(struct op){ .kind = OP_ADD, .src = { a, b }, .add = { scale } });
}

tensor_id graph_scale(struct graph *g, tensor_id x, float scale, float softcap) {
    return elementwise(g, &(struct op){ .kind = OP_SCALE, .src = { x }, .scale = { scale, softcap } });
}

tensor_id graph_glu(struct graph *g, tensor_id gate, tensor_id up, const struct glu_desc *d) {
    if (d->kind == GLU_OAI && (up == NO_TENSOR || !(d->alpha > 0) || !(d->limit > 0)))
        return graph_fail(g, "GLU: this kind needs gate, up, and a positive alpha and limit");
    return elementwise(g, &(struct op){ .kind = OP_GLU, .src = { gate, up }, .glu = *d });
}

tensor_id graph_gate_rows(struct graph *g, tensor_id x, tensor_id s) {
    struct op op = { .kind = OP_GATE_ROWS, .src = { x, s } };
    if (!graph_sources_ok(g, &op)) return NO_TENSOR;
    const struct tensor t = g->tensors[x];
    if (!is_f32(g, x) || !is_matrix(g, x) || !is_matrix_of(g, s, QTYPE_F32, 1, t.ne[1]))
        return graph_mismatch(g, op.kind, "x must be F32 (n, n_tok) and s F32 (1, n_tok)", x, s);
    return graph_make(g, &op, QTYPE_F32, t.ne, TENSOR_DIMS);
}

/* --- Rows cut and joined --- */

tensor_id graph_slice(struct graph *g, tensor_id x, const struct slice_desc *d) {
    struct op op = { .kind = OP_SLICE, .src = { x }, .slice = *d };
    if (!graph_sources_ok(g, &op)) return NO_TENSOR;
    struct tensor t = g->tensors[x];
    if (d->count == 0 || d->count > d->group || d->first > d->group - d->count)
        return graph_fail(g, "SLICE: numbers %llu .. %llu + %llu are not within groups of %llu",
                          (unsigned long long)d->first, (unsigned long long)d->first, (unsigned long long)d->count,
                          (unsigned long long)d->group);
    if (!is_f32(g, x) || t.ne[0] % d->group)
        return graph_mismatch(g, op.kind, "x must be F32 (group * m, ...)", x, NO_TENSOR);
    t.ne[0] = t.ne[0] / d->group * d->count;
    return graph_make(g, &op, QTYPE_F32, t.ne, TENSOR_DIMS);
}

tensor_id graph_concat(struct graph *g, tensor_id a, tensor_id b, const struct concat_desc *d) {
    struct op op = { .kind = OP_CONCAT, .src = { a, b }, .concat = *d };
    if (!graph_sources_ok(g, &op)) return NO_TENSOR;
    struct tensor t = g->tensors[a];
    const struct tensor *tb = &g->tensors[b];
    const bool groups = d->group_a && d->group_b && t.ne[0] % d->group_a == 0 &&
                        (tb->ne[0] == d->group_b || (tb->ne[0] % d->group_b == 0 &&
                                                     tb->ne[0] / d->group_b == t.ne[0] / d->group_a));
    if (!is_f32(g, a) || !is_f32(g, b) || !groups || memcmp(t.ne + 1, tb->ne + 1, sizeof t.ne - sizeof *t.ne) != 0)
        return graph_mismatch(g, op.kind, "both must be F32, with as many rows and groups a row (b: or one group)", a,
                              b);
    t.ne[0] = t.ne[0] / d->group_a * (d->group_a + d->group_b);
    return graph_make(g, &op, QTYPE_F32, t.ne, TENSOR_DIMS);
}

/* --- Positions and caches --- */

tensor_id graph_rope(struct graph *g, tensor_id x, tensor_id pos, tensor_id inv_freq, const struct rope_desc *d) {
    struct op op = { .kind = OP_ROPE, .src = { x, pos, inv_freq }, .rope = *d };
    if (!graph_sources_ok(g, &op)) return NO_TENSOR;
    const struct tensor *t = &g->tensors[x];
    if (d->n_rot == 0 || d->n_rot % 2 || d->n_rot > d->head_dim)
        return graph_fail(g, "ROPE: n_rot is %u; an even number up to head_dim %u is needed", d->n_rot, d->head_dim);
    if (!is_f32(g, x) || !is_matrix(g, x) || t->ne[0] % d->head_dim || !is_vector(g, pos, TENSOR_I32, t->ne[1]))
        return graph_mismatch(g, op.kind, "x must be F32 (head_dim * n_head, n_tok) and pos I32 (n_tok)", x, pos);
    if (!is_vector(g, inv_freq, QTYPE_F32, d->n_rot / 2))
        return graph_mismatch(g, op.kind, "inv_freq must be F32 (n_rot / 2)", x, inv_freq);
    return graph_make(g, &op, QTYPE_F32, (uint64_t[]){ t->ne[0], t->ne[1] }, 2);
}

tensor_id graph_kv_store(struct graph *g, tensor_id cache, tensor_id x, tensor_id cells) {
    struct op op = { .kind = OP_KV_STORE, .dst = cache, .src = { cache, x, cells } };
    if (!graph_sources_ok(g, &op)) return NO_TENSOR;
    const struct tensor *c = &g->tensors[cache], *t = &g->tensors[x];
    if (c->role != ROLE_KV || !is_matrix(g, cache) || !is_matrix(g, x) || !is_f32(g, x) || c->ne[0] != t->ne[0])
        return graph_mismatch(g, op.kind, "cache must be KV (n, n_cells) and x F32 (n, n_tok)", cache, x);
    if (!is_vector(g, cells, TENSOR_I32, t->ne[1]))
        return graph_mismatch(g, op.kind, "with x (n, n_tok) cells must be I32 (n_tok)", x, cells);
    return graph_append(g, &op);
}

/* Whether a head of n numbers, of which count count, is made of whole blocks of the cache's type. */
static bool whole_blocks(const struct tensor *cache, uint64_t n, uint64_t count) {
    const uint64_t block = qtype_info(cache->type)->block_weights;
    return n % block == 0 && count % block == 0;
}

/* Whether k and v are caches over the same cells, with head_dim_v numbers at least for each of k's heads. */
static bool fits_caches(const struct graph *g, tensor_id k_id, tensor_id v_id, const struct attn_desc *d) {
    const struct tensor *k = &g->tensors[k_id], *v = &g->tensors[v_id];
    if (k->role != ROLE_KV || v->role != ROLE_KV || !is_matrix(g, k_id) || !is_matrix(g, v_id)) return false;
    const uint64_t n_head_kv = k->ne[0] / d->head_dim;
    if (v->ne[0] % n_head_kv || v->ne[0] / n_head_kv < d->head_dim_v || v->ne[1] != k->ne[1]) return false;
    return whole_blocks(k, d->head_dim, d->head_dim) && whole_blocks(v, v->ne[0] / n_head_kv, d->head_dim_v);
}

tensor_id graph_attention(struct graph *g, const struct attn_src *s, const struct attn_desc *d) {
    struct op op = { .kind = OP_ATTENTION, .src = { s->q, s->k, s->v, s->pos, s->seq, s->pages, s->sinks },
                     .attn = *d };
    if (!graph_sources_ok(g, &op)) return NO_TENSOR;
    const struct tensor *q = &g->tensors[s->q], *k = &g->tensors[s->k], *pages = &g->tensors[s->pages];
    if (d->head_dim == 0 || d->page == 0 || (d->temp_beta != 0 && d->temp_span == 0))
        return graph_fail(g, "ATTENTION: head_dim is %u, page %u and temp_span %u; all that is used must be positive",
                          d->head_dim, d->page, d->temp_span);
    if (op.attn.head_dim_v == 0) op.attn.head_dim_v = d->head_dim;
    if (!is_f32(g, s->q) || !is_matrix(g, s->q) || k->ne[0] % d->head_dim || q->ne[0] % k->ne[0])
        return graph_mismatch(g, op.kind,
                              "q must be F32 (head_dim * n_head, n_tok) and k (head_dim * n_head_kv, n_cells)", s->q,
                              s->k);
    if (!fits_caches(g, s->k, s->v, &op.attn))
        return graph_mismatch(g, op.kind,
                              "k and v must be caches (head_dim * n_head_kv, n_cells) and (m * n_head_kv, n_cells), "
                              "with m at least head_dim_v, each head in whole blocks of the type", s->k, s->v);
    if (k->ne[1] % d->page)
        return graph_fail(g, "ATTENTION: the cells of %s are not whole pages of %u", k->name, d->page);
    if (!is_vector(g, s->pos, TENSOR_I32, q->ne[1]) || !is_vector(g, s->seq, TENSOR_I32, q->ne[1]))
        return graph_mismatch(g, op.kind, "pos and seq must be I32 (n_tok)", s->pos, s->seq);
    if (pages->type != TENSOR_I32 || !is_matrix(g, s->pages))
        return graph_mismatch(g, op.kind, "pages must be I32 (n_pages, n_seq)", s->q, s->pages);
    const uint64_t n_head = q->ne[0] / d->head_dim;
    if (s->sinks != NO_TENSOR && !is_vector(g, s->sinks, QTYPE_F32, n_head))
        return graph_mismatch(g, op.kind, "sinks must be F32 (n_head)", s->q, s->sinks);
    return graph_make(g, &op, QTYPE_F32, (uint64_t[]){ n_head * op.attn.head_dim_v, q->ne[1] }, 2);
}
