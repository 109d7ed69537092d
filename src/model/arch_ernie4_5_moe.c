/* ERNIE 4.5 with experts: a softmax router with a bias that counts for choosing alone. */
#include "model/build.h"

static enum err_code read_hf(const struct hf_config *c, struct hparams *hp, struct err *e) {
    bool found, bias = false;
    TRY(hf_config_bool(c, "use_bias", &bias, &found, e));
    hp->attn_bias = hp->attn_out_bias = hp->ffn_bias = bias;
    return ERR_NONE;
}

/* llama.cpp insists on it. */
static void write_gguf(const struct hparams *hp, struct gguf_writer *w) {
    gguf_writer_u32(w, "ernie4_5-moe.interleave_moe_layer_step", hp->moe_step);
}

static const struct slot_name hf_names[] = {
    { SLOT_ROUTER_CHOICE_B, "model.layers.%u.mlp.moe_statics.e_score_correction_bias" },
    { 0, NULL },
};
static const char *const hf_classes[] = { "ernie4_5_moe", NULL };

const struct arch arch_ernie4_5_moe = {
    .name = "ernie4_5-moe",
    .hf_classes = hf_classes,
    .gguf_pairing = ROPE_NEIGHBOURS,
    .hf_pairing = ROPE_NEIGHBOURS,
    .traits = { .choice_bias = true, .expert_norm = true },
    .read_hf = read_hf,
    .write_gguf = write_gguf,
    .hf_names = hf_names,
    .block = build_block,
};
