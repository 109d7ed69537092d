/* SentencePiece's model files, made a tokenizer and used: the table of replacements, the pieces by either model. */
#include "format/sentencepiece.h"
#include "fuzz_tok.h"

enum err_code fuzz_one(struct span data, struct err *e) {
    struct hf_tokenizer *t = NULL;
    enum err_code rc = sentencepiece_parse(data, &t, e);
    return fuzz_use_parsed(rc, t, e);
}
