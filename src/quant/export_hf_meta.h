#ifndef QUANT_EXPORT_HF_META_H
#define QUANT_EXPORT_HF_META_H
/* config.json and generation_config.json of a model, as text. */
#include "base/str.h"
#include "model/model.h"

/* config.json. A model from a directory keeps its own, with dtype in it; one from GGUF gets its hyper-parameters.
 * ERR_UNSUPPORTED for those that config.json has no key for. */
enum err_code hf_meta_config(const struct model *m, enum qtype dtype, struct buf *out, struct err *e);
/* generation_config.json: the ids that begin and end a text. */
enum err_code hf_meta_generation(const struct hparams *hp, struct buf *out, struct err *e);
/* Finds parameters of llama3 scaling that give these divisors (n_rot / 2), which are all that GGUF keeps of them. r has
 * base and n_rot; several sets of numbers mean the same, the one for an original context of 8192 is taken.
 * ERR_UNSUPPORTED if there is none. */
enum err_code hf_meta_llama3(struct rope_params *r, const float *divisors, struct err *e);
/* Appends an object as indented JSON; takes the reference of v, which NULL (out of memory) is fine for. */
struct json_t;
enum err_code hf_meta_json(struct json_t *v, struct buf *out, struct err *e);
#endif
