/* Hyper-parameters from a GGUF file's metadata: keys "ARCH.name", docs/formats/gguf.md. */
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "model/arch.h"
#include "model/hparams_keys.h"

/* Full name of an architecture's key. */
struct key { char p[128]; };
static struct key key_of(const struct hparams *hp, const char *name) {
    struct key k;
    snprintf(k.p, sizeof k.p, "%s.%s", hp->arch->name, name);
    return k;
}

static enum err_code find_arch(const struct gguf *g, struct hparams *hp, struct err *e) {
    struct str name;
    TRY(gguf_get_str(g, "general.architecture", &name, NULL, e));
    for (size_t i = 0; arch_all[i] && !hp->arch; i++) {
        if (str_eqz(name, arch_all[i]->name)) hp->arch = arch_all[i];
    }
    char known[600];
    if (!hp->arch)
        return err_set(e, ERR_UNSUPPORTED, "general.architecture is \"%.*s\"; known are: %s",
                       (int)min_u64(name.n, 64), name.p, hparams_known(false, known, sizeof known));
    return ERR_NONE;
}

/* A count that may be an array with one value a block; all must be the same. */
static enum err_code read_count(const struct gguf *g, const char *key, uint32_t *out, bool *found, struct err *e) {
    const struct gguf_kv *kv = gguf_find(g, key);
    if (!kv || kv->type != GGUF_ARRAY) return gguf_get_u32(g, key, out, found, e);
    uint64_t first = 0, v;
    for (uint64_t i = 0; i < kv->value.n; i++) {
        if (!gguf_array_u64(&kv->value, i, &v) || v > UINT32_MAX)
            return err_set(e, ERR_FORMAT, "%s holds something else than counts", key);
        if (i == 0) first = v;
        if (v != first)
            return err_set(e, ERR_UNSUPPORTED, "%s differs from block to block, which is not supported yet", key);
    }
    *out = (uint32_t)first;
    if (found) *found = true;
    return ERR_NONE;
}

static enum err_code read_key(const struct gguf *g, const struct hparams_key *k, struct hparams *hp, struct err *e) {
    bool found = false, *optional = k->need == HPARAMS_NEEDED ? NULL : &found;
    struct key key = key_of(hp, k->gguf);
    switch (k->kind) {
    case HPARAMS_U32: return read_count(g, key.p, hparams_field(hp, k), optional, e);
    case HPARAMS_F32: return gguf_get_f32(g, key.p, hparams_field(hp, k), optional, e);
    case HPARAMS_BOOL: return gguf_get_bool(g, key.p, hparams_field(hp, k), optional, e);
    }
    return ERR_NONE;
}

static enum err_code read_keys(const struct gguf *g, struct hparams *hp, struct err *e) {
    struct gguf_array tokens = { 0 };
    bool found;
    TRY(gguf_get_array(g, "tokenizer.ggml.tokens", &tokens, &found, e));
    hp->n_vocab = (uint32_t)min_u64(tokens.n, UINT32_MAX);
    for (size_t i = 0; i < hparams_n_keys; i++) {
        TRY(read_key(g, &hparams_keys[i], hp, e));
        hparams_key_read(hp, &hparams_keys[i]);
    }
    return ERR_NONE;
}

/* A truth value for every block, or the length of the pattern's period; else the family's own. */
static enum err_code read_windows(const struct gguf *g, struct hparams *hp, struct err *e) {
    struct key key = key_of(hp, "attention.sliding_window_pattern");
    const struct gguf_kv *kv = gguf_find(g, key.p);
    uint32_t period = hp->t.window_period;
    bool found;
    if (!kv || kv->type != GGUF_ARRAY) {
        TRY(gguf_get_u32(g, key.p, &period, &found, e));
        hparams_window_every(hp, period);
        return ERR_NONE;
    }
    if (kv->value.n < hp->n_layer)
        return err_set(e, ERR_FORMAT, "%s has %llu entries for %u blocks", key.p, (unsigned long long)kv->value.n,
                       hp->n_layer);
    for (uint32_t l = 0; l < hp->n_layer; l++) {
        uint64_t windowed;
        if (!gguf_array_u64(&kv->value, l, &windowed))
            return err_set(e, ERR_FORMAT, "%s holds something else than truth values", key.p);
        if (windowed) layer_set_add(&hp->windowed, l);
    }
    return ERR_NONE;
}

