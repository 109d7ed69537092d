#ifndef TEXT_SPECIAL_H
#define TEXT_SPECIAL_H
/* Pieces that are cut out of a text before anything else: control tokens and those that a user defined. */
#include "base/mem.h"
#include "text/vocab.h"

struct special_item { struct str text; int32_t id; };
struct special_set { struct special_item *item; size_t n; bool first[256]; }; /* sorted by text */

/* Takes the pieces of the kinds in the mask (1 << enum token_kind), from arena a. Texts are borrowed from v. */
enum err_code special_init(struct special_set *s, const struct vocab *v, unsigned kinds, struct arena *a,
                           struct err *e);
/* The leftmost piece in text at or behind *at, the longest one there: moves *at to it, gives its id and length. -1 if
 * none. */
int32_t special_find(const struct special_set *s, struct str text, size_t *at, size_t *len);
#endif
