/* See rig.h. Buffers are placed one a weight and cache, one for activations and one for inputs and outputs; each has
 * guard bytes on both sides, in device memory, so that a device cannot leave its tensors unnoticed. */
#include "rig.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "../assert_ok.h"
#include "../random_block.h"

enum { GUARD_BYTE = 0xa5 };

/* A buffer for `bytes` behind a guard; *off is where they begin. */
static uint32_t guarded(struct rig *r, uint64_t bytes, bool odd, uint64_t *off) {
    struct err e = { 0 };
    uint32_t id;
    uint64_t before = RIG_GUARD + odd, all = before + bytes + RIG_GUARD;
    assert_true(r->n_buffers < RIG_BUFFERS);
    assert_ok(backend_alloc(r->b, all, &id, &e), &e);
    uint8_t *fill = malloc(all);
    memset(fill, GUARD_BYTE, all);
    assert_ok(backend_upload(r->b, id, 0, fill, all, &e), &e);
    free(fill);
    r->buffers[r->n_buffers].id = id;
    r->buffers[r->n_buffers++].bytes = bytes + odd;
    *off = before;
    return id;
}

static void check_guards(struct rig *r) {
    struct err e = { 0 };
    uint8_t guard[RIG_GUARD];
    for (unsigned i = 0; i < r->n_buffers; i++) {
        for (int side = 0; side < 2; side++) {
            uint64_t off = side ? RIG_GUARD + r->buffers[i].bytes : 0;
            assert_ok(backend_download(r->b, r->buffers[i].id, off, guard, RIG_GUARD, &e), &e);
            for (unsigned k = 0; k < RIG_GUARD; k++)
                if (guard[k] != GUARD_BYTE) fail_msg("buffer %u: guard byte %u on side %d was written", i, k, side);
        }
    }
}

static tensor_id add_load(struct rig *r, tensor_id t, const void *data) {
    assert_true(r->n_loads < RIG_LOADS);
    r->loads[r->n_loads].t = t;
    r->loads[r->n_loads++].data = data;
    return t;
}

static struct place own_buffer(struct rig *r, enum qtype type, uint64_t n, uint64_t rows, bool odd) {
    struct place at;
    uint64_t row_bytes;
    assert_true(qtype_row_bytes(type, n, &row_bytes));
    at.buffer = guarded(r, row_bytes * rows, odd, &at.off);
    return at;
}

tensor_id rig_matrices(struct rig *r, enum qtype type, const uint64_t ne[3], const void *stored, bool odd) {
    struct place at = own_buffer(r, type, ne[0], ne[1] * ne[2], odd);
    return add_load(r, graph_weight(r->g, "weight", type, ne, 3, at), stored);
}

tensor_id rig_weight(struct rig *r, enum qtype type, uint64_t n, uint64_t rows, const void *stored, bool odd) {
    return rig_matrices(r, type, (uint64_t[]){ n, rows, 1 }, stored, odd);
}

tensor_id rig_cache(struct rig *r, enum qtype type, uint64_t n, uint64_t cells, const void *stored) {
    struct place at = own_buffer(r, type, n, cells, false);
    return add_load(r, graph_kv(r->g, "cache", type, (uint64_t[]){ n, cells }, 2, at), stored);
}

tensor_id rig_f32_3d(struct rig *r, uint64_t n0, uint64_t n1, uint64_t n2, const float *x) {
    return add_load(r, graph_input(r->g, "x", QTYPE_F32, (uint64_t[]){ n0, n1, n2 }, 3), x);
}

tensor_id rig_f32(struct rig *r, uint64_t n, uint64_t rows, const float *x) { return rig_f32_3d(r, n, rows, 1, x); }

tensor_id rig_i32(struct rig *r, uint64_t n, uint64_t rows, const int32_t *x) {
    return add_load(r, graph_input(r->g, "i", TENSOR_I32, (uint64_t[]){ n, rows }, 2), x);
}

