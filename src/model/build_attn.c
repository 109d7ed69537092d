/* Attention with a key and a value for every head, or shared by groups of heads. */
#include "model/build.h"

#include <math.h>

struct qkv { tensor_id q, k, v; };

static struct qkv project(struct build *b, uint32_t layer, tensor_id x) {
    const struct hparams *hp = &b->m->hp;
    struct qkv p;
    if (hp->t.fused_qkv) {
        uint32_t q = hp->n_head * hp->head_dim, k = hp->n_head_kv * hp->head_dim, v = hp->n_head_kv * hp->head_dim_v;
        tensor_id all = build_linear(b, SLOT_ATTN_QKV, SLOT_COUNT, layer, x);
        p.q = build_slice(b, all, q + k + v, 0, q);
        p.k = build_slice(b, all, q + k + v, q, k);
        p.v = build_slice(b, all, q + k + v, q + k, v);
    } else {
        p.q = build_linear(b, SLOT_ATTN_Q, SLOT_ATTN_Q_B, layer, x);
        p.k = build_linear(b, SLOT_ATTN_K, SLOT_ATTN_K_B, layer, x);
        p.v = build_linear(b, SLOT_ATTN_V, SLOT_ATTN_V_B, layer, x);
    }
    return p;
}

static tensor_id norm_heads(struct build *b, enum slot s, uint32_t layer, tensor_id x) {
    const struct hparams *hp = &b->m->hp;
    const struct norm_desc d = { .kind = hp->t.norm, .eps = hp->norm_eps,
                                 .group = hp->t.qk_norm == QK_NORM_ROW ? 0 : hp->head_dim };
    return hp->t.qk_norm == QK_NORM_NONE ? x : graph_norm(b->g, x, build_weight(b, s, layer), NO_TENSOR, &d);
}

/* Norm and rotation of queries or keys, in the family's order. */
static tensor_id turn(struct build *b, enum slot norm, uint32_t layer, tensor_id x) {
    const struct hparams *hp = &b->m->hp;
    if (!hp->t.qk_norm_after_rope) return build_rope(b, layer, norm_heads(b, norm, layer, x), hp->head_dim);
    return norm_heads(b, norm, layer, build_rope(b, layer, x, hp->head_dim));
}

tensor_id build_rope(struct build *b, uint32_t layer, tensor_id x, uint32_t head_dim) {
    const struct hparams *hp = &b->m->hp;
    if (layer_set_has(&hp->no_rope, layer)) return x;
    bool local = hp->has_local_rope && layer_set_has(&hp->windowed, layer);
    const struct rope_params *r = local ? &hp->rope_local : &hp->rope;
    const struct rope_desc d = { .head_dim = head_dim, .n_rot = r->n_rot, .pairing = r->pairing,
                                 .magnitude = r->attn_factor };
    return graph_rope(b->g, x, b->pos, local ? b->inv_freq_local : b->inv_freq, &d);
}

struct attn_desc build_attn_desc(const struct build *b, uint32_t layer) {
    const struct hparams *hp = &b->m->hp;
    return (struct attn_desc){
        .head_dim = hp->head_dim, .head_dim_v = hp->head_dim_v, .page = b->page,
        .window = layer_set_has(&hp->windowed, layer) ? hp->window : 0,
        .scale = hp->attn_scale != 0 ? hp->attn_scale : 1 / sqrtf((float)hp->head_dim),
        .softcap = hp->attn_softcap, .temp_beta = hp->temp_beta, .temp_span = hp->temp_span,
    };
}

tensor_id build_attn(struct build *b, uint32_t layer, tensor_id x) {
    struct qkv p = project(b, layer, x);
    p.q = turn(b, SLOT_ATTN_Q_NORM, layer, p.q);
    p.k = turn(b, SLOT_ATTN_K_NORM, layer, p.k);
    tensor_id k = graph_kv_store(b->g, b->k_cache, p.k, b->cells), v = graph_kv_store(b->g, b->v_cache, p.v, b->cells);
    const struct attn_src src = { .q = p.q, .k = k, .v = v, .pos = b->pos, .seq = b->seq, .pages = b->pages,
                                  .sinks = build_weight(b, SLOT_ATTN_SINKS, layer) };
    const struct attn_desc d = build_attn_desc(b, layer);
    return build_linear(b, SLOT_ATTN_OUT, SLOT_ATTN_OUT_B, layer, graph_attention(b->g, &src, &d));
}
