/* The errors of all matrices together: the sequences that probes use go through the model as it is and, beside it,
 * through the model with every matrix encoded. One block is encoded at a time; memory is the states twice, a block and
 * its encoding. */
#include <string.h>
#include "base/num.h"
#include "quant/measuring.h"
#include "quant/tries.h"
#include "runtime/score.h"

struct joint {
    struct measuring *k;
    const enum qtype *types;
    uint32_t rows, length, head_length;
    size_t row;                             /* floats of a row */
    float *ref, *x;                         /* (rows, length, n_embd): states as they are, and with all errors */
    struct block_runner *blocks, *head, *other_head;
    uint8_t **encoded;                      /* (m->n_tensors) of the matrices that are replaced now */
    float *log_p, *log_q;                   /* (n_vocab, head_length) */
    double *kld;                            /* (head_length) */
};

static enum err_code joint_open(struct joint *j, struct err *e) {
    const struct measured_settings *s = &j->k->m->settings;
    const struct hparams *hp = &j->k->en->model->hp;
    j->rows = s->probe_rows;
    j->length = s->probe_length;
    j->head_length = measuring_head_length(j->k, j->length);
    j->row = (size_t)j->length * hp->n_embd;
    j->ref = mem_alloc(j->rows, j->row * sizeof *j->ref);
    j->x = mem_alloc(j->rows, j->row * sizeof *j->x);
    j->encoded = NEW_ARRAY(uint8_t *, j->k->m->n_tensors);
    j->log_p = mem_alloc((size_t)j->head_length * hp->n_vocab, sizeof *j->log_p);
    j->log_q = mem_alloc((size_t)j->head_length * hp->n_vocab, sizeof *j->log_q);
    j->kld = mem_alloc(j->head_length, sizeof *j->kld);
    if (!j->ref || !j->x || !j->encoded || !j->log_p || !j->log_q || !j->kld)
        return err_no_memory(e, 2 * j->rows * j->row * sizeof *j->x);
    TRY(block_open(j->k->en, j->length, &j->blocks, e));
    TRY(block_open(j->k->en, j->head_length, &j->head, e));
    return block_open(j->k->en, j->head_length, &j->other_head, e);
}

static void free_encoded(struct joint *j) {
    for (size_t i = 0; j->encoded && i < j->k->m->n_tensors; i++) {
        mem_free(j->encoded[i]);
        j->encoded[i] = NULL;
    }
}

static void joint_close(struct joint *j) {
    block_close(j->blocks);
    block_close(j->head);
    block_close(j->other_head);
    free_encoded(j);
    mem_free(j->encoded);
    mem_free(j->ref);
    mem_free(j->x);
    mem_free(j->log_p);
    mem_free(j->log_q);
    mem_free(j->kld);
}

/* Puts the encoding of matrix i in its place. */
static enum err_code replace(struct joint *j, struct block_runner *r, size_t i, struct err *e) {
    const struct weight *w = j->k->weights[i];
    uint64_t row_bytes;
    if (j->types[i] == w->type) return ERR_NONE;
    if (!qtype_row_bytes(j->types[i], w->ne[0], &row_bytes))
        return err_set(e, ERR_INTERNAL, "%s cannot become %s", w->name, qtype_name(j->types[i]));
    j->encoded[i] = mem_alloc(row_bytes, model_weight_rows(w));
    if (!j->encoded[i]) return err_no_memory(e, row_bytes * model_weight_rows(w));
    TRY(measuring_step(j->k, "comparing", (double)measured_weights(&j->k->m->tensors[i]) * ENCODE_COST, e));
    TRY(weight_encode(j->k->pool, w, j->types[i], j->k->m->tensors[i].importance, j->encoded[i], e));
    return block_replace(r, w->slot, w->layer, j->types[i], j->encoded[i], e);
}

static enum err_code replace_slot(struct joint *j, struct block_runner *r, enum slot s, struct err *e) {
    for (size_t i = 0; i < j->k->m->n_tensors; i++)
        if (j->k->weights[i]->slot == s) TRY(replace(j, r, i, e));
    return ERR_NONE;
}

