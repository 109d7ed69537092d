/* Owns the search for special pieces. They are kept sorted, so that those that begin like the text are a range which
 * each further byte narrows; the work at a place is bounded by the longest piece. */
#include <stdlib.h>
#include <string.h>
#include "text/special.h"

static int by_text(const void *pa, const void *pb) {
    const struct special_item *a = pa, *b = pb;
    size_t n = a->text.n < b->text.n ? a->text.n : b->text.n;
    int c = memcmp(a->text.p, b->text.p, n);
    if (c) return c;
    if (a->text.n != b->text.n) return a->text.n < b->text.n ? -1 : 1;
    return a->id < b->id ? -1 : a->id > b->id;
}

enum err_code special_init(struct special_set *s, const struct vocab *v, unsigned kinds, struct arena *a,
                           struct err *e) {
    size_t n = 0;
    for (uint32_t i = 0; i < v->n; i++) n += (kinds >> v->kind[i] & 1) && v->piece[i].n;
    *s = (struct special_set){ 0 };
    s->item = arena_alloc(a, n + 1, sizeof(*s->item));
    if (!s->item) return err_no_memory(e, n * sizeof(*s->item));
    for (uint32_t i = 0; i < v->n; i++) {
        if (!(kinds >> v->kind[i] & 1) || !v->piece[i].n) continue;
        s->item[s->n++] = (struct special_item){ v->piece[i], (int32_t)i };
        s->first[(uint8_t)v->piece[i].p[0]] = true;
    }
    qsort(s->item, s->n, sizeof(*s->item), by_text);
    return ERR_NONE;
}

/* The first of item[lo..hi) whose byte at depth is at least c. All of them are longer than depth. */
static size_t lower_bound(const struct special_item *item, size_t lo, size_t hi, size_t depth, unsigned c) {
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if ((uint8_t)item[mid].text.p[depth] < c) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

/* The longest piece that text begins with. */
static int32_t match_here(const struct special_set *s, struct str text, size_t *len) {
    int32_t id = -1;
    size_t lo = 0, hi = s->n;
    for (size_t depth = 0; depth < text.n && lo < hi; ) {
        unsigned c = (uint8_t)text.p[depth];
        lo = lower_bound(s->item, lo, hi, depth, c);
        hi = lower_bound(s->item, lo, hi, depth, c + 1);
        depth++;
        if (lo < hi && s->item[lo].text.n == depth) {
            id = s->item[lo].id;
            *len = depth;
            while (lo < hi && s->item[lo].text.n == depth) lo++; /* pieces of the same text: the first id counts */
        }
    }
    return id;
}

int32_t special_find(const struct special_set *s, struct str text, size_t *at, size_t *len) {
    for (; *at < text.n; ++*at) {
        if (!s->first[(uint8_t)text.p[*at]]) continue;
        int32_t id = match_here(s, (struct str){ text.p + *at, text.n - *at }, len);
        if (id >= 0) return id;
    }
    return -1;
}
