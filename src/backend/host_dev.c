/* Buffers, copies and bound graphs of the devices that compute in ordinary memory.
 *
 * Owns the memory it allocates; lent memory stays the lender's. Promises that a program which compiles reads and writes
 * only inside its buffers, as long as the indices among its inputs are valid: those change from run to run and are
 * checked by the runtime, which makes them. Leaves all arithmetic to the devices. */
#include "backend/host_dev.h"
#include <string.h>
#include "base/mem.h"
#include "base/num.h"
#include "base/os.h"

static struct host_dev *dev(struct backend *b) { return (struct host_dev *)b; }

void host_fini(struct host_dev *d) {
    for (uint32_t i = 0; i < d->n_buffers; i++)
        if (!d->buffers[i].lent) mem_free(d->buffers[i].p);
    mem_free(d->buffers);
    mem_free(d->scratch);
}

/* --- Buffers --- */

static enum err_code add_buffer(struct host_dev *d, struct host_buffer hb, uint32_t *buffer, struct err *e) {
    uint32_t i = 0;
    while (i < d->n_buffers && d->buffers[i].p) i++;
    if (i == d->n_buffers) {
        struct host_buffer *more = mem_realloc(d->buffers, d->n_buffers, d->n_buffers + 1u, sizeof *more);
        if (!more) return err_no_memory(e, (d->n_buffers + 1u) * sizeof *more);
        d->buffers = more;
        d->n_buffers++;
    }
    d->buffers[i] = hb;
    *buffer = i + 1;
    return ERR_NONE;
}

enum err_code host_alloc(struct backend *b, uint64_t bytes, uint32_t *buffer, struct err *e) {
    uint8_t *p = bytes <= SIZE_MAX ? mem_alloc((size_t)bytes, 1) : NULL;
    if (!p) return err_no_memory(e, bytes);
    os_advise(p, (size_t)bytes, OS_HUGE); /* 4 % of the time of attention over a long cache (Zen 4) */
    enum err_code rc = add_buffer(dev(b), (struct host_buffer){ .p = p, .bytes = bytes }, buffer, e);
    if (rc) mem_free(p);
    return rc;
}

enum err_code host_import(struct backend *b, const void *host, uint64_t bytes, uint32_t *buffer, struct err *e) {
    if (!host) return err_set(e, ERR_INTERNAL, "no memory to import");
    os_advise(host, (size_t)bytes, OS_HUGE); /* a file not yet in memory then comes in pages of 2 MB: docs/kernels.md */
    /* The const comes back as `lent`: compile refuses programs that write here, and so does upload. */
    struct host_buffer hb = { .p = (uint8_t *)host, .bytes = bytes, .lent = true };
    return add_buffer(dev(b), hb, buffer, e);
}

static struct host_buffer *find(struct host_dev *d, uint32_t buffer) {
    if (buffer == 0 || buffer > d->n_buffers || !d->buffers[buffer - 1].p) return NULL;
    return &d->buffers[buffer - 1];
}

void host_release(struct backend *b, uint32_t buffer) {
    struct host_buffer *hb = find(dev(b), buffer);
    if (!hb) return;
    if (!hb->lent) mem_free(hb->p);
    *hb = (struct host_buffer){ 0 };
}

/* The address of n bytes at off of a buffer; what: who asks, for the message. */
static enum err_code locate(struct host_dev *d, struct place at, uint64_t n, const char *what, uint8_t **p,
                            struct err *e) {
    const struct host_buffer *hb = find(d, at.buffer);
    if (!hb) return err_set(e, ERR_INTERNAL, "%s: device buffer %u does not exist", what, at.buffer);
    uint64_t end;
    if (!add_u64(at.off, n, &end) || end > hb->bytes)
        return err_set(e, ERR_INTERNAL, "%s: %llu bytes at %llu leave device buffer %u of %llu bytes", what,
                       (unsigned long long)n, (unsigned long long)at.off, at.buffer, (unsigned long long)hb->bytes);
    *p = hb->p + at.off;
    return ERR_NONE;
}

enum err_code host_upload(struct backend *b, uint32_t buffer, uint64_t off, const void *src, uint64_t n,
                          struct err *e) {
    uint8_t *p;
    TRY(locate(dev(b), (struct place){ buffer, off }, n, "upload", &p, e));
    if (find(dev(b), buffer)->lent)
        return err_set(e, ERR_INTERNAL, "upload: device buffer %u is lent, read-only memory", buffer);
    if (n) memcpy(p, src, (size_t)n);
    return ERR_NONE;
}

enum err_code host_download(struct backend *b, uint32_t buffer, uint64_t off, void *dst, uint64_t n, struct err *e) {
    uint8_t *p;
    TRY(locate(dev(b), (struct place){ buffer, off }, n, "download", &p, e));
    if (n) memcpy(dst, p, (size_t)n);
    return ERR_NONE;
}

uint64_t host_weight_bytes(struct backend *b, enum qtype type, const uint64_t ne[TENSOR_DIMS]) {
    (void)b;
    uint64_t bytes;
    if (!qtype_row_bytes(type, ne[0], &bytes)) return 0;
    for (unsigned i = 1; i < TENSOR_DIMS; i++)
        if (!mul_u64(bytes, ne[i], &bytes)) return 0;
    return bytes;
}

/* --- Graphs --- */

uint64_t tensor_row_bytes(const struct tensor *t) { return t->bytes / max_u64(tensor_rows(t), 1); }

