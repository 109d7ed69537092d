#ifndef TEXT_MERGE_H
#define TEXT_MERGE_H
/* Byte-pair merging: the step that all vocabularies here share. Symbols are ids of pieces; the adjacent pair of the
 * lowest rank is replaced by its result, the leftmost first among equals, until no pair has a rank. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

struct merge_slot { int32_t left, right; uint32_t rank; int32_t result; }; /* result -1: empty */
struct merge_table { struct merge_slot *slot; uint32_t mask; uint32_t n; };

/* n: how many entries to make room for; more may come. */
enum err_code merge_init(struct merge_table *t, uint32_t n, struct err *e);
void merge_fini(struct merge_table *t);
/* Ids >= 0, rank < UINT32_MAX. Of two entries for one pair the first stays. */
enum err_code merge_add(struct merge_table *t, const struct merge_slot *pair, struct err *e);
/* Adds n entries in order; those with an id below 0 are left out, and *n_lost, which may be NULL, rises by them. */
enum err_code merge_add_many(struct merge_table *t, const struct merge_slot *pair, size_t n, uint32_t *n_lost,
                             struct err *e);

/* A word being merged, reused from word to word; zeroed is empty. Set id and off for n symbols after merge_reserve. */
struct merge_word {
    int32_t *id;   /* (n) piece of each symbol, -1 for one that is no piece and merges with nothing */
    uint32_t *off; /* (n) where the symbol begins in the text of the word */
    size_t n;
    uint64_t *pair;          /* (n) rank << 32 | result of the pair that begins here; ~0: none */
    uint32_t *prev, *next;   /* (n) neighbours, in long words */
    struct merge_todo *heap; /* (3 n) */
    size_t cap, heap_cap;
};
enum err_code merge_reserve(struct merge_word *w, size_t n, struct err *e);
void merge_word_fini(struct merge_word *w);
/* Merges w in place: on return n symbols are left. O(n log n) for any input. */
enum err_code merge_run(const struct merge_table *t, struct merge_word *w, struct err *e);
#endif
