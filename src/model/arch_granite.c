/* Granite 3 and 4, dense: Llama's blocks, with factors for embeddings, attention, branches and logits. */
#include "model/build.h"

static enum err_code read_hf(const struct hf_config *c, struct hparams *hp, struct err *e) {
    bool found;
    TRY(hf_config_bool(c, "attention_bias", &hp->attn_bias, &found, e));
    hp->attn_out_bias = hp->attn_bias;
    return hf_config_bool(c, "mlp_bias", &hp->ffn_bias, &found, e);
}

static const char *const hf_classes[] = { "granite", NULL };

const struct arch arch_granite = {
    .name = "granite",
    .hf_classes = hf_classes,
    .permute_qk = true,
    .gguf_pairing = ROPE_NEIGHBOURS,
    .hf_pairing = ROPE_HALVES,
    .traits = { .logits_divided = true },
    .read_hf = read_hf,
    .block = build_block,
};
