/* The builder of graphs: tensors, the list of operations, and errors. What each operation asks of its sources is in
 * ops.c and moe.c.
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
#include "graph/make.h"

static const struct { const char *name, *sources; } op_table[OP_KINDS] = {
#define OP(name, sources) [OP_##name] = { #name, sources },
#include "graph/op.def"
#undef OP
};

const char *op_name(enum op_kind k) {
    return (unsigned)k < OP_KINDS ? op_table[k].name : "?";
}

const char *op_sources(enum op_kind k) {
    return (unsigned)k < OP_KINDS ? op_table[k].sources : "";
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

tensor_id graph_fail(struct graph *g, const char *fmt, ...) {
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

tensor_id graph_mismatch(struct graph *g, enum op_kind kind, const char *rule, tensor_id a, tensor_id b) {
    return graph_fail(g, "%s: %s, but they are %s and %s", op_name(kind), rule, describe(g, a).p, describe(g, b).p);
}

/* --- Tensors --- */

/* Grows an array to hold one element more. */
static bool reserve(struct graph *g, void **array, uint32_t n, uint32_t *cap, size_t size) {
    if (n < *cap) return true;
    if (*cap > UINT32_MAX / 4) {
        graph_fail(g, "a graph holds at most 2^30 tensors and operations");
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
        return graph_fail(g, "%s has %u dimensions; 1 to %d are possible", t.name, n_dims, TENSOR_DIMS);
    for (unsigned i = 0; i < TENSOR_DIMS; i++) {
        t.ne[i] = i < n_dims ? ne[i] : 1;
        if (t.ne[i] == 0) return graph_fail(g, "%s: dimension %u is zero", t.name, i);
    }
    if (!tensor_bytes(t.type, t.ne, &t.bytes))
        return graph_fail(g, "%s: rows of %llu do not fit type %s, or the tensor passes 2^64 bytes", t.name,
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

tensor_id graph_weight_apart(struct graph *g, const char *name, enum qtype type, const uint64_t *ne,
                             const struct place *at) {
    struct tensor t = { .name = name, .type = type, .role = ROLE_WEIGHT, .place = at[0], .places = at };
    return add_tensor(g, &t, ne, 3);
}

tensor_id graph_kv(struct graph *g, const char *name, enum qtype type, const uint64_t *ne, unsigned n_dims,
                   struct place at) {
    if (type != QTYPE_F32 && type != QTYPE_F16 && type != QTYPE_Q8_0)
        return graph_fail(g, "%s: a KV cache is F32, F16 or Q8_0, not %s", name, qtype_name(type));
    return add_tensor(g, &(struct tensor){ .name = name, .type = type, .role = ROLE_KV, .place = at }, ne, n_dims);
}

tensor_id graph_input(struct graph *g, const char *name, uint32_t type, const uint64_t *ne, unsigned n_dims) {
    if (type != QTYPE_F32 && type != TENSOR_I32) return graph_fail(g, "%s: an input is F32 or I32", name);
    return add_tensor(g, &(struct tensor){ .name = name, .type = type, .role = ROLE_INPUT }, ne, n_dims);
}

void graph_output(struct graph *g, tensor_id t) {
    if (g->err.code) return;
    if (t == NO_TENSOR || t >= g->n_tensors) {
        graph_fail(g, "graph_output was given no tensor");
        return;
    }
    enum tensor_role role = g->tensors[t].role;
    if (role != ROLE_ACT && role != ROLE_OUTPUT) {
        graph_fail(g, "%s is not made by an operation and cannot be an output", describe(g, t).p);
        return;
    }
    g->tensors[t].role = ROLE_OUTPUT;
}

/* --- Operations --- */

bool graph_sources_ok(struct graph *g, struct op *op) {
    if (g->err.code) return false;
    const char *sources = op_table[op->kind].sources;
    for (size_t i = strlen(sources); i < OP_MAX_SRC; i++) op->src[i] = NO_TENSOR;
    for (unsigned i = 0; sources[i]; i++) {
        bool optional = sources[i] < 'a';
        if (op->src[i] < g->n_tensors || (optional && op->src[i] == NO_TENSOR)) continue;
        graph_fail(g, "%s (operation %u): source %u is missing", op_name(op->kind), g->n_ops, i);
        return false;
    }
    return true;
}

tensor_id graph_append(struct graph *g, const struct op *op) {
    if (!reserve(g, (void **)&g->ops, g->n_ops, &g->cap_ops, sizeof *g->ops)) return NO_TENSOR;
    g->ops[g->n_ops++] = *op;
    return op->dst;
}

tensor_id graph_make(struct graph *g, const struct op *proto, uint32_t type, const uint64_t *ne, unsigned n_dims) {
    const char *weight = "";
    for (unsigned i = 0; i < OP_MAX_SRC && !*weight; i++) {
        if (proto->src[i] != NO_TENSOR && g->tensors[proto->src[i]].role == ROLE_WEIGHT)
            weight = g->tensors[proto->src[i]].name;
    }
    char name[128];
    snprintf(name, sizeof name, "%s.%u%s%s", op_name(proto->kind), g->n_ops, *weight ? " " : "", weight);
    struct op op = *proto;
    op.dst = add_tensor(g, &(struct tensor){ .name = name, .type = type, .role = ROLE_ACT }, ne, n_dims);
    return op.dst == NO_TENSOR ? NO_TENSOR : graph_append(g, &op);
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
