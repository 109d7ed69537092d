#ifndef TEXT_STRMAP_H
#define TEXT_STRMAP_H
/* A hash from byte strings to ids, built once and then only read. */
#include <string.h>
#include "base/err.h"
#include "base/str.h"

struct strmap_slot { uint32_t hash; int32_t id; }; /* id -1: empty */
struct strmap { struct strmap_slot *slot; uint32_t mask; const struct str *key; };

/* Room for up to n keys of the array key, which must stay valid: ids are indices into it. */
enum err_code strmap_init(struct strmap *m, const struct str *key, uint32_t n, struct err *e);
void strmap_fini(struct strmap *m);
/* Adds key[id] unless an equal key is there. At most n calls. */
void strmap_add(struct strmap *m, int32_t id);
/* -1 if absent. Thread-safe once filled. */
int32_t strmap_get(const struct strmap *m, const char *p, size_t n);
/* strmap_get of n strings: all the memory that they need is asked for before any of it is waited for. */
void strmap_get_many(const struct strmap *m, const struct str *s, size_t n, int32_t *id);

/* Eight bytes at a time, each mixed by a multiplication with an odd constant (2^64 / golden ratio). */
static inline uint32_t bytes_hash(const char *p, size_t n) {
    uint64_t h = n * 0x9e3779b97f4a7c15ull, w;
    for (; n >= 8; n -= 8, p += 8) {
        memcpy(&w, p, 8);
        h = (h ^ w) * 0x9e3779b97f4a7c15ull;
        h ^= h >> 32;
    }
    w = 0;
    for (size_t i = 0; i < n; i++) w |= (uint64_t)(uint8_t)p[i] << 8 * i;
    h = (h ^ w) * 0x9e3779b97f4a7c15ull;
    return (uint32_t)(h >> 32);
}
#endif
