#ifndef QUANT_EXPORT_HF_H
#define QUANT_EXPORT_HF_H
/* Writes a model as a Hugging Face directory: safetensors with Hugging Face's names and order of rows, config.json, the
 * tokenizer. docs/formats/huggingface.md. */
#include "model/model.h"
#include "quant/convert.h"

/* Into directory o->out, which is made; one that has files already needs o->force, and then loses its config.json and
 * its model*.safetensors. config.json appears last: without it, the directory is no model yet. A model from a directory
 * brings that one's side files along; for one from GGUF they are made from its metadata, and what cannot be made is
 * logged. ERR_USAGE for a type that safetensors do not hold, ERR_UNSUPPORTED for hyper-parameters that config.json has
 * no key for. */
enum err_code export_hf(const struct model *m, const struct convert_options *o, struct convert_result *r,
                        struct err *e);
#endif
