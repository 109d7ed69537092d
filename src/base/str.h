#ifndef BASE_STR_H
#define BASE_STR_H
/* Byte spans, growable buffers, sizes as people write them. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

/* Borrowed bytes, not terminated. */
struct span { const uint8_t *p; size_t n; };
/* Borrowed text, not terminated, any bytes. */
struct str { const char *p; size_t n; };
#define STR(literal) ((struct str){ (literal), sizeof(literal) - 1 })
static inline struct str str_of(const char *z) { size_t n = 0; while (z[n]) n++; return (struct str){ z, n }; }
bool str_eq(struct str a, struct str b);
bool str_eqz(struct str a, const char *z);
bool str_starts(struct str s, const char *prefix);

/* A growable byte buffer, always followed by a NUL once anything was added. Zero-initialised is empty. A failed
 * allocation sets `failed` and drops what is added after; check once at the end. */
struct buf { char *p; size_t n, cap; bool failed; };
void buf_add(struct buf *b, const void *p, size_t n);
void buf_addz(struct buf *b, const char *z);
void buf_addc(struct buf *b, char c);
void buf_addf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_clear(struct buf *b); /* keeps the memory */
void buf_fini(struct buf *b);
/* ERR_NO_MEMORY if any addition failed. */
enum err_code buf_status(const struct buf *b, struct err *e);

/* "22G" = 22e9, "22GiB" = 22 * 2^30, "1500M", "70B" (bytes are a plain number, B alone means bytes); fractions such as
 * 1.5G are fine. ERR_USAGE names the text. */
enum err_code parse_bytes(const char *text, uint64_t *out, struct err *e);
#endif
