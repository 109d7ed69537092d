/* Sums and samples of a matrix's inputs. See stats.h. */
#include "quant/stats.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

enum err_code stats_init(struct stats *s, uint64_t n_in, uint64_t total, struct err *e) {
    *s = (struct stats){ .n_in = n_in, .total = total };
    s->n_sample = total < STATS_SAMPLE ? (size_t)total : STATS_SAMPLE;
    s->sum2 = NEW_ARRAY(double, n_in);
    s->sample = mem_alloc(s->n_sample * n_in, sizeof *s->sample);
    if (s->sum2 && s->sample) return ERR_NONE;
    stats_fini(s);
    return err_no_memory(e, n_in * (sizeof *s->sum2 + STATS_SAMPLE * sizeof *s->sample));
}

void stats_fini(struct stats *s) {
    mem_free(s->sum2);
    mem_free(s->sample);
    memset(s, 0, sizeof *s);
}

/* Which token the k-th sample is: one in each of n_sample equal parts, at places that wander through the part by the
 * golden ratio, so that they keep no step with the length of a row. */
static uint64_t sampled_token(const struct stats *s, size_t k) {
    double within = fmod((double)k * 0.6180339887498949, 1);
    uint64_t t = (uint64_t)(((double)k + within) * (double)s->total / (double)s->n_sample);
    return t < s->total ? t : s->total - 1;
}

/* Squares of a few tokens are added in float, which vectorizes, and only their sum in double. */
static void add_squares(double *sum2, const float *x, uint64_t n, uint64_t n_in) {
    enum { COLUMNS = 64 };
    for (uint64_t j0 = 0; j0 < n_in; j0 += COLUMNS) {
        uint64_t m = n_in - j0 < COLUMNS ? n_in - j0 : COLUMNS;
        float part[COLUMNS] = { 0 };
        for (uint64_t t = 0; t < n; t++)
            for (uint64_t j = 0; j < m; j++) part[j] += x[t * n_in + j0 + j] * x[t * n_in + j0 + j];
        for (uint64_t j = 0; j < m; j++) sum2[j0 + j] += (double)part[j];
    }
}

void stats_add(struct stats *s, const float *x, uint64_t n) {
    add_squares(s->sum2, x, n, s->n_in);
    while (s->n_taken < s->n_sample) {
        uint64_t t = sampled_token(s, s->n_taken);
        if (t >= s->n_seen + n) break;
        memcpy(s->sample + s->n_taken * s->n_in, x + (t - s->n_seen) * s->n_in, s->n_in * sizeof *x);
        s->n_taken++;
    }
    s->n_seen += n;
}

bool stats_importance(const struct stats *s, float *out) {
    bool finite = true;
    for (uint64_t j = 0; j < s->n_in; j++) {
        out[j] = (float)s->sum2[j] / (float)s->n_seen;
        finite &= isfinite(out[j]);
    }
    return finite;
}
