#ifndef QUANT_JOB_IMPL_H
#define QUANT_JOB_IMPL_H
/* Inside of the job: its order of work is job.c, the choice of types job_choose.c, what it keeps job_work.c. */
#include "base/pool.h"
#include "quant/export.h"
#include "quant/importance.h"
#include "quant/job.h"
#include "quant/recipe.h"

struct job {
    const struct job_desc *d;
    struct job_result *r;
    struct model *model;
    struct vocab vocab;
    struct pool *pool;
    const struct recipe *recipe;  /* NULL: a measured mix */
    struct keep *keep;            /* (d->n_keep) */
    struct imatrix *imatrix;      /* of d->imatrix, or NULL */
    struct measurement *measured; /* NULL before measuring, and for a recipe that needs no importances */
    char *work;                   /* path of the measurement that is kept while the job runs, or NULL */
    double mix_kld;               /* what a recipe's types do together, found while calibrating; negative: not known */
    struct export *x;
    bool finished;                /* the output may be this job's own, complete: see job_find_finished */
};

/* NULL while nothing is measured. */
const struct measured_tensor *job_measured(const struct job *j, size_t tensor);
/* r->target_bytes, from whatever the target is given in. */
enum err_code job_set_target(struct job *j, enum err_code (*beside)(struct job *, uint64_t *, struct err *),
                             struct err *e);
/* Gives every matrix of the export its type, and the file the account of it. Without a measurement, the smallest types
 * that shapes and --keep allow: what a target must leave room for. Sets r->least_bytes. ERR_TOO_LARGE if the target
 * cannot be reached. */
enum err_code job_choose_measured(struct job *j, struct err *e);
/* The same by the recipe; the predicted divergence is that of the mix, or follows from a full measurement. */
enum err_code job_choose_by_recipe(struct job *j, struct err *e);

/* Whether the file path + end was left by a start before the model's files were written last: a hash of samples cannot
 * tell of every change, so nothing is taken over from it. Says so. */
bool job_is_stale(const struct job *j, const char *path, const char *end);
/* Sets j->work, once. */
enum err_code job_work_name(struct job *j, struct err *e);
/* Removes everything that this and former jobs kept beside the output, whatever their settings were. */
void job_work_remove(const struct job *j);
/* For an output that is there: sets j->finished if what a job of these settings keeps lies beside it, as after a kill
 * between giving the output its name and tidying up. The output's header then decides: job_is_written. */
enum err_code job_find_finished(struct job *j, struct err *e);
/* *same: the output has the size and the header that would be written now. */
enum err_code job_is_written(const struct job *j, bool *same, struct err *e);
#endif
