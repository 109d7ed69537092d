#ifndef QUANT_HASH_H
#define QUANT_HASH_H
/* FNV-1a of 64 bits (Fowler, Noll, Vo): tells apart what was mixed up, not what was forged. */
#include <stddef.h>
#include <stdint.h>

#define HASH_START 0xcbf29ce484222325ull
#define HASH_PRIME 0x100000001b3ull

static inline uint64_t hash_bytes(uint64_t h, const void *p, size_t n) {
    const unsigned char *b = p;
    for (size_t i = 0; i < n; i++) h = (h ^ b[i]) * HASH_PRIME;
    return h;
}

/* The eight bytes of a number, lowest first. */
static inline uint64_t hash_u64(uint64_t h, uint64_t v) {
    for (int i = 0; i < 64; i += 8) h = (h ^ (v >> i & 255)) * HASH_PRIME;
    return h;
}
#endif
