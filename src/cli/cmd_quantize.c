/* snug quantize: measured mixed precision to a target. The table of tries, then the choice by kind of tensor. */
#include <stdio.h>
#include <string.h>
#include "base/num.h"
#include "base/str.h"
#include "cli/cli.h"

enum { MAX_KEEP = 64, MAX_KINDS = 64 };

static void print_try(void *to, const struct snug_try *t) {
    cli_progress_end();
    fprintf(to, "-- %-28s %-6s %5.2f bpw   rfn_error: %.5f\n", t->tensor, t->type, t->bpw, t->rfn_error);
}

/* "blk.10.ffn_up.weight" -> "ffn_up", "token_embd.weight" -> "token_embd". */
static struct str kind_of(const char *name) {
    if (!strncmp(name, "blk.", 4) && strchr(name + 4, '.')) name = strchr(name + 4, '.') + 1;
    return (struct str){ name, strcspn(name, ".") };
}

struct kind { struct str name; char types[200]; uint64_t bytes, parameters; };

static size_t collect_kinds(const struct snug_quantize_result *r, struct kind *kinds) {
    size_t n = 0;
    for (size_t i = 0; i < r->n_tensors; i++) {
        const struct snug_tensor_choice *t = &r->tensors[i];
        struct str name = kind_of(t->name);
        size_t k = 0;
        while (k < n && !str_eq(kinds[k].name, name)) k++;
        if (k == MAX_KINDS) continue;
        if (k == n) kinds[n++] = (struct kind){ .name = name };
        kinds[k].bytes += t->bytes;
        kinds[k].parameters += t->parameters;
    }
    return n;
}

/* "Q3_K x 4, Q4_K x 2", in the order in which the types occur. */
static void count_types(const struct snug_quantize_result *r, struct kind *k) {
    const char *types[32];
    unsigned counts[32] = { 0 }, n = 0;
    for (size_t i = 0; i < r->n_tensors; i++) {
        if (!str_eq(kind_of(r->tensors[i].name), k->name)) continue;
        unsigned t = 0;
        while (t < n && strcmp(types[t], r->tensors[i].type) != 0) t++;
        if (t == ARRAY_LEN(types)) continue;
        if (t == n) types[n++] = r->tensors[i].type;
        counts[t]++;
    }
    size_t at = 0;
    for (unsigned t = 0; t < n && at < sizeof k->types; t++)
        at += (size_t)snprintf(k->types + at, sizeof k->types - at, "%s%s x %u", t ? ", " : "", types[t], counts[t]);
}

static int print_text(const struct snug_quantize_result *r, bool written) {
    struct kind kinds[MAX_KINDS];
    size_t n = collect_kinds(r, kinds);
    char size[16];
    if (n) putchar('\n');
    for (size_t i = 0; i < n; i++) {
        count_types(r, &kinds[i]);
        printf("  %-14.*s %10s  %5.2f bpw  %s\n", (int)kinds[i].name.n, kinds[i].name.p, format_bytes(kinds[i].bytes,
                size, sizeof size),
               8 * (double)kinds[i].bytes / (double)kinds[i].parameters, kinds[i].types);
    }
    if (r->file_bytes)
        printf("\n%s%s: %llu bytes, %.3f bits per weight, %.1f s\n", written ? "" : "would write ", r->file,
               (unsigned long long)r->file_bytes,
               r->bits_per_weight, r->seconds);
    if (r->predicted_kld >= 0) printf("predicted KL divergence: %.5f\n", r->predicted_kld);
    else if (r->file_bytes)
        puts("predicted KL divergence: not known, since nothing was calibrated; --check measures it");
    if (r->measured_kld >= 0) printf("measured KL divergence:  %.5f\n", r->measured_kld);
    return cli_flush();
}

static int print_json(const struct snug_quantize_result *r) {
    json_t *tensors = json_array();
    for (size_t i = 0; i < r->n_tensors; i++) {
        const struct snug_tensor_choice *t = &r->tensors[i];
        json_t *rfn = t->rfn_error >= 0 ? json_real(t->rfn_error) : json_null();
        json_array_append_new(tensors, json_pack("{s:s, s:s, s:f, s:o, s:I}", "name", t->name, "type", t->type, "bpw",
                                                 t->bpw, "rfn_error", rfn, "bytes", (json_int_t)t->bytes));
    }
    json_t *j = json_pack("{s:s, s:I, s:I, s:f, s:f, s:o, s:I, s:f, s:I}", "file", r->file ? r->file : "",
                          "file_bytes", (json_int_t)r->file_bytes,
        "target_bytes", (json_int_t)r->target_bytes, "bits_per_weight", r->bits_per_weight, "min_bits_per_weight",
            r->min_bits_per_weight, "tensors",
        tensors, "tries", (json_int_t)r->tries, "seconds", r->seconds, "peak_rss_bytes", (json_int_t)r->peak_rss_bytes);
    json_object_set_new(j, "predicted_kld", r->predicted_kld >= 0 ? json_real(r->predicted_kld) : json_null());
    if (r->measured_kld >= 0) json_object_set_new(j, "measured_kld", json_real(r->measured_kld));
    return cli_json(j);
}

static enum err_code read_options(const struct opts *o, struct snug_quantize_options *q, const char **keep,
                                  struct err *e) {
    uint32_t threads = 0;
    TRY(opts_one_operand(o, "a model", &q->model, e));
    TRY(opts_f64(o, "--bpw", 0.5, 32, &q->bits_per_weight, e));
    TRY(opts_bytes(o, "--size", &q->size_bytes, e));
    TRY(opts_bytes(o, "--vram", &q->vram_bytes, e));
    TRY(opts_u32(o, "--ctx", 1, INT32_MAX, &q->n_ctx, e));
    TRY(opts_u32(o, "--calib-rows", 1, 1 << 20, &q->calib_rows, e));
    TRY(opts_u32(o, "--calib-length", 8, 1 << 20, &q->calib_length, e));
    TRY(opts_u32(o, "--threads", 1, 1024, &threads, e));
    q->threads = threads;
    q->n_keep = opts_count(o, "--keep");
    if (q->n_keep > MAX_KEEP) return err_set(e, ERR_USAGE, "at most %d --keep", (int)MAX_KEEP);
    for (size_t i = 0; i < q->n_keep; i++) keep[i] = opts_nth(o, "--keep", i);
    q->keep = keep;
    return ERR_NONE;
}

int cmd_quantize(const struct opts *o) {
    const char *keep[MAX_KEEP];
    bool json = opts_has(o, "--json");
    struct snug_quantize_options q = { .out = opts_str(o, "--output"), .type = opts_str(o, "--type"),
                                       .pure = opts_has(o, "--pure"),
        .calib = opts_str(o, "--calib"), .measurement = opts_str(o, "--measurement"),
        .imatrix = opts_str(o, "--imatrix"), .save_imatrix = opts_str(o, "--save-imatrix"),
        .measure_only = opts_has(o, "--measure-only"),
        .dry_run = opts_has(o, "--dry-run"), .force = opts_has(o, "--force"), .no_resume = opts_has(o, "--no-resume"),
        .check = opts_has(o, "--check"), .progress = cli_progress(), .on_try = print_try, .user = json ? stderr
            : stdout };
    struct snug_quantize_result r;
    struct snug_error error;
    struct err e;
    if (read_options(o, &q, keep, &e)) return cli_fail_usage(&e);
    if (snug_quantize(&q, &r, &error)) return cli_fail(&error);
    cli_progress_end();
    int status = json ? print_json(&r) : print_text(&r, !q.dry_run && !q.measure_only);
    snug_quantize_free(&r);
    return status;
}
