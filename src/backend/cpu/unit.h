#ifndef BACKEND_CPU_UNIT_H
#define BACKEND_CPU_UNIT_H
/* Inside of the kernels: walking a row of stored weights by units of 256. */
#include <string.h>

#include "backend/cpu/kern.h"
#include "base/compiler.h"
#include "base/num.h"

/* Bytes of a unit: one block of 256, four of 64, eight of 32; and of 32 weights, where a block is shorter than a unit.
 * Constants, so that the compiler sees them. */
enum {
#define QTYPE(name, id, weights, bytes, codec, text) \
    UNIT_BYTES_##codec = (weights) > 1 ? UNIT / (weights) * (bytes) : 0, BLOCK_BYTES_##codec = 32 * (bytes) / (weights),
#include "qtype/qtype.def"
#undef QTYPE
};
enum { UNIT_BYTES_MAX = UNIT_BYTES_q8_0 };

/* The last unit of a row whose length is no multiple of 256: its blocks, then zeros up to a whole unit, whose scales
 * are thereby 0. */
static inline const uint8_t *padded_unit(const uint8_t *unit, size_t n_left, size_t block_bytes, uint8_t *copy) {
    size_t bytes = n_left / 32 * block_bytes;
    memcpy(copy, unit, bytes);
    memset(copy + bytes, 0, UNIT_BYTES_MAX - bytes);
    return copy;
}

/* Unit u of a row of n_in weights; copy has UNIT_BYTES_MAX bytes of room. */
static ALWAYS_INLINE const uint8_t *unit_at(const uint8_t *row, size_t u, size_t n_in, size_t unit_bytes,
                                            size_t block_bytes, uint8_t *copy) {
    const uint8_t *unit = row + u * unit_bytes;
    return (u + 1) * UNIT <= n_in ? unit : padded_unit(unit, n_in - u * UNIT, block_bytes, copy);
}
#endif
