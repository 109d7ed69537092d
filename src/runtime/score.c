/* Scoring. See score.h. The reference's logits and the model's are compared window by window, so that memory holds two
 * windows of rows and one number a token. */
#include "runtime/score.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

void log_softmax(float *l, uint32_t n) {
    float max = l[0];
    for (uint32_t i = 1; i < n; i++) max = l[i] > max ? l[i] : max;
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) sum += (double)expf(l[i] - max);
    float shift = max + (float)log(sum);
    for (uint32_t i = 0; i < n; i++) l[i] -= shift;
}

double kl_divergence(const float *log_p, const float *log_q, uint32_t n) {
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) sum += (double)expf(log_p[i]) * ((double)log_p[i] - (double)log_q[i]);
    return sum;
}

enum err_code windows_cut(const int32_t *ids, size_t n, uint32_t n_ctx, uint32_t max_windows, int32_t bos,
                          int32_t **out,
                          uint32_t *n_windows, struct err *e) {
    *out = NULL;
    if (n_ctx < 3)
        return err_set(e, ERR_USAGE, "windows of %u tokens have nothing to score: give --ctx 3 or more", n_ctx);
    size_t count = n / n_ctx;
    if (count < 2)
        return err_set(e, ERR_USAGE,
                       "the text has %zu tokens, fewer than two windows of %u: give a longer text or a smaller --ctx",
                           n,
                       n_ctx);
    if (max_windows && count > max_windows) count = max_windows;
    int32_t *w = mem_alloc(count * n_ctx, sizeof *w);
    if (!w) return err_no_memory(e, count * n_ctx * sizeof *w);
    memcpy(w, ids, count * n_ctx * sizeof *w);
    if (bos >= 0)
        for (size_t i = 0; i < count; i++) w[i * n_ctx] = bos;
    *out = w;
    *n_windows = (uint32_t)count;
    return ERR_NONE;
}

/* --- A model as a source --- */

enum err_code model_source_open(struct model_source *m, struct engine *en, const struct windows *w, struct err *e) {
    *m = (struct model_source){ .w = w };
    struct pass_desc d = { .n_ctx = w->n_ctx, .n_seq = 1, .n_batch = w->n_ctx < 512 ? w->n_ctx : 512,
                           .n_out = w->n_ctx };
    TRY(session_open(en, &d, &m->s, e));
    m->want = NEW_ARRAY(bool, w->n_ctx);
    if (!m->want) return err_no_memory(e, w->n_ctx);
    for (uint32_t i = windows_first(w); i + 1 < w->n_ctx; i++) m->want[i] = true;
    return ERR_NONE;
}

void model_source_close(struct model_source *m) {
    session_close(m->s);
    mem_free(m->want);
    memset(m, 0, sizeof *m);
}

enum err_code model_source_rows(void *model_source, uint32_t window, float *logits, struct err *e) {
    struct model_source *m = model_source;
    session_truncate(m->s, 0, 0);
    struct batch b = { .n = m->w->n_ctx, .ids = m->w->ids + (size_t)window * m->w->n_ctx, .want = m->want };
    return session_eval(m->s, &b, logits, e);
}

/* --- Statistics --- */

struct totals {
    uint64_t n, same_top;
    double nll, nll2, ref_nll, kld, kld2, dp, dp2;
    float *kld_each; /* one a token, for the quantiles */
};

static uint32_t argmax(const float *x, uint32_t n) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

static void count_row(struct totals *t, const float *q, const float *p, uint32_t n_vocab, int32_t right) {
    double nll = -(double)q[right];
    t->nll += nll;
    t->nll2 += nll * nll;
    if (p) {
        double kld = kl_divergence(p, q, n_vocab), dp = exp((double)q[right]) - exp((double)p[right]);
        t->ref_nll -= (double)p[right];
        t->kld += kld;
        t->kld2 += kld * kld;
        t->dp += dp;
        t->dp2 += dp * dp;
        t->same_top += argmax(p, n_vocab) == argmax(q, n_vocab);
        t->kld_each[t->n] = (float)kld;
    }
    t->n++;
}

