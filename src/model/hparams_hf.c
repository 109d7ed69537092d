/* Hyper-parameters from config.json, in both of its spellings: rotary parameters in an object "rope_parameters", or
 * "rope_theta" beside an object "rope_scaling" whose kind is "rope_type" or "type". */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/arch.h"
#include "model/hparams_keys.h"

static enum err_code find_arch(const struct hf_config *c, struct hparams *hp, struct err *e) {
    const char *type;
    TRY(hf_config_str(c, "model_type", &type, NULL, e));
    for (size_t i = 0; arch_all[i] && !hp->arch; i++) {
        for (const char *const *name = arch_all[i]->hf_classes; *name; name++) {
            if (!strcmp(type, *name)) hp->arch = arch_all[i];
        }
    }
    char known[600];
    if (!hp->arch)
        return err_set(e, ERR_UNSUPPORTED, "model_type is \"%.64s\"; known are: %s", type,
                       hparams_known(true, known, sizeof known));
    const char *method = "";
    bool found;
    TRY(hf_config_str(c, "quantization_config.quant_method", &method, &found, e));
    if (hf_config_kind(c, "quantization_config") != HF_ABSENT && strcmp(method, "mxfp4") != 0)
        return err_set(e, ERR_UNSUPPORTED, "quantization_config: weights that are quantized already are not read from "
                       "Hugging Face directories yet; take the original model or a GGUF file");
    return ERR_NONE;
}

/* The first of a key's names that this file has, else the first of all. */
struct path { char p[96]; };
static struct path key_path(const struct hf_config *c, const char *names) {
    struct path first = { "" }, one;
    for (const char *p = names; *p; p += *p == '|') {
        size_t n = strcspn(p, "|");
        snprintf(one.p, sizeof one.p, "%.*s", (int)n, p);
        if (!*first.p) first = one;
        /* An array holds one value a block; families that have one read it themselves. */
        enum hf_kind kind = hf_config_kind(c, one.p);
        if (kind != HF_ABSENT && kind != HF_ARRAY) return one;
        p += n;
    }
    return first;
}

static enum err_code read_key(const struct hf_config *c, const struct hparams_key *k, struct hparams *hp,
                              struct err *e) {
    struct path at = key_path(c, k->hf);
    bool found = false, *optional = k->need == HPARAMS_NEEDED ? NULL : &found;
    if (!*at.p || (optional && hf_config_kind(c, at.p) == HF_ARRAY)) return ERR_NONE;
    switch (k->kind) {
    case HPARAMS_U32: return hf_config_u32(c, at.p, hparams_field(hp, k), optional, e);
    case HPARAMS_F32: return hf_config_f32(c, at.p, hparams_field(hp, k), optional, e);
    case HPARAMS_BOOL: return hf_config_bool(c, at.p, hparams_field(hp, k), optional, e);
    }
    return ERR_NONE;
}

static enum err_code read_keys(const struct hf_config *c, struct hparams *hp, struct err *e) {
    /* Qwen's files name a first block with a window even where use_sliding_window is off, as it is unless given. */
    bool found, windows = hf_config_kind(c, "max_window_layers") == HF_ABSENT;
    for (size_t i = 0; i < hparams_n_keys; i++) {
        TRY(read_key(c, &hparams_keys[i], hp, e));
        hparams_key_read(hp, &hparams_keys[i]);
    }
    hp->norm_eps = 1e-6f; /* transformers' default of nearly every class */
    TRY(hf_config_f32(c, key_path(c, "rms_norm_eps|layer_norm_eps|layer_norm_epsilon|norm_epsilon").p, &hp->norm_eps,
                      &found, e));
    hp->tied = hp->t.tied;
    TRY(hf_config_bool(c, "tie_word_embeddings", &hp->tied, &found, e));
    TRY(hf_config_bool(c, "use_sliding_window", &windows, &found, e));
    if (!windows) hp->window = 0;
    return ERR_NONE;
}

/* Which blocks have a window, from "layer_types" where it stands, else those from "max_window_layers" on, else by the
 * family's period. */
