/* What the passes of measuring share: how far the work is, and what a block or the head of it costs. */
#include "quant/measuring.h"

enum { HEAD_LOGITS_BYTES = 1 << 24 /* of one run of the head */ };

enum err_code measuring_step(struct measuring *k, const char *what, double cost, struct err *e) {
    k->done += cost;
    if (k->done > k->total) k->done = k->total;
    if (progress_step(&k->o->progress, what, k->done, k->total)) return ERR_NONE;
    return err_set(e, ERR_INTERRUPTED, "interrupted");
}

uint32_t measuring_head_length(const struct measuring *k, uint32_t length) {
    uint64_t n_vocab = k->en->model->hp.n_vocab;
    while (length % 2 == 0 && length * n_vocab * sizeof(float) > HEAD_LOGITS_BYTES) length /= 2;
    return length;
}

bool measuring_in_block(const struct weight *w, uint32_t layer) {
    return slot_info(w->slot)->per_block && w->layer == layer;
}

/* Weights of a matrix that a token meets. */
static double met_weights(const struct measuring *k, size_t i) {
    const struct hparams *hp = &k->en->model->hp;
    double n = (double)measured_weights(&k->m->tensors[i]);
    return slot_info(k->weights[i]->slot)->experts ? n * hp->n_expert_used / hp->n_expert : n;
}

double measuring_block_weights(const struct measuring *k, uint32_t layer) {
    double n = 0;
    for (size_t i = 0; i < k->m->n_tensors; i++)
        if (measuring_in_block(k->weights[i], layer)) n += met_weights(k, i);
    return n;
}
