#ifndef FORMAT_THRIFT_H
#define FORMAT_THRIFT_H
/* Reads the compact protocol of Apache Thrift from a byte span: what parquet describes itself in.
 *
 * A value that is not there, is of another type or does not fit sets `bad`; from then on every call gives zeros and
 * every loop ends, so that callers look at `bad` once, behind the whole. Not thread-safe. */
#include <stdbool.h>
#include "base/str.h"

/* Types of values as they are numbered in the data; a boolean field has its value in its type. */
enum thrift_type {
    THRIFT_STOP, THRIFT_TRUE, THRIFT_FALSE, THRIFT_I8, THRIFT_I16, THRIFT_I32, THRIFT_I64, THRIFT_DOUBLE, THRIFT_BINARY,
    THRIFT_LIST, THRIFT_SET, THRIFT_MAP, THRIFT_STRUCT
};

struct thrift {
    struct span data; /* borrowed */
    size_t at;        /* bytes read so far; where it went wrong if bad */
    bool bad;
};

/* Where a struct's reader is; begin with a zeroed one. */
struct thrift_field { int32_t id; enum thrift_type type; };

/* The next field of the struct at hand to *f; false at its end. The caller reads the field's value or skips it:
 *     struct thrift_field f = { 0 };
 *     while (thrift_field(t, &f)) switch (f.id) { case 1: n = thrift_int(t, f.type); break; ... } */
bool thrift_field(struct thrift *t, struct thrift_field *f);
/* An integer of any width. */
int64_t thrift_int(struct thrift *t, enum thrift_type type);
/* The same, bad unless it is in [0, max]. */
uint64_t thrift_uint(struct thrift *t, enum thrift_type type, uint64_t max);
bool thrift_bool(struct thrift *t, enum thrift_type type);
/* Bytes or text, borrowed from the span. */
struct str thrift_binary(struct thrift *t, enum thrift_type type);
/* Begins a list whose elements must be of type elem; returns how many follow, at most one a byte that is left. */
size_t thrift_list(struct thrift *t, enum thrift_type type, enum thrift_type elem);
/* Leaves out a value, nested at most 32 deep. */
void thrift_skip(struct thrift *t, enum thrift_type type);
#endif
