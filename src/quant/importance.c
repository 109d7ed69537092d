/* Importances of a measurement to and from llama.cpp's files. Owns the matching of names; the files are
 * format/imatrix.c's. */
#include "quant/importance.h"

#include <stdio.h>
#include <string.h>

#include "quant/hash.h"

enum err_code importance_take(const struct imatrix *m, struct arena *mem, struct measured_tensor *t, bool *found,
                              struct err *e) {
    const struct imatrix_entry *entry = imatrix_find(m, t->name);
    *found = entry != NULL;
    if (!entry) return ERR_NONE;
    float *a = arena_alloc(mem, (size_t)(t->ne[0] * t->ne[2]), sizeof *a);
    if (!a) return err_no_memory(e, t->ne[0] * t->ne[2] * sizeof *a);
    TRY(imatrix_means(entry, t->ne[0], t->ne[2], a, e));
    t->importance = a;
    return ERR_NONE;
}

enum err_code importance_take_all(const struct imatrix *m, struct measurement *to, struct err *e) {
    size_t n = 0;
    for (size_t i = 0; i < to->n_tensors; i++) {
        bool found;
        TRY(importance_take(m, &to->mem, &to->tensors[i], &found, e));
        n += found;
    }
    if (!n) return err_set(e, ERR_FORMAT, "it knows none of the model's matrices: it is of another model");
    struct measured_settings *s = &to->settings;
    struct str text = m->n_datasets ? m->datasets[0] : STR("");
    snprintf(s->source, sizeof s->source, "%.*s", (int)(text.n < sizeof s->source ? text.n : sizeof s->source - 1),
             text.p);
    s->rows = m->n_chunks;
    s->length = m->chunk_length;
    return ERR_NONE;
}

static enum err_code fill(struct imatrix *out, const struct measurement *m, float count, struct err *e) {
    out->entries = arena_alloc(&out->mem, m->n_tensors, sizeof *out->entries);
    if (!out->entries) return err_no_memory(e, m->n_tensors * sizeof *out->entries);
    for (size_t i = 0; i < m->n_tensors; i++) {
        const struct measured_tensor *t = &m->tensors[i];
        if (!t->importance) continue;
        uint64_t n = t->ne[0] * t->ne[2];
        float *sums = arena_alloc(&out->mem, (size_t)n, sizeof *sums);
        float *counts = arena_alloc(&out->mem, (size_t)t->ne[2], sizeof *counts);
        if (!sums || !counts) return err_no_memory(e, n * sizeof *sums);
        for (uint64_t j = 0; j < n; j++) sums[j] = t->importance[j] * count;
        for (uint64_t x = 0; x < t->ne[2]; x++) counts[x] = count;
        out->entries[out->n_entries++] = (struct imatrix_entry){ t->name, n, t->ne[2], sums, counts };
    }
    return ERR_NONE;
}

enum err_code importance_write(const struct measurement *m, float count, const char *path, struct err *e) {
    struct str source = str_of(m->settings.source);
    struct imatrix out = { .datasets = &source, .n_datasets = 1, .n_chunks = m->settings.rows,
                           .chunk_length = m->settings.length };
    enum err_code rc = fill(&out, m, count, e);
    if (!rc) rc = imatrix_write(&out, path, e);
    arena_fini(&out.mem);
    return rc;
}

uint64_t importance_hash(const struct imatrix *m) {
    uint64_t h = HASH_START;
    for (size_t i = 0; i < m->n_entries; i++) {
        const struct imatrix_entry *t = &m->entries[i];
        h = hash_bytes(h, t->name, strlen(t->name));
        h = hash_bytes(h, t->sums, (size_t)t->n * sizeof *t->sums);
        h = hash_bytes(h, t->counts, (size_t)t->n_counts * sizeof *t->counts);
    }
    return h;
}
