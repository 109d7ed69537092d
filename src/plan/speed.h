#ifndef PLAN_SPEED_H
#define PLAN_SPEED_H
/* How fast a device runs a model: measured on the model's own graph, with norms, attention and all that happens between
 * the matrix products, over weights of the right shapes and types that stand in for the model's own. */
#include "plan/pass.h"

struct speed_desc {
    const struct model *m;  /* shapes and types; no weight is read */
    struct kv_types kv;
    uint32_t n_layer;       /* the first so many blocks */
    bool head;              /* and the head, for the last token */
    uint32_t n_tok, depth;  /* tokens in one pass, and before them in the cache */
};
/* The usual time of one pass. Takes some tenths of a second, or as long as two passes if that is more, and up to
 * 128 MiB of memory beside the cache and the activations of the pass; a weight that is larger takes its own size. All
 * tokens choose the same experts, so that many tokens read fewer of them than text would make them read. */
enum err_code speed_measure(struct backend *be, const struct speed_desc *d, double *seconds, struct err *e);
#endif
