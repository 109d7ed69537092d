/* Whole blocks, as most families have them: attention and feed-forward one after the other, or side by side. */
#include "model/build.h"

static tensor_id attention(struct build *b, uint32_t layer, tensor_id x) {
    return b->m->hp.kv_lora ? build_latent_attn(b, layer, x) : build_attn(b, layer, x);
}

tensor_id build_block(struct build *b, uint32_t layer, tensor_id x) {
    tensor_id h = attention(b, layer, build_norm(b, SLOT_ATTN_NORM, SLOT_ATTN_NORM_B, layer, x));
    x = build_residual(b, x, build_norm(b, SLOT_ATTN_POST_NORM, SLOT_COUNT, layer, h));
    h = build_ffn(b, layer, build_norm(b, SLOT_FFN_NORM, SLOT_FFN_NORM_B, layer, x));
    return build_residual(b, x, build_norm(b, SLOT_FFN_POST_NORM, SLOT_COUNT, layer, h));
}

tensor_id build_parallel_block(struct build *b, uint32_t layer, tensor_id x) {
    tensor_id h = build_norm(b, SLOT_ATTN_NORM, SLOT_ATTN_NORM_B, layer, x);
    tensor_id own = build_norm(b, SLOT_FFN_NORM, SLOT_FFN_NORM_B, layer, x);
    tensor_id ffn = build_ffn(b, layer, own == x ? h : own);
    x = build_residual(b, x, attention(b, layer, h));
    return build_residual(b, x, ffn);
}
