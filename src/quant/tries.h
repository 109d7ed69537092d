#ifndef QUANT_TRIES_H
#define QUANT_TRIES_H
/* Work on one matrix over a pool of threads: looking at its weights, encoding it, trying types on it. Rows are taken in
 * the order of the model's file. Results do not depend on the number of threads. */
#include "base/pool.h"
#include "model/model.h"
#include "quant/stats.h"

/* Looks at every weight: ERR_FORMAT for NaN and infinity; *max_abs is the largest magnitude. */
enum err_code weight_scan(struct pool *p, const struct weight *w, float *max_abs, struct err *e);

/* Types worth trying on w, ascending in bits per weight, to out (QTYPE_ID_LIMIT): block types that are smaller than
 * what the weights have, whose block divides the row and which hold max_abs; then the float type to fall back to: the
 * type the weights have, for F32 weights the 16-bit types. Returns how many. */
size_t tries_types(const struct weight *w, float max_abs, enum qtype *out);

/* Encodes all rows to out (rows of qtype_row_bytes), importance (n_in), of a stack (n_mat, n_in), or NULL. Weights that
 * have this type already are copied. */
enum err_code weight_encode(struct pool *p, const struct weight *w, enum qtype t, const float *importance, void *out,
                            struct err *e);

/* The relative error of w's encodings: rfn[i] = ||(W - W') X||_F / ||W X||_F for types[i], X the sampled inputs;
 * without inputs (an embedding, of which rows are looked up) ||W - W'||_F / ||W||_F. 0 for the type that the weights
 * have. Large matrices are represented by evenly spread rows. A stack has statistics for each of its matrices, and its
 * error is that of all products together, each counting as often as inputs came. */
enum err_code tries_run(struct pool *p, const struct weight *w, const struct stats *inputs, const float *importance,
                        const enum qtype *types, size_t n_types, double *rfn, struct err *e);
#endif
