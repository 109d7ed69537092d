#ifndef TEXT_BYTES_H
#define TEXT_BYTES_H
/* Between text and bytes: the byte alphabet of byte-level pieces, and broken UTF-8 made readable. */
#include <stdbool.h>
#include "base/str.h"

/* The byte that a character of the byte alphabet stands for, -1 if cp is not in it. */
int byte_of_alphabet(uint32_t cp);
/* The character that stands for a byte. */
uint32_t alphabet_of_byte(uint8_t byte);
/* Undoes the alphabet: writes at most piece.n bytes to out and returns how many; a piece with a character outside the
 * alphabet stands for itself and is copied. */
size_t bytes_of_piece(struct str piece, char *out);

/* How broken bytes are shown: one U+FFFD for each maximal part of a character (Unicode's rule, section 3.9), or one for
 * each byte (what byte fallback does). */
enum broken_rule { BROKEN_PART, BROKEN_BYTE };
/* Appends s to out with broken bytes replaced. Unless `last`, stops before an unfinished character at the end, which
 * may still become whole. Returns the bytes consumed. */
size_t bytes_to_text(struct str s, enum broken_rule rule, bool last, struct buf *out);
#endif
