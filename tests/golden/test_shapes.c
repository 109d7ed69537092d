/* Two hundred models of random shape, from every family in turn: odd widths, head counts, vocabularies, numbers of
 * experts. Each goes from a Hugging Face directory to GGUF, and runs from both on `cpu` as `ref` runs it from the
 * directory: the logits of a prompt and of three tokens after it. What `ref` computes is checked against the original
 * framework by test_logits; here it is the oracle for shapes that nobody publishes. */
#include <stdlib.h>
#include <unistd.h>
#include "../assert_ok.h"
#include "../remove_all.h"
#include "../unit/hf_model.h"
#include "base/num.h"
#include "quant/convert.h"
#include "quant/job.h"
#include "runtime/session.h"

enum { N_MODELS = 200, N_PROMPT = 11, N_GREEDY = 3, N_CTX = 32, QUANTIZE_EVERY = 4 };
#define TOLERANCE 5e-4f /* as in test_logits: two orders of float additions */

/* --- Configurations --- */

enum {
    OWN_HEAD_DIM = 1, /* head_dim need not be hidden_size / heads */
    EXPERTS = 2,
    MHA = 4,          /* as many heads of keys as of queries */
    PAIRED = 8,       /* an even number of experts, in two groups */
};
struct family { const char *model_type; unsigned flags; const char *extra; };
static const struct family families[] = {
    { "llama", OWN_HEAD_DIM, "" },
    { "llama", 0, ", \"attention_bias\": true, \"mlp_bias\": true" },
    { "llama", OWN_HEAD_DIM, ", \"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8.0,"
      " \"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0, \"original_max_position_embeddings\": 16}" },
    { "mistral", OWN_HEAD_DIM, ", \"sliding_window\": 5" },
    { "mixtral", EXPERTS, "" },
    { "qwen2", 0, "" },
    { "qwen2_moe", EXPERTS, ", \"shared_expert_intermediate_size\": 19, \"decoder_sparse_step\": 1,"
                            " \"norm_topk_prob\": false" },
    { "qwen3", OWN_HEAD_DIM, "" },
    { "qwen3_moe", OWN_HEAD_DIM | EXPERTS, ", \"decoder_sparse_step\": 1, \"norm_topk_prob\": true" },
    { "gemma", OWN_HEAD_DIM, "" },
    { "gemma2", OWN_HEAD_DIM, ", \"sliding_window\": 5, \"query_pre_attn_scalar\": 20, \"attn_logit_softcapping\": 3.0,"
                              " \"final_logit_softcapping\": 4.0" },
    { "gemma3_text", OWN_HEAD_DIM, ", \"sliding_window\": 4, \"query_pre_attn_scalar\": 11" },
    { "phi3", 0, "" },
    { "cohere", 0, ", \"logit_scale\": 0.25" },
    { "cohere", 0, ", \"logit_scale\": 0.25, \"use_qk_norm\": true" },
    { "cohere2", OWN_HEAD_DIM, ", \"logit_scale\": 0.25, \"sliding_window\": 5" },
    { "olmo2", 0, "" },
    { "olmo3", OWN_HEAD_DIM, ", \"sliding_window\": 5" },
    { "olmoe", MHA | EXPERTS, ", \"norm_topk_prob\": false" },
    { "granite", 0, ", \"attention_multiplier\": 0.12, \"embedding_multiplier\": 3.0, \"logits_scaling\": 2.0,"
                    " \"residual_multiplier\": 0.6" },
    { "granitemoe", EXPERTS, ", \"attention_multiplier\": 0.12, \"embedding_multiplier\": 3.0, \"logits_scaling\": 2.0,"
                             " \"residual_multiplier\": 0.6" },
    { "gpt_oss", OWN_HEAD_DIM | EXPERTS, ", \"sliding_window\": 5, \"swiglu_limit\": 7.0" },
    { "deepseek_v2", MHA | EXPERTS | PAIRED, ", \"q_lora_rank\": 13, \"kv_lora_rank\": 17, \"qk_nope_head_dim\": 7,"
      " \"qk_rope_head_dim\": 6, \"v_head_dim\": 9, \"n_shared_experts\": 2, \"n_group\": 2, \"topk_group\": 1,"
      " \"first_k_dense_replace\": 1, \"routed_scaling_factor\": 1.5, \"topk_method\": \"group_limited_greedy\"" },
    { "deepseek_v3", MHA | EXPERTS | PAIRED, ", \"kv_lora_rank\": 32, \"qk_nope_head_dim\": 5, \"qk_rope_head_dim\": 4,"
      " \"v_head_dim\": 11, \"n_shared_experts\": 1, \"n_group\": 2, \"topk_group\": 2, \"first_k_dense_replace\": 0,"
      " \"routed_scaling_factor\": 2.5, \"norm_topk_prob\": true" },
    { "ernie4_5", OWN_HEAD_DIM, "" },
    { "ernie4_5_moe", EXPERTS, ", \"moe_num_shared_experts\": 2, \"moe_layer_start_index\": 1,"
                               " \"moe_layer_interval\": 1" },
    { "exaone4", OWN_HEAD_DIM, "" },
    { "glm4", OWN_HEAD_DIM, ", \"attention_bias\": true" },
    { "glm4_moe", OWN_HEAD_DIM | EXPERTS | PAIRED, ", \"n_group\": 1, \"topk_group\": 1, \"n_shared_experts\": 1,"
      " \"first_k_dense_replace\": 1, \"norm_topk_prob\": true, \"use_qk_norm\": true" },
    { "hunyuan_v1_dense", OWN_HEAD_DIM, "" },
    { "hunyuan_v1_moe", OWN_HEAD_DIM | EXPERTS, "" },
    { "ministral3", OWN_HEAD_DIM, "" },
    { "seed_oss", OWN_HEAD_DIM, "" },
    { "smollm3", 0, "" },
    { "stablelm", 0, ", \"use_qkv_bias\": true" },
    { "starcoder2", 0, ", \"use_bias\": true" },
};

