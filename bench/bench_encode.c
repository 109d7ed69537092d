/* Speeds of the searching encoders: nanoseconds of one thread's processor time a weight for every stored type and
 * every level that this processor runs, and of decoding. The clock counts the thread's own time, so other work on the
 * machine disturbs little. One table in Markdown on standard output.
 *
 *   bench_encode [TYPE...] */
#include <math.h>
#include <stdio.h>
#include <time.h>

#include "base/cpu.h"
#include "base/mem.h"
#include "base/rng.h"
#include "quant/enc_level.h"

enum { N = 4096, ROWS = 8, RUNS = 5 };

struct bench { float *x, *w, *back; uint8_t *out; };

/* Normal weights, as large as those of trained matrices are, and uneven importances. */
static void fill(struct bench *b) {
    struct rng rng;
    rng_seed(&rng, 1);
    for (size_t i = 0; i < (size_t)ROWS * N; i++) {
        double u = 1 - rng_f64(&rng), v = rng_f64(&rng);
        b->x[i] = (float)(0.02 * sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
    }
    for (size_t j = 0; j < N; j++) b->w[j] = 0.01f + 4 * rng_f32(&rng) * rng_f32(&rng);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* ns a weight of the fastest run. */
static double encode_ns(const struct bench *b, search_fn *search, size_t row_bytes) {
    double best = INFINITY;
    for (int run = 0; run < RUNS; run++) {
        double start = now();
        for (size_t r = 0; r < ROWS; r++) search(b->x + r * N, b->w, b->out + r * row_bytes, N);
        best = fmin(best, now() - start);
    }
    return best / (ROWS * N);
}

static double decode_ns(const struct bench *b, enum qtype t) {
    double best = INFINITY;
    for (int run = 0; run < RUNS; run++) {
        double start = now();
        qtype_info(t)->decode(b->out, b->back, (size_t)ROWS * N);
        best = fmin(best, now() - start);
    }
    return best / (ROWS * N);
}

static void bench_type(const struct bench *b, enum qtype t, const struct enc_level *const *levels, size_t n_levels) {
    uint64_t row_bytes;
    if (!qtype_can_write(t) || !qtype_row_bytes(t, N, &row_bytes)) return;
    printf("| %-6s |", qtype_name(t));
    for (size_t l = 0; l < n_levels; l++) {
        if (levels[l]->needs & ~cpu_features()) printf("      - |");
        else printf(" %6.2f |", encode_ns(b, levels[l]->search[t], row_bytes));
    }
    printf(" %6.2f |\n", decode_ns(b, t));
    fflush(stdout);
}

int main(int argc, char **argv) {
    struct bench b = {
        .x = mem_alloc((size_t)ROWS * N, sizeof(float)), .w = mem_alloc(N, sizeof(float)),
        .back = mem_alloc((size_t)ROWS * N, sizeof(float)), .out = mem_alloc((size_t)ROWS * N, sizeof(float)),
    };
    size_t n_levels, n_types;
    const struct enc_level *const *levels = enc_levels(&n_levels);
    const enum qtype *types = qtype_all(&n_types);
    if (!b.x || !b.w || !b.back || !b.out) return 1;
    fill(&b);
    printf("ns a weight\n\n| type   |");
    for (size_t l = 0; l < n_levels; l++) printf(" %6s |", levels[l]->name);
    printf(" decode |\n|---|");
    for (size_t l = 0; l <= n_levels; l++) printf("---|");
    printf("\n");
    for (size_t i = 0; argc < 2 && i < n_types; i++) bench_type(&b, types[i], levels, n_levels);
    for (int i = 1; i < argc; i++) bench_type(&b, qtype_from_name(argv[i]), levels, n_levels);
    mem_free(b.x);
    mem_free(b.w);
    mem_free(b.back);
    mem_free(b.out);
    return 0;
}
