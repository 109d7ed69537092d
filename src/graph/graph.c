/* The builder of graphs: appends tensors and operations, infers shapes, and checks them.
 *
 * Every function takes what earlier ones returned. After the first error each returns NO_TENSOR and adds nothing, so a
 * family's builder needs no checks of its own; graph_finish reports that error. It is the caller's bug, not bad input:
 * models check their tensors against their hyper-parameters before they build. Offsets are life.c's. */
#include "graph/graph.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "graph/life.h"

static const struct { const char *name; unsigned min_src, max_src; } op_table[OP_KINDS] = {
#define OP(name, min_src, max_src) [OP_##name] = { #name, min_src, max_src },
#include "graph/op.def"
#undef OP
};

const char *op_name(enum op_kind k) {
    return (unsigned)k < OP_KINDS ? op_table[k].name : "?";
}

uint64_t tensor_rows(const struct tensor *t) {
    return t->ne[1] * t->ne[2] * t->ne[3];
}

struct graph *graph_new(void) {
    return NEW(struct graph);
}

void graph_free(struct graph *g) {
    if (!g) return;
    mem_free(g->tensors);
    mem_free(g->ops);
    arena_fini(&g->arena);
    mem_free(g);
}

/* --- Errors --- */

/* Keeps the first error. */
PRINTF_LIKE(2, 3) static tensor_id fail(struct graph *g, const char *fmt, ...) {
    if (g->err.code) return NO_TENSOR;
    char text[sizeof g->err.msg];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    err_set(&g->err, ERR_INTERNAL, "%s", text);
    return NO_TENSOR;
}

static tensor_id no_memory(struct graph *g, uint64_t bytes) {
    if (!g->err.code) err_no_memory(&g->err, bytes);
    return NO_TENSOR;
}

struct shape_text { char p[160]; };
/* "blk.0.attn_q.weight Q4_K (4096, 4096)": a tensor in a message. */
static struct shape_text describe(const struct graph *g, tensor_id id) {
    struct shape_text s;
    if (id == NO_TENSOR) {
        snprintf(s.p, sizeof s.p, "nothing");
        return s;
    }
    const struct tensor *t = &g->tensors[id];
    unsigned dims = TENSOR_DIMS;
    while (dims > 1 && t->ne[dims - 1] == 1) dims--;
    const char *type = t->type == TENSOR_I32 ? "I32" : qtype_name((enum qtype)t->type);
    int n = snprintf(s.p, sizeof s.p, "%.80s %s (", t->name, type);
    for (unsigned i = 0; i < dims && n < (int)sizeof s.p; i++)
        n += snprintf(s.p + n, sizeof s.p - (size_t)n, "%s%llu", i ? ", " : "", (unsigned long long)t->ne[i]);
    if (n < (int)sizeof s.p) snprintf(s.p + n, sizeof s.p - (size_t)n, ")");
    return s;
}

/* "MATMUL: what, but a is X and b is Y". */
static tensor_id mismatch(struct graph *g, enum op_kind kind, const char *rule, tensor_id a, tensor_id b) {
    return fail(g, "%s: %s, but they are %s and %s", op_name(kind), rule, describe(g, a).p, describe(g, b).p);
}

/* --- Tensors --- */

/* Grows an array to hold one element more. */
static bool reserve(struct graph *g, void **array, uint32_t n, uint32_t *cap, size_t size) {
    if (n < *cap) return true;
    if (*cap > UINT32_MAX / 4) {
        fail(g, "a graph holds at most 2^30 tensors and operations");
        return false;
    }
    uint32_t new_cap = *cap ? *cap * 2 : 64;
    void *p = mem_realloc(*array, n, new_cap, size);
    if (!p) {
        no_memory(g, (uint64_t)new_cap * size);
        return false;
    }
    *array = p;
    *cap = new_cap;
    return true;
}

static bool tensor_bytes(uint32_t type, const uint64_t ne[TENSOR_DIMS], uint64_t *bytes) {
    uint64_t row = 0, rows = 1;
    for (unsigned i = 1; i < TENSOR_DIMS; i++) {
        if (!mul_u64(rows, ne[i], &rows)) return false;
    }
    if (type == TENSOR_I32) {
        if (!mul_u64(ne[0], sizeof(int32_t), &row)) return false;
    } else if (!qtype_row_bytes((enum qtype)type, ne[0], &row)) {
        return false;
    }
    return mul_u64(row, rows, bytes);
}

