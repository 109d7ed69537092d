/* Hyper-parameters: what both readers share, and the checks that no reader may skip.
 *
 * After hparams_read every count is positive and below its limit, heads divide, the rotated part fits its head, and
 * every float is finite and of the right sign: the rest of the program multiplies and divides by them unasked. */
#include "model/hparams.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "model/hparams_read.h"

/* Limits: several times the largest public model in each respect. */
const struct hparams_count hparams_counts[HPARAMS_COUNTS] = {
    { "vocab_size", "vocab_size", offsetof(struct hparams, n_vocab), 1u << 24, false },
    { "context_length", "max_position_embeddings", offsetof(struct hparams, n_ctx_train), 1u << 28, true },
    { "embedding_length", "hidden_size", offsetof(struct hparams, n_embd), 1u << 20, true },
    { "block_count", "num_hidden_layers", offsetof(struct hparams, n_layer), 1u << 12, true },
    { "attention.head_count", "num_attention_heads", offsetof(struct hparams, n_head), 1u << 14, true },
    { "attention.head_count_kv", "num_key_value_heads", offsetof(struct hparams, n_head_kv), 1u << 14, false },
    { "attention.key_length", "head_dim", offsetof(struct hparams, head_dim), 1u << 16, false },
    { "feed_forward_length", "intermediate_size", offsetof(struct hparams, n_ff), 1u << 24, true },
};

const char *hparams_known(bool hf, char *buf, size_t size) {
    size_t n = 0;
    buf[0] = 0;
    for (size_t i = 0; arch_all[i]; i++) {
        const char *const one[] = { arch_all[i]->name, NULL };
        for (const char *const *name = hf ? arch_all[i]->hf_classes : one; *name && n < size; name++)
            n += (size_t)snprintf(buf + n, size - n, "%s%s", n ? ", " : "", *name);
    }
    return buf;
}

/* The last part of a path, without slashes at its end: a name for what has none. */
static void name_from_path(const char *path, char *out, size_t size) {
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/') end--;
    size_t start = end;
    while (start > 0 && path[start - 1] != '/') start--;
    snprintf(out, size, "%.*s", (int)(end - start), path + start);
}

static const char *count_key(const struct tfile *f, const struct hparams_count *c) {
    return f->kind == TFILE_GGUF ? c->gguf : c->hf;
}

static enum err_code check_counts(const struct tfile *f, struct hparams *hp, struct err *e) {
    for (size_t i = 0; i < HPARAMS_COUNTS; i++) {
        const struct hparams_count *c = &hparams_counts[i];
        uint32_t v = *hparams_count_of(hp, c);
        if (v == 0) return err_set(e, ERR_FORMAT, "%s is 0 or missing", count_key(f, c));
        if (v > c->max) return err_set(e, ERR_FORMAT, "%s is %u, above the limit of %u", count_key(f, c), v, c->max);
    }
    if (hp->n_head % hp->n_head_kv)
        return err_set(e, ERR_FORMAT, "%u query heads cannot share %u key heads evenly (%s)", hp->n_head, hp->n_head_kv,
                       f->kind == TFILE_GGUF ? "attention.head_count_kv" : "num_key_value_heads");
    return ERR_NONE;
}

/* Finite and above min. */
static enum err_code check_float(const char *key, float v, float min, struct err *e) {
    if (isfinite(v) && v > min) return ERR_NONE;
    return err_set(e, ERR_FORMAT, "%s is %g; a finite number above %g is needed", key, (double)v, (double)min);
}

static enum err_code check_rope(const struct tfile *f, const struct hparams *hp, struct err *e) {
    const struct rope_params *r = &hp->rope;
    bool gguf = f->kind == TFILE_GGUF;
    if (r->n_rot == 0 || r->n_rot % 2 || r->n_rot > hp->head_dim)
        return err_set(e, ERR_FORMAT, "%s: %u of %u dimensions rotate; an even number up to the head's size is needed",
                       gguf ? "rope.dimension_count" : "head_dim", r->n_rot, hp->head_dim);
    TRY(check_float(gguf ? "rope.freq_base" : "rope_theta", r->base, 1, e));
    TRY(check_float(gguf ? "rope.scaling.factor" : "rope_scaling.factor", r->factor, 0, e));
    TRY(check_float(gguf ? "rope.scaling.attn_factor" : "rope_scaling.attention_factor", r->attn_factor, 0, e));
    if (r->original_ctx == 0)
        return err_set(e, ERR_FORMAT, "%s is 0", gguf ? "rope.scaling.original_context_length"
                                                     : "rope_scaling.original_max_position_embeddings");
    if (r->scaling == ROPE_SCALE_YARN) {
        TRY(check_float("beta_slow", r->beta_slow, 0, e));
        TRY(check_float("beta_fast", r->beta_fast, 0, e));
    }
    if (r->scaling == ROPE_SCALE_LLAMA3) {
        TRY(check_float("rope_scaling.low_freq_factor", r->low_freq_factor, 0, e));
        TRY(check_float("rope_scaling.high_freq_factor", r->high_freq_factor, r->low_freq_factor, e));
    }
    if (r->scaling == ROPE_SCALE_DYNAMIC && r->n_rot < 4)
        return err_set(e, ERR_FORMAT, "dynamic rope scaling needs heads of 4 dimensions or more, not %u", r->n_rot);
    return ERR_NONE;
}

static enum err_code read_and_check(const struct tfile *f, struct hparams *hp, struct err *e) {
    bool gguf = f->kind == TFILE_GGUF;
    TRY(gguf ? hparams_from_gguf(f, hp, e) : hparams_from_hf(f, hp, e));
    TRY(check_counts(f, hp, e));
    if (hp->window >= hp->n_ctx_train) hp->window = 0; /* as long as the context: it hides nothing */
    TRY(check_float(gguf ? "attention.layer_norm_rms_epsilon" : "rms_norm_eps", hp->norm_eps, 0, e));
    return check_rope(f, hp, e);
}

enum err_code hparams_read(const struct tfile *f, struct hparams *hp, struct err *e) {
    memset(hp, 0, sizeof *hp);
    hp->bos = hp->eos = -1;
    hp->float_type = QTYPE_NONE;
    hp->rope = (struct rope_params){ .base = 10000, .scaling = ROPE_SCALE_NONE, .factor = 1, .attn_factor = 1 };
    name_from_path(f->path, hp->name, sizeof hp->name);
    enum err_code rc = read_and_check(f, hp, e);
    if (rc && e && !e->where[0]) err_where(e, rc, "%s", f->path);
    return rc;
}
