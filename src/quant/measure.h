#ifndef QUANT_MEASURE_H
#define QUANT_MEASURE_H
/* Measures a model: calibrates it block by block, tries every type on every matrix, and finds what each matrix's error
 * does to the output. docs/quantizing.md. */
#include "base/log.h"
#include "format/imatrix.h"
#include "quant/calib.h"
#include "quant/measurement.h"

struct measure_options {
    const char *backend; /* NULL: "cpu"; always run in float */
    unsigned threads;    /* 0: one per physical core; results do not depend on it */
    struct calib_options calib;
    /* Importances that encoders use in place of the text's, for the matrices it knows. The text still says what errors
     * do. NULL: none. */
    const struct imatrix *imatrix;
    /* Where the measurement is written (measurement_write) when it is complete. Until then a journal beside it keeps
     * what is done, so that a killed run goes on. NULL: nothing is written. */
    const char *file;
    bool no_resume; /* the journal is begun anew; so it is if the model's files were written after it */
    /* Calibrates alone: tensors get importances, no tries, no probes. Nothing is written then: file must be NULL. */
    bool importances_only;
    /* With importances_only, types that the model's matrices will get, in the order of its weights: *mix_kld becomes
     * the divergence that all these encodings cause together. NULL: none. */
    const enum qtype *mix;
    double *mix_kld;
    /* Memory for the states that probing carries along; 0: as much as calibration took. Less means reading the weights
     * more often; results do not depend on it. */
    uint64_t probe_bytes;
    /* Told of each try as it is made (or found in the journal), in the order of the blocks. May be NULL. */
    void (*on_try)(void *user, const struct measured_tensor *tensor, const struct measured_try *t);
    void *user;
    struct progress progress;
};

/* Opens path itself, in float arithmetic. *out is the caller's (measurement_free), NULL on error. A weight that is NaN
 * or infinite is ERR_FORMAT and named, a norm's too, before anything is computed with it. ERR_INTERRUPTED when progress
 * says so. After an error the journal stays. */
enum err_code measure_model(const char *path, const struct measure_options *o, struct measurement **out,
                            struct err *e);
#endif
