/* Owns the search for pieces at a place of a text. They are kept sorted, so that those that begin like the text are a
 * range which each further byte narrows; the work at a place is bounded by the longest piece. */
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
    }
    qsort(s->item, s->n, sizeof(*s->item), by_text);
    for (size_t i = 0, c = 0; c < 257; c++) {
        while (i < s->n && (uint8_t)s->item[i].text.p[0] < c) i++;
        s->from[c] = i;
    }
    for (size_t c = 0; c < 256; c++) s->first[c] = s->from[c] < s->from[c + 1];
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

int32_t special_next(const struct special_set *s, struct str text, struct special_walk *w, size_t *len) {
    while (w->depth < text.n && w->lo < w->hi) {
        unsigned c = (uint8_t)text.p[w->depth];
        if (w->depth) {
            w->lo = lower_bound(s->item, w->lo, w->hi, w->depth, c);
            w->hi = lower_bound(s->item, w->lo, w->hi, w->depth, c + 1);
        } else {
            w->lo = s->from[c];
            w->hi = s->from[c + 1];
        }
        size_t depth = ++w->depth, at = w->lo;
        /* Pieces of the same text: the first id counts. */
        while (w->lo < w->hi && s->item[w->lo].text.n == depth) w->lo++;
        if (w->lo == at) continue;
        *len = depth;
        return s->item[at].id;
    }
    return -1;
}

int32_t special_find(const struct special_set *s, struct str text, size_t *at, size_t *len) {
    int32_t longest = -1;
    for (; *at < text.n; ++*at) {
        if (!s->first[(uint8_t)text.p[*at]]) continue;
        struct special_walk w = special_walk(s);
        struct str rest = { text.p + *at, text.n - *at };
        for (int32_t id; (id = special_next(s, rest, &w, len)) >= 0; ) longest = id;
        if (longest >= 0) break;
    }
    return longest;
}
