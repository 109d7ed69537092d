#ifndef BACKEND_HOST_DEV_H
#define BACKEND_HOST_DEV_H
/* What devices that compute in ordinary memory share: the table of buffers, copies, and graphs bound to addresses. The
 * functions below have the signatures of struct backend_ops and stand in the devices' tables. */
#include "backend/backend.h"

struct host_buffer {
    uint8_t *p; /* NULL: free slot */
    uint64_t bytes;
    bool lent; /* imported: not freed, read-only */
};

/* Begins the struct of every host device. Zeroed apart from base is a device without buffers. */
struct host_dev {
    struct backend base;
    struct host_buffer *buffers; /* (n_buffers); buffer id i is entry i - 1 */
    uint32_t n_buffers;
    void *scratch;               /* shared by all programs; grows when a graph is compiled */
    uint64_t scratch_bytes;
    ticket last;                 /* programs run inside submit, so each ticket is done when it is given */
};

/* A compiled graph: at[t] is the address of tensor t if an operation names it, checked against its buffer; apart[t] the
 * addresses of its matrices if they lie apart, else NULL. */
struct program { const struct graph *g; uint8_t **at, ***apart; };

/* Frees all buffers and the scratch memory, not d itself. */
void host_fini(struct host_dev *d);
enum err_code host_alloc(struct backend *b, uint64_t bytes, uint32_t *buffer, struct err *e);
enum err_code host_import(struct backend *b, const void *host, uint64_t bytes, uint32_t *buffer, struct err *e);
void host_release(struct backend *b, uint32_t buffer);
enum err_code host_upload(struct backend *b, uint32_t buffer, uint64_t off, const void *src, uint64_t n, struct err *e);
enum err_code host_download(struct backend *b, uint32_t buffer, uint64_t off, void *dst, uint64_t n, struct err *e);
/* The bytes of the file: weights are read as they are stored. */
uint64_t host_weight_bytes(struct backend *b, enum qtype type, const uint64_t ne[TENSOR_DIMS]);
/* Whether every source has a type that op.def allows. */
bool host_supports(struct backend *b, const struct graph *g, const struct op *op);
/* Checks support and the place of every tensor (known buffer, inside it, aligned, not written if lent) and grows the
 * scratch memory to what the device's scratch_bytes says. Misplaced tensors are ERR_INTERNAL: the runtime placed
 * them. */
enum err_code host_compile(struct backend *b, const struct graph *g, struct program **out, struct err *e);
void host_program_free(struct backend *b, struct program *p);
/* For submit, before operation i of p: whether to go on, else ERR_INTERRUPTED. */
enum err_code host_go_on(struct backend *b, const struct program *p, uint32_t i, struct err *e);
enum err_code host_wait(struct backend *b, ticket t, struct err *e);

/* Reading an operation of a program. */
static inline uint64_t tensor_numbers(const struct tensor *t) { return t->ne[0] * tensor_rows(t); }
static inline const struct tensor *src_tensor(const struct program *p, const struct op *op, unsigned i) {
    return graph_tensor(p->g, op->src[i]);
}
static inline const float *src_f32(const struct program *p, const struct op *op, unsigned i) {
    return (const float *)(const void *)p->at[op->src[i]];
}
/* Matrix x of a stack of weights. */
static inline const uint8_t *src_matrix(const struct program *p, const struct op *op, unsigned i, uint64_t x) {
    const struct tensor *t = src_tensor(p, op, i);
    return p->apart[op->src[i]] ? p->apart[op->src[i]][x] : p->at[op->src[i]] + x * (t->bytes / t->ne[2]);
}
static inline const int32_t *src_i32(const struct program *p, const struct op *op, unsigned i) {
    return (const int32_t *)(const void *)p->at[op->src[i]];
}
static inline float *dst_f32(const struct program *p, const struct op *op) { return (float *)(void *)p->at[op->dst]; }
static inline int32_t *dst_i32(const struct program *p, const struct op *op) {
    return (int32_t *)(void *)p->at[op->dst];
}
/* Bytes from one row of t to the next; t has a known type. */
uint64_t tensor_row_bytes(const struct tensor *t);
#endif
