#ifndef QUANT_MEASURING_H
#define QUANT_MEASURING_H
/* Inside of measuring: what its passes over the model share. The first (measure.c) calibrates and tries types, the
 * second (probe.c) finds what errors do to the output. */
#include "base/pool.h"
#include "quant/journal.h"
#include "quant/measure.h"
#include "runtime/block.h"

struct measuring {
    const struct measure_options *o;
    struct engine *en;
    struct pool *pool;
    struct calib_tokens tokens;
    struct measurement *m;
    const struct weight **weights; /* (m->n_tensors) */
    float *max_abs;                /* (m->n_tensors) largest magnitudes, found in the first pass */
    struct journal *journal;
    double done, total; /* work, in weights times tokens of a forward pass */
};

/* What encoding a weight once costs, in the unit of `total`: about 0.15 us against some 25 weights a nanosecond. */
enum { ENCODE_COST = 4000 };

/* Adds to the work done and reports it; ERR_INTERRUPTED if it shall end. */
enum err_code measuring_step(struct measuring *k, const char *what, double cost, struct err *e);
/* Whether w belongs to block `layer`. */
bool measuring_in_block(const struct weight *w, uint32_t layer);
/* Weights of block `layer` that a token meets: of experts, those of the chosen ones. */
double measuring_block_weights(const struct measuring *k, uint32_t layer);
/* The slot that serves as head. */
static inline enum slot measuring_head(const struct measuring *k) {
    return k->en->model->hp.tied ? SLOT_TOKEN_EMBD : SLOT_OUTPUT;
}
/* Tokens for one run of the head: a divisor of length whose logits do not take much memory. */
uint32_t measuring_head_length(const struct measuring *k, uint32_t length);

/* --- probe.c --- */
/* Sets the settings' probe fields, which belong to the journal's identity. */
void probe_choose(struct measuring *k);
double probe_work(const struct measuring *k);
/* Fills probes and sensitivity of all tensors; tries and importances are there. */
enum err_code probe_run(struct measuring *k, struct err *e);

/* --- joint.c --- */
double joint_work(const struct measuring *k);
/* *kld: the divergence that all matrices cause together, each in its type (types: m->n_tensors), on the probes' tokens.
 * Importances are there. */
enum err_code joint_run(struct measuring *k, const enum qtype *types, double *kld, struct err *e);
#endif
