/* Owns the choice of keys: names and meanings are the GGUF specification's. Layout and sizes are the writer's, the keys
 * of the tokenizer runtime/vocab_file's. */
#include "quant/export_meta.h"
#include <stdio.h>
#include <string.h>
#include "model/arch.h"
#include "model/hparams_keys.h"
#include "runtime/vocab_file.h"

enum { QUANTIZATION_VERSION = 2 }; /* of the block formats, all of them */

/* Keys that say how the source's weights were chosen, which does not hold for the new file. */
static bool is_stale(struct str key) {
    return str_starts(key, "quantize.") || (str_starts(key, "snug.") && !str_starts(key, "snug.tokenizer."));
}

static void copy_keys(const struct gguf *g, struct gguf_writer *w) {
    for (size_t i = 0; i < g->n_kv; i++)
        if (!is_stale(str_of(g->kv[i].key))) gguf_writer_copy(w, &g->kv[i]);
}

/* "llama.block_count" and the like. */
struct keys { struct gguf_writer *w; const char *arch; char key[96]; };
static const char *key_of(struct keys *k, const char *name) {
    snprintf(k->key, sizeof k->key, "%s.%s", k->arch, name);
    return k->key;
}
static void put_u32(struct keys *k, const char *name, uint32_t v) { gguf_writer_u32(k->w, key_of(k, name), v); }
static void put_f32(struct keys *k, const char *name, float v) { gguf_writer_f32(k->w, key_of(k, name), v); }

/* Which blocks turn has no key: every reader must know it of the family. */
static enum err_code check_no_rope(const struct hparams *hp, struct err *e) {
    struct layer_set usual;
    hparams_usual_no_rope(hp, &usual);
    if (!memcmp(&usual, &hp->no_rope, sizeof usual)) return ERR_NONE;
    return err_set(e, ERR_UNSUPPORTED, "GGUF has no key for which blocks rotate: run the model from its directory");
}

static enum err_code put_rope(struct keys *k, const struct rope_params *r, const struct traits *t, struct err *e) {
    put_u32(k, "rope.dimension_count", r->n_rot);
    put_f32(k, "rope.freq_base", r->base);
    if (r->scaling == ROPE_SCALE_DYNAMIC)
        return err_set(e, ERR_UNSUPPORTED, "GGUF has no key for dynamic rope scaling: run the model from its "
                       "directory");
    if (r->scaling == ROPE_SCALE_LONG) { /* its factors are tensors */
        put_u32(k, "rope.scaling.original_context_length", r->original_ctx);
        put_f32(k, "rope.scaling.attn_factor", r->attn_factor);
    }
    if (r->scaling != ROPE_SCALE_LINEAR && r->scaling != ROPE_SCALE_YARN) return ERR_NONE; /* llama3: a tensor */
    gguf_writer_str(k->w, key_of(k, "rope.scaling.type"), r->scaling == ROPE_SCALE_YARN ? STR("yarn") : STR("linear"));
    put_f32(k, "rope.scaling.factor", r->factor);
    if (r->scaling == ROPE_SCALE_LINEAR) return ERR_NONE;
    if (r->truncate == t->yarn_fractional)
        return err_set(e, ERR_UNSUPPORTED, "GGUF has no key for yarn scaling with%s truncation",
                       r->truncate ? "" : "out");
    put_u32(k, "rope.scaling.original_context_length", r->original_ctx);
    put_f32(k, "rope.scaling.yarn_beta_fast", r->beta_fast);
    put_f32(k, "rope.scaling.yarn_beta_slow", r->beta_slow);
    if (r->mscale_all == 0 || t->yarn_log_unit == 0) {
        put_f32(k, "rope.scaling.attn_factor", r->attn_factor / rope_yarn_magnitude(r->factor, 1));
        return ERR_NONE;
    }
    put_f32(k, "rope.scaling.yarn_log_multiplier", t->yarn_log_unit * r->mscale_all);
    if (r->attn_factor == 1) return ERR_NONE;
    return err_set(e, ERR_UNSUPPORTED, "GGUF has no keys for yarn scaling whose mscale is not its mscale_all_dim");
}

/* A key of the common table, unless it says what every model without it has. */
static void put_key(struct keys *k, const struct hparams *hp, const struct hparams_key *key) {
    const void *v = hparams_value(hp, key);
    bool needless = key->need == HPARAMS_ZERO && hparams_is_default(hp, key);
    if (key->kind == HPARAMS_BOOL) needless = !hp->n_expert; /* expert_norm, whose default is the family's */
    if (needless) return;
    if (key->kind == HPARAMS_U32) put_u32(k, key->gguf, *(const uint32_t *)v);
    else if (key->kind == HPARAMS_F32) put_f32(k, key->gguf, *(const float *)v);
    else gguf_writer_bool(k->w, key_of(k, key->gguf), *(const bool *)v);
}

/* Which blocks have the window, unless they are those that every reader expects of the family. */
static void put_windows(struct keys *k, const struct hparams *hp) {
    struct hparams usual = { .n_layer = hp->n_layer };
    uint8_t pattern[HPARAMS_MAX_LAYERS];
    hparams_window_every(&usual, hp->t.window_period);
    if (!hp->window || !memcmp(&usual.windowed, &hp->windowed, sizeof usual.windowed)) return;
    for (uint32_t l = 0; l < hp->n_layer; l++) pattern[l] = layer_set_has(&hp->windowed, l);
    gguf_writer_array(k->w, key_of(k, "attention.sliding_window_pattern"), GGUF_BOOL, pattern, hp->n_layer);
}

static enum err_code make_keys(const struct model *m, const struct vocab *v, struct gguf_writer *w, struct err *e) {
    const struct hparams *hp = &m->hp;
    struct keys k = { .w = w, .arch = hp->arch->name };
    gguf_writer_str(w, "general.architecture", str_of(hp->arch->name));
    gguf_writer_str(w, "general.type", STR("model"));
    gguf_writer_str(w, "general.name", str_of(hp->name));
    for (size_t i = 0; i < hparams_n_keys; i++) put_key(&k, hp, &hparams_keys[i]);
    put_f32(&k, hparams_eps_key(hp), hp->norm_eps);
    put_windows(&k, hp);
    TRY(put_rope(&k, &hp->rope, &hp->t, e));
    TRY(check_no_rope(hp, e));
    if (hp->has_local_rope) put_f32(&k, "rope.freq_base_swa", hp->rope_local.base);
    if (hp->arch->write_gguf) hp->arch->write_gguf(hp, w);
    if (v->model == VOCAB_NONE) { /* generating ends with the end token even so */
        if (hp->bos >= 0) gguf_writer_u32(w, "tokenizer.ggml.bos_token_id", (uint32_t)hp->bos);
        if (hp->eos >= 0) gguf_writer_u32(w, "tokenizer.ggml.eos_token_id", (uint32_t)hp->eos);
    }
    return vocab_to_gguf(v, w, e);
}

enum err_code export_meta(const struct model *m, const struct vocab *v, struct gguf_writer *w, struct err *e) {
    if (m->file->gguf) copy_keys(m->file->gguf, w);
    else TRY(make_keys(m, v, w, e));
    gguf_writer_u32(w, "general.quantization_version", QUANTIZATION_VERSION);
    return gguf_writer_status(w, e);
}
