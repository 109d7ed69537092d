#ifndef FORMAT_TFILE_TENSOR_H
#define FORMAT_TFILE_TENSOR_H
/* What every weight format says about one stored tensor. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "qtype/qtype.h"

enum { TFILE_MAX_DIMS = 4 };

struct tfile_tensor {
    const char *name;
    enum qtype type;       /* QTYPE_NONE: stored in a type that holds no weights here (I64, U8, F8 ...): list it, do not
                            * compute with it; type_name says which */
    const char *type_name; /* "Q4_K", "BF16", "I64" */
    uint32_t n_dims;
    uint64_t ne[TFILE_MAX_DIMS]; /* fastest first, 1 beyond n_dims: a torch (out, in) matrix has ne = {in, out, 1, 1} */
    const uint8_t *data;         /* in the mapping, of any alignment (GGUF: that of the file, 32 as a rule) */
    uint64_t bytes;
    uint64_t file_off; /* of data, from the start of its file */
    uint16_t shard;    /* which file of the set, from 0 */
};

/* Product of ne; the readers have checked that it fits. */
static inline uint64_t tfile_tensor_weights(const struct tfile_tensor *t) {
    return t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3];
}

/* Whether bytes can be a name or a key: UTF-8 without control characters, so that it can be shown on a terminal. */
bool tfile_is_name(const char *p, size_t n);
/* Sorts names; returns one that appears twice, NULL if each appears once. */
const char *tfile_twin(const char **names, size_t n);
#endif
