/* Reading hyper-parameters: the reader of the file's format, then the checks that none may skip.
 *
 * After hparams_read every count is positive and below its limit, heads divide, the rotated part fits its head, and
 * every float is finite and of the right sign: the rest of the program multiplies and divides by them unasked. */
#include "model/hparams.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/hparams_keys.h"

/* The last part of a path, without slashes at its end: a name for what has none. */
static void name_from_path(const char *path, char *out, size_t size) {
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/') end--;
    size_t start = end;
    while (start > 0 && path[start - 1] != '/') start--;
    snprintf(out, size, "%.*s", (int)(end - start), path + start);
}

/* Finite and above min. */
static enum err_code check_float(const char *key, float v, float min, struct err *e) {
    if (isfinite(v) && v > min) return ERR_NONE;
    return err_set(e, ERR_FORMAT, "%s is %g; a finite number above %g is needed", key, (double)v, (double)min);
}

static enum err_code check_rope(const struct tfile *f, const struct hparams *hp, const struct rope_params *r,
                                struct err *e) {
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
    for (uint32_t i = 0; r->scaling == ROPE_SCALE_LONG && i < r->n_rot / 2; i++) {
        TRY(check_float("rope_scaling.short_factor", r->short_factors[i], 0, e));
        TRY(check_float("rope_scaling.long_factor", r->long_factors[i], 0, e));
    }
    return ERR_NONE;
}

static enum err_code check_experts(const struct hparams *hp, struct err *e) {
    if (!hp->n_expert) return ERR_NONE;
    if (!hp->n_expert_used || hp->n_expert_used > hp->n_expert)
        return err_set(e, ERR_FORMAT, "%u of %u experts are chosen a token, which cannot be", hp->n_expert_used,
                       hp->n_expert);
    if (hp->n_expert_group <= 1) return ERR_NONE;
    uint32_t in_group = hp->n_expert / hp->n_expert_group;
    if (hp->n_expert % hp->n_expert_group || !hp->n_expert_group_used || hp->n_expert_group_used > hp->n_expert_group ||
        (uint64_t)in_group * hp->n_expert_group_used < hp->n_expert_used || in_group < hp->t.group_best)
        return err_set(e, ERR_FORMAT, "%u experts of %u cannot be chosen from %u of %u groups", hp->n_expert_used,
                       hp->n_expert, hp->n_expert_group_used, hp->n_expert_group);
    return ERR_NONE;
}

static enum err_code check_latent(const struct hparams *hp, struct err *e) {
    if (hp->kv_lora && hp->rope.n_rot >= hp->head_dim)
        return err_set(e, ERR_FORMAT, "%u of the %u dimensions of a head rotate; latent attention needs some that do "
                       "not", hp->rope.n_rot, hp->head_dim);
    return ERR_NONE;
}

static enum err_code check_factors(const struct hparams *hp, struct err *e) {
    TRY(check_float("embedding_scale", hp->embd_scale, 0, e));
    TRY(check_float("residual_scale", hp->residual_scale, 0, e));
    TRY(check_float("logit_scale", hp->logit_scale, 0, e));
    TRY(check_float("expert_weights_scale", hp->expert_scale, 0, e));
    const float from_0[] = { hp->attn_scale, hp->attn_softcap, hp->final_softcap };
    const char *const names[] = { "attention.scale", "attn_logit_softcapping", "final_logit_softcapping" };
    for (size_t i = 0; i < ARRAY_LEN(from_0); i++)
        if (from_0[i] != 0) TRY(check_float(names[i], from_0[i], 0, e));
    return ERR_NONE;
}

/* Without a window no block is windowed. One as long as the context hides nothing; it stays where windowed blocks
 * differ from the others by more than it. */
static void settle_windows(struct hparams *hp) {
    bool differ = hp->has_local_rope || hp->t.global_no_rope;
    if (hp->window >= hp->n_ctx_train && !differ) hp->window = 0;
    if (hp->t.global_no_rope) hparams_usual_no_rope(hp, &hp->no_rope);
    if (hp->window) return;
    hp->windowed = (struct layer_set){ { 0 } };
    hp->has_local_rope = false;
}

static enum err_code read_and_check(const struct tfile *f, struct hparams *hp, struct err *e) {
    bool gguf = f->kind == TFILE_GGUF;
    TRY(gguf ? hparams_from_gguf(f, hp, e) : hparams_from_hf(f, hp, e));
    TRY(hparams_check_counts(f, hp, e)); /* again: a family may have changed them */
    settle_windows(hp);
    TRY(check_float(gguf ? hparams_eps_key(hp) : "rms_norm_eps", hp->norm_eps, 0, e));
    TRY(check_rope(f, hp, &hp->rope, e));
    if (hp->has_local_rope) TRY(check_rope(f, hp, &hp->rope_local, e));
    TRY(check_experts(hp, e));
    TRY(check_latent(hp, e));
    return check_factors(hp, e);
}

enum err_code hparams_read(const struct tfile *f, struct hparams *hp, struct err *e) {
    hparams_init(hp);
    name_from_path(f->path, hp->name, sizeof hp->name);
    enum err_code rc = read_and_check(f, hp, e);
    if (rc && e && !e->where[0]) err_where(e, rc, "%s", f->path);
    return rc;
}
