/* snug_quantize: public options to the job's, the job's result to the public one. The job itself is src/quant/job.c. */
#include <string.h>
#include "api/api.h"
#include "base/os.h"
#include "quant/job.h"

struct tell { void (*fn)(void *user, const struct snug_try *t); void *user; };

static void pass_try(void *user, const struct measured_tensor *tensor, const struct measured_try *t) {
    struct tell *to = user;
    if (to->fn) to->fn(to->user, &(struct snug_try){ tensor->name, qtype_name(t->type), t->bpw, t->rfn });
}

/* Exactly one target. */
static enum err_code choose_target(const struct snug_quantize_options *o, struct job_desc *d, struct err *e) {
    int n = (o->bits_per_weight > 0) + (o->size_bytes > 0) + (o->vram_bytes > 0) + (o->type != NULL);
    if (o->measure_only && n == 0) {
        d->target = JOB_MEASURE_ONLY;
        return ERR_NONE;
    }
    if (o->measure_only) return err_set(e, ERR_USAGE, "--measure-only takes no target");
    if (n == 0 && o->save_imatrix && !o->out) {
        d->target = JOB_IMPORTANCES_ONLY;
        return ERR_NONE;
    }
    if (n != 1)
        return err_set(e, ERR_USAGE, "%s target: give one of -b BPW, --size BYTES, --vram SIZE, --type TYPE",
                       n ? "more than one" : "no");
    d->target = o->type ? JOB_RECIPE : o->bits_per_weight > 0 ? JOB_BPW : o->size_bytes ? JOB_BYTES : JOB_VRAM;
    d->bytes = o->size_bytes ? o->size_bytes : o->vram_bytes;
    return ERR_NONE;
}

static double bpw_of(uint64_t bytes, uint64_t parameters) {
    return parameters ? 8 * (double)bytes / (double)parameters : 0;
}

static enum err_code fill_result(const struct snug_quantize_options *o, const struct job_result *r,
                                 struct snug_quantize_result *out, struct err *e) {
    *out = (struct snug_quantize_result){
        .file = mem_strdup(o->out ? o->out : ""), .file_bytes = r->file_bytes, .target_bytes = r->target_bytes,
        .parameters = r->parameters, .bits_per_weight = bpw_of(r->file_bytes, r->parameters),
        .min_bits_per_weight = bpw_of(r->least_bytes, r->parameters), .predicted_kld = r->predicted_kld,
        .measured_kld = r->measured_kld, .tries = r->tries, .peak_rss_bytes = os_peak_rss(),
        .tensors = NEW_ARRAY(struct snug_tensor_choice, r->n_choices),
    };
    if (!out->file || !out->tensors) return err_no_memory(e, r->n_choices * sizeof *out->tensors);
    for (size_t i = 0; i < r->n_choices; i++) {
        struct job_choice *c = &r->choices[i];
        out->tensors[out->n_tensors++] = (struct snug_tensor_choice){
            .name = c->name, .type = qtype_name(c->type), .part = c->part, .bpw = c->bpw, .rfn_error = c->rfn,
            .bytes = c->bytes, .parameters = c->parameters,
        };
        c->name = NULL; /* the result's now */
    }
    return ERR_NONE;
}

int snug_quantize(const struct snug_quantize_options *o, struct snug_quantize_result *out, struct snug_error *error) {
    struct err e = { 0 };
    struct tell tell = { o->on_try, o->user };
    struct job_desc d = {
        .model = o->model, .out = o->out, .version = SNUG_VERSION, .bits_per_weight = o->bits_per_weight,
        .n_ctx = o->n_ctx, .recipe = o->type, .pure = o->pure,
        .calib = { .file = o->calib, .rows = o->calib_rows, .length = o->calib_length },
        .measurement = o->measurement, .imatrix = o->imatrix, .save_imatrix = o->save_imatrix, .keep = o->keep,
        .n_keep = o->n_keep, .dry_run = o->dry_run, .force = o->force,
        .no_resume = o->no_resume, .check = o->check, .threads = o->threads, .on_try = pass_try, .user = &tell,
        .progress = api_progress(&o->progress),
    };
    struct job_result r = { 0 };
    uint64_t t0 = os_now_ns();
    memset(out, 0, sizeof *out);
    enum err_code rc = choose_target(o, &d, &e);
    if (!rc) rc = job_run(&d, &r, &e);
    if (!rc) rc = fill_result(o, &r, out, &e);
    job_result_fini(&r);
    if (rc) snug_quantize_free(out);
    out->seconds = (double)(os_now_ns() - t0) * 1e-9;
    return api_result(rc, &e, error);
}

void snug_quantize_free(struct snug_quantize_result *r) {
    for (size_t i = 0; i < r->n_tensors; i++) mem_free(r->tensors[i].name);
    mem_free(r->tensors);
    mem_free(r->file);
    memset(r, 0, sizeof *r);
}
