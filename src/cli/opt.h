#ifndef CLI_OPT_H
#define CLI_OPT_H
/* The command line's words. Commands, options and their help stand in one table, tools/completions/options.txt, which
 * is built into the program: what is not there is not accepted, and --help shows what is. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

struct opts;
/* Reads the words behind the command. ERR_USAGE names a word that is not known (and the nearest that is), a missing
 * value, or an unknown command. Values are borrowed from argv. */
enum err_code opts_parse(const char *command, int argc, char **argv, struct opts **out, struct err *e);
void opts_free(struct opts *o); /* NULL is fine */

/* Names are the long spelling, "--ctx" for -c too. */
bool opts_has(const struct opts *o, const char *name);
/* The last value given, NULL if none. */
const char *opts_str(const struct opts *o, const char *name);
size_t opts_count(const struct opts *o, const char *name);
const char *opts_nth(const struct opts *o, const char *name, size_t i);
size_t opts_n_operands(const struct opts *o);
const char *opts_operand(const struct opts *o, size_t i);
/* The only operand. ERR_USAGE if there is none or more than one; what says what is missing ("a model"). */
enum err_code opts_one_operand(const struct opts *o, const char *what, const char **out, struct err *e);

/* Numbers keep *out if the option was not given. */
enum err_code opts_u32(const struct opts *o, const char *name, uint32_t min, uint32_t max, uint32_t *out,
                       struct err *e);
enum err_code opts_i64(const struct opts *o, const char *name, int64_t min, int64_t max, int64_t *out, struct err *e);
enum err_code opts_f64(const struct opts *o, const char *name, double min, double max, double *out, struct err *e);
enum err_code opts_bytes(const struct opts *o, const char *name, uint64_t *out, struct err *e);
/* Comma-separated numbers: at most max_n; *n keeps its value if the option was not given. */
enum err_code opts_u32_list(const struct opts *o, const char *name, uint32_t *out, size_t max_n, size_t *n,
                            struct err *e);

/* Help of one command, or of all if command is NULL, to standard output. false if there is no such command. */
bool opts_help(const char *command);
#endif
