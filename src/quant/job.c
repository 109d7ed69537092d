/* Quantizing from beginning to end: the order of the work, and what makes it resumable.
 *
 * Beside OUT the job keeps, until it is done: the measurement under a name that holds a hash of what it depends on, the
 * measurement's journal, and OUT.part. The header of OUT names source, importances, program and every choice, so a
 * partial file is continued only by a job that would write the same bytes. Measuring is measure.c, choosing
 * job_choose.c, writing export.c. */
#include "quant/job.h"
#include <stdio.h>
#include <string.h>
#include "base/num.h"
#include "base/os.h"
#include "plan/pass.h"
#include "quant/job_impl.h"
#include "quant/verify.h"
#include "runtime/vocab_file.h"

/* --- Opening --- */

static bool has_output(const struct job_desc *d) {
    return d->target != JOB_MEASURE_ONLY && d->target != JOB_IMPORTANCES_ONLY;
}

static bool is_writing(const struct job_desc *d) { return has_output(d) && !d->dry_run; }

static enum err_code check_desc(const struct job_desc *d, struct err *e) {
    if (!d->model) return err_set(e, ERR_USAGE, "no model is named");
    if (d->target == JOB_MEASURE_ONLY && !d->measurement)
        return err_set(e, ERR_USAGE, "--measure-only needs --measurement FILE");
    if (d->pure && d->target != JOB_RECIPE) return err_set(e, ERR_USAGE, "--pure goes with --type");
    if (d->n_ctx && d->target != JOB_VRAM) return err_set(e, ERR_USAGE, "--ctx goes with --vram");
    if (!is_writing(d)) return ERR_NONE;
    if (!d->out) return err_set(e, ERR_USAGE, "no output: name it with -o OUT.gguf");
    if (os_is_dir(d->out)) return err_where(e, err_set(e, ERR_USAGE, "it is a directory: name a file"), "%s", d->out);
    return ERR_NONE;
}

static enum err_code refuse_existing(const char *path, struct err *e) {
    return err_where(e, err_set(e, ERR_EXISTS, "it exists already: --force replaces it"), "%s", path);
}

/* An output that is there is refused, unless it may be that of this very job, killed before it could tidy up. */
static enum err_code check_output(struct job *j, struct err *e) {
    const struct job_desc *d = j->d;
    if (d->force || d->dry_run) return ERR_NONE;
    if (has_output(d) && os_exists(d->out)) {
        TRY(job_find_finished(j, e));
        return j->finished ? ERR_NONE : refuse_existing(d->out, e);
    }
    return d->save_imatrix && os_exists(d->save_imatrix) ? refuse_existing(d->save_imatrix, e) : ERR_NONE;
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
            log_warn("%s is quantized already (%s is %s): its errors stay, and new ones are added", m->file->path,
                     m->weights[i].name, qtype_name(m->weights[i].type));
            return;
        }
}

/* The file's importances and no others. */
static enum err_code take_imatrix(struct job *j, struct err *e) {
    TRY(measurement_new(j->model, &j->measured, e));
    return err_where(e, importance_take_all(j->imatrix, j->measured, e), "%s", j->d->imatrix);
}

/* What does not fit the model is told before any work; blocks that the file leaves out get a warning. */
static enum err_code open_imatrix(struct job *j, struct err *e) {
    size_t n = 0;
    const char *first = NULL;
    if (!j->d->imatrix) return ERR_NONE;
    TRY(imatrix_open(j->d->imatrix, &j->imatrix, e));
    TRY(take_imatrix(j, e));
    for (size_t i = 0; i < j->measured->n_tensors; i++) {
        const struct measured_tensor *t = &j->measured->tensors[i];
        if (t->importance || strncmp(t->name, "blk.", 4) != 0) continue;
        if (!n++) first = t->name;
    }
    if (n) log_warn("%s knows nothing of %zu matrices, the first is %s", j->d->imatrix, n, first);
    measurement_free(j->measured);
    j->measured = NULL;
    return ERR_NONE;
}

static enum err_code open_all(struct job *j, struct err *e) {
    TRY(check_desc(j->d, e));
    if (j->d->target == JOB_RECIPE) TRY(recipe_find(j->d->recipe, &j->recipe, e));
    TRY(model_open(j->d->model, false, &j->model, e));
    TRY(vocab_from_file(j->model->file, &j->vocab, e));
    TRY(read_keep(j, e));
    TRY(open_imatrix(j, e));
    warn_if_quantized(j->model);
    j->r->parameters = model_parameters(j->model);
    TRY(measurement_hash_model(j->model, &j->r->source_hash, e));
    TRY(check_output(j, e));
    TRY(export_open(j->model, &j->vocab, &j->x, e));
    return pool_open(j->d->threads, &j->pool, e);
}

/* --- What fails before any work --- */

