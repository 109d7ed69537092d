/* Owns: the one callback that receives messages, and the shape of a progress step.
 * Promises: silent until someone sets a callback; a line of more than 1023 bytes is cut; safe from any
 * thread after log_set.
 * Leaves to others: where messages go and which of them are shown. */
#include "base/log.h"
#include <stdarg.h>
#include <stdio.h>
#include "base/utf8.h"

static log_fn *log_sink;
static void *log_user;

void log_set(log_fn *fn, void *user) {
    log_sink = fn;
    log_user = user;
}

static void emit(enum log_level level, const char *fmt, va_list args) {
    char line[1024];
    int n = vsnprintf(line, sizeof(line), fmt, args);
    if (n < 0) return;
    if ((size_t)n >= sizeof(line)) line[utf8_complete(line, sizeof(line) - 1)] = 0;
    log_sink(log_user, level, line);
}

void log_debug(const char *fmt, ...) {
    if (!log_sink) return;
    va_list args;
    va_start(args, fmt);
    emit(LOG_DEBUG, fmt, args);
    va_end(args);
}

void log_info(const char *fmt, ...) {
    if (!log_sink) return;
    va_list args;
    va_start(args, fmt);
    emit(LOG_INFO, fmt, args);
    va_end(args);
}

void log_warn(const char *fmt, ...) {
    if (!log_sink) return;
    va_list args;
    va_start(args, fmt);
    emit(LOG_WARN, fmt, args);
    va_end(args);
}

bool progress_step(const struct progress *p, const char *what, double done, double total) {
    return !p || !p->step || p->step(p->user, what, done, total);
}
