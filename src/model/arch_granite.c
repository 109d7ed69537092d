/* Granite 3, dense: Llama's blocks, with factors for embeddings, attention, branches and logits. */
#include "model/build.h"
#include "model/hparams_keys.h"

static const char *const hf_classes[] = { "granite", NULL };

const struct arch arch_granite = {
    .name = "granite",
    .hf_classes = hf_classes,
    .permute_qk = true,
    .gguf_pairing = ROPE_NEIGHBOURS,
    .hf_pairing = ROPE_HALVES,
    .traits = { .logits_divided = true },
    .read_hf = hparams_hf_biases,
    .block = build_block,
};
