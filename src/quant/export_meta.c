/* Owns the choice of keys: names and meanings are the GGUF specification's. Layout and sizes are the writer's, the keys
 * of the tokenizer runtime/vocab_file's. */
#include "quant/export_meta.h"
#include <stdio.h>
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

static enum err_code put_rope(struct keys *k, const struct rope_params *r, struct err *e) {
    put_u32(k, "rope.dimension_count", r->n_rot);
    put_f32(k, "rope.freq_base", r->base);
    if (r->scaling == ROPE_SCALE_DYNAMIC)
        return err_set(e, ERR_UNSUPPORTED, "GGUF has no key for dynamic rope scaling: run the model from its "
                       "directory");
    if (r->scaling != ROPE_SCALE_LINEAR && r->scaling != ROPE_SCALE_YARN) return ERR_NONE; /* llama3: a tensor */
    gguf_writer_str(k->w, key_of(k, "rope.scaling.type"), r->scaling == ROPE_SCALE_YARN ? STR("yarn") : STR("linear"));
    put_f32(k, "rope.scaling.factor", r->factor);
    if (r->scaling == ROPE_SCALE_LINEAR) return ERR_NONE;
    if (!r->truncate) return err_set(e, ERR_UNSUPPORTED, "GGUF has no key for yarn scaling without truncation");
    put_u32(k, "rope.scaling.original_context_length", r->original_ctx);
    put_f32(k, "rope.scaling.yarn_beta_fast", r->beta_fast);
    put_f32(k, "rope.scaling.yarn_beta_slow", r->beta_slow);
    put_f32(k, "rope.scaling.attn_factor", r->attn_factor / rope_yarn_magnitude(r->factor, 1));
    return ERR_NONE;
}

static enum err_code make_keys(const struct model *m, const struct vocab *v, struct gguf_writer *w, struct err *e) {
    const struct hparams *hp = &m->hp;
    struct keys k = { .w = w, .arch = hp->arch->name };
    gguf_writer_str(w, "general.architecture", str_of(hp->arch->name));
    gguf_writer_str(w, "general.type", STR("model"));
    gguf_writer_str(w, "general.name", str_of(hp->name));
    put_u32(&k, "vocab_size", hp->n_vocab);
    put_u32(&k, "context_length", hp->n_ctx_train);
    put_u32(&k, "embedding_length", hp->n_embd);
    put_u32(&k, "block_count", hp->n_layer);
    put_u32(&k, "feed_forward_length", hp->n_ff);
    put_u32(&k, "attention.head_count", hp->n_head);
    put_u32(&k, "attention.head_count_kv", hp->n_head_kv);
    put_u32(&k, "attention.key_length", hp->head_dim);
    put_u32(&k, "attention.value_length", hp->head_dim);
    put_f32(&k, "attention.layer_norm_rms_epsilon", hp->norm_eps);
    TRY(put_rope(&k, &hp->rope, e));
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
