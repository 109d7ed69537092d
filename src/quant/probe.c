/* Probing: what the error of each matrix does to the model's output.
 *
 * A few sequences go through the model as it is, and once more for each matrix with that matrix alone replaced by an
 * encoding of it. A copy of the states starts at the matrix's block and runs through the rest of the model; the
 * divergence of its logits from the reference's is the probe. The copies of many matrices travel together, so that one
 * reading of the weights serves them all: a wave. A wave has as many copies as fit into the memory that calibration
 * took, and begins at the states where its first block begins, so that waves cost reading but no computing.
 *
 * The work grows with the square of the number of blocks. Where it would exceed that of calibration, only every second
 * block is probed, or fewer; the others get sensitivities between those of their neighbours. */
#include <math.h>
#include <string.h>

#include "base/num.h"
#include "base/os.h"
#include "quant/measuring.h"
#include "quant/tries.h"
#include "runtime/score.h"

enum {
    PROBE_ROWS = 8,
    PROBE_LENGTH = 128,
    COPY_BYTES = 64 << 20, /* states of a wave's copies, or as much as calibration's states took */
    WORK_TOKENS = 1 << 14, /* calibration counts as at least that many tokens when the work is bounded */
};

/* Bits per weight of the encodings to probe with: the smallest block types of at least these. Two, since from 4 to 2
 * bits the divergence grows by 1.1 to 1.5 times what the square of the error does; a third between them changes the
 * chosen mixes by nothing that can be measured. */
static const double probe_bpw[] = { 2.6, 4.2 };

struct job { size_t tensor; enum qtype type; double kld; };

struct copy { struct job *job; float *x; /* (rows, length, n_embd); of the head's jobs the reference's */ };

struct probe {
    struct measuring *k;
    uint32_t rows, length, head_length;
    size_t row, states;          /* floats of a row and of all rows */
    int32_t *ids;                /* (rows, length) */
    struct block_runner *blocks; /* embedding and blocks, sequences of `length` */
    struct block_runner *head, *other_head; /* the model's own, and one with a replaced matrix */
    struct job *jobs;            /* in the order of the blocks */
    size_t n_jobs;
    float *ref, *start;          /* (states) the reference: where it is, and where the next wave begins */
    struct copy *copies;
    size_t n_copies, max_copies;
    uint8_t *encoded;            /* the matrix that is replaced now */
    float *p, *log_p, *log_q;    /* (n_vocab, head_length) probabilities of the reference, logarithms, and a copy's */
    double *kld;                 /* (head_length) */
};

/* --- Choosing what is probed --- */

/* Where a matrix stands on the way of the states: 0 before the blocks, 1 + layer, or behind them. */
static uint32_t stage_of(const struct measuring *k, size_t tensor) {
    const struct weight *w = k->weights[tensor];
    if (w->slot == SLOT_TOKEN_EMBD) return 0;
    return slot_info(w->slot)->per_block ? 1 + w->layer : 1 + k->en->model->hp.n_layer;
}

/* Blocks that are probed: n spread evenly, the first and the last among them. */
static bool is_probed_layer(const struct measuring *k, uint32_t layer) {
    uint64_t n = k->m->settings.probe_layers, all = k->en->model->hp.n_layer;
    if (n >= all) return true;
    for (uint64_t i = 0; i < n; i++)
        if ((n > 1 ? i * (all - 1) / (n - 1) : 0) == layer) return true;
    return false;
}

static uint32_t min_u32(uint32_t a, uint32_t b) { return a < b ? a : b; }

static double probe_tokens(const struct measuring *k) {
    return (double)k->m->settings.probe_rows * k->m->settings.probe_length;
}

/* Weights that the states of one block's copies still meet, behind it. */
static double weights_behind(const struct measuring *k, uint32_t stage) {
    double n = (double)k->en->model->hp.n_embd * k->en->model->hp.n_vocab;
    for (uint32_t l = stage ? stage - 1 : 0; l < k->en->model->hp.n_layer; l++) n += measuring_block_weights(k, l);
    return n;
}

/* Adds up, over the matrices that are probed, the work of encoding them and that of the copies' way. */
static void add_work(const struct measuring *k, double *encoding, double *passing) {
    const size_t tries = ARRAY_LEN(probe_bpw);
    for (size_t i = 0; i < k->m->n_tensors; i++) {
        uint32_t stage = stage_of(k, i);
        bool block = stage && stage <= k->en->model->hp.n_layer;
        if (block && !is_probed_layer(k, stage - 1)) continue;
        *encoding += (double)tries * (double)measured_weights(&k->m->tensors[i]) * ENCODE_COST;
        *passing += (double)tries * weights_behind(k, stage) * probe_tokens(k);
    }
}

