#ifndef RUNTIME_VOCAB_FILL_H
#define RUNTIME_VOCAB_FILL_H
/* Shared between the files that fill vocabularies, vocab_file.c and vocab_hf.c. Not for others. */
#include "runtime/vocab_file.h"
#include "text/strmap.h"

/* ERR_UNSUPPORTED if the name is longer than the field. */
enum err_code vocab_set_pre(struct vocab *v, struct str name, struct err *e);
/* The arrays for n pieces, zeroed, and v->n; v->model must be set. */
enum err_code vocab_alloc(struct vocab *v, uint32_t n, struct err *e);
/* A copy of s that v owns. */
enum err_code vocab_keep(struct vocab *v, struct str s, struct str *out, struct err *e);

/* Scores for a vocabulary that comes with merges. SentencePiece merges by the score of the result, files with merges by
 * their order: a piece scores by the first merge that makes it, 0 for the first piece, -1 for the second and so on; a
 * piece that no merge makes comes last. Pieces and kinds must be set. Fini after an error, too. */
struct vocab_scoring { struct strmap map; struct buf word; uint32_t n; };
enum err_code vocab_scoring_init(struct vocab_scoring *s, struct vocab *v, struct err *e);
/* The merges in order; merge: its number, for errors. */
enum err_code vocab_score_merge(struct vocab_scoring *s, struct vocab *v, uint32_t merge, struct str left,
                                struct str right, struct err *e);
/* After the last merge. */
void vocab_score_rest(const struct vocab_scoring *s, struct vocab *v);
void vocab_scoring_fini(struct vocab_scoring *s);
#endif
