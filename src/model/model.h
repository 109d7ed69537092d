#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H
/* A model: hyper-parameters, its weights bound to slots, and how its graph is built. Weights stay in mapped files. */
#include "model/hparams.h"

enum slot {
#define SLOT(name, gguf, shape, part) SLOT_##name,
#include "model/slots.def"
#undef SLOT
    SLOT_COUNT
};
struct slot_info { const char *gguf_name; bool matrix, per_block; const char *part; };
const struct slot_info *slot_info(enum slot s);
enum { SLOT_NAME_BYTES = 96 };
/* A name with its block put in for %u; names without are copied. */
void slot_format_name(const char *pattern, uint32_t layer, char out[SLOT_NAME_BYTES]);

/* One weight. GGUF's order of rows is the one of names and shapes here; a Hugging Face file of arch llama holds the
 * rows of q and k in another order, see model_file_row. */
struct weight {
    char name[SLOT_NAME_BYTES];     /* GGUF's name, "blk.3.attn_q.weight" */
    enum slot slot;
    uint32_t layer;                 /* 0 for weights outside of blocks */
    const struct tfile_tensor *src; /* borrowed from the model's file set; NULL when planned from config.json alone */
    enum qtype type;
    uint64_t ne[TENSOR_DIMS];       /* fastest first: (n_in, n_out) */
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
/* Decodes rows [r0, r0 + n) in GGUF order to float, out (n, w->ne[0] each). A vector is one row. w->src is needed. */
void model_read_rows(const struct weight *w, uint64_t r0, uint64_t n, float *out);
/* The same in the order of the file, which is the order that hp.rope.pairing goes with. */
void model_read_file_rows(const struct weight *w, uint64_t r0, uint64_t n, float *out);
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
    tensor_id k_cache, v_cache;       /* of the layer being built */
    uint32_t page;
    /* If set, called with the input of each matrix just before it is used: the quantizer's taps. */
    void (*tap)(void *user, enum slot s, uint32_t layer, tensor_id x);
};
/* ids I32 (n_tok) -> x F32 (n_embd, n_tok). */
tensor_id model_build_embed(struct build *b, tensor_id ids);
/* x (n_embd, n_tok) -> x of the next block. */
tensor_id model_build_block(struct build *b, uint32_t layer, tensor_id x);
/* x (n_embd, n_out) -> logits (n_vocab, n_out). */
tensor_id model_build_head(struct build *b, tensor_id x);

/* --- Families --- one row of arch.def and one file arch_X.c each. */
struct arch {
    const char *name;               /* GGUF's general.architecture */
    const char *const *hf_classes;  /* model_type values of config.json, NULL-terminated */
    bool permute_qk;                /* GGUF keeps rotary pairs as neighbours, Hugging Face as halves */
    enum rope_pairing gguf_pairing, hf_pairing;
    /* What hparams_read does not know: reads the family's own keys into *hp, where the common ones stand already, and
     * refuses variants that shape and block do not describe. Errors name the key. */
    enum err_code (*read_hf)(const struct hf_config *c, struct hparams *hp, struct err *e);
    enum err_code (*read_gguf)(const struct tfile *f, struct hparams *hp, struct err *e);
    /* Hugging Face's name of a slot, "model.layers.%u.self_attn.q_proj.weight"; NULL if it has no such weight. */
    const char *(*hf_name)(enum slot s);
    /* Keys of config.json that are the same for every model written as this family, a JSON object. */
    const char *hf_constants;
    /* Ends of the names of tensors that may stand in a file and mean nothing, NULL-terminated. */
    const char *const *ignored;
    /* Shape of a slot's weight for these hyper-parameters: number of dimensions, 0 if the model has no such weight. */
    unsigned (*shape)(const struct hparams *hp, enum slot s, uint64_t ne[TENSOR_DIMS]);
    tensor_id (*block)(struct build *b, uint32_t layer, tensor_id x);
};
extern const struct arch *const arch_all[]; /* NULL-terminated */
#endif
