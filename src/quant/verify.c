/* Both models run side by side over the same windows, in float. See verify.h. */
#include "quant/verify.h"
#include "runtime/score.h"

enum { WINDOWS = 16 };

enum err_code verify_kld(const char *model, const char *ref, const struct calib_options *calib, unsigned threads,
                         const struct progress *progress, double *kld, struct err *e) {
    struct engine_options o = { .threads = threads, .exact = true };
    struct engine *en[2] = { NULL, NULL };
    struct model_source source[2] = { { 0 }, { 0 } };
    struct calib_tokens text = { 0 };
    struct calib_options c = *calib;
    struct score_result r;
    enum err_code rc;
    c.rows = WINDOWS;
    TRY_OUT(rc, engine_open(model, &o, &en[0], e));
    TRY_OUT(rc, engine_open(ref, &o, &en[1], e));
    TRY_OUT(rc, calib_open(en[1], &c, &text, e));
    struct windows w = { text.ids, text.length, text.rows, en[1]->model->hp.n_vocab };
    for (int i = 0; i < 2; i++) TRY_OUT(rc, model_source_open(&source[i], en[i], &w, e));
    struct score_desc d = { .windows = &w, .model = model_source_rows, .model_user = &source[0],
                            .ref = model_source_rows, .ref_user = &source[1], .progress = *progress };
    TRY_OUT(rc, score_run(&d, &r, e));
    *kld = r.kld_mean;
out:
    for (int i = 0; i < 2; i++) model_source_close(&source[i]);
    calib_close(&text);
    for (int i = 0; i < 2; i++) engine_close(en[i]);
    return rc;
}
