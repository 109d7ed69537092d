/* Owns decoding: ids come in one by one, text goes out as soon as it is whole characters. tok_decode is the same with
 * all ids at once, so both always agree.
 *
 * Broken bytes become U+FFFD as the reference implementations do it: byte-level models replace each maximal part of a
 * character, byte fallback replaces each byte. Characters that are whole within broken surroundings are kept. */
#include <string.h>
#include "text/tok_impl.h"

enum err_code tok_piece(const struct tok *t, int32_t id, struct buf *out, struct err *e) {
    if (id < 0 || (uint32_t)id >= t->v->n) {
        return err_set(e, ERR_USAGE, "token id %d is not in the vocabulary of %u pieces", id, t->v->n);
    }
    buf_add(out, t->bytes[id].p, t->bytes[id].n);
    return buf_status(out, e);
}

void tok_stream_init(struct tok_stream *s, const struct tok *t, bool skip_special) {
    *s = (struct tok_stream){ .t = t, .skip_special = skip_special };
}

static enum broken_rule rule_of(const struct tok *t) {
    return vocab_is_spm(t->v) ? BROKEN_BYTE : BROKEN_PART;
}

enum err_code tok_stream_push(struct tok_stream *s, int32_t id, struct buf *out, struct err *e) {
    const struct vocab *v = s->t->v;
    size_t before = s->pending.n;
    TRY(tok_piece(s->t, id, &s->pending, e));
    if (s->skip_special && (v->kind[id] == TOKEN_CONTROL || v->kind[id] == TOKEN_UNKNOWN)) {
        s->pending.n = before;
        return ERR_NONE;
    }
    if (!s->pending.n) return ERR_NONE;
    struct str text = { s->pending.p, s->pending.n };
    /* The space that encoding put before the text; all of them where it leaves none. */
    bool strip = vocab_is_spm(v) && (v->add_space_prefix || v->remove_extra_spaces);
    while (!s->started && strip && text.n && text.p[0] == ' ') {
        text.p++;
        text.n--;
        s->started = !v->remove_extra_spaces;
    }
    if (text.n) s->started = true;
    size_t used = bytes_to_text(text, rule_of(s->t), false, out);
    char rest[4]; /* an unfinished character has three bytes at most */
    size_t n_rest = text.n - used;
    memcpy(rest, text.p + used, n_rest);
    buf_clear(&s->pending);
    buf_add(&s->pending, rest, n_rest);
    TRY(buf_status(&s->pending, e));
    return buf_status(out, e);
}

void tok_stream_end(struct tok_stream *s, struct buf *out) {
    bytes_to_text((struct str){ s->pending.p, s->pending.n }, rule_of(s->t), true, out);
    buf_clear(&s->pending);
}

void tok_stream_fini(struct tok_stream *s) { buf_fini(&s->pending); }

enum err_code tok_decode(const struct tok *t, const int32_t *ids, size_t n, bool skip_special, struct buf *out,
                         struct err *e) {
    struct tok_stream s;
    enum err_code rc = ERR_NONE;
    tok_stream_init(&s, t, skip_special);
    for (size_t i = 0; i < n; i++) TRY_OUT(rc, tok_stream_push(&s, ids[i], out, e));
    tok_stream_end(&s, out);
    rc = buf_status(out, e);
out:
    tok_stream_fini(&s);
    return rc;
}
