/* Graphs of models: embedding, blocks and head apart, so that a quantizer can run one block alone. Which block a model
 * has is its family's (arch_X.c); here are the steps that all of them are made of. */
#include "model/build.h"

#include <math.h>

tensor_id build_weight(struct build *b, enum slot s, uint32_t layer) {
    return model_weight(b->m, s, layer) ? b->weight(b->user, b->g, s, layer) : NO_TENSOR;
}

tensor_id build_norm(struct build *b, enum slot s, enum slot bias, uint32_t layer, tensor_id x) {
    const struct hparams *hp = &b->m->hp;
    tensor_id w = build_weight(b, s, layer);
    const struct norm_desc d = { .kind = hp->t.norm, .eps = hp->norm_eps };
    return w == NO_TENSOR ? x : graph_norm(b->g, x, w, build_weight(b, bias, layer), &d);
}

tensor_id build_linear(struct build *b, enum slot s, enum slot bias, uint32_t layer, tensor_id x) {
    if (b->tap) b->tap(b->user, s, layer, x);
    return graph_matmul(b->g, build_weight(b, s, layer), x, build_weight(b, bias, layer));
}

tensor_id build_stack(struct build *b, uint32_t layer, const struct stack_desc *d) {
    if (b->tap_stack) b->tap_stack(b->user, d->s, layer, d->x, d->ids);
    return graph_matmul_id(b->g, build_weight(b, d->s, layer), d->x, d->ids, build_weight(b, d->bias, layer));
}

tensor_id build_residual(struct build *b, tensor_id x, tensor_id branch) {
    return graph_add(b->g, x, branch, b->m->hp.residual_scale);
}

tensor_id model_build_embed(struct build *b, tensor_id ids) {
    const struct hparams *hp = &b->m->hp;
    float scale = hp->t.embd_sqrt ? sqrtf((float)hp->n_embd) : hp->embd_scale;
    return graph_get_rows(b->g, build_weight(b, SLOT_TOKEN_EMBD, 0), ids, scale);
}

tensor_id model_build_block(struct build *b, uint32_t layer, tensor_id x) {
    return b->m->hp.arch->block(b, layer, x);
}

tensor_id model_build_head(struct build *b, tensor_id x) {
    const struct hparams *hp = &b->m->hp;
    float scale = hp->t.logits_divided ? 1 / hp->logit_scale : hp->logit_scale;
    x = build_norm(b, SLOT_OUTPUT_NORM, SLOT_OUTPUT_NORM_B, 0, x);
    x = build_linear(b, hp->tied ? SLOT_TOKEN_EMBD : SLOT_OUTPUT, SLOT_COUNT, 0, x);
    return scale == 1 && hp->final_softcap == 0 ? x : graph_scale(b->g, x, scale, hp->final_softcap);
}
