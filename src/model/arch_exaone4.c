/* EXAONE 4: norms behind attention and feed-forward alone, and of each head of q and k. The 32B model has windows in
 * three of four blocks, and does not turn in the fourth. */
#include "model/build.h"

static const char *const hf_classes[] = { "exaone4", NULL };

const struct arch arch_exaone4 = {
    .name = "exaone4",
    .hf_classes = hf_classes,
    .gguf_pairing = ROPE_HALVES,
    .hf_pairing = ROPE_HALVES,
    .traits = { .no_pre_norm = true, .post_norm = true, .qk_norm = QK_NORM_HEAD, .global_no_rope = true,
                .window_period = 4 },
    .block = build_block,
};
