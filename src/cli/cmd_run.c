/* snug run: streams a generated text; statistics in Ollama's form with --verbose. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/mem.h"
#include "cli/cli.h"

enum { MAX_STOPS = 32 };

struct run {
    const struct opts *o;
    struct snug_open_options open;
    struct snug_generate_options gen;
    const char *stops[MAX_STOPS];
    char *text;     /* the prompt if it was read */
    bool json, verbose, broken;
};

static bool stream(void *user, const char *text, size_t n) {
    struct run *r = user;
    if (!r->json && n && (fwrite(text, 1, n, stdout) != n || fflush(stdout))) r->broken = true;
    return !r->broken && !cli_interrupted();
}

static enum err_code read_prompt(struct run *r, struct err *e) {
    const char *p = opts_str(r->o, "--prompt"), *file = opts_str(r->o, "--file");
    if (p && file) return err_set(e, ERR_USAGE, "-p and -f exclude each other");
    if (p) {
        r->gen.prompt = p;
        r->gen.prompt_bytes = strlen(p);
    } else {
        if (!file && isatty(STDIN_FILENO))
            return err_set(e, ERR_USAGE, "no prompt: give one with -p TEXT or -f FILE (chat comes later)");
        TRY(cli_read_text(file, &r->text, &r->gen.prompt_bytes, e));
        r->gen.prompt = r->text;
    }
    return r->gen.prompt_bytes ? ERR_NONE : err_set(e, ERR_USAGE, "the prompt is empty");
}

static enum err_code set_f32(const struct opts *o, const char *name, double min, double max, float *out, unsigned *set,
                             unsigned bit,
                             struct err *e) {
    double v = 0;
    if (!opts_has(o, name)) return ERR_NONE;
    TRY(opts_f64(o, name, min, max, &v, e));
    *out = (float)v;
    *set |= bit;
    return ERR_NONE;
}

static enum err_code read_sampling(const struct opts *o, struct snug_sampling *s, struct err *e) {
    TRY(set_f32(o, "--temp", 0, 100, &s->temp, &s->set, SNUG_SET_TEMP, e));
    TRY(set_f32(o, "--top-p", 0, 1, &s->top_p, &s->set, SNUG_SET_TOP_P, e));
    TRY(set_f32(o, "--min-p", 0, 1, &s->min_p, &s->set, SNUG_SET_MIN_P, e));
    TRY(set_f32(o, "--repeat-penalty", 1e-3, 1e3, &s->repeat_penalty, &s->set, SNUG_SET_REPEAT_PENALTY, e));
    TRY(set_f32(o, "--presence-penalty", -100, 100, &s->presence_penalty, &s->set, SNUG_SET_PRESENCE, e));
    TRY(set_f32(o, "--frequency-penalty", -100, 100, &s->frequency_penalty, &s->set, SNUG_SET_FREQUENCY, e));
    int64_t top_k = 0, last_n = 0, seed = -1;
    TRY(opts_i64(o, "--top-k", 0, INT32_MAX, &top_k, e));
    TRY(opts_i64(o, "--repeat-last-n", -1, INT32_MAX, &last_n, e));
    TRY(opts_i64(o, "--seed", -1, INT64_MAX, &seed, e));
    s->top_k = (int32_t)top_k;
    s->repeat_last_n = (int32_t)last_n;
    s->seed = (uint64_t)seed;
    if (opts_has(o, "--top-k")) s->set |= SNUG_SET_TOP_K;
    if (opts_has(o, "--repeat-last-n")) s->set |= SNUG_SET_REPEAT_LAST_N;
    if (seed >= 0) s->set |= SNUG_SET_SEED; /* -1 asks for a random one, as in llama.cpp */
    return ERR_NONE;
}

static enum err_code read_options(struct run *r, struct err *e) {
    TRY(cli_open_options(r->o, &r->open, e));
    TRY(read_sampling(r->o, &r->gen.sampling, e));
    int64_t n = -1;
    TRY(opts_i64(r->o, "--n-predict", -1, INT32_MAX, &n, e));
    if (n == 0) return err_set(e, ERR_USAGE, "-n 0: nothing to generate; -1 means until the end");
    TRY(opts_u32(r->o, "--ctx", 1, INT32_MAX, &r->gen.n_ctx, e));
    r->gen.max_tokens = (int32_t)n;
    r->gen.ignore_eos = opts_has(r->o, "--ignore-eos");
    size_t n_stop = opts_count(r->o, "--stop");
    if (n_stop > MAX_STOPS) return err_set(e, ERR_USAGE, "at most %d stop texts", (int)MAX_STOPS);
    for (size_t i = 0; i < n_stop; i++) r->stops[i] = opts_nth(r->o, "--stop", i);
    r->gen.stop = r->stops;
    r->gen.n_stop = n_stop;
    r->json = opts_has(r->o, "--json");
    r->verbose = opts_has(r->o, "--verbose");
    r->gen.on_text = stream;
    r->gen.user = r;
    return read_prompt(r, e);
}

