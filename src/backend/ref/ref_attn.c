/* Attention in its plainest form: every score of a head, their softmax, the weighted sum. */
#include <assert.h>
#include <math.h>
#include "backend/ref/ref_ops.h"
#include "base/num.h"

/* Numbers of the larger of a key and a value. */
static uint64_t row_size(const struct attn_desc *d) { return max_u64(d->head_dim, d->head_dim_v); }

/* scores of one head over all positions, one row of a cache */
uint64_t ref_attention_scratch(const struct graph *g, const struct op *op) {
    const struct tensor *pages = graph_tensor(g, op->src[5]); // (n_pages, n_seq)
    uint64_t n;
    if (!mul_u64(pages->ne[0], op->attn.page, &n) || !add_u64(n, row_size(&op->attn), &n)) return UINT64_MAX;
    return n;
}

/* One head of the caches as one sequence sees them. */
struct cache_view {
    const struct program *p;
    const struct op *op;
    const int32_t *pages; // (n_pages)
    uint64_t kv_head;
};

/* The head's part of K (src 1) or V (src 2) at a position: its first n numbers. */
static void read_cache(const struct cache_view *c, unsigned src, uint64_t position, float *out, uint32_t n) {
    const struct tensor *t = src_tensor(c->p, c->op, src);
    const struct attn_desc *d = &c->op->attn;
    const uint64_t n_head_kv = src_tensor(c->p, c->op, 1)->ne[0] / d->head_dim;
    const uint64_t cell = (uint64_t)c->pages[position / d->page] * d->page + position % d->page;
    assert(c->pages[position / d->page] >= 0 && cell < tensor_rows(t));
    const uint64_t number = cell * t->ne[0] + c->kv_head * (t->ne[0] / n_head_kv);
    const struct qtype_info *type = qtype_info(t->type); /* a head is whole blocks */
    type->decode(c->p->at[c->op->src[src]] + number / type->block_weights * type->block_bytes, out, n);
}

/* What the scores of a token at pos are multiplied with. */
static float score_scale(const struct attn_desc *d, int64_t pos) {
    if (d->temp_beta == 0) return d->scale;
    int64_t spans = (pos + d->temp_offset) / d->temp_span; /* whole ones */
    return d->scale * (1 + d->temp_beta * logf(1 + (float)spans));
}

static float score(const struct attn_desc *d, const float *q, const float *k, float scale) {
    float dot = 0;
    for (uint32_t i = 0; i < d->head_dim; i++) dot += q[i] * k[i];
    dot *= scale;
    return d->softcap > 0 ? d->softcap * tanhf(dot / d->softcap) : dot;
}

/* One token and head, positions first .. pos. A token before the start (pos < 0) sees nothing and gets zeros. sink: the
 * head's, -INFINITY for none. */
static void attend(const struct cache_view *c, const float *q, int64_t pos, float sink, float *out, float *scratch) {
    const struct attn_desc *d = &c->op->attn;
    const int64_t first = d->window && pos >= d->window ? pos - d->window + 1 : 0;
    float *row = scratch, *weights = scratch + row_size(d); // (row_size), (pos - first + 1)
    float max = sink, sum = 0;
    for (uint32_t i = 0; i < d->head_dim_v; i++) out[i] = 0;
    if (pos < 0) return;
    for (int64_t s = first; s <= pos; s++) {
        read_cache(c, 1, (uint64_t)s, row, d->head_dim);
        weights[s - first] = score(d, q, row, score_scale(d, pos));
        max = fmaxf(max, weights[s - first]);
    }
    for (int64_t s = first; s <= pos; s++) {
        weights[s - first] = expf(weights[s - first] - max);
        sum += weights[s - first];
    }
    sum += expf(sink - max);
    for (int64_t s = first; s <= pos; s++) {
        read_cache(c, 2, (uint64_t)s, row, d->head_dim_v);
        for (uint32_t i = 0; i < d->head_dim_v; i++) out[i] += weights[s - first] / sum * row[i];
    }
}

void ref_attention(const struct program *p, const struct op *op, float *scratch) {
    const struct tensor *q = src_tensor(p, op, 0);     // (head_dim * n_head, n_tok)
    const struct tensor *pages = src_tensor(p, op, 5); // (n_pages, n_seq)
    const int32_t *pos = src_i32(p, op, 3), *seq = src_i32(p, op, 4); // (n_tok)
    const float *sinks = op->src[6] == NO_TENSOR ? NULL : src_f32(p, op, 6); // (n_head)
    const uint64_t dim = op->attn.head_dim, n_head = q->ne[0] / dim, group = q->ne[0] / src_tensor(p, op, 1)->ne[0];
    for (uint64_t t = 0; t < tensor_rows(q); t++) {
        assert(seq[t] >= 0 && (uint64_t)seq[t] < tensor_rows(pages));
        assert(pos[t] < 0 || (uint64_t)pos[t] / op->attn.page < pages->ne[0]);
        const int32_t *row = src_i32(p, op, 5) + (uint64_t)seq[t] * pages->ne[0];
        for (uint64_t h = 0; h < n_head; h++) {
            const struct cache_view c = { p, op, row, h / group };
            attend(&c, src_f32(p, op, 0) + (t * n_head + h) * dim, pos[t], sinks ? sinks[h] : -INFINITY,
                   dst_f32(p, op) + (t * n_head + h) * op->attn.head_dim_v, scratch);
        }
    }
}
