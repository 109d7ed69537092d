#ifndef RUNTIME_SESSION_H
#define RUNTIME_SESSION_H
/* A session owns the KV cache of a number of sequences and runs batches of their tokens. All its memory is taken when
 * it is opened and can be asked for beforehand: decoding allocates nothing but graphs of new shapes. */
#include "base/log.h"
#include "plan/pass.h"
#include "runtime/engine.h"

/* What a session of d takes, exactly; struct pass_desc's zeros mean its defaults, and a KV type of 0 (F32) is kept by
 * exact engines only: others take F16. */
enum err_code session_memory(struct engine *en, const struct pass_desc *d, struct pass_memory *out, struct err *e);

struct session;
enum err_code session_open(struct engine *en, const struct pass_desc *d, struct session **out, struct err *e);
void session_close(struct session *s);
uint32_t session_n_ctx(const struct session *s);
struct pass_memory session_taken(const struct session *s);

/* Tokens to run. want[t]: give logits for token t. Positions of a sequence continue where it stands (session_length).
 * */
struct batch {
    size_t n;
    const int32_t *ids;
    const uint32_t *seq;      /* NULL: all 0 */
    const bool *want;         /* NULL: the last only */
    struct progress progress; /* asked while it runs, at least once a block; zero: none */
};
/* Runs the batch; logits (n_vocab, number of wanted tokens) in their order. A sequence that would outgrow n_ctx and ids
 * out of range are errors, and nothing has run then. If the progress says no: ERR_INTERRUPTED, and the pieces of
 * n_batch tokens before the present one have run. */
enum err_code session_eval(struct session *s, const struct batch *b, float *logits, struct err *e);
/* Tokens of sequence seq so far. */
uint32_t session_length(const struct session *s, uint32_t seq);
/* Drops all tokens from position `length` on. */
void session_truncate(struct session *s, uint32_t seq, uint32_t length);
/* KV bytes that the next token of seq reads. */
uint64_t session_kv_bytes_read(const struct session *s, uint32_t seq);
#endif
