/* Sampling. See sample.h for the order of the steps. The same logits, parameters and seed give the same token on every
 * machine with the same exp(): candidates are ordered by logit, then by id. */
#include "runtime/sample.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/os.h"

struct candidate { float logit; int32_t id; };

struct sampler {
    struct sample_params p;
    uint32_t n_vocab;
    struct rng rng;
    struct candidate *c;  /* (n_vocab) */
    double *prob;         /* (n_vocab) */
    int32_t *history;     /* grows */
    size_t n_history, cap_history;
    uint16_t *count;      /* (n_vocab) occurrences within the window, filled for a pick and cleared after */
};

/* The settings that are numbers; where the file says what cannot be, it is to blame. */
static enum err_code read_numbers(const struct hf_config *c, struct sample_params *p, struct err *e) {
    const struct { const char *key; float *value; bool positive, share; } numbers[] = {
        { "temperature", &p->temp, false, false }, { "top_p", &p->top_p, false, true },
        { "min_p", &p->min_p, false, true }, { "repetition_penalty", &p->repeat_penalty, true, false },
    };
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        bool found;
        TRY(hf_config_f32(c, numbers[i].key, numbers[i].value, &found, e));
        float v = *numbers[i].value;
        if (v < 0 || (numbers[i].positive && v == 0) || (numbers[i].share && v > 1))
            return hf_config_wrong(c, numbers[i].key, numbers[i].positive ? "a number above 0"
                                   : numbers[i].share ? "a number from 0 to 1" : "a number of 0 or more", e);
    }
    return ERR_NONE;
}

enum err_code sample_defaults(const struct hf_config *generation, struct sample_params *p, struct err *e) {
    *p = (struct sample_params){ .temp = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f, .repeat_penalty = 1.0f,
                                 .repeat_last_n = 64, .seed = os_random_u64() & 0xffffffffu };
    if (!generation) return ERR_NONE;
    bool found, sampled = true;
    uint32_t top_k = (uint32_t)p->top_k;
    TRY(read_numbers(generation, p, e));
    TRY(hf_config_u32(generation, "top_k", &top_k, &found, e));
    TRY(hf_config_bool(generation, "do_sample", &sampled, &found, e));
    p->top_k = top_k > INT32_MAX ? 0 : (int32_t)top_k;
    if (!sampled) p->temp = 0;
    return ERR_NONE;
}

enum err_code sampler_open(const struct sample_params *p, uint32_t n_vocab, struct sampler **out, struct err *e) {
    *out = NULL;
    struct sampler *s = NEW(struct sampler);
    if (!s) return err_no_memory(e, sizeof *s);
    s->p = *p;
    s->n_vocab = n_vocab;
    rng_seed(&s->rng, p->seed);
    s->c = NEW_ARRAY(struct candidate, n_vocab);
    s->prob = NEW_ARRAY(double, n_vocab);
    s->count = NEW_ARRAY(uint16_t, n_vocab);
    if (!s->c || !s->prob || !s->count) {
        sampler_close(s);
        return err_no_memory(e, n_vocab * 18ull);
    }
    *out = s;
    return ERR_NONE;
}

void sampler_close(struct sampler *s) {
    if (!s) return;
    mem_free(s->c);
    mem_free(s->prob);
    mem_free(s->history);
    mem_free(s->count);
    mem_free(s);
}

enum err_code sampler_accept(struct sampler *s, int32_t id, struct err *e) {
    if (s->n_history == s->cap_history) {
        size_t cap = s->cap_history ? 2 * s->cap_history : 256;
        int32_t *h = mem_realloc(s->history, s->n_history, cap, sizeof *h);
        if (!h) return err_no_memory(e, cap * sizeof *h);
        s->history = h;
        s->cap_history = cap;
    }
    s->history[s->n_history++] = id;
    return ERR_NONE;
}

