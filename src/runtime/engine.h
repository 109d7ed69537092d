#ifndef RUNTIME_ENGINE_H
#define RUNTIME_ENGINE_H
/* An engine is a model ready to run: its files mapped, its weights placed on a device, its vocabulary read. Sessions
 * and block runs borrow it; it outlives them. One thread at a time. */
#include "backend/backend.h"
#include "model/model.h"
#include "plan/kv_types.h"
#include "text/tok.h"

struct engine_options {
    const char *backend;    /* a device by name; NULL: "cpu" */
    struct backend *device; /* or an opened one, which the engine closes, also when it cannot be opened itself */
    unsigned threads;       /* of a device opened by name; 0: one a core */
    bool exact;
    const char *cache_type_k, *cache_type_v; /* "f32", "f16", "q8_0"; NULL: f16, or f32 if exact */
};

/* Where a weight is on the device. */
struct placed { enum qtype type; struct place at; const struct place *each; /* (n_mat) as graph_weight_apart's */ };

struct engine {
    struct model *model;
    struct vocab vocab;
    struct tok *tok;            /* NULL: the model has no tokenizer */
    struct backend *be;
    bool exact;
    struct kv_types kv;         /* of its sessions */
    float *divisors;            /* (n_rot / 2) of rope_freqs, or NULL: what rope_inv_freq takes */
    struct placed *placed;      /* (model->n_weights), in the model's order */
    struct arena places;        /* of matrices that lie apart */
    uint64_t mapped_bytes;      /* weights read in place from the mapped files */
    uint64_t own_bytes;         /* weights and vectors copied to buffers of the device */
    uint64_t load_ns;
};

/* Opens path (see model_open), picks the backend and places the weights: matrices in place where the device shares the
 * host's memory and the file has each of them whole, vectors as F32 in one buffer. */
enum err_code engine_open(const char *path, const struct engine_options *o, struct engine **out, struct err *e);
void engine_close(struct engine *en);
/* Vocabulary and tokenizer alone, without weights or device; freed with engine_close. */
enum err_code engine_open_vocab(const char *path, struct engine **out, struct err *e);

/* The graph tensor of a weight as it lies on the device (struct build's callback; user is the engine). */
tensor_id engine_weight(void *engine, struct graph *g, enum slot s, uint32_t layer);
/* Bytes of one weight as placed. */
uint64_t engine_weight_bytes(const struct engine *en, uint32_t index);
/* Weight bytes that one token's pass reads: all matrices once; of an embedding that is no head, one row. */
uint64_t engine_bytes_per_token(const struct engine *en);
#endif
