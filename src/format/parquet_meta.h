#ifndef FORMAT_PARQUET_META_H
#define FORMAT_PARQUET_META_H
/* What a parquet file says of itself: the schema, which of its columns hold text, where their data lie. */
#include <stdbool.h>
#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "format/thrift.h"

enum parquet_role { PARQUET_TEXT, PARQUET_ROLE = 0, PARQUET_CONTENT, PARQUET_LEAVES };

/* A column of strings as it is stored. */
struct parquet_leaf {
    size_t index;              /* among all that are stored */
    uint32_t max_def, max_rep; /* definition level of a value that is there; 1 within a list */
};

/* Where a row group keeps a column: whole pages, within the file. */
struct parquet_chunk { uint64_t offset, bytes, n_values; unsigned codec; };

struct parquet_meta {
    struct span file;
    size_t data_end;                          /* where the description begins */
    struct str column;                        /* name of the chosen column */
    bool chat;                                /* a list of messages: leaves are role and content; else text */
    struct parquet_leaf leaf[PARQUET_LEAVES];
    uint32_t def_present;                     /* chat: definition level from which a list has an element */
    struct thrift groups;                     /* before the next row group */
    size_t n_leaves, n_groups, group;         /* group: how many were read */
    uint64_t last_end[PARQUET_LEAVES];        /* of the chunks before */
};

/* Whether the file claims to be parquet (first four bytes). */
bool parquet_probe(struct span file);
/* Reads the description and chooses: the top-level column of that name, or, with name NULL, the first of "messages",
 * "conversations" that is a list of structs with "role" and "content" or "from" and "value", then of "text", "content"
 * that is a string. Borrows file. Errors carry the byte offset. */
enum err_code parquet_meta_open(struct span file, const char *name, struct parquet_meta *out, struct err *e);
/* The chunks of the next row group, for each leaf; false in *more behind the last. */
enum err_code parquet_meta_next(struct parquet_meta *m, struct parquet_chunk chunks[PARQUET_LEAVES], uint64_t *n_rows,
                                bool *more, struct err *e);
#endif
