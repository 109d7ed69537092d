#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H
/* A model: hyper-parameters, its weights bound to slots, and how its graph is built. Weights stay in mapped files. */
#include "model/arch.h"

/* One weight. GGUF's order of rows is the one of names and shapes here; a Hugging Face file of arch llama holds the
 * rows of q and k in another order, see model_file_row. */
struct weight {
    char name[SLOT_NAME_BYTES];     /* GGUF's name, "blk.3.attn_q.weight" */
    enum slot slot;
    uint32_t layer;                 /* 0 for weights outside of blocks */
    enum qtype type;
    uint64_t ne[TENSOR_DIMS];       /* fastest first: (n_in, n_out), (n_in, n_out, n_expert) */
    /* The file's tensor, borrowed from the model's file set; NULL when planned from config.json alone. A file that
     * keeps every expert by itself has n_parts of them, the first of which is src. */
    const struct tfile_tensor *src, *const *parts;
    uint32_t n_parts;
    struct source_map map;          /* where numbers lie in src, or in their part */
    const struct tfile_tensor *scales; /* MXFP4 as Hugging Face files have it: src holds the codes; else NULL */
    float add;                      /* what the file's numbers lack: norms of Gemma in Hugging Face files */
    uint32_t permute_heads;         /* > 0: rows of this many heads are interleaved when written to GGUF */
};

struct model {
    struct hparams hp;
    struct tfile *file;             /* owned */
    struct weight *weights;         /* (n_weights) in GGUF order: embedding, output norm, head, then block by block */
    uint32_t n_weights;
    uint32_t *by_slot;              /* (n_layer * SLOT_COUNT) index of a weight + 1; 0: none. Weights outside of blocks
                                     * stand in the first SLOT_COUNT */
    struct arena arena;
};

/* Opens path (tfile_open), reads hyper-parameters and binds every weight; missing, misshapen, duplicate or unknown
 * tensors are errors that name file and tensor. shapes_only: config.json without weights will do; src is then NULL, and
 * models that can be planned but not run yet (windows) are taken. */
enum err_code model_open(const char *path, bool shapes_only, struct model **out, struct err *e);
void model_close(struct model *m);
/* NULL if the model has none (a bias, a separate head). */
const struct weight *model_weight(const struct model *m, enum slot s, uint32_t layer);
/* The row of the source file that is row r of the GGUF tensor; of a vector, the element. */
uint64_t model_file_row(const struct weight *w, uint64_t r);
/* The permutation itself, for n_rows rows of `heads` heads: where row r of neighbours (GGUF) lies among halves (Hugging
 * Face), and the other way. */
uint64_t rope_row_in_halves(uint64_t n_rows, uint32_t heads, uint64_t r);
uint64_t rope_row_in_neighbours(uint64_t n_rows, uint32_t heads, uint64_t r);
/* Heads of a slot whose rows the two formats order differently (q and k, with their biases); 0 for all others. */
uint32_t model_permuted_heads(const struct hparams *hp, enum slot s);
/* Decodes rows [r0, r0 + n) in GGUF order to float, out (n, w->ne[0] each); rows of a stack count on from matrix to
 * matrix. A vector is one row. w->src is needed. */
void model_read_rows(const struct weight *w, uint64_t r0, uint64_t n, float *out);
/* The same in the order of the file, which is the order that hp.rope.pairing goes with. */
void model_read_file_rows(const struct weight *w, uint64_t r0, uint64_t n, float *out);
/* The bytes of those rows, as type w->type stores them. */
void model_copy_file_rows(const struct weight *w, uint64_t r0, uint64_t n, void *out);
/* Bytes of the whole weight as type w->type stores it. */
uint64_t model_weight_bytes(const struct weight *w);
/* Rows of all its matrices. */
uint64_t model_weight_rows(const struct weight *w);
/* The order of a tensor, or of parts, that has the weight's own shape. */
struct source_map model_plain_map(const struct weight *w);
/* Where matrix x of a weight lies in the mapped file, whole and in order; NULL if the file keeps it otherwise. */
const uint8_t *model_matrix_in_file(const struct weight *w, uint64_t x);
/* Whether the weight lies in the mapped file as it is used, at src->data. */
bool model_is_in_file(const struct weight *w);
/* Tells the system that the file's pages of a weight, or of rows of it, are not needed soon. */
void model_release(const struct weight *w);
void model_release_rows(const struct weight *w, uint64_t r0, uint64_t n);
/* Numbers that were learned: a tied head counts once, rope_freqs (derived) not at all. */
uint64_t model_parameters(const struct model *m);

/* --- Graph --- A model is built in three pieces, so that a quantizer can run one block alone. */
struct build {
    struct graph *g;
    const struct model *m;
    /* Where the runtime keeps a weight: the graph tensor for it (graph_weight with the place and type it has there). */
    tensor_id (*weight)(void *user, struct graph *g, enum slot s, uint32_t layer); /* NO_TENSOR if the model has none */
    void *user;
    /* Inputs and caches, made by the runtime. */
    tensor_id pos, seq, cells, pages; /* I32; (n_tok) (n_tok) (n_tok) (n_pages, n_seq) */
    tensor_id inv_freq;               /* F32 (n_rot / 2) */
    tensor_id inv_freq_local;         /* the same of rope_local; NO_TENSOR if the model has none */
    tensor_id k_cache, v_cache;       /* of the layer being built; v_cache NO_TENSOR if hparams_v_width is 0 */
    uint32_t page;
    /* If set, called with the input of each matrix just before it is used: the quantizer's taps. */
    void (*tap)(void *user, enum slot s, uint32_t layer, tensor_id x);
    /* The same for stacks; ids as graph_matmul_id takes them. */
    void (*tap_stack)(void *user, enum slot s, uint32_t layer, tensor_id x, tensor_id ids);
};
/* ids I32 (n_tok) -> x F32 (n_embd, n_tok). */
tensor_id model_build_embed(struct build *b, tensor_id ids);
/* x (n_embd, n_tok) -> x of the next block. */
tensor_id model_build_block(struct build *b, uint32_t layer, tensor_id x);
/* x (n_embd, n_out) -> logits (n_vocab, n_out). */
tensor_id model_build_head(struct build *b, tensor_id x);
#endif
