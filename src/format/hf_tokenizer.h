#ifndef FORMAT_HF_TOKENIZER_H
#define FORMAT_HF_TOKENIZER_H
/* The tokenizer of a Hugging Face directory as a plain record: tokenizer.json, or, where there is none, tokenizer.model
 * (format/sentencepiece.h) or tekken.json (format/tekken.h); with tokenizer_config.json. docs/formats has a page on
 * each and says which parts are read. What the expressions and kinds mean for tokenizing is for others to say. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "format/hf_config.h"

enum hf_tok_model {
    HF_TOK_BYTE_LEVEL,    /* pieces in GPT-2's byte alphabet */
    HF_TOK_SENTENCEPIECE, /* pieces with U+2581 for a space, bytes as <0x0A>, merged */
    HF_TOK_UNIGRAM,       /* the same pieces, chosen so that their scores add up to the most */
};
enum hf_tok_prefix {
    HF_TOK_PREFIX_NONE,
    HF_TOK_PREFIX_EACH,  /* U+2581 before each stretch of text between added tokens */
    HF_TOK_PREFIX_FIRST, /* at the start of the text only */
};
#define HF_TOK_MAX_SPLITS 8

struct hf_tok_merge { struct str left, right; };
struct hf_tok_added { int32_t id; struct str text; bool special; };

/* Plain data, read-only for others; strings live in mem. */
struct hf_tokenizer {
    enum hf_tok_model model;
    uint32_t n;                /* one more than the highest id */
    const struct str *piece;   /* (n), an id that nothing has is {NULL, 0}; added tokens need not be among them */
    const float *score;        /* (n) SentencePiece's or Unigram's; NULL: the order of merges stands for them */
    const uint8_t *type;       /* (n) SentencePiece's types, 1 to 6, which GGUF has too; NULL: by added tokens alone */
    bool by_rank;              /* byte level: pieces are plain bytes, and merges follow from the order of pieces */
    uint32_t n_merges;
    const struct hf_tok_merge *merge; /* (n_merges), the first merges first */
    uint32_t n_added;
    const struct hf_tok_added *added; /* (n_added), ids < n, in file order */
    size_t n_splits;
    struct str
        split[HF_TOK_MAX_SPLITS]; /* byte level: expressions that cut the text, in order, each piece by the next */
    bool nfc;                  /* text is brought to Unicode's form C first */
    bool ignore_merges;
    bool byte_fallback;        /* pieces <0x00> to <0xFF> are bytes */
    enum hf_tok_prefix prefix;
    bool prefix_once;          /* no prefix where the text begins with a space */
    bool remove_extra_spaces;  /* SentencePiece's way: spaces at the ends go, runs become one */
    /* tokenizer.json's ways, after the table of replacements and in this order: */
    bool trim_start, trim_end; /* white space at the ends goes */
    bool join_spaces;          /* runs of spaces become one */
    bool white_parts;          /* white space of any kind only parts words, each of which gets the prefix */
    bool split_words;          /* no piece joins a space and what stands before it, whatever the pieces are */
    struct str charsmap;       /* SentencePiece's table of replacements, empty if none */
    int32_t bos, eos, unk, pad; /* -1: none */
    bool add_bos, add_eos;
    bool has_template;         /* these and the ids are of tokenizer.json, and tokenizer_config.json has no say */
    struct str chat_template;  /* empty if none */
    struct arena mem;
};

/* json: tokenizer.json. config: tokenizer_config.json, NULL if there is none. A part of the format that is not read is
 * ERR_UNSUPPORTED, what contradicts itself ERR_FORMAT; both name the key. On error *out is NULL. */
enum err_code hf_tokenizer_parse(struct span json, const struct hf_config *config, struct hf_tokenizer **out,
                                 struct err *e);
/* What tokenizer_config.json adds to a record, or has another say in: ids, whether to add them, the chat template, how
 * the prefix space is put, and tokens added to a tokenizer.model. Errors name that file. */
enum err_code hf_tokenizer_configure(struct hf_tokenizer *t, const struct hf_config *config, struct err *e);
/* The same from a directory, with added_tokens.json and chat_template.jinja where they are. ERR_NOT_FOUND if it has
 * none of the three files. Errors name the file. */
enum err_code hf_tokenizer_open(const char *dir, const struct hf_config *config, struct hf_tokenizer **out,
                                struct err *e);
/* The id of a piece or added token; -1 if there is none. Looks at all of them. */
int32_t hf_tokenizer_id(const struct hf_tokenizer *t, struct str text);
/* An empty record, for the parsers to fill; NULL when out of memory. */
struct hf_tokenizer *hf_tokenizer_new(void);
void hf_tokenizer_close(struct hf_tokenizer *t); /* NULL is fine */
#endif
