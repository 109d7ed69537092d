/* Attention over paged caches on every device, against its definition in graph.h computed in double.
 *
 * Sequences lie in pages out of order, and every cell that no sequence owns or that lies behind its last position holds
 * NaN: a device that looks at one of them shows it. Results of the CPU must not depend on its threads, nor a token's on
 * the tokens computed beside it. */
#include "rig.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/cpu.h"
#include "base/num.h"

enum { MOST_SEQS = 4, MOST_TOKENS = 80 };

struct attn_case {
    const char *what;
    struct attn_desc d; /* scale 0: 1 / sqrt(head_dim) */
    uint32_t n_head, n_head_kv, n_tok;
    uint32_t v_head; /* numbers of a head in a row of v; 0: as many as count */
    bool v_is_k, sinks;
    enum qtype k_type, v_type;
    uint32_t length[MOST_SEQS];                  /* stored positions of each sequence, ends with 0 */
    struct { uint32_t seq; int32_t pos; } first; /* token 0 */
    /* The following tokens are 1 + gap positions further in the sequence; with rotate, the next sequence's last one. */
    bool rotate;
    uint32_t gap;
};

/* The case in numbers. */
struct attn_data {
    const struct attn_case *c;
    uint32_t n_seq, n_pages, n_cells;
    float *q, *sinks;
    void *k, *v;      /* as stored */
    double *kd, *vd;  /* decoded */
    int32_t *pages, *pos, *seq;
};

static uint64_t cell_of(const struct attn_data *a, uint32_t seq, uint32_t position) {
    const uint32_t page = a->c->d.page;
    return (uint64_t)a->pages[seq * a->n_pages + position / page] * page + position % page;
}

/* Deals pages to the sequences in a shuffled order; one page in four stays nobody's. */
static void deal_pages(struct attn_data *a) {
    const struct attn_case *c = a->c;
    uint32_t used = 0;
    for (a->n_seq = 0; a->n_seq < MOST_SEQS && c->length[a->n_seq]; a->n_seq++) {
        uint32_t n = (uint32_t)div_up(c->length[a->n_seq], c->d.page);
        used += n;
        if (n > a->n_pages) a->n_pages = n;
    }
    a->n_pages++; /* the last column is unused in every sequence */
    uint32_t total = used + used / 4 + 1;
    a->n_cells = total * c->d.page;
    int32_t *order = rig_data(total, sizeof *order);
    struct rng rng;
    rng_seed(&rng, 17);
    for (uint32_t i = 0; i < total; i++) {
        uint32_t j = rng_below(&rng, i + 1);
        order[i] = order[j];
        order[j] = (int32_t)i;
    }
    a->pages = rig_data(a->n_pages * a->n_seq, sizeof *a->pages);
    for (uint32_t s = 0; s < a->n_seq; s++) {
        uint32_t n = (uint32_t)div_up(c->length[s], c->d.page);
        for (uint32_t i = 0; i < a->n_pages; i++) a->pages[s * a->n_pages + i] = i < n ? *order++ : -1;
    }
}

/* A case with its defaults filled in. */
static struct attn_case complete(const struct attn_case *proto) {
    struct attn_case c = *proto;
    if (c.d.scale == 0) c.d.scale = 1 / sqrtf((float)c.d.head_dim);
    if (c.d.head_dim_v == 0) c.d.head_dim_v = c.d.head_dim;
    if (c.v_head == 0) c.v_head = c.v_is_k ? c.d.head_dim : c.d.head_dim_v;
    return c;
}

/* A block of Q8_0 has no code for a NaN: its scale becomes one. */
static void poison_blocks(const float *x, uint8_t *blocks, uint64_t n) {
    static const uint16_t nan_half = 0x7e00;
    for (uint64_t i = 0; i < n; i += 32)
        if (isnan(x[i])) memcpy(blocks + i / 32 * 34, &nan_half, sizeof nan_half);
}

/* A cache with random numbers in the cells that hold a position, in the first `count` of every head's `dim` numbers,
 * and NaN elsewhere. */
