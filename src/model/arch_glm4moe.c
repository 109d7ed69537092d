/* GLM 4.5 and later with experts: DeepSeek's router (a bias that counts for choosing alone), half-rotated heads, normed
 * queries and keys in the larger models. */
#include "model/build.h"

static enum err_code read_hf(const struct hf_config *c, struct hparams *hp, struct err *e) {
    bool found, qk_norm = false;
    TRY(hf_config_bool(c, "attention_bias", &hp->attn_bias, &found, e));
    TRY(hf_config_bool(c, "use_qk_norm", &qk_norm, &found, e));
    hp->t.qk_norm = qk_norm ? QK_NORM_HEAD : QK_NORM_NONE;
    return ERR_NONE;
}

static enum err_code read_gguf(const struct tfile *f, struct hparams *hp, struct err *e) {
    (void)e;
    hp->t.qk_norm = tfile_find(f, "blk.0.attn_q_norm.weight") ? QK_NORM_HEAD : QK_NORM_NONE;
    return ERR_NONE;
}

static const struct slot_name gguf_names[] = {
    { SLOT_FFN_NORM, "blk.%u.post_attention_norm.weight" },
    { 0, NULL },
};
static const char *const hf_classes[] = { "glm4_moe", NULL };

const struct arch arch_glm4moe = {
    .name = "glm4moe",
    .hf_classes = hf_classes,
    .gguf_pairing = ROPE_HALVES,
    .hf_pairing = ROPE_HALVES,
    .traits = { .choice_bias = true, .pick_score = SCORE_SIGMOID, .weigh_score = SCORE_SIGMOID, .group_best = 2,
                .expert_norm = true },
    .read_hf = read_hf,
    .read_gguf = read_gguf,
    .gguf_names = gguf_names,
    .block = build_block,
};
