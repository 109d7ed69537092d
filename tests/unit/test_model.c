/* Models: hyper-parameters from config.json in both spellings and from GGUF, rotary frequencies, tensors bound to
 * slots, the order of rows in both formats, and the graphs that blocks become. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "base/num.h"
#include "base/os.h"
#include "format/gguf_write.h"
#include "format/safetensors.h"
#include "model/model.h"

struct path { char p[512]; };
static struct path source(const char *fmt, const char *a, const char *b) {
    const char *root = getenv("SNUG_SOURCE");
    struct path out;
    int n = snprintf(out.p, sizeof out.p, "%s/tests/data/arch/", root ? root : ".");
    snprintf(out.p + n, sizeof out.p - (size_t)n, fmt, a, b);
    return out;
}
/* Skips the test, aloud, when the reference data is not there. */
static struct path shared(const char *name) {
    const char *root = getenv("SNUG_SHARED");
    struct path out;
    snprintf(out.p, sizeof out.p, "%s/%s", root ? root : "", name);
    if (root && os_exists(out.p)) return out;
    printf("SNUG_SHARED has no %s: this test is skipped\n", name);
    skip();
    return out;
}
static void assert_ok(enum err_code rc, const struct err *e) {
    char text[800];
    if (rc == ERR_NONE) return;
    err_format(e, text, sizeof text);
    fail_msg("%s", text);
}

/* --- Hyper-parameters from config.json --- */

static enum err_code read_config(const char *json, struct hparams *hp, struct err *e) {
    struct hf_config *c;
    TRY(hf_config_parse((struct span){ (const uint8_t *)json, strlen(json) }, "config.json", &c, e));
    struct tfile f = { .kind = TFILE_HF, .path = (char *)"some/model/", .config = c };
    enum err_code rc = hparams_read(&f, hp, e);
    hf_config_close(c);
    return rc;
}

static char *read_text(const char *path) {
    char *text;
    size_t n;
    struct err e;
    assert_ok(os_read_file(path, 1 << 20, &text, &n, &e), &e);
    return text;
}

/* Every field by itself: a struct has padding. */
static void assert_same_hparams(const struct hparams *a, const struct hparams *b) {
    assert_ptr_equal(a->arch, b->arch);
    assert_int_equal(a->n_vocab, b->n_vocab);
    assert_int_equal(a->n_ctx_train, b->n_ctx_train);
    assert_int_equal(a->n_embd, b->n_embd);
    assert_int_equal(a->n_layer, b->n_layer);
    assert_int_equal(a->n_head, b->n_head);
    assert_int_equal(a->n_head_kv, b->n_head_kv);
    assert_int_equal(a->head_dim, b->head_dim);
    assert_int_equal(a->n_ff, b->n_ff);
    assert_int_equal(a->window, b->window);
    assert_true(a->norm_eps == b->norm_eps);
    assert_int_equal(a->tied, b->tied);
    assert_int_equal(a->attn_bias, b->attn_bias);
    assert_int_equal(a->ffn_bias, b->ffn_bias);
    assert_int_equal(a->bos, b->bos);
    assert_int_equal(a->eos, b->eos);
    assert_int_equal(a->rope.n_rot, b->rope.n_rot);
    assert_int_equal(a->rope.scaling, b->rope.scaling);
    assert_int_equal(a->rope.original_ctx, b->rope.original_ctx);
    assert_int_equal(a->rope.truncate, b->rope.truncate);
    assert_true(a->rope.base == b->rope.base && a->rope.factor == b->rope.factor);
    assert_true(a->rope.attn_factor == b->rope.attn_factor);
    assert_true(a->rope.beta_fast == b->rope.beta_fast && a->rope.beta_slow == b->rope.beta_slow);
    assert_true(a->rope.low_freq_factor == b->rope.low_freq_factor);
    assert_true(a->rope.high_freq_factor == b->rope.high_freq_factor);
}

/* What the folders' config.json say, read by eye. */
static const struct {
    const char *name;
    uint32_t n_vocab, n_embd, n_layer, n_head, n_head_kv, head_dim, n_ff, n_ctx;
    bool tied, bias;
    float base, factor;
    enum rope_scaling scaling;
    uint32_t original_ctx;
    enum qtype type;
} families[] = {
    { "llama", 325, 256, 2, 8, 2, 32, 256, 512, false, false, 1e4f, 1, ROPE_SCALE_NONE, 512, QTYPE_BF16 },
    { "llama-mha", 323, 64, 2, 4, 4, 16, 172, 512, false, false, 1e4f, 1, ROPE_SCALE_NONE, 512, QTYPE_F16 },
    { "llama-rope3", 325, 64, 2, 4, 2, 32, 64, 512, true, false, 1e4f, 8, ROPE_SCALE_LLAMA3, 64, QTYPE_BF16 },
    { "llama-yarn", 325, 64, 2, 4, 2, 32, 64, 512, false, false, 1e4f, 4, ROPE_SCALE_YARN, 128, QTYPE_F16 },
    { "llama-linear", 336, 64, 2, 4, 2, 16, 64, 512, false, false, 1e4f, 4, ROPE_SCALE_LINEAR, 512, QTYPE_F16 },
    { "llama-dynamic", 336, 64, 2, 4, 2, 16, 64, 32, false, false, 1e4f, 4, ROPE_SCALE_DYNAMIC, 32, QTYPE_F16 },
    { "llama-bias", 336, 64, 2, 4, 2, 16, 64, 512, false, true, 1e4f, 1, ROPE_SCALE_NONE, 512, QTYPE_F32 },
    { "llama-sharded", 324, 64, 2, 4, 2, 16, 64, 512, false, false, 1e4f, 1, ROPE_SCALE_NONE, 512, QTYPE_BF16 },
    { "mistral-nemo", 328, 80, 3, 4, 2, 32, 104, 512, false, false, 1e6f, 1, ROPE_SCALE_NONE, 512, QTYPE_F16 },
};

