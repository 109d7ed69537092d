/* Seed-OSS: as Llama, with biases of queries, keys and values. GGUF calls the norm before the feed-forward what Hugging
 * Face calls it. */
#include "model/build.h"
#include "model/hparams_keys.h"

static const struct slot_name gguf_names[] = {
    { SLOT_FFN_NORM, "blk.%u.post_attention_norm.weight" },
    { 0, NULL },
};
static const char *const hf_classes[] = { "seed_oss", NULL };

const struct arch arch_seed_oss = {
    .name = "seed_oss",
    .hf_classes = hf_classes,
    .gguf_pairing = ROPE_HALVES,
    .hf_pairing = ROPE_HALVES,
    .read_hf = hparams_hf_biases,
    .gguf_names = gguf_names,
    .block = build_block,
};
