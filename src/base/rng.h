#ifndef BASE_RNG_H
#define BASE_RNG_H
/* A small, good, reproducible generator: PCG32 (O'Neill 2014, pcg-random.org, XSH-RR 64/32). Zeroed is not seeded. */
#include <stdint.h>
struct rng { uint64_t state; };
static inline uint32_t rng_u32(struct rng *r) {
    uint64_t s = r->state;
    r->state = s * 6364136223846793005ull + 1442695040888963407ull;
    uint32_t x = (uint32_t)((s >> 18 ^ s) >> 27), rot = (uint32_t)(s >> 59);
    return x >> rot | x << (-rot & 31);
}
static inline void rng_seed(struct rng *r, uint64_t seed) {
    r->state = seed + 1442695040888963407ull;
    rng_u32(r);
}
/* In [0, 1), 24 bits. */
static inline float rng_f32(struct rng *r) { return (float)(rng_u32(r) >> 8) * 0x1p-24f; }
/* In [0, 1), 53 bits: one more would round up to 1. */
static inline double rng_f64(struct rng *r) {
    uint64_t hi = rng_u32(r);
    return (double)(hi << 21 | rng_u32(r) >> 11) * 0x1p-53;
}
/* In [0, n), n > 0, unbiased enough for n far below 2^32. */
static inline uint32_t rng_below(struct rng *r, uint32_t n) { return (uint32_t)((uint64_t)rng_u32(r) * n >> 32); }
#endif
