/* Owns: text that is not C strings: spans, growable buffers, sizes in bytes as people write them.
 * Promises: parsing is independent of the locale; buffers remember a failed allocation instead of reporting each one.
 * Leaves to others: characters (utf8). */
#include "base/str.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "base/mem.h"
#include "base/num.h"

bool str_eq(struct str a, struct str b) {
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool str_eqz(struct str a, const char *z) {
    return str_eq(a, str_of(z));
}

bool str_starts(struct str s, const char *prefix) {
    struct str p = str_of(prefix);
    return s.n >= p.n && str_eq((struct str){ s.p, p.n }, p);
}

/* Room for n more bytes and the NUL. */
static bool buf_room(struct buf *b, size_t n) {
    uint64_t need;
    if (b->failed) return false;
    if (!add_u64(b->n, n, &need) || !add_u64(need, 1, &need)) goto fail;
    if (need <= b->cap) return true;
    uint64_t cap = max_u64(need, max_u64(64, (uint64_t)b->cap + b->cap / 2));
    char *p = mem_realloc(b->p, b->n, cap, 1);
    if (!p) goto fail;
    b->p = p;
    b->cap = cap;
    return true;
fail:
    b->failed = true;
    return false;
}

void buf_add(struct buf *b, const void *p, size_t n) {
    if (!buf_room(b, n)) return;
    if (n) memcpy(b->p + b->n, p, n);
    b->n += n;
    b->p[b->n] = 0;
}

void buf_addz(struct buf *b, const char *z) {
    buf_add(b, z, strlen(z));
}

void buf_addc(struct buf *b, char c) {
    buf_add(b, &c, 1);
}

void buf_addf(struct buf *b, const char *fmt, ...) {
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    if (n < 0) b->failed = true;
    else if (buf_room(b, (size_t)n)) {
        vsnprintf(b->p + b->n, (size_t)n + 1, fmt, again);
        b->n += (size_t)n;
    }
    va_end(again);
    va_end(args);
}

void buf_clear(struct buf *b) {
    b->n = 0;
    if (b->p) b->p[0] = 0;
}

void buf_fini(struct buf *b) {
    mem_free(b->p);
    *b = (struct buf){ 0 };
}

enum err_code buf_status(const struct buf *b, struct err *e) {
    return b->failed ? err_no_memory(e, b->n) : ERR_NONE;
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static char lower(char c) {
    return (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
}

/* The factor of "", "B", "K", "KB", "Ki", "KiB" and so on in any case; 0 if text is none of them. */
static uint64_t unit_of(const char *text) {
    static const char prefixes[] = "kmgtpe";
    uint64_t decimal = 1, binary = 1;
    const char *prefix = *text ? strchr(prefixes, lower(*text)) : NULL;
    if (prefix) {
        for (const char *p = prefixes; p <= prefix; p++) decimal *= 1000, binary *= 1024;
        text++;
        if (lower(*text) == 'i') decimal = binary, text++;
    }
    if (lower(*text) == 'b') text++;
    return *text ? 0 : decimal;
}

enum err_code parse_bytes(const char *text, uint64_t *out, struct err *e) {
    const char *s = text;
    uint64_t whole = 0;
    double fraction = 0, digit = 1;
    bool fits = true, any = is_digit(*s), parts = false;
    for (; is_digit(*s); s++) fits = fits && mul_u64(whole, 10, &whole) && add_u64(whole, (uint64_t)(*s - '0'), &whole);
    if (any && *s == '.') {
        any = is_digit(*++s);
        for (parts = true; is_digit(*s); s++) fraction += (*s - '0') * (digit /= 10);
    }
    if (*s == ' ' && s[1]) s++;
    uint64_t unit = unit_of(s);
    if (!any || !unit || (parts && unit == 1))
        return err_set(e, ERR_USAGE, "'%s' is not a size: write 22G, 22GiB, 1500M or a number of bytes", text);
    /* At most 2^60, so that the sum below cannot wrap before it is checked. */
    uint64_t rest = (uint64_t)round(fraction * (double)unit);
    if (!fits || !mul_u64(whole, unit, &whole) || !add_u64(whole, rest, out))
        return err_set(e, ERR_USAGE, "the size '%s' does not fit in 64 bits", text);
    return ERR_NONE;
}