static tensor_id add_tensor(struct graph *g, const struct tensor *proto, const uint64_t *ne, unsigned n_dims) {
    if (g->err.code) return NO_TENSOR;
    struct tensor t = *proto;
    if (n_dims < 1 || n_dims > TENSOR_DIMS)
        return fail(g, "%s has %u dimensions; 1 to %d are possible", t.name, n_dims, TENSOR_DIMS);
    for (unsigned i = 0; i < TENSOR_DIMS; i++) {
        t.ne[i] = i < n_dims ? ne[i] : 1;
        if (t.ne[i] == 0) return fail(g, "%s: dimension %u is zero", t.name, i);
    }
    if (!tensor_bytes(t.type, t.ne, &t.bytes))
        return fail(g, "%s: rows of %llu do not fit type %s, or the tensor passes 2^64 bytes", t.name,
                    (unsigned long long)t.ne[0], t.type == TENSOR_I32 ? "I32" : qtype_name((enum qtype)t.type));
    t.name = arena_strdup(&g->arena, t.name);
    if (!t.name) return no_memory(g, 64);
    if (!reserve(g, (void **)&g->tensors, g->n_tensors, &g->cap_tensors, sizeof *g->tensors)) return NO_TENSOR;
    g->tensors[g->n_tensors] = t;
    return g->n_tensors++;
}

tensor_id graph_weight(struct graph *g, const char *name, enum qtype type, const uint64_t *ne, unsigned n_dims,
                       struct place at) {
    return add_tensor(g, &(struct tensor){ .name = name, .type = type, .role = ROLE_WEIGHT, .place = at }, ne, n_dims);
}

tensor_id graph_kv(struct graph *g, const char *name, enum qtype type, const uint64_t *ne, unsigned n_dims,
                   struct place at) {
    if (type != QTYPE_F32 && type != QTYPE_F16)
        return fail(g, "%s: a KV cache is F32 or F16, not %s", name, qtype_name(type));
    return add_tensor(g, &(struct tensor){ .name = name, .type = type, .role = ROLE_KV, .place = at }, ne, n_dims);
}

tensor_id graph_input(struct graph *g, const char *name, uint32_t type, const uint64_t *ne, unsigned n_dims) {
    if (type != QTYPE_F32 && type != TENSOR_I32) return fail(g, "%s: an input is F32 or I32", name);
    return add_tensor(g, &(struct tensor){ .name = name, .type = type, .role = ROLE_INPUT }, ne, n_dims);
}

void graph_output(struct graph *g, tensor_id t) {
    if (g->err.code) return;
    if (t == NO_TENSOR || t >= g->n_tensors) {
        fail(g, "graph_output was given no tensor");
        return;
    }
    enum tensor_role role = g->tensors[t].role;
    if (role != ROLE_ACT && role != ROLE_OUTPUT) {
        fail(g, "%s is not made by an operation and cannot be an output", describe(g, t).p);
        return;
    }
    g->tensors[t].role = ROLE_OUTPUT;
}

/* --- What an operation may ask of its sources --- */

static bool is_f32(const struct graph *g, tensor_id t) { return g->tensors[t].type == QTYPE_F32; }
/* n numbers in one row. */
static bool is_vector(const struct graph *g, tensor_id t, uint32_t type, uint64_t n) {
    const struct tensor *x = &g->tensors[t];
    return x->type == type && x->ne[0] == n && tensor_rows(x) == 1;
}
static bool is_matrix(const struct graph *g, tensor_id t) {
    return g->tensors[t].ne[2] == 1 && g->tensors[t].ne[3] == 1;
}
static bool same_shape(const struct graph *g, tensor_id a, tensor_id b) {
    return !memcmp(g->tensors[a].ne, g->tensors[b].ne, sizeof g->tensors[a].ne);
}

/* Whether the builder is sound and every needed source exists; absent optional ones are NO_TENSOR at the end. */
static bool sources_ok(struct graph *g, const struct op *op) {
    if (g->err.code) return false;
    for (unsigned i = 0; i < OP_MAX_SRC; i++) {
        if (i >= op_table[op->kind].max_src || (i >= op_table[op->kind].min_src && op->src[i] == NO_TENSOR)) continue;
        if (op->src[i] < g->n_tensors) continue;
        fail(g, "%s (operation %u): source %u is missing", op_name(op->kind), g->n_ops, i);
        return false;
    }
    return true;
}

static tensor_id add_op(struct graph *g, const struct op *op) {
    if (!reserve(g, (void **)&g->ops, g->n_ops, &g->cap_ops, sizeof *g->ops)) return NO_TENSOR;
    g->ops[g->n_ops++] = *op;
    return op->dst;
}

