/* snug plan: what fits where, at which bits, how fast. */
#include <stdio.h>
#include <stdlib.h>
#include "base/num.h"
#include "base/str.h"
#include "cli/cli.h"

enum { MAX_GPUS = 8 };

static const char *gb(uint64_t n) { /* a few at once in one printf */
    static char buf[8][16];
    static unsigned i;
    i = (i + 1) % 8;
    return format_bytes(n, buf[i], sizeof buf[i]);
}

static void print_model(const struct snug_plan_result *p) {
    if (!p->n_devices) {
        printf("%.4g billion weights\n", (double)p->model.parameters * 1e-9);
    } else {
        printf("%s: %s, %llu weights, %.2f bits per weight\n\n", p->model.name, p->model.arch,
               (unsigned long long)p->model.parameters,
               p->model.bits_per_weight);
        for (size_t i = 0; i < p->n_parts; i++) printf("  %-12s %10s\n", p->parts[i].part, gb(p->parts[i].bytes));
    }
    printf("\n  at 32 bits %s, 16 bits %s, 8 bits %s, 4 bits %s\n\n", gb(p->sizes.f32), gb(p->sizes.f16),
           gb(p->sizes.q8), gb(p->sizes.q4));
}

static void print_devices(const struct snug_plan_result *p) {
    printf("With a context of %u tokens, KV cache in %s:\n\n", p->context, p->kv_type);
    printf("  %-32s %10s %10s %10s %10s %10s\n", "device", "weights", "KV cache", "compute", "total", "memory");
    for (size_t i = 0; i < p->n_devices; i++) {
        const struct snug_plan_device *d = &p->devices[i];
        printf("  %-32.32s %10s %10s %10s %10s %10s\n", d->name, gb(d->weights_bytes), gb(d->kv_bytes),
               gb(d->compute_bytes), gb(d->total_bytes),
               gb(d->memory_bytes));
    }
    if (p->gpu_layers) printf("\n  %u of %u layers on the GPU\n", p->gpu_layers, p->n_layer);
    printf("\n%s%s%s\n", p->fits ? "It fits." : "It does not fit: ", p->fits ? "" : p->why, p->fits ? "" : ".");
    if (p->decode_tok_s > 0) printf("Here: about %.1f tokens/s generating, %.0f tokens/s reading the prompt.\n",
                                    p->decode_tok_s, p->prefill_tok_s);
    putchar('\n');
}

static void print_budgets(const struct snug_plan_result *p) {
    for (size_t i = 0; i < p->n_budgets; i++) {
        const struct snug_plan_budget *b = &p->budgets[i];
        if (b->vram) printf("%s VRAM", gb(b->vram));
        if (b->ram) printf("%s%s RAM", b->vram ? " + " : "", gb(b->ram));
        if (!b->reachable) {
            printf(": out of reach (%.2f bits per weight)\n", b->max_bits_per_weight);
            continue;
        }
        if (b->fits_as_is) printf(": fits as it is");
        else printf(": up to %.2f bits per weight", b->max_bits_per_weight);
        if (b->max_ctx) printf(", context up to %u", b->max_ctx);
        if (b->command[0]) printf("\n  %s", b->command);
        putchar('\n');
    }
}

static json_t *devices_json(const struct snug_plan_result *p) {
    json_t *all = json_array();
    for (size_t i = 0; i < p->n_devices; i++) {
        const struct snug_plan_device *d = &p->devices[i];
        json_array_append_new(all, json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I}", "name", d->name, "kind", d->kind,
                                             "memory_bytes",
            (json_int_t)d->memory_bytes, "weights_bytes", (json_int_t)d->weights_bytes, "kv_bytes",
                (json_int_t)d->kv_bytes, "compute_bytes",
            (json_int_t)d->compute_bytes, "total_bytes", (json_int_t)d->total_bytes));
    }
    return all;
}

