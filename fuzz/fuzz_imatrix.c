/* Importance files of both forms: every entry, its means in its own shape and in one that may not fit. */
#include <string.h>

#include "format/imatrix.h"
#include "fuzz.h"

static enum err_code use(const struct imatrix *m, const struct imatrix_entry *t, struct err *e) {
    fuzz_touch(t->name, strlen(t->name));
    fuzz_touch(t->counts, t->n_counts * sizeof *t->counts);
    float *means = mem_alloc((size_t)t->n, sizeof *means);
    if (!means || imatrix_find(m, t->name) != t) return err_set(e, ERR_INTERNAL, "the entry is not found");
    enum err_code rc = imatrix_means(t, t->n / t->n_counts, t->n_counts, means, e);
    if (!rc) fuzz_touch(means, (size_t)t->n * sizeof *means);
    if (t->n % 2 == 0 && !imatrix_means(t, t->n / 2, 2, means, NULL)) fuzz_touch(means, (size_t)t->n * sizeof *means);
    mem_free(means);
    return rc;
}

enum err_code fuzz_one(struct span data, struct err *e) {
    struct imatrix *m;
    TRY(imatrix_read(data, &m, e));
    enum err_code rc = ERR_NONE;
    for (size_t i = 0; i < m->n_datasets; i++) fuzz_touch(m->datasets[i].p, m->datasets[i].n);
    for (size_t i = 0; i < m->n_entries && !rc; i++) rc = use(m, &m->entries[i], e);
    imatrix_close(m);
    return rc;
}