static enum err_code replace_block(struct joint *j, uint32_t layer, struct err *e) {
    for (size_t i = 0; i < j->k->m->n_tensors; i++) {
        const struct weight *w = j->k->weights[i];
        if (slot_info(w->slot)->per_block && w->layer == layer) TRY(replace(j, j->blocks, i, e));
    }
    return ERR_NONE;
}

static enum err_code embed(struct joint *j, float *x, struct err *e) {
    const struct calib_tokens *c = &j->k->tokens;
    for (uint32_t r = 0; r < j->rows; r++)
        TRY(block_embed(j->blocks, c->ids + (size_t)r * c->rows / j->rows * c->length, x + r * j->row, e));
    return ERR_NONE;
}

static enum err_code pass(struct joint *j, uint32_t layer, float *x, struct err *e) {
    for (uint32_t r = 0; r < j->rows; r++) TRY(block_run(j->blocks, layer, x + r * j->row, NULL, NULL, e));
    return measuring_step(j->k, "comparing", measuring_block_weights(j->k, layer) * j->rows * j->length, e);
}

static enum err_code run_embedding(struct joint *j, struct err *e) {
    TRY(embed(j, j->ref, e));
    enum err_code rc = replace_slot(j, j->blocks, SLOT_TOKEN_EMBD, e);
    if (!rc) rc = embed(j, j->x, e);
    block_restore(j->blocks);
    free_encoded(j);
    model_release(model_weight(j->k->en->model, SLOT_TOKEN_EMBD, 0));
    return rc;
}

static enum err_code run_block(struct joint *j, uint32_t layer, struct err *e) {
    enum err_code rc = pass(j, layer, j->ref, e);
    if (!rc) rc = replace_block(j, layer, e);
    if (!rc) rc = pass(j, layer, j->x, e);
    block_restore(j->blocks);
    free_encoded(j);
    block_release(j->blocks, layer);
    return rc;
}

static void compare_rows(void *arg, size_t begin, size_t end, unsigned thread) {
    struct joint *j = arg;
    uint32_t n = j->k->en->model->hp.n_vocab;
    (void)thread;
    for (size_t i = begin; i < end; i++) {
        log_softmax(j->log_p + i * n, n);
        log_softmax(j->log_q + i * n, n);
        j->kld[i] = kl_divergence(j->log_p + i * n, j->log_q + i * n, n);
    }
}

static enum err_code run_head(struct joint *j, double *kld, struct err *e) {
    uint32_t n_embd = j->k->en->model->hp.n_embd;
    size_t n = (size_t)j->rows * j->length;
    TRY(replace_slot(j, j->other_head, measuring_head(j->k), e));
    *kld = 0;
    for (size_t at = 0; at < n; at += j->head_length) {
        TRY(block_head(j->head, j->ref + at * n_embd, j->log_p, NULL, NULL, e));
        TRY(block_head(j->other_head, j->x + at * n_embd, j->log_q, NULL, NULL, e));
        pool_run(j->k->pool, j->head_length, 1, compare_rows, j);
        for (uint32_t i = 0; i < j->head_length; i++) *kld += j->kld[i] / (double)n;
    }
    model_release(model_weight(j->k->en->model, measuring_head(j->k), 0));
    return ERR_NONE;
}

double joint_work(const struct measuring *k) {
    const struct measured_settings *s = &k->m->settings;
    double all = 0, blocks = 0;
    for (size_t i = 0; i < k->m->n_tensors; i++) all += (double)measured_weights(&k->m->tensors[i]);
    for (uint32_t layer = 0; layer < k->en->model->hp.n_layer; layer++) blocks += measuring_block_weights(k, layer);
    return all * ENCODE_COST + 2 * blocks * s->probe_rows * s->probe_length;
}

enum err_code joint_run(struct measuring *k, const enum qtype *types, double *kld, struct err *e) {
    struct joint j = { .k = k, .types = types };
    enum err_code rc;
    TRY_OUT(rc, joint_open(&j, e));
    TRY_OUT(rc, run_embedding(&j, e));
    for (uint32_t layer = 0; layer < k->en->model->hp.n_layer; layer++) TRY_OUT(rc, run_block(&j, layer, e));
    rc = run_head(&j, kld, e);
out:
    joint_close(&j);
    return rc;
}
