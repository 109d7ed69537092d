/* HunYuan with experts: queries and keys are normed after they were turned, and one expert is every token's. */
#include "model/build.h"

static enum err_code read_hf(const struct hf_config *c, struct hparams *hp, struct err *e) {
    bool found;
    hp->n_expert_shared = 1; /* where no key says otherwise */
    TRY(hf_config_bool(c, "attention_bias", &hp->attn_bias, &found, e));
    hp->attn_out_bias = hp->attn_bias;
    if (hf_config_kind(c, "num_shared_expert") != HF_INT) return ERR_NONE;
    return hf_config_u32(c, "num_shared_expert", &hp->n_expert_shared, &found, e);
}

static const struct slot_name hf_names[] = {
    { SLOT_ATTN_Q_NORM, "model.layers.%u.self_attn.query_layernorm.weight" },
    { SLOT_ATTN_K_NORM, "model.layers.%u.self_attn.key_layernorm.weight" },
    { SLOT_ROUTER, "model.layers.%u.mlp.gate.wg.weight" },
    { SLOT_SHARED_GATE, "model.layers.%u.mlp.shared_mlp.gate_proj.weight" },
    { SLOT_SHARED_UP, "model.layers.%u.mlp.shared_mlp.up_proj.weight" },
    { SLOT_SHARED_DOWN, "model.layers.%u.mlp.shared_mlp.down_proj.weight" },
    { 0, NULL },
};
static const char *const hf_classes[] = { "hunyuan_v1_moe", NULL };

const struct arch arch_hunyuan_moe = {
    .name = "hunyuan-moe",
    .hf_classes = hf_classes,
    .gguf_pairing = ROPE_HALVES,
    .hf_pairing = ROPE_HALVES,
    .traits = { .qk_norm = QK_NORM_HEAD, .qk_norm_after_rope = true, .expert_norm = true },
    .read_hf = read_hf,
    .hf_names = hf_names,
    .block = build_block,
};
