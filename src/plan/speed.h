#ifndef PLAN_SPEED_H
#define PLAN_SPEED_H
/* How fast a device multiplies with weights of a type: measured with its own kernels over weights that no cache holds.
 * */
#include "backend/backend.h"

/* Seconds for each byte of weights, n_tok tokens at a time. Takes about a tenth of a second and `bytes` of memory. */
enum err_code speed_measure(struct backend *be, enum qtype type, uint64_t n_in, uint32_t n_tok, uint64_t bytes,
                            double *seconds_per_byte,
                            struct err *e);
#endif
