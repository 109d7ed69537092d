/* Hyper-parameters: what the readers of both formats share, the table of common keys first of all. */
#include "model/hparams.h"

#include <stdio.h>
#include <string.h>

#include "model/arch.h"
#include "model/hparams_keys.h"

const struct hparams_key hparams_keys[] = {
#define U(field, gguf, hf, max, need) { gguf, hf, HPARAMS_U32, HPARAMS_##need, offsetof(struct hparams, field), max },
#define F(field, gguf, hf) { gguf, hf, HPARAMS_F32, HPARAMS_ZERO, offsetof(struct hparams, field), 0 },
#define B(field, gguf, hf) { gguf, hf, HPARAMS_BOOL, HPARAMS_ZERO, offsetof(struct hparams, field), 0 },
#include "model/hparams_keys.def"
#undef U
#undef F
#undef B
};
const size_t hparams_n_keys = ARRAY_LEN(hparams_keys);

void hparams_init(struct hparams *hp) {
    memset(hp, 0, sizeof *hp);
    hp->bos = hp->eos = -1;
    hp->float_type = QTYPE_NONE;
    hp->rope = (struct rope_params){ .base = 10000, .factor = 1, .attn_factor = 1 };
    hp->moe_step = 1;
    hp->glu_alpha = 1.702f; /* gpt-oss's, where its files are silent */
    hp->glu_limit = 7;
    hp->embd_scale = hp->residual_scale = hp->logit_scale = hp->expert_scale = 1;
}

bool hparams_is_default(const struct hparams *hp, const struct hparams_key *k) {
    struct hparams d;
    hparams_init(&d);
    size_t size = k->kind == HPARAMS_BOOL ? sizeof(bool) : sizeof(uint32_t);
    return !memcmp(hparams_value(hp, k), hparams_value(&d, k), size);
}

void hparams_key_read(struct hparams *hp, const struct hparams_key *k) {
    if (k->off == offsetof(struct hparams, n_head) && hp->n_head) {
        hp->n_head_kv = hp->n_head;
        hp->head_dim = hp->n_embd / hp->n_head;
    }
    if (k->off == offsetof(struct hparams, head_dim)) hp->head_dim_v = hp->head_dim;
}

const char *hparams_eps_key(const struct hparams *hp) {
    return hp->t.norm == NORM_RMS ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon";
}

uint64_t hparams_k_width(const struct hparams *hp) {
    return hp->kv_lora ? (uint64_t)hp->kv_lora + hp->rope.n_rot : (uint64_t)hp->n_head_kv * hp->head_dim;
}

uint64_t hparams_v_width(const struct hparams *hp) {
    return hp->kv_lora ? 0 : (uint64_t)hp->n_head_kv * hp->head_dim_v;
}

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

void hparams_expert_sizes(struct hparams *hp) {
    if (!hp->n_expert) return;
    if (!hp->n_ff_expert) hp->n_ff_expert = hp->n_ff;
    if (!hp->n_ff_shared && hp->n_expert_shared) {
        uint64_t n = (uint64_t)hp->n_expert_shared * hp->n_ff_expert;
        hp->n_ff_shared = n > UINT32_MAX ? UINT32_MAX : (uint32_t)n; /* above the limit: the check will say so */
    }
}

void hparams_window_every(struct hparams *hp, uint32_t period) {
    for (uint32_t l = 0; l < hp->n_layer; l++)
        if (!period || l % period < period - 1) layer_set_add(&hp->windowed, l);
}

void hparams_usual_no_rope(const struct hparams *hp, struct layer_set *out) {
    uint32_t period = hp->t.no_rope_period;
    bool globals = hp->t.global_no_rope && hp->window;
    *out = (struct layer_set){ { 0 } };
    for (uint32_t l = 0; l < hp->n_layer; l++)
        if ((period && l % period == period - 1) || (globals && !layer_set_has(&hp->windowed, l)))
            layer_set_add(out, l);
}

/* The name that an error about a key gives: of several, config.json's first. */
struct key_name { char p[64]; };
static struct key_name key_name(const struct tfile *f, const struct hparams_key *k) {
    struct key_name n;
    if (f->kind == TFILE_GGUF) snprintf(n.p, sizeof n.p, "%s", k->gguf);
    else snprintf(n.p, sizeof n.p, "%.*s", (int)strcspn(k->hf, "|"), k->hf);
    return n;
}

enum err_code hparams_check_counts(const struct tfile *f, struct hparams *hp, struct err *e) {
    for (size_t i = 0; i < hparams_n_keys; i++) {
        const struct hparams_key *k = &hparams_keys[i];
        if (k->kind != HPARAMS_U32) continue;
        uint32_t v = *(uint32_t *)hparams_field(hp, k);
        if (v == 0 && k->need != HPARAMS_ZERO)
            return err_set(e, ERR_FORMAT, "%s is 0 or missing", key_name(f, k).p);
        if (v > k->max)
            return err_set(e, ERR_FORMAT, "%s is %u, above the limit of %u", key_name(f, k).p, v, k->max);
    }
    if (hp->n_head % hp->n_head_kv)
        return err_set(e, ERR_FORMAT, "%u query heads cannot share %u key heads evenly (%s)", hp->n_head, hp->n_head_kv,
                       f->kind == TFILE_GGUF ? "attention.head_count_kv" : "num_key_value_heads");
    return ERR_NONE;
}
