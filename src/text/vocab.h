#ifndef TEXT_VOCAB_H
#define TEXT_VOCAB_H
/* A vocabulary as plain arrays: what a tokenizer is built from, whichever file it came from, and what is written to a
 * GGUF file. Kinds and flags carry GGUF's meaning. Plain data: whoever fills it owns the strings (vocab_fini frees
 * them). */
#include <stdbool.h>
#include <stdint.h>
#include "base/mem.h"
#include "base/str.h"

enum vocab_model { VOCAB_NONE, VOCAB_SPM /* "llama" */, VOCAB_BPE /* "gpt2" */, VOCAB_UNIGRAM /* "t5" */ };
enum token_kind { TOKEN_NORMAL = 1, TOKEN_UNKNOWN, TOKEN_CONTROL, TOKEN_USER, TOKEN_UNUSED, TOKEN_BYTE };

/* What Hugging Face's pipelines do to white space, after the table of replacements and in this order. The numbers are
 * written to files. */
enum vocab_spaces {
    SPACES_TRIM_START = 1, /* white space of any kind goes from the start of a stretch of text */
    SPACES_TRIM_END = 2,   /* and from its end */
    SPACES_JOIN = 4,       /* runs of spaces become one */
    SPACES_PART = 8,       /* white space of any kind only parts words, each of which gets a space before it */
    SPACES_SPLIT = 16,     /* each space begins a word: no piece joins it and what stands before it */
};

struct vocab {
    enum vocab_model model;
    uint32_t n;                /* number of pieces */
    struct str *piece;         /* (n); BPE: normal ones in the byte alphabet, others: with U+2581 for a space */
    float *score;              /* (n); SPM: the highest merges first, unigram: logarithm of its share; BPE: NULL */
    uint8_t *kind;             /* (n) enum token_kind */
    uint32_t n_merges;
    struct str *merge;         /* (n_merges) "left right", BPE, the first merges first */
    char pre[32];              /* name of the pre-tokenizer as GGUF has it: "llama-bpe", "smollm", "default" */
    int32_t bos, eos, unk, pad, eot; /* -1: none */
    bool add_bos, add_eos;
    bool ignore_merges;        /* BPE: a word that is a piece as a whole is that piece */
    bool nfc;                  /* BPE: text is brought to Unicode's form C first */
    /* SPM and unigram: */
    bool add_space_prefix;     /* a space goes before each stretch of text between special tokens */
    bool prefix_space_first_only; /* that space stands at the start of the text only, not after special tokens */
    bool prefix_space_once;    /* no such space where the text has one already */
    bool remove_extra_spaces;  /* spaces at the ends of such a stretch go, and runs of them become one; a piece that a
                                * user defined ends no stretch */
    unsigned spaces;           /* enum vocab_spaces, ORed: other ways with spaces, where remove_extra_spaces is false */
    struct str charsmap;       /* SentencePiece's table of replacements, applied first; empty if none */
    struct str chat_template;  /* empty if none */
    struct arena arena;        /* owns every array and string above */
};
/* Whether text goes SentencePiece's way: spaces as U+2581, pieces by score, bytes as <0x0A>. */
static inline bool vocab_is_spm(const struct vocab *v) { return v->model == VOCAB_SPM || v->model == VOCAB_UNIGRAM; }
/* Frees what v owns and leaves it zeroed; fine on a zeroed one. */
void vocab_fini(struct vocab *v);
/* Whether ids mean the same text in both: equal counts, pieces, kinds, and special ids. Scores, merges and flags may
 * differ. What differs first is put into why (if not NULL), a phrase for an error message. */
bool vocab_same(const struct vocab *a, const struct vocab *b, char *why, unsigned why_size);
#endif