static void fill_cache(const struct attn_data *a, uint64_t seed, enum qtype type, uint32_t dim, uint32_t count,
                       void **stored, double **decoded) {
    const uint64_t n = (uint64_t)dim * a->c->n_head_kv, size = qtype_info(type)->block_bytes;
    float *x = rig_data(n * a->n_cells, sizeof *x), *values = random_f32(seed, n * a->n_cells, 1.5f);
    for (size_t i = 0; i < n * a->n_cells; i++) x[i] = NAN;
    for (uint32_t s = 0; s < a->n_seq; s++)
        for (uint32_t p = 0; p < a->c->length[s]; p++)
            for (uint64_t h = 0; h < n; h += dim)
                memcpy(x + cell_of(a, s, p) * n + h, values + cell_of(a, s, p) * n + h, count * sizeof *x);
    *stored = rig_data(n * a->n_cells, size);
    *decoded = rig_data(n * a->n_cells, sizeof **decoded);
    qtype_info(type)->encode(x, *stored, n * a->n_cells);
    if (type == QTYPE_Q8_0) poison_blocks(x, *stored, n * a->n_cells);
    qtype_info(type)->decode(*stored, x, n * a->n_cells);
    for (size_t i = 0; i < n * a->n_cells; i++) (*decoded)[i] = x[i];
}

static struct attn_data attn_data(const struct attn_case *c) {
    struct attn_data a = { .c = c };
    deal_pages(&a);
    a.q = random_f32(1, (size_t)c->d.head_dim * c->n_head * c->n_tok, 1.0f);
    a.sinks = random_f32(4, c->n_head, 3.0f);
    fill_cache(&a, 2, c->k_type, c->d.head_dim, c->d.head_dim, &a.k, &a.kd);
    a.v = a.k;
    a.vd = a.kd;
    if (!c->v_is_k) fill_cache(&a, 3, c->v_type, c->v_head, c->d.head_dim_v, &a.v, &a.vd);
    a.pos = rig_data(c->n_tok, sizeof *a.pos);
    a.seq = rig_data(c->n_tok, sizeof *a.seq);
    for (uint32_t t = 0; t < c->n_tok; t++) {
        a.seq[t] = (int32_t)(c->rotate ? (c->first.seq + t) % a.n_seq : c->first.seq);
        a.pos[t] = c->rotate ? (int32_t)c->length[a.seq[t]] - 1 : c->first.pos + (int32_t)(t * (1 + c->gap));
    }
    return a;
}

static tensor_id build(struct rig *r, const void *arg) {
    const struct attn_data *a = arg;
    const struct attn_case *c = a->c;
    tensor_id k = rig_cache(r, c->k_type, (uint64_t)c->d.head_dim * c->n_head_kv, a->n_cells, a->k);
    struct attn_src s = {
        .q = rig_f32(r, (uint64_t)c->d.head_dim * c->n_head, c->n_tok, a->q),
        .k = k,
        .v = c->v_is_k ? k : rig_cache(r, c->v_type, (uint64_t)c->v_head * c->n_head_kv, a->n_cells, a->v),
        .pos = rig_i32(r, c->n_tok, 1, a->pos),
        .seq = rig_i32(r, c->n_tok, 1, a->seq),
        .pages = rig_i32(r, a->n_pages, a->n_seq, a->pages),
        .sinks = c->sinks ? rig_f32(r, c->n_head, 1, a->sinks) : NO_TENSOR,
    };
    return graph_attention(r->g, &s, &c->d);
}

