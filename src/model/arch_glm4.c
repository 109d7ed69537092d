/* GLM-4 of 2025: norms before and after attention and feed-forward, half of each head rotated, gate and up in one
 * matrix, biases on q, k and v. */
#include "model/build.h"

static enum err_code read_hf(const struct hf_config *c, struct hparams *hp, struct err *e) {
    bool found;
    return hf_config_bool(c, "attention_bias", &hp->attn_bias, &found, e);
}

static const struct slot_name hf_names[] = {
    { SLOT_ATTN_POST_NORM, "model.layers.%u.post_self_attn_layernorm.weight" },
    { SLOT_FFN_UP, "model.layers.%u.mlp.gate_up_proj.weight" },
    { SLOT_FFN_POST_NORM, "model.layers.%u.post_mlp_layernorm.weight" },
    { 0, NULL },
};
static const char *const hf_classes[] = { "glm4", NULL };

const struct arch arch_glm4 = {
    .name = "glm4",
    .hf_classes = hf_classes,
    .gguf_pairing = ROPE_NEIGHBOURS,
    .hf_pairing = ROPE_NEIGHBOURS,
    .traits = { .post_norm = true, .fused_gate_up = true },
    .read_hf = read_hf,
    .hf_names = hf_names,
    .block = build_block,
};
