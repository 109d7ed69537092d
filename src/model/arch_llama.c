/* Llama 1, 2 and 3, TinyLlama, SmolLM, Mistral and Mixtral: pre-norm blocks, rotary positions, grouped heads, gated
 * silu, in Mixtral by two of eight experts.
 *
 * GGUF's arch llama keeps the pairs that a rotation turns as neighbours, Hugging Face as halves of a head, so rows of q
 * and k change places between the two (model_file_row). */
#include "model/build.h"
#include "model/hparams_keys.h"

static const struct slot_name hf_names[] = {
    { SLOT_ROUTER, "model.layers.%u.block_sparse_moe.gate.weight" },
    { SLOT_EXPERT_GATE, "model.layers.%u.block_sparse_moe.experts.%x.w1.weight" },
    { SLOT_EXPERT_UP, "model.layers.%u.block_sparse_moe.experts.%x.w3.weight" },
    { SLOT_EXPERT_DOWN, "model.layers.%u.block_sparse_moe.experts.%x.w2.weight" },
    { 0, NULL },
};
static const char *const hf_classes[] = { "llama", "mistral", "mixtral", NULL };

const struct arch arch_llama = {
    .name = "llama",
    .hf_classes = hf_classes,
    .permute_qk = true,
    .gguf_pairing = ROPE_NEIGHBOURS,
    .hf_pairing = ROPE_HALVES,
    .traits = { .expert_norm = true },
    .read_hf = hparams_hf_biases,
    .hf_names = hf_names,
    .hf_constants = "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"hidden_act\": \"silu\"}",
    .block = build_block,
};
