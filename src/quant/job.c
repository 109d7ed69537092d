/* Quantizing from beginning to end. See job.h.
 *
 * Beside OUT the job keeps, until it is done: the measurement under a name that holds a hash of what it depends on, its
 * journal, and OUT.part. The header of OUT names model, calibration text and every choice, so a partial file is continued
 * only by a job that would write the same bytes. */
#include "quant/job.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/os.h"
#include "plan/pass.h"
#include "quant/allocate.h"
#include "quant/export.h"
#include "quant/hash.h"
#include "quant/recipe.h"
#include "quant/verify.h"
#include "runtime/vocab_file.h"

struct job {
    const struct job_desc *d;
    struct job_result *r;
    struct model *model;
    struct vocab vocab;
    struct pool *pool;
    const struct recipe *recipe;
    struct keep *keep;
    struct measurement *measured; /* NULL for a recipe that needs no importances */
    char *work;                   /* path of the measurement that is kept while the job runs, or NULL */
    struct export *x;
};

/* --- Opening --- */

static enum err_code check_desc(const struct job_desc *d, struct err *e) {
    bool writes = d->target != JOB_MEASURE_ONLY && !d->dry_run;
    if (writes && !d->out) return err_set(e, ERR_USAGE, "no output: name it with -o OUT.gguf");
    if (d->target == JOB_MEASURE_ONLY && !d->measurement) return err_set(e, ERR_USAGE, "--measure-only needs --measurement FILE");
    if (d->pure && d->target != JOB_RECIPE) return err_set(e, ERR_USAGE, "--pure goes with --type");
    if (!writes || d->force || !os_exists(d->out)) return ERR_NONE;
    return err_where(e, err_set(e, ERR_EXISTS, "it exists already: --force replaces it"), "%s", d->out);
}

static enum err_code read_keep(struct job *j, struct err *e) {
    j->keep = NEW_ARRAY(struct keep, j->d->n_keep);
    if (!j->keep) return err_no_memory(e, j->d->n_keep * sizeof *j->keep);
    for (size_t i = 0; i < j->d->n_keep; i++) TRY(keep_parse(j->d->keep[i], &j->keep[i], e));
    return keep_check(j->keep, j->d->n_keep, j->model, e);
}

static void warn_if_quantized(const struct model *m) {
    for (uint32_t i = 0; i < m->n_weights; i++)
        if (!qtype_is_float(m->weights[i].type)) {
            log_warn("%s is quantized already (%s is %s): its errors stay, and new ones are added", m->file->path, m->weights[i].name,
                     qtype_name(m->weights[i].type));
            return;
        }
}

static enum err_code open_all(struct job *j, struct err *e) {
    TRY(check_desc(j->d, e));
    if (j->d->target == JOB_RECIPE) TRY(recipe_find(j->d->recipe, &j->recipe, e));
    TRY(model_open(j->d->model, false, &j->model, e));
    TRY(vocab_from_file(j->model->file, &j->vocab, e));
    TRY(read_keep(j, e));
    warn_if_quantized(j->model);
    j->r->parameters = model_parameters(j->model);
    return pool_open(j->d->threads, &j->pool, e);
}

/* --- The measurement --- */

/* Everything that a measurement depends on and that a second start could change. */
static enum err_code work_path(struct job *j, struct err *e) {
    uint64_t h = HASH_START;
    const struct calib_options *c = &j->d->calib;
    uint64_t numbers[] = { measurement_hash_model(j->model), c->rows, c->length };
    h = hash_bytes(h, numbers, sizeof numbers);
    if (c->file) {
        struct os_map text;
        TRY(os_map_open(c->file, &text, e));
        h = hash_bytes(h, text.p, text.n);
        os_map_close(&text);
    }
    size_t size = strlen(j->d->out) + 40;
    j->work = mem_alloc(size, 1);
    if (!j->work) return err_no_memory(e, size);
    snprintf(j->work, size, "%s.%016llx.json", j->d->out, (unsigned long long)h);
    return ERR_NONE;
}

static enum err_code measure(struct job *j, const char *keep_at, struct err *e) {
    struct measure_options o = { .threads = j->d->threads, .calib = j->d->calib, .file = keep_at, .on_try = j->d->on_try,
                                 .user = j->d->user, .progress = j->d->progress };
    return measure_model(j->d->model, &o, &j->measured, e);
}

static void tell_tries(const struct job *j) {
    for (size_t i = 0; j->d->on_try && i < j->measured->n_tensors; i++)
        for (size_t k = 0; k < j->measured->tensors[i].n_tries; k++)
            j->d->on_try(j->d->user, &j->measured->tensors[i], &j->measured->tensors[i].tries[k]);
}