static void both_spellings_say_the_same(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(families); i++) {
        struct hparams v5, v4;
        struct err e = { 0 };
        char *json = read_text(source("%s/%s", families[i].name, "config.json").p);
        assert_ok(read_config(json, &v5, &e), &e);
        mem_free(json);
        json = read_text(source("%s/%s", families[i].name, "config.v4.json").p);
        assert_ok(read_config(json, &v4, &e), &e);
        mem_free(json);
        assert_same_hparams(&v5, &v4);

        assert_string_equal(v5.arch->name, "llama");
        assert_string_equal(v5.name, "model");
        assert_int_equal(v5.n_vocab, families[i].n_vocab);
        assert_int_equal(v5.n_embd, families[i].n_embd);
        assert_int_equal(v5.n_layer, families[i].n_layer);
        assert_int_equal(v5.n_head, families[i].n_head);
        assert_int_equal(v5.n_head_kv, families[i].n_head_kv);
        assert_int_equal(v5.head_dim, families[i].head_dim);
        assert_int_equal(v5.n_ff, families[i].n_ff);
        assert_int_equal(v5.n_ctx_train, families[i].n_ctx);
        assert_int_equal(v5.tied, families[i].tied);
        assert_int_equal(v5.attn_bias, families[i].bias);
        assert_int_equal(v5.ffn_bias, families[i].bias);
        assert_int_equal(v5.float_type, families[i].type);
        assert_true(v5.norm_eps == 1e-6f);
        assert_int_equal(v5.bos, 1);
        assert_int_equal(v5.eos, 2);
        assert_true(v5.rope.base == families[i].base && v5.rope.factor == families[i].factor);
        assert_int_equal(v5.rope.scaling, families[i].scaling);
        assert_int_equal(v5.rope.original_ctx, families[i].original_ctx);
        assert_int_equal(v5.rope.n_rot, families[i].head_dim);
        assert_int_equal(v5.rope.pairing, ROPE_HALVES);
    }
}

/* A sound configuration as key and value; a test puts in or takes out one. */
static const char *const sound[][2] = {
    { "model_type", "\"llama\"" },          { "vocab_size", "1000" },      { "hidden_size", "64" },
    { "intermediate_size", "128" },         { "num_hidden_layers", "2" },  { "num_attention_heads", "4" },
    { "num_key_value_heads", "2" },         { "head_dim", "16" },          { "max_position_embeddings", "2048" },
    { "rms_norm_eps", "1e-5" },             { "rope_theta", "10000.0" },   { "hidden_act", "\"silu\"" },
    { "tie_word_embeddings", "false" },     { "torch_dtype", "\"float16\"" },
};

/* value NULL: without the key. */
static enum err_code read_changed(const char *key, const char *value, struct hparams *hp, struct err *e) {
    struct buf b = { 0 };
    bool known = false;
    buf_addz(&b, "{");
    for (size_t i = 0; i < ARRAY_LEN(sound); i++) {
        bool changed = !strcmp(sound[i][0], key);
        known |= changed;
        if (changed && !value) continue;
        buf_addf(&b, "%s\"%s\": %s", b.n > 1 ? ", " : "", sound[i][0], changed ? value : sound[i][1]);
    }
    if (!known && value) buf_addf(&b, ", \"%s\": %s", key, value);
    buf_addz(&b, "}");
    memset(e, 0, sizeof *e);
    enum err_code rc = read_config(b.p, hp, e);
    buf_fini(&b);
    return rc;
}

