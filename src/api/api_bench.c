/* snug_bench and snug_measure_machine: speeds, and the machine's limits beside them. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "api/api.h"
#include "backend/cpu/peak.h"
#include "base/cpu.h"
#include "base/os.h"

int snug_measure_machine(unsigned threads, struct snug_machine *out, struct snug_error *error) {
    struct err e = { 0 };
    struct pool *pool = NULL;
    struct kern k;
    struct peak peak = { 0 };
    memset(out, 0, sizeof *out);
    kern_init(&k, cpu_features());
    enum err_code rc = pool_open(threads, &pool, &e);
    if (!rc) rc = peak_measure(&k, pool, &peak, &e);
    if (!rc) {
        cpu_name(out->cpu, sizeof out->cpu);
        cpu_features_text(cpu_features(), out->features, sizeof out->features);
        out->threads = pool_size(pool);
        out->read_gb_s = peak.read_gb_s;
        out->int8_gops = peak.int8_gops;
        out->f32_gflops = peak.f32_gflops;
        out->memory_bytes = os_total_memory();
    }
    pool_close(pool);
    return api_result(rc, &e, error);
}

struct bench {
    struct snug_model *m;
    const struct snug_bench_options *o;
    struct session *s;
    int32_t *ids;   /* prompt, then what is "generated": speed does not depend on the tokens */
    size_t n_ids;
    float *logits;
};

static enum err_code feed(struct bench *b, size_t from, size_t n, struct err *e) {
    return n ? session_eval(b->s, &(struct batch){ .n = n, .ids = b->ids + from }, b->logits, e) : ERR_NONE;
}

/* One repetition; the depth is filled outside of the measured time. */
static enum err_code once(struct bench *b, double *seconds, struct err *e) {
    const struct snug_bench_options *o = b->o;
    session_truncate(b->s, 0, o->depth);
    uint64_t t0 = os_now_ns();
    TRY(feed(b, o->depth, o->n_prompt, e));
    for (uint32_t i = 0; i < o->n_gen; i++) TRY(feed(b, o->depth + o->n_prompt + i, 1, e));
    *seconds = (double)(os_now_ns() - t0) * 1e-9;
    return ERR_NONE;
}

/* Multiplications of matrices for one token, two operations a weight; the head counts once a run, not once a token. */
static double ops_per_token(const struct engine *en) {
    double weights = 0;
    for (uint32_t i = 0; i < en->model->n_weights; i++) {
        const struct weight *w = &en->model->weights[i];
        const struct slot_info *s = slot_info(w->slot);
        double n = (double)(w->ne[0] * model_weight_rows(w));
        if (s->experts) n *= (double)en->model->hp.n_expert_used / en->model->hp.n_expert;
        if (s->matrix && s->per_block) weights += n;
    }
    return 2 * weights;
}

/* Tokens a second that the machine could reach: prompts by arithmetic, generation by the bytes that each token reads.
 * */
static double limit_tok_s(const struct bench *b) {
    const struct snug_bench_options *o = b->o;
    const struct snug_machine *mc = o->machine;
    if (!mc) return 0;
    const struct engine *en = b->m->en;
    double peak = (en->exact ? mc->f32_gflops : mc->int8_gops) * 1e9, seconds = 0;
    if (o->n_prompt) seconds += o->n_prompt * ops_per_token(en) / peak;
    double kv = (double)session_kv_bytes_read(b->s, 0); /* at the end; the middle is half a generation less */
    double per_token = kv / (session_length(b->s, 0) + 1), middle = o->depth + o->n_prompt + 0.5 * o->n_gen;
    seconds += o->n_gen * ((double)engine_bytes_per_token(en) + per_token * middle) / (mc->read_gb_s * 1e9);
    return (o->n_prompt + o->n_gen) / seconds;
}

static void name_test(const struct snug_bench_options *o, char *buf, size_t size) {
    char pp[16] = "", tg[16] = "", depth[24] = "";
    if (o->n_prompt) snprintf(pp, sizeof pp, "pp%u", o->n_prompt);
    if (o->n_gen) snprintf(tg, sizeof tg, "tg%u", o->n_gen);
    if (o->depth) snprintf(depth, sizeof depth, " @ d%u", o->depth);
    snprintf(buf, size, "%s%s%s%s", pp, o->n_prompt && o->n_gen ? "+" : "", tg, depth);
}

static enum err_code measure(struct bench *b, struct snug_bench_result *out, struct err *e) {
    const struct snug_bench_options *o = b->o;
    uint32_t repeat = o->repeat ? o->repeat : 3;
    double sum = 0, sum2 = 0, seconds;
    TRY(feed(b, 0, o->depth, e));
    for (uint32_t r = 0; r <= repeat; r++) { /* the first run warms up */
        TRY(once(b, &seconds, e));
        double tok_s = (o->n_prompt + o->n_gen) / seconds;
        if (r == 0) continue;
        sum += tok_s;
        sum2 += tok_s * tok_s;
    }
    double mean = sum / repeat, var = repeat > 1 ? (sum2 - sum * mean) / (repeat - 1) : 0;
    *out = (struct snug_bench_result){ .n_prompt = o->n_prompt, .n_gen = o->n_gen, .depth = o->depth, .tok_s = mean,
                                       .tok_s_stddev = var > 0 ? sqrt(var) : 0 };
    name_test(o, out->test, sizeof out->test);
    double limit = limit_tok_s(b);
    if (limit > 0) out->share_of_limit = mean / limit;
    return ERR_NONE;
}

int snug_bench(struct snug_model *m, const struct snug_bench_options *o, struct snug_bench_result *out,
               struct snug_error *error) {
    struct err e = { 0 };
    struct bench b = { .m = m, .o = o, .n_ids = (size_t)o->depth + o->n_prompt + o->n_gen };
    enum err_code rc = ERR_NONE;
    memset(out, 0, sizeof *out);
    uint32_t n_vocab = m->en->model->hp.n_vocab;
    struct pass_desc d = { .n_ctx = (uint32_t)b.n_ids };
    if (!o->n_prompt && !o->n_gen) TRY_OUT(rc, err_set(&e, ERR_USAGE, "nothing to measure: -p and -n are both 0"));
    b.ids = mem_alloc(b.n_ids, sizeof *b.ids);
    b.logits = mem_alloc(n_vocab, sizeof *b.logits);
    if (!b.ids || !b.logits) TRY_OUT(rc, err_no_memory(&e, b.n_ids * sizeof *b.ids));
    for (size_t i = 0; i < b.n_ids; i++) b.ids[i] = (int32_t)(i * 7919 % n_vocab);
    TRY_OUT(rc, api_session(m, &d, &b.s, &e));
    rc = measure(&b, out, &e);
out:
    mem_free(b.ids);
    mem_free(b.logits);
    return api_result(rc, &e, error);
}