static enum err_code get_measurement(struct job *j, struct err *e) {
    if (j->recipe && (qtype_is_float(j->recipe->base) || j->recipe->base == QTYPE_Q8_0)) return ERR_NONE;
    const char *path = j->d->measurement;
    if (!path && j->d->out && !j->d->dry_run) {
        TRY(work_path(j, e));
        path = j->work;
    }
    bool usable = path && os_exists(path) && !(j->work && j->d->no_resume);
    if (usable) {
        TRY(measurement_read(path, j->model, &j->measured, e));
        tell_tries(j);
    } else {
        TRY(measure(j, path, e));
    }
    for (size_t i = 0; i < j->measured->n_tensors; i++) j->r->tries += j->measured->tensors[i].n_tries;
    return ERR_NONE;
}

/* The measurement was kept for this job alone. */
static void remove_work(const struct job *j) {
    if (!j->work) return;
    char *importance = measurement_importance_path(j->work);
    remove(j->work);
    if (importance) remove(importance);
    mem_free(importance);
}

/* --- Choosing --- */

static enum err_code target_bytes(struct job *j, uint64_t *bytes, struct err *e) {
    const struct job_desc *d = j->d;
    *bytes = d->bytes;
    if (d->target == JOB_BPW) *bytes = (uint64_t)(d->bits_per_weight * (double)j->r->parameters / 8);
    if (d->target != JOB_VRAM) return ERR_NONE;
    struct engine *en;
    struct pass_memory mem;
    TRY(engine_open(d->model, &(struct engine_options){ .threads = d->threads }, &en, e));
    struct pass_desc pd = { .n_ctx = d->n_ctx, .kv_type = QTYPE_F16 };
    pd = pass_defaults(&j->model->hp, &pd);
    enum err_code rc = pass_memory(en->be, en->model, &pd, &(struct pass_weights){ engine_weight, en }, &mem, e);
    engine_close(en);
    if (rc) return rc;
    uint64_t beside = pass_memory_total(&mem);
    char a[16], b[16];
    if (beside >= d->bytes)
        return err_set(e, ERR_TOO_LARGE, "KV cache and activations alone take %s of the %s: a shorter --ctx is needed",
                       format_bytes(beside, a, sizeof a), format_bytes(d->bytes, b, sizeof b));
    *bytes = d->bytes - beside;
    return ERR_NONE;
}

static const struct measured_tensor *measured_of(const struct job *j, size_t tensor) {
    return j->measured ? measurement_find(j->measured, j->x->tensors[tensor].w->name) : NULL;
}

/* The options of one matrix: every type that was tried, or the one that --keep says. options has room for all types. */
static enum err_code list_options(const struct job *j, size_t tensor, struct allocate_option *options, enum qtype *types, size_t *n, struct err *e) {
    const struct measured_tensor *t = measured_of(j, tensor);
    const char *name = j->x->tensors[tensor].w->name;
    if (!t) return err_set(e, ERR_FORMAT, "the measurement has nothing on %s", name);
    enum qtype kept = keep_type(j->keep, j->d->n_keep, name);
    *n = 0;
    for (size_t k = 0; k < t->n_tries && *n < ALLOCATE_MAX_OPTIONS; k++) {
        enum qtype type = t->tries[k].type;
        if (kept != QTYPE_NONE && type != kept) continue;
        types[*n] = type;
        options[*n].loss = measured_loss(t, type);
        if (gguf_writer_padded_bytes(j->x->writer, tensor, type, &options[*n].bytes)) ++*n;
    }
    return *n ? ERR_NONE : err_set(e, ERR_USAGE, "%s was not measured as %s", name, qtype_name(kept));
}

