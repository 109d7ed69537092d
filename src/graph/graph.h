#ifndef GRAPH_GRAPH_H
#define GRAPH_GRAPH_H
/* A graph is a list of operations over tensors, in the order in which they run. It is built once per shape (number of
 * tokens, number of output rows) and replayed with other positions, sequences and KV pages, which are input tensors.
 *
 * The builder appends operations, infers shapes and checks them; the first error sticks and is reported by
 * graph_finish, which also gives every activation its offset in one buffer by its lifetime. A graph owns no weights and
 * no device memory: tensors say which buffer of which device holds them (struct place), and those numbers are the
 * runtime's.
 *
 * Shapes are written fastest dimension first: x (n_embd, n_tok) is n_tok rows of n_embd numbers. Activations are F32,
 * indices I32.
 * Not thread-safe while it is built; immutable after graph_finish except for graph_place. */
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "base/mem.h"
#include "qtype/qtype.h"

enum { TENSOR_I32 = 26 /* GGUF's id of 32-bit integers */, TENSOR_DIMS = 4, OP_MAX_SRC = 7 };
typedef uint32_t tensor_id; /* index into graph.tensors */
#define NO_TENSOR UINT32_MAX

enum tensor_role {
    ROLE_WEIGHT, /* constant during a run; placed by the runtime */
    ROLE_KV,     /* kept from run to run; placed by the runtime */
    ROLE_INPUT,  /* written by the host before a run; lives in the graph's io buffer */
    ROLE_ACT,    /* made by an operation; lives in the graph's activation buffer, shared by lifetime */
    ROLE_OUTPUT, /* made by an operation and read by the host after the run; in the io buffer, never overwritten */
};

struct place { uint32_t buffer; /* 0: not placed yet */ uint64_t off; };

struct tensor {
    const char *name; /* for messages; weights: GGUF name */
    uint32_t type;    /* enum qtype or TENSOR_I32 */
    enum tensor_role role;
    uint64_t ne[TENSOR_DIMS]; /* unused dimensions are 1 */
    uint64_t bytes;
    struct place place; /* off is set for INPUT, OUTPUT and ACT by graph_finish */
    const struct place *places; /* (ne[2]) of a stack whose matrices lie apart; NULL: they follow each other at place */
};

enum op_kind {
#define OP(name, sources) OP_##name,
#include "graph/op.def"
#undef OP
    OP_KINDS
};
const char *op_name(enum op_kind k);
/* The letters of op.def, one a source. */
const char *op_sources(enum op_kind k);

enum rope_pairing { ROPE_NEIGHBOURS /* (2i, 2i+1) */, ROPE_HALVES /* (i, i + n_rot/2) */ };
struct rope_desc { uint32_t head_dim, n_rot; enum rope_pairing pairing; float magnitude; };

enum norm_kind {
    NORM_RMS,   /* x / sqrt(mean(x^2) + eps) */
    NORM_LAYER, /* (x - mean(x)) / sqrt(mean((x - mean(x))^2) + eps) */
};
struct norm_desc {
    enum norm_kind kind;
    float eps;
    uint32_t group; /* numbers that are normed together; 0: the whole row */
};

/* act of a gate g; GLU_OAI is (u + 1) * g * sigmoid(alpha * g) with g at most limit and u within -limit .. limit. */
enum glu_kind { GLU_SILU, GLU_GELU_TANH, GLU_GELU_ERF, GLU_RELU2 /* max(0, g)^2 */, GLU_OAI };
struct glu_desc { enum glu_kind kind; float alpha, limit; /* GLU_OAI alone */ };

struct slice_desc { uint64_t group, first, count; };
struct concat_desc { uint64_t group_a, group_b; };

struct attn_desc {
    uint32_t head_dim, page /* cells */, window /* 0: all */;
    float scale, softcap /* 0: none */;
    uint32_t head_dim_v;              /* 0: head_dim */
    float temp_beta;                  /* 0: none */
    uint32_t temp_span, temp_offset;  /* with temp_beta */
};

/* What an expert's logit becomes. */
enum expert_score {
    SCORE_SOFTMAX,        /* over all experts */
    SCORE_SIGMOID,
    SCORE_LOGIT,          /* itself */
    SCORE_SOFTMAX_CHOSEN, /* over the chosen experts; for weights alone */
};
struct pick_desc {
    uint32_t n_used;
    enum expert_score score;
    uint32_t n_group, n_group_used; /* 0 or 1 group: no groups */
    uint32_t group_best;            /* a group is worth its best expert's score (1) or its two best ones' sum (2) */
};
struct weigh_desc {
    enum expert_score score;
    bool normalize; /* divide by the sum over a token's experts */
    float scale;    /* last */
};

