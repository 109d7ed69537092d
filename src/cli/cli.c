/* Errors, output, interruption and progress of all commands. See cli.h. */
#include "cli/cli.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/mem.h"
#include "base/os.h"

int cli_fail(const struct snug_error *e) {
    cli_progress_end();
    fflush(stdout);
    fprintf(stderr, "snug: %s\n", e->message);
    return e->exit_status ? e->exit_status : 1;
}

int cli_fail_usage(const struct err *e) {
    struct snug_error p = { .exit_status = err_exit_status(e->code) };
    err_format(e, p.message, sizeof p.message);
    return cli_fail(&p);
}

/* --- Ctrl-C, and being asked to end --- */

static volatile sig_atomic_t interrupted;

static void on_interrupt(int sig) {
    interrupted = 1;
    signal(sig, SIG_DFL);
}

bool cli_interrupted(void) {
    static bool ready;
    if (!ready) {
        struct sigaction a = { .sa_handler = on_interrupt };
        sigaction(SIGINT, &a, NULL);
        sigaction(SIGTERM, &a, NULL);
        ready = true;
    }
    return interrupted;
}

/* --- Progress --- */

static struct { uint64_t start_ns; int last; bool shown; char what[48]; } bar;

static void draw_bar(const char *what, double share) {
    enum { WIDTH = 30 };
    double spent = (double)(os_now_ns() - bar.start_ns) * 1e-9, left = share > 0.01 ? spent * (1 - share) / share : 0;
    int full = (int)(share * WIDTH);
    fprintf(stderr, "\r%-28.28s [%.*s%*s] %3d%%", what, full, "##############################", WIDTH - full, "",
            (int)(share * 100));
    if (left > 0) fprintf(stderr, "  %d:%02d left ", (int)left / 60, (int)left % 60);
    fputs("\033[K", stderr);
    bar.shown = true;
}

static bool progress(void *user, const char *what, double done, double total) {
    (void)user;
    double share = total > 0 ? done / total : 0;
    if (strncmp(bar.what, what, sizeof bar.what - 1) != 0) {
        cli_progress_end();
        snprintf(bar.what, sizeof bar.what, "%s", what);
        bar.start_ns = os_now_ns();
        bar.last = -1;
    }
    bool terminal = isatty(STDERR_FILENO);
    int step = (int)(share * (terminal ? 200 : 10));
    if (step != bar.last) {
        bar.last = step;
        if (terminal) draw_bar(what, share);
        else fprintf(stderr, "%s: %d%%\n", what, (int)(share * 100));
    }
    return !cli_interrupted();
}

struct snug_progress cli_progress(void) {
    cli_interrupted(); /* from now on: files are there before the first step */
    return (struct snug_progress){ .step = progress };
}

void cli_progress_end(void) {
    if (bar.shown) fputs("\r\033[K", stderr);
    bar.shown = false;
}

/* --- Output --- */

int cli_flush(void) {
    if (!fflush(stdout) && !ferror(stdout)) return 0;
    if (errno != EPIPE) fprintf(stderr, "snug: standard output: %s\n", strerror(errno));
    return 1;
}

int cli_json(json_t *object) {
    cli_progress_end();
    if (!object) {
        fputs("snug: the result cannot be written as JSON: a figure is no number, or a text no UTF-8\n", stderr);
        return 1;
    }
    int failed = json_dumpf(object, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(12));
    json_decref(object);
    putchar('\n');
    return cli_flush() || failed;
}

/* --- Shared options and input --- */

enum err_code cli_open_options(const struct opts *o, struct snug_open_options *out, struct err *e) {
    *out = (struct snug_open_options){ .backend = opts_str(o, "--backend"), .exact = opts_has(o, "--exact"),
                                       .cache_type_k = opts_str(o, "--cache-type-k"),
                                       .cache_type_v = opts_str(o, "--cache-type-v") };
    uint32_t threads = 0;
    TRY(opts_u32(o, "--threads", 1, 1024, &threads, e));
    out->threads = threads;
    return ERR_NONE;
}

static enum err_code read_stdin(char **text, size_t *n, struct err *e) {
    struct buf b = { 0 };
    char piece[1 << 14];
    for (size_t got; (got = fread(piece, 1, sizeof piece, stdin)) > 0;) buf_add(&b, piece, got);
    enum err_code rc = ferror(stdin) ? err_set_errno(e, "cannot read standard input") : buf_status(&b, e);
    if (rc) {
        buf_fini(&b);
        return rc;
    }
    *text = b.p;
    *n = b.n;
    return ERR_NONE;
}

enum err_code cli_read_text(const char *path, char **text, size_t *n, struct err *e) {
    *text = NULL;
    *n = 0;
    return path ? os_read_file(path, (size_t)1 << 30, text, n, e) : read_stdin(text, n, e);
}
