#ifndef QUANT_EXPORT_HF_TOK_H
#define QUANT_EXPORT_HF_TOK_H
/* A vocabulary as the tokenizer files of a Hugging Face directory. docs/formats/hf-tokenizer.md has the format. */
#include "base/str.h"
#include "text/vocab.h"

/* tokenizer.json of a vocabulary that is not VOCAB_NONE. GGUF does not say how added tokens take in the spaces around
 * them, nor everything that a normalizer may do: such parts are written as the plain ones. ERR_UNSUPPORTED for a
 * pre-tokenizer that is not known, ERR_FORMAT for a piece that JSON cannot hold or that is there twice. */
enum err_code hf_tok_json(const struct vocab *v, struct buf *out, struct err *e);
/* tokenizer_config.json: the special tokens, and n_ctx as the longest text. */
enum err_code hf_tok_config(const struct vocab *v, uint32_t n_ctx, struct buf *out, struct err *e);
#endif
