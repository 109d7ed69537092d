/* Hyper-parameters from a GGUF file's metadata: keys "ARCH.name", docs/formats/gguf.md. */
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "model/hparams_read.h"

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
    char known[200];
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

static enum err_code read_counts(const struct gguf *g, struct hparams *hp, struct err *e) {
    struct gguf_array tokens = { 0 };
    bool found;
    TRY(gguf_get_array(g, "tokenizer.ggml.tokens", &tokens, &found, e));
    hp->n_vocab = (uint32_t)min_u64(tokens.n, UINT32_MAX);
    for (size_t i = 0; i < HPARAMS_COUNTS; i++) {
        const struct hparams_count *c = &hparams_counts[i];
        bool *optional = c->required ? NULL : &found;
        TRY(read_count(g, key_of(hp, c->gguf).p, hparams_count_of(hp, c), optional, e));
        /* What stands behind head_count in the table takes its default from it. */
        if (c->off == offsetof(struct hparams, n_head) && hp->n_head) {
            hp->n_head_kv = hp->n_head;
            hp->head_dim = hp->n_embd / hp->n_head;
        }
    }
    uint32_t value_length = hp->head_dim;
    TRY(gguf_get_u32(g, key_of(hp, "attention.value_length").p, &value_length, &found, e));
    if (value_length != hp->head_dim)
        return err_set(e, ERR_UNSUPPORTED, "attention.value_length %u is not key_length %u, which is not supported yet",
                       value_length, hp->head_dim);
    return ERR_NONE;
}

/* Llama 3's scaling has no key: its divisors are the tensor rope_freqs.weight. */
static enum err_code read_rope(const struct gguf *g, struct hparams *hp, struct err *e) {
    struct rope_params *r = &hp->rope;
    bool found;
    struct str type = STR("none");
    r->n_rot = hp->head_dim;
    r->original_ctx = hp->n_ctx_train;
    TRY(gguf_get_u32(g, key_of(hp, "rope.dimension_count").p, &r->n_rot, &found, e));
    TRY(gguf_get_f32(g, key_of(hp, "rope.freq_base").p, &r->base, &found, e));
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
    r->truncate = true;
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
    return ERR_NONE;
}

enum err_code hparams_from_gguf(const struct tfile *f, struct hparams *hp, struct err *e) {
    const struct gguf *g = f->gguf;
    bool found;
    TRY(find_arch(g, hp, e));
    struct str name = STR("");
    TRY(gguf_get_str(g, "general.name", &name, &found, e));
    if (name.n) snprintf(hp->name, sizeof hp->name, "%.*s", (int)min_u64(name.n, sizeof hp->name), name.p);
    TRY(read_counts(g, hp, e));
    TRY(gguf_get_f32(g, key_of(hp, "attention.layer_norm_rms_epsilon").p, &hp->norm_eps, NULL, e));
    TRY(read_rope(g, hp, e));
    TRY(gguf_get_i32(g, "tokenizer.ggml.bos_token_id", &hp->bos, &found, e));
    TRY(gguf_get_i32(g, "tokenizer.ggml.eos_token_id", &hp->eos, &found, e));
    hp->rope.pairing = hp->arch->gguf_pairing;
    hp->tied = !tfile_find(f, slot_info(SLOT_OUTPUT)->gguf_name);
    return hp->arch->read_gguf(f, hp, e);
}