static enum err_code read_windows(const struct hf_config *c, struct hparams *hp, struct err *e) {
    uint32_t period = hp->t.window_period;
    bool found;
    if (hf_config_kind(c, "sliding_window_pattern") == HF_INT)
        TRY(hf_config_u32(c, "sliding_window_pattern", &period, &found, e));
    if (hf_config_kind(c, "layer_types") != HF_ARRAY) {
        uint32_t first = 0;
        TRY(hf_config_u32(c, "max_window_layers", &first, &found, e));
        if (!found) hparams_window_every(hp, period);
        for (uint32_t l = first; found && l < hp->n_layer; l++) layer_set_add(&hp->windowed, l);
        return ERR_NONE;
    }
    if (hf_config_count(c, "layer_types") < hp->n_layer)
        return err_set(e, ERR_FORMAT, "layer_types has %zu entries for %u blocks", hf_config_count(c, "layer_types"),
                       hp->n_layer);
    for (uint32_t l = 0; l < hp->n_layer; l++) {
        char path[32];
        const char *type;
        snprintf(path, sizeof path, "layer_types.%u", l);
        TRY(hf_config_str(c, path, &type, NULL, e));
        if (!strcmp(type, "sliding_attention")) layer_set_add(&hp->windowed, l);
        else if (strcmp(type, "full_attention") != 0)
            return err_set(e, ERR_UNSUPPORTED, "%s is \"%.64s\"; known are: full_attention, sliding_attention", path,
                           type);
    }
    return ERR_NONE;
}

/* 1 for blocks that rotate, 0 for those that do not; else by the family's rule, whose period may be given. */
static enum err_code read_no_rope(const struct hf_config *c, struct hparams *hp, struct err *e) {
    if (hf_config_kind(c, "no_rope_layers") != HF_ARRAY) {
        uint32_t *period = &hp->t.no_rope_period;
        bool found;
        if (*period) TRY(hf_config_u32(c, "no_rope_layer_interval", period, &found, e));
        hparams_usual_no_rope(hp, &hp->no_rope);
        hp->t.no_rope_period = hp->arch->traits.no_rope_period; /* what readers of GGUF expect */
        return ERR_NONE;
    }
    for (uint32_t l = 0; l < hp->n_layer && l < hf_config_count(c, "no_rope_layers"); l++) {
        char path[32];
        uint32_t rotates;
        snprintf(path, sizeof path, "no_rope_layers.%u", l);
        TRY(hf_config_u32(c, path, &rotates, NULL, e));
        if (!rotates) layer_set_add(&hp->no_rope, l);
    }
    return ERR_NONE;
}

static enum err_code is_dense_layer(const struct hf_config *c, uint32_t l, bool *dense, struct err *e) {
    *dense = false;
    for (size_t i = 0; i < hf_config_count(c, "mlp_only_layers") && !*dense; i++) {
        char path[48];
        uint32_t only;
        snprintf(path, sizeof path, "mlp_only_layers.%zu", i);
        TRY(hf_config_u32(c, path, &only, NULL, e));
        *dense = only == l;
    }
    return ERR_NONE;
}

static enum err_code read_moe_layers(const struct hf_config *c, struct hparams *hp, struct err *e) {
    if (hp->n_expert && !hp->moe_step) return err_set(e, ERR_FORMAT, "decoder_sparse_step is 0");
    for (uint32_t l = hp->n_dense_lead; hp->n_expert && l < hp->n_layer; l++) {
        bool dense;
        TRY(is_dense_layer(c, l, &dense, e));
        if ((l + 1) % hp->moe_step == 0 && !dense) layer_set_add(&hp->moe, l);
    }
    return ERR_NONE;
}

/* Where a set of rotary parameters stands: an object's path, and whether the keys outside of it count too (the old
 * spelling, and the only set of the new one). */
struct rope_place { const char *object; bool flat; };

static struct path rope_path(const struct rope_place *p, const char *key) {
    struct path out;
    snprintf(out.p, sizeof out.p, "%s.%s", p->object, key);
    return out;
}

