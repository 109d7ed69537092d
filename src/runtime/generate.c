/* The generation loop. Text is held back while it could still be the beginning of a stop text or of a character. */
#include "runtime/generate.h"
#include <math.h>
#include <string.h>
#include "base/os.h"

struct loop {
    const struct generate_desc *d;
    const struct engine *en;
    struct generate_result *out;
    struct tok_stream stream;
    struct buf text;       /* decoded */
    size_t given;          /* bytes of text that were given out */
    bool stopped;          /* a stop text was met, or the listener had enough */
    size_t cap_tokens;
};

/* Bytes at the end of text[from..n) that may begin a stop text. */
static size_t held_back(const struct loop *l, size_t from) {
    size_t most = 0;
    for (size_t i = 0; i < l->d->n_stop; i++) {
        size_t len = strlen(l->d->stop[i]), left = l->text.n - from;
        for (size_t k = len < left ? len : left; k > most; k--)
            if (!memcmp(l->text.p + l->text.n - k, l->d->stop[i], k)) most = k;
    }
    return most;
}

/* Where the first stop text begins in text[from..], or SIZE_MAX. */
static size_t find_stop(const struct loop *l, size_t from) {
    size_t first = SIZE_MAX;
    for (size_t i = 0; i < l->d->n_stop; i++) {
        size_t len = strlen(l->d->stop[i]);
        for (size_t p = from; len && p + len <= l->text.n && p < first; p++)
            if (!memcmp(l->text.p + p, l->d->stop[i], len)) first = p;
    }
    return first;
}

/* Tells the listener, who may stop it all. */
static void tell(struct loop *l, const char *text, size_t n) {
    if (!l->d->on_text || l->d->on_text(l->d->user, text, n)) return;
    l->stopped = true;
    l->out->stop = STOP_INTERRUPTED;
}

static void give(struct loop *l, size_t end) {
    const char *p = "";
    size_t n = 0;
    if (end > l->given) {
        p = l->text.p + l->given;
        n = end - l->given;
        buf_add(&l->out->text, p, n);
        l->given = end;
    }
    tell(l, p, n);
}

static void give_ready(struct loop *l, bool last) {
    size_t stop = find_stop(l, l->given);
    if (stop != SIZE_MAX) {
        give(l, stop);
        l->stopped = true;
        l->out->stop = STOP_WORD;
        return;
    }
    give(l, l->text.n - (last ? 0 : held_back(l, l->given)));
}

static enum err_code add_token(struct loop *l, int32_t id, struct err *e) {
    struct generate_result *r = l->out;
    if (r->n_tokens == l->cap_tokens) {
        size_t cap = l->cap_tokens ? 2 * l->cap_tokens : 256;
        int32_t *t = mem_realloc(r->tokens, r->n_tokens, cap, sizeof *t);
        if (!t) return err_no_memory(e, cap * sizeof *t);
        r->tokens = t;
        l->cap_tokens = cap;
    }
    r->tokens[r->n_tokens++] = id;
    if (!l->en->tok) {
        tell(l, "", 0);
        return ERR_NONE;
    }
    TRY(tok_stream_push(&l->stream, id, &l->text, e));
    TRY(buf_status(&l->text, e));
    give_ready(l, false);
    return ERR_NONE;
}

static bool is_end(const struct loop *l, int32_t id) {
    if (l->d->ignore_eos) return false;
    return l->en->tok ? tok_is_eog(l->en->tok, id) : id == l->en->model->hp.eos;
}

static enum err_code draw_tokens(struct loop *l, struct session *s, struct sampler *sampler, float *logits,
                                 struct err *e) {
    struct generate_result *r = l->out;
    for (;;) {
        if (l->d->max_tokens >= 0 && r->n_tokens >= (size_t)l->d->max_tokens) {
            r->stop = STOP_LENGTH;
            return ERR_NONE;
        }
        int32_t id = sampler_pick(sampler, logits);
        if (is_end(l, id)) {
            r->stop = STOP_EOG;
            return ERR_NONE;
        }
        TRY(add_token(l, id, e));
        TRY(sampler_accept(sampler, id, e));
        if (l->stopped) return ERR_NONE;
        if (session_length(s, 0) == session_n_ctx(s)) {
            r->stop = STOP_CONTEXT;
            return ERR_NONE;
        }
        if (l->d->max_tokens >= 0 && r->n_tokens >= (size_t)l->d->max_tokens) continue; /* no run for nothing */
        TRY(session_eval(s, &(struct batch){ .n = 1, .ids = &id }, logits, e));
    }
}

static bool go_on(void *loop, const char *what, double done, double total) {
    struct loop *l = loop;
    (void)what, (void)done, (void)total;
    tell(l, "", 0);
    return !l->stopped;
}

static enum err_code eval_prompt(struct loop *l, struct session *s, struct sampler *sampler, float *logits,
                                 struct err *e) {
    const struct generate_desc *d = l->d;
    if (d->n_prompt > session_n_ctx(s))
        return err_set(e, ERR_TOO_LARGE,
                       "the prompt has %zu tokens, the context %u: raise it with -c or shorten the prompt",
                       d->n_prompt, session_n_ctx(s));
    for (size_t i = 0; i < d->n_prompt; i++) TRY(sampler_accept(sampler, d->prompt[i], e));
    struct batch b = { .n = d->n_prompt, .ids = d->prompt, .progress = { .step = go_on, .user = l } };
    TRY(session_eval(s, &b, logits, e));
    for (uint32_t i = 0; i < l->en->model->hp.n_vocab; i++)
        if (!isfinite(logits[i])) return err_set(e, ERR_FORMAT, "the model's output is no number: its file is damaged");
    return ERR_NONE;
}

enum err_code generate(struct session *s, const struct engine *en, const struct generate_desc *d,
                       struct generate_result *out, struct err *e) {
    memset(out, 0, sizeof *out);
    if (!d->n_prompt) return err_set(e, ERR_USAGE, "the prompt is empty");
    struct loop l = { .d = d, .en = en, .out = out };
    struct sampler *sampler = NULL;
    uint32_t n_vocab = en->model->hp.n_vocab;
    float *logits = NEW_ARRAY(float, n_vocab);
    if (en->tok) tok_stream_init(&l.stream, en->tok, true);
    enum err_code rc = ERR_NONE;
    if (!logits) TRY_OUT(rc, err_no_memory(e, 4ull * n_vocab));
    TRY_OUT(rc, sampler_open(d->sampling, n_vocab, &sampler, e));
    uint64_t t0 = os_now_ns();
    rc = eval_prompt(&l, s, sampler, logits, e);
    uint64_t t1 = os_now_ns();
    if (rc == ERR_INTERRUPTED && l.stopped) rc = ERR_NONE; /* ends like an interruption of the text, with statistics */
    else if (!rc) rc = draw_tokens(&l, s, sampler, logits, e);
    out->prompt_ns = t1 - t0;
    out->eval_ns = os_now_ns() - t1;
    if (!rc && en->tok && !l.stopped) {
        tok_stream_end(&l.stream, &l.text);
        give_ready(&l, true);
    }
    if (!rc) rc = buf_status(&out->text, e);
out:
    if (en->tok) tok_stream_fini(&l.stream);
    buf_fini(&l.text);
    sampler_close(sampler);
    mem_free(logits);
    return rc;
}

void generate_fini(struct generate_result *r) {
    buf_fini(&r->text);
    mem_free(r->tokens);
    memset(r, 0, sizeof *r);
}