static json_t *budgets_json(const struct snug_plan_result *p) {
    json_t *all = json_array();
    for (size_t i = 0; i < p->n_budgets; i++) {
        const struct snug_plan_budget *b = &p->budgets[i];
        json_array_append_new(all, json_pack("{s:I, s:I, s:I, s:f, s:b, s:b, s:i, s:s}",
            "vram", (json_int_t)b->vram, "ram", (json_int_t)b->ram, "bytes", (json_int_t)b->bytes,
            "max_bits_per_weight", b->max_bits_per_weight, "reachable", b->reachable, "fits_as_is", b->fits_as_is,
            "max_ctx", (int)b->max_ctx, "command", b->command));
    }
    return all;
}

static json_t *parts_json(const struct snug_plan_result *p) {
    json_t *all = json_array();
    for (size_t i = 0; i < p->n_parts; i++)
        json_array_append_new(all, json_pack("{s:s, s:I, s:I}", "part", p->parts[i].part, "bytes",
                                             (json_int_t)p->parts[i].bytes, "parameters",
                                             (json_int_t)p->parts[i].parameters));
    return all;
}

static int print_json(const struct snug_plan_result *p) {
    return cli_json(json_pack(
        "{s:{s:s, s:s, s:I, s:I, s:f}, s:i, s:s, s:o, s:b, s:s, s:i, s:i, s:{s:f, s:f}, s:{s:I, s:I, s:I, s:I},"
        " s:o, s:o}",
        "model", "name", p->model.name, "arch", p->model.arch, "parameters", (json_int_t)p->model.parameters,
            "file_bytes",
        (json_int_t)p->model.file_bytes, "bits_per_weight", p->model.bits_per_weight, "context", (int)p->context,
            "kv_type", p->kv_type, "devices",
        devices_json(p), "fits", p->fits, "why", p->why, "gpu_layers", (int)p->gpu_layers, "layers", (int)p->n_layer,
            "predicted", "decode_tok_s",
        p->decode_tok_s, "prefill_tok_s", p->prefill_tok_s, "sizes", "f32", (json_int_t)p->sizes.f32, "f16",
            (json_int_t)p->sizes.f16, "q8",
        (json_int_t)p->sizes.q8, "q4", (json_int_t)p->sizes.q4, "budgets", budgets_json(p), "parts", parts_json(p)));
}

static enum err_code read_options(const struct opts *o, struct snug_plan_options *p, uint64_t *vram, struct err *e) {
    uint32_t threads = 0;
    size_t n = opts_count(o, "--vram");
    if (n > MAX_GPUS) return err_set(e, ERR_USAGE, "at most %d GPUs", (int)MAX_GPUS);
    for (size_t i = 0; i < n; i++) TRY(err_where(e, parse_bytes(opts_nth(o, "--vram", i), &vram[i], e), "--vram"));
    p->vram = vram;
    p->n_vram = n;
    const char *both = opts_str(o, "--kv-type"), *k = opts_str(o, "--cache-type-k"), *v = opts_str(o, "--cache-type-v");
    p->cache_type_k = k ? k : both;
    p->cache_type_v = v ? v : both;
    p->exact = opts_has(o, "--exact");
    TRY(opts_bytes(o, "--ram", &p->ram, e));
    TRY(opts_u32(o, "--ctx", 1, INT32_MAX, &p->n_ctx, e));
    TRY(opts_u32(o, "--threads", 1, 1024, &threads, e));
    TRY(opts_f64(o, "--params", 1, 1e15, &p->parameters, e));
    p->threads = threads;
    return opts_n_operands(o) ? opts_one_operand(o, "a model", &p->model, e) : ERR_NONE;
}

int cmd_plan(const struct opts *o) {
    struct snug_plan_options p = { 0 };
    uint64_t vram[MAX_GPUS];
    struct snug_machine machine;
    struct snug_plan_result r;
    struct snug_error error;
    struct err e;
    if (read_options(o, &p, vram, &e)) return cli_fail_usage(&e);
    if (p.model && !p.n_vram) {
        if (snug_measure_machine(p.threads, &machine, &error)) return cli_fail(&error);
        p.machine = &machine;
    }
    if (snug_plan(&p, &r, &error)) return cli_fail(&error);
    if (opts_has(o, "--json")) return print_json(&r);
    print_model(&r);
    if (r.n_devices) print_devices(&r);
    print_budgets(&r);
    return cli_flush();
}