double probe_work(const struct measuring *k) {
    double encoding = 0, passing = 0;
    add_work(k, &encoding, &passing);
    return encoding + passing;
}

/* Probing may pass twice the tokens of calibration through the model. */
static bool is_too_much(const struct measuring *k) {
    const struct measured_settings *s = &k->m->settings;
    double encoding = 0, passing = 0;
    add_work(k, &encoding, &passing);
    return passing > 2 * fmax((double)s->rows * s->length, WORK_TOKENS) * weights_behind(k, 0);
}

void probe_choose(struct measuring *k) {
    struct measured_settings *s = &k->m->settings;
    s->probe_rows = min_u32(PROBE_ROWS, s->rows);
    s->probe_length = min_u32(PROBE_LENGTH, s->length);
    s->probe_layers = k->en->model->hp.n_layer;
    while (s->probe_layers > 2 && is_too_much(k)) s->probe_layers--;
}

/* The types to probe a matrix with, ascending; returns how many. */
static size_t choose_types(const struct measured_tensor *t, enum qtype out[ARRAY_LEN(probe_bpw)]) {
    size_t n = 0, next = 0;
    for (size_t i = 0; i < t->n_tries && next < ARRAY_LEN(probe_bpw); i++) {
        const struct measured_try *x = &t->tries[i];
        if (x->bpw < probe_bpw[next] || qtype_is_float(x->type) || !(x->rfn > 0)) continue;
        out[n++] = x->type;
        while (next < ARRAY_LEN(probe_bpw) && probe_bpw[next] <= x->bpw) next++;
    }
    return n;
}

/* Whether the journal has the probes that would be made now. */
static bool known(const struct measuring *k, struct measured_tensor *t, const enum qtype *types, size_t n) {
    if (!journal_find_probes(k->journal, &k->m->mem, t) || t->n_probes != n) return false;
    for (size_t i = 0; i < n; i++)
        if (t->probes[i].type != types[i]) return false;
    return true;
}

static enum err_code make_jobs(struct probe *p, struct err *e) {
    struct measuring *k = p->k;
    p->jobs = NEW_ARRAY(struct job, k->m->n_tensors * ARRAY_LEN(probe_bpw));
    if (!p->jobs) return err_no_memory(e, k->m->n_tensors * sizeof *p->jobs);
    uint32_t n_layer = k->en->model->hp.n_layer;
    for (uint32_t stage = 0; stage <= 1 + n_layer; stage++) {
        if (stage && stage <= n_layer && !is_probed_layer(k, stage - 1)) continue;
        for (size_t i = 0; i < k->m->n_tensors; i++) {
            enum qtype types[ARRAY_LEN(probe_bpw)];
            if (stage_of(k, i) != stage) continue;
            size_t n = choose_types(&k->m->tensors[i], types);
            if (known(k, &k->m->tensors[i], types, n)) continue;
            for (size_t j = 0; j < n; j++) p->jobs[p->n_jobs++] = (struct job){ .tensor = i, .type = types[j] };
        }
    }
    return ERR_NONE;
}

/* --- Memory --- */

static void take_ids(struct probe *p) {
    const struct calib_tokens *c = &p->k->tokens;
    for (uint32_t r = 0; r < p->rows; r++)
        memcpy(p->ids + (size_t)r * p->length, c->ids + (size_t)r * c->rows / p->rows * c->length,
               p->length * sizeof *p->ids);
}

static enum err_code alloc_copies(struct probe *p, struct err *e) {
    const struct calib_tokens *c = &p->k->tokens;
    uint64_t taken = (uint64_t)c->rows * c->length * p->k->en->model->hp.n_embd * sizeof(float);
    uint64_t bytes = p->k->o->probe_bytes ? p->k->o->probe_bytes : taken > COPY_BYTES ? taken : COPY_BYTES;
    uint64_t n = p->states ? bytes / sizeof(float) / p->states : 0;
    if (n < ARRAY_LEN(probe_bpw)) n = ARRAY_LEN(probe_bpw); /* a tensor's probes share a wave */
    p->max_copies = n < p->n_jobs ? n : p->n_jobs;
    p->copies = NEW_ARRAY(struct copy, p->max_copies);
    if (!p->copies) return err_no_memory(e, p->max_copies * sizeof *p->copies);
    for (size_t i = 0; i < p->max_copies; i++) {
        p->copies[i].x = mem_alloc(p->states, sizeof(float));
        if (!p->copies[i].x) return err_no_memory(e, p->states * sizeof(float));
    }
    return ERR_NONE;
}

