#include "devices.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/cpu.h"
#include "base/num.h"

const char *const cpu_levels[N_LEVELS] = { "scalar", "avx2", "avx512", "native" };

struct expected expect(const char *what, size_t n) {
    return (struct expected){ what, n, rig_data(n, sizeof(double)), rig_data(n, sizeof(double)), NULL };
}

void expect_number(struct expected *x, size_t i, double want, double relative, double absolute) {
    x->want[i] = want;
    x->bound[i] = EPS * (relative * fabs(want) + absolute);
}

/* Largest |x| of the blocks of 32 that hold weight i: a device rounds blocks of 16 or 32 to steps of max / 127. */
static double block_max(const float *x, size_t n, size_t i) {
    double max = 0;
    for (size_t k = i & ~(size_t)31; k < n && k < (i | 31) + 1; k++) max = fmax(max, fabs((double)x[k]));
    return max;
}

void expect_product(struct expected *x, size_t i, const float *w, const float *v, size_t n_in, double bias) {
    double sum = 0, size = 0, step = 0, max = 0;
    if (!x->int8_bound) x->int8_bound = rig_data(x->n, sizeof(double));
    for (size_t k = 0; k < n_in; k++) {
        const double product = (double)w[k] * v[k];
        if (k % 32 == 0) max = block_max(v, n_in, k);
        sum += product;
        size += fabs(product);
        step += fabs((double)w[k]) * max / 127;
    }
    x->want[i] = sum + bias;
    x->bound[i] = (n_in + 2) * EPS * (size + fabs(bias));
    /* Types with a minimum multiply codes and minima apart, whose sizes can exceed the weight's several times before
     * they cancel: float errors of 32 times the products' sum cover it. */
    x->int8_bound[i] = 0.5 * step * 1.02 + 32 * (n_in + 2) * EPS * (size + step + fabs(bias));
}

static void check_cpu(const char *level, bool exact, build_fn *build, const void *arg, const struct expected *x) {
    char what[200];
    float *one = rig_data(x->n, sizeof *one), *more = rig_data(x->n, sizeof *more);
    assert_true(cpu_limit(level));
    for (unsigned threads = 1; threads <= MOST_THREADS; threads++) {
        float *got = threads == 1 ? one : more;
        rig_run(&(struct device){ "cpu", threads, exact }, build, arg, got, x->n * sizeof *got);
        snprintf(what, sizeof what, "%s, cpu at %s%s, %u threads", x->what, level, exact ? ", exact" : "", threads);
        check_close(what, got, x->want, !exact && x->int8_bound ? x->int8_bound : x->bound, x->n);
        if (threads > 1 && memcmp(one, more, x->n * sizeof *one))
            fail_msg("%s: not the bits of one thread", what);
    }
}

void check_devices(build_fn *build, const void *arg, const struct expected *x) {
    float *got = rig_data(x->n, sizeof *got);
    rig_run(&(struct device){ "ref", 1, true }, build, arg, got, x->n * sizeof *got);
    char what[200];
    snprintf(what, sizeof what, "%s, ref", x->what);
    check_close(what, got, x->want, x->bound, x->n);
    for (size_t i = 0; i < N_LEVELS; i++) {
        check_cpu(cpu_levels[i], true, build, arg, x);
        if (x->int8_bound) check_cpu(cpu_levels[i], false, build, arg, x);
    }
}

void check_devices_i32(const char *what, build_fn *build, const void *arg, const int32_t *want, size_t n) {
    static const struct device devices[] = { { "ref", 1, true }, { "cpu", 1, false }, { "cpu", 3, false } };
    int32_t *got = rig_data(n, sizeof *got);
    for (size_t d = 0; d < ARRAY_LEN(devices); d++) {
        rig_run(&devices[d], build, arg, got, n * sizeof *got);
        for (size_t i = 0; i < n; i++)
            if (got[i] != want[i])
                fail_msg("%s, %s: number %zu is %d, expected %d", what, devices[d].name, i, got[i], want[i]);
    }
}
