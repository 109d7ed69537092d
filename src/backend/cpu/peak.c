/* Owns: measuring the machine's limits.
 * Promises: the best of several short runs, so that a busy moment does not lower a limit.
 * Leaves to others: the loops (the kernels read_sum, spin_int8, spin_f32), what is done with the numbers. */
#include "backend/cpu/peak.h"

#include <string.h>

#include "base/cpu.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/os.h"

enum { RUNS = 8, PIECE = 1 << 20, LOOPS = 1 << 14, SPINS = 64 };
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

/* Seconds of the fastest of several runs. */
static double best_seconds(struct pool *pool, size_t n, size_t grain, pool_body *body, struct load *l) {
    uint64_t best = UINT64_MAX;
    for (int r = 0; r < RUNS; r++) {
        uint64_t start = os_now_ns();
        pool_run(pool, n, grain, body, l);
        best = min_u64(best, os_now_ns() - start);
    }
    return (double)max_u64(best, 1) * 1e-9;
}

/* 10^9 operations in a second. */
static double spin_rate(struct pool *pool, struct load *l, spin_fn *spin) {
    size_t n = (size_t)pool_size(pool) * SPINS;
    l->spin = spin;
    double seconds = best_seconds(pool, n, 1, spin_body, l);
    return (double)l->ops[0] * (double)n / seconds * 1e-9;
}

enum err_code peak_measure(const struct kern *k, struct pool *pool, struct peak *out, struct err *e) {
    uint64_t n = min_u64(max_u64(4 * cpu_last_level_cache(), BUFFER_MIN), BUFFER_MAX);
    uint64_t n_sums = max_u64(n / PIECE + 1, (uint64_t)pool_size(pool) * SPINS);
    uint8_t *buffer = mem_alloc(n, 1);
    struct load l = {
        .p = buffer, .read = k->read_sum, .sums = NEW_ARRAY(uint64_t, n_sums), .ops = NEW_ARRAY(uint64_t, n_sums),
    };
    enum err_code rc = ERR_NONE;
    if (!buffer || !l.sums || !l.ops) {
        rc = err_no_memory(e, n);
        goto out;
    }
    memset(buffer, 1, n); /* pages that were never written may all be one page */
    out->read_gb_s = (double)n / best_seconds(pool, n, PIECE, read_body, &l) * 1e-9;
    out->int8_gops = spin_rate(pool, &l, k->spin_int8);
    out->f32_gflops = spin_rate(pool, &l, k->spin_f32);
out:
    mem_free(buffer);
    mem_free(l.sums);
    mem_free(l.ops);
    return rc;
}