static enum err_code probe_open(struct probe *p, struct err *e) {
    const struct model *m = p->k->en->model;
    p->rows = p->k->m->settings.probe_rows;
    p->length = p->k->m->settings.probe_length;
    p->head_length = measuring_head_length(p->k, p->length);
    p->row = (size_t)p->length * m->hp.n_embd;
    p->states = p->rows * p->row;
    TRY(make_jobs(p, e));
    TRY(alloc_copies(p, e));
    uint64_t largest = 0, bytes = 0;
    for (size_t i = 0; i < p->n_jobs; i++) {
        const struct weight *w = p->k->weights[p->jobs[i].tensor];
        qtype_row_bytes(p->jobs[i].type, w->ne[0], &bytes);
        largest = max_u64(largest, bytes * model_weight_rows(w));
    }
    p->ids = mem_alloc((size_t)p->rows * p->length, sizeof *p->ids);
    p->ref = mem_alloc(p->states, sizeof *p->ref);
    p->start = mem_alloc(p->states, sizeof *p->start);
    p->encoded = mem_alloc(largest, 1);
    p->p = mem_alloc((size_t)p->head_length * m->hp.n_vocab, sizeof *p->p);
    p->log_p = mem_alloc((size_t)p->head_length * m->hp.n_vocab, sizeof *p->log_p);
    p->log_q = mem_alloc((size_t)p->head_length * m->hp.n_vocab, sizeof *p->log_q);
    p->kld = mem_alloc(p->head_length, sizeof *p->kld);
    if (!p->ids || !p->ref || !p->start || !p->encoded || !p->p || !p->log_p || !p->log_q ||
        !p->kld)
        return err_no_memory(e, largest + p->states * sizeof *p->ref);
    take_ids(p);
    TRY(block_open(p->k->en, p->length, &p->blocks, e));
    TRY(block_open(p->k->en, p->head_length, &p->head, e));
    return block_open(p->k->en, p->head_length, &p->other_head, e);
}

static void probe_close(struct probe *p) {
    for (size_t i = 0; p->copies && i < p->max_copies; i++) mem_free(p->copies[i].x);
    block_close(p->blocks);
    block_close(p->head);
    block_close(p->other_head);
    void *const owned[] = { p->jobs, p->ids, p->copies, p->ref, p->start, p->encoded, p->p, p->log_p, p->log_q,
                            p->kld };
    for (size_t i = 0; i < ARRAY_LEN(owned); i++) mem_free(owned[i]);
}

/* --- Passing states --- */

static enum err_code step(struct probe *p, double weights, struct err *e) {
    return measuring_step(p->k, "probing", weights * p->rows * p->length, e);
}

/* Brings all rows of x from the input of `stage` to its output. */
static enum err_code pass(struct probe *p, uint32_t stage, float *x, struct err *e) {
    for (uint32_t r = 0; r < p->rows; r++) {
        if (stage) TRY(block_run(p->blocks, stage - 1, x + r * p->row, NULL, NULL, e));
        else TRY(block_embed(p->blocks, p->ids + (size_t)r * p->length, x + r * p->row, e));
    }
    return step(p, stage ? measuring_block_weights(p->k, stage - 1) : 0, e);
}

static enum err_code replace(struct probe *p, struct block_runner *r, const struct job *j, struct err *e) {
    const struct weight *w = p->k->weights[j->tensor];
    TRY(weight_encode(p->k->pool, w, j->type, p->k->m->tensors[j->tensor].importance, p->encoded, e));
    return block_replace(r, w->slot, w->layer, j->type, p->encoded, e);
}

/* Starts the copy of job j, whose matrix belongs to `stage`, from the reference. */
static enum err_code spawn(struct probe *p, struct job *j, uint32_t stage, struct err *e) {
    struct copy *c = &p->copies[p->n_copies++];
    c->job = j;
    const struct measured_tensor *t = &p->k->m->tensors[j->tensor];
    TRY(measuring_step(p->k, "probing", (double)measured_weights(t) * ENCODE_COST, e));
    memcpy(c->x, p->ref, p->states * sizeof *c->x);
    if (stage > p->k->en->model->hp.n_layer) return ERR_NONE; /* a head: it works on the reference's states */
    enum err_code rc = replace(p, p->blocks, j, e);
    if (!rc) rc = pass(p, stage, c->x, e);
    block_restore(p->blocks);
    return rc;
}

/* --- Comparing outputs --- */

