#ifndef BASE_UTF8_H
#define BASE_UTF8_H
/* Characters of UTF-8, in spans that need not be valid. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decodes the first code point of s[0..n), n > 0: its length 1..4 and *cp. A broken sequence gives length 1 and *cp =
 * 0xFFFD; surrogates, overlong forms and values over 10FFFF are broken. */
size_t utf8_step(const char *s, size_t n, uint32_t *cp);
/* Writes 1..4 bytes; surrogates and values over 10FFFF become FFFD. */
size_t utf8_put(uint32_t cp, char out[4]);
bool utf8_valid(const char *s, size_t n);
/* How many bytes of s[0..n) are whole characters: the rest (0..3 bytes) is the beginning of one that may still come. */
size_t utf8_complete(const char *s, size_t n);
#endif
