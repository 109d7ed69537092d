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
 * Shapes are written fastest dimension first: x (n_embd, n_tok) is n_tok rows of n_embd numbers. Activations are F32.
 * Not thread-safe while it is built; immutable after graph_finish except for graph_place. */
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "base/mem.h"
#include "qtype/qtype.h"

enum { TENSOR_I32 = 26 /* GGUF's id of 32-bit integers */, TENSOR_DIMS = 4, OP_MAX_SRC = 6 };
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
};

enum op_kind {
#define OP(name, min_src, max_src) OP_##name,
#include "graph/op.def"
#undef OP
    OP_KINDS
};
const char *op_name(enum op_kind k);

enum rope_pairing { ROPE_NEIGHBOURS /* (2i, 2i+1) */, ROPE_HALVES /* (i, i + n_rot/2) */ };
enum glu_kind { GLU_SILU };
struct rope_desc { uint32_t head_dim, n_rot; enum rope_pairing pairing; float magnitude; };
struct attn_desc { uint32_t head_dim, page /* cells */, window /* 0: all */; float scale, softcap /* 0: none */; };

struct op {
    enum op_kind kind;
    tensor_id dst;
    tensor_id src[OP_MAX_SRC]; /* NO_TENSOR where absent */
    union {
        struct { float scale; } get_rows;
        struct { float eps; } norm;
        struct { enum glu_kind kind; } glu;
        struct rope_desc rope;
        struct attn_desc attn;
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
/* type F32 or F16. */
tensor_id graph_kv(struct graph *g, const char *name, enum qtype type, const uint64_t *ne, unsigned n_dims,
                   struct place at);
/* type F32 or TENSOR_I32. */
tensor_id graph_input(struct graph *g, const char *name, uint32_t type, const uint64_t *ne, unsigned n_dims);
/* Marks a made tensor as output. */
void graph_output(struct graph *g, tensor_id t);

/* --- Operations --- each returns the tensor it makes. */
/* table (n, n_rows) of any type, ids I32 (m): rows scale * table[ids], F32 (n, m). Also picks rows of an activation. */
tensor_id graph_get_rows(struct graph *g, tensor_id table, tensor_id ids, float scale);
/* x (n, ...), w F32 (n): x * w / sqrt(mean(x^2) + eps) for every row of n. */
tensor_id graph_rms_norm(struct graph *g, tensor_id x, tensor_id w, float eps);
/* w (n_in, n_out) of any type, x F32 (n_in, n_tok), bias F32 (n_out) or NO_TENSOR: F32 (n_out, n_tok). */
tensor_id graph_matmul(struct graph *g, tensor_id w, tensor_id x, tensor_id bias);
/* Same shapes. */
tensor_id graph_add(struct graph *g, tensor_id a, tensor_id b);
/* act(gate) * up, same shapes. */
tensor_id graph_glu(struct graph *g, tensor_id gate, tensor_id up, enum glu_kind kind);
/* x (head_dim * n_head, n_tok), pos I32 (n_tok), inv_freq F32 (n_rot / 2), heads of head_dim: rotates the first n_rot
 * of every head by angle pos * inv_freq[i], times magnitude; the rest of the head is copied. */
tensor_id graph_rope(struct graph *g, tensor_id x, tensor_id pos, tensor_id inv_freq, const struct rope_desc *d);
/* cache (n, n_cells) of F16 or F32, x F32 (n, n_tok), cells I32 (n_tok): cache[cells[t]] = x[t]. Returns cache. */
tensor_id graph_kv_store(struct graph *g, tensor_id cache, tensor_id x, tensor_id cells);
/* Causal attention over paged caches. q F32 (head_dim * n_head, n_tok), k and v (head_dim * n_head_kv, n_cells),
 * pos I32 (n_tok), seq I32 (n_tok): row of pages, pages I32 (n_pages, n_seq). Position p of token t's sequence lies in
 * cell pages[seq[t]][p / page] * page + p % page. Token t sees the positions max(0, pos - window + 1) .. pos. Head h
 * reads KV head h / (n_head / n_head_kv). Scores are scale * q.k, soft-capped by c * tanh(s / c) if c > 0; softmax in
 * float. Makes F32 (head_dim * n_head, n_tok). */
struct attn_src { tensor_id q, k, v, pos, seq, pages; };
tensor_id graph_attention(struct graph *g, const struct attn_src *s, const struct attn_desc *d);

/* Checks, plans lifetimes, sizes the buffers. The first builder error comes out here. */
enum err_code graph_finish(struct graph *g, struct err *e);
/* Names the device buffers of activations and of inputs and outputs. */
void graph_place(struct graph *g, uint32_t act_buffer, uint32_t io_buffer);

static inline const struct tensor *graph_tensor(const struct graph *g, tensor_id t) { return &g->tensors[t]; }
/* Rows of a tensor: product of all dimensions but the first. */
uint64_t tensor_rows(const struct tensor *t);
#endif
