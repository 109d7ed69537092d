/* Measuring a pass. The matrices lie one behind the other in a slab that begins anew when it is full: large enough that
 * no cache holds it, unless the model itself is small enough to be held. All their bytes are the same, so that no code
 * or scale is special to a kernel; vectors are small numbers that keep every activation far from the ends of its type
 * and from subnormal numbers, which some processors are slow with. */
#include "plan/speed.h"
#include <stdlib.h>
#include <string.h>
#include "base/num.h"
#include "base/os.h"

enum {
    SLAB = 128 << 20,   /* bytes; caches are smaller on all but the largest machines */
    PIECE = 1 << 20,    /* bytes a copy */
    MAX_RUNS = 64, MIN_RUNS = 5, ENOUGH_NS = 300000000, LONG_NS = 2000000000,
    WEIGHT_BYTE = 0x3c, /* about 1 as the F16 scale of a block, 0.01 as BF16 or F32 */
};
static const float vector_value = 0x1p-10f;

struct rig {
    struct backend *be;
    const struct speed_desc *d;
    struct model m;         /* d->m with fewer blocks */
    struct pass_desc pd;
    struct pass pass;
    struct program *program;
    uint32_t matrices, vectors, kv, act, io;
    uint64_t slab, used;    /* bytes of the matrices' buffer, and where the next one lies */
    uint64_t vector_bytes;
};

static uint64_t on_device(const struct rig *r, const struct weight *w) {
    return round_up(backend_weight_bytes(r->be, w->type, w->ne), 64);
}

/* What a pass reads of it. All tokens are alike here, and choose the same experts: the first ones. */
static uint64_t read_bytes(const struct rig *r, const struct weight *w) {
    const uint64_t bytes = on_device(r, w);
    return slot_info(w->slot)->experts ? round_up(bytes / r->m.hp.n_expert * r->m.hp.n_expert_used, 64) : bytes;
}

/* Every vector is the same memory; what is read of matrices follows each other round the slab. */
static tensor_id stand_in(void *user, struct graph *g, enum slot s, uint32_t layer) {
    struct rig *r = user;
    const struct weight *w = model_weight(&r->m, s, layer);
    if (!w) return NO_TENSOR;
    if (!slot_info(s)->matrix)
        return graph_weight(g, w->name, QTYPE_F32, w->ne, TENSOR_DIMS, (struct place){ r->vectors, 0 });
    if (r->used + on_device(r, w) > r->slab) r->used = 0;
    struct place at = { r->matrices, r->used };
    r->used += read_bytes(r, w);
    return graph_weight(g, w->name, w->type, w->ne, TENSOR_DIMS, at);
}

static void size_buffers(struct rig *r) {
    uint64_t total = 0, largest = 0, unread = 0;
    for (uint32_t i = 0; i < r->m.n_weights; i++) {
        const struct weight *w = &r->m.weights[i];
        if (slot_info(w->slot)->per_block && w->layer >= r->m.hp.n_layer) continue;
        if (slot_info(w->slot)->matrix) {
            total += read_bytes(r, w);
            largest = max_u64(largest, read_bytes(r, w));
            unread = max_u64(unread, on_device(r, w) - read_bytes(r, w));
        } else {
            r->vector_bytes = max_u64(r->vector_bytes, backend_weight_bytes(r->be, QTYPE_F32, w->ne));
        }
    }
    r->slab = max_u64(largest, min_u64(total, SLAB)) + unread;
}

/* Fills `bytes` of a new buffer with one piece over and over. */
static enum err_code make(struct rig *r, const void *piece, uint64_t bytes, uint32_t *buffer, struct err *e) {
    TRY(backend_alloc(r->be, bytes, buffer, e));
    for (uint64_t off = 0; off < bytes; off += PIECE)
        TRY(backend_upload(r->be, *buffer, off, piece, min_u64(PIECE, bytes - off), e));
    return ERR_NONE;
}

static enum err_code make_buffers(struct rig *r, void *piece, struct err *e) {
    float *numbers = piece;
    memset(piece, WEIGHT_BYTE, PIECE);
    TRY(make(r, piece, r->slab, &r->matrices, e));
    for (size_t i = 0; i < PIECE / sizeof *numbers; i++) numbers[i] = vector_value;
    TRY(make(r, piece, r->vector_bytes, &r->vectors, e));
    memset(piece, 0, PIECE);
    return make(r, piece, pass_kv_bytes(&r->m.hp, &r->pd), &r->kv, e);
}

