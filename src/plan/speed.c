/* Measuring a matrix product. The weights' bytes are all 1: no code or scale is special to a kernel. */
#include "plan/speed.h"
#include <string.h>
#include "base/os.h"

enum { REPEATS = 5, SLAB = 1 << 20 };

static enum err_code fill(struct backend *be, uint32_t buffer, uint64_t bytes, struct err *e) {
    uint8_t *ones = mem_alloc(SLAB, 1);
    if (!ones) return err_no_memory(e, SLAB);
    memset(ones, 1, SLAB);
    enum err_code rc = ERR_NONE;
    for (uint64_t off = 0; off < bytes && !rc; off += SLAB)
        rc = backend_upload(be, buffer, off, ones, bytes - off < SLAB ? bytes - off : SLAB, e);
    mem_free(ones);
    return rc;
}

static enum err_code best_run(struct backend *be, struct program *p, double *seconds, struct err *e) {
    *seconds = 1e30;
    for (int i = 0; i <= REPEATS; i++) { /* the first run warms up */
        ticket t;
        uint64_t t0 = os_now_ns();
        TRY(backend_submit(be, p, &t, e));
        TRY(backend_wait(be, t, e));
        double s = (double)(os_now_ns() - t0) * 1e-9;
        if (i && s < *seconds) *seconds = s;
    }
    return ERR_NONE;
}

struct rig { struct graph *g; struct program *program; uint32_t weights, act, io; };

static enum err_code build(struct rig *r, struct backend *be, enum qtype type, const uint64_t ne[2], uint32_t n_tok,
                           uint64_t bytes,
                           struct err *e) {
    TRY(backend_alloc(be, bytes, &r->weights, e));
    TRY(fill(be, r->weights, bytes, e));
    if (!(r->g = graph_new())) return err_no_memory(e, sizeof *r->g);
    tensor_id w = graph_weight(r->g, "speed", type, ne, 2, (struct place){ r->weights, 0 });
    tensor_id x = graph_input(r->g, "x", QTYPE_F32, (uint64_t[]){ ne[0], n_tok }, 2);
    graph_output(r->g, graph_matmul(r->g, w, x, NO_TENSOR));
    TRY(graph_finish(r->g, e));
    if (r->g->act_bytes) TRY(backend_alloc(be, r->g->act_bytes, &r->act, e));
    TRY(backend_alloc(be, r->g->io_bytes, &r->io, e));
    TRY(fill(be, r->io, r->g->io_bytes, e));
    graph_place(r->g, r->act, r->io);
    return backend_compile(be, r->g, &r->program, e);
}

enum err_code speed_measure(struct backend *be, enum qtype type, uint64_t n_in, uint32_t n_tok, uint64_t bytes,
                            double *seconds_per_byte,
                            struct err *e) {
    uint64_t row = 0;
    if (!qtype_row_bytes(type, n_in, &row)) return err_set(e, ERR_INTERNAL, "a row of %llu is no %s",
                                                           (unsigned long long)n_in, qtype_name(type));
    uint64_t ne[2] = { n_in, bytes / row ? bytes / row : 1 };
    struct rig r = { 0 };
    double seconds = 0;
    enum err_code rc = build(&r, be, type, ne, n_tok, row * ne[1], e);
    if (!rc) rc = best_run(be, r.program, &seconds, e);
    if (!rc) *seconds_per_byte = seconds / (double)(row * ne[1]);
    program_free(be, r.program);
    graph_free(r.g);
    const uint32_t buffers[] = { r.weights, r.act, r.io };
    for (size_t i = 0; i < ARRAY_LEN(buffers); i++)
        if (buffers[i]) backend_release(be, buffers[i]);
    return rc;
}
