#ifndef TEXT_VOCAB_H
#define TEXT_VOCAB_H
/* A vocabulary as plain arrays: what a tokenizer is built from, whichever file it came from, and what is written to a GGUF
 * file. Kinds and flags carry GGUF's meaning. Plain data: whoever fills it owns the strings (vocab_fini frees them). */
#include <stdbool.h>
#include <stdint.h>
#include "base/mem.h"
#include "base/str.h"

enum vocab_model { VOCAB_NONE, VOCAB_SPM /* "llama" */, VOCAB_BPE /* "gpt2" */ };
enum token_kind { TOKEN_NORMAL = 1, TOKEN_UNKNOWN, TOKEN_CONTROL, TOKEN_USER, TOKEN_UNUSED, TOKEN_BYTE };

struct vocab {
    enum vocab_model model;
    uint32_t n;                /* number of pieces */
    struct str *piece;         /* (n); BPE: in the byte alphabet, SPM: with U+2581 for a space */
    float *score;              /* (n), SPM; NULL otherwise */
    uint8_t *kind;             /* (n) enum token_kind */
    uint32_t n_merges;
    struct str *merge;         /* (n_merges) "left right", BPE */
    char pre[32];              /* name of the pre-tokenizer as GGUF has it: "llama-bpe", "smollm", "default" */
    int32_t bos, eos, unk, pad, eot; /* -1: none */
    bool add_bos, add_eos, add_space_prefix, remove_extra_whitespaces;
    bool ignore_merges;        /* a word that is a piece as a whole is that piece */
    bool prefix_space_first_only; /* SPM: the prefix space stands at the start of the text only, not after special tokens */
    struct str chat_template;  /* empty if none */
    struct arena arena;        /* owns every array and string above */
};
void vocab_fini(struct vocab *v);
#endif
