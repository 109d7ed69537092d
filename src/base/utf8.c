/* Owns: what is a character in UTF-8 and what is not.
 * Promises: no byte beyond the span is read, whatever stands in it.
 * Leaves to others: Unicode properties and normalization (text). */
#include "base/utf8.h"

/* Bytes that a character beginning with c has, 1 for a byte that begins none (Unicode standard, table 3-7). */
static size_t utf8_length(uint8_t c) {
    if (c >= 0xC2 && c <= 0xDF) return 2;
    if (c >= 0xE0 && c <= 0xEF) return 3;
    if (c >= 0xF0 && c <= 0xF4) return 4;
    return 1;
}

/* Whether byte i (1..3) may follow in a character that begins with `first`: the second byte's range excludes overlong
 * forms, surrogates and values over 10FFFF (same table). */
static bool utf8_follows(uint8_t first, size_t i, uint8_t c) {
    uint8_t low = 0x80, high = 0xBF;
    if (i == 1) {
        if (first == 0xE0) low = 0xA0;
        if (first == 0xED) high = 0x9F;
        if (first == 0xF0) low = 0x90;
        if (first == 0xF4) high = 0x8F;
    }
    return c >= low && c <= high;
}

size_t utf8_step(const char *s, size_t n, uint32_t *cp) {
    const uint8_t *u = (const uint8_t *)s;
    size_t len = utf8_length(u[0]);
    if (u[0] < 0x80) {
        *cp = u[0];
        return 1;
    }
    *cp = 0xFFFD;
    if (len == 1 || len > n) return 1;
    uint32_t value = u[0] & (0x7Fu >> len);
    for (size_t i = 1; i < len; i++) {
        if (!utf8_follows(u[0], i, u[i])) return 1;
        value = value << 6 | (u[i] & 0x3F);
    }
    *cp = value;
    return len;
}

size_t utf8_put(uint32_t cp, char out[4]) {
    if (cp > 0x10FFFF || (cp >= 0xD800 && cp <= 0xDFFF)) cp = 0xFFFD;
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    size_t n = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, cp >>= 6) out[i] = (char)(0x80 | (cp & 0x3F));
    out[0] = (char)((0xF00u >> n & 0xFF) | cp);
    return n;
}

bool utf8_valid(const char *s, size_t n) {
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        size_t step = utf8_step(s + i, n - i, &cp);
        if (step == 1 && (uint8_t)s[i] >= 0x80) return false;
        i += step;
    }
    return true;
}

size_t utf8_complete(const char *s, size_t n) {
    const uint8_t *u = (const uint8_t *)s;
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        const uint8_t *first = u + n - back;
        if ((*first & 0xC0) == 0x80) continue;
        if (utf8_length(*first) <= back) return n;
        for (size_t i = 1; i < back; i++)
            if (!utf8_follows(*first, i, first[i])) return n;
        return n - back;
    }
    return n;
}
