/* Cohere's Command: attention and feed-forward side by side behind one layer norm without bias, logits scaled.
 * Command R (GGUF's command-r) has in its larger sizes a norm for each head of q and k; Command R7B and A (cohere2)
 * have windows in three of four blocks, and do not turn in the fourth. */
#include "model/build.h"
#include "model/hparams_keys.h"

static enum err_code read_hf(const struct hf_config *c, struct hparams *hp, struct err *e) {
    bool found, heads_normed = false;
    TRY(hparams_hf_biases(c, hp, e));
    TRY(hf_config_bool(c, "use_qk_norm", &heads_normed, &found, e));
    if (heads_normed) hp->t.qk_norm = QK_NORM_HEADS;
    return ERR_NONE;
}

static enum err_code read_gguf(const struct tfile *f, struct hparams *hp, struct err *e) {
    (void)e;
    if (tfile_find(f, "blk.0.attn_q_norm.weight")) hp->t.qk_norm = QK_NORM_HEADS;
    return ERR_NONE;
}

static const char *const hf_classes[] = { "cohere", NULL };

const struct arch arch_cohere = {
    .name = "command-r",
    .hf_classes = hf_classes,
    .gguf_pairing = ROPE_NEIGHBOURS,
    .hf_pairing = ROPE_NEIGHBOURS,
    .traits = { .norm = NORM_LAYER, .parallel = true, .tied = true },
    .read_hf = read_hf,
    .read_gguf = read_gguf,
    .block = build_parallel_block,
};

static const char *const hf_classes2[] = { "cohere2", NULL };

const struct arch arch_cohere2 = {
    .name = "cohere2",
    .hf_classes = hf_classes2,
    .gguf_pairing = ROPE_NEIGHBOURS,
    .hf_pairing = ROPE_NEIGHBOURS,
    .traits = { .norm = NORM_LAYER, .parallel = true, .tied = true, .global_no_rope = true, .window_period = 4 },
    .read_hf = read_hf,
    .block = build_parallel_block,
};