/* As Go prints a time.Duration: 1.234567s, 12.3ms, 1m2.5s. */
static const char *duration(uint64_t ns, char *buf, size_t size) {
    if (ns >= 60000000000ull) snprintf(buf, size, "%llum%gs", (unsigned long long)(ns / 60000000000ull),
                                       (double)(ns % 60000000000ull) * 1e-9);
    else if (ns >= 1000000000) snprintf(buf, size, "%.9gs", (double)ns * 1e-9);
    else if (ns >= 1000000) snprintf(buf, size, "%.9gms", (double)ns * 1e-6);
    else snprintf(buf, size, "%.6g\302\265s", (double)ns * 1e-3);
    return buf;
}

static double per_second(size_t n, uint64_t ns) { return ns ? (double)n * 1e9 / (double)ns : 0; }

/* Share of the memory's measured speed at which weights and cache were read; 0 if nothing was generated. */
static double share_of_limit(const struct snug_generate_result *g, double read_gb_s) {
    return g->generated_tokens > 1 && read_gb_s > 0
               ? (double)g->bytes_per_token * per_second(g->generated_tokens, g->eval_ns) / (read_gb_s * 1e9) : 0;
}

static void print_statistics(const struct snug_generate_result *g, double read_gb_s) {
    char t[32];
    fprintf(stderr, "\ntotal duration:       %s\n", duration(g->total_ns, t, sizeof t));
    fprintf(stderr, "load duration:        %s\n", duration(g->load_ns, t, sizeof t));
    fprintf(stderr, "prompt eval count:    %zu token(s)\n", g->prompt_tokens);
    fprintf(stderr, "prompt eval duration: %s\n", duration(g->prompt_eval_ns, t, sizeof t));
    fprintf(stderr, "prompt eval rate:     %.2f tokens/s\n", per_second(g->prompt_tokens, g->prompt_eval_ns));
    fprintf(stderr, "eval count:           %zu token(s)\n", g->generated_tokens);
    fprintf(stderr, "eval duration:        %s\n", duration(g->eval_ns, t, sizeof t));
    fprintf(stderr, "eval rate:            %.2f tokens/s\n", per_second(g->generated_tokens, g->eval_ns));
    fprintf(stderr, "read per token:       %.3f MB, %.0f%% of the memory's %.1f GB/s\n",
            (double)g->bytes_per_token * 1e-6,
            100 * share_of_limit(g, read_gb_s), read_gb_s);
    fprintf(stderr, "seed:                 %llu\n", (unsigned long long)g->seed);
}

static int print_json(const struct snug_generate_result *g, double read_gb_s) {
    json_t *tokens = json_array();
    for (size_t i = 0; i < g->generated_tokens; i++) json_array_append_new(tokens, json_integer(g->tokens[i]));
    return cli_json(json_pack("{s:s%, s:o, s:I, s:I, s:s, s:I, s:I, s:I, s:I, s:f, s:I, s:I, s:I}", "text", g->text,
                              g->text_bytes,
        "tokens", tokens, "prompt_tokens", (json_int_t)g->prompt_tokens, "generated_tokens",
            (json_int_t)g->generated_tokens,
        "stop_reason", snug_stop_name(g->stop), "load_ns", (json_int_t)g->load_ns, "prompt_eval_ns",
            (json_int_t)g->prompt_eval_ns,
        "eval_ns", (json_int_t)g->eval_ns, "bytes_per_token", (json_int_t)g->bytes_per_token, "share_of_limit",
        share_of_limit(g, read_gb_s), "seed", (json_int_t)g->seed, "buffer_bytes", (json_int_t)g->buffer_bytes,
            "mapped_bytes",
        (json_int_t)g->mapped_bytes));
}

static int report(struct run *r, const struct snug_generate_result *g) {
    struct snug_machine machine = { 0 };
    if (r->verbose || r->json) snug_measure_machine(r->open.threads, &machine, NULL);
    if (r->json) return print_json(g, machine.read_gb_s);
    if (!r->broken) putchar('\n');
    if (cli_flush() || r->broken) return 1;
    if (r->verbose) print_statistics(g, machine.read_gb_s);
    if (g->stop == SNUG_STOP_CONTEXT) fprintf(stderr, "snug: stopped: the context is full (raise it with -c)\n");
    if (g->stop == SNUG_STOP_INTERRUPTED) fprintf(stderr, "snug: interrupted\n");
    return 0;
}

int cmd_run(const struct opts *o) {
    struct run r = { .o = o };
    const char *path;
    struct err e;
    struct snug_error error = { 0 };
    snug_model *model = NULL;
    struct snug_generate_result g = { 0 };
    cli_interrupted();
    enum err_code rc = opts_one_operand(o, "a model", &path, &e);
    if (!rc) rc = read_options(&r, &e);
    int status = rc ? cli_fail_usage(&e) : 0;
    if (!rc && (snug_open(path, &r.open, &model, &error) || snug_generate(model, &r.gen, &g,
                                                                          &error))) status = cli_fail(&error);
    else if (!rc) status = report(&r, &g);
    snug_generate_free(&g);
    snug_close(model);
    mem_free(r.text);
    return status;
}
