/* Speed of attention over a paged cache: bytes of K and V read in a second against what the memory gives, which is
 * measured in the same run. The caches are far larger than the processor's, and each run takes the next pages of them.
 *
 *   bench_attn [-t THREADS] [--cpu LEVEL] [TYPE N_TOK DEPTH N_HEAD N_HEAD_KV HEAD_DIM]
 *
 * without a shape: that of a model of 1.2 billion weights (32 heads of 64 on 8) and others. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"
#include "backend/cpu/peak.h"
#include "base/cpu.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/os.h"

enum { PAGE = 32, RUNS = 60, CACHE_BYTES = 128 << 20 /* of K, and of V */ };

struct dims { enum qtype type; uint32_t n_tok, depth, n_head, n_head_kv, head_dim; };

/* One attention and what it reads. */
struct bench {
    struct dims d;
    struct backend *b;
    struct graph *g;
    struct program *p;
    tensor_id q, pos, seq, pages;
    uint64_t row_bytes, n_pages, all_pages; /* n_pages: of the sequence */
    uint32_t kv;
    uint8_t *some; /* numbers for all */
    int32_t *ids;
};

static enum err_code build(struct bench *b, struct err *e) {
    const struct dims *d = &b->d;
    const uint64_t width = (uint64_t)d->head_dim * d->n_head_kv, cache = b->all_pages * PAGE * b->row_bytes;
    const uint64_t ne[2] = { width, b->all_pages * PAGE };
    struct attn_desc desc = { .head_dim = d->head_dim, .head_dim_v = d->head_dim, .page = PAGE,
                              .scale = 1 / sqrtf((float)d->head_dim) };
    uint32_t act, io;
    TRY(backend_alloc(b->b, 2 * cache, &b->kv, e));
    struct attn_src s = {
        .q = b->q = graph_input(b->g, "q", QTYPE_F32, (uint64_t[]){ (uint64_t)d->head_dim * d->n_head, d->n_tok }, 2),
        .k = graph_kv(b->g, "k", d->type, ne, 2, (struct place){ b->kv, 0 }),
        .v = graph_kv(b->g, "v", d->type, ne, 2, (struct place){ b->kv, cache }),
        .pos = b->pos = graph_input(b->g, "pos", TENSOR_I32, (uint64_t[]){ d->n_tok }, 1),
        .seq = b->seq = graph_input(b->g, "seq", TENSOR_I32, (uint64_t[]){ d->n_tok }, 1),
        .pages = b->pages = graph_input(b->g, "pages", TENSOR_I32, (uint64_t[]){ b->n_pages, 1 }, 2),
        .sinks = NO_TENSOR,
    };
    graph_output(b->g, graph_attention(b->g, &s, &desc));
    TRY(graph_finish(b->g, e));
    TRY(backend_alloc(b->b, b->g->act_bytes, &act, e));
    TRY(backend_alloc(b->b, b->g->io_bytes, &io, e));
    graph_place(b->g, act, io);
    return backend_compile(b->b, b->g, &b->p, e);
}

static enum err_code put(struct bench *b, tensor_id t, const void *data, struct err *e) {
    const struct tensor *x = graph_tensor(b->g, t);
    return backend_upload(b->b, x->place.buffer, x->place.off, data, x->bytes, e);
}

/* Small numbers in the caches, tokens behind each other in one sequence. */
static enum err_code fill(struct bench *b, struct err *e) {
    const uint64_t n_q = (uint64_t)b->d.head_dim * b->d.n_head * b->d.n_tok, row = b->row_bytes;
    const uint64_t width = (uint64_t)b->d.head_dim * b->d.n_head_kv;
    float *x = mem_calloc(n_q + width, sizeof *x);
    uint8_t *stored = mem_calloc(PAGE, row);
    enum err_code rc = x && stored ? ERR_NONE : err_no_memory(e, n_q);
    for (uint64_t i = 0; !rc && i < n_q + width; i++) x[i] = (float)(i * 2654435761u % 1024) / 512 - 1;
    for (int i = 0; !rc && i < PAGE; i++) qtype_info(b->d.type)->encode(x, stored + i * row, width);
    for (uint64_t i = 0; !rc && i < 2 * b->all_pages; i++)
        rc = backend_upload(b->b, b->kv, i * PAGE * row, stored, PAGE * row, e);
    if (!rc) rc = put(b, b->q, x, e);
    if (!rc) rc = put(b, b->seq, b->ids, e);
    for (uint32_t t = 0; t < b->d.n_tok; t++) b->ids[t] = (int32_t)(b->d.depth + t);
    if (!rc) rc = put(b, b->pos, b->ids, e);
    mem_free(x);
    mem_free(stored);
    return rc;
}

/* Seconds of the fastest run. */
static enum err_code fastest(struct bench *b, double *out, struct err *e) {
    *out = INFINITY;
    uint64_t page = 0;
    for (int r = 0; r < RUNS; r++) {
        for (uint64_t i = 0; i < b->n_pages; i++) b->ids[i] = (int32_t)(page++ % b->all_pages);
        TRY(put(b, b->pages, b->ids, e));
        ticket t;
        const uint64_t start = os_now_ns();
        TRY(backend_submit(b->b, b->p, &t, e));
        TRY(backend_wait(b->b, t, e));
        *out = fmin(*out, (double)(os_now_ns() - start) * 1e-9);
    }
    return ERR_NONE;
}

