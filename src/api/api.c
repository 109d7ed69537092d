/* The public API's models, tokens and messages. Commands have a file each. */
#include "api/api.h"
#include <stdio.h>
#include <string.h>
#include "base/cpu.h"
#include "base/log.h"
#include "base/pool.h"

int api_result(enum err_code rc, const struct err *err, struct snug_error *out) {
    if (!out) return (int)rc;
    *out = (struct snug_error){ .code = (int)rc, .exit_status = rc ? err_exit_status(rc) : 0 };
    if (rc) err_format(err, out->message, sizeof out->message);
    return (int)rc;
}

const char *snug_version(void) { return SNUG_VERSION; }

static void (*log_callback)(void *, int, const char *);
static void pass_log(void *user, enum log_level level, const char *line) { log_callback(user, (int)level, line); }

void snug_set_log(void (*fn)(void *user, int level, const char *line), void *user) {
    log_callback = fn;
    log_set(fn ? pass_log : NULL, user);
}

int snug_limit_cpu(const char *level, struct snug_error *out) {
    struct err e = { 0 };
    enum err_code rc = ERR_NONE;
    if (!cpu_limit(level))
        rc = err_set(&e, ERR_USAGE, "unknown CPU level \"%s\": scalar, avx2 (ARM: neon), avx512, vnni (dotprod), "
                     "amx (i8mm) or native", level);
    return api_result(rc, &e, out);
}

void snug_bind_threads(bool on) { pool_bind(on); }

int snug_parse_bytes(const char *text, uint64_t *bytes, struct snug_error *out) {
    struct err e = { 0 };
    return api_result(parse_bytes(text, bytes, &e), &e, out);
}

void snug_free(void *p) { mem_free(p); }

struct engine_options api_engine_options(const struct snug_open_options *o) {
    return (struct engine_options){ .backend = o ? o->backend : NULL, .threads = o ? o->threads : 0,
                                    .exact = o && o->exact, .cache_type_k = o ? o->cache_type_k : NULL,
                                    .cache_type_v = o ? o->cache_type_v : NULL };
}

struct progress api_progress(const struct snug_progress *p) {
    return (struct progress){ .step = p->step, .user = p->user };
}

static enum err_code wrap(struct engine *en, bool vocab_only, struct snug_model **out, struct err *e) {
    struct snug_model *m = NEW(struct snug_model);
    if (!m) {
        engine_close(en);
        return err_no_memory(e, sizeof *m);
    }
    *m = (struct snug_model){ .en = en, .vocab_only = vocab_only };
    *out = m;
    return ERR_NONE;
}

int snug_open(const char *path, const struct snug_open_options *o, struct snug_model **out, struct snug_error *error) {
    struct err e = { 0 };
    struct engine *en = NULL;
    struct engine_options eo = api_engine_options(o);
    *out = NULL;
    enum err_code rc = engine_open(path, &eo, &en, &e);
    if (!rc) rc = wrap(en, false, out, &e);
    return api_result(rc, &e, error);
}

int snug_open_vocab(const char *path, struct snug_model **out, struct snug_error *error) {
    struct err e = { 0 };
    struct engine *en = NULL;
    *out = NULL;
    enum err_code rc = engine_open_vocab(path, &en, &e);
    if (!rc) rc = wrap(en, true, out, &e);
    return api_result(rc, &e, error);
}

void snug_close(struct snug_model *m) {
    if (!m) return;
    session_close(m->session);
    engine_close(m->en);
    mem_free(m);
}

static uint64_t session_bytes(const struct session *s) {
    struct pass_memory t = session_taken(s);
    return pass_memory_total(&t);
}

void api_model_info(const struct engine *en, struct snug_model_info *out) {
    const struct hparams *hp = &en->model->hp;
    *out = (struct snug_model_info){ .parameters = model_parameters(en->model),
                                     .file_bytes = en->model->file->file_bytes,
        .n_vocab = hp->n_vocab, .n_ctx_train = hp->n_ctx_train, .n_embd = hp->n_embd, .n_layer = hp->n_layer,
        .has_tokenizer = en->tok != NULL, .mapped_bytes = en->mapped_bytes, .buffer_bytes = en->own_bytes,
        .load_ns = en->load_ns, .bos = hp->bos, .eos = hp->eos };
    snprintf(out->name, sizeof out->name, "%s", hp->name);
    snprintf(out->arch, sizeof out->arch, "%s", hp->arch->name);
    uint64_t weight_bytes = 0;
    for (uint32_t i = 0; i < en->model->n_weights; i++) weight_bytes += en->model->weights[i].src->bytes;
    if (out->parameters) out->bits_per_weight = 8.0 * (double)weight_bytes / (double)out->parameters;
}

void snug_model_info(const struct snug_model *m, struct snug_model_info *out) {
    memset(out, 0, sizeof *out);
    if (m->vocab_only) {
        out->n_vocab = m->en->vocab.n;
        out->has_tokenizer = true;
        return;
    }
    api_model_info(m->en, out);
    if (m->session) out->buffer_bytes += session_bytes(m->session);
}

enum err_code api_session(struct snug_model *m, const struct pass_desc *d, struct session **out, struct err *e) {
    bool same = m->session && !memcmp(&m->desc, d, sizeof *d);
    if (!same) {
        session_close(m->session);
        m->session = NULL;
        TRY(session_open(m->en, d, &m->session, e));
        m->desc = *d;
    }
    session_truncate(m->session, 0, 0);
    *out = m->session;
    return ERR_NONE;
}

static enum err_code need_tokenizer(const struct snug_model *m, struct err *e) {
    if (m->en->tok) return ERR_NONE;
    return err_set(e, ERR_UNSUPPORTED, "the model has no tokenizer: give token ids instead of text");
}

int snug_tokenize(const struct snug_model *m, const char *text, size_t n_bytes, bool add_bos, bool parse_special,
                  struct snug_tokens *out, struct snug_error *error) {
    struct err e = { 0 };
    *out = (struct snug_tokens){ 0 };
    unsigned flags = (add_bos ? TOK_ADD_SPECIAL : 0) | (parse_special ? TOK_PARSE_SPECIAL : 0);
    enum err_code rc = need_tokenizer(m, &e);
    if (!rc) rc = tok_encode(m->en->tok, (struct str){ text, n_bytes }, flags, &out->ids, &out->n, &e);
    return api_result(rc, &e, error);
}

int snug_piece(const struct snug_model *m, int32_t id, char **text, size_t *n_bytes, struct snug_error *error) {
    struct err e = { 0 };
    struct buf b = { 0 };
    enum err_code rc = need_tokenizer(m, &e);
    if (!rc) rc = tok_piece(m->en->tok, id, &b, &e);
    if (!rc) rc = buf_status(&b, &e);
    if (!rc && !b.p) buf_addz(&b, "");
    *text = rc ? NULL : b.p;
    *n_bytes = rc ? 0 : b.n;
    if (rc) buf_fini(&b);
    return api_result(rc, &e, error);
}
