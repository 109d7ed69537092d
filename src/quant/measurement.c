/* Measurements in memory: identity, look-up, and the loss model.
 *
 * The loss of a tensor's encoding is the divergence that it alone causes at the model's output. It was seen for the
 * probed types. Between and beyond them it follows the squared relative error: proportional to it beyond, along a
 * straight line in logarithms between, since at low bits the divergence grows by another power than the square. */
#include "quant/measurement.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "quant/hash.h"

static enum err_code identify(struct measurement *m, const struct model *model, struct err *e) {
    snprintf(m->model_name, sizeof m->model_name, "%s", model->hp.name);
    snprintf(m->arch, sizeof m->arch, "%s", model->hp.arch->name);
    m->parameters = model_parameters(model);
    TRY(measurement_hash_model(model, &m->model_hash, e));
    m->tensors = arena_alloc(&m->mem, model->n_weights, sizeof *m->tensors);
    if (!m->tensors) return err_no_memory(e, model->n_weights * sizeof *m->tensors);
    for (uint32_t i = 0; i < model->n_weights; i++) {
        const struct weight *w = &model->weights[i];
        if (!slot_info(w->slot)->matrix) continue;
        struct measured_tensor *t = &m->tensors[m->n_tensors++];
        *t = (struct measured_tensor){ .name = arena_strdup(&m->mem, w->name),
                                       .ne = { w->ne[0], w->ne[1], w->ne[2] } };
        if (!t->name) return err_no_memory(e, sizeof w->name);
    }
    return ERR_NONE;
}

enum err_code measurement_new(const struct model *model, struct measurement **out, struct err *e) {
    struct measurement *m = NEW(struct measurement);
    *out = NULL;
    if (!m) return err_no_memory(e, sizeof *m);
    enum err_code rc = identify(m, model, e);
    if (rc) measurement_free(m);
    else *out = m;
    return rc;
}

void measurement_free(struct measurement *m) {
    if (!m) return;
    struct arena mem = m->mem; /* m itself is not in it */
    arena_fini(&mem);
    mem_free(m);
}

enum {
    HASH_CHUNKS = 64,         /* of a matrix that are looked at */
    HASH_CHUNK_WEIGHTS = 256,
};

/* Chunks of neighbours in a row: one in each of HASH_CHUNKS equal parts of the matrix, at places that wander through
 * the part by the golden ratio, so that they keep no step with the length of a row. */
static uint64_t hash_matrix(uint64_t h, const struct weight *w, float *row) {
    uint64_t in_row = div_up(w->ne[0], HASH_CHUNK_WEIGHTS), total = in_row * model_weight_rows(w);
    uint64_t n = min_u64(total, HASH_CHUNKS);
    for (uint64_t k = 0; k < n; k++) {
        uint64_t first = k * total / n, part = (k + 1) * total / n - first;
        uint64_t chunk = first + ((k * 0x9e3779b9u & 0xffffffffu) * part >> 32);
        uint64_t column = chunk % in_row * HASH_CHUNK_WEIGHTS, len = min_u64(HASH_CHUNK_WEIGHTS, w->ne[0] - column);
        model_read_rows(w, chunk / in_row, 1, row);
        h = hash_bytes(h, row + column, len * sizeof *row);
    }
    model_release(w);
    return h;
}

enum err_code measurement_hash_model(const struct model *m, uint64_t *hash, struct err *e) {
    uint64_t h = HASH_START, widest = 0;
    for (uint32_t i = 0; i < m->n_weights; i++) widest = max_u64(widest, m->weights[i].ne[0]);
    float *row = mem_alloc(widest, sizeof *row);
    if (!row) return err_no_memory(e, widest * sizeof *row);
    for (uint32_t i = 0; i < m->n_weights; i++) {
        const struct weight *w = &m->weights[i];
        if (w->slot == SLOT_ROPE_FREQS) continue; /* only in GGUF files, and says nothing that hparams do not */
        h = hash_bytes(h, w->name, strlen(w->name));
        h = hash_bytes(h, w->ne, sizeof w->ne);
        bool matrix = slot_info(w->slot)->matrix;
        if (matrix) h = hash_matrix(h, w, row);
        for (uint64_t r = 0; !matrix && r < model_weight_rows(w); r++) { /* a bias of experts has many */
            model_read_rows(w, r, 1, row);
            h = hash_bytes(h, row, w->ne[0] * sizeof *row);
        }
    }
    /* With each page the system has mapped its neighbours, which may be another tensor's. */
    for (uint32_t i = 0; i < m->n_weights; i++) model_release(&m->weights[i]);
    mem_free(row);
    *hash = h;
    return ERR_NONE;
}

uint64_t measurement_hash_importances(const struct measurement *m) {
    uint64_t h = HASH_START;
    for (size_t i = 0; i < m->n_tensors; i++) {
        const struct measured_tensor *t = &m->tensors[i];
        if (t->importance) h = hash_bytes(h, t->importance, t->ne[0] * t->ne[2] * sizeof *t->importance);
    }
    return h;
}

const struct measured_tensor *measurement_find(const struct measurement *m, const char *name) {
    for (size_t i = 0; i < m->n_tensors; i++)
        if (strcmp(m->tensors[i].name, name) == 0) return &m->tensors[i];
    return NULL;
}

const struct measured_try *measured_try_of(const struct measured_tensor *t, enum qtype type) {
    for (size_t i = 0; i < t->n_tries; i++)
        if (t->tries[i].type == type) return &t->tries[i];
    return NULL;
}

struct point { double rfn, kld; };

static struct point probe_point(const struct measured_tensor *t, size_t i) {
    return (struct point){ measured_try_of(t, t->probes[i].type)->rfn, t->probes[i].kld };
}

static double along_square(struct point p, double rfn) {
    return p.rfn > 0 ? p.kld * (rfn / p.rfn) * (rfn / p.rfn) : 0;
}

static double between(struct point a, struct point b, double rfn) {
    if (!(a.rfn > b.rfn) || !(a.kld > 0) || !(b.kld > 0)) return along_square(a, rfn);
    return b.kld * pow(rfn / b.rfn, log(a.kld / b.kld) / log(a.rfn / b.rfn));
}

double measured_loss(const struct measured_tensor *t, enum qtype type) {
    const struct measured_try *at = measured_try_of(t, type);
    if (!at) return INFINITY;
    if (!t->n_probes) return t->sensitivity * at->rfn * at->rfn;
    struct point p = probe_point(t, 0); /* the coarsest, with the largest error */
    if (at->rfn >= p.rfn) return along_square(p, at->rfn);
    for (size_t i = 1; i < t->n_probes; i++) {
        struct point next = probe_point(t, i);
        if (at->rfn >= next.rfn) return between(p, next, at->rfn);
        p = next;
    }
    return along_square(p, at->rfn);
}
