/* gpt-oss: every other block windowed, a sink for each head, biases everywhere, experts whose gate and up columns
 * alternate in one transposed tensor of Hugging Face files. */
#include "model/build.h"

static enum err_code read_hf(const struct hf_config *c, struct hparams *hp, struct err *e) {
    bool found;
    hp->attn_bias = true;
    TRY(hf_config_bool(c, "attention_bias", &hp->attn_bias, &found, e));
    hp->attn_out_bias = hp->attn_bias;
    TRY(hf_config_f32(c, "swiglu_alpha", &hp->glu_alpha, &found, e));
    return hf_config_f32(c, "swiglu_limit", &hp->glu_limit, &found, e);
}

static void hf_map(const struct hparams *hp, enum slot s, const uint64_t *ne, struct source_map *map) {
    (void)hp;
    switch (s) {
    case SLOT_EXPERT_GATE:
    case SLOT_EXPERT_UP:
        *map = (struct source_map){ .row_i = 1, .row_x = ne[0], .col0 = s == SLOT_EXPERT_UP, .col_r = 2 };
        break;
    case SLOT_EXPERT_DOWN: *map = (struct source_map){ .row_i = 1, .row_x = ne[0], .col_r = 1 }; break;
    case SLOT_EXPERT_GATE_B:
    case SLOT_EXPERT_UP_B:
        *map = (struct source_map){ .row_r = 1, .col0 = s == SLOT_EXPERT_UP_B, .col_i = 2 };
        break;
    default: break;
    }
}

static const struct slot_name hf_names[] = {
    { SLOT_ROUTER, "model.layers.%u.mlp.router.weight" },
    { SLOT_ROUTER_B, "model.layers.%u.mlp.router.bias" },
    { SLOT_EXPERT_GATE, "model.layers.%u.mlp.experts.gate_up_proj" },
    { SLOT_EXPERT_GATE_B, "model.layers.%u.mlp.experts.gate_up_proj_bias" },
    { SLOT_EXPERT_UP, "model.layers.%u.mlp.experts.gate_up_proj" },
    { SLOT_EXPERT_UP_B, "model.layers.%u.mlp.experts.gate_up_proj_bias" },
    { SLOT_EXPERT_DOWN, "model.layers.%u.mlp.experts.down_proj" },
    { SLOT_EXPERT_DOWN_B, "model.layers.%u.mlp.experts.down_proj_bias" },
    { 0, NULL },
};
static const struct slot_name gguf_names[] = {
    { SLOT_FFN_NORM, "blk.%u.post_attention_norm.weight" },
    { 0, NULL },
};
static const char *const hf_classes[] = { "gpt_oss", NULL };

const struct arch arch_gpt_oss = {
    .name = "gpt-oss",
    .hf_classes = hf_classes,
    .gguf_pairing = ROPE_HALVES,
    .hf_pairing = ROPE_HALVES,
    .traits = { .act = GLU_OAI, .sinks = true, .window_period = 2, .router_bias = true, .expert_bias = true,
                .pick_score = SCORE_LOGIT, .weigh_score = SCORE_SOFTMAX_CHOSEN, .yarn_fractional = true },
    .read_hf = read_hf,
    .hf_names = hf_names,
    .gguf_names = gguf_names,
    .hf_map = hf_map,
    .block = build_block,
};
