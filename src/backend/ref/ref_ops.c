/* Every operation in its plainest form: loops over the shapes of graph.h, float sums from the first index to the last.
 *
 * This is what the other devices are tested against, so nothing here is clever. Indices among the inputs (ids, cells,
 * positions, sequences, pages) are the runtime's promise; asserts state it. */
#include "backend/ref/ref_ops.h"
#include <assert.h>
#include <math.h>
#include "base/num.h"

/* scores of one head over all positions, one row of a cache */
static uint64_t attention_scratch(const struct graph *g, const struct op *op) {
    const struct tensor *pages = graph_tensor(g, op->src[5]); // (n_pages, n_seq)
    uint64_t n;
    if (!mul_u64(pages->ne[0], op->attn.page, &n) || !add_u64(n, op->attn.head_dim, &n)) return UINT64_MAX;
    return n;
}

uint64_t ref_op_scratch(const struct graph *g, const struct op *op) {
    switch (op->kind) {
    case OP_MATMUL: return graph_tensor(g, op->src[0])->ne[0]; // one decoded row of w
    case OP_ATTENTION: return attention_scratch(g, op);
    default: return 0;
    }
}

/* Row r of a stored table or matrix. */
static const uint8_t *stored_row(const struct program *p, const struct op *op, uint64_t r) {
    return p->at[op->src[0]] + r * tensor_row_bytes(src_tensor(p, op, 0));
}

static void get_rows(const struct program *p, const struct op *op) {
    const struct tensor *table = src_tensor(p, op, 0); // (n, n_rows)
    const int32_t *ids = src_i32(p, op, 1);            // (m)
    const struct qtype_info *type = qtype_info(table->type);
    const uint64_t n = table->ne[0], m = src_tensor(p, op, 1)->ne[0];
    for (uint64_t i = 0; i < m; i++) {
        assert(ids[i] >= 0 && (uint64_t)ids[i] < tensor_rows(table));
        float *out = dst_f32(p, op) + i * n;
        type->decode(stored_row(p, op, (uint64_t)ids[i]), out, n);
        for (uint64_t j = 0; j < n; j++) out[j] *= op->get_rows.scale;
    }
}

static void rms_norm(const struct program *p, const struct op *op) {
    const struct tensor *t = src_tensor(p, op, 0); // (n, ...)
    const float *w = src_f32(p, op, 1);            // (n)
    const uint64_t n = t->ne[0], rows = tensor_rows(t);
    for (uint64_t r = 0; r < rows; r++) {
        const float *x = src_f32(p, op, 0) + r * n;
        float *out = dst_f32(p, op) + r * n;
        float sum = 0;
        for (uint64_t i = 0; i < n; i++) sum += x[i] * x[i];
        const float inv = 1.0f / sqrtf(sum / (float)n + op->norm.eps);
        for (uint64_t i = 0; i < n; i++) out[i] = x[i] * inv * w[i];
    }
}

static void matmul(const struct program *p, const struct op *op, float *row) {
    const struct tensor *w = src_tensor(p, op, 0); // (n_in, n_out)
    const uint64_t n_in = w->ne[0], n_out = tensor_rows(w), n_tok = tensor_rows(src_tensor(p, op, 1));
    const struct qtype_info *type = qtype_info(w->type);
    const float *bias = op->src[2] == NO_TENSOR ? NULL : src_f32(p, op, 2);
    for (uint64_t o = 0; o < n_out; o++) {
        type->decode(stored_row(p, op, o), row, n_in);
        for (uint64_t t = 0; t < n_tok; t++) {
            const float *x = src_f32(p, op, 1) + t * n_in;
            float sum = 0;
            for (uint64_t i = 0; i < n_in; i++) sum += row[i] * x[i];
            dst_f32(p, op)[t * n_out + o] = bias ? sum + bias[o] : sum;
        }
    }
}

static uint64_t n_numbers(const struct tensor *t) { return t->ne[0] * tensor_rows(t); }

static void add(const struct program *p, const struct op *op) {
    const float *a = src_f32(p, op, 0), *b = src_f32(p, op, 1);
    const uint64_t n = n_numbers(src_tensor(p, op, 0));
    for (uint64_t i = 0; i < n; i++) dst_f32(p, op)[i] = a[i] + b[i];
}

static float silu(float x) { return x / (1.0f + expf(-x)); }

static void glu(const struct program *p, const struct op *op) {
    const float *gate = src_f32(p, op, 0), *up = src_f32(p, op, 1);
    const uint64_t n = n_numbers(src_tensor(p, op, 0));
    assert(op->glu.kind == GLU_SILU);
    for (uint64_t i = 0; i < n; i++) dst_f32(p, op)[i] = silu(gate[i]) * up[i];
}

/* One head: pair i of the first n_rot numbers turns by pos * inv_freq[i]. */
static void rope_head(const struct rope_desc *d, const float *x, float pos, const float *inv_freq, float *out) {
    const uint32_t half = d->n_rot / 2;
    for (uint32_t i = 0; i < half; i++) {
        const uint32_t a = d->pairing == ROPE_HALVES ? i : 2 * i, b = d->pairing == ROPE_HALVES ? i + half : 2 * i + 1;
        const float angle = pos * inv_freq[i], c = cosf(angle) * d->magnitude, s = sinf(angle) * d->magnitude;
        const float xa = x[a], xb = x[b];
        out[a] = xa * c - xb * s;
        out[b] = xa * s + xb * c;
    }
    for (uint32_t i = d->n_rot; i < d->head_dim; i++) out[i] = x[i];
}