static void bad_configs_are_named(void **state) {
    (void)state;
    static const struct { const char *key, *value; enum err_code code; const char *says; } cases[] = {
        { "model_type", NULL, ERR_FORMAT, "model_type" },
        { "model_type", "\"mamba\"", ERR_UNSUPPORTED, "known are: llama, mistral" },
        { "model_type", "7", ERR_FORMAT, "model_type" },
        { "vocab_size", NULL, ERR_FORMAT, "vocab_size" },
        { "vocab_size", "0", ERR_FORMAT, "vocab_size" },
        { "vocab_size", "-5", ERR_FORMAT, "vocab_size" },
        { "vocab_size", "16777217", ERR_FORMAT, "vocab_size is 16777217" }, /* the limit of 2^24 and one */
        { "vocab_size", "1e30", ERR_FORMAT, "vocab_size" },
        { "vocab_size", "\"1000\"", ERR_FORMAT, "vocab_size" },
        { "hidden_size", NULL, ERR_FORMAT, "hidden_size" },
        { "hidden_size", "64.5", ERR_FORMAT, "hidden_size" },
        { "hidden_size", "[64]", ERR_FORMAT, "hidden_size" },
        { "intermediate_size", NULL, ERR_FORMAT, "intermediate_size" },
        { "intermediate_size", "0", ERR_FORMAT, "intermediate_size" },
        { "num_hidden_layers", NULL, ERR_FORMAT, "num_hidden_layers" },
        { "num_hidden_layers", "4294967295", ERR_FORMAT, "num_hidden_layers" },
        { "num_attention_heads", NULL, ERR_FORMAT, "num_attention_heads" },
        { "num_attention_heads", "0", ERR_FORMAT, "num_attention_heads" },
        { "num_attention_heads", "5", ERR_FORMAT, "num_key_value_heads" },
        { "num_key_value_heads", "3", ERR_FORMAT, "num_key_value_heads" },
        { "num_key_value_heads", "0", ERR_FORMAT, "num_key_value_heads" },
        { "head_dim", "15", ERR_FORMAT, "head_dim" },
        { "head_dim", "0", ERR_FORMAT, "head_dim" },
        { "max_position_embeddings", NULL, ERR_FORMAT, "max_position_embeddings" },
        { "max_position_embeddings", "0", ERR_FORMAT, "max_position_embeddings" },
        { "rms_norm_eps", "0", ERR_FORMAT, "rms_norm_eps" },
        { "rms_norm_eps", "-1e-5", ERR_FORMAT, "rms_norm_eps" },
        { "rms_norm_eps", "1e300", ERR_FORMAT, "rms_norm_eps" },
        { "rope_theta", "0", ERR_FORMAT, "rope_theta" },
        { "rope_theta", "1", ERR_FORMAT, "rope_theta" }, /* its logarithm divides */
        { "rope_theta", "\"big\"", ERR_FORMAT, "rope_theta" },
        { "rope_scaling", "7", ERR_FORMAT, "rope_scaling" },
        { "rope_parameters", "\"yarn\"", ERR_FORMAT, "rope_parameters" },
        { "rope_scaling", "{\"factor\": 2}", ERR_FORMAT, "rope_scaling.rope_type" },
        { "rope_scaling", "{\"type\": \"longrope\", \"factor\": 2}", ERR_UNSUPPORTED, "longrope" },
        { "rope_scaling", "{\"type\": \"linear\"}", ERR_FORMAT, "rope_scaling.factor" },
        { "rope_scaling", "{\"type\": \"linear\", \"factor\": 0}", ERR_FORMAT, "factor" },
        { "rope_scaling", "{\"rope_type\": \"dynamic\", \"factor\": -2}", ERR_FORMAT, "factor" },
        { "rope_scaling", "{\"rope_type\": \"llama3\", \"factor\": 8}", ERR_FORMAT, "low_freq_factor" },
        { "rope_scaling", "{\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 4, \"high_freq_factor\": 4}",
          ERR_FORMAT, "high_freq_factor" },
        { "rope_scaling", "{\"rope_type\": \"yarn\", \"factor\": 4, \"beta_fast\": 0}", ERR_FORMAT, "beta_fast" },
        { "rope_scaling", "{\"rope_type\": \"yarn\", \"factor\": 4, \"attention_factor\": 0}", ERR_FORMAT,
          "attention_factor" },
        { "rope_scaling", "{\"type\": \"yarn\", \"factor\": 4, \"original_max_position_embeddings\": 0}", ERR_FORMAT,
          "original_max_position_embeddings" },
        { "rope_parameters", "{\"rope_type\": \"yarn\", \"factor\": 4, \"truncate\": 1}", ERR_FORMAT, "truncate" },
        { "partial_rotary_factor", "0.5", ERR_UNSUPPORTED, "partial_rotary_factor" },
        { "hidden_act", "\"gelu\"", ERR_UNSUPPORTED, "hidden_act" },
        { "tie_word_embeddings", "\"yes\"", ERR_FORMAT, "tie_word_embeddings" },
        { "attention_bias", "1", ERR_FORMAT, "attention_bias" },
        { "mlp_bias", "1", ERR_FORMAT, "mlp_bias" },
        { "sliding_window", "-1", ERR_FORMAT, "sliding_window" },
        { "torch_dtype", "\"float8\"", ERR_UNSUPPORTED, "float8" },
        { "bos_token_id", "4294967295", ERR_FORMAT, "bos_token_id" },
        { "quantization_config", "{\"bits\": 4}", ERR_UNSUPPORTED, "quantization_config" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct hparams hp;
        struct err e;
        enum err_code rc = read_changed(cases[i].key, cases[i].value, &hp, &e);
        const char *value = cases[i].value ? cases[i].value : "nothing";
        if (rc != cases[i].code || !strstr(e.msg, cases[i].says))
            fail_msg("%s = %s: %s, \"%s\"", cases[i].key, value, err_name(rc), e.msg);
        if (!e.where[0]) fail_msg("%s = %s: no place", cases[i].key, value);
    }
}

static void defaults_and_oddities(void **state) {
    (void)state;
    struct hparams hp;
    struct err e;
    assert_ok(read_changed("num_key_value_heads", NULL, &hp, &e), &e);
    assert_int_equal(hp.n_head_kv, 4); /* as many as query heads */
    assert_ok(read_changed("head_dim", NULL, &hp, &e), &e);
    assert_int_equal(hp.head_dim, 16); /* 64 / 4 */
    assert_ok(read_changed("head_dim", "32", &hp, &e), &e);
    assert_int_equal(hp.head_dim, 32);
    assert_int_equal(hp.rope.n_rot, 32);
    assert_ok(read_changed("rope_theta", NULL, &hp, &e), &e);
    assert_true(hp.rope.base == 10000);
    assert_ok(read_changed("hidden_size", "64.0", &hp, &e), &e);
    assert_int_equal(hp.n_embd, 64);
    assert_int_equal(hp.bos, -1);
    assert_ok(read_changed("eos_token_id", "[128001, 128008]", &hp, &e), &e);
    assert_int_equal(hp.eos, 128001);
    assert_ok(read_changed("sliding_window", "2048", &hp, &e), &e);
    assert_int_equal(hp.window, 0); /* as long as the context */
    assert_ok(read_changed("sliding_window", "2047", &hp, &e), &e);
    assert_int_equal(hp.window, 2047);
    assert_ok(read_changed("dtype", "\"bfloat16\"", &hp, &e), &e);
    assert_int_equal(hp.float_type, QTYPE_BF16); /* the new spelling wins */
    /* transformers: get_mscale(40, 0.707) / get_mscale(40, 1) */
    static const char mscales[] = "{\"type\": \"yarn\", \"factor\": 40, \"mscale\": 0.707, \"mscale_all_dim\": 1}";
    assert_ok(read_changed("rope_scaling", mscales, &hp, &e), &e);
    assert_float_equal(hp.rope.attn_factor, 0.9210423553, 1e-6);
    assert_int_equal(hp.rope.original_ctx, 2048);
    static const char given[] = "{\"type\": \"yarn\", \"factor\": 40, \"attention_factor\": 0.5}";
    assert_ok(read_changed("rope_scaling", given, &hp, &e), &e);
    assert_true(hp.rope.attn_factor == 0.5f);
}

/* --- Rotary frequencies --- expected values: numpy in double precision over the formulas of transformers 5.23's
 * modeling_rope_utils.py (llama3 in float, as there). */

static struct rope_params rope_of(const char *family) {
    struct hparams hp;
    struct err e;
    char *json = read_text(source("%s/%s", family, "config.json").p);
    assert_ok(read_config(json, &hp, &e), &e);
    mem_free(json);
    return hp.rope;
}

static void assert_freqs(const struct rope_params *r, uint32_t len, const double *expected, size_t n) {
    float got[64];
    assert_int_equal(r->n_rot, 2 * n);
    rope_inv_freq(r, NULL, len, got);
    for (size_t i = 0; i < n; i++)
        if (fabs(got[i] - expected[i]) > 3e-7 * expected[i])
            fail_msg("pair %zu: %.9g, expected %.9g", i, (double)got[i], expected[i]);
}
#define ASSERT_FREQS(r, len, ...) \
    assert_freqs(r, len, (const double[]){ __VA_ARGS__ }, ARRAY_LEN(((const double[]){ __VA_ARGS__ })))

static void frequencies_are_those_of_transformers(void **state) {
    (void)state;
    struct rope_params plain = rope_of("llama-mha"), linear = rope_of("llama-linear"), yarn = rope_of("llama-yarn");
    struct rope_params dynamic = rope_of("llama-dynamic"), llama3 = rope_of("llama-rope3");
    ASSERT_FREQS(&plain, 512, 1, 0.316227766, 0.1, 0.0316227766, 0.01, 0.00316227766, 0.001, 0.000316227766);
    ASSERT_FREQS(&linear, 512, 0.25, 0.0790569415, 0.025, 0.00790569415, 0.0025, 0.000790569415, 0.00025,
                 7.90569415e-05);
    ASSERT_FREQS(&dynamic, 20, 1, 0.316227766, 0.1, 0.0316227766, 0.01, 0.00316227766, 0.001, 0.000316227766);
    ASSERT_FREQS(&dynamic, 100, 1, 0.229258369, 0.0525594, 0.0120496823, 0.00276249052, 0.000633324073, 0.000145194844,
                 3.32871333e-05);
    ASSERT_FREQS(&llama3, 512, 1.0, 0.562341332, 0.244384596, 0.064309871, 0.0130422567, 0.0070292661, 0.00395284733,
                 0.00222284929, 0.00124999997, 0.000702926656, 0.000395284733, 0.000222284929, 0.000125000006,
                 7.02926627e-05, 3.95284733e-05, 2.22284925e-05);
    ASSERT_FREQS(&yarn, 512, 1.0, 0.49204866, 0.237170825, 0.111142463, 0.05, 0.0210877997, 0.00790569415,
                 0.00444569853, 0.0025, 0.00140585331, 0.000790569415, 0.000444569853, 0.00025, 0.000140585331,
                 7.90569415e-05, 4.44569853e-05);
    assert_float_equal(yarn.attn_factor, 1.138629436, 1e-6); /* 0.1 ln(4) + 1 */
    yarn.truncate = false;
    ASSERT_FREQS(&yarn, 512, 1.0, 0.481793904, 0.225637479, 0.101413948, 0.042705672, 0.0159604221, 0.00790569415,
                 0.00444569853, 0.0025, 0.00140585331, 0.000790569415, 0.000444569853, 0.00025, 0.000140585331,
                 7.90569415e-05, 4.44569853e-05);
    /* Both ends of the ramp above zero: the numbers of a public 120B (base 150000, factor 32 of 4096, head 64). */
    struct rope_params oss = { .base = 150000, .n_rot = 64, .scaling = ROPE_SCALE_YARN, .factor = 32,
                               .original_ctx = 4096, .beta_fast = 32, .beta_slow = 1, .attn_factor = 1 };
    ASSERT_FREQS(&oss, 1, 1.0, 0.689044306, 0.474782055, 0.327145872, 0.225418, 0.155322989, 0.107024421, 0.0737445682,
                 0.0508132748, 0.0317056962, 0.0193350011, 0.0115920493, 0.00679495949, 0.00386035932, 0.00209379238,
                 0.0010526021, 0.000456483919, 0.000129318701, 3.83088124e-05, 2.6396469e-05, 1.81883367e-05,
                 1.25325698e-05, 8.63549588e-06, 5.95023926e-06, 4.09997848e-06, 2.82506683e-06, 1.94659621e-06,
                 1.34129104e-06, 9.2420895e-07, 6.36820915e-07, 4.38797825e-07, 3.02351143e-07);
    /* With its ends rounded the ramp runs from 8 to 18 instead of 8.09 to 17.40. */
    float rounded[32];
    static const double inside[5] = { 0.0508132748, 0.0316207523, 0.0194509675, 0.0117921911, 0.00701571391 };
    oss.truncate = true;
    rope_inv_freq(&oss, NULL, 1, rounded);
    for (unsigned i = 0; i < 5; i++) assert_float_equal(rounded[8 + i] / inside[i], 1, 1e-6);
}

/* Llama 3.1's scaling (base 500000, factor 8, low 1, high 4, 8192) as GGUF's divisors, and that they give the same. */
static void divisors_carry_llama3_scaling(void **state) {
    (void)state;
    struct rope_params r = { .base = 500000, .n_rot = 128, .scaling = ROPE_SCALE_LLAMA3, .factor = 8,
                             .original_ctx = 8192, .low_freq_factor = 1, .high_freq_factor = 4, .attn_factor = 1 };
    static const struct { unsigned pair; double divisor, freq; } expected[] = {
        { 0, 1, 1 }, { 28, 1, 0.00321144611 }, { 29, 1.207484, 0.00216657045 }, { 32, 2.69453, 0.000524846055 },
        { 35, 8, 9.5562129e-05 }, { 63, 8, 3.06892588e-07 },
    };
    float divisors[64], direct[64], divided[64];
    rope_freq_divisors(&r, divisors);
    rope_inv_freq(&r, NULL, 1, direct);
    r.scaling = ROPE_SCALE_NONE;
    rope_inv_freq(&r, divisors, 1, divided);
    for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
        assert_float_equal(divisors[expected[i].pair], expected[i].divisor, 1e-5);
        assert_float_equal(direct[expected[i].pair] / expected[i].freq, 1, 1e-6);
    }
    for (unsigned i = 0; i < 64; i++) assert_float_equal(divided[i] / direct[i], 1, 2e-7);
}

