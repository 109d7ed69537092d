/* OLMoE: queries and keys are normed over all heads together; the weights of experts are their probabilities as they
 * are. */
#include "model/build.h"

static enum err_code read_hf(const struct hf_config *c, struct hparams *hp, struct err *e) {
    (void)hp;
    if (hf_config_kind(c, "clip_qkv") == HF_ABSENT) return ERR_NONE;
    return err_set(e, ERR_UNSUPPORTED, "clip_qkv: clamped queries, keys and values are not supported");
}

static const char *const hf_classes[] = { "olmoe", NULL };

const struct arch arch_olmoe = {
    .name = "olmoe",
    .hf_classes = hf_classes,
    .gguf_pairing = ROPE_HALVES,
    .hf_pairing = ROPE_HALVES,
    .traits = { .qk_norm = QK_NORM_ROW },
    .read_hf = read_hf,
    .block = build_block,
};
