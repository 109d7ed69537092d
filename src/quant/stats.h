#ifndef QUANT_STATS_H
#define QUANT_STATS_H
/* What calibration keeps of a matrix's inputs: the mean square of each column, and a sample of whole input vectors. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

enum { STATS_SAMPLE = 512 }; /* input vectors that are kept */

struct stats {
    uint64_t n_in, total; /* columns; tokens that will come */
    uint64_t n_seen;
    double *sum2;  /* (n_in) */
    float *sample; /* (n_sample, n_in) one vector a row */
    size_t n_sample, n_taken;
};
/* For `total` tokens of n_in inputs. Zeroed is closed; stats_fini takes it. */
enum err_code stats_init(struct stats *s, uint64_t n_in, uint64_t total, struct err *e);
void stats_fini(struct stats *s);
/* The next n tokens, x (n, n_in) one token a row. The sums do not depend on how tokens are split among calls of equal
 * size. */
void stats_add(struct stats *s, const float *x, uint64_t n);
/* E[x_j^2] to out (n_in): sum and number of tokens as floats, divided, which is what a file of importances can keep.
 * false if a value is not finite: the activations overflowed. */
bool stats_importance(const struct stats *s, float *out);
#endif