/* --- Binding --- */

static struct model *open_ok(const char *path, bool shapes_only) {
    struct model *m;
    struct err e = { 0 };
    assert_ok(model_open(path, shapes_only, &m, &e), &e);
    return m;
}

/* Every family's folder: two matrices' shapes by the hyper-parameters, and every weight found by slot and by name. */
static void folders_bind(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(families); i++) {
        struct model *m = open_ok(source("%s%s", families[i].name, "").p, false);
        uint32_t per_block = 9 + (families[i].bias ? 7 : 0);
        assert_int_equal(m->n_weights, 2 + !families[i].tied + families[i].n_layer * per_block);
        assert_string_equal(m->hp.name, families[i].name);
        assert_string_equal(m->weights[0].name, "token_embd.weight");
        assert_string_equal(m->weights[1].name, "output_norm.weight");
        assert_int_equal(m->weights[0].ne[1], families[i].n_vocab);
        assert_null(model_weight(m, SLOT_ROPE_FREQS, 0));
        assert_null(model_weight(m, SLOT_ATTN_Q, families[i].n_layer));
        assert_int_equal(model_weight(m, SLOT_ATTN_Q_B, 0) != NULL, families[i].bias);
        const struct weight *k = model_weight(m, SLOT_ATTN_K, 1), *v = model_weight(m, SLOT_ATTN_V, 1);
        assert_string_equal(k->name, "blk.1.attn_k.weight");
        assert_string_equal(k->src->name, "model.layers.1.self_attn.k_proj.weight");
        assert_int_equal(k->ne[0], families[i].n_embd);
        assert_int_equal(k->ne[1], families[i].n_head_kv * families[i].head_dim);
        assert_int_equal(k->type, families[i].type);
        assert_int_equal(k->permute_heads, families[i].n_head_kv);
        assert_int_equal(v->permute_heads, 0);
        for (uint32_t w = 0; w < m->n_weights; w++)
            assert_ptr_equal(model_weight(m, m->weights[w].slot, m->weights[w].layer), &m->weights[w]);
        uint64_t stored = 0;
        for (size_t t = 0; t < m->file->n_tensors; t++) stored += tfile_tensor_weights(&m->file->tensors[t]);
        assert_int_equal(model_parameters(m), stored);
        model_close(m);
    }
}

