/* Granite 3 with experts: factors on embeddings, residuals, scores and logits; the chosen logits alone make the weights
 * of experts. Hugging Face files keep the experts of a block in two tensors, gates before ups. */
#include "model/build.h"

static void hf_map(const struct hparams *hp, enum slot s, const uint64_t *ne, struct source_map *map) {
    (void)hp;
    if (s != SLOT_EXPERT_GATE && s != SLOT_EXPERT_UP) return;
    map->row_x = 2 * ne[1];
    map->row0 = s == SLOT_EXPERT_UP ? ne[1] : 0;
}

static const struct slot_name hf_names[] = {
    { SLOT_ROUTER, "model.layers.%u.block_sparse_moe.router.layer.weight" },
    { SLOT_EXPERT_GATE, "model.layers.%u.block_sparse_moe.input_linear.weight" },
    { SLOT_EXPERT_UP, "model.layers.%u.block_sparse_moe.input_linear.weight" },
    { SLOT_EXPERT_DOWN, "model.layers.%u.block_sparse_moe.output_linear.weight" },
    { 0, NULL },
};
static const char *const hf_classes[] = { "granitemoe", NULL };

const struct arch arch_granitemoe = {
    .name = "granitemoe",
    .hf_classes = hf_classes,
    .permute_qk = true,
    .gguf_pairing = ROPE_NEIGHBOURS,
    .hf_pairing = ROPE_HALVES,
    .traits = { .logits_divided = true, .pick_score = SCORE_LOGIT, .weigh_score = SCORE_SOFTMAX_CHOSEN },
    .hf_names = hf_names,
    .hf_map = hf_map,
    .block = build_block,
};
