/* Hyper-parameters from config.json, in both of its spellings: rotary parameters in an object "rope_parameters", or
 * "rope_theta" beside an object "rope_scaling" whose kind is "rope_type" or "type". */
#include <stdio.h>
#include <string.h>

#include "model/hparams_read.h"

static enum err_code find_arch(const struct hf_config *c, struct hparams *hp, struct err *e) {
    const char *type;
    TRY(hf_config_str(c, "model_type", &type, NULL, e));
    for (size_t i = 0; arch_all[i] && !hp->arch; i++) {
        for (const char *const *name = arch_all[i]->hf_classes; *name; name++) {
            if (!strcmp(type, *name)) hp->arch = arch_all[i];
        }
    }
    char known[200];
    if (!hp->arch)
        return err_set(e, ERR_UNSUPPORTED, "model_type is \"%.64s\"; known are: %s", type,
                       hparams_known(true, known, sizeof known));
    if (hf_config_kind(c, "quantization_config") != HF_ABSENT)
        return err_set(e, ERR_UNSUPPORTED, "quantization_config: weights that are quantized already are not read from "
                       "Hugging Face directories yet; take the original model or a GGUF file");
    return ERR_NONE;
}

static enum err_code read_counts(const struct hf_config *c, struct hparams *hp, struct err *e) {
    bool found;
    for (size_t i = 0; i < HPARAMS_COUNTS; i++) {
        const struct hparams_count *k = &hparams_counts[i];
        TRY(hf_config_u32(c, k->hf, hparams_count_of(hp, k), k->required ? NULL : &found, e));
        /* What stands behind the heads in the table takes its default from them. */
        if (k->off == offsetof(struct hparams, n_head) && hp->n_head) {
            hp->n_head_kv = hp->n_head;
            hp->head_dim = hp->n_embd / hp->n_head;
        }
    }
    return ERR_NONE;
}

/* Path of a rotary parameter in the spelling that this file has. */
struct path { char p[96]; };
static struct path rope_path(const struct hf_config *c, const char *key) {
    struct path out;
    bool new_spelling = hf_config_kind(c, "rope_parameters") != HF_ABSENT;
    snprintf(out.p, sizeof out.p, "%s.%s", new_spelling ? "rope_parameters" : "rope_scaling", key);
    return out;
}

static enum err_code read_rope_type(const struct hf_config *c, enum rope_scaling *out, struct err *e) {
    static const struct { const char *name; enum rope_scaling scaling; } kinds[] = {
        { "default", ROPE_SCALE_NONE }, { "linear", ROPE_SCALE_LINEAR }, { "dynamic", ROPE_SCALE_DYNAMIC },
        { "yarn", ROPE_SCALE_YARN }, { "llama3", ROPE_SCALE_LLAMA3 },
    };
    const char *type = "default";
    bool found, old_found;
    const char *const objects[] = { "rope_parameters", "rope_scaling" };
    for (size_t i = 0; i < ARRAY_LEN(objects); i++) {
        enum hf_kind kind = hf_config_kind(c, objects[i]);
        if (kind != HF_ABSENT && kind != HF_OBJECT) return err_set(e, ERR_FORMAT, "%s must be an object", objects[i]);
    }
    TRY(hf_config_str(c, rope_path(c, "type").p, &type, &old_found, e));
    TRY(hf_config_str(c, rope_path(c, "rope_type").p, &type, &found, e));
    /* The new spelling has its object without scaling too. */
    if (!found && !old_found && hf_config_count(c, "rope_scaling") && !hf_config_count(c, "rope_parameters"))
        return err_set(e, ERR_FORMAT, "rope_scaling.rope_type is missing");
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (strcmp(type, kinds[i].name)) continue;
        *out = kinds[i].scaling;
        return ERR_NONE;
    }
    return err_set(e, ERR_UNSUPPORTED, "%s is \"%.64s\"; known are: default, linear, dynamic, yarn, llama3",
                   rope_path(c, "rope_type").p, type);
}

