/* Graphs of models: embedding, blocks and head apart, so that a quantizer can run one block alone. What a block does is
 * its family's (arch_X.c); the steps that families share are here. */
#include "model/build.h"

#include <math.h>

tensor_id build_weight(struct build *b, enum slot s, uint32_t layer) {
    return model_weight(b->m, s, layer) ? b->weight(b->user, b->g, s, layer) : NO_TENSOR;
}

tensor_id build_norm(struct build *b, enum slot s, uint32_t layer, tensor_id x) {
    const struct norm_desc d = { .kind = NORM_RMS, .eps = b->m->hp.norm_eps };
    return graph_norm(b->g, x, build_weight(b, s, layer), NO_TENSOR, &d);
}

tensor_id build_linear(struct build *b, enum slot s, enum slot bias, uint32_t layer, tensor_id x) {
    if (b->tap) b->tap(b->user, s, layer, x);
    return graph_matmul(b->g, build_weight(b, s, layer), x, build_weight(b, bias, layer));
}

tensor_id build_rope(struct build *b, tensor_id x) {
    const struct hparams *hp = &b->m->hp;
    const struct rope_desc d = { .head_dim = hp->head_dim, .n_rot = hp->rope.n_rot, .pairing = hp->rope.pairing,
                                 .magnitude = hp->rope.attn_factor };
    return graph_rope(b->g, x, b->pos, b->inv_freq, &d);
}

tensor_id build_attention(struct build *b, tensor_id q, tensor_id k, tensor_id v) {
    const struct hparams *hp = &b->m->hp;
    const struct attn_src src = { .q = q, .k = graph_kv_store(b->g, b->k_cache, k, b->cells),
                                  .v = graph_kv_store(b->g, b->v_cache, v, b->cells),
                                  .pos = b->pos, .seq = b->seq, .pages = b->pages, .sinks = NO_TENSOR };
    const struct attn_desc d = { .head_dim = hp->head_dim, .page = b->page, .window = hp->window,
                                 .scale = 1 / sqrtf((float)hp->head_dim) };
    return graph_attention(b->g, &src, &d);
}

tensor_id model_build_embed(struct build *b, tensor_id ids) {
    return graph_get_rows(b->g, build_weight(b, SLOT_TOKEN_EMBD, 0), ids, 1);
}

tensor_id model_build_block(struct build *b, uint32_t layer, tensor_id x) {
    return b->m->hp.arch->block(b, layer, x);
}

tensor_id model_build_head(struct build *b, tensor_id x) {
    enum slot head = b->m->hp.tied ? SLOT_TOKEN_EMBD : SLOT_OUTPUT;
    x = build_norm(b, SLOT_OUTPUT_NORM, 0, x);
    if (b->tap) b->tap(b->user, head, 0, x);
    return graph_matmul(b->g, build_weight(b, head, 0), x, NO_TENSOR);
}
