/* snug eval: perplexity and divergence, in the words of llama.cpp's tool. */
#include <stdio.h>
#include "cli/cli.h"

static void tell_chunk(void *user, uint32_t chunk, uint32_t chunks, double ppl) {
    (void)user;
    (void)chunks;
    fprintf(stderr, "[%u]%.4lf,", chunk + 1, ppl);
}

static int print_text(const struct snug_eval_result *r) {
    fputc('\n', stderr);
    if (r->has_ref) {
        puts("====== Perplexity statistics ======");
        printf("Mean PPL(Q)                   : %10.6f \302\261 %10.6f\n", r->ppl, r->ppl_error);
        printf("Mean PPL(base)                : %10.6f\n", r->ref_ppl);
        printf("Mean PPL(Q)/PPL(base)         : %10.6f\n", r->ppl / r->ref_ppl);
        puts("\n====== KL divergence statistics ======");
        printf("Mean    KLD: %10.6f \302\261 %10.6f\n", r->kld.mean, r->kld.error);
        printf("Maximum KLD: %10.6f\n99.9%%   KLD: %10.6f\n99.0%%   KLD: %10.6f\n", r->kld.max, r->kld.p999,
               r->kld.p99);
        printf("90.0%%   KLD: %10.6f\nMedian  KLD: %10.6f\n", r->kld.p90, r->kld.median);
        puts("\n====== Token probability statistics ======");
        printf("Mean    \316\224p: %6.3f %%\nRMS \316\224p    : %6.3f %%\nSame top p: %6.3f %%\n\n", r->dp_mean,
               r->dp_rms, r->top1);
    }
    printf("Final estimate: PPL = %.4lf +/- %.5lf\n", r->ppl, r->ppl_error);
    return cli_flush();
}

static int print_json(const struct snug_eval_result *r) {
    json_t *j = json_pack("{s:f, s:f, s:I, s:i}", "ppl", r->ppl, "ppl_error", r->ppl_error, "tokens",
                          (json_int_t)r->tokens, "chunks", (int)r->chunks);
    if (r->has_ref)
        json_object_update_new(j, json_pack("{s:f, s:{s:f, s:f, s:f, s:f, s:f, s:f, s:f}, s:f, s:f, s:f}", "ppl_ref",
                                            r->ref_ppl, "kld",
            "mean", r->kld.mean, "error", r->kld.error, "median", r->kld.median, "p90", r->kld.p90, "p99", r->kld.p99,
                "p999",
            r->kld.p999, "max", r->kld.max, "top1", r->top1, "dp_mean", r->dp_mean, "dp_rms", r->dp_rms));
    return cli_json(j);
}

static bool go_on(void *user, const char *what, double done, double total) {
    (void)user, (void)what, (void)done, (void)total;
    return !cli_interrupted();
}

int cmd_eval(const struct opts *o) {
    struct snug_eval_options v = { .ref = opts_str(o, "--ref"), .text_file = opts_str(o, "--file"),
                                   .ids_file = opts_str(o, "--ids"),
        .save_logits = opts_str(o, "--save-logits"), .save_base = opts_str(o, "--save-base"), .base = opts_str(o,
                "--base"),
        .progress = { .step = go_on } };
    struct err e;
    struct snug_error error;
    struct snug_eval_result r;
    bool json = opts_has(o, "--json");
    enum err_code rc = opts_one_operand(o, "a model", &v.model, &e);
    if (!rc) rc = opts_u32(o, "--ctx", 4, 1 << 24, &v.n_ctx, &e);
    if (!rc) rc = opts_u32(o, "--chunks", 1, UINT32_MAX, &v.chunks, &e);
    if (!rc) rc = cli_open_options(o, &v.open, &e);
    if (rc) return cli_fail_usage(&e);
    if (!json) v.on_chunk = tell_chunk;
    if (snug_eval(&v, &r, &error)) return cli_fail(&error);
    if (v.ids_file) return json ? cli_json(json_pack("{s:s}", "logits", v.save_logits)) : 0;
    return json ? print_json(&r) : print_text(&r);
}
