#ifndef RUNTIME_GENERATE_H
#define RUNTIME_GENERATE_H
/* From a prompt to a text: evaluates the prompt, draws tokens one by one, gives out whole characters as they come. */
#include "runtime/sample.h"
#include "runtime/session.h"

enum generate_stop { STOP_EOG, STOP_LENGTH, STOP_CONTEXT, STOP_WORD, STOP_INTERRUPTED };

struct generate_desc {
    const int32_t *prompt;
    size_t n_prompt;            /* >= 1 */
    int64_t max_tokens;         /* < 0: no limit */
    bool ignore_eos;
    const char *const *stop;    /* texts that end the generation; they are not given out */
    size_t n_stop;
    const struct sample_params *sampling;
    /* Text as it becomes final; n is 0 now and then while the prompt is read (at least once a block), and after a token
     * that gives no text yet. False stops. May be NULL. */
    bool (*on_text)(void *user, const char *text, size_t n);
    void *user;
};

struct generate_result {
    struct buf text;            /* what was given out */
    int32_t *tokens;            /* (n_tokens) */
    size_t n_tokens;
    enum generate_stop stop;
    uint64_t prompt_ns, eval_ns;
};

/* Runs in sequence 0 of s, which must be empty. The result is the caller's, also after an error (generate_fini). */
enum err_code generate(struct session *s, const struct engine *en, const struct generate_desc *d,
                       struct generate_result *out, struct err *e);
void generate_fini(struct generate_result *r);
#endif
