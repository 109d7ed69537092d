/* Owns the rules for cutting text into words and running them with PCRE2. The rules are rows of pretok.def.
 *
 * The expressions were written for Oniguruma. PCRE2 agrees but for the classes: its \s has U+180E, which lost that
 * property in Unicode 6.3. So classes are spelled out before compiling. Two expressions of the rules would look at the
 * rest of a run from each of its places, which takes quadratic time (where PCRE2's compiler for this machine does not
 * see it by itself); they are run in another way with the same result. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>
#include "base/mem.h"
#include "base/utf8.h"
#include "text/pretok.h"

/* Cuts before each digit that has a multiple of three digits from itself to the end of its run. */
#define THREES "(?=(\\d{3})+(?!\\d))"

static const struct pretok_rule rules[] = {
#define PRETOK(names, flags, ...) { names, flags, { __VA_ARGS__ } },
#include "text/pretok.def"
#undef PRETOK
};

struct pretok { pcre2_code *re[PRETOK_MAX_RE] /* NULL for THREES */; size_t n; };

static bool names_have(const char *names, struct str name) {
    while (*names) {
        size_t n = strcspn(names, " ");
        if (n == name.n && !memcmp(names, name.p, n)) return true;
        names += n + (names[n] == ' ');
    }
    return false;
}

const struct pretok_rule *pretok_rule_named(struct str name) {
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        if (names_have(rules[i].names, name)) return &rules[i];
    }
    return NULL;
}

static size_t count(const struct pretok_rule *rule) {
    size_t n = 0;
    while (n < PRETOK_MAX_RE && rule->re[n]) n++;
    return n;
}

/* The next character of an expression, one that is written as \r, \n, \t or \x{...} being that character. 0 at the
 * end; other escapes stay two characters. */
static uint32_t next_of(struct str *re) {
    uint32_t cp = 0;
    if (!re->n) return 0;
    size_t step = utf8_step(re->p, re->n, &cp);
    const char *plain = cp == '\\' && re->n > 1 ? memchr("rnt", re->p[1], 3) : NULL;
    if (plain) {
        cp = (uint32_t)"\r\n\t"[*plain == 'r' ? 0 : *plain == 'n' ? 1 : 2];
        step = 2;
    } else if (str_starts(*re, "\\x{")) {
        const char *end = memchr(re->p, '}', re->n);
        cp = (uint32_t)strtoul(re->p + 3, NULL, 16);
        step = end ? (size_t)(end - re->p) + 1 : re->n;
    }
    *re = (struct str){ re->p + step, re->n - step };
    return cp;
}

static bool same_expression(struct str a, struct str b) {
    while (a.n && b.n) {
        if (next_of(&a) != next_of(&b)) return false;
    }
    return !a.n && !b.n;
}

const struct pretok_rule *pretok_rule_like(const struct str *re, size_t n, unsigned flags) {
    const struct pretok_rule *like = NULL;
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        const struct pretok_rule *r = &rules[i];
        bool same = count(r) == n;
        for (size_t k = 0; same && k < n; k++) same = same_expression(re[k], str_of(r->re[k]));
        unsigned must = PRETOK_NFC | PRETOK_IGNORE_MERGES;
        if (same && (r->flags & must) == (flags & must)) return r;
        if (same && !like) like = r;
    }
    return like;
}

struct str pretok_rule_name(const struct pretok_rule *rule) {
    return (struct str){ rule->names, strcspn(rule->names, " ") };
}

/* White space as Unicode's property has it, for use inside brackets. */
#define SPACE "\\t-\\r\\x{85}\\p{Z}"

/* Writes the expression with \s and \S spelled out. \S stands outside brackets only in the rules. */
static void spell_out(const char *re, struct buf *out) {
    bool in_class = false;
    for (const char *p = re; *p; p++) {
        if (*p == '\\' && p[1] == 's') {
            buf_addz(out, in_class ? SPACE : "[" SPACE "]");
            p++;
        } else if (*p == '\\' && p[1] == 'S') {
            buf_addz(out, "[^" SPACE "]");
            p++;
        } else if (*p == '\\' && p[1]) {
            buf_add(out, p++, 2);
        } else {
            if (*p == '[') in_class = true;
            if (*p == ']') in_class = false;
            buf_addc(out, *p);
        }
    }
}

/* Blanks at the end, sought from the first of a run only. */
static const char *linear(const char *re) { return strcmp(re, "\\s+$") ? re : "(?<!\\s)\\s++$"; }

static enum err_code compile(const char *re, pcre2_code **out, struct err *e) {
    struct buf b = { 0 };
    if (!strcmp(re, THREES)) return ERR_NONE; /* cut_threes */
    spell_out(linear(re), &b);
    enum err_code rc = buf_status(&b, e);
    if (!rc) {
        int code;
        PCRE2_SIZE at;
        *out = pcre2_compile((PCRE2_SPTR)b.p, b.n, PCRE2_UTF | PCRE2_UCP, &code, &at, NULL);
        if (!*out) rc = err_set(e, ERR_INTERNAL, "PCRE2 refuses the expression %s (error %d at %zu)", b.p, code, at);
        /* Without a just-in-time compiler the same code is interpreted, only slower. */
        else (void)pcre2_jit_compile(*out, PCRE2_JIT_COMPLETE);
    }
    buf_fini(&b);
    return rc;
}

