/* snug: finds the command and runs it. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include "cli/cli.h"

static const struct { const char *name; command_fn *run; } commands[] = {
    { "bench", cmd_bench }, { "convert", cmd_convert }, { "eval", cmd_eval }, { "plan", cmd_plan },
    { "quantize", cmd_quantize }, { "run", cmd_run }, { "show", cmd_show }, { "tokenize", cmd_tokenize },
};

static void print_log(void *user, int level, const char *line) {
    (void)user;
    if (level == SNUG_LOG_DEBUG) return;
    cli_progress_end();
    fprintf(stderr, "%s%s\n", level == SNUG_LOG_WARN ? "snug: warning: " : "", line);
}

/* --cpu and --cpu-strict, which are the whole process's. */
static int set_processor(const struct opts *o) {
    const char *level = opts_str(o, "--cpu");
    struct snug_error error;
    struct err e;
    uint32_t strict = 0;
    if (opts_u32(o, "--cpu-strict", 0, 1, &strict, &e)) return cli_fail_usage(&e);
    snug_bind_threads(strict);
    return level && snug_limit_cpu(level, &error) ? cli_fail(&error) : 0;
}

static int run(const char *name, int argc, char **argv) {
    struct opts *o = NULL;
    struct err e;
    if (opts_parse(name, argc, argv, &o, &e)) return cli_fail_usage(&e);
    int status = 0;
    if (opts_has(o, "--help")) {
        opts_help(name);
        status = cli_flush();
    } else if ((status = set_processor(o)) == 0) {
        for (size_t i = 0; i < ARRAY_LEN(commands); i++)
            if (!strcmp(commands[i].name, name)) status = commands[i].run(o);
    }
    opts_free(o);
    return status;
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    snug_set_log(print_log, NULL);
    const char *first = argc > 1 ? argv[1] : "--help";
    if (!strcmp(first, "--version")) {
        printf("snug %s\n", snug_version());
        return cli_flush();
    }
    if (!strcmp(first, "--help") || !strcmp(first, "-h") || !strcmp(first, "help")) {
        opts_help(NULL);
        return argc > 1 ? cli_flush() : 2;
    }
    return run(first, argc - 2, argv + 2);
}
