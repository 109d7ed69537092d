/* Measuring: the first pass, and the order of the whole.
 *
 * The hidden states of all calibration rows go through the model block by block. While a block runs, statistics of its
 * matrices' inputs are kept; then every type is tried on its matrices, and its weights are let go. Memory is the
 * states, one block, and the statistics of one block. The second pass is probe.c's. */
#include "quant/measure.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/os.h"
#include "quant/importance.h"
#include "quant/measuring.h"
#include "quant/stats.h"
#include "quant/tries.h"

enum { HEAD_ROWS = 32 /* calibration rows that the head's inputs are taken from */ };

/* --- Looking at the weights --- */

/* Looks at all weights of a block, or at all outside of blocks, vectors too, before the first use of any: a number that
 * is none would else be blamed on what is computed from it. Notes the magnitudes of matrices. */
static enum err_code scan_weights(struct measuring *k, bool per_block, uint32_t layer, struct err *e) {
    const struct model *model = k->en->model;
    for (uint32_t i = 0, matrix = 0; i < model->n_weights; i++) {
        const struct weight *w = &model->weights[i];
        bool mine = slot_info(w->slot)->per_block == per_block && (!per_block || w->layer == layer);
        float max_abs;
        if (mine) TRY(weight_scan(k->pool, w, &max_abs, e));
        if (mine && !per_block) model_release(w); /* the head is not used for long */
        if (!slot_info(w->slot)->matrix) continue;
        if (mine) k->max_abs[matrix] = max_abs;
        matrix++;
    }
    return ERR_NONE;
}

/* --- One matrix --- */

static enum err_code take_importance(struct measuring *k, struct measured_tensor *t, const struct stats *s,
                                     struct err *e) {
    bool found = false;
    if (k->o->imatrix) TRY(importance_take(k->o->imatrix, &k->m->mem, t, &found, e));
    if (found) return ERR_NONE;
    float *a = arena_alloc(&k->m->mem, t->ne[0] * t->ne[2], sizeof *a);
    if (!a) return err_no_memory(e, t->ne[0] * t->ne[2] * sizeof *a);
    t->importance = a;
    if (stats_importance(s, t->ne[2], a)) return ERR_NONE;
    return err_where(e, err_set(e, ERR_FORMAT, "its inputs overflow: the model is damaged"), "%s", t->name);
}

/* Whether the journal's tries of t are those that would be made now. */
static bool known(struct measuring *k, struct measured_tensor *t, const enum qtype *types, size_t n) {
    if (!journal_find_tries(k->journal, &k->m->mem, t) || t->n_tries != n) return false;
    for (size_t i = 0; i < n; i++)
        if (t->tries[i].type != types[i]) return false;
    return true;
}

static enum err_code try_types(struct measuring *k, size_t i, const struct stats *s, struct err *e) {
    struct measured_tensor *t = &k->m->tensors[i];
    enum qtype types[QTYPE_ID_LIMIT];
    double rfn[QTYPE_ID_LIMIT];
    size_t n = tries_types(k->weights[i], k->max_abs[i], types);
    if (known(k, t, types, n)) return ERR_NONE;
    TRY(tries_run(k->pool, k->weights[i], s, t->importance, types, n, rfn, e));
    struct measured_try *tries = arena_alloc(&k->m->mem, n, sizeof *tries);
    if (!tries) return err_no_memory(e, n * sizeof *tries);
    for (size_t j = 0; j < n; j++) tries[j] = (struct measured_try){ types[j], qtype_bpw(types[j]), rfn[j] };
    t->tries = tries;
    t->n_tries = n;
    return journal_keep_tries(k->journal, t, e);
}

/* s: statistics of each of its matrices, NULL for an embedding that is no head. */
static enum err_code measure_matrix(struct measuring *k, size_t i, const struct stats *s, struct err *e) {
    struct measured_tensor *t = &k->m->tensors[i];
    if (s) TRY(take_importance(k, t, s, e));
    if (k->o->importances_only) return ERR_NONE;
    TRY(try_types(k, i, s, e));
    for (size_t j = 0; k->o->on_try && j < t->n_tries; j++) k->o->on_try(k->o->user, t, &t->tries[j]);
    return measuring_step(k, "trying types", (double)measured_weights(t) * ENCODE_COST, e);
}

/* --- Passing the states --- */

/* Statistics of a matrix, or of each matrix of a stack. */
struct inputs { struct stats *of; uint64_t n; };
struct tapped { struct inputs by_slot[SLOT_COUNT]; };

/* n_tok: tokens that will come. */
static enum err_code tap(struct tapped *t, const struct weight *w, uint64_t n_tok, struct err *e) {
    struct inputs *in = &t->by_slot[w->slot];
    in->of = NEW_ARRAY(struct stats, w->ne[2]);
    if (!in->of) return err_no_memory(e, w->ne[2] * sizeof *in->of);
    in->n = w->ne[2];
    if (in->n == 1) return stats_init(in->of, w->ne[0], n_tok, e);
    for (uint64_t x = 0; x < in->n; x++) TRY(stats_init_stacked(&in->of[x], w->ne[0], in->n, e));
    return ERR_NONE;
}

