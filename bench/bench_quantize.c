/* Time of quantizing with the whole menu of types: seconds for a billion weights, the parts of the work with the most
 * of them, and what share of the machine's measured float peak the calibration's matrix products reach. A part is what
 * progress calls it; time is the wall's, so the machine should be idle. Tables in Markdown on standard output.
 *
 *   bench_quantize MODEL OUT.gguf [BPW [ROWS LENGTH]]       4 bits per weight, 128 rows of 512 tokens */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "snug.h"

enum { MAX_PARTS = 16 };

struct part { const char *what; double seconds, work; };
struct clock { struct part parts[MAX_PARTS]; size_t n; double last, done; };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* The time and the work since the last step belong to what this step reports. Work is counted anew when another job,
 * writing or checking, begins. */
static bool step(void *user, const char *what, double done, double total) {
    struct clock *c = user;
    double t = now();
    size_t i = 0;
    (void)total;
    while (i < c->n && strcmp(c->parts[i].what, what)) i++;
    if (i == c->n && c->n < MAX_PARTS) c->parts[c->n++] = (struct part){ what, 0, 0 };
    if (i < c->n) c->parts[i].seconds += t - c->last;
    if (i < c->n && done > c->done) c->parts[i].work += done - c->done;
    c->last = t;
    c->done = done;
    return true;
}

static int by_time(const void *a, const void *b) {
    double x = ((const struct part *)a)->seconds, y = ((const struct part *)b)->seconds;
    return (x < y) - (x > y);
}

/* Calibrating is one pass of the tokens through the matrices of all blocks, and of 32 rows' through the head; its work
 * is counted in weights times tokens, of experts the chosen ones alone, and each is a multiplication and an addition.
 * An embedding is looked up: it is among the model's parameters, but no product. */
static double gflops(const struct part *calibrating) { return 2e-9 * calibrating->work / calibrating->seconds; }

int main(int argc, char **argv) {
    struct clock c = { .n = 0 };
    struct snug_machine machine;
    struct snug_quantize_result r;
    struct snug_error e;
    if (argc < 3) {
        fprintf(stderr, "usage: bench_quantize MODEL OUT.gguf [BPW [ROWS LENGTH]]\n");
        return 2;
    }
    struct snug_quantize_options o = { .model = argv[1], .out = argv[2],
                                       .bits_per_weight = argc > 3 ? strtod(argv[3], NULL) : 4,
                                       .calib_rows = argc > 5 ? (uint32_t)strtoul(argv[4], NULL, 10) : 128,
                                       .calib_length = argc > 5 ? (uint32_t)strtoul(argv[5], NULL, 10) : 512,
                                       .force = true, .no_resume = true, .progress = { step, &c } };
    if (snug_measure_machine(0, &machine, &e)) goto failed;
    double start = c.last = now();
    if (snug_quantize(&o, &r, &e)) goto failed;
    double seconds = now() - start, billions = (double)r.parameters * 1e-9;
    printf("%s, %u threads, %.0f GFLOPS: %.1f s, %.1f s a billion weights, %llu tries\n\n", machine.cpu,
           machine.threads, machine.f32_gflops, seconds, seconds / billions, (unsigned long long)r.tries);
    printf("| part | seconds | share |\n|---|---|---|\n");
    qsort(c.parts, c.n, sizeof *c.parts, by_time);
    for (size_t i = 0; i < c.n; i++)
        printf("| %s | %.2f | %.0f %% |\n", c.parts[i].what, c.parts[i].seconds, 100 * c.parts[i].seconds / seconds);
    for (size_t i = 0; i < c.n; i++)
        if (!strcmp(c.parts[i].what, "calibrating"))
            printf("\ncalibrating: %.1f %% of the float peak\n", 100 * gflops(&c.parts[i]) / machine.f32_gflops);
    snug_quantize_free(&r);
    return 0;
failed:
    fprintf(stderr, "bench_quantize: %s\n", e.message);
    return e.exit_status;
}
