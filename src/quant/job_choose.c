/* Which type every matrix gets. Owns the list of options, the target's arithmetic and the account that the file gives
 * of its own making; the solver is allocate.c, the rules are recipe.c, sizes are the writer's. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/num.h"
#include "quant/allocate.h"
#include "quant/job_impl.h"
#include "quant/tries.h"

const struct measured_tensor *job_measured(const struct job *j, size_t tensor) {
    return j->measured ? measurement_find(j->measured, j->x->tensors[tensor].w->name) : NULL;
}

/* --- Options --- */

/* What can be chosen from, for each matrix of the export. */
struct menu {
    struct allocate_item *items;
    struct allocate_option (*options)[ALLOCATE_MAX_OPTIONS];
    enum qtype (*types)[ALLOCATE_MAX_OPTIONS];
    size_t *tensor; /* its index in the export */
    uint8_t *chosen;
    size_t n;
};

static void menu_fini(struct menu *m) {
    mem_free(m->items);
    mem_free(m->options);
    mem_free(m->types);
    mem_free(m->tensor);
    mem_free(m->chosen);
}

/* Types of one matrix and their losses: those that were tried; before measuring, those that the shape allows. */
static size_t candidates(const struct job *j, size_t tensor, enum qtype *types, double *losses) {
    const struct measured_tensor *t = job_measured(j, tensor);
    size_t n = 0;
    if (!t) n = tries_types(j->x->tensors[tensor].w, 0, types);
    for (size_t i = 0; i < n; i++) losses[i] = 0;
    for (; t && n < t->n_tries; n++) {
        types[n] = t->tries[n].type;
        losses[n] = measured_loss(t, types[n]);
    }
    return n;
}

/* A type that the user asks for stands alone. 16 bits and more need not have been tried: their error is none to speak
 * of. */
static size_t only_kept(enum qtype kept, enum qtype *types, double *losses, size_t n) {
    size_t i = 0;
    while (i < n && types[i] != kept) i++;
    if (i == n && !qtype_is_float(kept)) return 0;
    losses[0] = i < n ? losses[i] : 0;
    types[0] = kept;
    return 1;
}

static enum err_code menu_add(struct menu *m, const struct job *j, size_t tensor, struct err *e) {
    enum qtype types[QTYPE_ID_LIMIT];
    double losses[QTYPE_ID_LIMIT];
    const char *name = j->x->tensors[tensor].w->name;
    enum qtype kept = keep_type(j->keep, j->d->n_keep, name);
    size_t n = candidates(j, tensor, types, losses), k = 0;
    if (kept != QTYPE_NONE) n = only_kept(kept, types, losses, n);
    if (!n)
        return err_set(e, ERR_USAGE,
                       "--keep: %s cannot become %s: its weights have fewer bits already, or are too large",
                       name, qtype_name(kept));
    for (size_t i = 0; i < n && k < ALLOCATE_MAX_OPTIONS; i++) {
        struct allocate_option *o = &m->options[m->n][k];
        m->types[m->n][k] = types[i];
        o->loss = losses[i];
        if (gguf_writer_padded_bytes(j->x->writer, tensor, types[i], &o->bytes)) k++;
    }
    m->items[m->n] = (struct allocate_item){ m->options[m->n], k };
    m->tensor[m->n++] = tensor;
    return ERR_NONE;
}

static enum err_code menu_init(struct menu *m, const struct job *j, struct err *e) {
    size_t n = j->x->n_tensors;
    *m = (struct menu){ mem_calloc(n, sizeof *m->items), mem_calloc(n, sizeof *m->options),
                        mem_calloc(n, sizeof *m->types), mem_calloc(n, sizeof *m->tensor), mem_calloc(n, 1), 0 };
    if (!m->items || !m->options || !m->types || !m->tensor || !m->chosen)
        return err_no_memory(e, n * sizeof *m->options);
    for (size_t i = 0; i < n; i++)
        if (export_is_matrix(j->x, i)) TRY(menu_add(m, j, i, e));
    return ERR_NONE;
}

/* --- The account in the file's metadata --- */