static enum err_code put_counted(struct rig *r, tensor_id id, int32_t first, struct err *e) {
    const struct tensor *t = graph_tensor(r->pass.g, id);
    size_t n = (size_t)(t->bytes / sizeof(int32_t));
    int32_t *v = mem_alloc(n, sizeof *v);
    if (!v) return err_no_memory(e, t->bytes);
    for (size_t i = 0; i < n; i++) v[i] = first + (int32_t)i;
    enum err_code rc = backend_upload(r->be, r->io, t->place.off, v, t->bytes, e);
    mem_free(v);
    return rc;
}

/* Token 0 at every place, in one sequence whose pages lie in order. */
static enum err_code make_inputs(struct rig *r, void *piece, struct err *e) {
    int32_t depth = (int32_t)r->d->depth;
    memset(piece, 0, PIECE);
    TRY(make(r, piece, r->pass.g->io_bytes, &r->io, e));
    TRY(put_counted(r, r->pass.pos, depth, e));
    TRY(put_counted(r, r->pass.cells, depth, e));
    TRY(put_counted(r, r->pass.pages, 0, e));
    return r->d->head ? put_counted(r, r->pass.rows, (int32_t)r->d->n_tok - 1, e) : ERR_NONE;
}

static enum err_code build(struct rig *r, struct err *e) {
    void *piece = mem_alloc(PIECE, 1);
    if (!piece) return err_no_memory(e, PIECE);
    enum err_code rc;
    size_buffers(r);
    TRY_OUT(rc, make_buffers(r, piece, e));
    struct pass_weights w = { stand_in, r };
    TRY_OUT(rc, pass_build(&r->pass, &r->m, &r->pd, &w, r->kv, e));
    TRY_OUT(rc, backend_alloc(r->be, r->pass.g->act_bytes, &r->act, e));
    TRY_OUT(rc, make_inputs(r, piece, e));
    graph_place(r->pass.g, r->act, r->io);
    rc = backend_compile(r->be, r->pass.g, &r->program, e);
out:
    mem_free(piece);
    return rc;
}

static int by_time(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* The median: a run that the system disturbed does not count, nor does a lucky one. */
static enum err_code time_runs(struct rig *r, double *seconds, struct err *e) {
    uint64_t ns[MAX_RUNS], total = 0;
    size_t n = 0;
    for (int i = -1; i < MAX_RUNS; i++) { /* the first run warms up */
        ticket t;
        uint64_t t0 = os_now_ns();
        TRY(backend_submit(r->be, r->program, &t, e));
        TRY(backend_wait(r->be, t, e));
        if (i < 0) continue;
        total += ns[n++] = os_now_ns() - t0;
        if ((n >= MIN_RUNS && total >= ENOUGH_NS) || total >= LONG_NS) break;
    }
    qsort(ns, n, sizeof *ns, by_time);
    uint64_t median = ns[n / 2];
    *seconds = (double)median * 1e-9;
    return ERR_NONE;
}

enum err_code speed_measure(struct backend *be, const struct speed_desc *d, double *seconds, struct err *e) {
    struct rig r = { .be = be, .d = d, .m = *d->m };
    r.m.hp.n_layer = d->n_layer;
    r.pd = pass_defaults(&r.m.hp, &(struct pass_desc){ .n_ctx = d->depth + d->n_tok, .n_batch = d->n_tok,
                                                       .kv = d->kv });
    r.pass = (struct pass){ .n_tok = d->n_tok, .n_out = d->head };
    enum err_code rc = build(&r, e);
    if (!rc) rc = time_runs(&r, seconds, e);
    program_free(be, r.program);
    pass_fini(&r.pass);
    const uint32_t buffers[] = { r.matrices, r.vectors, r.kv, r.act, r.io };
    for (size_t i = 0; i < ARRAY_LEN(buffers); i++)
        if (buffers[i]) backend_release(be, buffers[i]);
    return rc;
}