/* Gives activations and inputs their buffers, moved behind the guards. */
static void place_all(struct rig *r) {
    uint64_t act_off, io_off;
    uint32_t act = guarded(r, r->g->act_bytes, false, &act_off), io = guarded(r, r->g->io_bytes, false, &io_off);
    graph_place(r->g, act, io);
    for (uint32_t i = 0; i < r->g->n_tensors; i++) {
        struct tensor *t = &r->g->tensors[i];
        if (t->role == ROLE_ACT) t->place.off += act_off;
        if (t->role == ROLE_INPUT || t->role == ROLE_OUTPUT) t->place.off += io_off;
    }
}

void rig_run(const struct device *d, build_fn *build, const void *arg, void *out, size_t out_bytes) {
    struct err e = { 0 };
    struct rig r = { .g = graph_new() };
    assert_non_null(r.g);
    assert_ok(backend_open(d->name, &(struct backend_options){ d->threads, d->exact }, &r.b, &e), &e);
    tensor_id result = build(&r, arg);
    if (result != NO_TENSOR && graph_tensor(r.g, result)->role == ROLE_ACT) graph_output(r.g, result);
    assert_ok(graph_finish(r.g, &e), &e);
    place_all(&r);
    for (unsigned i = 0; i < r.n_loads; i++) {
        const struct tensor *t = graph_tensor(r.g, r.loads[i].t);
        assert_ok(backend_upload(r.b, t->place.buffer, t->place.off, r.loads[i].data, t->bytes, &e), &e);
    }
    assert_ok(backend_compile(r.b, r.g, &r.p, &e), &e);
    /* Twice: a program is replayed, and the second run must not depend on what the first left behind. */
    for (int run = 0; run < 2; run++) {
        ticket t;
        assert_ok(backend_submit(r.b, r.p, &t, &e), &e);
        assert_ok(backend_wait(r.b, t, &e), &e);
    }
    const struct tensor *t = graph_tensor(r.g, result);
    assert_int_equal(t->bytes, out_bytes);
    assert_ok(backend_download(r.b, t->place.buffer, t->place.off, out, out_bytes, &e), &e);
    check_guards(&r);
    program_free(r.b, r.p);
    backend_close(r.b);
    graph_free(r.g);
}

/* --- Data and comparing --- */

static struct arena data;

void *rig_data(size_t n, size_t size) {
    void *p = arena_alloc(&data, n, size);
    assert_non_null(p);
    return p;
}

int rig_data_free(void **state) {
    (void)state;
    arena_fini(&data);
    data = (struct arena){ 0 };
    return 0;
}

float *random_f32(uint64_t seed, size_t n, float scale) {
    struct rng rng;
    rng_seed(&rng, seed);
    float *x = rig_data(n, sizeof *x);
    for (size_t i = 0; i < n; i++) x[i] = scale * (rng_f32(&rng) - rng_f32(&rng)) * (rng_below(&rng, 16) ? 1.0f : 4.0f);
    return x;
}

void *random_stored(uint64_t seed, enum qtype type, uint64_t n, uint64_t rows, float **decoded) {
    uint64_t row_bytes;
    assert_true(qtype_row_bytes(type, n, &row_bytes));
    *decoded = random_f32(seed, n * rows, 1.0f);
    uint8_t *stored = rig_data(row_bytes, rows);
    struct rng rng;
    rng_seed(&rng, seed);
    if (qtype_is_float(type)) qtype_info(type)->encode(*decoded, stored, n * rows);
    else random_blocks(&rng, type, stored, n * rows);
    qtype_info(type)->decode(stored, *decoded, n * rows);
    return stored;
}

double check_close(const char *what, const float *got, const double *want, const double *bound, size_t n) {
    double worst = 0;
    for (size_t i = 0; i < n; i++) {
        double error = fabs((double)got[i] - want[i]);
        if (!(error <= bound[i]))
            fail_msg("%s: number %zu is %.9g, expected %.9g within %.3g", what, i, (double)got[i], want[i], bound[i]);
        if (error > 0) worst = fmax(worst, error / bound[i]);
    }
    return worst;
}
