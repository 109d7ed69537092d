#ifndef RUNTIME_BLOCK_H
#define RUNTIME_BLOCK_H
/* Runs a model piece by piece over many short sequences, in float, keeping only one block's weights in memory: what
 * calibration and measuring are made of. States are hidden vectors of whole sequences, (n_embd, length) each. */
#include "runtime/engine.h"

struct block_runner;
/* length: tokens of every sequence. The engine should be exact. */
enum err_code block_open(struct engine *en, uint32_t length, struct block_runner **out, struct err *e);
void block_close(struct block_runner *r);

/* Replaces weights for the runs that follow: data holds the matrix of (slot, layer) in `type`, in the row order of the
 * model's file (not of GGUF), and stays borrowed until block_restore. */
enum err_code block_replace(struct block_runner *r, enum slot s, uint32_t layer, enum qtype type, const void *data,
                            struct err *e);
void block_restore(struct block_runner *r);

/* Embeds one sequence: ids (length) -> x (n_embd, length). */
enum err_code block_embed(struct block_runner *r, const int32_t *ids, float *x, struct err *e);
/* What a matrix, or the matrices of a stack, met in one sequence. */
struct block_input {
    enum slot slot;
    uint64_t n_in, n_tok;
    uint64_t n_slot;    /* matrices that a token meets; 1 unless it is a stack */
    bool shared;        /* all of them get the same vector */
    const float *x;     /* (n_in, n_slot, n_tok), or (n_in, n_tok) if shared */
    const int32_t *ids; /* (n_slot, n_tok) which matrix each slot is; NULL: slot s is matrix s */
};
/* x (n_embd, length) through block `layer`, in place. tap, if not NULL, is called after the run with the inputs of
 * every matrix and stack; what it is given is its own for the call. */
typedef void block_tap(void *user, const struct block_input *in);
enum err_code block_run(struct block_runner *r, uint32_t layer, float *x, block_tap *tap, void *user, struct err *e);
/* Final norm and head: x (n_embd, length) -> logits (n_vocab, length). tap as above, for the head's input. */
enum err_code block_head(struct block_runner *r, const float *x, float *logits, block_tap *tap, void *user,
                         struct err *e);
/* Lets go of the mapped pages of a block's weights. */
void block_release(struct block_runner *r, uint32_t layer);
#endif
