#ifndef CLI_CLI_H
#define CLI_CLI_H
/* What the commands share: errors, output, interruption, progress. Each command is one file and one function. */
#include <jansson.h>
#include <stdbool.h>
#include "cli/opt.h"
#include "snug.h"

/* Runs a command; returns the exit status. Errors were printed. */
typedef int command_fn(const struct opts *o);
command_fn cmd_bench, cmd_convert, cmd_eval, cmd_plan, cmd_quantize, cmd_run, cmd_show, cmd_tokenize;

/* Prints "snug: message" on standard error and returns the exit status. */
int cli_fail(const struct snug_error *e);
int cli_fail_usage(const struct err *e);
/* Set once Ctrl-C came; a second one ends the program at once. */
bool cli_interrupted(void);
/* Progress on standard error: a bar with the time left on a terminal, a line every ten percent otherwise. */
struct snug_progress cli_progress(void);
/* Ends the bar's line, if one is there. Before other output. */
void cli_progress_end(void);
/* Prints one JSON object on standard output and frees it. 0, or 1 if standard output fails. */
int cli_json(json_t *object);
/* Flushes standard output: 0, or 1 after saying why it failed. A broken pipe is quiet. */
int cli_flush(void);
/* --backend, --threads, --exact of a command. */
enum err_code cli_open_options(const struct opts *o, struct snug_open_options *out, struct err *e);
/* A file, or standard input for NULL, read whole; caller frees with snug_free. */
enum err_code cli_read_text(const char *path, char **text, size_t *n, struct err *e);
#endif
