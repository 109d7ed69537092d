/* Owns what SentencePiece does to a text before it looks for pieces: replacements by the vocabulary's table, spaces at
 * the ends and in runs taken away where the vocabulary says so, the prefix space, and U+2581 for each space. Bytes that
 * are no character are left as they are, for byte fallback to keep. */
#include <string.h>
#include "text/tok_impl.h"

static bool is_space(const char *p, size_t n) { return n >= 3 && !memcmp(p, SPM_SPACE, 3); }

static bool wants_prefix(const struct tok_job *j, struct str text) {
    const struct vocab *v = j->t->v;
    if (!v->add_space_prefix || (v->prefix_space_first_only && !j->first)) return false;
    return !v->prefix_space_once || !(text.p[0] == ' ' || is_space(text.p, text.n));
}

static void add_escaped(struct buf *out, struct str s) {
    for (size_t i = 0; i < s.n; ) {
        const char *p = memchr(s.p + i, ' ', s.n - i);
        size_t end = p ? (size_t)(p - s.p) : s.n;
        buf_add(out, s.p + i, end - i);
        if (p) buf_addz(out, SPM_SPACE);
        i = end + (p != NULL);
    }
}

/* What the beginning of text becomes: a replacement or the first character. Returns the bytes it takes. */
static size_t next_part(const struct tok *t, struct str text, struct str *to) {
    uint32_t cp;
    size_t n = charsmap_find(&t->charsmap, text, to);
    if (n) return n;
    *to = (struct str){ text.p, utf8_step(text.p, text.n, &cp) };
    return to->n;
}

static struct str without_leading(const struct tok *t, struct str text) {
    struct str part;
    while (text.n) {
        size_t step = next_part(t, text, &part);
        if (!str_eqz(part, " ")) break;
        text = (struct str){ text.p + step, text.n - step };
    }
    return text;
}

/* Spaces behind a space go where they are extra: those that a replacement begins with, too. */
static void add_parts(const struct tok_job *j, struct str text, struct buf *out) {
    const struct tok *t = j->t;
    bool extra = t->v->remove_extra_spaces, after_space = extra && !j->user_before;
    struct str part;
    for (size_t i = 0; i < text.n; ) {
        i += next_part(t, (struct str){ text.p + i, text.n - i }, &part);
        while (after_space && part.n && part.p[0] == ' ') part = (struct str){ part.p + 1, part.n - 1 };
        if (part.n) after_space = extra && part.p[part.n - 1] == ' ';
        add_escaped(out, part);
    }
    while (extra && !j->user_behind && out->n >= 3 && is_space(out->p + out->n - 3, 3)) out->n -= 3;
}

enum err_code spm_text(const struct tok_job *j, struct str text, struct buf *out, struct err *e) {
    const struct tok *t = j->t;
    if (t->v->remove_extra_spaces && !j->user_before) text = without_leading(t, text);
    if (!text.n) return ERR_NONE;
    if (wants_prefix(j, text)) buf_addz(out, SPM_SPACE);
    if (t->charsmap.n_units || t->v->remove_extra_spaces) add_parts(j, text, out);
    else add_escaped(out, text);
    return buf_status(out, e);
}
