/* Qwen 3: as Llama, with a norm of every query and key head before the rotation. */
#include "model/build.h"
#include "model/hparams_keys.h"

static const char *const hf_classes[] = { "qwen3", NULL };

const struct arch arch_qwen3 = {
    .name = "qwen3",
    .hf_classes = hf_classes,
    .gguf_pairing = ROPE_HALVES,
    .hf_pairing = ROPE_HALVES,
    .traits = { .qk_norm = QK_NORM_HEAD },
    .read_hf = hparams_hf_biases,
    .block = build_block,
};