/* One token and head. */
static void expect_head(const struct attn_data *a, uint32_t t, uint32_t h, double *want, double *bound) {
    const struct attn_desc *d = &a->c->d;
    const uint64_t dim = d->head_dim, n_head_kv = a->c->n_head_kv, head = h / (a->c->n_head / n_head_kv);
    const float *q = a->q + ((uint64_t)t * a->c->n_head + h) * dim;
    const int32_t pos = a->pos[t], first = d->window && pos >= (int32_t)d->window ? pos - (int32_t)d->window + 1 : 0;
    double *s = rig_data((size_t)(pos - first + 1), sizeof *s), off = 0;
    double max = a->c->sinks ? a->sinks[h] : -INFINITY, sum = 0, scale = d->scale;
    if (d->temp_beta != 0) scale *= 1 + d->temp_beta * log(1 + floor((pos + (double)d->temp_offset) / d->temp_span));
    for (int32_t p = first; p <= pos; p++) {
        const double *k = a->kd + (cell_of(a, (uint32_t)a->seq[t], (uint32_t)p) * n_head_kv + head) * dim;
        double dot = 0, size = 0;
        for (uint64_t i = 0; i < dim; i++) dot += q[i] * k[i], size += fabs(q[i] * k[i]);
        dot *= scale;
        /* A float sum of dim products, times scale (with its logarithm); the cap's quotient, tanh (two units) and
         * product are relative to a number no larger than the cap. */
        double err = (dim + 9) * EPS * size * scale + (d->softcap > 0 ? 6 * EPS * d->softcap : 0);
        s[p - first] = d->softcap > 0 ? d->softcap * tanh(dot / d->softcap) : dot;
        off = fmax(off, err);
        max = fmax(max, s[p - first]);
    }
    if (a->c->sinks) sum += exp(a->sinks[h] - max);
    for (int32_t p = first; p <= pos; p++) sum += exp(s[p - first] - max);
    for (int32_t p = first; p <= pos; p++) {
        const double *v = a->vd + (cell_of(a, (uint32_t)a->seq[t], (uint32_t)p) * n_head_kv + head) * a->c->v_head;
        double w = exp(s[p - first] - max) / sum;
        for (uint64_t i = 0; i < d->head_dim_v; i++) want[i] += w * v[i], bound[i] += w * fabs(v[i]);
    }
    /* A weight errs by the error of its score, of the largest score and of their difference, by exp (four units with a
     * rescaling), and by the sum of positive numbers in the denominator; the weighted sum is one of n products. */
    double n_pos = pos - first + 1, score = fabs(max) + 88;
    for (uint64_t i = 0; i < d->head_dim_v; i++) bound[i] *= 1.01 * (2 * off + (2 * n_pos + score + 16) * EPS);
}

static void expect_all(const struct attn_data *a, double *want, double *bound) {
    const uint64_t dim = a->c->d.head_dim_v;
    for (uint32_t t = 0; t < a->c->n_tok; t++)
        for (uint32_t h = 0; h < a->c->n_head; h++) {
            size_t at = ((size_t)t * a->c->n_head + h) * dim;
            expect_head(a, t, h, want + at, bound + at);
        }
}

static void run_cpu(const struct attn_data *a, const char *level, const double *want, const double *bound, size_t n) {
    char what[200];
    float *one = rig_data(n, sizeof *one), *more = rig_data(n, sizeof *more);
    assert_true(cpu_limit(level));
    for (unsigned threads = 1; threads <= 3; threads++) {
        float *got = threads == 1 ? one : more;
        rig_run(&(struct device){ "cpu", threads, false }, build, a, got, n * sizeof *got);
        snprintf(what, sizeof what, "%s, cpu at %s, %u threads", a->c->what, level, threads);
        check_close(what, got, want, bound, n);
        if (threads > 1 && memcmp(one, more, n * sizeof *one)) fail_msg("%s: not the bits of one thread", what);
    }
    rig_run(&(struct device){ "cpu", 7, true }, build, a, more, n * sizeof *more);
    if (memcmp(one, more, n * sizeof *one)) fail_msg("%s, seven threads: not the bits of one thread", a->c->what);
}

