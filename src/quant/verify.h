#ifndef QUANT_VERIFY_H
#define QUANT_VERIFY_H
/* The divergence of a finished file from its original, on windows of the calibration text. */
#include "base/log.h"
#include "quant/calib.h"

/* *kld: mean over the scored tokens, in nats. Both models run in float; calib's rows are not used, few are enough. */
enum err_code verify_kld(const char *model, const char *ref, const struct calib_options *calib, unsigned threads,
                         const struct progress *progress, double *kld, struct err *e);
#endif
