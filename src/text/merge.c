/* Owns the table of merges and the two ways to apply it: short words by scanning for the lowest pair again and again,
 * which is fastest while everything sits in the first cache, long ones with a heap. Both give the same result. */
#include <string.h>
#include "base/compiler.h"
#include "base/mem.h"
#include "text/merge.h"

#define NO_PAIR UINT64_MAX
/* Longest word that is merged by scanning: beyond it the quadratic cost shows (measured on English and on source
 * code). */
#define SHORT_WORD 48

struct merge_todo { uint64_t pair; uint32_t at; };

static uint32_t pair_hash(int32_t left, int32_t right) {
    uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15ull; /* 2^64 / golden ratio */
    return (uint32_t)(h >> 32) ^ (uint32_t)(h >> 15);
}

static struct merge_slot *find(const struct merge_table *t, int32_t left, int32_t right) {
    for (uint32_t i = pair_hash(left, right) & t->mask; ; i = (i + 1) & t->mask) {
        struct merge_slot *s = &t->slot[i];
        if (s->result < 0 || (s->left == left && s->right == right)) return s;
    }
}

static enum err_code set_size(struct merge_table *t, uint64_t n_slots, struct err *e) {
    if (n_slots > 1u << 31) return err_set(e, ERR_TOO_LARGE, "more than 2^30 merges");
    struct merge_table old = *t;
    t->slot = mem_alloc(n_slots, sizeof(*t->slot));
    if (!t->slot) {
        *t = old;
        return err_no_memory(e, n_slots * sizeof(*t->slot));
    }
    memset(t->slot, 0xff, n_slots * sizeof(*t->slot)); /* every result -1 */
    t->mask = (uint32_t)n_slots - 1;
    for (uint64_t i = 0; old.slot && i <= old.mask; i++) {
        if (old.slot[i].result >= 0) *find(t, old.slot[i].left, old.slot[i].right) = old.slot[i];
    }
    mem_free(old.slot);
    return ERR_NONE;
}

enum err_code merge_init(struct merge_table *t, uint32_t n, struct err *e) {
    uint64_t slots = 1024;
    while (slots / 2 <= n) slots *= 2;
    *t = (struct merge_table){ 0 };
    return set_size(t, slots, e);
}

void merge_fini(struct merge_table *t) {
    mem_free(t->slot);
    *t = (struct merge_table){ 0 };
}

enum err_code merge_add(struct merge_table *t, const struct merge_slot *pair, struct err *e) {
    struct merge_slot *s = find(t, pair->left, pair->right);
    if (s->result >= 0) return ERR_NONE;
    *s = *pair;
    t->n++;
    return t->n > t->mask / 2 ? set_size(t, ((uint64_t)t->mask + 1) * 2, e) : ERR_NONE;
}

enum err_code merge_add_many(struct merge_table *t, const struct merge_slot *pair, size_t n, uint32_t *n_lost,
                             struct err *e) {
    for (size_t i = 0; i < n; i++) PREFETCH(&t->slot[pair_hash(pair[i].left, pair[i].right) & t->mask]);
    for (size_t i = 0; i < n; i++) {
        if (pair[i].left >= 0 && pair[i].right >= 0 && pair[i].result >= 0) TRY(merge_add(t, &pair[i], e));
        else if (n_lost) ++*n_lost;
    }
    return ERR_NONE;
}

enum err_code merge_reserve(struct merge_word *w, size_t n, struct err *e) {
    if (n <= w->cap) return ERR_NONE;
    /* Offsets and positions are 32 bits wide. */
    if (n > INT32_MAX) return err_set(e, ERR_TOO_LARGE, "a word of %zu bytes is too long: split the text", n);
    size_t cap = n < 256 ? 256 : n + n / 4;
    merge_word_fini(w);
    w->id = mem_alloc(cap, sizeof(*w->id));
    w->off = mem_alloc(cap, sizeof(*w->off));
    w->pair = mem_alloc(cap, sizeof(*w->pair));
    w->prev = mem_alloc(cap, sizeof(*w->prev));
    w->next = mem_alloc(cap, sizeof(*w->next));
    if (!w->id || !w->off || !w->pair || !w->prev || !w->next) return err_no_memory(e, cap * 24);
    w->cap = cap;
    return ERR_NONE;
}

void merge_word_fini(struct merge_word *w) {
    mem_free(w->id);
    mem_free(w->off);
    mem_free(w->pair);
    mem_free(w->prev);
    mem_free(w->next);
    mem_free(w->heap);
    *w = (struct merge_word){ 0 };
}