static void parameters_of_public_configs(void **state) {
    (void)state;
    char *text = read_text(shared("models/configs/parameters.json").p);
    static const char *const names[] = { "llama-2-7b", "llama-2-13b", "llama-2-70b", "llama-3.1-8b", "llama-3.2-1b",
                                         "llama-3.3-70b", "mistral-7b-v0.1" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char name[64];
        struct buf key = { 0 };
        snprintf(name, sizeof name, "models/configs/%s", names[i]);
        struct model *m = open_ok(shared(name).p, true);
        assert_null(m->weights[0].src);
        assert_int_equal(m->weights[0].type, m->hp.float_type);
        /* The names hold dots, which separate keys in a path: look the number up in the text. */
        buf_addf(&key, "\"%s\": ", names[i]);
        const char *at = strstr(text, key.p);
        assert_non_null(at);
        assert_int_equal(model_parameters(m), strtoull(at + key.n, NULL, 10));
        buf_fini(&key);
        model_close(m);
    }
    mem_free(text);
}

/* A directory with a changed config.json beside links to the weights of a family. */
static struct path changed_folder(const char *family, const char *from, const char *to) {
    struct path dir, file;
    snprintf(dir.p, sizeof dir.p, "/tmp/snug-test-model-XXXXXX");
    assert_non_null(mkdtemp(dir.p));
    char *json = read_text(source("%s/%s", family, "config.json").p), *at = strstr(json, from);
    if (!at) fail_msg("%s has no %s", family, from);
    struct buf b = { 0 };
    buf_add(&b, json, (size_t)(at - json));
    buf_addz(&b, to);
    buf_addz(&b, at + strlen(from));
    snprintf(file.p, sizeof file.p, "%.400s/config.json", dir.p);
    struct err e;
    assert_ok(os_write_file(file.p, b.p, b.n, &e), &e);
    snprintf(file.p, sizeof file.p, "%.400s/model.safetensors", dir.p);
    char full[4096];
    assert_non_null(realpath(source("%s/%s", family, "model.safetensors").p, full));
    assert_int_equal(symlink(full, file.p), 0);
    buf_fini(&b);
    mem_free(json);
    return dir;
}

static void remove_folder(const char *dir) {
    char **names;
    size_t n;
    struct err e;
    assert_ok(os_list_dir(dir, &names, &n, &e), &e);
    for (size_t i = 0; i < n; i++) {
        char *path = os_path_join(dir, names[i]);
        unlink(path);
        mem_free(path);
        mem_free(names[i]);
    }
    mem_free(names);
    rmdir(dir);
}