/* What only the tensors say: biases, a head of its own, which blocks have experts. */
static void look_at_tensors(const struct tfile *f, struct hparams *hp) {
    hp->attn_bias = tfile_find(f, "blk.0.attn_q.bias");
    hp->attn_out_bias = tfile_find(f, "blk.0.attn_output.bias");
    hp->ffn_bias = tfile_find(f, "blk.0.ffn_up.bias");
    hp->tied = !tfile_find(f, slot_info(SLOT_OUTPUT)->gguf_name);
    for (uint32_t l = 0; hp->n_expert && l < hp->n_layer; l++) {
        char name[SLOT_NAME_BYTES];
        slot_format_name(slot_info(SLOT_ROUTER)->gguf_name, l, 0, name);
        if (tfile_find(f, name)) layer_set_add(&hp->moe, l);
    }
}

/* LongRoPE's factors are tensors. */
static enum err_code read_factors(const struct tfile *f, enum slot s, uint32_t n, float *out, struct err *e) {
    const struct tfile_tensor *t = tfile_find(f, slot_info(s)->gguf_name);
    if (!t || t->ne[0] != n || n > ROPE_MAX_FACTORS || t->type == QTYPE_NONE || !qtype_is_float(t->type))
        return err_set(e, ERR_FORMAT, "tensor %s is missing or does not hold %u factors", slot_info(s)->gguf_name, n);
    qtype_info(t->type)->decode(t->data, out, n);
    return ERR_NONE;
}

static enum err_code read_longrope(const struct tfile *f, struct hparams *hp, struct err *e) {
    struct rope_params *r = &hp->rope;
    bool found;
    r->scaling = ROPE_SCALE_LONG;
    TRY(read_factors(f, SLOT_ROPE_LONG, r->n_rot / 2, r->long_factors, e));
    TRY(read_factors(f, SLOT_ROPE_SHORT, r->n_rot / 2, r->short_factors, e));
    TRY(gguf_get_u32(f->gguf, key_of(hp, "rope.scaling.original_context_length").p, &r->original_ctx, &found, e));
    TRY(gguf_get_f32(f->gguf, key_of(hp, "rope.scaling.attn_factor").p, &r->attn_factor, &found, e));
    if (r->original_ctx) r->factor = (float)hp->n_ctx_train / (float)r->original_ctx;
    return ERR_NONE;
}

/* Two magnitudes that cancel out, mscale and mscale_all_dim, of which GGUF keeps the latter. DeepSeek's is in the scale
 * of attention too (arch_deepseek2.c). */
static enum err_code read_log_multiplier(const struct gguf *g, struct hparams *hp, struct err *e) {
    float unit = hp->t.yarn_log_unit, log_multiplier = 0;
    bool found;
    if (unit == 0) return ERR_NONE;
    TRY(gguf_get_f32(g, key_of(hp, "rope.scaling.yarn_log_multiplier").p, &log_multiplier, &found, e));
    hp->rope.mscale_all = log_multiplier / unit;
    if (log_multiplier != 0) hp->rope.attn_factor = 1;
    return ERR_NONE;
}

