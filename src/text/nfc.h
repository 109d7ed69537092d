#ifndef TEXT_NFC_H
#define TEXT_NFC_H
/* Unicode's normal form C: characters composed, marks in the standard's order. */
#include <stdbool.h>
#include "base/str.h"

/* Whether the text is in that form for sure, by a look at its bytes. */
bool nfc_is_sure(struct str text);
/* Appends the text, valid UTF-8, in form C. Time is linear in its length. */
enum err_code nfc_text(struct str text, struct buf *out, struct err *e);
#endif