/* Whether a source has the type that its letter in op.def asks for. */
static bool type_ok(char letter, uint32_t type) {
    switch (letter) {
    case 'w': return type != TENSOR_I32 && qtype_info((enum qtype)type) != NULL;
    case 'c': return type == QTYPE_F16 || type == QTYPE_F32 || type == QTYPE_Q8_0;
    case 'i':
    case 'I': return type == TENSOR_I32;
    default: return type == QTYPE_F32;
    }
}

bool host_supports(struct backend *b, const struct graph *g, const struct op *op) {
    (void)b;
    const char *sources = op_sources(op->kind);
    for (unsigned i = 0; sources[i]; i++)
        if (op->src[i] != NO_TENSOR && !type_ok(sources[i], graph_tensor(g, op->src[i])->type)) return false;
    return true;
}

static uint64_t alignment(uint32_t type) {
    return type == QTYPE_F32 || type == TENSOR_I32 ? 4 : type == QTYPE_F16 ? 2 : 1;
}

static enum err_code bind(struct host_dev *d, struct program *p, tensor_id id, uint64_t align, struct err *e) {
    const struct tensor *t = graph_tensor(p->g, id);
    TRY(locate(d, t->place, t->bytes, t->name, &p->at[id], e));
    if ((uintptr_t)p->at[id] % align)
        return err_set(e, ERR_INTERNAL, "%s: lies at an address that is no multiple of %llu", t->name,
                       (unsigned long long)align);
    return ERR_NONE;
}

static enum err_code bind_apart(struct host_dev *d, struct program *p, const struct op *op, tensor_id id,
                                struct err *e) {
    const struct tensor *t = graph_tensor(p->g, id);
    if (!t->places || p->apart[id]) return ERR_NONE;
    if (op->kind != OP_MATMUL_ID)
        return err_set(e, ERR_INTERNAL, "%s: %s needs its matrices in one piece", t->name, op_name(op->kind));
    if (!(p->apart[id] = NEW_ARRAY(uint8_t *, t->ne[2]))) return err_no_memory(e, t->ne[2] * sizeof **p->apart);
    for (uint64_t x = 0; x < t->ne[2]; x++)
        TRY(locate(d, t->places[x], t->bytes / t->ne[2], t->name, &p->apart[id][x], e));
    p->at[id] = p->apart[id][0];
    return ERR_NONE;
}

static enum err_code bind_op(struct host_dev *d, struct program *p, const struct op *op, struct err *e) {
    if (!d->base.ops->supports(&d->base, p->g, op))
        return err_set(e, ERR_UNSUPPORTED, "%s: device %s cannot run %s on %s sources",
                       graph_tensor(p->g, op->dst)->name, d->base.ops->name, op_name(op->kind),
                       qtype_name(graph_tensor(p->g, op->src[0])->type));
    const char *sources = op_sources(op->kind);
    for (unsigned i = 0; sources[i]; i++) {
        if (op->src[i] == NO_TENSOR) continue;
        /* What is decoded is read byte by byte. */
        uint64_t align = sources[i] == 'w' ? 1 : alignment(graph_tensor(p->g, op->src[i])->type);
        TRY(bind_apart(d, p, op, op->src[i], e));
        if (!p->apart[op->src[i]]) TRY(bind(d, p, op->src[i], align, e));
    }
    const struct tensor *dst = graph_tensor(p->g, op->dst);
    TRY(bind(d, p, op->dst, alignment(dst->type), e));
    if (find(d, dst->place.buffer)->lent)
        return err_set(e, ERR_INTERNAL, "%s: %s would write to lent, read-only memory", dst->name, op_name(op->kind));
    return ERR_NONE;
}

static enum err_code grow_scratch(struct host_dev *d, uint64_t bytes, struct err *e) {
    if (bytes <= d->scratch_bytes) return ERR_NONE;
    void *p = bytes <= SIZE_MAX ? mem_alloc((size_t)bytes, 1) : NULL;
    if (!p) return err_no_memory(e, bytes);
    mem_free(d->scratch);
    d->scratch = p;
    d->scratch_bytes = bytes;
    return ERR_NONE;
}

enum err_code host_compile(struct backend *b, const struct graph *g, struct program **out, struct err *e) {
    enum err_code rc = ERR_NONE;
    *out = NULL;
    struct program *p = NEW(struct program);
    if (!p) return err_no_memory(e, sizeof *p);
    p->g = g;
    p->at = NEW_ARRAY(uint8_t *, g->n_tensors);
    p->apart = NEW_ARRAY(uint8_t **, g->n_tensors);
    if (!p->at || !p->apart) {
        rc = err_no_memory(e, g->n_tensors * sizeof *p->at);
        goto out;
    }
    for (uint32_t i = 0; i < g->n_ops; i++) TRY_OUT(rc, bind_op(dev(b), p, &g->ops[i], e));
    TRY_OUT(rc, grow_scratch(dev(b), b->ops->scratch_bytes(b, g), e));
    *out = p;
    p = NULL;
out:
    if (p) host_program_free(b, p);
    return rc;
}

void host_program_free(struct backend *b, struct program *p) {
    (void)b;
    for (uint32_t i = 0; p->apart && i < p->g->n_tensors; i++) mem_free(p->apart[i]);
    mem_free(p->apart);
    mem_free(p->at);
    mem_free(p);
}

enum err_code host_go_on(struct backend *b, const struct program *p, uint32_t i, struct err *e) {
    if (progress_step(&b->progress, "running", i, p->g->n_ops)) return ERR_NONE;
    return err_set(e, ERR_INTERRUPTED, "interrupted before operation %u of %u", i, p->g->n_ops);
}

enum err_code host_wait(struct backend *b, ticket t, struct err *e) {
    if (t > dev(b)->last) return err_set(e, ERR_INTERNAL, "waiting for work that was never submitted");
    return ERR_NONE;
}
