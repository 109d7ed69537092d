/* Mistral's tekken.json, made a tokenizer and used. */
#include "format/tekken.h"
#include "fuzz_tok.h"

enum err_code fuzz_one(struct span data, struct err *e) {
    struct hf_tokenizer *t = NULL;
    enum err_code rc = tekken_parse(data, &t, e);
    return fuzz_use_parsed(rc, t, e);
}