static void misfits_are_named(void **state) {
    (void)state;
    static const struct { const char *family, *from, *to; enum err_code code; const char *says[2]; } cases[] = {
        { "llama", "\"vocab_size\": 325", "\"vocab_size\": 326", ERR_FORMAT, { "embed_tokens", "(256, 325)" } },
        { "llama", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", ERR_FORMAT, { "layers.2.", "missing" } },
        { "llama", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1", ERR_UNSUPPORTED, { "layers.1.", "place" } },
        { "llama", "\"attention_bias\": false", "\"attention_bias\": true", ERR_FORMAT, { "q_proj.bias", "missing" } },
        { "llama-bias", "\"mlp_bias\": true", "\"mlp_bias\": false", ERR_UNSUPPORTED, { "proj.bias", "place" } },
        { "llama-rope3", "\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false", ERR_FORMAT,
          { "lm_head.weight", "missing" } },
        { "llama", "\"num_key_value_heads\": 2", "\"num_key_value_heads\": 4", ERR_FORMAT, { "k_proj", "(256, 128)" } },
        { "mistral-nemo", "\"sliding_window\": null", "\"sliding_window\": 8", ERR_UNSUPPORTED,
          { "sliding_window", "8" } },
        { "mistral-nemo", "\"head_dim\": 32", "\"head_dim\": 20", ERR_FORMAT, { "q_proj", "(80, 80)" } },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct path dir = changed_folder(cases[i].family, cases[i].from, cases[i].to);
        struct model *m = (struct model *)1;
        struct err e = { 0 };
        enum err_code rc = model_open(dir.p, false, &m, &e);
        assert_null(m);
        if (rc != cases[i].code || !strstr(e.msg, cases[i].says[0]) || !strstr(e.msg, cases[i].says[1]))
            fail_msg("%s: %s, \"%s\"", cases[i].to, err_name(rc), e.msg);
        if (!strstr(e.where, dir.p)) fail_msg("%s: the place is \"%s\"", cases[i].to, e.where);
        remove_folder(dir.p);
    }
    /* A window can be planned. A tied checkpoint may hold its head all the same. */
    struct path dir = changed_folder("mistral-nemo", "\"sliding_window\": null", "\"sliding_window\": 8");
    struct model *m = open_ok(dir.p, true);
    assert_int_equal(m->hp.window, 8);
    model_close(m);
    remove_folder(dir.p);
    dir = changed_folder("llama", "\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true");
    m = open_ok(dir.p, false);
    assert_null(model_weight(m, SLOT_OUTPUT, 0));
    model_close(m);
    remove_folder(dir.p);
}

/* Writes the tensors of m under dir with "model." cut from their names, and one more of four floats. */
static void write_bare(const struct model *m, const char *dir, const char *one_more) {
    struct safetensors_writer *w;
    struct tstream *s;
    struct err e;
    static const float four[4] = { 1, 2, 3, 4 };
    assert_ok(safetensors_writer_new(&w, &e), &e);
    for (size_t i = 0; i < m->file->n_tensors; i++) {
        const struct tfile_tensor *t = &m->file->tensors[i];
        const char *name = strncmp(t->name, "model.", 6) ? t->name : t->name + 6;
        assert_ok(safetensors_writer_tensor(w, name, t->type, t->n_dims, t->ne, &e), &e);
    }
    assert_ok(safetensors_writer_tensor(w, one_more, QTYPE_F32, 1, (const uint64_t[]){ 4 }, &e), &e);
    assert_ok(safetensors_writer_open(w, dir, &s, &e), &e);
    for (size_t i = 0; i < m->file->n_tensors; i++)
        assert_ok(tstream_put(s, m->file->tensors[i].data, m->file->tensors[i].bytes, &e), &e);
    assert_ok(tstream_put(s, four, sizeof four, &e), &e);
    assert_ok(tstream_commit(s, &e), &e);
    safetensors_writer_free(w);
}

static void prefixes_and_extras(void **state) {
    (void)state;
    struct model *m = open_ok(source("%s%s", "llama-mha", "").p, false), *bare;
    struct path dir = changed_folder("llama-mha", "\"llama\"", "\"llama\""), old;
    snprintf(old.p, sizeof old.p, "%.400s/model.safetensors", dir.p);
    unlink(old.p);
    write_bare(m, dir.p, "layers.0.self_attn.rotary_emb.inv_freq");
    bare = open_ok(dir.p, false);
    assert_int_equal(bare->n_weights, m->n_weights);
    assert_string_equal(bare->weights[0].src->name, "embed_tokens.weight");
    model_close(bare);
    unlink(old.p);
    write_bare(m, dir.p, "layers.0.self_attn.sinks");
    struct err e = { 0 };
    assert_int_equal(model_open(dir.p, false, &bare, &e), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "layers.0.self_attn.sinks"));
    remove_folder(dir.p);
    model_close(m);
}

/* --- Rows --- */

/* A head of 8: halves pair (0, 4) (1, 5) (2, 6) (3, 7), which GGUF puts side by side. */
static void rows_change_places(void **state) {
    (void)state;
    static const uint64_t halves[8] = { 0, 4, 1, 5, 2, 6, 3, 7 };
    for (uint64_t r = 0; r < 24; r++) {
        uint64_t expected = r / 8 * 8 + halves[r % 8];
        assert_int_equal(rope_row_in_halves(24, 3, r), expected);
        assert_int_equal(rope_row_in_neighbours(24, 3, expected), r);
    }
    struct model *m = open_ok(source("%s%s", "llama-bias", "").p, false);
    const struct weight *q = model_weight(m, SLOT_ATTN_Q, 1), *b = model_weight(m, SLOT_ATTN_K_B, 1);
    const struct weight *v = model_weight(m, SLOT_ATTN_V, 0);
    assert_int_equal(q->permute_heads, 4);
    assert_int_equal(model_file_row(q, 17), 16 + 8); /* head 1 of 16, i = 0, j = 1 */
    assert_int_equal(model_file_row(v, 17), 17);
    float rows[3 * 64], bias[32], plain[32];
    model_read_rows(q, 16, 3, rows);
    const float *file = (const float *)(const void *)q->src->data; /* llama-bias is F32 */
    for (unsigned i = 0; i < 64; i++) {
        assert_true(rows[i] == file[16 * 64 + i]);
        assert_true(rows[64 + i] == file[24 * 64 + i]);
        assert_true(rows[128 + i] == file[17 * 64 + i]);
    }
    model_read_rows(b, 0, 1, bias);
    model_read_file_rows(b, 0, 1, plain);
    for (unsigned i = 0; i < 32; i++) assert_true(bias[i] == plain[i / 16 * 16 + i % 2 * 8 + i % 16 / 2]);
    model_close(m);
}

/* llama.cpp's own files of tiny against the directory: the same hyper-parameters, and rows in the same order, as far as
 * 6-bit weights can say: a wrong order would differ by the weights' own size. */
static void llama_cpp_files_agree(void **state) {
    (void)state;
    struct model *hf = open_ok(shared("models/tiny").p, false);
    struct model *gguf = open_ok(shared("models/tiny/llamacpp/Q6_K.gguf").p, false);
    assert_same_hparams(&hf->hp, &gguf->hp);
    assert_int_equal(hf->hp.rope.pairing, ROPE_HALVES);
    assert_int_equal(gguf->hp.rope.pairing, ROPE_NEIGHBOURS);
    assert_int_equal(hf->n_weights, gguf->n_weights);
    for (uint32_t i = 0; i < hf->n_weights; i++) {
        const struct weight *a = &hf->weights[i], *b = &gguf->weights[i];
        assert_string_equal(a->name, b->name);
        assert_memory_equal(a->ne, b->ne, sizeof a->ne);
        assert_int_equal(b->permute_heads, 0);
        uint64_t n = a->ne[0] * a->ne[1];
        float *x = calloc(n, sizeof *x), *y = calloc(n, sizeof *y);
        model_read_rows(a, 0, a->ne[1], x);
        model_read_rows(b, 0, b->ne[1], y);
        double diff = 0, size = 0;
        for (uint64_t j = 0; j < n; j++) {
            diff += (x[j] - y[j]) * (x[j] - y[j]);
            size += x[j] * x[j];
        }
        if (sqrt(diff / size) > (qtype_is_float(b->type) ? 0 : 0.03)) fail_msg("%s: %g", a->name, sqrt(diff / size));
        free(x); free(y);
    }
    model_close(hf);
    model_close(gguf);
}

/* --- GGUF keys --- */

/* A GGUF file of the hyper-parameters of `sound` without any weights, one key changed. */
struct gguf_change { const char *key; enum { DROP, U32, I32, F32, TEXT, LIST } kind; double number; const char *text; };
static enum err_code read_gguf(const struct gguf_change *c, struct hparams *hp, struct err *e) {
    static const struct { const char *key; uint32_t v; } counts[] = {
        { "llama.vocab_size", 1000 }, { "llama.context_length", 2048 }, { "llama.embedding_length", 64 },
        { "llama.block_count", 2 }, { "llama.attention.head_count", 4 }, { "llama.attention.head_count_kv", 2 },
        { "llama.feed_forward_length", 128 },
    };
    struct gguf_writer *w;
    struct err none;
    struct buf b = { 0 };
    assert_ok(gguf_writer_new(&w, &none), &none);
    gguf_writer_str(w, "general.architecture", STR("llama"));
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) gguf_writer_u32(w, counts[i].key, counts[i].v);
    gguf_writer_f32(w, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    for (; c && c->key; c++) {
        uint32_t list[2] = { (uint32_t)c->number, c->text ? 7u : (uint32_t)c->number };
        switch (c->kind) {
        case DROP: gguf_writer_remove(w, c->key); break;
        case U32: gguf_writer_u32(w, c->key, (uint32_t)c->number); break;
        case I32: gguf_writer_i32(w, c->key, (int32_t)c->number); break;
        case F32: gguf_writer_f32(w, c->key, (float)c->number); break;
        case TEXT: gguf_writer_str(w, c->key, str_of(c->text)); break;
        case LIST: gguf_writer_array(w, c->key, GGUF_U32, list, 2); break;
        }
    }
    assert_ok(gguf_writer_header(w, &b, &none), &none);
    struct path path;
    snprintf(path.p, sizeof path.p, "/tmp/snug-test-model-%ld.gguf", (long)getpid());
    assert_ok(os_write_file(path.p, b.p, b.n, &none), &none);
    struct tfile *f;
    assert_ok(tfile_open(path.p, 0, &f, &none), &none);
    memset(e, 0, sizeof *e);
    enum err_code rc = hparams_read(f, hp, e);
    tfile_close(f);
    gguf_writer_free(w);
    buf_fini(&b);
    unlink(path.p);
    return rc;
}

static void gguf_keys(void **state) {
    (void)state;
    struct hparams hp, hf;
    struct err e;
    assert_ok(read_gguf(NULL, &hp, &e), &e);
    assert_ok(read_changed("tie_word_embeddings", "true", &hf, &e), &e); /* there is no output matrix */
    assert_same_hparams(&hp, &hf);
    assert_int_equal(hp.rope.pairing, ROPE_NEIGHBOURS);

    assert_ok(read_gguf((struct gguf_change[]){ { "llama.attention.head_count_kv", DROP, 0, 0 }, { 0 } }, &hp, &e), &e);
    assert_int_equal(hp.n_head_kv, 4);
    assert_ok(read_gguf((struct gguf_change[]){ { "llama.attention.head_count_kv", LIST, 2, 0 }, { 0 } }, &hp, &e), &e);
    assert_int_equal(hp.n_head_kv, 2);
    assert_ok(read_gguf((struct gguf_change[]){ { "llama.attention.key_length", U32, 32, 0 },
                                                { "llama.attention.value_length", U32, 32, 0 },
                                                { "llama.rope.dimension_count", U32, 24, 0 }, { 0 } }, &hp, &e), &e);
    assert_int_equal(hp.head_dim, 32);
    assert_int_equal(hp.rope.n_rot, 24);
    assert_ok(read_gguf((struct gguf_change[]){ { "llama.rope.scaling.type", TEXT, 0, "linear" },
                                                { "llama.rope.scaling.factor", F32, 4, 0 }, { 0 } }, &hp, &e), &e);
    assert_int_equal(hp.rope.scaling, ROPE_SCALE_LINEAR);
    assert_true(hp.rope.factor == 4);
    assert_ok(read_gguf((struct gguf_change[]){ { "llama.rope.scale_linear", F32, 2, 0 }, { 0 } }, &hp, &e), &e);
    assert_int_equal(hp.rope.scaling, ROPE_SCALE_LINEAR);
    assert_true(hp.rope.factor == 2);
    assert_ok(read_gguf((struct gguf_change[]){ { "llama.rope.freq_base", F32, 5e5, 0 },
                                                { "llama.rope.scaling.type", TEXT, 0, "yarn" },
                                                { "llama.rope.scaling.factor", F32, 4, 0 },
                                                { "llama.rope.scaling.original_context_length", U32, 512, 0 },
                                                { "tokenizer.ggml.bos_token_id", U32, 3, 0 }, { 0 } }, &hp, &e), &e);
    assert_int_equal(hp.rope.scaling, ROPE_SCALE_YARN);
    assert_int_equal(hp.rope.original_ctx, 512);
    assert_true(hp.rope.base == 5e5f && hp.rope.beta_fast == 32 && hp.rope.beta_slow == 1 && hp.rope.truncate);
    assert_float_equal(hp.rope.attn_factor, 1.138629436, 1e-6);
    assert_int_equal(hp.bos, 3);
    assert_ok(read_gguf((struct gguf_change[]){ { "llama.rope.scaling.type", TEXT, 0, "yarn" },
                                                { "llama.rope.scaling.factor", F32, 4, 0 },
                                                { "llama.rope.scaling.attn_factor", F32, 0.5, 0 },
                                                { "llama.rope.scaling.yarn_beta_fast", F32, 16, 0 }, { 0 } },
                        &hp, &e), &e);
    assert_float_equal(hp.rope.attn_factor, 0.5 * 1.138629436, 1e-6);
    assert_int_equal(hp.rope.original_ctx, 2048);
    assert_true(hp.rope.beta_fast == 16);
}

static void bad_gguf_keys_are_named(void **state) {
    (void)state;
    static const struct { struct gguf_change change; enum err_code code; const char *says; } cases[] = {
        { { "general.architecture", DROP, 0, 0 }, ERR_FORMAT, "general.architecture" },
        { { "general.architecture", TEXT, 0, "mamba" }, ERR_UNSUPPORTED, "known are: llama" },
        { { "llama.vocab_size", DROP, 0, 0 }, ERR_FORMAT, "vocab_size" },
        { { "llama.context_length", DROP, 0, 0 }, ERR_FORMAT, "llama.context_length" },
        { { "llama.embedding_length", U32, 0, 0 }, ERR_FORMAT, "embedding_length" },
        { { "llama.embedding_length", I32, -1, 0 }, ERR_FORMAT, "embedding_length" },
        { { "llama.embedding_length", U32, 4e9, 0 }, ERR_FORMAT, "embedding_length is 4000000000" },
        { { "llama.embedding_length", TEXT, 0, "64" }, ERR_FORMAT, "embedding_length" },
        { { "llama.block_count", U32, 0, 0 }, ERR_FORMAT, "block_count" },
        { { "llama.attention.head_count", LIST, 4, "uneven" }, ERR_UNSUPPORTED, "head_count" },
        { { "llama.attention.head_count_kv", U32, 3, 0 }, ERR_FORMAT, "head_count_kv" },
        { { "llama.attention.value_length", U32, 8, 0 }, ERR_UNSUPPORTED, "value_length" },
        { { "llama.attention.layer_norm_rms_epsilon", DROP, 0, 0 }, ERR_FORMAT, "layer_norm_rms_epsilon" },
        { { "llama.attention.layer_norm_rms_epsilon", F32, INFINITY, 0 }, ERR_FORMAT, "layer_norm_rms_epsilon" },
        { { "llama.rope.dimension_count", U32, 15, 0 }, ERR_FORMAT, "rope.dimension_count" },
        { { "llama.rope.dimension_count", U32, 18, 0 }, ERR_FORMAT, "rope.dimension_count" },
        { { "llama.rope.freq_base", F32, NAN, 0 }, ERR_FORMAT, "rope.freq_base" },
        { { "llama.rope.scaling.type", TEXT, 0, "longrope" }, ERR_UNSUPPORTED, "longrope" },
        { { "llama.expert_count", U32, 8, 0 }, ERR_UNSUPPORTED, "expert_count" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct hparams hp;
        struct err e;
        enum err_code rc = read_gguf((struct gguf_change[]){ cases[i].change, { 0 } }, &hp, &e);
        if (rc != cases[i].code || !strstr(e.msg, cases[i].says))
            fail_msg("%s: %s, \"%s\"", cases[i].change.key, err_name(rc), e.msg);
        if (!strstr(e.where, ".gguf")) fail_msg("%s: the place is \"%s\"", cases[i].change.key, e.where);
    }
}

/* --- Graphs --- */

struct stage { const struct model *m; struct { enum slot s; tensor_id x; } taps[16]; unsigned n_taps; };
static tensor_id place_weight(void *user, struct graph *g, enum slot s, uint32_t layer) {
    const struct weight *w = model_weight(((struct stage *)user)->m, s, layer);
    bool matrix = slot_info(s)->matrix;
    return graph_weight(g, w->name, matrix ? w->type : QTYPE_F32, w->ne, matrix ? 2 : 1, (struct place){ 1, 0 });
}
static void note_tap(void *user, enum slot s, uint32_t layer, tensor_id x) {
    struct stage *st = user;
    (void)layer;
    st->taps[st->n_taps].s = s;
    st->taps[st->n_taps++].x = x;
}

static void blocks_are_built(void **state) {
    (void)state;
    static const enum op_kind whole[] = {
        OP_GET_ROWS, OP_RMS_NORM, OP_MATMUL, OP_ROPE, OP_MATMUL, OP_ROPE, OP_MATMUL, OP_KV_STORE, OP_KV_STORE,
        OP_ATTENTION, OP_MATMUL, OP_ADD, OP_RMS_NORM, OP_MATMUL, OP_MATMUL, OP_GLU, OP_MATMUL, OP_ADD,
        OP_RMS_NORM, OP_MATMUL,
    };
    static const enum slot tapped[] = { SLOT_ATTN_Q, SLOT_ATTN_K, SLOT_ATTN_V, SLOT_ATTN_OUT, SLOT_FFN_GATE,
                                        SLOT_FFN_UP, SLOT_FFN_DOWN };
    for (size_t i = 0; i < ARRAY_LEN(families); i++) {
        struct model *m = open_ok(source("%s%s", families[i].name, "").p, false);
        struct stage st = { .m = m };
        struct graph *g = graph_new();
        const uint64_t kv[2] = { m->hp.n_head_kv * m->hp.head_dim, 64 }, n_tok = 3, half = m->hp.rope.n_rot / 2;
        struct build b = { .g = g, .m = m, .weight = place_weight, .user = &st, .tap = note_tap, .page = 16 };
        b.pos = graph_input(g, "pos", TENSOR_I32, &n_tok, 1);
        b.seq = graph_input(g, "seq", TENSOR_I32, &n_tok, 1);
        b.cells = graph_input(g, "cells", TENSOR_I32, &n_tok, 1);
        b.pages = graph_input(g, "pages", TENSOR_I32, (const uint64_t[]){ 4, 2 }, 2);
        b.inv_freq = graph_input(g, "inv_freq", QTYPE_F32, &half, 1);
        b.k_cache = graph_kv(g, "k", QTYPE_F32, kv, 2, (struct place){ 2, 0 });
        b.v_cache = graph_kv(g, "v", QTYPE_F32, kv, 2, (struct place){ 3, 0 });
        tensor_id ids = graph_input(g, "ids", TENSOR_I32, &n_tok, 1);
        tensor_id logits = model_build_head(&b, model_build_block(&b, 1, model_build_embed(&b, ids)));
        struct err e = { 0 };
        if (logits != NO_TENSOR) graph_output(g, logits);
        assert_ok(graph_finish(g, &e), &e);
        assert_int_equal(graph_tensor(g, logits)->ne[0], families[i].n_vocab);
        assert_int_equal(graph_tensor(g, logits)->ne[1], 3);
        assert_int_equal(g->n_ops, ARRAY_LEN(whole));
        for (size_t k = 0; k < ARRAY_LEN(whole); k++) assert_int_equal(g->ops[k].kind, whole[k]);
        assert_true(g->ops[3].rope.magnitude == m->hp.rope.attn_factor);
        assert_int_equal(g->ops[3].rope.pairing, ROPE_HALVES);
        assert_float_equal(g->ops[9].attn.scale, 1 / sqrt(families[i].head_dim), 1e-7);
        assert_int_equal(g->ops[2].src[2] != NO_TENSOR, families[i].bias);
        assert_int_equal(g->ops[16].src[2] != NO_TENSOR, families[i].bias);
        assert_string_equal(graph_tensor(g, g->ops[19].src[0])->name,
                            families[i].tied ? "token_embd.weight" : "output.weight");
        /* Taps name each matrix and see what goes into it. */
        assert_int_equal(st.n_taps, ARRAY_LEN(tapped) + 1);
        for (size_t k = 0; k < ARRAY_LEN(tapped); k++) assert_int_equal(st.taps[k].s, tapped[k]);
        assert_int_equal(st.taps[7].s, families[i].tied ? SLOT_TOKEN_EMBD : SLOT_OUTPUT);
        assert_int_equal(st.taps[0].x, g->ops[1].dst);
        assert_int_equal(st.taps[3].x, g->ops[9].dst);
        assert_int_equal(st.taps[6].x, g->ops[15].dst);
        graph_free(g);
        model_close(m);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_spellings_say_the_same),  cmocka_unit_test(bad_configs_are_named),
        cmocka_unit_test(defaults_and_oddities),        cmocka_unit_test(frequencies_are_those_of_transformers),
        cmocka_unit_test(divisors_carry_llama3_scaling), cmocka_unit_test(folders_bind),
        cmocka_unit_test(parameters_of_public_configs), cmocka_unit_test(misfits_are_named),
        cmocka_unit_test(prefixes_and_extras),          cmocka_unit_test(rows_change_places),
        cmocka_unit_test(llama_cpp_files_agree),        cmocka_unit_test(gguf_keys),
        cmocka_unit_test(bad_gguf_keys_are_named),      cmocka_unit_test(blocks_are_built),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
