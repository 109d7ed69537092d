/* Owns: measuring the machine's limits.
 * Promises: the best of several short runs, each a few milliseconds, so that a busy moment does not lower a limit.
 * Leaves to others: the loops (the kernels read_sum and spin_*), what is done with the numbers. */
#include "backend/cpu/peak.h"

#include <math.h>
#include <string.h>

#include "base/cpu.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/os.h"

enum { RUNS = 8, PIECE = 1 << 18, SLICE = 16 << 20, LOOPS = 1 << 14, SPINS = 64 };
#define BUFFER_MIN ((uint64_t)256 << 20)
#define BUFFER_MAX ((uint64_t)1 << 30)

struct load {
    const uint8_t *p;
    read_sum_fn *read;
    spin_fn *spin;
    uint64_t *sums; /* one for each piece: a result that is kept keeps the loop from being optimized away */
    uint64_t *ops;  /* likewise: operations of the piece */
};

static void read_body(void *arg, size_t begin, size_t end, unsigned thread) {
    const struct load *l = arg;
    (void)thread;
    l->sums[begin / PIECE] = l->read(l->p + begin, end - begin);
}

static void spin_body(void *arg, size_t begin, size_t end, unsigned thread) {
    const struct load *l = arg;
    (void)thread;
    for (size_t i = begin; i < end; i++) l->sums[i] = l->spin(LOOPS, &l->ops[i]);
}

/* Seconds of one run, if that is less than *best. */
static void keep_best(struct pool *pool, size_t n, size_t grain, pool_body *body, struct load *l, double *best) {
    uint64_t start = os_now_ns();
    pool_run(pool, n, grain, body, l);
    double seconds = (double)max_u64(os_now_ns() - start, 1) * 1e-9;
    if (seconds < *best) *best = seconds;
}

/* 10^9 bytes in a second: the fastest of many slices, each of which is in memory and in no cache when it is read. */
static double read_rate(struct pool *pool, struct load *l, const uint8_t *buffer, size_t n) {
    double best = INFINITY;
    for (int r = 0; r < RUNS / 4; r++)
        for (size_t at = 0; at + SLICE <= n; at += SLICE) {
            l->p = buffer + at;
            keep_best(pool, SLICE, PIECE, read_body, l, &best);
        }
    return SLICE / best * 1e-9;
}

/* 10^9 operations in a second. */
static double spin_rate(struct pool *pool, struct load *l, spin_fn *spin) {
    size_t n = (size_t)pool_size(pool) * SPINS;
    l->spin = spin;
    double best = INFINITY;
    for (int r = 0; r < RUNS; r++) keep_best(pool, n, 1, spin_body, l, &best);
    return (double)l->ops[0] * (double)n / best * 1e-9;
}

enum err_code peak_measure(const struct kern *k, struct pool *pool, struct peak *out, struct err *e) {
    uint64_t n = min_u64(max_u64(4 * cpu_last_level_cache(), BUFFER_MIN), BUFFER_MAX);
    uint64_t n_sums = max_u64(SLICE / PIECE, (uint64_t)pool_size(pool) * SPINS);
    uint8_t *buffer = mem_alloc(n, 1);
    struct load l = {
        .read = k->read_sum, .sums = NEW_ARRAY(uint64_t, n_sums), .ops = NEW_ARRAY(uint64_t, n_sums),
    };
    enum err_code rc = ERR_NONE;
    if (!buffer || !l.sums || !l.ops) {
        rc = err_no_memory(e, n);
        goto out;
    }
    os_advise(buffer, n, OS_HUGE); /* as the weights: the fastest reads are the limit */
    memset(buffer, 1, n); /* pages that were never written may all be one page */
    out->read_gb_s = read_rate(pool, &l, buffer, n);
    out->int8_gops = spin_rate(pool, &l, k->spin_int8);
    out->f32_gflops = spin_rate(pool, &l, k->spin_f32);
    out->bf16_gflops = k->spin_bf16 ? spin_rate(pool, &l, k->spin_bf16) : 0;
out:
    mem_free(buffer);
    mem_free(l.sums);
    mem_free(l.ops);
    return rc;
}
