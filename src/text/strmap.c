/* Owns the hash table: open addressing, at most half full, the whole hash kept beside the id so that a miss rarely
 * touches a string. */
#include "base/compiler.h"
#include "base/mem.h"
#include "base/num.h"
#include "text/strmap.h"

enum err_code strmap_init(struct strmap *m, const struct str *key, uint32_t n, struct err *e) {
    uint64_t slots = 16;
    while (slots < (uint64_t)n * 2) slots *= 2;
    if (slots > 1u << 31) return err_set(e, ERR_TOO_LARGE, "a vocabulary of %u pieces is too large", n);
    m->slot = mem_alloc(slots, sizeof(*m->slot));
    if (!m->slot) return err_no_memory(e, slots * sizeof(*m->slot));
    for (uint64_t i = 0; i < slots; i++) m->slot[i] = (struct strmap_slot){ 0, -1 };
    m->mask = (uint32_t)slots - 1;
    m->key = key;
    return ERR_NONE;
}

void strmap_fini(struct strmap *m) {
    mem_free(m->slot);
    *m = (struct strmap){ 0 };
}

/* The slot that holds the string, or the empty one where it belongs. */
static struct strmap_slot *find(const struct strmap *m, const char *p, size_t n, uint32_t hash) {
    for (uint32_t i = hash & m->mask; ; i = (i + 1) & m->mask) {
        struct strmap_slot *s = &m->slot[i];
        if (s->id < 0) return s;
        if (s->hash == hash && m->key[s->id].n == n && !memcmp(m->key[s->id].p, p, n)) return s;
    }
}

void strmap_add(struct strmap *m, int32_t id) {
    struct str k = m->key[id];
    uint32_t hash = bytes_hash(k.p, k.n);
    struct strmap_slot *s = find(m, k.p, k.n, hash);
    if (s->id < 0) *s = (struct strmap_slot){ hash, id };
}

int32_t strmap_get(const struct strmap *m, const char *p, size_t n) {
    return find(m, p, n, bytes_hash(p, n))->id;
}

enum { AT_ONCE = 32 }; /* enough to hide the waiting, few enough that what came first is still in the first cache */

static void get_some(const struct strmap *m, const struct str *s, size_t n, int32_t *id) {
    uint32_t hash[AT_ONCE];
    for (size_t i = 0; i < n; i++) {
        hash[i] = bytes_hash(s[i].p, s[i].n);
        PREFETCH(&m->slot[hash[i] & m->mask]);
    }
    /* The first slot is nearly always the right one; where it is not, find waits as it would have. */
    for (size_t i = 0; i < n; i++) {
        id[i] = m->slot[hash[i] & m->mask].id;
        if (id[i] >= 0) PREFETCH(&m->key[id[i]]);
    }
    for (size_t i = 0; i < n; i++)
        if (id[i] >= 0) PREFETCH(m->key[id[i]].p);
    for (size_t i = 0; i < n; i++) id[i] = find(m, s[i].p, s[i].n, hash[i])->id;
}

void strmap_get_many(const struct strmap *m, const struct str *s, size_t n, int32_t *id) {
    for (size_t i = 0; i < n; i += AT_ONCE) get_some(m, s + i, min_u64(n - i, AT_ONCE), id + i);
}
