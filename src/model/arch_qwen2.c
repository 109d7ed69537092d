/* Qwen 2 and 2.5: as Llama, with biases of queries, keys and values. */
#include "model/build.h"

static enum err_code read_hf(const struct hf_config *c, struct hparams *hp, struct err *e) {
    (void)c;
    (void)e;
    hp->attn_bias = true;
    return ERR_NONE;
}

static const char *const hf_classes[] = { "qwen2", NULL };

const struct arch arch_qwen2 = {
    .name = "qwen2",
    .hf_classes = hf_classes,
    .gguf_pairing = ROPE_HALVES,
    .hf_pairing = ROPE_HALVES,
    .read_hf = read_hf,
    .block = build_block,
};
