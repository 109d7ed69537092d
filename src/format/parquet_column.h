#ifndef FORMAT_PARQUET_COLUMN_H
#define FORMAT_PARQUET_COLUMN_H
/* One column of strings of one row group, value by value. */
#include "format/parquet_bits.h"
#include "format/parquet_codec.h"
#include "format/parquet_meta.h"

/* A place of the column: whether a row begins (rep 0), how much of the path to the value is there, and the value. */
struct parquet_cell { uint32_t rep, def; struct str value; }; /* value counts where def is the leaf's max_def */

/* How the values of a page are stored, and where the reader is. */
struct parquet_values {
    unsigned encoding;
    struct span bytes;     /* the strings that are left */
    struct hybrid indices; /* into the dictionary */
    struct delta prefixes, lengths;
    struct buf last;       /* the string before, of which the next one takes its beginning */
};

/* Zeroed is empty; begun anew for each row group, so that memory is used again. */
struct parquet_column {
    struct parquet_leaf leaf;
    struct span file;      /* up to where its data end */
    uint64_t at;           /* of the next page */
    uint64_t left;         /* values of the chunk to come, nulls among them */
    uint64_t page_left;    /* of the page */
    unsigned codec;
    struct hybrid reps, defs;
    struct parquet_values values;
    struct parquet_room page_room, dictionary_room;
    struct str *dictionary; /* (n_dictionary) */
    size_t n_dictionary;
};
void parquet_column_begin(struct parquet_column *c, struct span file, const struct parquet_leaf *leaf,
                          const struct parquet_chunk *chunk);
void parquet_column_fini(struct parquet_column *c);
/* The next cell; c->left must not be 0. The value is good until the next call. */
enum err_code parquet_column_next(struct parquet_column *c, struct parquet_cell *out, struct err *e);
#endif
