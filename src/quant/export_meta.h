#ifndef QUANT_EXPORT_META_H
#define QUANT_EXPORT_META_H
/* The metadata of a GGUF file made from a model: copied from a GGUF source, made from the settings of a Hugging Face
 * one. */
#include "format/gguf_write.h"
#include "model/model.h"
#include "text/vocab.h"

enum err_code export_meta(const struct model *m, const struct vocab *v, struct gguf_writer *w, struct err *e);
#endif