/* Appends an operation with a new F32 activation as its result. It is named after the operation and its number, and
 * after the weight that went in: "MATMUL.7 blk.0.attn_q.weight". */
static tensor_id make(struct graph *g, const struct op *proto, const uint64_t *ne, unsigned n_dims) {
    const char *weight = "";
    for (unsigned i = 0; i < OP_MAX_SRC && !*weight; i++) {
        if (proto->src[i] != NO_TENSOR && g->tensors[proto->src[i]].role == ROLE_WEIGHT)
            weight = g->tensors[proto->src[i]].name;
    }
    char name[128];
    snprintf(name, sizeof name, "%s.%u%s%s", op_name(proto->kind), g->n_ops, *weight ? " " : "", weight);
    struct op op = *proto;
    op.dst = add_tensor(g, &(struct tensor){ .name = name, .type = QTYPE_F32, .role = ROLE_ACT }, ne, n_dims);
    return op.dst == NO_TENSOR ? NO_TENSOR : add_op(g, &op);
}

#define NONE NO_TENSOR

/* --- Operations --- */

tensor_id graph_get_rows(struct graph *g, tensor_id table, tensor_id ids, float scale) {
    struct op op = { .kind = OP_GET_ROWS, .src = { table, ids, NONE, NONE, NONE, NONE }, .get_rows = { scale } };
    if (!sources_ok(g, &op)) return NO_TENSOR;
    const struct tensor *t = &g->tensors[table], *i = &g->tensors[ids];
    if (t->type == TENSOR_I32 || !is_matrix(g, table) || !is_vector(g, ids, TENSOR_I32, i->ne[0]))
        return mismatch(g, op.kind, "table must be (n, n_rows) and ids I32 (m)", table, ids);
    return make(g, &op, (uint64_t[]){ t->ne[0], i->ne[0] }, 2);
}

tensor_id graph_rms_norm(struct graph *g, tensor_id x, tensor_id w, float eps) {
    struct op op = { .kind = OP_RMS_NORM, .src = { x, w, NONE, NONE, NONE, NONE }, .norm = { eps } };
    if (!sources_ok(g, &op)) return NO_TENSOR;
    if (!is_f32(g, x) || !is_vector(g, w, QTYPE_F32, g->tensors[x].ne[0]))
        return mismatch(g, op.kind, "x must be F32 (n, ...) and w F32 (n)", x, w);
    struct tensor t = g->tensors[x];
    return make(g, &op, t.ne, TENSOR_DIMS);
}

tensor_id graph_matmul(struct graph *g, tensor_id w, tensor_id x, tensor_id bias) {
    struct op op = { .kind = OP_MATMUL, .src = { w, x, bias, NONE, NONE, NONE } };
    if (!sources_ok(g, &op)) return NO_TENSOR;
    const struct tensor *tw = &g->tensors[w], *tx = &g->tensors[x];
    if (tw->type == TENSOR_I32 || !is_matrix(g, w) || !is_matrix(g, x) || !is_f32(g, x) || tw->ne[0] != tx->ne[0])
        return mismatch(g, op.kind, "w must be (n_in, n_out) and x F32 (n_in, n_tok)", w, x);
    if (bias != NO_TENSOR && !is_vector(g, bias, QTYPE_F32, tw->ne[1]))
        return mismatch(g, op.kind, "with w (n_in, n_out) the bias must be F32 (n_out)", w, bias);
    return make(g, &op, (uint64_t[]){ tw->ne[1], tx->ne[1] }, 2);
}

static tensor_id elementwise(struct graph *g, const struct op *op) {
    if (!sources_ok(g, op)) return NO_TENSOR;
    tensor_id a = op->src[0], b = op->src[1];
    if (!is_f32(g, a) || !is_f32(g, b) || !same_shape(g, a, b))
        return mismatch(g, op->kind, "both must be F32 of one shape", a, b);
    struct tensor t = g->tensors[a];
    return make(g, op, t.ne, TENSOR_DIMS);
}

tensor_id graph_add(struct graph *g, tensor_id a, tensor_id b) {
    return elementwise(g, &(struct op){ .kind = OP_ADD, .src = { a, b, NONE, NONE, NONE, NONE } });
}

tensor_id graph_glu(struct graph *g, tensor_id gate, tensor_id up, enum glu_kind kind) {
    return elementwise(g, &(struct op){ .kind = OP_GLU, .src = { gate, up, NONE, NONE, NONE, NONE }, .glu = { kind } });
}