static void check(const struct attn_case *proto) {
    const struct attn_case c = complete(proto);
    struct attn_data a = attn_data(&c);
    const size_t n = (size_t)c.d.head_dim_v * c.n_head * c.n_tok;
    double *want = rig_data(n, sizeof *want), *bound = rig_data(n, sizeof *bound);
    float *got = rig_data(n, sizeof *got);
    expect_all(&a, want, bound);
    rig_run(&(struct device){ "ref", 1, true }, build, &a, got, n * sizeof *got);
    double worst = check_close(c.what, got, want, bound, n);
    print_message("%s: ref's largest error is %.2f of the bound\n", c.what, worst);
    static const char *const levels[] = { "scalar", "avx2", "avx512", "native" };
    for (size_t i = 0; i < ARRAY_LEN(levels); i++) run_cpu(&a, levels[i], want, bound, n);
    rig_data_free(NULL);
}

#define ATTN(head_dim, page, window, scale, softcap) { head_dim, page, window, scale, softcap, 0, 0, 0, 0 }
#define ATTN_V(head_dim, page, head_dim_v) { head_dim, page, 0, 0, 0, head_dim_v, 0, 0, 0 }

static const struct attn_case cases[] = {
    { .what = "one token at the start", .d = ATTN(64, 32, 0, 0, 0), .n_head = 4, .n_head_kv = 2, .n_tok = 1,
      .k_type = QTYPE_F16, .v_type = QTYPE_F16, .length = { 1 } },
    { .what = "prompt", .d = ATTN(64, 16, 0, 0, 0), .n_head = 8, .n_head_kv = 2, .n_tok = 50,
      .k_type = QTYPE_F16, .v_type = QTYPE_F16, .length = { 50 } },
    { .what = "prompt in float, odd head", .d = ATTN(37, 8, 0, 0, 0), .n_head = 3, .n_head_kv = 3, .n_tok = 70,
      .k_type = QTYPE_F32, .v_type = QTYPE_F32, .length = { 9, 70 }, .first = { 1, 0 } },
    { .what = "one token, long", .d = ATTN(64, 32, 0, 0, 0), .n_head = 8, .n_head_kv = 2, .n_tok = 1,
      .k_type = QTYPE_F16, .v_type = QTYPE_F16, .length = { 100, 1100 }, .first = { 1, 1099 } },
    { .what = "one token, long, float", .d = ATTN(128, 64, 0, 0, 0), .n_head = 4, .n_head_kv = 4, .n_tok = 1,
      .k_type = QTYPE_F32, .v_type = QTYPE_F32, .length = { 777 }, .first = { 0, 776 } },
    { .what = "part of a prompt behind a long one", .d = ATTN(32, 32, 0, 0, 0), .n_head = 6, .n_head_kv = 2,
      .n_tok = 35, .k_type = QTYPE_F16, .v_type = QTYPE_F16, .length = { 600 }, .first = { 0, 530 } },
    { .what = "several sequences, one token each", .d = ATTN(64, 16, 0, 0, 0), .n_head = 4, .n_head_kv = 1, .n_tok = 4,
      .k_type = QTYPE_F16, .v_type = QTYPE_F16, .length = { 5, 333, 64, 700 }, .rotate = true },
    { .what = "many tokens of many sequences", .d = ATTN(16, 16, 0, 0, 0), .n_head = 2, .n_head_kv = 2, .n_tok = 33,
      .k_type = QTYPE_F16, .v_type = QTYPE_F32, .length = { 31, 500, 1 }, .rotate = true },
    { .what = "window", .d = ATTN(64, 16, 100, 0, 0), .n_head = 4, .n_head_kv = 2, .n_tok = 60,
      .k_type = QTYPE_F16, .v_type = QTYPE_F16, .length = { 700 }, .first = { 0, 480 } },
    { .what = "window of one, one token", .d = ATTN(64, 16, 1, 0, 0), .n_head = 4, .n_head_kv = 2, .n_tok = 1,
      .k_type = QTYPE_F16, .v_type = QTYPE_F16, .length = { 300 }, .first = { 0, 299 } },
    { .what = "gaps between positions", .d = ATTN(64, 16, 40, 0, 0), .n_head = 4, .n_head_kv = 2, .n_tok = 12,
      .k_type = QTYPE_F16, .v_type = QTYPE_F16, .length = { 400 }, .first = { 0, 20 }, .gap = 30 },
    { .what = "cap, odd page", .d = ATTN(80, 7, 0, 0.3f, 30.0f), .n_head = 5, .n_head_kv = 5, .n_tok = 40,
      .k_type = QTYPE_F16, .v_type = QTYPE_F16, .length = { 3, 300 }, .first = { 1, 260 } },
    { .what = "sharp scores", .d = ATTN(64, 32, 0, 8.0f, 0), .n_head = 4, .n_head_kv = 2, .n_tok = 3,
      .k_type = QTYPE_F16, .v_type = QTYPE_F16, .length = { 900 }, .first = { 0, 897 } },
    { .what = "wide group", .d = ATTN(64, 32, 0, 0, 0), .n_head = 71, .n_head_kv = 1, .n_tok = 2,
      .k_type = QTYPE_F16, .v_type = QTYPE_F16, .length = { 290 }, .first = { 0, 288 } },
    { .what = "page larger than the work's pieces", .d = ATTN(256, 1024, 0, 0, 0), .n_head = 2, .n_head_kv = 1,
      .n_tok = 20, .k_type = QTYPE_F16, .v_type = QTYPE_F16, .length = { 1030 }, .first = { 0, 1010 } },
    { .what = "narrow values", .d = ATTN_V(96, 16, 40), .n_head = 4, .n_head_kv = 2, .n_tok = 33,
      .k_type = QTYPE_F16, .v_type = QTYPE_F16, .length = { 333 }, .first = { 0, 300 } },
    { .what = "wide values, one token", .d = ATTN_V(24, 16, 70), .n_head = 6, .n_head_kv = 3, .n_tok = 1,
      .k_type = QTYPE_F32, .v_type = QTYPE_F16, .length = { 700 }, .first = { 0, 699 } },
    { .what = "part of each value", .d = ATTN_V(48, 8, 17), .v_head = 31, .n_head = 4, .n_head_kv = 2, .n_tok = 20,
      .k_type = QTYPE_F16, .v_type = QTYPE_F32, .length = { 300 }, .first = { 0, 280 } },
    { .what = "latent rows, one token", .d = ATTN_V(576, 32, 512), .v_is_k = true, .n_head = 128, .n_head_kv = 1,
      .n_tok = 1, .k_type = QTYPE_F16, .v_type = QTYPE_F16, .length = { 290 }, .first = { 0, 289 } },
    { .what = "latent rows, prompt", .d = ATTN_V(72, 16, 64), .v_is_k = true, .n_head = 16, .n_head_kv = 1,
      .n_tok = 40, .k_type = QTYPE_F16, .v_type = QTYPE_F16, .length = { 300 }, .first = { 0, 260 } },
    { .what = "sinks, one token", .d = ATTN(64, 32, 0, 0, 0), .sinks = true, .n_head = 8, .n_head_kv = 2, .n_tok = 1,
      .k_type = QTYPE_F16, .v_type = QTYPE_F16, .length = { 600 }, .first = { 0, 599 } },
    { .what = "sinks and window, prompt", .d = ATTN(64, 16, 20, 0, 0), .sinks = true, .n_head = 8, .n_head_kv = 2,
      .n_tok = 50, .k_type = QTYPE_F16, .v_type = QTYPE_F16, .length = { 50 } },
    { .what = "sinks above sharp scores", .d = ATTN(16, 16, 0, 30.0f, 0), .sinks = true, .n_head = 2, .n_head_kv = 2,
      .n_tok = 20, .k_type = QTYPE_F32, .v_type = QTYPE_F32, .length = { 20 } },
    { .what = "bytes, one token, long", .d = ATTN(64, 32, 0, 0, 0), .n_head = 8, .n_head_kv = 2, .n_tok = 1,
      .k_type = QTYPE_Q8_0, .v_type = QTYPE_Q8_0, .length = { 100, 1100 }, .first = { 1, 1099 } },
    { .what = "bytes, prompt", .d = ATTN(96, 16, 0, 0, 0), .n_head = 9, .n_head_kv = 3, .n_tok = 50,
      .k_type = QTYPE_Q8_0, .v_type = QTYPE_Q8_0, .length = { 300 }, .first = { 0, 250 } },
    { .what = "bytes for keys, parts of values in halves", .d = ATTN_V(32, 16, 17), .v_head = 40, .n_head = 4,
      .n_head_kv = 2, .n_tok = 7, .k_type = QTYPE_Q8_0, .v_type = QTYPE_F16, .length = { 70 }, .first = { 0, 60 } },
    { .what = "latent rows in bytes", .d = ATTN_V(576, 32, 512), .v_is_k = true, .n_head = 16, .n_head_kv = 1,
      .n_tok = 2, .k_type = QTYPE_Q8_0, .v_type = QTYPE_Q8_0, .length = { 290 }, .first = { 0, 288 } },
    { .what = "temperature by position", .d = { 64, 16, 0, 0, 0, 0, 0.1f, 64, 0 }, .n_head = 4, .n_head_kv = 2,
      .n_tok = 60, .k_type = QTYPE_F16, .v_type = QTYPE_F16, .length = { 300 }, .first = { 0, 230 } },
    { .what = "temperature from the next position on, capped", .d = { 64, 16, 0, 0, 20, 0, 0.5f, 8, 1 }, .n_head = 4,
      .n_head_kv = 2, .n_tok = 17, .k_type = QTYPE_F16, .v_type = QTYPE_F16, .length = { 17 } },
};

