#ifndef TESTS_FAR_DEVICE_H
#define TESTS_FAR_DEVICE_H
/* A device with memory of its own, for tests: the reference device behind a wall. Host memory cannot be lent to it, its
 * weights take more room than in the file (their rows are padded there, says weight_bytes), and every byte has to be
 * carried there and back. It counts what it is asked to do. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "backend/backend.h"

enum { FAR_PADDING = 192 };

struct far {
    struct backend base;
    struct backend *ref;
    uint64_t allocated, uploaded, downloaded; /* bytes so far */
    unsigned ops[OP_KINDS];                   /* of all programs run so far */
    unsigned buffers;                         /* alive now */
    float *outputs;                           /* where each run leaves its program's outputs; NULL: nowhere */
    bool *closed;                             /* set when the device is closed; may be NULL */
};
/* What the wrapped device's program does not tell. */
struct far_program { struct program *p; const struct graph *g; };

static inline struct far *far_of(struct backend *b) { return (struct far *)b; }

static void far_close(struct backend *b) {
    if (far_of(b)->closed) *far_of(b)->closed = true;
    backend_close(far_of(b)->ref);
    mem_free(b);
}
static void far_info(struct backend *b, struct device_info *out) {
    (void)b;
    *out = (struct device_info){ .name = "far", .kind = "gpu", .memory_bytes = 1 << 30, .host_memory = false };
}
static enum err_code far_alloc(struct backend *b, uint64_t bytes, uint32_t *buffer, struct err *e) {
    far_of(b)->allocated += bytes;
    far_of(b)->buffers++;
    return backend_alloc(far_of(b)->ref, bytes, buffer, e);
}
static enum err_code far_import(struct backend *b, const void *host, uint64_t bytes, uint32_t *buffer, struct err *e) {
    (void)b, (void)host, (void)bytes, (void)buffer;
    return err_set(e, ERR_UNSUPPORTED, "the device cannot reach the host's memory");
}
static void far_release(struct backend *b, uint32_t buffer) {
    far_of(b)->buffers--;
    backend_release(far_of(b)->ref, buffer);
}
static enum err_code far_upload(struct backend *b, uint32_t buffer, uint64_t off, const void *src, uint64_t n,
                                struct err *e) {
    far_of(b)->uploaded += n;
    return backend_upload(far_of(b)->ref, buffer, off, src, n, e);
}
static enum err_code far_download(struct backend *b, uint32_t buffer, uint64_t off, void *dst, uint64_t n,
                                  struct err *e) {
    far_of(b)->downloaded += n;
    return backend_download(far_of(b)->ref, buffer, off, dst, n, e);
}
static uint64_t far_weight_bytes(struct backend *b, enum qtype type, const uint64_t ne[TENSOR_DIMS]) {
    uint64_t bytes = backend_weight_bytes(far_of(b)->ref, type, ne);
    return bytes ? bytes + FAR_PADDING : 0;
}
static bool far_supports(struct backend *b, const struct graph *g, const struct op *op) {
    return backend_supports(far_of(b)->ref, g, op);
}
static uint64_t far_scratch_bytes(struct backend *b, const struct graph *g) {
    return backend_scratch_bytes(far_of(b)->ref, g);
}
static enum err_code far_compile(struct backend *b, const struct graph *g, struct program **out, struct err *e) {
    struct far_program *p = NEW(struct far_program);
    if (!p) return err_no_memory(e, sizeof *p);
    p->g = g;
    enum err_code rc = backend_compile(far_of(b)->ref, g, &p->p, e);
    if (rc) mem_free(p);
    else *out = (struct program *)p;
    return rc;
}
static void far_program_free(struct backend *b, struct program *program) {
    struct far_program *p = (struct far_program *)program;
    program_free(far_of(b)->ref, p->p);
    mem_free(p);
}
static enum err_code far_submit(struct backend *b, struct program *program, ticket *t, struct err *e) {
    struct far_program *p = (struct far_program *)program;
    for (uint32_t i = 0; i < p->g->n_ops; i++) far_of(b)->ops[p->g->ops[i].kind]++;
    far_of(b)->ref->progress = b->progress;
    TRY(backend_submit(far_of(b)->ref, p->p, t, e));
    float *out = far_of(b)->outputs;
    for (uint32_t i = 0; out && i < p->g->n_tensors; i++) {
        const struct tensor *x = &p->g->tensors[i];
        if (x->role != ROLE_OUTPUT) continue;
        TRY(backend_download(far_of(b)->ref, x->place.buffer, x->place.off, out, x->bytes, e));
        out += x->bytes / sizeof *out;
    }
    return ERR_NONE;
}
static enum err_code far_wait(struct backend *b, ticket t, struct err *e) { return backend_wait(far_of(b)->ref, t, e); }

/* Belongs to whoever gets it, as every back end: backend_close frees it. */
static struct far *far_open(void) {
    static const struct backend_ops ops = {
        .name = "far", .close = far_close, .info = far_info, .alloc = far_alloc, .import = far_import,
        .release = far_release, .upload = far_upload, .download = far_download, .weight_bytes = far_weight_bytes,
        .supports = far_supports, .scratch_bytes = far_scratch_bytes, .compile = far_compile,
        .program_free = far_program_free, .submit = far_submit, .wait = far_wait,
    };
    struct far *f = NEW(struct far);
    assert_non_null(f);
    f->base.ops = &ops;
    assert_int_equal(backend_open("ref", &(struct backend_options){ 0 }, &f->ref, NULL), ERR_NONE);
    return f;
}
#endif
