#ifndef TESTS_OP_DEVICES_H
#define TESTS_OP_DEVICES_H
/* Runs a case on every device and compares with the same operation in double, written in the test from its definition
 * in graph.h.
 *
 * The bounds are those of float arithmetic: a sum of n products in any order errs by at most (n + 1) * EPS * sum |a *
 * b|, a rounded operation by EPS of its result. A device that rounds activations to int8 may err by half a rounding
 * step of each activation as well. Results of one device must not depend on the number of its threads by a single bit.
 */
#include "rig.h"

enum { N_LEVELS = 4, MOST_THREADS = 3 };
extern const char *const cpu_levels[N_LEVELS]; /* for cpu_limit */

struct expected {
    const char *what;
    size_t n;
    double *want, *bound; /* (n) */
    double *int8_bound;   /* (n) for devices that round activations; NULL: the operation rounds nothing */
};
struct expected expect(const char *what, size_t n);
/* Number i is the product of a row of weights with a vector, and a bias. */
void expect_product(struct expected *x, size_t i, const float *w, const float *v, size_t n_in, double bias);
/* Number i errs by at most `relative` * EPS of itself and `absolute` * EPS. */
void expect_number(struct expected *x, size_t i, double want, double relative, double absolute);

void check_devices(build_fn *build, const void *arg, const struct expected *x);
/* The same for operations that make indices, which must be these. */
void check_devices_i32(const char *what, build_fn *build, const void *arg, const int32_t *want, size_t n);
#endif
