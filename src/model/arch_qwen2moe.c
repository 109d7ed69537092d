/* Qwen 1.5 and 2 with experts: biases on queries, keys and values, and beside the chosen experts one that every token
 * has, as far as a gate of its own lets it. */
#include "model/build.h"

static enum err_code read_hf(const struct hf_config *c, struct hparams *hp, struct err *e) {
    bool found;
    hp->attn_bias = true;
    return hf_config_bool(c, "qkv_bias", &hp->attn_bias, &found, e);
}

static const struct slot_name hf_names[] = {
    { SLOT_SHARED_GATE_INP, "model.layers.%u.mlp.shared_expert_gate.weight" },
    { SLOT_SHARED_GATE, "model.layers.%u.mlp.shared_expert.gate_proj.weight" },
    { SLOT_SHARED_UP, "model.layers.%u.mlp.shared_expert.up_proj.weight" },
    { SLOT_SHARED_DOWN, "model.layers.%u.mlp.shared_expert.down_proj.weight" },
    { 0, NULL },
};
static const char *const hf_classes[] = { "qwen2_moe", NULL };

const struct arch arch_qwen2moe = {
    .name = "qwen2moe",
    .hf_classes = hf_classes,
    .gguf_pairing = ROPE_HALVES,
    .hf_pairing = ROPE_HALVES,
    .traits = { .shared_gate = true },
    .read_hf = read_hf,
    .hf_names = hf_names,
    .block = build_block,
};
