#ifndef MODEL_ARCH_H
#define MODEL_ARCH_H
/* Families of models: one row of arch.def and one file arch_X.c each. docs/adding-a-model.md. */
#include "format/hf_config.h"
#include "format/gguf_write.h"
#include "model/hparams.h"
#include "model/slot.h"

/* Where the numbers of a weight lie in Hugging Face's tensor: that of column i of row r of matrix x stands in row
 * row0 + i row_i + r row_r + x row_x, at column col0 + i col_i + r col_r. */
struct source_map { uint64_t row0, row_i, row_r, row_x, col0, col_i, col_r; };

/* A slot's name in files: "model.layers.%u.self_attn.q_proj.weight", %x for an expert. */
struct slot_name { enum slot slot; const char *name; };

struct build;

struct arch {
    const char *name;               /* GGUF's general.architecture */
    const char *const *hf_classes;  /* model_type values of config.json, NULL-terminated */
    bool permute_qk;                /* GGUF keeps rotary pairs as neighbours, Hugging Face as halves */
    enum rope_pairing gguf_pairing, hf_pairing;
    struct traits traits;
    /* What hparams_read does not know. Called when the common keys stand in *hp: reads the family's own, and refuses
     * variants that shapes and block do not describe. Errors name the key. NULL: nothing. */
    enum err_code (*read_hf)(const struct hf_config *c, struct hparams *hp, struct err *e);
    enum err_code (*read_gguf)(const struct tfile *f, struct hparams *hp, struct err *e);
    /* Keys that only this family's files have, beyond hparams_keys.def. NULL: none. */
    void (*write_gguf)(const struct hparams *hp, struct gguf_writer *w);
    /* Names that differ from the common ones, ended by name NULL; NULL: none differ. An empty name: no such tensor. */
    const struct slot_name *hf_names;
    /* GGUF's names that differ from slots.def, in the same way. */
    const struct slot_name *gguf_names;
    /* Where a slot's rows lie in a tensor that Hugging Face files keep in another shape; *map is set to the plain
     * order, and ne is the weight's shape. NULL: all are plain. */
    void (*hf_map)(const struct hparams *hp, enum slot s, const uint64_t *ne, struct source_map *map);
    /* Keys of config.json that are the same for every model written as this family, a JSON object. NULL: models of
     * this family are not written as directories. */
    const char *hf_constants;
    /* x (n_embd, n_tok) -> x of the next block. */
    tensor_id (*block)(struct build *b, uint32_t layer, tensor_id x);
};
extern const struct arch *const arch_all[]; /* NULL-terminated */

/* Hugging Face's pattern of a slot's name in this family; NULL if its files have no such tensor. */
const char *arch_hf_name(const struct arch *a, enum slot s);
/* The same for GGUF files; never NULL. */
const char *arch_gguf_name(const struct arch *a, enum slot s);
/* Shape of a slot's weight for these hyper-parameters: number of dimensions, 0 if the model has no such weight. */
unsigned arch_shape(const struct hparams *hp, enum slot s, uint32_t layer, uint64_t ne[TENSOR_DIMS]);
/* Whether a tensor of this name may stand in a file and mean nothing: buffers that follow from the
 * hyper-parameters, training's leftovers. */
bool arch_may_ignore(const struct hparams *hp, const char *name);
#endif