static enum err_code read_rope_type(const struct hf_config *c, const struct rope_place *p, enum rope_scaling *out,
                                    struct err *e) {
    static const struct { const char *name; enum rope_scaling scaling; } kinds[] = {
        { "default", ROPE_SCALE_NONE }, { "linear", ROPE_SCALE_LINEAR }, { "dynamic", ROPE_SCALE_DYNAMIC },
        { "yarn", ROPE_SCALE_YARN }, { "llama3", ROPE_SCALE_LLAMA3 }, { "longrope", ROPE_SCALE_LONG },
        { "su", ROPE_SCALE_LONG } /* longrope's name before it had a paper */,
    };
    const char *type = "default";
    bool found, old_found;
    enum hf_kind kind = hf_config_kind(c, p->object);
    if (kind != HF_ABSENT && kind != HF_OBJECT) return err_set(e, ERR_FORMAT, "%s must be an object", p->object);
    TRY(hf_config_str(c, rope_path(p, "type").p, &type, &old_found, e));
    TRY(hf_config_str(c, rope_path(p, "rope_type").p, &type, &found, e));
    /* The new spelling has its object without scaling too. */
    if (!found && !old_found && !strcmp(p->object, "rope_scaling") && hf_config_count(c, p->object))
        return err_set(e, ERR_FORMAT, "rope_scaling.rope_type is missing");
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (strcmp(type, kinds[i].name) != 0) continue;
        *out = kinds[i].scaling;
        return ERR_NONE;
    }
    return err_set(e, ERR_UNSUPPORTED, "%s is \"%.64s\"; known are: default, linear, dynamic, yarn, llama3, longrope",
                   rope_path(p, "rope_type").p, type);
}

static enum err_code read_yarn(const struct hf_config *c, const struct rope_place *p, struct rope_params *r,
                               struct err *e) {
    bool found;
    float mscale = 0, mscale_all = 0;
    r->truncate = true;
    r->beta_fast = 32; /* The YaRN paper's values, used where a file is silent. */
    r->beta_slow = 1;
    TRY(hf_config_bool(c, rope_path(p, "truncate").p, &r->truncate, &found, e));
    TRY(hf_config_f32(c, rope_path(p, "beta_fast").p, &r->beta_fast, &found, e));
    TRY(hf_config_f32(c, rope_path(p, "beta_slow").p, &r->beta_slow, &found, e));
    TRY(hf_config_f32(c, rope_path(p, "mscale").p, &mscale, &found, e));
    TRY(hf_config_f32(c, rope_path(p, "mscale_all_dim").p, &mscale_all, &found, e));
    r->mscale_all = mscale_all;
    r->attn_factor = rope_yarn_magnitude(r->factor, 1);
    if (mscale != 0 && mscale_all != 0)
        r->attn_factor = rope_yarn_magnitude(r->factor, mscale) / rope_yarn_magnitude(r->factor, mscale_all);
    return hf_config_f32(c, rope_path(p, "attention_factor").p, &r->attn_factor, &found, e);
}

static enum err_code read_factors(const struct hf_config *c, struct path list, uint32_t n, float *out, struct err *e) {
    if (n > ROPE_MAX_FACTORS || hf_config_count(c, list.p) != n)
        return err_set(e, ERR_FORMAT, "%s has %zu entries; %u are needed, and at most %d possible", list.p,
                       hf_config_count(c, list.p), n, ROPE_MAX_FACTORS);
    for (uint32_t i = 0; i < n; i++) {
        char path[sizeof list.p + 12];
        snprintf(path, sizeof path, "%s.%u", list.p, i);
        TRY(hf_config_f32(c, path, &out[i], NULL, e));
    }
    return ERR_NONE;
}

/* LongRoPE's cos and sin grow with the share that the context was extended by (arXiv:2402.13753, as in Phi-3). */
static enum err_code read_longrope(const struct hf_config *c, const struct rope_place *p, struct rope_params *r,
                                   uint32_t n_ctx, struct err *e) {
    bool found;
    TRY(read_factors(c, rope_path(p, "short_factor"), r->n_rot / 2, r->short_factors, e));
    TRY(read_factors(c, rope_path(p, "long_factor"), r->n_rot / 2, r->long_factors, e));
    if (r->original_ctx == 0) return err_set(e, ERR_FORMAT, "original_max_position_embeddings is 0");
    r->factor = (float)n_ctx / (float)r->original_ctx;
    if (r->factor > 1) r->attn_factor = sqrtf(1 + logf(r->factor) / logf((float)r->original_ctx));
    return hf_config_f32(c, rope_path(p, "attention_factor").p, &r->attn_factor, &found, e);
}

