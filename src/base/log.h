#ifndef BASE_LOG_H
#define BASE_LOG_H
/* Messages to people. The library never prints: it hands lines to a callback, which is silent until someone sets it. */
#include <stdbool.h>
#include "base/compiler.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN };
typedef void log_fn(void *user, enum log_level level, const char *line); /* line has no newline */
/* Set once at start, before threads. NULL silences. */
void log_set(log_fn *fn, void *user);
void log_debug(const char *fmt, ...) PRINTF_LIKE(1, 2);
void log_info(const char *fmt, ...) PRINTF_LIKE(1, 2);
void log_warn(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* Long work reports how far it is and asks whether to go on: done and total in any unit that grows evenly with time. */
struct progress {
    /* false stops the work, which then returns ERR_INTERRUPTED. Called from the thread that started the work. */
    bool (*step)(void *user, const char *what, double done, double total);
    void *user;
};
/* true when the work may go on; p may be NULL. */
bool progress_step(const struct progress *p, const char *what, double done, double total);
#endif
