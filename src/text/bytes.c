/* Owns the byte alphabet of GPT-2's tokenizer, in which all byte-level vocabularies are written: printable bytes
 * stand for themselves, the other 68 for the characters from U+0100 on, in order. Also owns the replacement of broken
 * UTF-8. */
#include <string.h>
#include "text/bytes.h"
#include "base/utf8.h"

/* Bytes that are printable in Latin-1, without the space and the soft hyphen. */
static bool stands_for_itself(uint32_t c) {
    return (c >= 33 && c <= 126) || (c >= 161 && c <= 172) || (c >= 174 && c <= 255);
}

/* The others in order of value: 0..32, 127..160, 173. */
int byte_of_alphabet(uint32_t cp) {
    if (cp < 256) return stands_for_itself(cp) ? (int)cp : -1;
    uint32_t i = cp - 256;
    if (i <= 32) return (int)i;
    if (i <= 66) return (int)(127 + i - 33);
    return i == 67 ? 173 : -1;
}

uint32_t alphabet_of_byte(uint8_t byte) {
    if (stands_for_itself(byte)) return byte;
    if (byte <= 32) return 256u + byte;
    return byte == 173 ? 256 + 67 : 256u + 33 + (byte - 127u);
}

size_t bytes_of_piece(struct str piece, char *out) {
    size_t n = 0;
    for (size_t i = 0; i < piece.n; ) {
        uint32_t cp;
        i += utf8_step(piece.p + i, piece.n - i, &cp);
        int byte = byte_of_alphabet(cp);
        if (byte < 0) {
            memcpy(out, piece.p, piece.n);
            return piece.n;
        }
        out[n++] = (char)byte;
    }
    return n;
}

/* Length of the longest beginning of s that could be continued to a character, at least 1, when s[0..) is broken or
 * cut. The ranges of the second byte are those of Unicode's table 3-7. */
static size_t broken_part(const uint8_t *s, size_t n, bool *cut) {
    uint8_t lead = s[0], lo = 0x80, hi = 0xbf;
    size_t want = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    *cut = false;
    if (lead < 0xc2 || lead > 0xf4) return 1;
    if (lead == 0xe0) lo = 0xa0;
    if (lead == 0xed) hi = 0x9f;
    if (lead == 0xf0) lo = 0x90;
    if (lead == 0xf4) hi = 0x8f;
    for (size_t i = 1; i < want; i++) {
        if (i == n) {
            *cut = true;
            return n;
        }
        if (s[i] < lo || s[i] > hi) return i;
        lo = 0x80;
        hi = 0xbf;
    }
    return 1;
}

size_t bytes_to_text(struct str s, enum broken_rule rule, bool last, struct buf *out) {
    size_t i = 0, done = 0; /* s[done..i) is whole and not yet written */
    if (!s.n) return 0;
    while (i < s.n) {
        uint32_t cp;
        size_t step = utf8_step(s.p + i, s.n - i, &cp);
        if (step > 1 || (uint8_t)s.p[i] < 0x80) {
            i += step;
            continue;
        }
        bool cut;
        size_t part = broken_part((const uint8_t *)s.p + i, s.n - i, &cut);
        buf_add(out, s.p + done, i - done);
        done = i;
        if (cut && !last) return done;
        for (size_t k = rule == BROKEN_BYTE ? part : 1; k; k--) buf_addz(out, "\xef\xbf\xbd");
        i += part;
        done = i;
    }
    buf_add(out, s.p + done, i - done);
    return i;
}
