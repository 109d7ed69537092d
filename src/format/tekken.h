#ifndef FORMAT_TEKKEN_H
#define FORMAT_TEKKEN_H
/* Mistral's tekken.json, a byte-level vocabulary in order of rank, as the record of format/hf_tokenizer.h. */
#include "format/hf_tokenizer.h"

/* json: the bytes of tekken.json, not kept. Contradictions are ERR_FORMAT and name the key. On error *out is NULL. */
enum err_code tekken_parse(struct span json, struct hf_tokenizer **out, struct err *e);
#endif