static void add_inputs(void *user, const struct block_input *b) {
    struct inputs *in = &((struct tapped *)user)->by_slot[b->slot];
    if (in->n == 1) stats_add(in->of, b->x, b->n_tok);
    for (uint64_t i = 0; in->n > 1 && i < b->n_tok * b->n_slot; i++) {
        uint64_t x = b->ids ? (uint64_t)b->ids[i] : i % b->n_slot;
        stats_add(&in->of[x], b->x + (b->shared ? i / b->n_slot : i) * b->n_in, 1);
    }
}

static void tapped_fini(struct tapped *t) {
    for (size_t s = 0; s < SLOT_COUNT; s++) {
        for (uint64_t x = 0; x < t->by_slot[s].n; x++) stats_fini(&t->by_slot[s].of[x]);
        mem_free(t->by_slot[s].of);
    }
}

struct pass {
    struct measuring *k;
    struct block_runner *runner;
    float *states; /* (rows, length, n_embd) */
    size_t row;    /* floats of a row */
};

static enum err_code pass_block(struct pass *p, uint32_t layer, struct err *e) {
    struct measuring *k = p->k;
    struct tapped tapped = { 0 };
    enum err_code rc = scan_weights(k, true, layer, e);
    for (size_t i = 0; i < k->m->n_tensors && !rc; i++)
        if (measuring_in_block(k->weights[i], layer))
            rc = tap(&tapped, k->weights[i], (uint64_t)k->tokens.rows * k->tokens.length, e);
    double cost = measuring_block_weights(k, layer) * k->tokens.length;
    for (uint32_t r = 0; r < k->tokens.rows && !rc; r++) {
        rc = block_run(p->runner, layer, p->states + r * p->row, add_inputs, &tapped, e);
        if (!rc) rc = measuring_step(k, "calibrating", cost, e);
    }
    for (size_t i = 0; i < k->m->n_tensors && !rc; i++)
        if (measuring_in_block(k->weights[i], layer))
            rc = measure_matrix(k, i, tapped.by_slot[k->weights[i]->slot].of, e);
    tapped_fini(&tapped);
    block_release(p->runner, layer);
    return rc;
}

static enum err_code pass_embed(struct pass *p, struct err *e) {
    const struct calib_tokens *c = &p->k->tokens;
    for (uint32_t r = 0; r < c->rows; r++)
        TRY(block_embed(p->runner, c->ids + (size_t)r * c->length, p->states + r * p->row, e));
    return ERR_NONE;
}

static uint32_t head_rows(const struct measuring *k) {
    return k->tokens.rows < HEAD_ROWS ? k->tokens.rows : HEAD_ROWS;
}

static double head_row_work(const struct measuring *k) {
    return (double)k->en->model->hp.n_vocab * k->en->model->hp.n_embd * k->tokens.length;
}

static enum err_code run_head(struct pass *p, struct block_runner *head, uint32_t piece, struct tapped *t,
                              struct err *e) {
    struct measuring *k = p->k;
    uint32_t rows = head_rows(k), n_embd = k->en->model->hp.n_embd;
    enum slot slot = measuring_head(k);
    float *logits = mem_alloc((size_t)piece * k->en->model->hp.n_vocab, sizeof *logits);
    if (!logits) return err_no_memory(e, (uint64_t)piece * k->en->model->hp.n_vocab * sizeof *logits);
    enum err_code rc = tap(t, model_weight(k->en->model, slot, 0), (uint64_t)rows * k->tokens.length, e);
    for (uint32_t r = 0; r < rows && !rc; r++) {
        const float *row = p->states + (size_t)r * k->tokens.rows / rows * p->row;
        for (uint32_t at = 0; at < k->tokens.length && !rc; at += piece)
            rc = block_head(head, row + (size_t)at * n_embd, logits, add_inputs, t, e);
        if (!rc) rc = measuring_step(k, "calibrating", head_row_work(k), e);
    }
    mem_free(logits);
    return rc;
}

static enum err_code pass_head(struct pass *p, struct err *e) {
    struct measuring *k = p->k;
    uint32_t piece = measuring_head_length(k, k->tokens.length);
    struct tapped tapped = { 0 };
    struct block_runner *head;
    TRY(block_open(k->en, piece, &head, e));
    enum err_code rc = run_head(p, head, piece, &tapped, e);
    block_close(head);
    for (size_t i = 0; i < k->m->n_tensors && !rc; i++) {
        enum slot s = k->weights[i]->slot;
        if (slot_info(s)->per_block) continue;
        rc = measure_matrix(k, i, s == measuring_head(k) ? tapped.by_slot[s].of : NULL, e);
        model_release(k->weights[i]);
    }
    tapped_fini(&tapped);
    return rc;
}

