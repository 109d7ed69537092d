#ifndef QUANT_JOB_H
#define QUANT_JOB_H
/* The whole quantizing job: measure (or read a measurement), choose a type for every matrix, write. A killed job goes
 * on where it was when it is started again with the same arguments, to the same bytes. */
#include "quant/measure.h"

enum job_target { JOB_BPW, JOB_BYTES, JOB_VRAM, JOB_RECIPE, JOB_MEASURE_ONLY, JOB_IMPORTANCES_ONLY };

struct job_desc {
    const char *model, *out;
    const char *version;          /* of the program, for the file's metadata; NULL: left out */
    enum job_target target;
    double bits_per_weight;       /* JOB_BPW: 8 * file bytes / parameters */
    uint64_t bytes;               /* JOB_BYTES: of the whole file; JOB_VRAM: what file, cache and activations share */
    uint32_t n_ctx;               /* JOB_VRAM; 0: the default */
    const char *recipe;           /* JOB_RECIPE: llama.cpp's name */
    bool pure;                    /* every matrix its base type */
    struct calib_options calib;
    const char *measurement;      /* file to read, or to write if it is not there; NULL: none is kept */
    const char *imatrix;          /* importances to use (imatrix.h) in place of the text's; then a recipe needs no text.
                                   * NULL: none */
    const char *save_imatrix;     /* where the importances that were used are written; NULL: nowhere */
    const char *const *keep;      /* (n_keep) "PATTERN=TYPE" */
    size_t n_keep;
    bool dry_run, force, no_resume, check;
    unsigned threads;
    void (*on_try)(void *user, const struct measured_tensor *tensor, const struct measured_try *t);
    void *user;
    struct progress progress;
};

struct job_choice {
    char *name;
    enum qtype type;
    const char *part;
    double bpw, rfn; /* rfn negative: not measured */
    uint64_t bytes, parameters;
};

struct job_result {
    uint64_t file_bytes, parameters, source_hash;
    uint64_t target_bytes, least_bytes; /* 0 for a recipe */
    double predicted_kld, measured_kld; /* negative: not known */
    struct job_choice *choices;         /* (n_choices) matrices, in file order; caller frees with job_result_fini */
    size_t n_choices;
    uint64_t tries;
};

/* out is filled only on success. What cannot work (an output that is there, a target below the least, a full disk)
 * fails before anything is measured. ERR_INTERRUPTED leaves beside d->out what the next start goes on from. */
enum err_code job_run(const struct job_desc *d, struct job_result *out, struct err *e);
void job_result_fini(struct job_result *r);
#endif