static int by_value(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

/* Linear interpolation between the two nearest of the sorted values. */
static double quantile(const float *sorted, uint64_t n, double q) {
    double at = q * (double)(n - 1);
    uint64_t i = (uint64_t)at;
    double frac = at - (double)i;
    return i + 1 < n ? sorted[i] * (1 - frac) + sorted[i + 1] * frac : sorted[i];
}

static void finish(struct totals *t, bool has_ref, struct score_result *r) {
    double n = (double)t->n, mean = t->nll / n;
    *r = (struct score_result){ .tokens = t->n, .ppl = exp(mean) };
    double var = t->nll2 / n - mean * mean;
    if (n > 1 && var > 0) r->ppl_error = sqrt(var / (n - 1)) * r->ppl;
    if (!has_ref) return;
    r->ref_ppl = exp(t->ref_nll / n);
    r->kld_mean = t->kld / n;
    var = t->kld2 / n - r->kld_mean * r->kld_mean;
    if (n > 1 && var > 0) r->kld_error = sqrt(var / (n - 1));
    qsort(t->kld_each, t->n, sizeof *t->kld_each, by_value);
    r->kld_median = quantile(t->kld_each, t->n, 0.5);
    r->kld_p90 = quantile(t->kld_each, t->n, 0.9);
    r->kld_p99 = quantile(t->kld_each, t->n, 0.99);
    r->kld_p999 = quantile(t->kld_each, t->n, 0.999);
    r->kld_max = t->kld_each[t->n - 1];
    r->top1 = 100 * (double)t->same_top / n;
    r->dp_mean = 100 * t->dp / n;
    r->dp_rms = 100 * sqrt(t->dp2 / n);
}

static enum err_code score_window(const struct score_desc *d, uint32_t window, float *q, float *p, struct totals *t,
                                  struct err *e) {
    const struct windows *w = d->windows;
    uint32_t rows = windows_rows(w), first = windows_first(w);
    TRY(d->model(d->model_user, window, q, e));
    if (p) TRY(d->ref(d->ref_user, window, p, e));
    for (uint32_t i = 0; i < rows; i++) {
        float *qi = q + (size_t)i * w->n_vocab, *pi = p ? p + (size_t)i * w->n_vocab : NULL;
        log_softmax(qi, w->n_vocab);
        if (pi) log_softmax(pi, w->n_vocab);
        count_row(t, qi, pi, w->n_vocab, w->ids[(size_t)window * w->n_ctx + first + i + 1]);
    }
    if (!isfinite(t->nll) || !isfinite(t->kld))
        return err_set(e, ERR_FORMAT, "the model's output in window %u is no number: its file is damaged", window);
    if (d->keep) TRY(d->keep(d->user, window, q, e));
    if (d->on_window) d->on_window(d->user, window, exp(t->nll / (double)t->n));
    if (!progress_step(&d->progress, "evaluating", window + 1, w->n_windows)) return err_set(e, ERR_INTERRUPTED,
            "interrupted");
    return ERR_NONE;
}

enum err_code score_run(const struct score_desc *d, struct score_result *out, struct err *e) {
    const struct windows *w = d->windows;
    size_t rows = windows_rows(w), total = rows * w->n_windows;
    struct totals t = { .kld_each = mem_alloc(total, sizeof(float)) };
    float *q = mem_alloc(rows * w->n_vocab, sizeof *q), *p = d->ref ? mem_alloc(rows * w->n_vocab, sizeof *p) : NULL;
    enum err_code rc = ERR_NONE;
    if (!t.kld_each || !q || (d->ref && !p)) rc = err_no_memory(e, rows * w->n_vocab * sizeof *q);
    for (uint32_t i = 0; !rc && i < w->n_windows; i++) rc = score_window(d, i, q, p, &t, e);
    if (!rc) finish(&t, d->ref != NULL, out);
    mem_free(t.kld_each);
    mem_free(q);
    mem_free(p);
    return rc;
}
