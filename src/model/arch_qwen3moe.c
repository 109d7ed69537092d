/* Qwen 3 with experts: queries and keys are normed head by head. */
#include "model/build.h"

static const char *const hf_classes[] = { "qwen3_moe", NULL };

const struct arch arch_qwen3moe = {
    .name = "qwen3moe",
    .hf_classes = hf_classes,
    .gguf_pairing = ROPE_HALVES,
    .hf_pairing = ROPE_HALVES,
    .traits = { .qk_norm = QK_NORM_HEAD, .expert_norm = true },
    .block = build_block,
};
