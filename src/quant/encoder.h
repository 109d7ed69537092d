#ifndef QUANT_ENCODER_H
#define QUANT_ENCODER_H
/* Searching encoders: rows of float weights to blocks of a stored type, chosen so that the layer's output suffers
 * least.
 *
 * With x the weights of a row and x' what their blocks decode to, an encoder minimises sum_j a_j (x_j - x'_j)^2,
 * where a_j is the mean square of the layer's input j. That sum is the row's expected squared output error when the
 * inputs are uncorrelated. The search is a local one (scales, sub-scales and codes in turn), not an exhaustive one.
 * */
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "qtype/qtype.h"

/* What is known of the matrix's input, and how to encode; all pointers are borrowed for the call and may be NULL. */
struct encoder_input {
    const float *importance; /* (n) E[x_j^2]; any common factor; finite, not negative. NULL: all columns alike */
    const float *moment;     /* (n, n) E[x_i x_j]. Encoders use its diagonal, and that only where importance is NULL */
    bool plain;              /* the codec's own rounding (qtype.h) and no search; what is known of inputs is not used */
    uint64_t first_row;      /* what the first row is called in messages: its number in the matrix */
};

/* Encodes n_rows rows of n weights w (n_rows, n) to out, qtype_row_bytes(t, n) bytes a row. `in` may be NULL.
 *
 * Each row's bytes depend on that row and `in` alone, never on its neighbours or on a thread, so callers may cut a
 * matrix into runs of rows and encode these at the same time. Same input, same bytes, on every CPU.
 *
 * ERR_UNSUPPORTED when n is no multiple of the type's block, when t is unknown or read only, or when a weight is beyond
 * encoder_reach; ERR_FORMAT when a weight or an importance is not finite. The message names row and column. out is
 * then partly written. */
enum err_code encode_rows(enum qtype t, const float *w, size_t n_rows, size_t n, const struct encoder_input *in,
                          void *out, struct err *e);

/* The largest magnitude that encode_rows takes: half's range for all types but BF16 and F32. */
float encoder_reach(enum qtype t);
#endif
