#ifndef TESTS_RANDOM_BLOCK_H
#define TESTS_RANDOM_BLOCK_H
/* Stored weights of any type for tests, without its encoder: random bytes, drawn anew until all weights of the block
 * are finite, and the largest is neither tiny nor huge. */
#include <math.h>

#include "base/num.h"
#include "base/rng.h"
#include "qtype/qtype.h"

/* n weights, a multiple of the type's block; not for the float types. */
static inline void random_blocks(struct rng *draw, enum qtype type, uint8_t *out, size_t n) {
    const struct qtype_info *q = qtype_info(type);
    for (; n; n -= q->block_weights, out += q->block_bytes) {
        float x[256], largest;
        do {
            for (uint32_t i = 0; i < q->block_bytes; i++) out[i] = (uint8_t)rng_u32(draw);
            q->decode(out, x, q->block_weights);
            largest = 0;
            for (uint32_t i = 0; i < q->block_weights; i++)
                largest = isfinite(x[i]) ? fmaxf(largest, fabsf(x[i])) : INFINITY;
        } while (!(largest > 1e-3f && largest < 4));
    }
}
#endif
