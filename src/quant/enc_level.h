#ifndef QUANT_ENC_LEVEL_H
#define QUANT_ENC_LEVEL_H
/* Inside of the encoders: the searches of all types as compiled for one instruction set. Every level gives the same
 * bytes. */
#include <stddef.h>

#include "qtype/qtype.h"

/* Encodes a row of n weights x, a multiple of the type's block, finite and within the type's reach, to out, minimising
 * sum w (x - x')^2; w (n) is finite and positive. */
typedef void search_fn(const float *x, const float *w, void *out, size_t n);

struct enc_level {
    const char *name;
    unsigned needs; /* of enum cpu_feature */
    search_fn *search[QTYPE_ID_LIMIT]; /* NULL for a type that is not written */
};

/* The n levels of this build from the slowest, which runs on every processor of its kind, to the fastest. */
const struct enc_level *const *enc_levels(size_t *n);
#endif
