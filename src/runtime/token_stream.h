#ifndef RUNTIME_TOKEN_STREAM_H
#define RUNTIME_TOKEN_STREAM_H
/* Texts, conversations and lists of ids as one stream of a model's tokens. */
#include "runtime/engine.h"

/* Zero-initialised is empty; the owner frees ids with mem_free. After an error it holds what came before. */
struct token_stream { int32_t *ids; size_t n, cap; };

/* Appends a text's tokens; those that begin a text (BOS) only at the stream's beginning. ERR_UNSUPPORTED if the model
 * has no tokenizer. */
enum err_code token_stream_text(struct token_stream *s, const struct engine *en, struct str text, struct err *e);
/* Appends all records of a source, which is named as calib_source_open takes it. Conversations become lines "role:
 * content"; ids beyond the vocabulary are an error. Errors name the file. */
enum err_code token_stream_source(struct token_stream *s, const struct engine *en, const char *name, struct err *e);
#endif