static enum err_code read_yarn(const struct hf_config *c, struct rope_params *r, struct err *e) {
    bool found;
    float mscale = 0, mscale_all = 0;
    r->truncate = true;
    r->beta_fast = 32; /* The YaRN paper's values, used where a file is silent. */
    r->beta_slow = 1;
    TRY(hf_config_bool(c, rope_path(c, "truncate").p, &r->truncate, &found, e));
    TRY(hf_config_f32(c, rope_path(c, "beta_fast").p, &r->beta_fast, &found, e));
    TRY(hf_config_f32(c, rope_path(c, "beta_slow").p, &r->beta_slow, &found, e));
    TRY(hf_config_f32(c, rope_path(c, "mscale").p, &mscale, &found, e));
    TRY(hf_config_f32(c, rope_path(c, "mscale_all_dim").p, &mscale_all, &found, e));
    r->attn_factor = rope_yarn_magnitude(r->factor, 1);
    if (mscale != 0 && mscale_all != 0)
        r->attn_factor = rope_yarn_magnitude(r->factor, mscale) / rope_yarn_magnitude(r->factor, mscale_all);
    return hf_config_f32(c, rope_path(c, "attention_factor").p, &r->attn_factor, &found, e);
}

static enum err_code read_rope(const struct hf_config *c, struct hparams *hp, struct err *e) {
    struct rope_params *r = &hp->rope;
    bool found;
    float partial = 1;
    TRY(hf_config_f32(c, "rope_theta", &r->base, &found, e));
    TRY(hf_config_f32(c, "rope_parameters.rope_theta", &r->base, &found, e));
    TRY(hf_config_f32(c, "partial_rotary_factor", &partial, &found, e));
    TRY(hf_config_f32(c, "rope_parameters.partial_rotary_factor", &partial, &found, e));
    if (partial != 1)
        return err_set(e, ERR_UNSUPPORTED, "partial_rotary_factor is %g: heads rotated in part are not supported yet",
                       (double)partial);
    r->n_rot = hp->head_dim;
    r->original_ctx = hp->n_ctx_train;
    TRY(read_rope_type(c, &r->scaling, e));
    if (r->scaling == ROPE_SCALE_NONE) return ERR_NONE;
    TRY(hf_config_f32(c, rope_path(c, "factor").p, &r->factor, NULL, e));
    if (r->scaling == ROPE_SCALE_YARN || r->scaling == ROPE_SCALE_LLAMA3) {
        TRY(hf_config_u32(c, "original_max_position_embeddings", &r->original_ctx, &found, e));
        TRY(hf_config_u32(c, rope_path(c, "original_max_position_embeddings").p, &r->original_ctx, &found, e));
    }
    if (r->scaling == ROPE_SCALE_YARN) return read_yarn(c, r, e);
    if (r->scaling != ROPE_SCALE_LLAMA3) return ERR_NONE;
    TRY(hf_config_f32(c, rope_path(c, "low_freq_factor").p, &r->low_freq_factor, NULL, e));
    return hf_config_f32(c, rope_path(c, "high_freq_factor").p, &r->high_freq_factor, NULL, e);
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

enum err_code hparams_from_hf(const struct tfile *f, struct hparams *hp, struct err *e) {
    const struct hf_config *c = f->config;
    if (!c) return err_set(e, ERR_NOT_FOUND, "no config.json is beside the weights, which would say what they are");
    bool found;
    TRY(find_arch(c, hp, e));
    hp->rope.pairing = hp->arch->hf_pairing;
    TRY(read_counts(c, hp, e));
    hp->norm_eps = 1e-6f; /* transformers' default of nearly every class */
    TRY(hf_config_f32(c, "rms_norm_eps", &hp->norm_eps, &found, e));
    TRY(hf_config_bool(c, "tie_word_embeddings", &hp->tied, &found, e));
    TRY(read_rope(c, hp, e));
    TRY(read_token(c, "bos_token_id", &hp->bos, e));
    TRY(read_token(c, "eos_token_id", &hp->eos, e));
    TRY(read_float_type(c, &hp->float_type, e));
    return hp->arch->read_hf(c, hp, e);
}
