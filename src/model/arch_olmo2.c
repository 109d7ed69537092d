/* OLMo 2 and 3: norms behind attention and feed-forward alone, and over all heads of q and of k together. In OLMo 3
 * three of four blocks have a window, and the others alone turn by scaled angles. */
#include "model/build.h"
#include "model/hparams_keys.h"

static const char *const hf_classes[] = { "olmo2", "olmo3", NULL };

const struct arch arch_olmo2 = {
    .name = "olmo2",
    .hf_classes = hf_classes,
    .gguf_pairing = ROPE_HALVES,
    .hf_pairing = ROPE_HALVES,
    .traits = { .no_pre_norm = true, .post_norm = true, .qk_norm = QK_NORM_ROW, .local_rope = true,
                .window_period = 4 },
    .read_hf = hparams_hf_biases,
    .block = build_block,
};