static enum err_code first_pass(struct measuring *k, struct err *e) {
    struct pass p = { .k = k, .row = (size_t)k->tokens.length * k->en->model->hp.n_embd };
    enum err_code rc;
    TRY_OUT(rc, block_open(k->en, k->tokens.length, &p.runner, e));
    p.states = mem_alloc(k->tokens.rows, p.row * sizeof *p.states);
    if (!p.states) TRY_OUT(rc, err_no_memory(e, k->tokens.rows * p.row * sizeof *p.states));
    TRY_OUT(rc, scan_weights(k, false, 0, e));
    TRY_OUT(rc, pass_embed(&p, e));
    for (uint32_t layer = 0; layer < k->en->model->hp.n_layer; layer++) TRY_OUT(rc, pass_block(&p, layer, e));
    rc = pass_head(&p, e);
out:
    mem_free(p.states);
    block_close(p.runner);
    return rc;
}

/* --- The whole --- */

static enum err_code identify(struct measuring *k, struct err *e) {
    const struct model *model = k->en->model;
    TRY(measurement_new(model, &k->m, e));
    k->weights = NEW_ARRAY(const struct weight *, k->m->n_tensors);
    k->max_abs = NEW_ARRAY(float, k->m->n_tensors);
    if (!k->weights || !k->max_abs) return err_no_memory(e, k->m->n_tensors * sizeof(struct weight *));
    for (uint32_t i = 0, n = 0; i < model->n_weights; i++)
        if (slot_info(model->weights[i].slot)->matrix) k->weights[n++] = &model->weights[i];
    return ERR_NONE;
}

static void take_settings(struct measuring *k) {
    struct measured_settings *s = &k->m->settings;
    memcpy(s->source, k->tokens.source, sizeof s->source);
    s->text_hash = k->tokens.hash;
    s->rows = k->tokens.rows;
    s->length = k->tokens.length;
    s->imatrix_hash = k->o->imatrix ? importance_hash(k->o->imatrix) : 0;
    probe_choose(k);
}

static double all_work(const struct measuring *k) {
    double blocks = 0, all = 0;
    for (uint32_t layer = 0; layer < k->en->model->hp.n_layer; layer++) blocks += measuring_block_weights(k, layer);
    for (size_t i = 0; i < k->m->n_tensors; i++) all += (double)measured_weights(&k->m->tensors[i]);
    double calibrating = blocks * k->tokens.rows * k->tokens.length + head_row_work(k) * head_rows(k);
    if (!k->o->importances_only) return calibrating + all * ENCODE_COST + probe_work(k);
    return k->o->mix ? calibrating + joint_work(k) : calibrating;
}

static enum err_code open_journal(struct measuring *k, struct err *e) {
    if (!k->o->file) return journal_open(NULL, false, k->m, &k->journal, e);
    struct buf path = { 0 }, part = { 0 };
    buf_addf(&path, "%s.journal", k->o->file);
    buf_addf(&part, "%s.journal.part", k->o->file);
    enum err_code rc = buf_status(&path, e);
    if (!rc) rc = buf_status(&part, e);
    bool resume = !rc && !k->o->no_resume && !tfile_changed_since(k->en->model->file, part.p);
    if (!rc) rc = journal_open(path.p, resume, k->m, &k->journal, e);
    buf_fini(&path);
    buf_fini(&part);
    return rc;
}

static enum err_code measure(struct measuring *k, const char *path, struct err *e) {
    struct engine_options eo = { .backend = k->o->backend, .threads = k->o->threads, .exact = true };
    TRY(engine_open(path, &eo, &k->en, e));
    TRY(pool_open(k->o->threads, &k->pool, e));
    TRY(calib_open(k->en, &k->o->calib, &k->tokens, e));
    TRY(identify(k, e));
    take_settings(k);
    TRY(open_journal(k, e));
    k->total = all_work(k);
    enum err_code rc = first_pass(k, e);
    if (!rc && !k->o->importances_only) rc = probe_run(k, e);
    else if (!rc && k->o->mix) rc = joint_run(k, k->o->mix, k->o->mix_kld, e);
    rc = err_where(e, rc, "%s", path);
    return rc || !k->o->file ? rc : measurement_write(k->m, k->o->file, e);
}

enum err_code measure_model(const char *path, const struct measure_options *o, struct measurement **out,
                            struct err *e) {
    struct measuring k = { .o = o };
    *out = NULL;
    enum err_code rc = measure(&k, path, e);
    journal_close(k.journal, rc == ERR_NONE);
    calib_close(&k.tokens);
    pool_close(k.pool);
    engine_close(k.en);
    mem_free(k.weights);
    mem_free(k.max_abs);
    if (rc) measurement_free(k.m);
    else *out = k.m;
    return rc;
}
