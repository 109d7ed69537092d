/* MiniMax M2: queries and keys normed over all heads together, half of each head rotated, experts chosen by sigmoid and
 * a bias that counts for choosing alone. */
#include "model/build.h"

enum { GATING_SIGMOID = 2 }; /* GGUF's expert_gating_func */

/* Public files give the rotated part in dimensions. */
static enum err_code read_hf(const struct hf_config *c, struct hparams *hp, struct err *e) {
    bool found;
    return hf_config_u32(c, "rotary_dim", &hp->rope.n_rot, &found, e);
}

static void write_gguf(const struct hparams *hp, struct gguf_writer *w) {
    (void)hp;
    gguf_writer_u32(w, "minimax-m2.expert_gating_func", GATING_SIGMOID);
}

static const struct slot_name hf_names[] = {
    { SLOT_ROUTER, "model.layers.%u.block_sparse_moe.gate.weight" },
    { SLOT_ROUTER_CHOICE_B, "model.layers.%u.block_sparse_moe.e_score_correction_bias" },
    { SLOT_EXPERT_GATE, "model.layers.%u.block_sparse_moe.experts.%x.w1.weight" },
    { SLOT_EXPERT_UP, "model.layers.%u.block_sparse_moe.experts.%x.w3.weight" },
    { SLOT_EXPERT_DOWN, "model.layers.%u.block_sparse_moe.experts.%x.w2.weight" },
    { 0, NULL },
};
static const char *const hf_classes[] = { "minimax_m2", NULL };

const struct arch arch_minimax_m2 = {
    .name = "minimax-m2",
    .hf_classes = hf_classes,
    .gguf_pairing = ROPE_HALVES,
    .hf_pairing = ROPE_HALVES,
    .traits = { .qk_norm = QK_NORM_ROW, .pick_score = SCORE_SIGMOID, .weigh_score = SCORE_SIGMOID,
                .choice_bias = true, .expert_norm = true },
    .read_hf = read_hf,
    .write_gguf = write_gguf,
    .hf_names = hf_names,
    .block = build_block,
};