/* "ffn_down: Q3_K x 4, Q4_K x 2" for one slot, "" if the model has no such matrix. */
static void describe_slot(const struct job *j, enum slot s, struct buf *out) {
    unsigned count[QTYPE_ID_LIMIT] = { 0 };
    bool any = false;
    for (size_t i = 0; i < j->x->n_tensors; i++)
        if (export_is_matrix(j->x, i) && j->x->tensors[i].w->slot == s) count[j->x->tensors[i].type]++;
    const char *name = slot_info(s)->gguf_name;
    if (slot_info(s)->per_block) name += strlen("blk.%u.");
    size_t n;
    const enum qtype *types = qtype_all(&n);
    for (size_t i = 0; i < n; i++) {
        if (!count[types[i]]) continue;
        if (any) buf_addz(out, ", ");
        else buf_addf(out, "%.*s: ", (int)strcspn(name, "."), name);
        buf_addf(out, "%s x %u", qtype_name(types[i]), count[types[i]]);
        any = true;
    }
}

static enum err_code write_choice(const struct job *j, struct err *e) {
    struct buf texts[SLOT_COUNT] = { { 0 } };
    struct str lines[SLOT_COUNT];
    size_t n = 0;
    enum err_code rc = ERR_NONE;
    for (unsigned s = 0; s < SLOT_COUNT && !rc; s++) {
        describe_slot(j, s, &texts[s]);
        rc = buf_status(&texts[s], e);
        if (texts[s].n) lines[n++] = (struct str){ texts[s].p, texts[s].n };
    }
    if (!rc) gguf_writer_str_array(j->x->writer, "snug.choice", lines, n);
    for (unsigned s = 0; s < SLOT_COUNT; s++) buf_fini(&texts[s]);
    return rc;
}

static void write_hash(const struct job *j, const char *key, uint64_t hash) {
    char text[20];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)hash);
    gguf_writer_str(j->x->writer, key, str_of(text));
}

static enum qtype most_bytes(const struct job *j) {
    uint64_t bytes[QTYPE_ID_LIMIT] = { 0 };
    enum qtype most = QTYPE_F16;
    for (size_t i = 0; i < j->x->n_tensors; i++) {
        if (!export_is_matrix(j->x, i)) continue;
        enum qtype t = j->x->tensors[i].type;
        bytes[t] += gguf_writer_tensor_bytes(j->x->writer, i);
        if (bytes[t] > bytes[most]) most = t;
    }
    return most;
}

/* The keys in which llama.cpp's quantizer tells of a file of importances. */
static void write_imatrix(const struct job *j) {
    struct gguf_writer *w = j->x->writer;
    const char *slash = strrchr(j->d->imatrix, '/');
    gguf_writer_str(w, "quantize.imatrix.file", str_of(slash ? slash + 1 : j->d->imatrix));
    if (j->imatrix->n_datasets) gguf_writer_str(w, "quantize.imatrix.dataset", j->imatrix->datasets[0]);
    gguf_writer_u32(w, "quantize.imatrix.entries_count", (uint32_t)j->imatrix->n_entries);
    gguf_writer_u32(w, "quantize.imatrix.chunks_count", j->imatrix->n_chunks);
}

/* Says in the header all that the bytes behind it depend on: a partial file with the same header can be continued. */
static enum err_code write_account(const struct job *j, struct err *e) {
    struct gguf_writer *w = j->x->writer;
    export_set_file_type(j->x, j->recipe ? j->recipe->file_type : recipe_file_type(most_bytes(j)));
    if (j->d->version) gguf_writer_str(w, "snug.version", str_of(j->d->version));
    write_hash(j, "snug.source_hash", j->r->source_hash);
    TRY(write_choice(j, e));
    if (j->r->target_bytes) gguf_writer_u64(w, "snug.target_bytes", j->r->target_bytes);
    if (!j->measured) return ERR_NONE;
    if (j->imatrix) write_imatrix(j);
    if (j->measured->settings.text_hash) {
        gguf_writer_str(w, "snug.calibration", str_of(j->measured->settings.source));
        write_hash(j, "snug.calibration_hash", j->measured->settings.text_hash);
    }
    write_hash(j, "snug.importance_hash", measurement_hash_importances(j->measured));
    if (j->r->predicted_kld >= 0) gguf_writer_f32(w, "snug.predicted_kld", (float)j->r->predicted_kld);
    return ERR_NONE;
}

/* --- A measured mix --- */

static double bpw_of(const struct job *j, uint64_t bytes) { return 8 * (double)bytes / (double)j->r->parameters; }

