#ifndef BASE_ERR_H
#define BASE_ERR_H
/* Errors are values: a code, a place and a sentence.
 *
 * A function that can fail on input, files, devices or memory returns enum err_code (ERR_NONE is 0) and takes
 * `struct err *` as its last parameter, which may be NULL. The one who finds the error fills it with err_set;
 * callers pass it up with TRY, or go to their `out:` label. Nothing below cli prints or exits. */
#include <stdbool.h>
#include <stdint.h>
#include "base/compiler.h"

enum err_code {
    ERR_NONE = 0,
#define ERR(name, exit_status, text) ERR_##name,
#include "base/err.def"
#undef ERR
    ERR_COUNT
};

struct err {
    enum err_code code;
    bool has_off;
    uint64_t off;    /* byte offset in the file, if has_off */
    char where[160]; /* file, "file: tensor", option; empty if unknown */
    char msg[480];   /* one sentence: what is wrong and what to do */
};

/* Fills e (if not NULL; an error already in it is replaced) and returns code. Place is empty. */
enum err_code err_set(struct err *e, enum err_code code, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* The same for a byte of a file being parsed. */
enum err_code err_set_at(struct err *e, enum err_code code, uint64_t off, const char *fmt, ...) PRINTF_LIKE(4, 5);
/* The same after a system call failed: appends strerror(errno); ENOSPC and EDQUOT become ERR_NO_SPACE, ENOMEM
 * ERR_NO_MEMORY, ENOENT ERR_NOT_FOUND, anything else ERR_IO. */
enum err_code err_set_errno(struct err *e, const char *fmt, ...) PRINTF_LIKE(2, 3);
enum err_code err_no_memory(struct err *e, uint64_t bytes);
/* Puts a place before the one that is there ("tensor", then "file: tensor"); returns the code in e, or code if e is
 * NULL. Does nothing if code is ERR_NONE or if the place is there already. A path that is too long loses its
 * beginning. */
enum err_code err_where(struct err *e, enum err_code code, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* "place: sentence (byte 123)" into buf; always terminated. */
void err_format(const struct err *e, char *buf, unsigned size);
int err_exit_status(enum err_code code);
/* What kind of thing went wrong, "bad file". */
const char *err_name(enum err_code code);

/* clang's analyzer looks into one file at a time. It is told here what it cannot see: that these return the code that
 * they are given, so that what failed is not taken for done. */
#if defined(__clang_analyzer__) && !defined(ERR_BODIES)
#define err_set(e, code, ...) ((void)err_set(e, code, __VA_ARGS__), (code))
#define err_set_at(e, code, off, ...) ((void)err_set_at(e, code, off, __VA_ARGS__), (code))
#define err_set_errno(e, ...) ((void)err_set_errno(e, __VA_ARGS__), ERR_IO)
#define err_no_memory(e, bytes) ((void)err_no_memory(e, bytes), ERR_NO_MEMORY)
#define err_where(e, code, ...) ((void)err_where(e, code, __VA_ARGS__), (code))
#endif

#define TRY(expr) do { enum err_code try_rc_ = (expr); if (UNLIKELY(try_rc_)) return try_rc_; } while (0)
#define TRY_OUT(rc, expr) do { (rc) = (expr); if (UNLIKELY(rc)) goto out; } while (0)
#endif
