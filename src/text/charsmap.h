#ifndef TEXT_CHARSMAP_H
#define TEXT_CHARSMAP_H
/* SentencePiece's precompiled table of replacements: what brings a text to the form that a vocabulary was trained on
 * (compatibility forms, control characters, odd spaces). docs/formats/sentencepiece.md describes the bytes. */
#include "base/str.h"

/* Borrows its bytes. Zeroed: replaces nothing. */
struct charsmap { const char *unit; uint32_t n_units; struct str texts; };

/* Takes the table from the bytes of a model file. ERR_FORMAT if its parts do not fit into them; what the table then
 * says is checked where it is read. */
enum err_code charsmap_init(struct charsmap *m, struct str bytes, struct err *e);
/* The longest beginning of text, n > 0, that is replaced: its length, and what stands for it in *to. 0 if none. */
size_t charsmap_find(const struct charsmap *m, struct str text, struct str *to);
#endif
