/* Phi 3 and 4: as Llama, with queries, keys and values from one matrix and gate and up from another, sometimes with a
 * part of each head unturned (Phi 4 mini) and with LongRoPE. */
#include "model/build.h"

static const struct slot_name hf_names[] = {
    { SLOT_FFN_UP, "model.layers.%u.mlp.gate_up_proj.weight" },
    { 0, NULL },
};
static const char *const hf_classes[] = { "phi3", NULL };

const struct arch arch_phi3 = {
    .name = "phi3",
    .hf_classes = hf_classes,
    .gguf_pairing = ROPE_HALVES,
    .hf_pairing = ROPE_HALVES,
    .traits = { .fused_qkv = true, .fused_gate_up = true },
    .hf_names = hf_names,
    .block = build_block,
};
