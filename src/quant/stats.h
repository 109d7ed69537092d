#ifndef QUANT_STATS_H
#define QUANT_STATS_H
/* What calibration keeps of a matrix's inputs: the mean square of each column, and a sample of whole input vectors. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "base/rng.h"

enum {
    STATS_SAMPLE = 512,        /* input vectors that are kept of a matrix */
    STATS_STACK_SAMPLE = 2048, /* of a stack's matrices together; but never more than STATS_SAMPLE of one, */
    STATS_LEAST_SAMPLE = 16,   /* nor fewer than these */
};

struct stats {
    uint64_t n_in, total; /* columns; tokens that will come, 0 if their number is not known */
    uint64_t n_seen;
    double *sum2;  /* (n_in) */
    float *sample; /* (n_sample, n_in) one vector a row */
    size_t n_sample, n_taken;
    struct rng rng; /* which vectors are kept where `total` is not known */
};
/* For `total` tokens of n_in inputs. Zeroed is closed; stats_fini takes it. */
enum err_code stats_init(struct stats *s, uint64_t n_in, uint64_t total, struct err *e);
/* For one of the n_mat matrices of a stack, whose inputs are as many as happen to come: an expert's. Each input is as
 * likely as any other to be among those that are kept. */
enum err_code stats_init_stacked(struct stats *s, uint64_t n_in, uint64_t n_mat, struct err *e);
void stats_fini(struct stats *s);
/* The next n tokens, x (n, n_in) one token a row. The sums do not depend on how tokens are split among calls of equal
 * size. */
void stats_add(struct stats *s, const float *x, uint64_t n);
/* E[x_j^2] to out (n, n_in) of n matrices with n_in inputs each: sum and number of tokens as floats, divided, which is
 * what a file of importances can keep. A matrix that no input reached gets the mean of all. false if a value is not
 * finite: the activations overflowed. */
bool stats_importance(const struct stats *s, size_t n, float *out);
#endif
