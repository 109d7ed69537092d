/* Owns the look-up in a precompiled table of replacements. The table is a trie in one array (a "double array"): from a
 * unit, the child for a byte stands at an offset that the unit holds, exclusive-or'ed with that byte, and is a child if
 * its label is that byte. A child with a leaf has the place of the replacement at its own offset. Tables come from
 * files: each step stays within the array, and the texts within their bytes. */
#include "text/charsmap.h"

#include <string.h>

/* Bytes of the longest text that is sought in the table. Real ones replace a few characters at once; a damaged one must
 * not read the rest of the text at each place of it. */
#define MAX_KEY 256

static uint32_t unit_at(const struct charsmap *m, uint32_t i) {
    uint32_t u;
    memcpy(&u, m->unit + (size_t)i * 4, 4);
    return u;
}

/* The layout of a unit: bits 0-7 label, 8 has a leaf, 9 the offset counts 256s, 10-30 offset, 31 is a leaf. */
static uint32_t offset_of(uint32_t unit) { return unit >> 10 << (unit >> 9 & 1 ? 8 : 0); }
static uint32_t label_of(uint32_t unit) { return unit & 0x800000ff; }
static bool has_leaf(uint32_t unit) { return unit >> 8 & 1; }
static uint32_t value_of(uint32_t unit) { return unit & 0x7fffffff; }

enum err_code charsmap_init(struct charsmap *m, struct str bytes, struct err *e) {
    uint32_t n;
    *m = (struct charsmap){ 0 };
    if (!bytes.n) return ERR_NONE;
    if (bytes.n >= 4) memcpy(&n, bytes.p, 4);
    if (bytes.n < 4 || n > bytes.n - 4 || n % 4 || !n) {
        return err_set(e, ERR_FORMAT, "the table of replacements (precompiled charsmap) of %zu bytes does not hold its "
                       "own parts", bytes.n);
    }
    m->unit = bytes.p + 4;
    m->n_units = n / 4;
    m->texts = (struct str){ bytes.p + 4 + n, bytes.n - 4 - n };
    return ERR_NONE;
}

/* Texts end with a zero byte. */
static bool text_at(const struct charsmap *m, uint32_t at, struct str *to) {
    const char *end = at < m->texts.n ? memchr(m->texts.p + at, 0, m->texts.n - at) : NULL;
    if (end) *to = (struct str){ m->texts.p + at, (size_t)(end - m->texts.p) - at };
    return end;
}

size_t charsmap_find(const struct charsmap *m, struct str text, struct str *to) {
    size_t found = 0, n = text.n < MAX_KEY ? text.n : MAX_KEY;
    if (!m->n_units) return 0;
    uint32_t at = offset_of(unit_at(m, 0));
    for (size_t i = 0; i < n; i++) {
        uint8_t byte = (uint8_t)text.p[i];
        uint32_t here = at ^ byte;
        if (here >= m->n_units) break;
        uint32_t unit = unit_at(m, here);
        if (label_of(unit) != byte) break;
        at = here ^ offset_of(unit);
        if (has_leaf(unit) && at < m->n_units && text_at(m, value_of(unit_at(m, at)), to)) found = i + 1;
    }
    return found;
}
