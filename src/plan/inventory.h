#ifndef PLAN_INVENTORY_H
#define PLAN_INVENTORY_H
/* What a model's weights weigh: by kind, by layer, and at the smallest types that their shapes allow. Pure arithmetic.
 * */
#include "model/model.h"

enum { INVENTORY_MAX_PARTS = 8 };
struct inventory_part { const char *part; uint64_t bytes, parameters; };

struct inventory {
    struct inventory_part parts[INVENTORY_MAX_PARTS]; /* "embedding", "attention", "ffn", "head", "norm" */
    uint32_t n_parts;
    uint64_t parameters;
    uint64_t matrix_bytes;    /* as stored: what a device with the host's memory maps */
    uint64_t vector_bytes;    /* norms and biases as F32 with their padding: what the runtime copies */
    uint64_t layer_bytes;     /* the largest block */
    uint64_t outside_bytes;   /* all that is in no block */
    uint64_t smallest_bytes;  /* every matrix at the smallest type of its shape, vectors in F32 */
};
void inventory_take(const struct model *m, struct inventory *out);
/* The smallest type whose block divides a row of n weights; F16 if none does. */
enum qtype smallest_type(uint64_t n);
#endif
