#ifndef FORMAT_IMATRIX_H
#define FORMAT_IMATRIX_H
/* Importance files of llama.cpp's tools, in both forms: GGUF and the older binary one. docs/formats/imatrix.md. */
#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"

/* What was seen of one weight's inputs. */
struct imatrix_entry {
    const char *name;    /* of the weight, "blk.3.ffn_up.weight" */
    uint64_t n;          /* sums: one for each input, or for each expert and input */
    uint64_t n_counts;   /* 1, or the number of experts; divides n */
    const float *sums;   /* (n_counts, n / n_counts) sums of squares, finite, not negative */
    const float *counts; /* (n_counts) tokens, finite, not negative */
};

/* Plain data, read-only for others. */
struct imatrix {
    struct imatrix_entry *entries; /* sorted by name */
    size_t n_entries;
    const struct str *datasets; /* names of the texts */
    size_t n_datasets;
    uint32_t n_chunks, chunk_length; /* of calibration text; chunk_length 0: not known */
    struct arena mem; /* owns all of the above */
};

/* Copies what it needs of the span. Entries are checked: shapes, no name twice, values. On error *out is NULL. */
enum err_code imatrix_read(struct span file, struct imatrix **out, struct err *e);
enum err_code imatrix_open(const char *path, struct imatrix **out, struct err *e);
void imatrix_close(struct imatrix *m); /* NULL is fine */
/* NULL if there is none. O(log n). */
const struct imatrix_entry *imatrix_find(const struct imatrix *m, const char *name);

/* Mean squares for a weight of n_in inputs and n_experts experts (1: none) to out (n_experts, n_in). An expert that
 * no token reached takes the mean over all tokens of the others; if none reached any, all columns are alike. One set of
 * sums serves all experts. ERR_FORMAT if the entry has another shape, or a mean is too large for a float. */
enum err_code imatrix_means(const struct imatrix_entry *t, uint64_t n_in, uint64_t n_experts, float *out,
                            struct err *e);

/* Writes the entries in the order they stand in, whole or not at all: GGUF, or the older form for NAME.dat. */
enum err_code imatrix_write(const struct imatrix *m, const char *path, struct err *e);
#endif
