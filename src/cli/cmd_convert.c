/* snug convert: the same weights in another container. */
#include <stdio.h>
#include "base/num.h"
#include "cli/cli.h"

int cmd_convert(const struct opts *o) {
    struct snug_convert_options c = { .out = opts_str(o, "--output"), .outtype = opts_str(o, "--outtype"),
                                      .force = opts_has(o, "--force"),
                                      .progress = cli_progress() };
    struct snug_convert_result r;
    struct snug_error error;
    struct err e;
    enum err_code rc = opts_one_operand(o, "a model", &c.in, &e);
    if (!rc && !c.out) rc = err_set(&e, ERR_USAGE, "no output: name it with -o");
    if (!rc) rc = opts_bytes(o, "--split-max-size", &c.split_max_size, &e);
    if (rc) return cli_fail_usage(&e);
    if (snug_convert(&c, &r, &error)) return cli_fail(&error);
    cli_progress_end();
    int status;
    if (opts_has(o, "--json")) {
        status = cli_json(json_pack("{s:s, s:I, s:i, s:I, s:f}", "file", r.file, "file_bytes",
                                    (json_int_t)r.file_bytes, "files", (int)r.n_files,
                                    "tensors", (json_int_t)r.tensors, "seconds", r.seconds));
    } else {
        char size[16];
        printf("%s: %s, %llu tensors, %u file%s, %.1f s\n", r.file, format_bytes(r.file_bytes, size, sizeof size),
               (unsigned long long)r.tensors,
               r.n_files, r.n_files == 1 ? "" : "s", r.seconds);
        status = cli_flush();
    }
    snug_free(r.file);
    return status;
}