static void follows_the_definition(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) check(&cases[i]);
}

/* Each token of a prompt alone gives the bits that it gives within the prompt, where rows are widened and heads shared
 * among pieces in another way. */
static void check_neighbours(uint32_t head_dim, enum qtype type) {
    const struct attn_case c = complete(&(struct attn_case){
        .what = "neighbours", .d = ATTN(head_dim, 16, 0, 0.2f, 0), .n_head = 8, .n_head_kv = 2, .n_tok = 40,
        .k_type = type, .v_type = type, .length = { 560 }, .first = { 0, 500 } });
    static const char *const levels[] = { "scalar", "avx2", "avx512" };
    struct attn_data a = attn_data(&c);
    const size_t n = (size_t)c.d.head_dim * c.n_head;
    float *together = rig_data(n * c.n_tok, sizeof *together), *alone = rig_data(n, sizeof *alone);
    for (size_t i = 0; i < ARRAY_LEN(levels); i++) {
        assert_true(cpu_limit(levels[i]));
        rig_run(&(struct device){ "cpu", 2, false }, build, &a, together, n * c.n_tok * sizeof *together);
        for (uint32_t t = 0; t < c.n_tok; t += 13) {
            struct attn_case one_case = c;
            struct attn_data one = a;
            one_case.n_tok = 1;
            one.c = &one_case;
            one.q += t * n;
            one.pos += t;
            rig_run(&(struct device){ "cpu", 3, false }, build, &one, alone, n * sizeof *alone);
            assert_memory_equal(alone, together + t * n, n * sizeof *alone);
        }
    }
}

