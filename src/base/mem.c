/* Owns: every heap block of the project, and arenas.
 * Promises: blocks aligned to a cache line; products of sizes are checked; large zeroed blocks cost no physical memory
 * until they are touched.
 * Leaves to others: mapped files (base/os.h) and device memory (backend). */
#include "base/mem.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "base/num.h"
#include "base/os.h"

enum {
    CACHE_LINE = 64,
    LAZY_ZERO_MIN = 1 << 20,    /* below this clearing is cheaper than the page faults of fresh pages */
    ARENA_ALIGN = 16,
    ARENA_BLOCK_MIN = 4 << 10,
    ARENA_BLOCK_MAX = 1 << 20,
};

/* false when n * size is more than any object can have. */
static bool total_of(size_t n, size_t size, size_t *bytes) {
    uint64_t product;
    if (!mul_u64(n, size, &product) || product > PTRDIFF_MAX) return false;
    *bytes = (size_t)product;
    return true;
}

static void *alloc_bytes(size_t bytes) {
    void *p = NULL;
    if (posix_memalign(&p, CACHE_LINE, bytes ? bytes : 1)) return NULL;
    return p;
}

void *mem_alloc(size_t n, size_t size) {
    size_t bytes;
    return total_of(n, size, &bytes) ? alloc_bytes(bytes) : NULL;
}

void *mem_calloc(size_t n, size_t size) {
    size_t bytes;
    if (!total_of(n, size, &bytes)) return NULL;
    char *p = alloc_bytes(bytes);
    if (!p) return NULL;
    if (bytes >= LAZY_ZERO_MIN) os_zero(p, bytes);
    else memset(p, 0, bytes);
    return p;
}

void *mem_realloc(void *old, size_t old_n, size_t n, size_t size) {
    size_t old_bytes, bytes;
    if (!total_of(old_n, size, &old_bytes) || !total_of(n, size, &bytes)) return NULL;
    /* realloc would not keep the alignment. */
    void *p = alloc_bytes(bytes);
    if (!p) return NULL;
    size_t keep = old_bytes < bytes ? old_bytes : bytes;
    if (old && keep) memcpy(p, old, keep);
    mem_free(old);
    return p;
}

void mem_free(void *p) {
    free(p);
}

char *mem_strndup(const char *s, size_t n) {
    if (n == SIZE_MAX) return NULL;
    char *copy = mem_alloc(n + 1, 1);
    if (!copy) return NULL;
    if (n) memcpy(copy, s, n);
    copy[n] = 0;
    return copy;
}

char *mem_strdup(const char *s) {
    return mem_strndup(s, strlen(s));
}

struct arena_block {
    struct arena_block *next;
    size_t used, cap; /* bytes of data behind this header */
};

/* The header's size keeps data aligned. */
static char *block_data(struct arena_block *b) {
    return (char *)b + round_up(sizeof(struct arena_block), ARENA_ALIGN);
}

/* A block with room for at least `bytes`; blocks grow with the arena, so that their number stays small. */
static struct arena_block *block_new(const struct arena *a, size_t bytes) {
    size_t cap = max_u64(bytes, min_u64(max_u64(a->total, ARENA_BLOCK_MIN), ARENA_BLOCK_MAX));
    uint64_t total;
    if (!add_u64(cap, round_up(sizeof(struct arena_block), ARENA_ALIGN), &total)) return NULL;
    struct arena_block *b = mem_calloc(1, total);
    if (b) b->cap = cap;
    return b;
}

void *arena_alloc(struct arena *a, size_t n, size_t size) {
    size_t bytes;
    if (!total_of(n, size, &bytes) || bytes > PTRDIFF_MAX - ARENA_ALIGN) return NULL;
    bytes = round_up(bytes ? bytes : 1, ARENA_ALIGN);
    struct arena_block *b = a->head;
    if (!b || b->cap - b->used < bytes) {
        struct arena_block *fresh = block_new(a, bytes);
        if (!fresh) return NULL;
        a->total += fresh->cap;
        /* A block made for one large object is full at once: it goes behind the head, whose room stays in use. */
        if (b && fresh->cap == bytes) {
            fresh->next = b->next;
            b->next = fresh;
        } else {
            fresh->next = b;
            a->head = fresh;
        }
        b = fresh;
    }
    void *p = block_data(b) + b->used;
    b->used += bytes;
    return p;
}

char *arena_strndup(struct arena *a, const char *s, size_t n) {
    if (n == SIZE_MAX) return NULL;
    char *copy = arena_alloc(a, n + 1, 1);
    if (copy && n) memcpy(copy, s, n);
    return copy;
}

char *arena_strdup(struct arena *a, const char *s) {
    return arena_strndup(a, s, strlen(s));
}

void arena_fini(struct arena *a) {
    for (struct arena_block *b = a->head; b;) {
        struct arena_block *next = b->next;
        mem_free(b);
        b = next;
    }
    *a = (struct arena){ 0 };
}