static void prepare_rows(void *arg, size_t begin, size_t end, unsigned thread) {
    struct probe *p = arg;
    uint32_t n = p->k->en->model->hp.n_vocab;
    (void)thread;
    for (size_t i = begin; i < end; i++) {
        float *log_p = p->log_p + i * n, *prob = p->p + i * n;
        log_softmax(log_p, n);
        for (uint32_t j = 0; j < n; j++) prob[j] = expf(log_p[j]);
    }
}

static void compare_rows(void *arg, size_t begin, size_t end, unsigned thread) {
    struct probe *p = arg;
    uint32_t n = p->k->en->model->hp.n_vocab;
    (void)thread;
    for (size_t i = begin; i < end; i++) {
        const float *log_p = p->log_p + i * n, *prob = p->p + i * n;
        float *log_q = p->log_q + i * n;
        double sum = 0;
        log_softmax(log_q, n);
        for (uint32_t j = 0; j < n; j++) sum += (double)prob[j] * ((double)log_p[j] - (double)log_q[j]);
        p->kld[i] = sum;
    }
}

static enum err_code add_divergence(struct probe *p, struct block_runner *head, const struct copy *c, size_t at,
                                    struct err *e) {
    TRY(block_head(head, c->x + at * p->k->en->model->hp.n_embd, p->log_q, NULL, NULL, e));
    pool_run(p->k->pool, p->head_length, 1, compare_rows, p);
    for (uint32_t i = 0; i < p->head_length; i++) c->job->kld += p->kld[i] / ((double)p->rows * p->length);
    return ERR_NONE;
}

/* Adds the divergence of n copies, all under one head. */
static enum err_code compare(struct probe *p, struct block_runner *head, struct copy *c, size_t n, struct err *e) {
    uint32_t n_embd = p->k->en->model->hp.n_embd;
    for (size_t at = 0; at < (size_t)p->rows * p->length; at += p->head_length) {
        TRY(block_head(p->head, p->ref + at * n_embd, p->log_p, NULL, NULL, e));
        pool_run(p->k->pool, p->head_length, 1, prepare_rows, p);
        for (size_t i = 0; i < n; i++) TRY(add_divergence(p, head, &c[i], at, e));
    }
    return step(p, (double)n * n_embd * p->k->en->model->hp.n_vocab, e);
}

static enum err_code compare_all(struct probe *p, struct err *e) {
    size_t first = 0; /* of the copies that share the model's own head */
    enum slot head = measuring_head(p->k);
    for (size_t i = 0; i < p->n_copies; i++) {
        struct copy *c = &p->copies[i];
        if (p->k->weights[c->job->tensor]->slot != head) continue;
        if (i > first) TRY(compare(p, p->head, &p->copies[first], i - first, e));
        first = i + 1;
        enum err_code rc = replace(p, p->other_head, c->job, e);
        if (!rc) rc = compare(p, p->other_head, c, 1, e);
        block_restore(p->other_head);
        if (rc) return rc;
    }
    if (first < p->n_copies) TRY(compare(p, p->head, &p->copies[first], p->n_copies - first, e));
    model_release(model_weight(p->k->en->model, head, 0));
    return ERR_NONE;
}

/* --- Waves --- */

/* Runs jobs [first, end) from the reference states at p->start, the input of `stage`; leaves there the states where the
 * next wave begins. */
static enum err_code run_wave(struct probe *p, size_t first, size_t end, uint32_t stage, struct err *e) {
    uint32_t n_layer = p->k->en->model->hp.n_layer;
    uint32_t next_stage = end < p->n_jobs ? stage_of(p->k, p->jobs[end].tensor) : UINT32_MAX;
    size_t at = first;
    p->n_copies = 0;
    memcpy(p->ref, p->start, p->states * sizeof *p->ref);
    for (; stage <= 1 + n_layer; stage++) {
        if (stage == next_stage) memcpy(p->start, p->ref, p->states * sizeof *p->ref);
        size_t before = p->n_copies;
        for (; at < end && stage_of(p->k, p->jobs[at].tensor) == stage; at++) TRY(spawn(p, &p->jobs[at], stage, e));
        if (stage > n_layer) break;
        for (size_t i = 0; i < before; i++) TRY(pass(p, stage, p->copies[i].x, e));
        TRY(pass(p, stage, p->ref, e));
        if (stage) block_release(p->blocks, stage - 1);
        else model_release(model_weight(p->k->en->model, SLOT_TOKEN_EMBD, 0));
    }
    return compare_all(p, e);
}