struct menu {
    struct allocate_item *items;
    struct allocate_option (*options)[ALLOCATE_MAX_OPTIONS];
    enum qtype (*types)[ALLOCATE_MAX_OPTIONS];
    size_t *tensor; /* index in the export */
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

static enum err_code menu_init(struct menu *m, const struct job *j, struct err *e) {
    size_t n = j->x->n_tensors;
    *m = (struct menu){ mem_calloc(n, sizeof *m->items), mem_calloc(n, sizeof *m->options), mem_calloc(n, sizeof *m->types),
                        mem_calloc(n, sizeof *m->tensor), mem_calloc(n, 1), 0 };
    if (!m->items || !m->options || !m->types || !m->tensor || !m->chosen) return err_no_memory(e, n * sizeof *m->options);
    for (size_t i = 0; i < n; i++) {
        if (!export_is_matrix(j->x, i)) continue;
        TRY(list_options(j, i, m->options[m->n], m->types[m->n], &m->items[m->n].n, e));
        m->items[m->n].options = m->options[m->n];
        m->tensor[m->n++] = i;
    }
    return ERR_NONE;
}

/* What the file says of itself: where its bits came from, and the choice by kind. */
static void write_summary(struct job *j, double target_bpw) {
    struct gguf_writer *w = j->x->writer;
    uint64_t bytes[QTYPE_ID_LIMIT] = { 0 };
    enum qtype most = QTYPE_F16;
    struct buf text = { 0 };
    for (size_t i = 0; i < j->x->n_tensors; i++) {
        if (!export_is_matrix(j->x, i)) continue;
        enum qtype t = j->x->tensors[i].type;
        bytes[t] += gguf_writer_tensor_bytes(w, i);
        if (bytes[t] > bytes[most]) most = t;
    }
    for (unsigned t = 0; t < QTYPE_ID_LIMIT; t++)
        if (bytes[t]) buf_addf(&text, "%s%s %llu", text.n ? ", " : "", qtype_name(t), (unsigned long long)bytes[t]);
    export_set_file_type(j->x, j->recipe ? j->recipe->file_type : recipe_file_type(most));
    gguf_writer_str(w, "snug.bytes_by_type", (struct str){ text.p ? text.p : "", text.n });
    buf_fini(&text);
    if (target_bpw > 0) gguf_writer_f32(w, "snug.target_bits_per_weight", (float)target_bpw);
    if (!j->measured) return;
    char source[64];
    snprintf(source, sizeof source, "%016llx", (unsigned long long)j->measured->model_hash);
    gguf_writer_str(w, "snug.source_hash", str_of(source));
    gguf_writer_str(w, "snug.calibration", str_of(j->measured->settings.source));
    snprintf(source, sizeof source, "%016llx", (unsigned long long)j->measured->settings.text_hash);
    gguf_writer_str(w, "snug.calibration_hash", str_of(source));
    if (j->r->predicted_kld >= 0) gguf_writer_f32(w, "snug.predicted_kld", (float)j->r->predicted_kld);
}

static enum err_code too_small(const struct job *j, uint64_t target, struct err *e) {
    return err_set(e, ERR_TOO_LARGE, "a target of %llu bytes (%.3f bits per weight) is out of reach: the least is %llu bytes (%.3f bits per weight)",
                   (unsigned long long)target, 8 * (double)target / (double)j->r->parameters, (unsigned long long)j->r->least_bytes,
                   8 * (double)j->r->least_bytes / (double)j->r->parameters);
}

static enum err_code apply(struct job *j, const struct menu *m, struct err *e) {
    j->r->predicted_kld = 0;
    for (size_t i = 0; i < m->n; i++) {
        TRY(export_set_type(j->x, m->tensor[i], m->types[i][m->chosen[i]], e));
        j->r->predicted_kld += m->options[i][m->chosen[i]].loss;
    }
    return ERR_NONE;
}

/* Bytes of the file that no choice changes, with the summary of the present choice in it. */
static enum err_code fixed_bytes(struct job *j, const struct menu *m, double bpw, uint64_t *fixed, uint64_t *total, struct err *e) {
    write_summary(j, bpw);
    TRY(gguf_writer_total_bytes(j->x->writer, total, e));
    *fixed = *total;
    for (size_t i = 0; i < m->n; i++) *fixed -= m->options[i][m->chosen[i]].bytes;
    return ERR_NONE;
}

/* The summary's length depends on the choice and the choice on what the summary leaves: a few rounds settle it. */
static enum err_code choose_measured(struct job *j, struct err *e) {
    struct menu m;
    uint64_t target, fixed, total;
    TRY(target_bytes(j, &target, e));
    double bpw = 8 * (double)target / (double)j->r->parameters;
    j->r->target_bytes = target;
    enum err_code rc = menu_init(&m, j, e);
    if (!rc) rc = apply(j, &m, e);
    if (!rc) rc = fixed_bytes(j, &m, bpw, &fixed, &total, e);
    if (!rc) j->r->least_bytes = fixed + allocate_least(m.items, m.n);
    for (uint64_t spare = 0; !rc;) {
        if (target < j->r->least_bytes + spare) rc = too_small(j, target, e);
        if (!rc) rc = allocate(m.items, m.n, target - fixed - spare, m.chosen, e);
        if (!rc) rc = apply(j, &m, e);
        uint64_t now = 0;
        if (!rc) rc = fixed_bytes(j, &m, bpw, &now, &total, e);
        if (!rc && total <= target) break;
        spare += now > fixed ? now - fixed : 32;
    }
    menu_fini(&m);
    return rc;
}

static enum err_code choose_by_recipe(struct job *j, struct err *e) {
    bool known = j->measured != NULL;
    double kld = 0;
    for (size_t i = 0; i < j->x->n_tensors; i++) {
        if (!export_is_matrix(j->x, i)) continue;
        const struct weight *w = j->x->tensors[i].w;
        enum qtype t = keep_type(j->keep, j->d->n_keep, w->name);
        if (t == QTYPE_NONE) t = j->d->pure ? recipe_fit(j->recipe->base, w->ne[0]) : recipe_type(j->recipe, &j->model->hp, w);
        TRY(export_set_type(j->x, i, t, e));
        const struct measured_tensor *mt = measured_of(j, i);
        if (mt) kld += measured_loss(mt, t);
    }
    if (known && isfinite(kld)) j->r->predicted_kld = kld;
    write_summary(j, 0);
    return ERR_NONE;
}

static enum err_code list_choices(struct job *j, struct err *e) {
    struct job_result *r = j->r;
    r->choices = NEW_ARRAY(struct job_choice, j->x->n_tensors);
    if (!r->choices) return err_no_memory(e, j->x->n_tensors * sizeof *r->choices);
    for (size_t i = 0; i < j->x->n_tensors; i++) {
        if (!export_is_matrix(j->x, i)) continue;
        const struct export_tensor *t = &j->x->tensors[i];
        const struct measured_tensor *mt = measured_of(j, i);
        const struct measured_try *try = mt ? measured_try_of(mt, t->type) : NULL;
        struct job_choice *c = &r->choices[r->n_choices++];
        *c = (struct job_choice){ .name = mem_strdup(t->w->name), .type = t->type, .part = slot_info(t->w->slot)->part, .bpw = qtype_bpw(t->type),
                                  .rfn = try ? try->rfn : 0, .bytes = gguf_writer_tensor_bytes(j->x->writer, i),
                                  .parameters = t->w->ne[0] * t->w->ne[1] * t->w->ne[2] * t->w->ne[3] };
        if (!c->name) return err_no_memory(e, strlen(t->w->name));
    }
    return gguf_writer_total_bytes(j->x->writer, &r->file_bytes, e);
}

/* --- Writing --- */

static enum err_code write_file(struct job *j, struct err *e) {
    for (size_t i = 0; i < j->x->n_tensors; i++) {
        const struct measured_tensor *t = export_is_matrix(j->x, i) ? measured_of(j, i) : NULL;
        if (t) j->x->tensors[i].importance = t->importance;
    }
    struct export_target t = { .path = j->d->out, .resume = !j->d->no_resume, .keep_part = true, .pool = j->pool, .progress = j->d->progress };
    TRY(export_write(j->x, &t, e));
    remove_work(j);
    return ERR_NONE;
}

static enum err_code run(struct job *j, struct err *e) {
    TRY(open_all(j, e));
    TRY(get_measurement(j, e));
    if (j->d->target == JOB_MEASURE_ONLY) return ERR_NONE;
    TRY(export_open(j->model, &j->vocab, &j->x, e));
    TRY(j->recipe ? choose_by_recipe(j, e) : choose_measured(j, e));
    TRY(list_choices(j, e));
    if (j->d->dry_run) return ERR_NONE;
    TRY(write_file(j, e));
    if (!j->d->check) return ERR_NONE;
    return verify_kld(j->d->out, j->d->model, &j->d->calib, j->d->threads, &j->d->progress, &j->r->measured_kld, e);
}

enum err_code job_run(const struct job_desc *d, struct job_result *out, struct err *e) {
    *out = (struct job_result){ .predicted_kld = -1, .measured_kld = -1 };
    struct job j = { .d = d, .r = out };
    enum err_code rc = run(&j, e);
    export_close(j.x);
    measurement_free(j.measured);
    pool_close(j.pool);
    vocab_fini(&j.vocab);
    model_close(j.model);
    mem_free(j.keep);
    mem_free(j.work);
    if (rc) job_result_fini(out);
    return rc;
}

void job_result_fini(struct job_result *r) {
    for (size_t i = 0; i < r->n_choices; i++) mem_free(r->choices[i].name);
    mem_free(r->choices);
    r->choices = NULL;
    r->n_choices = 0;
}
