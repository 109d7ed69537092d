/* Feed-forward: dense, or a few of many experts a token, with or without an expert that every token has. */
#include "model/build.h"

static struct glu_desc glu_of(const struct hparams *hp) {
    return (struct glu_desc){ .kind = hp->t.act, .alpha = hp->glu_alpha, .limit = hp->glu_limit };
}

/* The slots of a feed-forward. */
struct ffn { enum slot gate, gate_b, up, up_b, down, down_b; };

static tensor_id dense(struct build *b, const struct ffn *f, uint32_t layer, tensor_id x) {
    const struct hparams *hp = &b->m->hp;
    const struct glu_desc d = glu_of(hp);
    tensor_id gate = NO_TENSOR, up;
    if (hp->t.fused_gate_up && f->up == SLOT_FFN_UP) {
        tensor_id both = build_linear(b, f->up, f->up_b, layer, x);
        gate = build_slice(b, both, 2 * hp->n_ff, 0, hp->n_ff);
        up = build_slice(b, both, 2 * hp->n_ff, hp->n_ff, hp->n_ff);
    } else {
        if (!hp->t.ungated) gate = build_linear(b, f->gate, f->gate_b, layer, x);
        up = build_linear(b, f->up, f->up_b, layer, x);
    }
    tensor_id h = hp->t.ungated ? graph_glu(b->g, up, NO_TENSOR, &d) : graph_glu(b->g, gate, up, &d);
    return build_linear(b, f->down, f->down_b, layer, h);
}

struct routing { tensor_id ids, weights; };

static struct routing route(struct build *b, uint32_t layer, tensor_id x) {
    const struct hparams *hp = &b->m->hp;
    tensor_id logits = graph_matmul(b->g, build_weight(b, SLOT_ROUTER, layer), x,
                                    build_weight(b, SLOT_ROUTER_B, layer));
    const struct pick_desc pick = { .n_used = hp->n_expert_used, .score = hp->t.pick_score,
                                    .n_group = hp->n_expert_group, .n_group_used = hp->n_expert_group_used,
                                    .group_best = hp->t.group_best };
    const struct weigh_desc weigh = { .score = hp->t.weigh_score, .normalize = hp->expert_norm,
                                      .scale = hp->expert_scale };
    tensor_id ids = graph_pick_experts(b->g, logits, build_weight(b, SLOT_ROUTER_CHOICE_B, layer), &pick);
    return (struct routing){ ids, graph_weigh_experts(b->g, logits, ids, &weigh) };
}

static tensor_id routed(struct build *b, uint32_t layer, tensor_id x) {
    const struct hparams *hp = &b->m->hp;
    const struct glu_desc d = glu_of(hp);
    const struct routing r = route(b, layer, x);
    tensor_id gate = build_stack(b, layer, &(struct stack_desc){ SLOT_EXPERT_GATE, SLOT_EXPERT_GATE_B, x, r.ids });
    tensor_id up = build_stack(b, layer, &(struct stack_desc){ SLOT_EXPERT_UP, SLOT_EXPERT_UP_B, x, r.ids });
    tensor_id h = graph_glu(b->g, gate, up, &d);
    h = build_stack(b, layer, &(struct stack_desc){ SLOT_EXPERT_DOWN, SLOT_EXPERT_DOWN_B, h, r.ids });
    return graph_sum_experts(b->g, h, r.weights);
}

static tensor_id shared(struct build *b, uint32_t layer, tensor_id x) {
    static const struct ffn slots = { SLOT_SHARED_GATE, SLOT_COUNT, SLOT_SHARED_UP, SLOT_COUNT, SLOT_SHARED_DOWN,
                                      SLOT_COUNT };
    tensor_id h = dense(b, &slots, layer, x), gate = build_weight(b, SLOT_SHARED_GATE_INP, layer);
    return gate == NO_TENSOR ? h : graph_gate_rows(b->g, h, graph_matmul(b->g, gate, x, NO_TENSOR));
}

tensor_id build_ffn(struct build *b, uint32_t layer, tensor_id x) {
    static const struct ffn slots = { SLOT_FFN_GATE, SLOT_FFN_GATE_B, SLOT_FFN_UP, SLOT_FFN_UP_B, SLOT_FFN_DOWN,
                                      SLOT_FFN_DOWN_B };
    const struct hparams *hp = &b->m->hp;
    if (!layer_set_has(&hp->moe, layer)) return dense(b, &slots, layer, x);
    tensor_id h = routed(b, layer, x);
    return hp->n_ff_shared ? graph_add(b->g, h, shared(b, layer, x), 1) : h;
}