struct op {
    enum op_kind kind;
    tensor_id dst;
    tensor_id src[OP_MAX_SRC]; /* NO_TENSOR where absent */
    union {
        struct { float scale; } get_rows, add;
        struct { float scale, softcap; } scale;
        struct norm_desc norm; /* group is never 0 */
        struct glu_desc glu;
        struct slice_desc slice;
        struct concat_desc concat;
        struct rope_desc rope;
        struct attn_desc attn; /* head_dim_v is never 0 */
        struct pick_desc pick; /* n_group is never 0 */
        struct weigh_desc weigh;
    };
};

struct graph {
    struct arena arena;
    struct tensor *tensors;
    uint32_t n_tensors, cap_tensors;
    struct op *ops;
    uint32_t n_ops, cap_ops;
    uint64_t act_bytes, io_bytes; /* sizes of the two buffers, set by graph_finish */
    bool keep_all;                /* taps: no activation's memory is used again (measuring) */
    struct err err;               /* the first error of the builder */
};

struct graph *graph_new(void); /* NULL when out of memory */
void graph_free(struct graph *g);

/* --- Tensors --- names are copied; ne has n_dims entries. */
tensor_id graph_weight(struct graph *g, const char *name, enum qtype type, const uint64_t *ne, unsigned n_dims,
                       struct place at);
/* The same for a stack, ne (n_in, n_out, n_mat), whose matrices lie apart: at (n_mat) is borrowed as long as the graph
 * lives. MATMUL_ID alone takes such weights, and only on devices that compute in ordinary memory. */
tensor_id graph_weight_apart(struct graph *g, const char *name, enum qtype type, const uint64_t *ne,
                             const struct place *at);
/* type F32, F16 or Q8_0. */
tensor_id graph_kv(struct graph *g, const char *name, enum qtype type, const uint64_t *ne, unsigned n_dims,
                   struct place at);
/* type F32 or TENSOR_I32. */
tensor_id graph_input(struct graph *g, const char *name, uint32_t type, const uint64_t *ne, unsigned n_dims);
/* Marks a made tensor as output. */
void graph_output(struct graph *g, tensor_id t);

/* --- Operations --- each returns the tensor it makes. */
/* table (n, n_rows) of any type, ids I32 (m): rows scale * table[ids], F32 (n, m). Also picks rows of an activation. */
tensor_id graph_get_rows(struct graph *g, tensor_id table, tensor_id ids, float scale);
/* x (n, ...): norms every group of every row by itself, then * w and + bias. Each of those is NO_TENSOR, F32 (group),
 * the same for all groups, or F32 (n) or (group, n / group), each group its own. */
tensor_id graph_norm(struct graph *g, tensor_id x, tensor_id w, tensor_id bias, const struct norm_desc *d);
/* w (n_in, n_out) of any type, x F32 (n_in, n_tok), bias F32 (n_out) or NO_TENSOR: F32 (n_out, n_tok). */
tensor_id graph_matmul(struct graph *g, tensor_id w, tensor_id x, tensor_id bias);
/* The same, a matrix for each slot of a token: w (n_in, n_out, n_mat) of any type, bias F32 (n_out, n_mat) or
 * NO_TENSOR. With ids I32 (n_slot, n_tok) slot s of token t is multiplied with matrix ids[s, t]; x F32 (n_in, n_slot,
 * n_tok), or (n_in, n_tok) for all slots of a token: F32 (n_out, n_slot, n_tok). Without ids (NO_TENSOR) slot s is
 * multiplied with matrix s, and slots stand side by side in a token's row: x F32 (n_in * n_mat, n_tok), or (n_in,
 * n_tok) for all slots: F32 (n_out * n_mat, n_tok). */
