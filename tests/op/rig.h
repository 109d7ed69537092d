#ifndef TESTS_OP_RIG_H
#define TESTS_OP_RIG_H
/* Runs one small graph on one device, every buffer between guard bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "backend/backend.h"
#include "base/rng.h"

enum { RIG_LOADS = 24, RIG_GUARD = 64, RIG_BUFFERS = 24 };

struct rig {
    struct backend *b;
    struct graph *g;
    struct program *p;
    unsigned n_loads, n_buffers;
    struct { tensor_id t; const void *data; } loads[RIG_LOADS];
    struct { uint32_t id; uint64_t bytes; } buffers[RIG_BUFFERS]; /* bytes between the guards */
};

struct device { const char *name; unsigned threads; bool exact; };

/* What a case builds, and the tensor whose numbers are compared. */
typedef tensor_id build_fn(struct rig *r, const void *arg);
/* Builds, runs and checks the guards; out holds the n numbers of the result (a cache: its bytes). */
void rig_run(const struct device *d, build_fn *build, const void *arg, void *out, size_t out_bytes);

/* For build functions. Data is borrowed until the run. odd: at an odd address, as operations that decode must bear. */
tensor_id rig_weight(struct rig *r, enum qtype type, uint64_t n, uint64_t rows, const void *stored, bool odd);
tensor_id rig_matrices(struct rig *r, enum qtype type, const uint64_t ne[3], const void *stored, bool odd);
tensor_id rig_cache(struct rig *r, enum qtype type, uint64_t n, uint64_t cells, const void *stored);
tensor_id rig_f32(struct rig *r, uint64_t n, uint64_t rows, const float *x);
tensor_id rig_f32_3d(struct rig *r, uint64_t n0, uint64_t n1, uint64_t n2, const float *x);
tensor_id rig_i32(struct rig *r, uint64_t n, uint64_t rows, const int32_t *x);

/* --- Data --- */
/* Memory of one test, zeroed; rig_data_free, the tests' teardown, frees it all. */
void *rig_data(size_t n, size_t size);
int rig_data_free(void **state);
/* n numbers around zero, a few of them four times as large. */
float *random_f32(uint64_t seed, size_t n, float scale);
/* rows of n random numbers encoded as type; *decoded: what they stand for. */
void *random_stored(uint64_t seed, enum qtype type, uint64_t n, uint64_t rows, float **decoded);

/* --- Comparing --- */
#define EPS 0x1p-24 /* the relative error of one rounded float operation */
/* |got - want| <= bound for all n. Returns the largest error / bound. */
double check_close(const char *what, const float *got, const double *want, const double *bound, size_t n);
#endif
