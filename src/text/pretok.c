/* Owns the rules for cutting text into words and running them with PCRE2. The rules are rows of pretok.def.
 *
 * The expressions were written for Oniguruma. PCRE2 agrees but for the classes: its \s has U+180E, which lost that
 * property in Unicode 6.3. So classes are spelled out before compiling. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>
#include "base/mem.h"
#include "text/pretok.h"

static const struct pretok_rule rules[] = {
#define PRETOK(names, flags, ...) { names, flags, { __VA_ARGS__ } },
#include "text/pretok.def"
#undef PRETOK
};

struct pretok { pcre2_code *re[PRETOK_MAX_RE]; size_t n; };

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

const struct pretok_rule *pretok_rule_like(const struct str *re, size_t n, unsigned flags) {
    const struct pretok_rule *like = NULL;
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        const struct pretok_rule *r = &rules[i];
        bool same = count(r) == n;
        for (size_t k = 0; same && k < n; k++) same = str_eqz(re[k], r->re[k]);
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

static enum err_code compile(const char *re, pcre2_code **out, struct err *e) {
    struct buf b = { 0 };
    spell_out(re, &b);
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

/* Splits s by expression `level` and those after it: as deep as the rule has expressions. */
static enum err_code split(const struct splitter *sp, size_t level, struct str s, struct err *e) {
    if (level == sp->p->n) return sp->word(sp->user, s.p, s.n, e);
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
