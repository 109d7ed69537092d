/* SmolLM 3: as Llama, every fourth block without rotation. Which ones is in no GGUF key. */
#include "model/build.h"
#include "model/hparams_keys.h"

static const char *const hf_classes[] = { "smollm3", NULL };

const struct arch arch_smollm3 = {
    .name = "smollm3",
    .hf_classes = hf_classes,
    .permute_qk = true,
    .gguf_pairing = ROPE_NEIGHBOURS,
    .hf_pairing = ROPE_HALVES,
    .traits = { .no_rope_period = 4, .tied = true },
    .read_hf = hparams_hf_biases,
    .block = build_block,
};