enum err_code job_set_target(struct job *j, enum err_code (*beside)(struct job *, uint64_t *, struct err *),
                             struct err *e) {
    const struct job_desc *d = j->d;
    uint64_t taken = 0;
    char a[16], b[16];
    j->r->target_bytes = d->bytes;
    if (d->target == JOB_BPW) j->r->target_bytes = (uint64_t)(d->bits_per_weight * (double)j->r->parameters / 8);
    if (d->target != JOB_VRAM) return ERR_NONE;
    TRY(beside(j, &taken, e));
    if (taken >= d->bytes)
        return err_set(e, ERR_TOO_LARGE, "KV cache and activations alone take %s of the %s: a shorter --ctx is needed",
                       format_bytes(taken, a, sizeof a), format_bytes(d->bytes, b, sizeof b));
    j->r->target_bytes = d->bytes - taken;
    return ERR_NONE;
}

static enum err_code too_small(const struct job *j, struct err *e) {
    uint64_t target = j->r->target_bytes, least = j->r->least_bytes;
    return err_set(e, ERR_TOO_LARGE, "a target of %llu bytes (%.3f bits per weight) is out of reach: the least is "
                   "%llu bytes (%.3f bits per weight)", (unsigned long long)target, bpw_of(j, target),
                       (unsigned long long)least, bpw_of(j, least));
}

static enum err_code apply(struct job *j, const struct menu *m, struct err *e) {
    double kld = 0;
    for (size_t i = 0; i < m->n; i++) {
        TRY(export_set_type(j->x, m->tensor[i], m->types[i][m->chosen[i]], e));
        kld += m->options[i][m->chosen[i]].loss;
    }
    if (j->measured) j->r->predicted_kld = kld;
    return ERR_NONE;
}

/* The file's bytes with the present choice, and those of them that no choice of types changes. */
static enum err_code count_bytes(struct job *j, const struct menu *m, uint64_t *total, uint64_t *fixed, struct err *e) {
    TRY(write_account(j, e));
    TRY(gguf_writer_total_bytes(j->x->writer, total, e));
    *fixed = *total;
    for (size_t i = 0; i < m->n; i++) *fixed -= m->options[i][m->chosen[i]].bytes;
    return ERR_NONE;
}

static void choose_smallest(struct menu *m) {
    for (size_t i = 0; i < m->n; i++)
        for (size_t k = 0; k < m->items[i].n; k++)
            if (m->options[i][k].bytes < m->options[i][m->chosen[i]].bytes) m->chosen[i] = (uint8_t)k;
}

/* The account's length depends on the choice, the choice on what the account leaves: fixed grows until they agree. */
static enum err_code solve(struct job *j, struct menu *m, uint64_t fixed, struct err *e) {
    uint64_t target = j->r->target_bytes, total, now;
    for (;;) {
        if (target < fixed + allocate_least(m->items, m->n)) return too_small(j, e);
        TRY(allocate(m->items, m->n, target - fixed, m->chosen, e));
        TRY(apply(j, m, e));
        TRY(count_bytes(j, m, &total, &now, e));
        if (total <= target) return ERR_NONE;
        fixed = now > fixed ? now : fixed + 32; /* sizes are multiples of 32 */
    }
}

enum err_code job_choose_measured(struct job *j, struct err *e) {
    struct menu m;
    uint64_t fixed;
    enum err_code rc = menu_init(&m, j, e);
    if (!rc) {
        choose_smallest(&m);
        rc = apply(j, &m, e);
    }
    if (!rc) rc = count_bytes(j, &m, &j->r->least_bytes, &fixed, e);
    if (!rc && j->r->target_bytes < j->r->least_bytes) rc = too_small(j, e);
    if (!rc && j->measured) rc = solve(j, &m, fixed, e);
    menu_fini(&m);
    return rc;
}

/* --- A recipe --- */

enum err_code job_choose_by_recipe(struct job *j, struct err *e) {
    double kld = 0;
    for (size_t i = 0; i < j->x->n_tensors; i++) {
        if (!export_is_matrix(j->x, i)) continue;
        const struct weight *w = j->x->tensors[i].w;
        const struct measured_tensor *t = job_measured(j, i);
        enum qtype type = keep_type(j->keep, j->d->n_keep, w->name);
        if (type == QTYPE_NONE)
            type = j->d->pure ? recipe_fit(j->recipe->base, w->ne[0]) : recipe_type(j->recipe, &j->model->hp, w);
        TRY(export_set_type(j->x, i, type, e));
        kld += t && t->n_tries ? measured_loss(t, type) : INFINITY;
    }
    j->r->predicted_kld = isfinite(kld) ? kld : j->mix_kld;
    TRY(write_account(j, e));
    return gguf_writer_status(j->x->writer, e);
}