static void neighbours_change_nothing(void **state) {
    (void)state;
    check_neighbours(72, QTYPE_F16);
    check_neighbours(96, QTYPE_Q8_0);
}

/* A cache of bytes against one in float. A number is kept as step * code with the nearest code, where step is the
 * largest magnitude of its block / 127: its error is spread evenly over a step, with a variance of step^2 / 12. To the
 * first order the score of a position errs by scale * q . error, which moves its weight w, and with it the result
 * towards or away from its value v; and v errs itself. The result's variance is the sum over positions of
 * w^2 (scale^2 (v - result)^2 sum of q^2 step_k^2 / 12 + step_v^2 / 12). That a step is rounded to a half, and the
 * second order, are some hundredths of that. */
static double step_variance(const double *row, uint64_t x) {
    double max = 0;
    for (uint64_t i = x / 32 * 32; i < (x / 32 + 1) * 32; i++) max = fmax(max, fabs(row[i]));
    return max / 127 * (max / 127) / 12;
}

/* Of one token and head, which sees all positions up to its own: variance (head_dim). */
static void bytes_variance(const struct attn_data *a, uint32_t t, uint32_t h, const float *result, double *variance) {
    const uint64_t dim = a->c->d.head_dim, n_head_kv = a->c->n_head_kv, head = h / (a->c->n_head / n_head_kv);
    const float *q = a->q + ((uint64_t)t * a->c->n_head + h) * dim;
    const double scale = a->c->d.scale;
    double w[MOST_TOKENS], score[MOST_TOKENS] = { 0 }, sum = 0;
    for (int32_t p = 0; p <= a->pos[t]; p++) {
        const double *k = a->kd + (cell_of(a, 0, (uint32_t)p) * n_head_kv + head) * dim;
        double dot = 0;
        for (uint64_t x = 0; x < dim; x++) {
            dot += q[x] * k[x];
            score[p] += scale * scale * q[x] * q[x] * step_variance(k, x);
        }
        sum += w[p] = exp(scale * dot);
    }
    for (int32_t p = 0; p <= a->pos[t]; p++) {
        const double *v = a->vd + (cell_of(a, 0, (uint32_t)p) * n_head_kv + head) * dim, part = w[p] / sum;
        for (uint64_t x = 0; x < dim; x++)
            variance[x] += part * part * (score[p] * (v[x] - result[x]) * (v[x] - result[x]) + step_variance(v, x));
    }
}

