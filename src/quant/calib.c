/* Calibration text: one stream of tokens, cut into windows.
 *
 * One stream rather than one row a record, so that every row is full and the rows are alike for short and long
 * records. The windows that are taken lie evenly over the whole stream: a file's beginning is not its average. */
#include "quant/calib.h"

#include <stdio.h>
#include <string.h>

#include "format/calib_source.h"
#include "quant/hash.h"
#include "runtime/token_stream.h"

/* Made by tools/embed.c from data/calibration. */
extern const unsigned char calibration_text[];
extern const size_t calibration_text_bytes;

struct str calib_builtin(void) {
    return (struct str){ (const char *)calibration_text, calibration_text_bytes };
}

static enum err_code choose_sizes(const struct engine *en, const struct calib_options *o, const struct token_stream *s,
                                  struct calib_tokens *c, struct err *e) {
    uint32_t n_ctx = en->model->hp.n_ctx_train;
    c->length = o->length ? o->length : n_ctx < CALIB_LENGTH ? n_ctx : CALIB_LENGTH;
    c->rows = o->rows ? o->rows : CALIB_ROWS;
    if (c->length < 2 || c->length > n_ctx)
        return err_set(e, ERR_USAGE, "calibration rows of %u tokens: between 2 and the model's context of %u are "
                       "possible", c->length, n_ctx);
    size_t windows = s->n / c->length;
    if (!windows)
        return err_set(e, ERR_USAGE, "the calibration text has %zu tokens, less than one row of %u: give a longer text "
                       "or shorter rows", s->n, c->length);
    if (c->rows > windows) c->rows = (uint32_t)windows;
    return ERR_NONE;
}

/* Row i is the window in the middle of the i-th of `rows` equal parts. */
static enum err_code cut(const struct engine *en, const struct token_stream *s, struct calib_tokens *c, struct err *e) {
    size_t windows = s->n / c->length, row_bytes = c->length * sizeof *c->ids;
    c->ids = mem_alloc(c->rows, row_bytes);
    if (!c->ids) return err_no_memory(e, c->rows * row_bytes);
    bool bos = en->tok && en->vocab.add_bos && en->vocab.bos >= 0;
    for (size_t i = 0; i < c->rows; i++) {
        size_t window = (2 * i + 1) * windows / (2 * (size_t)c->rows);
        memcpy(c->ids + i * c->length, s->ids + window * c->length, row_bytes);
        if (bos) c->ids[i * c->length] = en->vocab.bos;
    }
    c->hash = hash_bytes(HASH_START, c->ids, c->rows * row_bytes);
    return ERR_NONE;
}

enum err_code calib_open(const struct engine *en, const struct calib_options *o, struct calib_tokens *out,
                         struct err *e) {
    memset(out, 0, sizeof *out);
    const char *slash = o->file ? strrchr(o->file, '/') : NULL;
    snprintf(out->source, sizeof out->source, "%s", slash ? slash + 1 : o->file ? o->file : "built-in");
    struct token_stream s = { 0 };
    enum err_code rc = o->file ? token_stream_source(&s, en, o->file, e)
                               : token_stream_text(&s, en, calib_builtin(), e);
    if (!rc) rc = choose_sizes(en, o, &s, out, e);
    if (!rc) rc = cut(en, &s, out, e);
    mem_free(s.ids);
    char *file = rc && o->file ? calib_source_file(o->file) : NULL;
    if (file) rc = err_where(e, rc, "%s", file);
    mem_free(file);
    return rc;
}

void calib_close(struct calib_tokens *c) {
    mem_free(c->ids);
    c->ids = NULL;
}