tensor_id graph_rope(struct graph *g, tensor_id x, tensor_id pos, tensor_id inv_freq, const struct rope_desc *d) {
    struct op op = { .kind = OP_ROPE, .src = { x, pos, inv_freq, NONE, NONE, NONE }, .rope = *d };
    if (!sources_ok(g, &op)) return NO_TENSOR;
    const struct tensor *t = &g->tensors[x];
    if (d->n_rot == 0 || d->n_rot % 2 || d->n_rot > d->head_dim)
        return fail(g, "ROPE: n_rot is %u; an even number up to head_dim %u is needed", d->n_rot, d->head_dim);
    if (!is_f32(g, x) || !is_matrix(g, x) || t->ne[0] % d->head_dim || !is_vector(g, pos, TENSOR_I32, t->ne[1]))
        return mismatch(g, op.kind, "x must be F32 (head_dim * n_head, n_tok) and pos I32 (n_tok)", x, pos);
    if (!is_vector(g, inv_freq, QTYPE_F32, d->n_rot / 2))
        return mismatch(g, op.kind, "inv_freq must be F32 (n_rot / 2)", x, inv_freq);
    return make(g, &op, (uint64_t[]){ t->ne[0], t->ne[1] }, 2);
}

tensor_id graph_kv_store(struct graph *g, tensor_id cache, tensor_id x, tensor_id cells) {
    struct op op = { .kind = OP_KV_STORE, .dst = cache, .src = { cache, x, cells, NONE, NONE, NONE } };
    if (!sources_ok(g, &op)) return NO_TENSOR;
    const struct tensor *c = &g->tensors[cache], *t = &g->tensors[x];
    if (c->role != ROLE_KV || !is_matrix(g, cache) || !is_matrix(g, x) || !is_f32(g, x) || c->ne[0] != t->ne[0])
        return mismatch(g, op.kind, "cache must be KV (n, n_cells) and x F32 (n, n_tok)", cache, x);
    if (!is_vector(g, cells, TENSOR_I32, t->ne[1]))
        return mismatch(g, op.kind, "with x (n, n_tok) cells must be I32 (n_tok)", x, cells);
    return add_op(g, &op);
}

tensor_id graph_attention(struct graph *g, const struct attn_src *s, const struct attn_desc *d) {
    struct op op = { .kind = OP_ATTENTION, .src = { s->q, s->k, s->v, s->pos, s->seq, s->pages }, .attn = *d };
    if (!sources_ok(g, &op)) return NO_TENSOR;
    const struct tensor *q = &g->tensors[s->q], *k = &g->tensors[s->k], *pages = &g->tensors[s->pages];
    if (d->head_dim == 0 || d->page == 0)
        return fail(g, "ATTENTION: head_dim is %u and page %u; both must be positive", d->head_dim, d->page);
    if (!is_f32(g, s->q) || !is_matrix(g, s->q) || k->ne[0] % d->head_dim || q->ne[0] % k->ne[0])
        return mismatch(g, op.kind, "q must be F32 (head_dim * n_head, n_tok) and k (head_dim * n_head_kv, n_cells)",
                        s->q, s->k);
    if (k->role != ROLE_KV || g->tensors[s->v].role != ROLE_KV || !is_matrix(g, s->k) || !same_shape(g, s->k, s->v))
        return mismatch(g, op.kind, "k and v must be caches of one shape", s->k, s->v);
    if (k->ne[1] % d->page)
        return fail(g, "ATTENTION: the cells of %s are not whole pages of %u", describe(g, s->k).p, d->page);
    if (!is_vector(g, s->pos, TENSOR_I32, q->ne[1]) || !is_vector(g, s->seq, TENSOR_I32, q->ne[1]))
        return mismatch(g, op.kind, "pos and seq must be I32 (n_tok)", s->pos, s->seq);
    if (pages->type != TENSOR_I32 || !is_matrix(g, s->pages))
        return mismatch(g, op.kind, "pages must be I32 (n_pages, n_seq)", s->q, s->pages);
    return make(g, &op, (uint64_t[]){ q->ne[0], q->ne[1] }, 2);
}

/* --- The end --- */

enum err_code graph_finish(struct graph *g, struct err *e) {
    if (!g->err.code) life_plan(g, &g->err);
    if (g->err.code && e) *e = g->err;
    return g->err.code;
}

void graph_place(struct graph *g, uint32_t act_buffer, uint32_t io_buffer) {
    for (uint32_t i = 0; i < g->n_tensors; i++) {
        struct tensor *t = &g->tensors[i];
        if (t->role == ROLE_ACT) t->place.buffer = act_buffer;
        if (t->role == ROLE_INPUT || t->role == ROLE_OUTPUT) t->place.buffer = io_buffer;
    }
}
