/* Owns what happens to a text before SentencePiece's models look for pieces in it: replacements by the vocabulary's
 * table, spaces at the ends and in runs taken away where and how the vocabulary says so, the prefix space, and U+2581
 * for each space. SentencePiece's own way with spaces is spm_text's; pipelines of Hugging Face go hf_text's. Bytes that
 * are no character are left as they are, for byte fallback to keep. */
#include <string.h>
#include "base/utf8.h"
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

/* --- Hugging Face's ways --- */

/* Unicode's property White_Space. */
static bool is_white(uint32_t cp) {
    return (cp >= 9 && cp <= 13) || cp == ' ' || cp == 0x85 || cp == 0xa0 || cp == 0x1680 ||
           (cp >= 0x2000 && cp <= 0x200a) || cp == 0x2028 || cp == 0x2029 || cp == 0x202f || cp == 0x205f ||
           cp == 0x3000;
}

static struct str trimmed(struct str s, unsigned spaces) {
    uint32_t cp;
    size_t start = 0, end = 0;
    for (size_t i = 0, step; i < s.n; i += step) {
        step = utf8_step(s.p + i, s.n - i, &cp);
        if (!is_white(cp)) end = i + step;
        else if (!end) start = i + step;
    }
    if (!(spaces & SPACES_TRIM_START)) start = 0;
    if (!(spaces & SPACES_TRIM_END)) end = s.n;
    if (start > end) start = end;
    return (struct str){ s.p + start, end - start };
}

static void add_joined(struct buf *out, struct str s) {
    for (size_t i = 0, end; i < s.n; i = end) {
        for (end = i + 1; end < s.n && !(s.p[end] == ' ' && s.p[end - 1] == ' '); ) end++;
        add_escaped(out, (struct str){ s.p + i, end - i });
        while (end < s.n && s.p[end] == ' ') end++;
    }
}

static void add_words(const struct tok_job *j, struct str s, struct buf *out) {
    uint32_t cp;
    for (size_t i = 0, step, start = s.n; i <= s.n; i += step) {
        step = i < s.n ? utf8_step(s.p + i, s.n - i, &cp) : 1;
        if (i < s.n && !is_white(cp)) {
            if (start == s.n) start = i;
            continue;
        }
        struct str word = { s.p + start, i - start };
        if (start == s.n) continue;
        if (wants_prefix(j, word)) buf_addz(out, SPM_SPACE);
        buf_add(out, word.p, word.n);
        start = s.n;
    }
}

static enum err_code hf_text(const struct tok_job *j, struct str text, struct buf *out, struct err *e) {
    unsigned spaces = j->t->v->spaces;
    struct buf plain = { 0 };
    struct str part;
    for (size_t i = 0; i < text.n; buf_add(&plain, part.p, part.n)) {
        i += next_part(j->t, (struct str){ text.p + i, text.n - i }, &part);
    }
    enum err_code rc = buf_status(&plain, e);
    struct str s = trimmed((struct str){ plain.p, plain.n }, spaces);
    if (!rc && s.n && spaces & SPACES_PART) {
        add_words(j, s, out);
    } else if (!rc && s.n) {
        if (wants_prefix(j, s)) buf_addz(out, SPM_SPACE);
        if (spaces & SPACES_JOIN) add_joined(out, s);
        else add_escaped(out, s);
    }
    buf_fini(&plain);
    return rc ? rc : buf_status(out, e);
}

enum err_code spm_text(const struct tok_job *j, struct str text, struct buf *out, struct err *e) {
    const struct tok *t = j->t;
    if (t->v->spaces) return hf_text(j, text, out, e);
    if (t->v->remove_extra_spaces && !j->user_before) text = without_leading(t, text);
    if (!text.n) return ERR_NONE;
    if (wants_prefix(j, text)) buf_addz(out, SPM_SPACE);
    if (t->charsmap.n_units || t->v->remove_extra_spaces) add_parts(j, text, out);
    else add_escaped(out, text);
    return buf_status(out, e);
}
