#ifndef TEXT_SPECIAL_H
#define TEXT_SPECIAL_H
/* Sets of pieces that are sought at a place of a text: those that are cut out before anything else, control tokens and
 * what a user defined, and the pieces of a unigram model. */
#include "base/mem.h"
#include "text/vocab.h"

struct special_item { struct str text; int32_t id; };
/* Sorted by text; those that begin with byte c are item[from[c]..from[c + 1]); first[c]: whether there are any. */
struct special_set { struct special_item *item; size_t n; bool first[256]; size_t from[257]; };

/* Takes the pieces of the kinds in the mask (1 << enum token_kind), from arena a. Texts are borrowed from v. */
enum err_code special_init(struct special_set *s, const struct vocab *v, unsigned kinds, struct arena *a,
                           struct err *e);
/* The leftmost piece in text at or behind *at, the longest one there: moves *at to it, gives its id and length. -1 if
 * none. */
int32_t special_find(const struct special_set *s, struct str text, size_t *at, size_t *len);
/* The pieces that one place of a text begins with, one after the other. */
struct special_walk { size_t lo, hi, depth; };
static inline struct special_walk special_walk(const struct special_set *s) {
    return (struct special_walk){ 0, s->n, 0 };
}
/* The next longer piece that text begins with: its id and length; of equal ones the lowest id. -1 after the last. */
int32_t special_next(const struct special_set *s, struct str text, struct special_walk *w, size_t *len);
#endif