static enum err_code bench(const struct dims *d, unsigned threads, const struct peak *peak, struct err *e) {
    struct bench b = { .d = *d, .n_pages = div_up(d->depth + d->n_tok, PAGE) };
    double best = INFINITY;
    qtype_row_bytes(d->type, (uint64_t)d->head_dim * d->n_head_kv, &b.row_bytes);
    b.all_pages = max_u64(div_up(CACHE_BYTES, b.row_bytes * PAGE), b.n_pages);
    enum err_code rc = backend_open("cpu", &(struct backend_options){ .threads = threads }, &b.b, e);
    b.g = graph_new();
    b.ids = NEW_ARRAY(int32_t, b.n_pages * PAGE);
    if (!rc && (!b.g || !b.ids)) rc = err_no_memory(e, b.n_pages);
    if (!rc) rc = build(&b, e);
    if (!rc) rc = fill(&b, e);
    if (!rc) rc = fastest(&b, &best, e);
    const double gb_s = 2 * (double)b.row_bytes * (d->depth + d->n_tok) / best * 1e-9;
    /* Two products (scores, sums), each a multiplication and an addition a number. */
    const double gflops = 4.0 * d->n_tok * (d->depth + (d->n_tok + 1) / 2.0) * d->n_head * d->head_dim / best * 1e-9;
    if (!rc)
        printf("| %-4s | %4u | %5u | %2u of %3u on %2u | %9.3f | %5.1f | %5.1f %% | %6.1f | %5.1f %% |\n",
               qtype_name(d->type), d->n_tok, d->depth, d->n_head, d->head_dim, d->n_head_kv, best * 1e3, gb_s,
               100 * gb_s / peak->read_gb_s, gflops, 100 * gflops / peak->f32_gflops);
    fflush(stdout);
    if (b.b) program_free(b.b, b.p);
    graph_free(b.g);
    backend_close(b.b);
    mem_free(b.ids);
    return rc;
}

static int usage(void) {
    fprintf(stderr, "usage: bench_attn [-t THREADS] [--cpu LEVEL] [TYPE N_TOK DEPTH N_HEAD N_HEAD_KV HEAD_DIM]\n");
    return 2;
}

int main(int argc, char **argv) {
    enum { OWN = 6 };
    static const struct dims shapes[] = {
        { QTYPE_F16, 1, 1023, 32, 8, 64 }, { QTYPE_F16, 1, 8191, 32, 8, 64 },  { QTYPE_F16, 1, 8191, 32, 8, 128 },
        { QTYPE_F16, 1, 8191, 32, 32, 64 }, { QTYPE_F16, 8, 8184, 32, 8, 64 }, { QTYPE_F16, 512, 0, 32, 8, 64 },
        { QTYPE_F16, 512, 1536, 32, 8, 64 },
    };
    unsigned threads = 0;
    int arg = 1;
    for (; arg + 1 < argc && argv[arg][0] == '-'; arg += 2) {
        if (!strcmp(argv[arg], "-t")) threads = (unsigned)strtoul(argv[arg + 1], NULL, 10);
        else if (strcmp(argv[arg], "--cpu") || !cpu_limit(argv[arg + 1])) return usage();
    }
    const bool is_own = argc - arg == OWN;
    uint32_t n[OWN] = { 0 };
    for (int i = 0; is_own && i < OWN; i++)
        n[i] = i ? (uint32_t)strtoul(argv[arg + i], NULL, 10) : (uint32_t)qtype_from_name(argv[arg]);
    const struct dims own = { (enum qtype)n[0], n[1], n[2], n[3], n[4], n[5] };
    if ((argc != arg && !is_own) || (is_own && own.type == QTYPE_NONE)) return usage();
    struct kern k;
    struct pool *pool = NULL;
    struct peak peak;
    struct err e = { 0 };
    kern_init(&k, cpu_features());
    enum err_code rc = pool_open(threads, &pool, &e);
    if (!rc) rc = peak_measure(&k, pool, &peak, &e);
    if (!rc) {
        threads = pool_size(pool);
        printf("%u threads; reads %.2f GB/s, float %.0f GFLOPS\n\n", threads, peak.read_gb_s, peak.f32_gflops);
        printf("| K, V | tokens | before | heads | ms | GB/s | of read | GFLOPS | of peak |\n"
               "|---|---|---|---|---|---|---|---|---|\n");
    }
    pool_close(pool);
    for (size_t i = 0; !rc && !is_own && i < ARRAY_LEN(shapes); i++) rc = bench(&shapes[i], threads, &peak, &e);
    if (!rc && is_own) rc = bench(&own, threads, &peak, &e);
    if (rc) fprintf(stderr, "bench_attn: %s\n", e.msg);
    return rc ? 1 : 0;
}