/* HunYuan's models say "dynamic" and mean a base that is raised once and for all. */
static enum err_code read_alpha(const struct hf_config *c, const struct rope_place *p, struct rope_params *r,
                                struct err *e) {
    float alpha = 0;
    bool found;
    TRY(hf_config_f32(c, rope_path(p, "alpha").p, &alpha, &found, e));
    if (!found || !(alpha > 0) || r->n_rot < 4) return ERR_NONE;
    r->base = (float)(r->base * pow(alpha, r->n_rot / (r->n_rot - 2.0)));
    r->scaling = ROPE_SCALE_NONE;
    return ERR_NONE;
}

static enum err_code read_rope(const struct hf_config *c, const struct rope_place *p, const struct hparams *hp,
                               struct rope_params *r, struct err *e) {
    bool found;
    float partial = 1;
    if (p->flat) {
        TRY(hf_config_f32(c, "rope_theta", &r->base, &found, e));
        TRY(hf_config_f32(c, "partial_rotary_factor", &partial, &found, e));
    }
    TRY(hf_config_f32(c, rope_path(p, "rope_theta").p, &r->base, &found, e));
    TRY(hf_config_f32(c, rope_path(p, "partial_rotary_factor").p, &partial, &found, e));
    if (!(partial > 0 && partial <= 1))
        return err_set(e, ERR_FORMAT, "partial_rotary_factor is %g; a share of the head is needed", (double)partial);
    r->n_rot = (uint32_t)((float)hp->head_dim * partial);
    r->original_ctx = hp->n_ctx_train;
    TRY(read_rope_type(c, p, &r->scaling, e));
    if (r->scaling == ROPE_SCALE_NONE) return ERR_NONE;
    if (r->scaling == ROPE_SCALE_DYNAMIC) TRY(read_alpha(c, p, r, e));
    if (r->scaling == ROPE_SCALE_NONE) return ERR_NONE;
    if (r->scaling != ROPE_SCALE_LONG) TRY(hf_config_f32(c, rope_path(p, "factor").p, &r->factor, NULL, e));
    if (r->scaling != ROPE_SCALE_LINEAR && r->scaling != ROPE_SCALE_DYNAMIC) {
        TRY(hf_config_u32(c, "original_max_position_embeddings", &r->original_ctx, &found, e));
        TRY(hf_config_u32(c, rope_path(p, "original_max_position_embeddings").p, &r->original_ctx, &found, e));
    }
    if (r->scaling == ROPE_SCALE_LONG) return read_longrope(c, p, r, hp->n_ctx_train, e);
    if (r->scaling == ROPE_SCALE_YARN) return read_yarn(c, p, r, e);
    if (r->scaling != ROPE_SCALE_LLAMA3) return ERR_NONE;
    TRY(hf_config_f32(c, rope_path(p, "low_freq_factor").p, &r->low_freq_factor, NULL, e));
    return hf_config_f32(c, rope_path(p, "high_freq_factor").p, &r->high_freq_factor, NULL, e);
}

/* One set of rotary parameters for all blocks, or one for windowed blocks and one for the others. */
static enum err_code read_ropes(const struct hf_config *c, struct hparams *hp, struct err *e) {
    bool found, fresh = hf_config_kind(c, "rope_parameters") != HF_ABSENT;
    struct rope_place one = { fresh ? "rope_parameters" : "rope_scaling", true };
    struct rope_place global = { "rope_parameters.full_attention", false },
                      local = { "rope_parameters.sliding_attention", false };
    hp->rope_local = hp->rope;
    hp->has_local_rope = hf_config_kind(c, local.object) == HF_OBJECT;
    if (hp->has_local_rope) {
        TRY(read_rope(c, &global, hp, &hp->rope, e));
        return read_rope(c, &local, hp, &hp->rope_local, e);
    }
    TRY(read_rope(c, &one, hp, &hp->rope, e));
    hp->rope_local.base = hp->t.local_rope_base != 0 ? hp->t.local_rope_base : hp->rope.base;
    hp->rope_local.n_rot = hp->rope.n_rot;
    hp->rope_local.original_ctx = hp->n_ctx_train;
    hp->has_local_rope = hp->t.local_rope;
    return hf_config_f32(c, "rope_local_base_freq", &hp->rope_local.base, &found, e);
}

