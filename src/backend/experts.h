#ifndef BACKEND_EXPERTS_H
#define BACKEND_EXPERTS_H
/* The choice of a token's experts and their weights, for devices that compute in ordinary memory: the arithmetic is
 * small and every such device must choose the same. As graph.h defines PICK_EXPERTS and WEIGH_EXPERTS. */
#include "graph/graph.h"

enum { EXPERTS_SCRATCH = 4 }; /* floats of scratch an expert, for either */

/* logits and bias (n_expert), bias NULL for none; ids (d->n_used). Whatever the logits are,
 * NaN too, ids are different experts. */
void experts_pick(const struct pick_desc *d, const float *logits, const float *bias, uint32_t n_expert, float *scratch,
                  int32_t *ids);
/* ids (n_used), weights (n_used). */
void experts_weigh(const struct weigh_desc *d, const float *logits, uint32_t n_expert, const int32_t *ids,
                   uint32_t n_used, float *scratch, float *weights);
#endif
