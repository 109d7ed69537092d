#ifndef RUNTIME_SCORE_H
#define RUNTIME_SCORE_H
/* Perplexity and Kullback-Leibler divergence, counted as llama.cpp does: the text is cut into windows of n_ctx tokens,
 * BOS takes the first place of each where the model wants it, and the tokens of the second half are scored. */
#include <stdbool.h>
#include <stdint.h>
#include "base/log.h"
#include "runtime/session.h"

/* Where logits come from: a model that runs, or a file of earlier ones. Gives the scored rows of window w, (n_vocab,
 * n_ctx - first_scored - 1), where row i predicts token first_scored + i + 1. */
typedef enum err_code score_source(void *user, uint32_t window, float *logits, struct err *e);

struct windows {
    const int32_t *ids; /* (n_windows * n_ctx), BOS in place */
    uint32_t n_ctx, n_windows, n_vocab;
};
static inline uint32_t windows_first(const struct windows *w) { return w->n_ctx / 2; }
static inline uint32_t windows_rows(const struct windows *w) { return w->n_ctx - windows_first(w) - 1; }

/* Cuts ids into windows. At least two are needed (ERR_USAGE says how many tokens there are); max_windows 0: all. bos <
 * 0: none. *out is the caller's (mem_free). */
enum err_code windows_cut(const int32_t *ids, size_t n, uint32_t n_ctx, uint32_t max_windows, int32_t bos,
                          int32_t **out,
                          uint32_t *n_windows, struct err *e);

/* A model as a source. */
struct model_source { struct session *s; const struct windows *w; bool *want; };
enum err_code model_source_open(struct model_source *m, struct engine *en, const struct windows *w, struct err *e);
void model_source_close(struct model_source *m);
enum err_code model_source_rows(void *model_source, uint32_t window, float *logits, struct err *e);

struct score_result {
    double ppl, ppl_error, ref_ppl;
    uint64_t tokens;
    double kld_mean, kld_error, kld_median, kld_p90, kld_p99, kld_p999, kld_max; /* with a reference */
    double top1, dp_mean, dp_rms;                                               /* percent */
};
struct score_desc {
    const struct windows *windows;
    score_source *model; void *model_user;
    score_source *ref; void *ref_user;   /* NULL: perplexity alone */
    /* Called with the log-probabilities of a window's rows after it was scored (n_vocab, rows); may be NULL. */
    enum err_code (*keep)(void *user, uint32_t window, const float *log_probs, struct err *e);
    void (*on_window)(void *user, uint32_t window, double ppl);
    void *user;
    struct progress progress;
};
enum err_code score_run(const struct score_desc *d, struct score_result *out, struct err *e);

/* logits -> log-probabilities, in place; n > 0. Sums in double. */
void log_softmax(float *logits, uint32_t n);
/* KL(p || q) of two rows of log-probabilities. */
double kl_divergence(const float *log_p, const float *log_q, uint32_t n);
#endif
