/* Multi-head latent attention (arXiv:2405.04434): a token leaves one short row in the cache, from which every head's
 * key and value would be a matrix product away.
 *
 * The products are not made. A head's key matrix goes to the other side of the dot product, onto the query, and its
 * value matrix is applied to what attention has mixed; so all heads attend to one shared row. Its first kv_lora numbers
 * serve as key and as value, the rest is a rotated key that heads share as it is. */
#include "model/build.h"

#include <math.h>

static tensor_id norm(struct build *b, enum slot s, uint32_t layer, tensor_id x) {
    return build_norm(b, s, SLOT_COUNT, layer, x);
}

/* (head_dim * n_head, n_tok): of each head the part that does not turn, then the part that does. */
static tensor_id queries(struct build *b, uint32_t layer, tensor_id x) {
    if (!b->m->hp.q_lora) return build_linear(b, SLOT_ATTN_Q, SLOT_COUNT, layer, x);
    tensor_id low = build_linear(b, SLOT_ATTN_Q_A, SLOT_COUNT, layer, x);
    return build_linear(b, SLOT_ATTN_Q_UP, SLOT_COUNT, layer, norm(b, SLOT_ATTN_Q_A_NORM, layer, low));
}

/* (kv_lora + n_rot, n_tok): what the cache keeps. */
static tensor_id latent_row(struct build *b, uint32_t layer, tensor_id x) {
    const struct hparams *hp = &b->m->hp;
    uint32_t rank = hp->kv_lora, rot = hp->rope.n_rot;
    tensor_id row = build_linear(b, SLOT_ATTN_KV_A, SLOT_COUNT, layer, x);
    tensor_id latent = norm(b, SLOT_ATTN_KV_A_NORM, layer, build_slice(b, row, rank + rot, 0, rank));
    tensor_id turned = build_rope(b, layer, build_slice(b, row, rank + rot, rank, rot), rot);
    return graph_concat(b->g, latent, turned, &(struct concat_desc){ rank, rot });
}

/* Queries that fit the rows of the cache: ((kv_lora + n_rot) * n_head, n_tok). */
static tensor_id latent_queries(struct build *b, uint32_t layer, tensor_id q) {
    const struct hparams *hp = &b->m->hp;
    uint32_t rot = hp->rope.n_rot, still = hp->head_dim - rot;
    struct stack_desc up = { SLOT_ATTN_K_UP, SLOT_COUNT, build_slice(b, q, hp->head_dim, 0, still), NO_TENSOR };
    tensor_id turned = build_rope(b, layer, build_slice(b, q, hp->head_dim, still, rot), rot);
    return graph_concat(b->g, build_stack(b, layer, &up), turned, &(struct concat_desc){ hp->kv_lora, rot });
}

tensor_id build_latent_attn(struct build *b, uint32_t layer, tensor_id x) {
    const struct hparams *hp = &b->m->hp;
    tensor_id q = latent_queries(b, layer, queries(b, layer, x));
    tensor_id cache = graph_kv_store(b->g, b->k_cache, latent_row(b, layer, x), b->cells);
    const struct attn_src src = { .q = q, .k = cache, .v = cache, .pos = b->pos, .seq = b->seq, .pages = b->pages,
                                  .sinks = NO_TENSOR };
    struct attn_desc d = build_attn_desc(b, layer);
    d.head_dim = hp->kv_lora + hp->rope.n_rot;
    d.head_dim_v = hp->kv_lora;
    struct stack_desc values = { SLOT_ATTN_V_UP, SLOT_COUNT, graph_attention(b->g, &src, &d), NO_TENSOR };
    return build_linear(b, SLOT_ATTN_OUT, SLOT_ATTN_OUT_B, layer, build_stack(b, layer, &values));
}
