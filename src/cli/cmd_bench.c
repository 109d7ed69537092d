/* snug bench: a table like llama-bench's, with each result's share of what the machine could do. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/str.h"
#include "cli/cli.h"

enum { MAX_LIST = 16, MAX_PG = 8 };
enum form { FORM_MD, FORM_CSV, FORM_JSON };

struct bench {
    const struct opts *o;
    struct snug_open_options open;
    uint32_t prompts[MAX_LIST], gens[MAX_LIST], depths[MAX_LIST], threads[MAX_LIST], pg[MAX_PG][2], repeat;
    size_t n_prompts, n_gens, n_depths, n_threads, n_pg;
    enum form form;
    bool headed, described; /* the table's head is out, and what this number of threads can do */
    struct snug_machine machine;
    json_t *machines, *results;
};

/* "P,N" and nothing else. */
static bool read_pair(const char *text, uint32_t pair[2]) {
    for (int i = 0; i < 2; i++) {
        if (*text < '0' || *text > '9') return false;
        char *end;
        unsigned long long number = strtoull(text, &end, 10);
        if (number > UINT32_MAX || *end != (i == 0 ? ',' : 0)) return false;
        pair[i] = (uint32_t)number;
        text = end + 1;
    }
    return true;
}

static enum err_code read_options(struct bench *b, struct err *e) {
    const struct opts *o = b->o;
    *b->prompts = 512, *b->gens = 128, *b->depths = 0, *b->threads = 0;
    b->n_prompts = b->n_gens = b->n_depths = b->n_threads = 1;
    b->repeat = 3;
    b->open = (struct snug_open_options){ .backend = opts_str(o, "--backend"), .exact = opts_has(o, "--exact"),
                                          .cache_type_k = opts_str(o, "--cache-type-k"),
                                          .cache_type_v = opts_str(o, "--cache-type-v") };
    TRY(opts_u32_list(o, "--n-prompt", b->prompts, MAX_LIST, &b->n_prompts, e));
    TRY(opts_u32_list(o, "--n-gen", b->gens, MAX_LIST, &b->n_gens, e));
    TRY(opts_u32_list(o, "--depth", b->depths, MAX_LIST, &b->n_depths, e));
    TRY(opts_u32_list(o, "--threads", b->threads, MAX_LIST, &b->n_threads, e));
    for (size_t i = 0; opts_has(o, "--threads") && i < b->n_threads; i++)
        if (b->threads[i] < 1 || b->threads[i] > 1024)
            return err_set(e, ERR_USAGE, "--threads %u: numbers from 1 to 1024 are needed", b->threads[i]);
    TRY(opts_u32(o, "--repetitions", 1, 1000, &b->repeat, e));
    for (b->n_pg = 0; b->n_pg < opts_count(o, "-pg") && b->n_pg < MAX_PG; b->n_pg++) {
        const char *text = opts_nth(o, "-pg", b->n_pg);
        if (!read_pair(text, b->pg[b->n_pg])) return err_set(e, ERR_USAGE, "-pg %s: two numbers P,N are needed", text);
    }
    const char *form = opts_str(o, "--output");
    if (opts_has(o, "--json") || (form && !strcmp(form, "json"))) b->form = FORM_JSON;
    else if (form && !strcmp(form, "csv")) b->form = FORM_CSV;
    else if (form && strcmp(form, "md") != 0) return err_set(e, ERR_USAGE, "-o %s: md, csv or json", form);
    return opts_n_operands(o) ? ERR_NONE : err_set(e, ERR_USAGE, "a model is missing: see --help");
}

static json_t *machine_json(const struct snug_machine *m) {
    return json_pack("{s:s, s:s, s:i, s:f, s:f, s:f, s:I, s:[]}", "cpu", m->cpu, "features", m->features, "threads",
                     (int)m->threads, "read_gb_s",
                     m->read_gb_s, "int8_gops", m->int8_gops, "f32_gflops", m->f32_gflops, "memory_bytes",
                         (json_int_t)m->memory_bytes, "gpus");
}

static void print_head(const struct bench *b) {
    if (b->form == FORM_CSV) puts("model,size,params,backend,threads,test,tok_s,tok_s_stddev,share_of_limit");
    if (b->form != FORM_MD) return;
    puts("| model                          |       size |     params | backend | threads |            test |"
         "                  t/s | of limit |");
    puts("| ------------------------------ | ---------: | ---------: | ------- | ------: | --------------: |"
         " -------------------: | -------: |");
}