static uint32_t between(struct rng *r, uint32_t low, uint32_t high) { return low + rng_below(r, high - low + 1); }

/* wide: every row of a matrix is a multiple of 32, so that blocks divide them. */
static void make_config(const struct family *f, struct rng *r, bool wide, struct buf *out) {
    uint32_t groups = between(r, 1, 4), kv = between(r, 1, 3), heads = f->flags & MHA ? kv : kv * groups;
    uint32_t dim = wide ? 32 : 2 * between(r, 2, 9);
    uint32_t n_embd = f->flags & OWN_HEAD_DIM ? between(r, 24, 96) : heads * dim;
    uint32_t n_ff = between(r, 16, 100), n_ff_expert = between(r, 8, 40);
    if (wide) {
        n_embd = heads * dim;
        n_ff = 32 * between(r, 1, 3);
        n_ff_expert = 32;
    }
    buf_addf(out, "{\"model_type\": \"%s\", \"hidden_size\": %u, \"num_hidden_layers\": %u", f->model_type, n_embd,
             between(r, 1, 3));
    buf_addf(out, ", \"num_attention_heads\": %u, \"num_key_value_heads\": %u", heads, kv);
    buf_addf(out, ", \"intermediate_size\": %u, \"vocab_size\": %u", f->flags & EXPERTS ? n_ff_expert : n_ff,
             between(r, 30, 400));
    if (f->flags & OWN_HEAD_DIM) buf_addf(out, ", \"head_dim\": %u", dim);
    if (f->flags & EXPERTS) {
        uint32_t n = f->flags & PAIRED ? 2 * between(r, 2, 4) : between(r, 2, 7);
        buf_addf(out, ", \"num_local_experts\": %u, \"num_experts_per_tok\": %u, \"moe_intermediate_size\": %u", n,
                 between(r, 1, f->flags & PAIRED ? n / 2 : n), n_ff_expert);
    }
    buf_addf(out, ", \"tie_word_embeddings\": %s", rng_below(r, 2) ? "true" : "false");
    buf_addf(out, ", \"max_position_embeddings\": 64, \"rms_norm_eps\": 1e-5, \"layer_norm_eps\": 1e-5,"
             " \"rope_theta\": %u.0, \"torch_dtype\": \"float32\"%s}", between(r, 100, 20000), f->extra);
}

/* --- Running --- */

static char dir[] = "/tmp/snug-shapes-XXXXXX";
struct logits { float *p; uint32_t n_vocab; int32_t ids[N_GREEDY]; };

static void die_on(enum err_code rc, const struct err *e, const char *what) {
    char text[800];
    if (!rc) return;
    err_format(e, text, sizeof text);
    fail_msg("%s: %s", what, text);
}

static int32_t likeliest(const float *x, size_t n) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return (int32_t)best;
}

/* Logits (N_PROMPT + N_GREEDY, n_vocab). The oracle chooses the tokens after the prompt; others are given the same. */
static void evaluate(const char *path, const char *backend, bool oracle, struct logits *l, const char *what) {
    struct engine *en;
    struct session *s;
    struct err e = { 0 };
    int32_t prompt[N_PROMPT];
    bool want[N_PROMPT];
    die_on(engine_open(path, &(struct engine_options){ .backend = backend, .threads = 2, .exact = true }, &en, &e), &e,
           what);
    die_on(session_open(en, &(struct pass_desc){ .n_ctx = N_CTX, .n_out = N_PROMPT }, &s, &e), &e, what);
    size_t n_vocab = l->n_vocab = en->model->hp.n_vocab;
    l->p = mem_alloc((N_PROMPT + N_GREEDY) * n_vocab, sizeof *l->p);
    for (size_t i = 0; i < N_PROMPT; i++) {
        prompt[i] = (int32_t)((i * 7 + 3) % n_vocab);
        want[i] = true;
    }
    die_on(session_eval(s, &(struct batch){ .n = N_PROMPT, .ids = prompt, .want = want }, l->p, &e), &e, what);
    for (size_t i = 0; i < N_GREEDY; i++) {
        float *last = l->p + (N_PROMPT + i - 1) * n_vocab;
        if (oracle) l->ids[i] = likeliest(last, n_vocab);
        die_on(session_eval(s, &(struct batch){ .n = 1, .ids = &l->ids[i] }, last + n_vocab, &e), &e, what);
    }
    session_close(s);
    engine_close(en);
}

