/* Owns: how errors are filled, given a place and written out.
 * Promises: never allocates, never fails, keeps every string terminated; text that is too long loses its least telling
 * part (the end of a sentence, the beginning of a path) and is never cut inside a UTF-8 character.
 * Leaves to others: deciding what is an error, and printing. */
#define ERR_BODIES
#include "base/err.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "base/num.h"
#include "base/utf8.h"

/* vsnprintf into buf whose truncation keeps whole characters; the length written. What a file said may be quoted: its
 * line ends and other control characters become spaces, so that an error stays one line. */
static size_t put(char *buf, size_t size, const char *fmt, va_list args) {
    int n = vsnprintf(buf, size, fmt, args);
    if (n < 0) n = 0;
    size_t len = (size_t)n;
    if (len >= size) len = utf8_complete(buf, size - 1);
    buf[len] = 0;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)buf[i] < 0x20 || buf[i] == 0x7F) buf[i] = ' ';
    return len;
}

static void start(struct err *e, enum err_code code) {
    e->code = code;
    e->has_off = false;
    e->off = 0;
    e->where[0] = 0;
}

enum err_code err_set(struct err *e, enum err_code code, const char *fmt, ...) {
    if (!e) return code;
    va_list args;
    va_start(args, fmt);
    put(e->msg, sizeof(e->msg), fmt, args);
    va_end(args);
    start(e, code);
    return code;
}

enum err_code err_set_at(struct err *e, enum err_code code, uint64_t off, const char *fmt, ...) {
    if (!e) return code;
    va_list args;
    va_start(args, fmt);
    put(e->msg, sizeof(e->msg), fmt, args);
    va_end(args);
    start(e, code);
    e->has_off = true;
    e->off = off;
    return code;
}

static enum err_code code_of_errno(int number) {
    switch (number) {
    case ENOSPC:
    case EDQUOT: return ERR_NO_SPACE;
    case ENOMEM: return ERR_NO_MEMORY;
    case ENOENT: return ERR_NOT_FOUND;
    default: return ERR_IO;
    }
}

enum err_code err_set_errno(struct err *e, const char *fmt, ...) {
    int number = errno;
    enum err_code code = code_of_errno(number);
    if (!e) return code;
    char why[100];
    errno = number;
    int why_len = snprintf(why, sizeof(why), ": %m"); /* unlike strerror, safe with threads */
    if (why_len < 0) why_len = 0;
    if ((size_t)why_len >= sizeof(why)) why_len = (int)sizeof(why) - 1;
    va_list args;
    va_start(args, fmt);
    size_t n = put(e->msg, sizeof(e->msg) - (size_t)why_len, fmt, args);
    va_end(args);
    memcpy(e->msg + n, why, (size_t)why_len + 1);
    start(e, code);
    return code;
}

enum err_code err_no_memory(struct err *e, uint64_t bytes) {
    char text[16];
    format_bytes(bytes, text, sizeof(text));
    return err_set(e, ERR_NO_MEMORY, "out of memory: %s more could not be had", text);
}

/* true when inner already begins with the place outer. */
static bool names_already(const char *inner, const char *outer, size_t n) {
    return n && strncmp(inner, outer, n) == 0 && (inner[n] == 0 || inner[n] == ':');
}

enum err_code err_where(struct err *e, enum err_code code, const char *fmt, ...) {
    if (!code || !e) return code;
    char outer[4200]; /* longer than PATH_MAX, for the end of a path matters most */
    va_list args;
    va_start(args, fmt);
    size_t outer_len = put(outer, sizeof(outer), fmt, args);
    va_end(args);
    if (!e->code) e->code = code;
    if (names_already(e->where, outer, outer_len)) return e->code;
    size_t inner_len = strlen(e->where), joint = inner_len ? 2 : 0, used = inner_len + joint + 1;
    if (used + 4 > sizeof(e->where)) return e->code;
    size_t room = sizeof(e->where) - used;
    const char *from = outer;
    if (outer_len > room) { /* the end of a long path tells most, and the inner place more than the outer */
        from = outer + outer_len - (room - 3);
        while ((*from & 0xC0) == 0x80) from++;
        from -= 3;
        memcpy(outer + (from - outer), "...", 3);
        outer_len = strlen(from);
    }
    memmove(e->where + outer_len + joint, e->where, inner_len + 1);
    memcpy(e->where, from, outer_len);
    if (joint) memcpy(e->where + outer_len, ": ", 2);
    return e->code;
}

void err_format(const struct err *e, char *buf, unsigned size) {
    if (!size) return;
    char at[40] = "";
    if (e->has_off) snprintf(at, sizeof(at), " (byte %llu)", (unsigned long long)e->off);
    int n = snprintf(buf, size, "%s%s%s%s", e->where, e->where[0] ? ": " : "", e->msg, at);
    if (n < 0) buf[0] = 0;
    else if ((unsigned)n >= size) buf[utf8_complete(buf, size - 1)] = 0;
}

int err_exit_status(enum err_code code) {
    static const int status[ERR_COUNT] = {
#define ERR(name, exit_status, text) [ERR_##name] = exit_status,
#include "base/err.def"
#undef ERR
    };
    return (unsigned)code < ERR_COUNT ? status[code] : 1;
}

const char *err_name(enum err_code code) {
    static const char *const names[ERR_COUNT] = {
        [ERR_NONE] = "no error",
#define ERR(name, exit_status, text) [ERR_##name] = text,
#include "base/err.def"
#undef ERR
    };
    return (unsigned)code < ERR_COUNT ? names[code] : "unknown error";
}
