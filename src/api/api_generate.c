/* snug_generate: a prompt in, text out. */
#include <string.h>
#include "api/api.h"
#include "base/num.h"
#include "base/os.h"
#include "runtime/generate.h"

const char *snug_stop_name(enum snug_stop s) {
    static const char *const names[] = { "stop", "length", "context", "word", "interrupted" };
    return (unsigned)s < ARRAY_LEN(names) ? names[s] : "?";
}

static enum snug_stop public_stop(enum generate_stop s) {
    switch (s) {
    case STOP_EOG: return SNUG_STOP_EOS;
    case STOP_LENGTH: return SNUG_STOP_LENGTH;
    case STOP_CONTEXT: return SNUG_STOP_CONTEXT;
    case STOP_WORD: return SNUG_STOP_WORD;
    case STOP_INTERRUPTED: return SNUG_STOP_INTERRUPTED;
    }
    return SNUG_STOP_INTERRUPTED;
}

static enum err_code choose_sampling(const struct snug_model *m, const struct snug_sampling *s, struct sample_params *p,
                                     struct err *e) {
    TRY(sample_defaults(m->en->model->file->generation, p, e));
    if (s->set & SNUG_SET_TEMP) p->temp = s->temp;
    if (s->set & SNUG_SET_TOP_K) p->top_k = s->top_k;
    if (s->set & SNUG_SET_TOP_P) p->top_p = s->top_p;
    if (s->set & SNUG_SET_MIN_P) p->min_p = s->min_p;
    if (s->set & SNUG_SET_REPEAT_PENALTY) p->repeat_penalty = s->repeat_penalty;
    if (s->set & SNUG_SET_PRESENCE) p->presence_penalty = s->presence_penalty;
    if (s->set & SNUG_SET_FREQUENCY) p->frequency_penalty = s->frequency_penalty;
    if (s->set & SNUG_SET_REPEAT_LAST_N) p->repeat_last_n = s->repeat_last_n;
    if (s->set & SNUG_SET_SEED) p->seed = s->seed;
    if (!(p->repeat_penalty > 0)) return err_set(e, ERR_USAGE, "--repeat-penalty must be above 0");
    return ERR_NONE;
}

static enum err_code prompt_ids(const struct snug_model *m, const struct snug_generate_options *o,
                                struct snug_tokens *t, struct err *e) {
    *t = (struct snug_tokens){ 0 };
    if (o->prompt_ids) {
        t->ids = mem_alloc(o->n_prompt_ids, sizeof *t->ids);
        if (!t->ids) return err_no_memory(e, o->n_prompt_ids * sizeof *t->ids);
        memcpy(t->ids, o->prompt_ids, o->n_prompt_ids * sizeof *t->ids);
        t->n = o->n_prompt_ids;
        return ERR_NONE;
    }
    if (!o->prompt_bytes) return err_set(e, ERR_USAGE, "the prompt is empty");
    if (!m->en->tok) return err_set(e, ERR_UNSUPPORTED, "the model has no tokenizer: give token ids instead of text");
    return tok_encode(m->en->tok, (struct str){ o->prompt, o->prompt_bytes }, TOK_ADD_SPECIAL | TOK_PARSE_SPECIAL,
                      &t->ids, &t->n, e);
}

static uint32_t context_size(const struct snug_model *m, const struct snug_generate_options *o) {
    return o->n_ctx ? o->n_ctx : (uint32_t)min_u64(4096, m->en->model->hp.n_ctx_train);
}

static enum err_code run(struct snug_model *m, const struct snug_generate_options *o, struct snug_generate_result *out,
                         struct err *e) {
    struct snug_tokens prompt = { 0 };
    struct generate_result r = { 0 };
    struct sample_params sampling;
    struct session *s = NULL;
    struct pass_desc sd = { .n_ctx = context_size(m, o) };
    enum err_code rc;
    TRY_OUT(rc, choose_sampling(m, &o->sampling, &sampling, e));
    TRY_OUT(rc, prompt_ids(m, o, &prompt, e));
    if (prompt.n > sd.n_ctx)
        TRY_OUT(rc, err_set(e, ERR_TOO_LARGE,
                            "the prompt has %zu tokens, the context %u: raise it with -c or shorten the prompt",
                            prompt.n, sd.n_ctx));
    TRY_OUT(rc, api_session(m, &sd, &s, e));
    struct generate_desc d = { .prompt = prompt.ids, .n_prompt = prompt.n,
                               .max_tokens = o->max_tokens > 0 ? o->max_tokens : -1,
                               .ignore_eos = o->ignore_eos, .stop = o->stop, .n_stop = o->n_stop, .sampling = &sampling,
                               .on_text = o->on_text, .user = o->user };
    TRY_OUT(rc, generate(s, m->en, &d, &r, e));
    struct snug_model_info info;
    snug_model_info(m, &info);
    if (!r.text.p) buf_addz(&r.text, "");
    *out = (struct snug_generate_result){ .text = r.text.p, .text_bytes = r.text.n, .tokens = r.tokens,
        .generated_tokens = r.n_tokens, .prompt_tokens = min_u64(prompt.n, session_length(s, 0)),
        .stop = public_stop(r.stop), .seed = sampling.seed,
        .load_ns = m->en->load_ns, .prompt_eval_ns = r.prompt_ns, .eval_ns = r.eval_ns,
        .total_ns = m->en->load_ns + r.prompt_ns + r.eval_ns,
        .bytes_per_token = engine_bytes_per_token(m->en) + session_kv_bytes_read(s, 0),
        .buffer_bytes = info.buffer_bytes, .mapped_bytes = info.mapped_bytes };
    memset(&r, 0, sizeof r);
out:
    generate_fini(&r);
    mem_free(prompt.ids);
    return rc;
}

int snug_generate(struct snug_model *m, const struct snug_generate_options *o, struct snug_generate_result *out,
                  struct snug_error *error) {
    struct err e = { 0 };
    memset(out, 0, sizeof *out);
    return api_result(run(m, o, out, &e), &e, error);
}

void snug_generate_free(struct snug_generate_result *r) {
    mem_free(r->text);
    mem_free(r->tokens);
    memset(r, 0, sizeof *r);
}
