#ifndef FORMAT_BASE64_H
#define FORMAT_BASE64_H
/* Bytes within JSON. */
#include <stdbool.h>
#include "base/str.h"

/* Decodes base64 with its padding into out, which has room for 3 bytes of each 4 of s; *n says how many. False if s is
 * none. */
bool base64_decode(struct str s, char *out, size_t *n);
#endif
