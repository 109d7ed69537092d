#ifndef TEXT_TOK_IMPL_H
#define TEXT_TOK_IMPL_H
/* Shared between tok.c, which drives, and the files of the two models. Not for others. */
#include "text/bytes.h"
#include "text/charsmap.h"
#include "text/merge.h"
#include "text/pretok.h"
#include "text/special.h"
#include "text/strmap.h"
#include "text/tok.h"

#define SPM_SPACE "\xe2\x96\x81" /* U+2581, three bytes */

struct tok {
    const struct vocab *v;
    struct str *bytes;          /* (n) what each piece stands for in a text */
    struct strmap map;          /* from normal pieces as the model's own code looks them up */
    struct merge_table merges;
    int32_t byte_id[256];       /* the piece of a single byte, -1 if there is none */
    struct special_set special; /* every piece that may be cut out of a text */
    struct special_set user;    /* those that are cut out even when control tokens are plain text */
    uint8_t *eog;               /* (n) whether the piece ends a generation */
    struct pretok *pretok;      /* BPE */
    bool split_spaces;          /* SPM, unigram: no piece joins a letter and a space behind it */
    struct charsmap charsmap;   /* SPM, unigram */
    struct special_set pieces;  /* unigram: what a text is cut into */
    float unknown_score;        /* unigram: of a character without a piece */
    struct arena arena;
};

/* A word seen before in this call, with the place of its ids in the result. */
struct tok_seen { const char *p; size_t at; uint32_t n, n_ids, text; };

/* The best way to one place of a word: over which piece (-1: an unknown character) and from where. */
struct unigram_node { double score; int32_t id; uint32_t from; bool reached; };

/* One call of tok_encode. */
struct tok_job {
    const struct tok *t;
    int32_t *ids;
    size_t n_ids, cap;
    struct merge_word word;
    struct pretok_run pretok;
    struct unigram_node *node; /* (node_cap) */
    size_t node_cap;
    struct tok_seen *seen; /* (n_seen) a power of two; NULL for short texts */
    uint32_t n_seen;
    uint32_t text; /* counts the buffers that words point into: a word seen in another one is gone */
    bool first;    /* nothing but special tokens so far */
    bool user_before, user_behind; /* a piece that a user defined stands beside this stretch of text: it is text, too */
};

/* --- tok_job.c --- */
enum err_code tok_put(struct tok_job *j, int32_t id, struct err *e);
/* Puts the ids of the word if it was seen before in this call; otherwise *slot is where to note it (NULL: nowhere). */
enum err_code tok_seen_before(struct tok_job *j, struct str word, bool *found, struct tok_seen **slot, struct err *e);
void tok_note(struct tok_job *j, struct tok_seen *slot, struct str word, size_t first_id);
/* A character without a piece: its bytes, or the unknown token, one for a run of such characters. */
enum err_code tok_put_unknown(struct tok_job *j, const char *p, size_t n, bool *unknown_before, struct err *e);

/* Fill bytes, map, merges, byte_id; spm_open is for both of SentencePiece's models. */
enum err_code bpe_open(struct tok *t, struct err *e);
enum err_code spm_open(struct tok *t, struct err *e);
enum err_code unigram_open(struct tok *t, struct err *e);
/* The text as SentencePiece looks for pieces in it, appended to out. */
enum err_code spm_text(const struct tok_job *j, struct str text, struct buf *out, struct err *e);
/* Ids of one word by the unigram model. */
enum err_code unigram_word(struct tok_job *j, struct str s, struct err *e);
/* Ids of text without special tokens, n > 0. */
enum err_code bpe_encode(struct tok_job *j, struct str text, struct err *e);
enum err_code spm_encode(struct tok_job *j, struct str text, struct err *e);
#endif