/* Repetition (divide a positive logit, multiply a negative one: CTRL, Keskar et al. 2019), presence and frequency. */
static void penalize(struct sampler *s, float *logits) {
    const struct sample_params *p = &s->p;
    size_t n = p->repeat_last_n < 0 ? s->n_history : (size_t)p->repeat_last_n;
    if (n > s->n_history) n = s->n_history;
    if (p->repeat_penalty == 1 && p->presence_penalty == 0 && p->frequency_penalty == 0) return;
    const int32_t *recent = s->history + s->n_history - n;
    for (size_t i = 0; i < n; i++)
        if (s->count[recent[i]] < UINT16_MAX) s->count[recent[i]]++;
    for (size_t i = 0; i < n; i++) {
        int32_t id = recent[i];
        if (!s->count[id]) continue;
        float l = logits[id];
        l = l > 0 ? l / p->repeat_penalty : l * p->repeat_penalty;
        logits[id] = l - (float)s->count[id] * p->frequency_penalty - p->presence_penalty;
        s->count[id] = 0;
    }
}

static int by_logit(const void *a, const void *b) {
    const struct candidate *x = a, *y = b;
    if (x->logit != y->logit) return x->logit > y->logit ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static void sift_down(struct candidate *heap, size_t n, size_t i) {
    for (;;) {
        size_t worst = i, l = 2 * i + 1, r = l + 1;
        if (l < n && by_logit(&heap[l], &heap[worst]) > 0) worst = l;
        if (r < n && by_logit(&heap[r], &heap[worst]) > 0) worst = r;
        if (worst == i) return;
        struct candidate t = heap[i];
        heap[i] = heap[worst];
        heap[worst] = t;
        i = worst;
    }
}

/* The k best of all logits, best first, in c; a heap with the worst on top keeps the best seen so far. */
static size_t take_best(struct sampler *s, const float *logits, size_t k) {
    size_t n = s->n_vocab;
    if (k > n) k = n;
    for (size_t i = 0; i < k; i++) s->c[i] = (struct candidate){ logits[i], (int32_t)i };
    for (size_t i = k / 2; i-- > 0;) sift_down(s->c, k, i);
    for (size_t i = k; i < n; i++) {
        struct candidate x = { logits[i], (int32_t)i };
        if (by_logit(&x, &s->c[0]) > 0) continue;
        s->c[0] = x;
        sift_down(s->c, k, 0);
    }
    qsort(s->c, k, sizeof *s->c, by_logit);
    return k;
}

/* exp(logit - best) of the first n candidates into prob; returns their sum. */
static double weigh(struct sampler *s, size_t n, float temp) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += s->prob[i] = exp((double)(s->c[i].logit - s->c[0].logit) / temp);
    return sum;
}

static size_t cut_top_p(struct sampler *s, size_t n) {
    if (s->p.top_p >= 1) return n;
    double sum = weigh(s, n, 1), limit = s->p.top_p * sum, acc = 0;
    for (size_t i = 0; i < n; i++) {
        acc += s->prob[i];
        if (acc >= limit) return i + 1;
    }
    return n;
}

static size_t cut_min_p(struct sampler *s, size_t n) {
    if (s->p.min_p <= 0) return n;
    float least = s->c[0].logit + logf(s->p.min_p);
    size_t keep = 1;
    while (keep < n && s->c[keep].logit >= least) keep++;
    return keep;
}

int32_t sampler_pick(struct sampler *s, float *logits) {
    penalize(s, logits);
    if (s->p.temp <= 0) {
        take_best(s, logits, 1);
        return s->c[0].id;
    }
    size_t n = take_best(s, logits, s->p.top_k > 0 ? (size_t)s->p.top_k : s->n_vocab);
    n = cut_top_p(s, n);
    n = cut_min_p(s, n);
    double r = rng_f64(&s->rng) * weigh(s, n, s->p.temp);
    for (size_t i = 0; i < n; i++)
        if ((r -= s->prob[i]) < 0) return s->c[i].id;
    return s->c[n - 1].id;
}
