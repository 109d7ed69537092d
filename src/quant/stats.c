/* Sums and samples of a matrix's inputs. See stats.h. */
#include "quant/stats.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"

static enum err_code alloc(struct stats *s, struct err *e) {
    s->sum2 = NEW_ARRAY(double, s->n_in);
    s->sample = mem_alloc(s->n_sample * s->n_in, sizeof *s->sample);
    if (s->sum2 && s->sample) return ERR_NONE;
    uint64_t bytes = s->n_in * (sizeof *s->sum2 + s->n_sample * sizeof *s->sample);
    stats_fini(s);
    return err_no_memory(e, bytes);
}

enum err_code stats_init(struct stats *s, uint64_t n_in, uint64_t total, struct err *e) {
    *s = (struct stats){ .n_in = n_in, .total = total, .n_sample = min_u64(total, STATS_SAMPLE) };
    return alloc(s, e);
}

enum err_code stats_init_stacked(struct stats *s, uint64_t n_in, uint64_t n_mat, struct err *e) {
    uint64_t share = max_u64(STATS_STACK_SAMPLE / n_mat, STATS_LEAST_SAMPLE);
    *s = (struct stats){ .n_in = n_in, .n_sample = min_u64(share, STATS_SAMPLE) };
    rng_seed(&s->rng, n_in);
    return alloc(s, e);
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

static void keep(struct stats *s, size_t at, const float *x) {
    memcpy(s->sample + at * s->n_in, x, s->n_in * sizeof *x);
}

/* Of i + 1 vectors the last is kept with the chance that all of them had so far (Vitter's algorithm R). */
static void sample_unknown(struct stats *s, const float *x, uint64_t n) {
    for (uint64_t t = 0; t < n; t++) {
        uint64_t i = s->n_seen + t;
        size_t at = i < s->n_sample ? (size_t)i : (size_t)(rng_f64(&s->rng) * (double)(i + 1));
        if (at < s->n_sample) keep(s, at, x + t * s->n_in);
        if (s->n_taken < s->n_sample) s->n_taken++;
    }
}

static void sample_known(struct stats *s, const float *x, uint64_t n) {
    while (s->n_taken < s->n_sample) {
        uint64_t t = sampled_token(s, s->n_taken);
        if (t >= s->n_seen + n) break;
        keep(s, s->n_taken++, x + (t - s->n_seen) * s->n_in);
    }
}

void stats_add(struct stats *s, const float *x, uint64_t n) {
    add_squares(s->sum2, x, n, s->n_in);
    if (s->total) sample_known(s, x, n);
    else sample_unknown(s, x, n);
    s->n_seen += n;
}

/* The mean over the inputs of all matrices. */
static float mean_of_all(const struct stats *s, size_t n, uint64_t j) {
    double sum = 0;
    uint64_t seen = 0;
    for (size_t x = 0; x < n; x++) {
        sum += s[x].sum2[j];
        seen += s[x].n_seen;
    }
    return seen ? (float)sum / (float)seen : 0;
}

bool stats_importance(const struct stats *s, size_t n, float *out) {
    bool finite = true;
    for (size_t x = 0; x < n; x++)
        for (uint64_t j = 0; j < s->n_in; j++) {
            float a = s[x].n_seen ? (float)s[x].sum2[j] / (float)s[x].n_seen : mean_of_all(s, n, j);
            out[x * s->n_in + j] = a;
            finite &= isfinite(a);
        }
    return finite;
}