/* Llama 3's scaling has no key: its divisors are the tensor rope_freqs.weight. */
static enum err_code read_rope(const struct tfile *f, struct hparams *hp, struct err *e) {
    const struct gguf *g = f->gguf;
    struct rope_params *r = &hp->rope;
    bool found;
    struct str type = STR("none");
    r->n_rot = hp->head_dim;
    r->original_ctx = hp->n_ctx_train;
    TRY(gguf_get_u32(g, key_of(hp, "rope.dimension_count").p, &r->n_rot, &found, e));
    TRY(gguf_get_f32(g, key_of(hp, "rope.freq_base").p, &r->base, &found, e));
    if (tfile_find(f, slot_info(SLOT_ROPE_LONG)->gguf_name)) return read_longrope(f, hp, e);
    /* Files before 2023-10 have scale_linear alone. */
    TRY(gguf_get_f32(g, key_of(hp, "rope.scale_linear").p, &r->factor, &found, e));
    if (found) type = STR("linear");
    TRY(gguf_get_str(g, key_of(hp, "rope.scaling.type").p, &type, &found, e));
    if (str_eqz(type, "none")) {
        r->factor = 1;
        return ERR_NONE;
    }
    TRY(gguf_get_f32(g, key_of(hp, "rope.scaling.factor").p, &r->factor, &found, e));
    if (str_eqz(type, "linear")) {
        r->scaling = ROPE_SCALE_LINEAR;
        return ERR_NONE;
    }
    if (!str_eqz(type, "yarn"))
        return err_set(e, ERR_UNSUPPORTED, "rope.scaling.type is \"%.*s\"; known are: none, linear, yarn",
                       (int)min_u64(type.n, 64), type.p);
    r->scaling = ROPE_SCALE_YARN;
    r->truncate = !hp->t.yarn_fractional;
    r->beta_fast = 32; /* The YaRN paper's values, used where a file is silent. */
    r->beta_slow = 1;
    TRY(gguf_get_u32(g, key_of(hp, "rope.scaling.original_context_length").p, &r->original_ctx, &found, e));
    TRY(gguf_get_f32(g, key_of(hp, "rope.scaling.yarn_beta_fast").p, &r->beta_fast, &found, e));
    TRY(gguf_get_f32(g, key_of(hp, "rope.scaling.yarn_beta_slow").p, &r->beta_slow, &found, e));
    /* Two keys have had this meaning; both multiply the magnitude that follows from the factor. */
    TRY(gguf_get_f32(g, key_of(hp, "rope.scaling.attn_factor").p, &r->attn_factor, &found, e));
    float also = 1;
    TRY(gguf_get_f32(g, key_of(hp, "rope.scaling.yarn_attn_factor").p, &also, &found, e));
    r->attn_factor *= also * rope_yarn_magnitude(r->factor, 1);
    return read_log_multiplier(g, hp, e);
}

/* Windowed blocks of a family whose global ones alone are scaled: a base of their own, or the same. */
static enum err_code read_local_rope(const struct gguf *g, struct hparams *hp, struct err *e) {
    bool found;
    hp->has_local_rope = hp->t.local_rope;
    hp->rope_local = (struct rope_params){ .base = hp->rope.base, .n_rot = hp->rope.n_rot, .factor = 1,
                                           .attn_factor = 1, .original_ctx = hp->n_ctx_train };
    if (hp->t.local_rope_base != 0) hp->rope_local.base = hp->t.local_rope_base;
    return gguf_get_f32(g, key_of(hp, "rope.freq_base_swa").p, &hp->rope_local.base, &found, e);
}

enum err_code hparams_from_gguf(const struct tfile *f, struct hparams *hp, struct err *e) {
    const struct gguf *g = f->gguf;
    bool found;
    TRY(find_arch(g, hp, e));
    struct str name = STR("");
    TRY(gguf_get_str(g, "general.name", &name, &found, e));
    if (name.n) snprintf(hp->name, sizeof hp->name, "%.*s", (int)min_u64(name.n, sizeof hp->name), name.p);
    hp->t = hp->arch->traits;
    hp->expert_norm = hp->t.expert_norm;
    TRY(read_keys(g, hp, e));
    TRY(hparams_check_counts(f, hp, e));
    TRY(gguf_get_f32(g, key_of(hp, hparams_eps_key(hp)).p, &hp->norm_eps, NULL, e));
    TRY(read_rope(f, hp, e));
    TRY(read_local_rope(g, hp, e));
    TRY(read_windows(g, hp, e));
    hparams_usual_no_rope(hp, &hp->no_rope);
    TRY(gguf_get_i32(g, "tokenizer.ggml.bos_token_id", &hp->bos, &found, e));
    TRY(gguf_get_i32(g, "tokenizer.ggml.eos_token_id", &hp->eos, &found, e));
    hp->rope.pairing = hp->rope_local.pairing = hp->arch->gguf_pairing;
    look_at_tensors(f, hp);
    hparams_expert_sizes(hp);
    return hp->arch->read_gguf ? hp->arch->read_gguf(f, hp, e) : ERR_NONE;
}