/* A token's id: a number, or a list whose first is taken. */
static enum err_code read_token(const struct hf_config *c, const char *key, int32_t *out, struct err *e) {
    char first[64];
    snprintf(first, sizeof first, "%s.0", key);
    uint32_t id = 0;
    bool found;
    TRY(hf_config_u32(c, hf_config_kind(c, key) == HF_ARRAY ? first : key, &id, &found, e));
    if (found && id > INT32_MAX) return err_set(e, ERR_FORMAT, "%s is %u, which is no token", key, id);
    if (found) *out = (int32_t)id;
    return ERR_NONE;
}

static enum err_code read_float_type(const struct hf_config *c, enum qtype *out, struct err *e) {
    static const struct { const char *name; enum qtype type; } names[] = {
        { "bfloat16", QTYPE_BF16 }, { "float16", QTYPE_F16 }, { "float32", QTYPE_F32 },
    };
    const char *name = "bfloat16";
    bool found;
    TRY(hf_config_str(c, "torch_dtype", &name, &found, e));
    TRY(hf_config_str(c, "dtype", &name, &found, e));
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (!strcmp(name, names[i].name)) *out = names[i].type;
    }
    if (*out != QTYPE_NONE) return ERR_NONE;
    return err_set(e, ERR_UNSUPPORTED, "dtype is \"%.64s\"; known are: bfloat16, float16, float32", name);
}

enum err_code hparams_hf_biases(const struct hf_config *c, struct hparams *hp, struct err *e) {
    bool found;
    TRY(hf_config_bool(c, "attention_bias", &hp->attn_bias, &found, e));
    hp->attn_out_bias = hp->attn_bias;
    TRY(hf_config_bool(c, "attention_out_bias", &hp->attn_out_bias, &found, e));
    return hf_config_bool(c, "mlp_bias", &hp->ffn_bias, &found, e);
}

/* The activation is the family's, since GGUF has no key for it: a model with another one is refused. */
static enum err_code check_act(const struct hf_config *c, const struct hparams *hp, struct err *e) {
    static const struct { const char *name; enum glu_kind act; } names[] = {
        { "silu", GLU_SILU }, { "swish", GLU_SILU }, { "silu", GLU_OAI }, { "relu2", GLU_RELU2 },
        { "gelu_pytorch_tanh", GLU_GELU_TANH }, { "gelu_new", GLU_GELU_TANH }, { "gelu", GLU_GELU_ERF },
    };
    const struct path at = key_path(c, "hidden_activation|hidden_act|activation_function");
    const char *act = NULL, *want = "";
    bool found;
    TRY(hf_config_str(c, at.p, &act, &found, e));
    for (size_t i = 0; found && i < ARRAY_LEN(names); i++) {
        if (names[i].act != hp->t.act) continue;
        if (!strcmp(act, names[i].name) || (hp->t.gelu_is_tanh && !strcmp(act, "gelu"))) return ERR_NONE;
        if (!*want) want = names[i].name;
    }
    if (!found) return ERR_NONE;
    return err_set(e, ERR_UNSUPPORTED, "%s is \"%.64s\"; models of architecture %s are known with %s", at.p, act,
                   hp->arch->name, want);
}

enum err_code hparams_from_hf(const struct tfile *f, struct hparams *hp, struct err *e) {
    const struct hf_config *c = f->config;
    if (!c) return err_set(e, ERR_NOT_FOUND, "no config.json is beside the weights, which would say what they are");
    TRY(find_arch(c, hp, e));
    hp->t = hp->arch->traits;
    hp->expert_norm = hp->t.expert_norm;
    hp->rope.pairing = hp->arch->hf_pairing;
    TRY(read_keys(c, hp, e));
    TRY(check_act(c, hp, e));
    TRY(hparams_check_counts(f, hp, e));
    TRY(read_ropes(c, hp, e));
    TRY(read_windows(c, hp, e));
    TRY(read_no_rope(c, hp, e));
    TRY(read_token(c, "bos_token_id", &hp->bos, e));
    TRY(read_token(c, "eos_token_id", &hp->eos, e));
    TRY(read_float_type(c, &hp->float_type, e));
    if (hp->arch->read_hf) TRY(hp->arch->read_hf(c, hp, e));
    hparams_expert_sizes(hp);
    return read_moe_layers(c, hp, e);
}
