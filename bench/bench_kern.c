/* Speeds of the matmul for every stored type against the machine's limits, which are measured in the same run: bytes of
 * weights read in a second for one token, with weights far larger than the caches, the time of a few tokens in one pass
 * over such weights, and operations in a second for many tokens, whose way the table names and beside whose peak it
 * sets them. One table in Markdown on standard output.
 *
 *   bench_kern [-t THREADS] [--cpu LEVEL] [--exact] [TYPE...] */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/cpu_matmul_impl.h"
#include "backend/cpu/peak.h"
#include "base/cpu.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/os.h"
#include "base/rng.h"
#include "../tests/random_block.h"

enum { N_IN = 4096, N_OUT = 1024, MANY = 256, WEIGHTS_BYTES = 320 << 20, SLICE_BYTES = 16 << 20 };

static const size_t few_tokens[] = { 2, 4, 8, 16 };

struct bench {
    struct kern k;
    struct pool *pool;
    struct peak peak;
    uint8_t *w;
    float *x, *out;
    void *scratch;
    bool exact;
};

/* Rows of random weights; one row is made and repeated, since speed does not depend on the values. */
static size_t fill(struct bench *b, enum qtype type, uint64_t row_bytes) {
    size_t n_rows = WEIGHTS_BYTES / row_bytes;
    struct rng rng;
    rng_seed(&rng, 1);
    for (size_t i = 0; i < N_IN; i++) b->out[i] = rng_f32(&rng) - 0.5f;
    if (qtype_is_float(type)) qtype_info(type)->encode(b->out, b->w, N_IN);
    else random_blocks(&rng, type, b->w, N_IN);
    for (size_t r = 1; r < n_rows; r++) memcpy(b->w + r * row_bytes, b->w, row_bytes);
    return n_rows;
}

static double seconds(struct bench *b, const struct matmul *m) {
    uint64_t start = os_now_ns();
    cpu_matmul(&b->k, b->pool, m, 1, b->scratch, b->exact);
    return (double)(os_now_ns() - start) * 1e-9;
}

/* Seconds of the fastest of many products with n_tok tokens. Each takes the next slice of the weights, which is in no
 * cache. */
static double slice_seconds(struct bench *b, struct matmul m, size_t n_tok, size_t n_rows) {
    double best = INFINITY;
    m.n_tok = n_tok;
    for (int r = 0; r < 2; r++)
        for (size_t row = 0; row + m.n_out <= n_rows; row += m.n_out) {
            m.w = b->w + row * m.row_bytes;
            best = fmin(best, seconds(b, &m));
        }
    return best;
}

static void bench_type(struct bench *b, enum qtype type) {
    uint64_t row_bytes = 0;
    if (!qtype_row_bytes(type, N_IN, &row_bytes)) return;
    size_t n_rows = fill(b, type, row_bytes), slice = SLICE_BYTES / row_bytes / 16 * 16;
    double many = INFINITY;
    struct matmul m = {
        .type = type, .w = b->w, .row_bytes = row_bytes, .n_in = N_IN, .n_out = slice, .x = b->x, .x_stride = N_IN,
        .out = b->out, .out_stride = slice,
    };
    const bool int8 = !b->exact && cpu_matmul_is_int8(&b->k, type), bf16 = cpu_matmul_takes_pairs(&b->k, &m, b->exact);
    const double limit = int8 ? b->peak.int8_gops : bf16 ? b->peak.bf16_gflops : b->peak.f32_gflops;
    double one = slice_seconds(b, m, 1, n_rows), gb_s = (double)(row_bytes * slice) / one * 1e-9;
    double few[ARRAY_LEN(few_tokens)];
    for (size_t i = 0; i < ARRAY_LEN(few); i++) few[i] = slice_seconds(b, m, few_tokens[i], n_rows) / one;
    m.n_out = m.out_stride = N_OUT;
    m.n_tok = MANY;
    for (int r = 0; r < 20; r++) many = fmin(many, seconds(b, &m));
    double gops = 2.0 * N_IN * N_OUT * MANY / many * 1e-9;
    printf("| %-6s | %-5s | %6.2f | %5.1f %% |", qtype_name(type), int8 ? "int8" : bf16 ? "bf16" : "float", gb_s,
           100 * gb_s / b->peak.read_gb_s);
    for (size_t i = 0; i < ARRAY_LEN(few); i++) printf(" %4.2f |", few[i]);
    printf(" %7.1f | %5.1f %% |\n", gops, 100 * gops / limit);
    fflush(stdout);
}

static int usage(void) {
    fprintf(stderr, "usage: bench_kern [-t THREADS] [--cpu LEVEL] [--exact] [TYPE...]\n");
    return 2;
}

int main(int argc, char **argv) {
    struct bench b = { .exact = false };
    struct err e = { 0 };
    unsigned threads = 0;
    int arg = 1;
    for (; arg < argc && argv[arg][0] == '-'; arg++) {
        if (!strcmp(argv[arg], "--exact")) b.exact = true;
        else if (arg + 1 < argc && !strcmp(argv[arg], "-t")) threads = (unsigned)strtoul(argv[++arg], NULL, 10);
        else if (arg + 1 < argc && !strcmp(argv[arg], "--cpu") && cpu_limit(argv[arg + 1])) arg++;
        else return usage();
    }
    kern_init(&b.k, cpu_features());
    if (pool_open(threads, &b.pool, &e) || peak_measure(&b.k, b.pool, &b.peak, &e)) {
        fprintf(stderr, "bench_kern: %s\n", e.msg);
        return 1;
    }
    char features[128];
    size_t n, max_out = SLICE_BYTES / 512; /* the smallest row is longer than 512 bytes */
    const enum qtype *types = qtype_all(&n);
    b.w = mem_calloc(WEIGHTS_BYTES, 1);
    b.x = mem_calloc((size_t)MANY * N_IN, sizeof(float));
    b.out = mem_calloc(max_u64(16 * max_out, (size_t)MANY * N_OUT), sizeof(float));
    size_t scratch = 0;
    for (size_t i = 0; i < n; i++)
        scratch = max_u64(scratch, cpu_matmul_scratch(types[i], N_IN, MANY, pool_size(b.pool), b.exact));
    b.scratch = mem_calloc(scratch, 1);
    if (!b.w || !b.x || !b.out || !b.scratch) return 1;
    struct rng rng;
    rng_seed(&rng, 2);
    for (size_t i = 0; i < (size_t)MANY * N_IN; i++) b.x[i] = rng_f32(&rng) - 0.5f;
    printf("%s, %u threads; reads %.2f GB/s, int8 %.0f GOPS, float %.0f and BF16 %.0f GFLOPS\n\n",
           cpu_features_text(cpu_features(), features, sizeof features), pool_size(b.pool), b.peak.read_gb_s,
           b.peak.int8_gops, b.peak.f32_gflops, b.peak.bf16_gflops);
    printf("| type | way | 1 token GB/s | of read | 2 | 4 | 8 | 16 tokens, time of 1 | 256 tokens GOPS | of peak |\n"
           "|---|---|---|---|---|---|---|---|---|---|\n");
    for (size_t i = 0; arg >= argc && i < n; i++) bench_type(&b, types[i]);
    for (; arg < argc; arg++) {
        if (qtype_from_name(argv[arg]) == QTYPE_NONE) return usage();
        bench_type(&b, qtype_from_name(argv[arg]));
    }
    mem_free(b.w);
    mem_free(b.x);
    mem_free(b.out);
    mem_free(b.scratch);
    pool_close(b.pool);
    return 0;
}