static void rope(const struct program *p, const struct op *op) {
    const struct tensor *t = src_tensor(p, op, 0); // (head_dim * n_head, n_tok)
    const int32_t *pos = src_i32(p, op, 1);        // (n_tok)
    const uint64_t n = t->ne[0], n_tok = tensor_rows(t);
    for (uint64_t i = 0; i < n_tok; i++)
        for (uint64_t h = 0; h < n; h += op->rope.head_dim)
            rope_head(&op->rope, src_f32(p, op, 0) + i * n + h, (float)pos[i], src_f32(p, op, 2),
                      dst_f32(p, op) + i * n + h);
}

static void kv_store(const struct program *p, const struct op *op) {
    const struct tensor *cache = src_tensor(p, op, 0); // (n, n_cells)
    const float *x = src_f32(p, op, 1);                // (n, n_tok)
    const int32_t *cells = src_i32(p, op, 2);          // (n_tok)
    const uint64_t n = cache->ne[0], n_tok = src_tensor(p, op, 2)->ne[0];
    const struct qtype_info *type = qtype_info(cache->type);
    for (uint64_t t = 0; t < n_tok; t++) {
        assert(cells[t] >= 0 && (uint64_t)cells[t] < tensor_rows(cache));
        type->encode(x + t * n, p->at[op->src[0]] + (uint64_t)cells[t] * tensor_row_bytes(cache), n);
    }
}

/* One head of the caches as one sequence sees them. */
struct cache_view {
    const struct program *p;
    const struct op *op;
    const int32_t *pages; // (n_pages)
    uint64_t kv_head;
};

/* The head's part of K (src 1) or V (src 2) at a position. */
static void read_cache(const struct cache_view *c, unsigned src, uint64_t position, float *out) {
    const struct tensor *t = src_tensor(c->p, c->op, src);
    const struct attn_desc *d = &c->op->attn;
    const uint64_t cell = (uint64_t)c->pages[position / d->page] * d->page + position % d->page;
    assert(c->pages[position / d->page] >= 0 && cell < tensor_rows(t));
    const uint64_t number = cell * t->ne[0] + c->kv_head * d->head_dim, size = tensor_row_bytes(t) / t->ne[0];
    qtype_info(t->type)->decode(c->p->at[c->op->src[src]] + number * size, out, d->head_dim);
}

static float score(const struct attn_desc *d, const float *q, const float *k) {
    float dot = 0;
    for (uint32_t i = 0; i < d->head_dim; i++) dot += q[i] * k[i];
    dot *= d->scale;
    return d->softcap > 0 ? d->softcap * tanhf(dot / d->softcap) : dot;
}

/* One token and head, positions first .. pos. A token before the start (pos < 0) sees nothing and gets zeros. */
static void attend(const struct cache_view *c, const float *q, int64_t pos, float *out, float *scratch) {
    const struct attn_desc *d = &c->op->attn;
    const int64_t first = d->window && pos >= d->window ? pos - d->window + 1 : 0;
    float *row = scratch, *weights = scratch + d->head_dim; // (head_dim), (pos - first + 1)
    float max = -INFINITY, sum = 0;
    for (uint32_t i = 0; i < d->head_dim; i++) out[i] = 0;
    for (int64_t s = first; s <= pos; s++) {
        read_cache(c, 1, (uint64_t)s, row);
        weights[s - first] = score(d, q, row);
        max = fmaxf(max, weights[s - first]);
    }
    for (int64_t s = first; s <= pos; s++) {
        weights[s - first] = expf(weights[s - first] - max);
        sum += weights[s - first];
    }
    for (int64_t s = first; s <= pos; s++) {
        read_cache(c, 2, (uint64_t)s, row);
        for (uint32_t i = 0; i < d->head_dim; i++) out[i] += weights[s - first] / sum * row[i];
    }
}

static void attention(const struct program *p, const struct op *op, float *scratch) {
    const struct tensor *q = src_tensor(p, op, 0);     // (head_dim * n_head, n_tok)
    const struct tensor *pages = src_tensor(p, op, 5); // (n_pages, n_seq)
    const int32_t *pos = src_i32(p, op, 3), *seq = src_i32(p, op, 4); // (n_tok)
    const uint64_t n = q->ne[0], dim = op->attn.head_dim, group = n / src_tensor(p, op, 1)->ne[0];
    for (uint64_t t = 0; t < tensor_rows(q); t++) {
        assert(seq[t] >= 0 && (uint64_t)seq[t] < tensor_rows(pages));
        assert(pos[t] < 0 || (uint64_t)pos[t] / op->attn.page < pages->ne[0]);
        const int32_t *row = src_i32(p, op, 5) + (uint64_t)seq[t] * pages->ne[0];
        for (uint64_t h = 0; h < n / dim; h++) {
            const struct cache_view c = { p, op, row, h / group };
            attend(&c, src_f32(p, op, 0) + t * n + h * dim, pos[t], dst_f32(p, op) + t * n + h * dim, scratch);
        }
    }
}

void ref_op_run(const struct program *p, const struct op *op, float *scratch) {
    switch (op->kind) {
    case OP_GET_ROWS: get_rows(p, op); break;
    case OP_RMS_NORM: rms_norm(p, op); break;
    case OP_MATMUL: matmul(p, op, scratch); break;
    case OP_ADD: add(p, op); break;
    case OP_GLU: glu(p, op); break;
    case OP_ROPE: rope(p, op); break;
    case OP_KV_STORE: kv_store(p, op); break;
    case OP_ATTENTION: attention(p, op, scratch); break;
    case OP_KINDS: break;
    }
}
