#ifndef QTYPE_QTYPE_H
#define QTYPE_QTYPE_H
/* The table of stored types: what a block holds, how it is decoded and plainly encoded. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The value is GGUF's type id. */
enum qtype {
#define QTYPE(name, id, weights, bytes, codec, text) QTYPE_##name = id,
#include "qtype/qtype.def"
#undef QTYPE
    QTYPE_NONE = 0xffff
};
enum { QTYPE_ID_LIMIT = 64 }; /* all ids are below */

struct qtype_info {
    const char *name;
    enum qtype type;
    uint32_t block_weights;
    uint32_t block_bytes;
    /* Decodes n weights (a multiple of block_weights) exactly. Any alignment of blocks. */
    void (*decode)(const void *blocks, float *out, size_t n);
    /* Plain rounding, no search and no importance; n as above; values finite. NULL: the type is read only. */
    void (*encode)(const float *in, void *blocks, size_t n);
};

/* NULL for an id that this program does not know. */
const struct qtype_info *qtype_info(uint32_t id);
const char *qtype_name(enum qtype t); /* "?" if unknown */
/* Case-insensitive; QTYPE_NONE if unknown. */
enum qtype qtype_from_name(const char *name);
/* All known types in ascending bits per weight, ties by id; *n how many. */
const enum qtype *qtype_all(size_t *n);
double qtype_bpw(enum qtype t);
/* Bytes of a row of n weights; false if t is unknown, n is no multiple of the block, or on overflow. */
bool qtype_row_bytes(enum qtype t, uint64_t n, uint64_t *bytes);
/* False for a type that is read only, or unknown. */
bool qtype_can_write(enum qtype t);
/* True for F32, F16, BF16: one weight a block. */
bool qtype_is_float(enum qtype t);
#endif
