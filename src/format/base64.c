/* Owns the decoding of base64 (RFC 4648, the standard alphabet). */
#include "format/base64.h"

static int digit_of(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool base64_decode(struct str s, char *out, size_t *n) {
    *n = 0;
    if (s.n % 4) return false;
    for (size_t i = 0; i < s.n; i += 4) {
        uint32_t bits = 0;
        size_t pad = i + 4 < s.n || s.p[i + 3] != '=' ? 0 : s.p[i + 2] != '=' ? 1 : 2;
        for (size_t k = 0; k < 4; k++) {
            int digit = k < 4 - pad ? digit_of(s.p[i + k]) : 0;
            if (digit < 0) return false;
            bits = bits << 6 | (uint32_t)digit;
        }
        for (size_t k = 0; k < 3 - pad; k++) out[(*n)++] = (char)(bits >> (16 - 8 * k));
    }
    return true;
}
