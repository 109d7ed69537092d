/* Hyper-parameters from config.json in both spellings and from GGUF, and the rotary frequencies they lead to. */
#include <math.h>
#include <unistd.h>

#include "base/num.h"
#include "format/gguf_write.h"
#include "model_data.h"

/* --- config.json --- */

static enum err_code read_config(const char *json, struct hparams *hp, struct err *e) {
    struct hf_config *c;
    TRY(hf_config_parse((struct span){ (const uint8_t *)json, strlen(json) }, "config.json", &c, e));
    struct tfile f = { .kind = TFILE_HF, .path = (char *)"some/model/", .config = c };
    enum err_code rc = hparams_read(&f, hp, e);
    hf_config_close(c);
    return rc;
}

static void both_spellings_say_the_same(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(families); i++) {
        struct hparams v5, v4;
        struct err e = { 0 };
        char *json;
        read_text(source("%s/%s", families[i].name, "config.json").p, &json);
        assert_ok(read_config(json, &v5, &e), &e);
        mem_free(json);
        read_text(source("%s/%s", families[i].name, "config.v4.json").p, &json);
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

/* Folders of the reference data with both spellings of the same model. */
static const char *const folders[] = {
    "cohere", "cohere-qknorm", "cohere2", "ernie4_5", "exaone4", "gemma", "gemma2", "gemma3", "glm4", "granite",
    "hunyuan-dense", "minimax-m2", "ministral3", "olmo2", "olmo3", "phi3", "phi3-longrope", "qwen2", "qwen2-window",
    "qwen3", "seed-oss", "smollm3", "stablelm", "stablelm-12b", "starcoder2",
};

static void both_spellings_of_all_families(void **state) {
    (void)state;
    shared("models/arch");
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        static const char *const files[] = { "config.json", "config.v4.json" };
        struct hparams hp[ARRAY_LEN(files)];
        printf("%s\n", folders[i]);
        for (size_t j = 0; j < ARRAY_LEN(files); j++) {
            struct err e = { 0 };
            char *json, name[96];
            snprintf(name, sizeof name, "models/arch/%s/%s", folders[i], files[j]);
            read_text(shared(name).p, &json);
            assert_ok(read_config(json, &hp[j], &e), &e);
            mem_free(json);
        }
        assert_same_hparams(&hp[0], &hp[1]);
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
        { "model_type", "\"mamba\"", ERR_UNSUPPORTED, ", llama, mistral, " },
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
        { "rope_scaling", "{\"type\": \"ntk\", \"factor\": 2}", ERR_UNSUPPORTED, "ntk" },
        { "rope_scaling", "{\"type\": \"longrope\", \"factor\": 2}", ERR_FORMAT, "short_factor has 0" },
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
        { "partial_rotary_factor", "1.5", ERR_FORMAT, "partial_rotary_factor" },
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
    char *json;
    read_text(source("%s/%s", family, "config.json").p, &json);
    assert_ok(read_config(json, &hp, &e), &e);
    mem_free(json);
    return hp.rope;
}

/* A sound configuration of another family. */
static void read_family(const char *type, const char *more, struct hparams *hp) {
    struct buf b = { 0 };
    struct err e = { 0 };
    buf_addf(&b, "{\"model_type\": \"%s\"", type);
    for (size_t i = 1; i < ARRAY_LEN(sound); i++) {
        if (strcmp(sound[i][0], "tie_word_embeddings")) buf_addf(&b, ", \"%s\": %s", sound[i][0], sound[i][1]);
    }
    buf_addf(&b, "%s}", more);
    assert_ok(read_config(b.p, hp, &e), &e);
    buf_fini(&b);
}

/* A window of the context's length hides nothing, but the blocks that have it may still differ from the others. */
static void windows_that_hide_nothing(void **state) {
    (void)state;
    static const char window[] = ", \"sliding_window\": 2048";
    struct hparams hp;
    char more[200];
    snprintf(more, sizeof more, "%s%s", window, ", \"layer_types\": [\"sliding_attention\", \"full_attention\"]");
    read_family("exaone4", more, &hp); /* global blocks do not turn */
    assert_int_equal(hp.window, 2048);
    assert_int_equal(hp.no_rope.bits[0], 2);
    read_family("olmo3", more, &hp); /* the other is the only one that is scaled */
    assert_int_equal(hp.window, 2048);
    assert_true(hp.has_local_rope);
    read_family("llama", more, &hp);
    assert_int_equal(hp.window, 0);
    assert_int_equal(hp.windowed.bits[0], 0);
    read_family("exaone4", "", &hp); /* no window: all turn */
    assert_int_equal(hp.no_rope.bits[0], 0);
    read_family("olmo2", "", &hp); /* all are scaled alike */
    assert_false(hp.has_local_rope);
    assert_int_equal(hp.windowed.bits[0], 0);
}

/* Public files of these families do not say it. */
static void heads_tied_unless_told(void **state) {
    (void)state;
    static const struct { const char *type; bool tied; } cases[] = {
        { "llama", false }, { "cohere", true }, { "starcoder2", true }, { "ernie4_5", true }, { "stablelm", false },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct hparams hp;
        bool tanh_gelu = !strcmp(cases[i].type, "starcoder2");
        read_family(cases[i].type, tanh_gelu ? ", \"hidden_activation\": \"gelu_pytorch_tanh\"" : "", &hp);
        assert_int_equal(hp.tied, cases[i].tied);
    }
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
    static const struct gguf_change windowed[] = { { "llama.attention.sliding_window", U32, 100, 0 }, { 0 } };
    assert_ok(read_gguf(windowed, &hp, &e), &e);
    assert_int_equal(hp.window, 100);
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
        { { "general.architecture", TEXT, 0, "mamba" }, ERR_UNSUPPORTED, ", llama, " },
        { { "llama.vocab_size", DROP, 0, 0 }, ERR_FORMAT, "vocab_size" },
        { { "llama.context_length", DROP, 0, 0 }, ERR_FORMAT, "llama.context_length" },
        { { "llama.embedding_length", U32, 0, 0 }, ERR_FORMAT, "embedding_length" },
        { { "llama.embedding_length", I32, -1, 0 }, ERR_FORMAT, "embedding_length" },
        { { "llama.embedding_length", U32, 4e9, 0 }, ERR_FORMAT, "embedding_length is 4000000000" },
        { { "llama.embedding_length", TEXT, 0, "64" }, ERR_FORMAT, "embedding_length" },
        { { "llama.block_count", U32, 0, 0 }, ERR_FORMAT, "block_count" },
        { { "llama.attention.head_count", LIST, 4, "uneven" }, ERR_UNSUPPORTED, "head_count" },
        { { "llama.attention.head_count_kv", U32, 3, 0 }, ERR_FORMAT, "head_count_kv" },
        { { "llama.attention.value_length", U32, 1 << 20, 0 }, ERR_FORMAT, "value_length" },
        { { "llama.attention.layer_norm_rms_epsilon", DROP, 0, 0 }, ERR_FORMAT, "layer_norm_rms_epsilon" },
        { { "llama.attention.layer_norm_rms_epsilon", F32, INFINITY, 0 }, ERR_FORMAT, "layer_norm_rms_epsilon" },
        { { "llama.rope.dimension_count", U32, 15, 0 }, ERR_FORMAT, "rope.dimension_count" },
        { { "llama.rope.dimension_count", U32, 18, 0 }, ERR_FORMAT, "rope.dimension_count" },
        { { "llama.rope.freq_base", F32, NAN, 0 }, ERR_FORMAT, "rope.freq_base" },
        { { "llama.rope.scaling.type", TEXT, 0, "longrope" }, ERR_UNSUPPORTED, "longrope" },
        { { "llama.expert_count", U32, 8, 0 }, ERR_FORMAT, "0 of 8 experts" },
        { { "llama.expert_count", U32, 5000, 0 }, ERR_FORMAT, "expert_count is 5000" },
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_spellings_say_the_same),
        cmocka_unit_test(both_spellings_of_all_families),
        cmocka_unit_test(bad_configs_are_named),
        cmocka_unit_test(windows_that_hide_nothing),     cmocka_unit_test(heads_tied_unless_told),
        cmocka_unit_test(defaults_and_oddities),         cmocka_unit_test(frequencies_are_those_of_transformers),
        cmocka_unit_test(divisors_carry_llama3_scaling), cmocka_unit_test(gguf_keys),
        cmocka_unit_test(bad_gguf_keys_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