/* What cache and activations take beside the weights. */
static enum err_code bytes_beside(struct job *j, uint64_t *bytes, struct err *e) {
    struct engine *en;
    struct pass_memory mem;
    TRY(engine_open(j->d->model, &(struct engine_options){ .threads = j->d->threads }, &en, e));
    struct pass_desc pd = { .n_ctx = j->d->n_ctx, .kv = { QTYPE_F16, QTYPE_F16 } };
    pd = pass_defaults(&j->model->hp, &pd);
    enum err_code rc = pass_memory(en->be, en->model, &pd, &(struct pass_weights){ engine_weight, en }, &mem, e);
    engine_close(en);
    if (!rc) *bytes = pass_memory_total(&mem);
    return rc;
}

/* Bytes that an earlier start of this job wrote and that are written over. */
static uint64_t bytes_there(const char *out) {
    struct buf part = { 0 };
    struct os_map map = { 0 };
    buf_addf(&part, "%s.part", out);
    uint64_t n = !part.failed && os_map_open(part.p, &map, NULL) == ERR_NONE ? map.n : 0;
    os_map_close(&map);
    buf_fini(&part);
    return n;
}

static enum err_code check_space(const struct job *j, uint64_t need, struct err *e) {
    uint64_t have;
    char a[16], b[16];
    if (!is_writing(j->d) || j->finished) return ERR_NONE;
    TRY(os_free_disk(j->d->out, &have, e));
    if (need <= have + bytes_there(j->d->out)) return ERR_NONE;
    enum err_code rc = err_set(e, ERR_NO_SPACE, "the file takes %s, the disk has %s left",
                               format_bytes(need, a, sizeof a), format_bytes(have, b, sizeof b));
    return err_where(e, rc, "%s", j->d->out);
}

static enum err_code check_target(struct job *j, struct err *e) {
    uint64_t bytes;
    if (!has_output(j->d)) return ERR_NONE;
    if (j->recipe) {
        TRY(job_choose_by_recipe(j, e));
        TRY(gguf_writer_total_bytes(j->x->writer, &bytes, e));
    } else {
        TRY(job_set_target(j, bytes_beside, e));
        TRY(job_choose_measured(j, e));
        /* The target may be more than the largest types make of the model. */
        bytes = min_u64(j->r->target_bytes, 4 * j->r->parameters + j->r->least_bytes);
    }
    return check_space(j, bytes, e);
}

/* --- The measurement --- */

static bool uses_importances(const struct job *j) {
    return !j->recipe || (!qtype_is_float(j->recipe->base) && j->recipe->base != QTYPE_Q8_0);
}

/* Importances are all that is asked for: no tries. */
static bool is_plain(const struct job *j) { return j->recipe || j->d->target == JOB_IMPORTANCES_ONLY; }

static enum err_code measure(struct job *j, const char *keep_at, struct err *e) {
    struct measure_options o = { .threads = j->d->threads, .calib = j->d->calib, .file = keep_at,
                                 .no_resume = j->d->no_resume, .imatrix = j->imatrix,
                                 .importances_only = is_plain(j) && !keep_at,
                                 .on_try = j->d->on_try, .user = j->d->user, .progress = j->d->progress };
    if (!o.importances_only || !has_output(j->d) || !uses_importances(j))
        return measure_model(j->d->model, &o, &j->measured, e);
    enum qtype *mix = NEW_ARRAY(enum qtype, j->x->n_tensors);
    if (!mix) return err_no_memory(e, j->x->n_tensors * sizeof *mix);
    for (size_t i = 0, n = 0; i < j->x->n_tensors; i++)
        if (export_is_matrix(j->x, i)) mix[n++] = j->x->tensors[i].type;
    o.mix = mix;
    o.mix_kld = &j->mix_kld;
    enum err_code rc = measure_model(j->d->model, &o, &j->measured, e);
    mem_free(mix);
    return rc;
}

static void tell_tries(const struct job *j) {
    for (size_t i = 0; j->d->on_try && i < j->measured->n_tensors; i++)
        for (size_t k = 0; k < j->measured->tensors[i].n_tries; k++)
            j->d->on_try(j->d->user, &j->measured->tensors[i], &j->measured->tensors[i].tries[k]);
}

/* What is asked of calibration may differ from what an existing file was made with: the file's holds, and is said. */
static void warn_if_other_text(const struct job *j, const char *path) {
    const struct calib_options *c = &j->d->calib;
    const struct measured_settings *s = &j->measured->settings;
    const char *slash = c->file ? strrchr(c->file, '/') : NULL, *name = slash ? slash + 1 : c->file;
    if ((name && strcmp(name, s->source) != 0) || (c->length && c->length != s->length) ||
        (c->rows && c->rows < s->rows))
        log_warn("%s was measured on %u x %u tokens of %s: that holds, and --calib options are not used", path, s->rows,
                 s->length, s->source);
}

static enum err_code read_kept(struct job *j, const char *path, struct err *e) {
    TRY(measurement_read(path, j->model, &j->measured, e));
    if (j->imatrix && j->measured->settings.imatrix_hash != importance_hash(j->imatrix))
        return err_where(e, err_set(e, ERR_USAGE, "it was measured without these importances: name another "
                                    "measurement, or leave out --imatrix"), "%s", path);
    warn_if_other_text(j, path);
    tell_tries(j);
    return ERR_NONE;
}

