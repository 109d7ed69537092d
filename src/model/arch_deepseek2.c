/* DeepSeek 2 and 3, Kimi K2: latent attention, experts chosen within groups, a few dense blocks first.
 *
 * Their yarn scaling changes the softmax too: scores grow by the square of 0.1 mscale_all_dim ln(factor) + 1. GGUF
 * files say of the heads what the cache sees (one head of kv_lora + n_rot numbers) and give the real sizes in keys that
 * end in _mla. */
#include <math.h>
#include <string.h>

#include "model/build.h"

enum { GATING_SOFTMAX = 1, GATING_SIGMOID = 2 }; /* GGUF's expert_gating_func */

static void set_gating(struct hparams *hp, bool sigmoid) {
    hp->t.pick_score = hp->t.weigh_score = sigmoid ? SCORE_SIGMOID : SCORE_SOFTMAX;
    hp->t.choice_bias = sigmoid;
    hp->t.group_best = sigmoid ? 2 : 1;
}

static void set_attention_scale(struct hparams *hp) {
    float m = hp->rope.mscale_all != 0 ? rope_yarn_magnitude(hp->rope.factor, hp->rope.mscale_all) : 1;
    hp->attn_scale = m * m / sqrtf((float)hp->head_dim);
}

static enum err_code read_hf(const struct hf_config *c, struct hparams *hp, struct err *e) {
    const char *type;
    uint32_t still;
    TRY(hf_config_str(c, "model_type", &type, NULL, e));
    TRY(hf_config_u32(c, "qk_nope_head_dim", &still, NULL, e));
    TRY(hf_config_u32(c, "qk_rope_head_dim", &hp->rope.n_rot, NULL, e));
    TRY(hf_config_u32(c, "v_head_dim", &hp->head_dim_v, NULL, e));
    if (still > 1u << 16 || hp->rope.n_rot > 1u << 16)
        return err_set(e, ERR_FORMAT, "qk_nope_head_dim is %u and qk_rope_head_dim %u, which no head has", still,
                       hp->rope.n_rot);
    if (!hp->kv_lora) return err_set(e, ERR_FORMAT, "kv_lora_rank is 0 or missing");
    hp->head_dim = still + hp->rope.n_rot;
    set_gating(hp, strcmp(type, "deepseek_v2") != 0);
    set_attention_scale(hp);
    return ERR_NONE;
}

static enum err_code read_gguf(const struct tfile *f, struct hparams *hp, struct err *e) {
    uint32_t gating = GATING_SOFTMAX;
    bool found;
    if (!hp->kv_lora) return err_set(e, ERR_FORMAT, "deepseek2.attention.kv_lora_rank is 0 or missing");
    TRY(gguf_get_u32(f->gguf, "deepseek2.attention.key_length_mla", &hp->head_dim, &found, e));
    if (!found)
        return err_set(e, ERR_UNSUPPORTED, "deepseek2.attention.key_length_mla is missing: files from before 2025-04, "
                       "which keep attn_kv_b in one piece, are not read; convert the model anew");
    TRY(gguf_get_u32(f->gguf, "deepseek2.attention.value_length_mla", &hp->head_dim_v, NULL, e));
    TRY(gguf_get_u32(f->gguf, "deepseek2.expert_gating_func", &gating, &found, e));
    hp->n_head_kv = hp->n_head;
    set_gating(hp, gating == GATING_SIGMOID);
    char name[SLOT_NAME_BYTES]; /* Kimi's and DeepSeek's first block with experts */
    slot_format_name(slot_info(SLOT_ROUTER_CHOICE_B)->gguf_name, hp->n_dense_lead, 0, name);
    hp->t.choice_bias = tfile_find(f, name);
    set_attention_scale(hp);
    return ERR_NONE;
}

static void write_gguf(const struct hparams *hp, struct gguf_writer *w) {
    gguf_writer_u32(w, "deepseek2.attention.head_count_kv", 1);
    gguf_writer_u32(w, "deepseek2.attention.key_length", hp->kv_lora + hp->rope.n_rot);
    gguf_writer_u32(w, "deepseek2.attention.value_length", hp->kv_lora);
    gguf_writer_u32(w, "deepseek2.attention.key_length_mla", hp->head_dim);
    gguf_writer_u32(w, "deepseek2.attention.value_length_mla", hp->head_dim_v);
    gguf_writer_u32(w, "deepseek2.expert_gating_func",
                    hp->t.pick_score == SCORE_SIGMOID ? GATING_SIGMOID : GATING_SOFTMAX);
}

/* kv_b_proj holds for every head the rows of its key matrix, then those of its value matrix. Keys are used the other
 * way round (build_latent.c). */
static void hf_map(const struct hparams *hp, enum slot s, const uint64_t *ne, struct source_map *map) {
    uint64_t still = hp->head_dim - hp->rope.n_rot, rows = still + hp->head_dim_v;
    (void)ne;
    if (s == SLOT_ATTN_K_UP) *map = (struct source_map){ .row_i = 1, .row_x = rows, .col_r = 1 };
    if (s == SLOT_ATTN_V_UP) *map = (struct source_map){ .row0 = still, .row_r = 1, .row_x = rows, .col_i = 1 };
}

static const char *const hf_classes[] = { "deepseek_v2", "deepseek_v3", "kimi_k2", NULL };

const struct arch arch_deepseek2 = {
    .name = "deepseek2",
    .hf_classes = hf_classes,
    .gguf_pairing = ROPE_NEIGHBOURS,
    .hf_pairing = ROPE_NEIGHBOURS,
    .traits = { .yarn_log_unit = 0.1f },
    .read_hf = read_hf,
    .read_gguf = read_gguf,
    .write_gguf = write_gguf,
    .hf_map = hf_map,
    .block = build_block,
};