static void print_row(const struct bench *b, const struct snug_model_info *m, const struct snug_bench_result *r) {
    const char *backend = b->open.backend ? b->open.backend : "cpu";
    char speed[40], params[16];
    snprintf(speed, sizeof speed, "%.2f \302\261 %.2f", r->tok_s, r->tok_s_stddev);
    snprintf(params, sizeof params, m->parameters >= 1000000000 ? "%.2f B" : "%.2f M",
             (double)m->parameters / (m->parameters >= 1000000000 ? 1e9 : 1e6));
    if (b->form == FORM_CSV)
        printf("\"%s\",%llu,%llu,%s,%u,%s,%.4f,%.4f,%.4f\n", m->name, (unsigned long long)m->file_bytes,
               (unsigned long long)m->parameters, backend,
               b->machine.threads, r->test, r->tok_s, r->tok_s_stddev, r->share_of_limit);
    else if (b->form == FORM_MD)
        printf("| %-30.30s | %6.2f GiB | %10s | %-7s | %7u | %15s | %21s | %7.1f%% |\n", m->name,
               (double)m->file_bytes / (1u << 30), params, backend,
               b->machine.threads, r->test, speed, 100 * r->share_of_limit);
    fflush(stdout);
    json_array_append_new(b->results, json_pack("{s:s, s:s, s:i, s:s, s:i, s:i, s:i, s:f, s:f, s:f}", "model", m->name,
                                                "backend", backend, "threads",
        (int)b->machine.threads, "test", r->test, "n_prompt", (int)r->n_prompt, "n_gen", (int)r->n_gen, "depth",
            (int)r->depth, "tok_s", r->tok_s,
        "tok_s_stddev", r->tok_s_stddev, "share_of_limit", r->share_of_limit));
}

static int one_test(struct bench *b, snug_model *m, const struct snug_model_info *info, const uint32_t what[3]) {
    struct snug_bench_options bo = { .n_prompt = what[0], .n_gen = what[1], .depth = what[2], .repeat = b->repeat,
                                     .open = b->open,
                                     .machine = &b->machine };
    struct snug_bench_result r;
    struct snug_error error;
    if (snug_bench(m, &bo, &r, &error)) return cli_fail(&error);
    print_row(b, info, &r);
    return 0;
}

static int all_tests(struct bench *b, snug_model *m, const struct snug_model_info *info) {
    for (size_t d = 0; d < b->n_depths; d++) {
        uint32_t depth = b->depths[d];
        int status = 0;
        for (size_t i = 0; i < b->n_prompts && !status; i++)
            if (b->prompts[i]) status = one_test(b, m, info, (uint32_t[]){ b->prompts[i], 0, depth });
        for (size_t i = 0; i < b->n_gens && !status; i++)
            if (b->gens[i]) status = one_test(b, m, info, (uint32_t[]){ 0, b->gens[i], depth });
        for (size_t i = 0; i < b->n_pg && !status; i++) status = one_test(b, m, info, (uint32_t[]){ b->pg[i][0],
                b->pg[i][1], depth });
        if (status) return status;
    }
    return 0;
}

/* What stands above the rows; kept back until a model is open, so that an error stands alone. */
static void print_above(struct bench *b) {
    const struct snug_machine *m = &b->machine;
    if (!b->headed) print_head(b);
    b->headed = true;
    if (b->form == FORM_MD && !b->described)
        fprintf(stderr, "%s (%s), %u threads: memory %.1f GB/s, int8 %.0f GOPS, float %.0f GFLOPS\n", m->cpu,
                m->features, m->threads, m->read_gb_s, m->int8_gops, m->f32_gflops);
    b->described = true;
}

static int one_model(struct bench *b, const char *path) {
    snug_model *m;
    struct snug_error error;
    struct snug_model_info info;
    if (snug_open(path, &b->open, &m, &error)) return cli_fail(&error);
    snug_model_info(m, &info);
    print_above(b);
    int status = all_tests(b, m, &info);
    snug_close(m);
    return status;
}

static int with_threads(struct bench *b, uint32_t threads) {
    struct snug_error error;
    if (snug_measure_machine(threads, &b->machine, &error)) return cli_fail(&error);
    b->open.threads = b->machine.threads;
    b->described = false;
    if (!b->machines) b->machines = machine_json(&b->machine);
    int status = 0;
    for (size_t i = 0; i < opts_n_operands(b->o) && !status; i++) status = one_model(b, opts_operand(b->o, i));
    return status;
}

int cmd_bench(const struct opts *o) {
    struct bench b = { .o = o, .results = json_array() };
    struct err e;
    int status = read_options(&b, &e) ? cli_fail_usage(&e) : 0;
    for (size_t i = 0; i < b.n_threads && !status; i++) status = with_threads(&b, b.threads[i]);
    if (!status && b.form == FORM_JSON)
        status = cli_json(json_pack("{s:O, s:s, s:O}", "machine", b.machines, "model", opts_operand(o, 0), "results",
                                    b.results));
    json_decref(b.machines);
    json_decref(b.results);
    return status ? status : cli_flush();
}