static enum err_code get_measurement(struct job *j, struct err *e) {
    const char *path = j->d->measurement;
    if (!uses_importances(j) && !j->d->save_imatrix) return ERR_NONE;
    if (j->imatrix && is_plain(j) && !path) return take_imatrix(j, e);
    if (!path && is_writing(j->d) && !j->recipe) {
        TRY(job_work_name(j, e));
        if (j->d->no_resume || job_is_stale(j, j->work, "")) job_work_remove(j);
        path = j->work;
    }
    if (!path || !os_exists(path)) {
        TRY(measure(j, path, e));
    } else {
        TRY(read_kept(j, path, e));
    }
    for (size_t i = 0; i < j->measured->n_tensors; i++) j->r->tries += j->measured->tensors[i].n_tries;
    return ERR_NONE;
}

/* --- The whole --- */

static enum err_code list_choices(struct job *j, struct err *e) {
    struct job_result *r = j->r;
    r->choices = NEW_ARRAY(struct job_choice, j->x->n_tensors);
    if (!r->choices) return err_no_memory(e, j->x->n_tensors * sizeof *r->choices);
    for (size_t i = 0; i < j->x->n_tensors; i++) {
        if (!export_is_matrix(j->x, i)) continue;
        const struct export_tensor *t = &j->x->tensors[i];
        const struct measured_tensor *m = job_measured(j, i);
        const struct measured_try *try = m ? measured_try_of(m, t->type) : NULL;
        struct job_choice *c = &r->choices[r->n_choices++];
        *c = (struct job_choice){ .name = mem_strdup(t->w->name), .type = t->type, .bpw = qtype_bpw(t->type),
                                  .part = slot_info(t->w->slot)->part, .rfn = try ? try->rfn : -1,
                                  .bytes = gguf_writer_tensor_bytes(j->x->writer, i),
                                  .parameters = t->w->ne[0] * t->w->ne[1] * t->w->ne[2] * t->w->ne[3] };
        if (!c->name) return err_no_memory(e, strlen(t->w->name));
    }
    return gguf_writer_total_bytes(j->x->writer, &r->file_bytes, e);
}

static enum err_code write_file(struct job *j, struct err *e) {
    for (size_t i = 0; i < j->x->n_tensors; i++) {
        const struct measured_tensor *t = export_is_matrix(j->x, i) ? job_measured(j, i) : NULL;
        if (t) j->x->tensors[i].importance = t->importance;
    }
    struct export_target t = { .path = j->d->out, .keep_part = true, .pool = j->pool, .progress = j->d->progress,
                               .resume = !j->d->no_resume && !job_is_stale(j, j->d->out, ".part") };
    return export_write(j->x, &t, e);
}

/* The output stands already: nothing is left to do but to tidy up, if it is what this job would write. */
static enum err_code check_finished(struct job *j, struct err *e) {
    bool same;
    TRY(job_is_written(j, &same, e));
    return same ? ERR_NONE : refuse_existing(j->d->out, e);
}

/* Sums over as many tokens as were seen, so that llama.cpp's tools can merge the file with others. */
static enum err_code save_importances(const struct job *j, struct err *e) {
    if (!j->d->save_imatrix || j->d->dry_run || !j->measured) return ERR_NONE;
    const struct measured_settings *s = &j->measured->settings;
    float tokens = (float)max_u64(s->rows, 1) * (float)max_u64(s->length, 1);
    return importance_write(j->measured, tokens, j->d->save_imatrix, e);
}

/* Importances that nothing but their own file was asked for must not change the output. */
static enum err_code drop_unused(struct job *j, struct err *e) {
    if (uses_importances(j) && has_output(j->d)) return ERR_NONE;
    TRY(save_importances(j, e));
    measurement_free(j->measured);
    j->measured = NULL;
    return ERR_NONE;
}

static enum err_code run(struct job *j, struct err *e) {
    const struct job_desc *d = j->d;
    TRY(open_all(j, e));
    TRY(check_target(j, e));
    TRY(get_measurement(j, e));
    TRY(drop_unused(j, e));
    if (!has_output(d)) return ERR_NONE;
    TRY(j->recipe ? job_choose_by_recipe(j, e) : job_choose_measured(j, e));
    TRY(list_choices(j, e));
    if (d->dry_run) return ERR_NONE;
    TRY(j->finished ? check_finished(j, e) : write_file(j, e));
    TRY(save_importances(j, e));
    job_work_remove(j);
    if (!d->check) return ERR_NONE;
    return verify_kld(d->out, d->model, &d->calib, d->threads, &d->progress, &j->r->measured_kld, e);
}

enum err_code job_run(const struct job_desc *d, struct job_result *out, struct err *e) {
    *out = (struct job_result){ .predicted_kld = -1, .measured_kld = -1 };
    struct job j = { .d = d, .r = out, .mix_kld = -1 };
    enum err_code rc = run(&j, e);
    if (rc == ERR_INTERRUPTED && is_writing(d) && !os_exists(d->out))
        err_set(e, rc, "interrupted: the same command goes on from here");
    export_close(j.x);
    measurement_free(j.measured);
    imatrix_close(j.imatrix);
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
