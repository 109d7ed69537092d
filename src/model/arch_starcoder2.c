/* StarCoder 2: layer norms and biases everywhere, a feed-forward without gate. */
#include "model/build.h"

static enum err_code read_hf(const struct hf_config *c, struct hparams *hp, struct err *e) {
    bool found, biases = true;
    TRY(hf_config_bool(c, "use_bias", &biases, &found, e));
    hp->attn_bias = hp->attn_out_bias = hp->ffn_bias = biases;
    return ERR_NONE;
}

static const struct slot_name hf_names[] = {
    { SLOT_FFN_UP, "model.layers.%u.mlp.c_fc.weight" },
    { SLOT_FFN_UP_B, "model.layers.%u.mlp.c_fc.bias" },
    { SLOT_FFN_DOWN, "model.layers.%u.mlp.c_proj.weight" },
    { SLOT_FFN_DOWN_B, "model.layers.%u.mlp.c_proj.bias" },
    { 0, NULL },
};
static const char *const hf_classes[] = { "starcoder2", NULL };

const struct arch arch_starcoder2 = {
    .name = "starcoder2",
    .hf_classes = hf_classes,
    .gguf_pairing = ROPE_HALVES,
    .hf_pairing = ROPE_HALVES,
    .traits = { .norm = NORM_LAYER, .norm_bias = true, .ungated = true, .act = GLU_GELU_TANH, .tied = true },
    .read_hf = read_hf,
    .hf_names = hf_names,
    .block = build_block,
};
