#ifndef FORMAT_SENTENCEPIECE_H
#define FORMAT_SENTENCEPIECE_H
/* SentencePiece's model files, tokenizer.model: unigram and BPE models as the record of format/hf_tokenizer.h. */
#include "format/hf_tokenizer.h"

/* file: the bytes of tokenizer.model, not kept. What is no such file is ERR_FORMAT with the byte, a model that snug
 * cannot tokenize with ERR_UNSUPPORTED. Ids of the special tokens are those of the file. On error *out is NULL. */
enum err_code sentencepiece_parse(struct span file, struct hf_tokenizer **out, struct err *e);
#endif
