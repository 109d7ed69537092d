#ifndef QUANT_MEASUREMENT_H
#define QUANT_MEASUREMENT_H
/* What is known of a model before bits are given out: for every matrix the error of its encoding at every type, what
 * such an error does to the model's output, and how large the inputs of its columns are. Made once by measure.h, kept
 * in a file, good for any target. docs/formats/measurement.md. */
#include <stdbool.h>
#include "base/mem.h"
#include "model/model.h"

struct measured_try {
    enum qtype type;
    double bpw;
    double rfn; /* ||W X - W' X||_F / ||W X||_F on calibration inputs X; 0 for the type the weights have already */
};

/* The tensor's encoding at one type put in place of its weights, alone: what it did to the output. */
struct measured_probe {
    enum qtype type;
    double kld; /* mean Kullback-Leibler divergence of the next token's probabilities from the model's own, in nats */
};

struct measured_tensor {
    const char *name;                    /* GGUF's, "blk.3.attn_q.weight" */
    uint64_t ne[3];                      /* (n_in, n_out, n_mat): n_mat > 1 for a stack */
    const struct measured_try *tries;    /* ascending in bits per weight: every type that shape and values allow */
    size_t n_tries;
    const struct measured_probe *probes; /* ascending in bits per weight; none where the model has too many blocks to
                                          * probe each: such tensors have the sensitivity of their neighbours */
    size_t n_probes;
    double sensitivity;                  /* nats per squared rfn, > 0 */
    const float *importance;             /* (n_mat, n_in) E[x_j^2] of each matrix's inputs; NULL for an embedding that
                                          * is no head */
};
static inline uint64_t measured_weights(const struct measured_tensor *t) { return t->ne[0] * t->ne[1] * t->ne[2]; }

/* How it was measured: two measurements with different settings do not mix. */
struct measured_settings {
    char source[256];      /* name of the calibration file without its directory, or "built-in" */
    uint64_t text_hash;    /* of the token ids that were used */
    uint32_t rows, length; /* sequences and their tokens, BOS included */
    uint32_t probe_rows, probe_length, probe_layers;
    uint64_t imatrix_hash; /* of a file whose importances took the place of the text's (importance_hash); 0: none */
};

struct measurement {
    char model_name[128], arch[32];
    uint64_t parameters;
    uint64_t model_hash; /* measurement_hash_model of what was measured */
    struct measured_settings settings;
    struct measured_tensor *tensors; /* in the order of the model's weights, matrices only */
    size_t n_tensors;
    struct arena mem; /* owns all of the above */
};
/* An empty one: the model's identity, and its matrices without any results. Settings are zero. */
enum err_code measurement_new(const struct model *model, struct measurement **out, struct err *e);
void measurement_free(struct measurement *m); /* NULL is fine */

/* Names, shapes, all vectors and 64 evenly spread pieces of every matrix, decoded and in GGUF's order of rows: the same
 * for a model in whatever file without loss, another one after any training. Touches 64 pages of every tensor. */
enum err_code measurement_hash_model(const struct model *m, uint64_t *hash, struct err *e);

/* Of all importances, in order. */
uint64_t measurement_hash_importances(const struct measurement *m);

/* NULL if there is none. */
const struct measured_tensor *measurement_find(const struct measurement *m, const char *name);
/* NULL if the type was not tried. */
const struct measured_try *measured_try_of(const struct measured_tensor *t, enum qtype type);
/* Divergence at the model's output, in nats, that tensor t costs in that type: losses of different tensors add up.
 * INFINITY if the type was not tried. */
double measured_loss(const struct measured_tensor *t, enum qtype type);

/* Writes path (JSON) and, before it, the importances beside it (measurement_importance_path), each atomically. */
enum err_code measurement_write(const struct measurement *m, const char *path, struct err *e);
/* Reads both files back, with everything checked; what was written comes back bit for bit. `model`, if not NULL, must
 * be what was measured: the error says what differs. On error *out is NULL. */
enum err_code measurement_read(const char *path, const struct model *model, struct measurement **out, struct err *e);
/* "NAME.imatrix.gguf" for "NAME.json" or "NAME": a GGUF importance file as llama.cpp reads it. Caller frees (mem_free);
 * NULL when out of memory. */
char *measurement_importance_path(const char *path);
#endif