static uint64_t pair_of(const struct merge_table *t, int32_t left, int32_t right) {
    if (left < 0 || right < 0) return NO_PAIR;
    const struct merge_slot *s = find(t, left, right);
    return s->result < 0 ? NO_PAIR : (uint64_t)s->rank << 32 | (uint32_t)s->result;
}

static void run_short(const struct merge_table *t, struct merge_word *w) {
    size_t n = w->n;
    for (size_t i = 0; i + 1 < n; i++) w->pair[i] = pair_of(t, w->id[i], w->id[i + 1]);
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++) {
            if (w->pair[i] >> 32 < w->pair[best] >> 32) best = i;
        }
        if (w->pair[best] == NO_PAIR) break;
        w->id[best] = (int32_t)(uint32_t)w->pair[best];
        n--;
        memmove(w->id + best + 1, w->id + best + 2, (n - best - 1) * sizeof(*w->id));
        memmove(w->off + best + 1, w->off + best + 2, (n - best - 1) * sizeof(*w->off));
        memmove(w->pair + best, w->pair + best + 1, (n - best - 1) * sizeof(*w->pair));
        if (best + 1 < n) w->pair[best] = pair_of(t, w->id[best], w->id[best + 1]);
        if (best > 0) w->pair[best - 1] = pair_of(t, w->id[best - 1], w->id[best]);
    }
    w->n = n;
}

static bool before(const struct merge_todo *a, const struct merge_todo *b) {
    uint64_t ra = a->pair >> 32, rb = b->pair >> 32;
    return ra != rb ? ra < rb : a->at < b->at;
}

static void sift_down(struct merge_todo *heap, size_t n, size_t i) {
    struct merge_todo x = heap[i];
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && before(&heap[child + 1], &heap[child])) child++;
        if (!before(&heap[child], &x)) break;
        heap[i] = heap[child];
    }
    heap[i] = x;
}

static void push(struct merge_todo *heap, size_t *n, struct merge_todo x) {
    size_t i = (*n)++;
    for (; i && before(&x, &heap[(i - 1) / 2]); i = (i - 1) / 2) heap[i] = heap[(i - 1) / 2];
    heap[i] = x;
}

/* Sets the pair that begins at symbol i and queues it if it merges. */
static void renew(const struct merge_table *t, struct merge_word *w, uint32_t i, size_t *n_heap) {
    uint32_t next = w->next[i];
    w->pair[i] = next < w->n ? pair_of(t, w->id[i], w->id[next]) : NO_PAIR;
    if (w->pair[i] != NO_PAIR) push(w->heap, n_heap, (struct merge_todo){ w->pair[i], i });
}

/* A merge takes one symbol away and queues at most two pairs, so n pairs at the start and 2 n later are all there can
 * be. A queued pair is out of date when the pair at its place is another one by now. */
static enum err_code run_long(const struct merge_table *t, struct merge_word *w, struct err *e) {
    size_t n_heap = 0, room = w->n * 3;
    if (w->heap_cap < room) {
        mem_free(w->heap);
        w->heap = mem_alloc(room, sizeof(*w->heap));
        w->heap_cap = w->heap ? room : 0;
        if (!w->heap) return err_no_memory(e, room * sizeof(*w->heap));
    }
    for (uint32_t i = 0; i < w->n; i++) {
        w->prev[i] = i - 1; /* the first one's wraps around and is never used */
        w->next[i] = i + 1;
        renew(t, w, i, &n_heap);
    }
    while (n_heap) {
        struct merge_todo top = w->heap[0];
        w->heap[0] = w->heap[--n_heap];
        if (n_heap) sift_down(w->heap, n_heap, 0);
        if (w->pair[top.at] != top.pair) continue;
        uint32_t gone = w->next[top.at], next = w->next[gone];
        w->id[top.at] = (int32_t)(uint32_t)top.pair;
        w->pair[gone] = NO_PAIR;
        w->next[top.at] = next;
        if (next < w->n) w->prev[next] = top.at;
        renew(t, w, top.at, &n_heap);
        if (top.at) renew(t, w, w->prev[top.at], &n_heap);
    }
    size_t n = 0;
    for (size_t i = 0; i < w->n; i = w->next[i], n++) {
        w->id[n] = w->id[i];
        w->off[n] = w->off[i];
    }
    w->n = n;
    return ERR_NONE;
}

enum err_code merge_run(const struct merge_table *t, struct merge_word *w, struct err *e) {
    if (w->n > SHORT_WORD) return run_long(t, w, e);
    run_short(t, w);
    return ERR_NONE;
}
