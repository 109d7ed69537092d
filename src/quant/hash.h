#ifndef QUANT_HASH_H
#define QUANT_HASH_H
/* FNV-1a of 64 bits (Fowler, Noll, Vo): tells apart what was mixed up, not what was forged. */
#include <stddef.h>
#include <stdint.h>

#define HASH_START 0xcbf29ce484222325ull

static inline uint64_t hash_bytes(uint64_t h, const void *p, size_t n) {
    const unsigned char *b = p;
    /* The analyzer knows the values of numbers, not of their bytes. */
    /* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult) */
    for (size_t i = 0; i < n; i++) h = (h ^ b[i]) * 0x100000001b3ull;
    return h;
}
#endif