/* Every logit, and with it (where the oracle's choice has a lead) every greedy token. */
static void compare(const struct logits *got, const struct logits *want, const char *what) {
    float worst = 0;
    assert_int_equal(got->n_vocab, want->n_vocab);
    for (size_t i = 0; i < (size_t)(N_PROMPT + N_GREEDY) * want->n_vocab; i++) {
        float d = fabsf(got->p[i] - want->p[i]);
        if (!(d <= worst)) worst = d;
    }
    if (!(worst <= TOLERANCE)) fail_msg("%s: logits differ by %g", what, (double)worst);
}

static void check_way(const char *path, const char *backend, const struct logits *want, const char *what) {
    struct logits got = *want;
    char all[300];
    snprintf(all, sizeof all, "%s, %s on %s", what, strrchr(path, '/') + 1, backend);
    evaluate(path, backend, false, &got, all);
    compare(&got, want, all);
    mem_free(got.p);
}

/* Blocks of 32 in every matrix: it must run, and say numbers. */
static void check_quantized(const char *gguf, const char *recipe, const char *what) {
    struct job_result r;
    struct logits l;
    struct err e = { 0 };
    char out[64];
    snprintf(out, sizeof out, "%s/quantized.gguf", dir);
    struct job_desc d = { .model = gguf, .out = out, .target = JOB_RECIPE, .recipe = recipe, .pure = true,
                          .no_resume = true, .force = true, .threads = 2 };
    char *ids = os_path_join(dir, "ids.json");
    static const char text[] = "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20]";
    die_on(os_write_file(ids, text, sizeof text - 1, &e), &e, what);
    d.calib = (struct calib_options){ .file = ids, .rows = 1, .length = 16 };
    die_on(job_run(&d, &r, &e), &e, what);
    mem_free(ids);
    job_result_fini(&r);
    evaluate(out, "cpu", true, &l, what);
    for (size_t i = 0; i < (size_t)(N_PROMPT + N_GREEDY) * l.n_vocab; i++)
        if (!isfinite(l.p[i])) fail_msg("%s as %s: a logit is %g", what, recipe, (double)l.p[i]);
    mem_free(l.p);
    unlink(out);
}

static void check_model(uint32_t seed) {
    const struct family *f = &families[seed % ARRAY_LEN(families)];
    bool wide = seed / ARRAY_LEN(families) % QUANTIZE_EVERY == 0;
    struct convert_result r;
    struct logits want;
    struct err e = { 0 };
    struct buf config = { 0 };
    struct rng rng;
    char gguf[64], weights[64], json[64], what[200];
    snprintf(gguf, sizeof gguf, "%s/model.gguf", dir);
    snprintf(weights, sizeof weights, "%s/model.safetensors", dir);
    snprintf(json, sizeof json, "%s/config.json", dir);
    snprintf(what, sizeof what, "seed %u (%s)", seed, f->model_type);
    rng_seed(&rng, seed);
    make_config(f, &rng, wide, &config);
    die_on(hf_model_write(dir, config.p, seed, &e), &e, what);
    evaluate(dir, "ref", true, &want, what);
    check_way(dir, "cpu", &want, what);
    struct convert_options o = { .in = dir, .out = gguf, .type = QTYPE_NONE, .force = true, .threads = 2 };
    die_on(convert_run(&o, &r, &e), &e, what);
    mem_free(r.file);
    check_way(gguf, "ref", &want, what);
    check_way(gguf, "cpu", &want, what);
    if (wide) check_quantized(gguf, seed % 2 ? "Q8_0" : "Q4_0", what);
    mem_free(want.p);
    buf_fini(&config);
    unlink(gguf);
    unlink(weights);
    unlink(json);
}

static void random_shapes_run_alike(void **state) {
    (void)state;
    const char *only = getenv("SEED"); /* of a model that failed */
    for (uint32_t seed = 0; seed < N_MODELS; seed++)
        if (!only || seed == strtoul(only, NULL, 10)) check_model(seed);
}

static int make_dir(void **state) {
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}
static int remove_dir(void **state) {
    (void)state;
    remove_all(dir);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(random_shapes_run_alike) };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
