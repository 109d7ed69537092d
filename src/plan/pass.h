#ifndef PLAN_PASS_H
#define PLAN_PASS_H
/* One pass of a whole model over a batch, as a graph, and the memory that it takes. The runtime runs what is built here
 * and the planner counts it, so that a plan and a run agree to the byte. */
#include "backend/backend.h"
#include "model/model.h"
#include "plan/kv_types.h"

enum { KV_PAGE = 32 /* cells a page */, PASS_DEFAULT_BATCH = 512, PASS_DEFAULT_CTX = 4096 };

struct pass_desc {
    uint32_t n_ctx;     /* tokens a sequence can have; 0: min(4096, the model's) */
    uint32_t n_seq;     /* sequences; 0: 1 */
    uint32_t n_batch;   /* most tokens a run; longer batches are cut; 0: 512 */
    uint32_t n_out;     /* most logits rows a run; 0: 1 */
    struct kv_types kv;
};
/* Zeros replaced by the defaults, batch and rows cut to what can occur. */
struct pass_desc pass_defaults(const struct hparams *hp, const struct pass_desc *d);
/* Logs a warning when d, with its defaults, asks for a longer context than the model was made for. */
void pass_warn(const struct hparams *hp, const struct pass_desc *d);

struct pass_memory { uint64_t kv_bytes, act_bytes, io_bytes, scratch_bytes; };
static inline uint64_t pass_memory_total(const struct pass_memory *m) {
    return m->kv_bytes + m->act_bytes + m->io_bytes + m->scratch_bytes;
}

/* Where weights come from: struct build's callback. */
struct pass_weights { tensor_id (*weight)(void *user, struct graph *g, enum slot s, uint32_t layer); void *user; };

struct pass {
    uint32_t n_tok, n_out;
    struct graph *g;
    tensor_id ids, pos, seq, cells, pages, inv_freq;
    tensor_id inv_freq_local; /* NO_TENSOR if the model has none */
    tensor_id rows, logits;   /* NO_TENSOR if n_out is 0 */
};
uint32_t pass_n_pages(const struct pass_desc *d); /* pages of one sequence */
/* Bytes of all caches in one buffer: layer by layer, keys then values. */
uint64_t pass_kv_bytes(const struct hparams *hp, const struct pass_desc *d);
/* Bytes of keys and values of one token in all layers. */
uint64_t pass_kv_token_bytes(const struct hparams *hp, struct kv_types kv);
/* The finished graph of n_tok tokens and n_out logits rows; d has its defaults; caches lie in kv_buffer. p is zeroed
 * by the caller and freed with pass_fini, also after an error. */
enum err_code pass_build(struct pass *p, const struct model *m, const struct pass_desc *d, const struct pass_weights *w,
                         uint32_t kv_buffer, struct err *e);
void pass_fini(struct pass *p);
/* What a session of that description takes on a device: the graph of its largest batch. */
enum err_code pass_memory(struct backend *be, const struct model *m, const struct pass_desc *d,
                          const struct pass_weights *w,
                          struct pass_memory *out, struct err *e);
#endif