enum err_code pretok_open(const struct pretok_rule *rule, struct pretok **out, struct err *e) {
    enum err_code rc = ERR_NONE;
    struct pretok *p = NEW(struct pretok);
    *out = NULL;
    if (!p) return err_no_memory(e, sizeof(*p));
    p->n = count(rule);
    for (size_t i = 0; i < p->n; i++) TRY_OUT(rc, compile(rule->re[i], &p->re[i], e));
    *out = p;
    p = NULL;
out:
    pretok_close(p);
    return rc;
}

void pretok_close(struct pretok *p) {
    if (!p) return;
    for (size_t i = 0; i < p->n; i++) pcre2_code_free(p->re[i]);
    mem_free(p);
}

/* Address space, not memory: the stack is touched as it grows. No rule has come near. */
#define JIT_STACK_MAX (8u << 20)

enum err_code pretok_run_init(const struct pretok *p, struct pretok_run *r, struct err *e) {
    *r = (struct pretok_run){ 0 };
    r->ctx = pcre2_match_context_create(NULL);
    r->stack = pcre2_jit_stack_create(32u << 10, JIT_STACK_MAX, NULL);
    bool made = r->ctx && r->stack;
    for (size_t i = 0; i < p->n; i++) {
        r->match[i] = pcre2_match_data_create(1, NULL);
        made = made && r->match[i];
    }
    if (!made) {
        pretok_run_fini(r);
        return err_no_memory(e, 64u << 10);
    }
    pcre2_jit_stack_assign(r->ctx, NULL, r->stack);
    return ERR_NONE;
}

void pretok_run_fini(struct pretok_run *r) {
    for (size_t i = 0; i < PRETOK_MAX_RE; i++) pcre2_match_data_free(r->match[i]);
    pcre2_match_context_free(r->ctx);
    pcre2_jit_stack_free(r->stack);
    *r = (struct pretok_run){ 0 };
}

struct splitter { const struct pretok *p; struct pretok_run *run; pretok_word *word; void *user; };

static enum err_code split(const struct splitter *sp, size_t level, struct str s, struct err *e);

/* The digits that s begins with, and the bytes they take. */
static size_t count_digits(struct str s, size_t *bytes) {
    size_t n = 0, at = 0;
    for (uint32_t cp; at < s.n; n++) {
        size_t step = utf8_step(s.p + at, s.n - at, &cp);
        if (utf8proc_category((utf8proc_int32_t)cp) != UTF8PROC_CATEGORY_ND) break;
        at += step;
    }
    *bytes = at;
    return n;
}

/* What THREES does, each run of digits looked at twice. */
static enum err_code cut_threes(const struct splitter *sp, size_t level, struct str s, struct err *e) {
    size_t done = 0, bytes;
    uint32_t cp;
    for (size_t at = 0; at < s.n; ) {
        size_t left = count_digits((struct str){ s.p + at, s.n - at }, &bytes), end = at + bytes;
        if (!left) at += utf8_step(s.p + at, s.n - at, &cp);
        for (; at < end; at += utf8_step(s.p + at, s.n - at, &cp), left--) {
            if (left % 3 || at == done) continue;
            TRY(split(sp, level + 1, (struct str){ s.p + done, at - done }, e));
            done = at;
        }
    }
    return done < s.n ? split(sp, level + 1, (struct str){ s.p + done, s.n - done }, e) : ERR_NONE;
}

/* Splits s by expression `level` and those after it: as deep as the rule has expressions. */
static enum err_code split(const struct splitter *sp, size_t level, struct str s, struct err *e) {
    if (level == sp->p->n) return sp->word(sp->user, s.p, s.n, e);
    if (!sp->p->re[level]) return cut_threes(sp, level, s, e);
    pcre2_match_data *md = sp->run->match[level];
    size_t done = 0, at = 0; /* words up to done are out, matches are sought from at */
    while (at < s.n) {
        int rc = pcre2_match(sp->p->re[level], (PCRE2_SPTR)s.p, s.n, at, PCRE2_NO_UTF_CHECK, md, sp->run->ctx);
        if (rc == PCRE2_ERROR_NOMATCH) break;
        if (rc < 0) return err_set(e, ERR_TOO_LARGE, "the text is too hard to cut into words (PCRE2 error %d)", rc);
        const PCRE2_SIZE *v = pcre2_get_ovector_pointer(md);
        size_t from = v[0], to = v[1];
        if (to == from) { /* nothing matched here: look behind the next character */
            uint32_t cp;
            at = from < s.n ? from + utf8_step(s.p + from, s.n - from, &cp) : s.n;
            continue;
        }
        if (from > done) TRY(split(sp, level + 1, (struct str){ s.p + done, from - done }, e));
        TRY(split(sp, level + 1, (struct str){ s.p + from, to - from }, e));
        done = at = to;
    }
    if (done < s.n) TRY(split(sp, level + 1, (struct str){ s.p + done, s.n - done }, e));
    return ERR_NONE;
}

enum err_code pretok_split(const struct pretok *p, struct pretok_run *r, struct str s, pretok_word *word, void *user,
                           struct err *e) {
    struct splitter sp = { p, r, word, user };
    return split(&sp, 0, s, e);
}
