/* ERNIE 4.5, dense: Llama's blocks over pairs of neighbours, with or without biases. */
#include "model/build.h"

static enum err_code read_hf(const struct hf_config *c, struct hparams *hp, struct err *e) {
    bool found;
    TRY(hf_config_bool(c, "use_bias", &hp->attn_bias, &found, e));
    hp->attn_out_bias = hp->ffn_bias = hp->attn_bias;
    return ERR_NONE;
}

static const char *const hf_classes[] = { "ernie4_5", NULL };

const struct arch arch_ernie4_5 = {
    .name = "ernie4_5",
    .hf_classes = hf_classes,
    .gguf_pairing = ROPE_NEIGHBOURS,
    .hf_pairing = ROPE_NEIGHBOURS,
    .traits = { .tied = true },
    .read_hf = read_hf,
    .block = build_block,
};
