/* Owns: how what a user gives as text becomes the tokens of a model, for calibration and for evaluation alike.
 * Leaves to others: the formats of files (format/calib_source.c), cutting the stream. */
#include "runtime/token_stream.h"

#include <string.h>

#include "format/calib_source.h"

static enum err_code add(struct token_stream *s, const void *ids, size_t n, struct err *e) {
    if (n > s->cap - s->n || !s->ids) {
        size_t cap = s->n + n + s->n / 2; /* half again, so that many short records are not copied each time */
        int32_t *grown = mem_realloc(s->ids, s->n, cap, sizeof *grown);
        if (!grown) return err_no_memory(e, cap * sizeof *grown);
        s->ids = grown;
        s->cap = cap;
    }
    if (n) memcpy(s->ids + s->n, ids, n * sizeof *s->ids);
    s->n += n;
    return ERR_NONE;
}

enum err_code token_stream_text(struct token_stream *s, const struct engine *en, struct str text, struct err *e) {
    if (!en->tok)
        return err_set(e, ERR_UNSUPPORTED, "the model has no tokenizer to read text with: give a JSON array of ids");
    int32_t *ids;
    size_t n;
    TRY(tok_encode(en->tok, text, s->n ? 0 : TOK_ADD_SPECIAL, &ids, &n, e));
    enum err_code rc = add(s, ids, n, e);
    mem_free(ids);
    return rc;
}

static enum err_code add_chat(struct token_stream *s, const struct engine *en, const struct calib_record *r,
                              struct err *e) {
    struct buf text = { 0 };
    calib_chat_text(r, &text);
    enum err_code rc = buf_status(&text, e);
    if (!rc) rc = token_stream_text(s, en, (struct str){ text.p, text.n }, e);
    buf_fini(&text);
    return rc;
}

static enum err_code add_ids(struct token_stream *s, const struct engine *en, const struct calib_record *r,
                             struct err *e) {
    for (size_t i = 0; i < r->n_ids; i++)
        if (r->ids[i] >= en->model->hp.n_vocab)
            return err_set(e, ERR_FORMAT, "token id %u is beyond the model's vocabulary of %u", r->ids[i],
                           en->model->hp.n_vocab);
    return add(s, r->ids, r->n_ids, e);
}

static enum err_code add_record(struct token_stream *s, const struct engine *en, const struct calib_record *r,
                                struct err *e) {
    switch (r->kind) {
    case CALIB_TEXT: return token_stream_text(s, en, r->text, e);
    case CALIB_CHAT: return add_chat(s, en, r, e);
    case CALIB_IDS: return add_ids(s, en, r, e);
    }
    return ERR_NONE;
}

enum err_code token_stream_source(struct token_stream *s, const struct engine *en, const char *name, struct err *e) {
    struct calib_source *source;
    struct calib_record r;
    bool more = true;
    TRY(calib_source_open(name, &source, e));
    enum err_code rc = calib_source_next(source, &r, &more, e);
    while (!rc && more) {
        rc = add_record(s, en, &r, e);
        if (!rc) rc = calib_source_next(source, &r, &more, e);
    }
    calib_source_close(source);
    char *file = rc ? calib_source_file(name) : NULL;
    if (file) rc = err_where(e, rc, "%s", file);
    mem_free(file);
    return rc;
}
