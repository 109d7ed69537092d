/* HunYuan, dense: Llama's blocks with a norm of each head of q and k behind the rotation. */
#include "model/build.h"
#include "model/hparams_keys.h"

static const struct slot_name hf_names[] = {
    { SLOT_ATTN_Q_NORM, "model.layers.%u.self_attn.query_layernorm.weight" },
    { SLOT_ATTN_K_NORM, "model.layers.%u.self_attn.key_layernorm.weight" },
    { 0, NULL },
};
static const char *const hf_classes[] = { "hunyuan_v1_dense", NULL };

const struct arch arch_hunyuan_dense = {
    .name = "hunyuan-dense",
    .hf_classes = hf_classes,
    .gguf_pairing = ROPE_HALVES,
    .hf_pairing = ROPE_HALVES,
    .traits = { .qk_norm = QK_NORM_HEAD, .qk_norm_after_rope = true },
    .read_hf = hparams_hf_biases,
    .hf_names = hf_names,
    .block = build_block,
};