tensor_id graph_matmul_id(struct graph *g, tensor_id w, tensor_id x, tensor_id ids, tensor_id bias);
/* a + scale * b, same shapes. */
tensor_id graph_add(struct graph *g, tensor_id a, tensor_id b, float scale);
/* y = scale * x, then softcap * tanh(y / softcap) if softcap > 0. */
tensor_id graph_scale(struct graph *g, tensor_id x, float scale, float softcap);
/* x (n, n_tok), s F32 (1, n_tok): x * sigmoid(s). */
tensor_id graph_gate_rows(struct graph *g, tensor_id x, tensor_id s);
/* act(gate) * up, same shapes; act(gate) if up is NO_TENSOR. */
tensor_id graph_glu(struct graph *g, tensor_id gate, tensor_id up, const struct glu_desc *d);
/* x (n, ...): of every `group` numbers of a row `count` from number `first` on: (n / group * count, ...). */
tensor_id graph_slice(struct graph *g, tensor_id x, const struct slice_desc *d);
/* Rows of groups: group_a numbers of a, group_b of b, group_a of a, and so on. a (group_a * n, ...) and b
 * (group_b * n, ...), or (group_b, ...), whose one group follows every group of a: ((group_a + group_b) * n, ...). */
tensor_id graph_concat(struct graph *g, tensor_id a, tensor_id b, const struct concat_desc *d);
/* x (head_dim * n_head, n_tok), pos I32 (n_tok), inv_freq F32 (n_rot / 2), heads of head_dim: rotates the first n_rot
 * of every head by angle pos * inv_freq[i], times magnitude; the rest of the head is copied. */
tensor_id graph_rope(struct graph *g, tensor_id x, tensor_id pos, tensor_id inv_freq, const struct rope_desc *d);
/* cache (n, n_cells) of F16 or F32, x F32 (n, n_tok), cells I32 (n_tok): cache[cells[t]] = x[t]. Returns cache. */
tensor_id graph_kv_store(struct graph *g, tensor_id cache, tensor_id x, tensor_id cells);
/* Causal attention over paged caches. q F32 (head_dim * n_head, n_tok), k (head_dim * n_head_kv, n_cells), v (m *
 * n_head_kv, n_cells), m >= head_dim_v: the first head_dim_v numbers of each m count; v may be k. pos I32 (n_tok), seq
 * I32 (n_tok): row of pages, pages I32 (n_pages, n_seq). Position p of token t's sequence lies in cell pages[seq[t]][p
 * / page] * page + p % page. Token t sees the positions max(0, pos - window + 1) .. pos. Head h reads KV head h /
 * (n_head / n_head_kv). Scores are scale * q.k, with temp_beta also times 1 + temp_beta * ln(1 + floor((pos +
 * temp_offset) / temp_span)), then soft-capped by c * tanh(s / c) if c > 0; softmax in float. sinks F32 (n_head) or
 * NO_TENSOR: a score more for each head, neither scaled nor capped, without a value. Makes F32 (head_dim_v * n_head,
 * n_tok); a token with pos < 0 sees nothing and gets zeros. */
struct attn_src { tensor_id q, k, v, pos, seq, pages, sinks; };
tensor_id graph_attention(struct graph *g, const struct attn_src *s, const struct attn_desc *d);

/* --- Mixtures of experts --- */
/* logits F32 (n_expert, n_tok), bias F32 (n_expert) or NO_TENSOR, added to the scores: I32 (n_used, n_tok), the experts
 * of the highest sums, best first, the lower index first among equals. With groups (n_expert / n_group neighbours each)
 * only those of the n_group_used best groups. */
tensor_id graph_pick_experts(struct graph *g, tensor_id logits, tensor_id bias, const struct pick_desc *d);
/* logits F32 (n_expert, n_tok), ids I32 (n_used, n_tok): the chosen experts' scores F32 (n_used, n_tok). */
tensor_id graph_weigh_experts(struct graph *g, tensor_id logits, tensor_id ids, const struct weigh_desc *d);
/* x F32 (n, n_slot, n_tok), weights F32 (n_slot, n_tok): the sum over slots of weight * x, F32 (n, n_tok). */
tensor_id graph_sum_experts(struct graph *g, tensor_id x, tensor_id weights);

/* Checks, plans lifetimes, sizes the buffers. The first builder error comes out here. */
enum err_code graph_finish(struct graph *g, struct err *e);
/* Names the device buffers of activations and of inputs and outputs. */
void graph_place(struct graph *g, uint32_t act_buffer, uint32_t io_buffer);

static inline const struct tensor *graph_tensor(const struct graph *g, tensor_id t) { return &g->tensors[t]; }
/* Rows of a tensor: product of all dimensions but the first. */
uint64_t tensor_rows(const struct tensor *t);
#endif
