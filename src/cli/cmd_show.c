/* snug show: metadata and tensors of a file. */
#include <stdio.h>
#include <string.h>
#include "base/num.h"
#include "base/utf8.h"
#include "cli/cli.h"

enum { VALUE_WIDTH = 90 };

static void print_shape(const struct snug_tensor *t) {
    char shape[96];
    int n = 0;
    for (unsigned d = 0; d < t->n_dims; d++)
        n += snprintf(shape + n, sizeof shape - n, "%s%llu", d ? " x " : "", (unsigned long long)t->ne[d]);
    printf("%-44s %-8s %-24s %14llu\n", t->name, t->type, n ? shape : "1", (unsigned long long)t->bytes);
}

static int print_table(const struct snug_file *f) {
    for (size_t i = 0; i < f->n_meta; i++) {
        char value[VALUE_WIDTH * 4 + 1];
        size_t n = strlen(f->meta[i].value);
        snprintf(value, sizeof value, "%.*s", (int)(n > VALUE_WIDTH ? utf8_complete(f->meta[i].value, VALUE_WIDTH)
                                                    : n), f->meta[i].value);
        for (char *c = value; *c; c++)
            if ((unsigned char)*c < ' ') *c = ' ';
        printf("%-44s %s%s\n", f->meta[i].key, value, n > VALUE_WIDTH ? "..." : "");
    }
    putchar('\n');
    for (size_t i = 0; i < f->n_tensors; i++) print_shape(&f->tensors[i]);
    char size[16];
    printf("\n%zu tensors, %llu weights, %s\n", f->n_tensors, (unsigned long long)f->parameters,
           format_bytes(f->file_bytes, size, sizeof size));
    return cli_flush();
}

static json_t *shape_json(const struct snug_tensor *t) {
    json_t *shape = json_array();
    for (unsigned d = 0; d < t->n_dims; d++) json_array_append_new(shape, json_integer((json_int_t)t->ne[d]));
    return shape;
}

static int print_json(const struct snug_file *f) {
    json_t *meta = json_object(), *tensors = json_array();
    for (size_t i = 0; i < f->n_meta; i++) json_object_set_new(meta, f->meta[i].key, json_loads(f->meta[i].json,
            JSON_DECODE_ANY, NULL));
    for (size_t i = 0; i < f->n_tensors; i++) {
        const struct snug_tensor *t = &f->tensors[i];
        json_array_append_new(tensors, json_pack("{s:s, s:s, s:o, s:I}", "name", t->name, "type", t->type, "shape",
                                                 shape_json(t), "bytes",
                                                 (json_int_t)t->bytes));
    }
    return cli_json(json_pack("{s:o, s:o, s:I, s:I}", "metadata", meta, "tensors", tensors, "parameters",
                              (json_int_t)f->parameters,
                              "file_bytes", (json_int_t)f->file_bytes));
}

int cmd_show(const struct opts *o) {
    const char *path;
    struct err e;
    struct snug_error error;
    struct snug_file f;
    if (opts_one_operand(o, "a model", &path, &e)) return cli_fail_usage(&e);
    if (snug_show(path, &f, &error)) return cli_fail(&error);
    int status = opts_has(o, "--json") ? print_json(&f) : print_table(&f);
    snug_file_free(&f);
    return status;
}
