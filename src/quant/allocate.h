#ifndef QUANT_ALLOCATE_H
#define QUANT_ALLOCATE_H
/* Which option every tensor gets, so that the sum of losses is least and the sum of bytes stays within a budget. Exact,
 * deterministic, and pure: no files, no models. */
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

enum { ALLOCATE_MAX_OPTIONS = 32 };
struct allocate_option {
    uint64_t bytes;
    double loss; /* INFINITY: not to be had */
};
struct allocate_item {
    const struct allocate_option *options;
    size_t n; /* 1..ALLOCATE_MAX_OPTIONS; at least one can be had */
};

/* chosen (n_items): index of each item's option. Options of equal bytes and loss: the lower index. Among solutions of
 * equal loss the one with fewer bytes wins. ERR_TOO_LARGE if even the smallest options exceed the budget. */
enum err_code allocate(const struct allocate_item *items, size_t n_items, uint64_t budget, uint8_t *chosen,
                       struct err *e);
/* Bytes of the smallest options together. */
uint64_t allocate_least(const struct allocate_item *items, size_t n_items);
#endif