/* Keeps the results of a tensor whose jobs are [first, first + n). */
static enum err_code keep(struct probe *p, size_t first, size_t n, struct err *e) {
    struct measured_tensor *t = &p->k->m->tensors[p->jobs[first].tensor];
    struct measured_probe *probes = arena_alloc(&p->k->m->mem, n, sizeof *probes);
    if (!probes) return err_no_memory(e, n * sizeof *probes);
    for (size_t i = 0; i < n; i++) {
        const struct job *j = &p->jobs[first + i];
        if (!isfinite(j->kld))
            return err_set(e, ERR_FORMAT, "the model's output is not finite with %s as %s", t->name,
                           qtype_name(j->type));
        probes[i] = (struct measured_probe){ j->type, j->kld > 0 ? j->kld : 0 };
    }
    t->probes = probes;
    t->n_probes = n;
    return journal_keep_probes(p->k->journal, t, e);
}

static enum err_code keep_wave(struct probe *p, size_t first, size_t end, struct err *e) {
    for (size_t n; first < end; first += n) {
        for (n = 1; first + n < end && p->jobs[first + n].tensor == p->jobs[first].tensor;) n++;
        TRY(keep(p, first, n, e));
    }
    return ERR_NONE;
}

/* The end of the wave that begins at job first: as many as fit, without cutting a tensor's jobs apart. */
static size_t wave_end(const struct probe *p, size_t first) {
    size_t end = first + p->max_copies;
    if (end >= p->n_jobs) return p->n_jobs;
    while (end > first + 1 && p->jobs[end].tensor == p->jobs[end - 1].tensor) end--;
    return end;
}

static enum err_code run_waves(struct probe *p, struct err *e) {
    uint32_t stage = 0;
    for (size_t first = 0, end; first < p->n_jobs; first = end) {
        end = wave_end(p, first);
        TRY(run_wave(p, first, end, stage, e));
        TRY(keep_wave(p, first, end, e));
        if (end < p->n_jobs) stage = stage_of(p->k, p->jobs[end].tensor);
    }
    return ERR_NONE;
}

/* --- Sensitivities --- */

/* The squared relative error of the finest probe leads to its divergence. A divergence below what float arithmetic
 * resolves counts as that. */
static double probed_sensitivity(const struct measured_tensor *t) {
    const double resolved = 1e-9;
    const struct measured_probe *p = &t->probes[t->n_probes - 1];
    double rfn = measured_try_of(t, p->type)->rfn;
    return fmax(p->kld, resolved) / (rfn * rfn);
}

/* The nearest probed matrix of the same slot in the direction `by`, SIZE_MAX if there is none. */
static size_t nearest(const struct measuring *k, size_t i, int by) {
    size_t best = SIZE_MAX;
    for (size_t j = 0; j < k->m->n_tensors; j++) {
        const struct weight *w = k->weights[j];
        if (!k->m->tensors[j].n_probes || w->slot != k->weights[i]->slot) continue;
        if (by < 0 ? w->layer >= k->weights[i]->layer : w->layer <= k->weights[i]->layer) continue;
        if (best == SIZE_MAX || (by < 0) == (w->layer > k->weights[best]->layer)) best = j;
    }
    return best;
}

static double neighbours_sensitivity(const struct measuring *k, size_t i, double otherwise) {
    size_t below = nearest(k, i, -1), above = nearest(k, i, 1);
    if (below == SIZE_MAX && above == SIZE_MAX) return otherwise;
    if (below == SIZE_MAX) below = above;
    if (above == SIZE_MAX) above = below;
    double lo = k->weights[below]->layer, hi = k->weights[above]->layer, at = k->weights[i]->layer;
    double part = hi > lo ? (at - lo) / (hi - lo) : 0;
    return exp((1 - part) * log(k->m->tensors[below].sensitivity) + part * log(k->m->tensors[above].sensitivity));
}

static void set_sensitivities(struct measuring *k) {
    double logs = 0;
    size_t n = 0;
    for (size_t i = 0; i < k->m->n_tensors; i++) {
        struct measured_tensor *t = &k->m->tensors[i];
        if (!t->n_probes) continue;
        t->sensitivity = probed_sensitivity(t);
        logs += log(t->sensitivity);
        n++;
    }
    for (size_t i = 0; i < k->m->n_tensors; i++) {
        struct measured_tensor *t = &k->m->tensors[i];
        if (!t->n_probes) t->sensitivity = neighbours_sensitivity(k, i, n ? exp(logs / (double)n) : 1);
    }
}

enum err_code probe_run(struct measuring *k, struct err *e) {
    struct probe p = { .k = k };
    enum err_code rc = probe_open(&p, e);
    if (!rc && p.n_jobs) rc = run_waves(&p, e);
    probe_close(&p);
    if (!rc) set_sensitivities(k);
    return rc;
}
