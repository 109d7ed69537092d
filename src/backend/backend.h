#ifndef BACKEND_BACKEND_H
#define BACKEND_BACKEND_H
/* The device interface: memory that a device can address, and lists of operations that it runs.
 *
 * A back end knows nothing of models, files or sequences. The runtime allocates buffers, brings weights into them (or
 * lends mapped memory), compiles graphs whose tensors are placed in those buffers, and replays them. Several devices
 * work side by side: the runtime cuts a model's list into one graph a device and copies between their buffers.
 *
 * Contract: buffer ids are small positive numbers of one backend. A submitted program may run asynchronously; reading,
 * writing or releasing a buffer that it uses before backend_wait is a bug. Indices among the inputs (ids, cells,
 * positions, sequences, pages) are the caller's promise. One thread at a time calls into one backend. */
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "base/log.h"
#include "graph/graph.h"

struct backend_options {
    unsigned threads; /* 0: one per physical core (CPU devices) */
    bool exact;       /* no rounding of activations: float arithmetic throughout */
};

struct device_info {
    char name[96];     /* "AMD EPYC ..." */
    const char *kind;  /* "cpu" or "gpu" */
    uint64_t memory_bytes;
    bool host_memory;  /* buffers are ordinary memory: backend_import works, copies are memcpy */
};

struct backend; /* every implementation's struct begins with `const struct backend_ops *ops` */
struct program; /* a compiled graph */
typedef uint64_t ticket;

struct backend_ops {
    const char *name; /* "ref", "cpu" */
    void (*close)(struct backend *b);
    void (*info)(struct backend *b, struct device_info *out);
    enum err_code (*alloc)(struct backend *b, uint64_t bytes, uint32_t *buffer, struct err *e);
    enum err_code (*import)(struct backend *b, const void *host, uint64_t bytes, uint32_t *buffer, struct err *e);
    void (*release)(struct backend *b, uint32_t buffer);
    enum err_code (*upload)(struct backend *b, uint32_t buffer, uint64_t off, const void *src, uint64_t n,
                            struct err *e);
    enum err_code (*download)(struct backend *b, uint32_t buffer, uint64_t off, void *dst, uint64_t n,
                              struct err *e);
    uint64_t (*weight_bytes)(struct backend *b, enum qtype type, const uint64_t ne[TENSOR_DIMS]);
    bool (*supports)(struct backend *b, const struct graph *g, const struct op *op);
    uint64_t (*scratch_bytes)(struct backend *b, const struct graph *g);
    enum err_code (*compile)(struct backend *b, const struct graph *g, struct program **out, struct err *e);
    void (*program_free)(struct backend *b, struct program *p);
    enum err_code (*submit)(struct backend *b, struct program *p, ticket *t, struct err *e);
    enum err_code (*wait)(struct backend *b, ticket t, struct err *e);
};
struct backend {
    const struct backend_ops *ops;
    /* Asked now and then while a program runs, at least once a block of a model, with done and total as parts of that
     * program, by the thread that is inside submit or wait. If it says no the program ends early with ERR_INTERRUPTED,
     * and what it was to make is undefined. The runtime sets it around a run; zero: nobody is asked. */
    struct progress progress;
};

/* Opens a device by name: "ref" (scalar, obvious, slow: the oracle) or "cpu". ERR_USAGE for another name. */
enum err_code backend_open(const char *name, const struct backend_options *o, struct backend **out, struct err *e);
static inline void backend_close(struct backend *b) { if (b) b->ops->close(b); }
/* Memory of the device, not initialised. */
static inline enum err_code backend_alloc(struct backend *b, uint64_t bytes, uint32_t *buffer, struct err *e) {
    return b->ops->alloc(b, bytes, buffer, e);
}
/* Lends host memory (a mapped file) as a read-only buffer without a copy; it must outlive the buffer. ERR_UNSUPPORTED
 * on devices with a memory of their own. */
static inline enum err_code backend_import(struct backend *b, const void *host, uint64_t bytes, uint32_t *buffer,
                                           struct err *e) {
    return b->ops->import(b, host, bytes, buffer, e);
}
static inline void backend_release(struct backend *b, uint32_t buffer) { b->ops->release(b, buffer); }
static inline enum err_code backend_upload(struct backend *b, uint32_t buffer, uint64_t off, const void *src,
                                           uint64_t n, struct err *e) {
    return b->ops->upload(b, buffer, off, src, n, e);
}
static inline enum err_code backend_download(struct backend *b, uint32_t buffer, uint64_t off, void *dst, uint64_t n,
                                             struct err *e) {
    return b->ops->download(b, buffer, off, dst, n, e);
}
/* Bytes that a weight takes on this device: what the planner counts. 0: the type cannot be held. */
static inline uint64_t backend_weight_bytes(struct backend *b, enum qtype type, const uint64_t ne[TENSOR_DIMS]) {
    return b->ops->weight_bytes(b, type, ne);
}
/* Whether the device runs this operation of g itself. */
static inline bool backend_supports(struct backend *b, const struct graph *g, const struct op *op) {
    return b->ops->supports(b, g, op);
}
/* Memory that the device needs beside g's own buffers to run it. Shared by all programs of the backend: the largest
 * counts. */
static inline uint64_t backend_scratch_bytes(struct backend *b, const struct graph *g) {
    return b->ops->scratch_bytes(b, g);
}
/* g must be finished and placed and outlive the program. ERR_UNSUPPORTED names the first operation it cannot run. */
static inline enum err_code backend_compile(struct backend *b, const struct graph *g, struct program **out,
                                            struct err *e) {
    return b->ops->compile(b, g, out, e);
}
static inline void program_free(struct backend *b, struct program *p) { if (p) b->ops->program_free(b, p); }
static inline enum err_code backend_submit(struct backend *b, struct program *p, ticket *t, struct err *e) {
    return b->ops->submit(b, p, t, e);
}
static inline enum err_code backend_wait(struct backend *b, ticket t, struct err *e) { return b->ops->wait(b, t, e); }
#endif