static void bytes_are_near_float(void **state) {
    (void)state;
    struct attn_case c_of[2];
    struct attn_data data[2];
    float *out[2];
    for (int i = 0; i < 2; i++) {
        const enum qtype type = i ? QTYPE_Q8_0 : QTYPE_F32;
        c_of[i] = complete(&(struct attn_case){
            .what = "bytes or float", .d = ATTN(64, 16, 0, 0, 0), .n_head = 8, .n_head_kv = 2, .n_tok = 9,
            .k_type = type, .v_type = type, .length = { 9 } });
        data[i] = attn_data(&c_of[i]);
    }
    const struct attn_case *c = &c_of[0];
    const size_t dim = c->d.head_dim, n = dim * c->n_head * c->n_tok;
    for (int i = 0; i < 2; i++) out[i] = rig_data(n, sizeof **out);
    static const struct device devices[] = { { "ref", 1, true }, { "cpu", 2, false } };
    assert_true(cpu_limit("native"));
    for (size_t k = 0; k < ARRAY_LEN(devices); k++) {
        for (int i = 0; i < 2; i++) rig_run(&devices[k], build, &data[i], out[i], n * sizeof **out);
        double *variance = rig_data(n, sizeof *variance), worst = 0, square = 0;
        for (size_t i = 0; i < n; i += dim)
            bytes_variance(&data[0], (uint32_t)(i / dim / c->n_head), (uint32_t)(i / dim % c->n_head), out[0] + i,
                           variance + i);
        for (size_t i = 0; i < n; i++) {
            const double off = (double)out[0][i] - out[1][i];
            worst = fmax(worst, fabs(off) / sqrt(variance[i]));
            square += off * off / variance[i];
        }
        print_message("%s: differences of %.2f standard deviations, the largest of %.2f\n", devices[k].name,
                      sqrt(square / n), worst);
        /* Of 4,608 numbers one is beyond six deviations once in 100,000 draws. */
        assert_true(sqrt(square / n) > 0.9 && sqrt(square / n) < 1.1);
        assert_true(worst < 6);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(follows_the_definition, rig_data_free),
        cmocka_unit_test_teardown(neighbours_change_nothing, rig_data_free),
        cmocka_unit_test_teardown(bytes_are_near_float, rig_data_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
