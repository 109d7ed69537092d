/* Every operation in its plainest form: loops over the shapes of graph.h, float sums from the first index to the last.
 * Attention is in ref_attn.c.
 *
 * This is what the other devices are tested against, so nothing here is clever. Indices among the inputs (ids, cells,
 * positions, sequences, pages) are the runtime's promise; asserts state it. */
#include "backend/ref/ref_ops.h"
#include <assert.h>
#include <math.h>
#include "backend/experts.h"

uint64_t ref_op_scratch(const struct graph *g, const struct op *op) {
    switch (op->kind) {
    case OP_MATMUL:
    case OP_MATMUL_ID: return graph_tensor(g, op->src[0])->ne[0]; // one decoded row of w
    case OP_ATTENTION: return ref_attention_scratch(g, op);
    case OP_PICK_EXPERTS:
    case OP_WEIGH_EXPERTS: return EXPERTS_SCRATCH * graph_tensor(g, op->src[0])->ne[0];
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

/* Weights or bias (source i) of the group that begins at number k of a row: the same for all groups, or its own. */
static const float *norm_factors(const struct program *p, const struct op *op, unsigned i, uint64_t k) {
    if (op->src[i] == NO_TENSOR) return NULL;
    const struct tensor *w = src_tensor(p, op, i);
    return src_f32(p, op, i) + (tensor_numbers(w) == op->norm.group ? 0 : k);
}

static void norm_group(const struct norm_desc *d, const float *x, const float *w, const float *bias, float *out) {
    const uint32_t n = d->group;
    float mean = 0, squares = 0;
    for (uint32_t i = 0; i < n && d->kind == NORM_LAYER; i++) mean += x[i] / (float)n;
    for (uint32_t i = 0; i < n; i++) squares += (x[i] - mean) * (x[i] - mean);
    const float inv = 1.0f / sqrtf(squares / (float)n + d->eps);
    for (uint32_t i = 0; i < n; i++) out[i] = (x[i] - mean) * inv * (w ? w[i] : 1) + (bias ? bias[i] : 0);
}

static void norm(const struct program *p, const struct op *op) {
    const struct tensor *t = src_tensor(p, op, 0); // (n, ...)
    const uint64_t n = t->ne[0], rows = tensor_rows(t);
    for (uint64_t r = 0; r < rows; r++)
        for (uint64_t k = 0; k < n; k += op->norm.group)
            norm_group(&op->norm, src_f32(p, op, 0) + r * n + k, norm_factors(p, op, 1, k), norm_factors(p, op, 2, k),
                       dst_f32(p, op) + r * n + k);
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

static void matmul_id(const struct program *p, const struct op *op, float *row) {
    const struct tensor *w = src_tensor(p, op, 0), *x = src_tensor(p, op, 1); // (n_in, n_out, n_mat)
    const int32_t *ids = op->src[2] == NO_TENSOR ? NULL : src_i32(p, op, 2);  // (n_slot, n_tok)
    const float *bias = op->src[3] == NO_TENSOR ? NULL : src_f32(p, op, 3);   // (n_out, n_mat)
    const uint64_t n_in = w->ne[0], n_out = w->ne[1], n_slot = ids ? src_tensor(p, op, 2)->ne[0] : w->ne[2];
    const uint64_t n_all = tensor_numbers(graph_tensor(p->g, op->dst)) / n_out; // slots of all tokens
    const uint64_t step = tensor_numbers(x) == n_all * n_in ? 1 : n_slot;       // slots that share a vector
    const struct qtype_info *type = qtype_info(w->type);
    for (uint64_t i = 0; i < n_all; i++) {
        const uint64_t m = ids ? (uint64_t)ids[i] : i % n_slot;
        const float *v = src_f32(p, op, 1) + i / step * n_in;
        assert(m < w->ne[2]);
        for (uint64_t o = 0; o < n_out; o++) {
            type->decode(src_matrix(p, op, 0, m) + o * tensor_row_bytes(w), row, n_in);
            float sum = 0;
            for (uint64_t k = 0; k < n_in; k++) sum += row[k] * v[k];
            dst_f32(p, op)[i * n_out + o] = bias ? sum + bias[m * n_out + o] : sum;
        }
    }
}

/* --- Number by number --- */

static void add(const struct program *p, const struct op *op) {
    const float *a = src_f32(p, op, 0), *b = src_f32(p, op, 1);
    const uint64_t n = tensor_numbers(src_tensor(p, op, 0));
    for (uint64_t i = 0; i < n; i++) dst_f32(p, op)[i] = a[i] + op->add.scale * b[i];
}

static void scale(const struct program *p, const struct op *op) {
    const float *x = src_f32(p, op, 0), cap = op->scale.softcap;
    const uint64_t n = tensor_numbers(src_tensor(p, op, 0));
    for (uint64_t i = 0; i < n; i++) {
        const float y = op->scale.scale * x[i];
        dst_f32(p, op)[i] = cap > 0 ? cap * tanhf(y / cap) : y;
    }
}

static float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

static void gate_rows(const struct program *p, const struct op *op) {
    const struct tensor *t = src_tensor(p, op, 0); // (n, n_tok)
    for (uint64_t i = 0; i < tensor_numbers(t); i++)
        dst_f32(p, op)[i] = src_f32(p, op, 0)[i] * sigmoid(src_f32(p, op, 1)[i / t->ne[0]]);
}

static float activate(enum glu_kind kind, float x) {
    switch (kind) {
    case GLU_GELU_TANH: return 0.5f * x * (1 + tanhf(0.797884561f /* sqrt(2 / pi) */ * (x + 0.044715f * x * x * x)));
    case GLU_GELU_ERF: return 0.5f * x * (1 + erff(x * 0.707106781f /* 1 / sqrt(2) */));
    case GLU_RELU2: return x > 0 ? x * x : 0;
    default: return x * sigmoid(x);
    }
}

static float glu_oai(const struct glu_desc *d, float gate, float up) {
    gate = fminf(gate, d->limit);
    up = fmaxf(fminf(up, d->limit), -d->limit);
    return (up + 1) * gate * sigmoid(d->alpha * gate);
}

static void glu(const struct program *p, const struct op *op) {
    const float *gate = src_f32(p, op, 0), *up = op->src[1] == NO_TENSOR ? NULL : src_f32(p, op, 1);
    const uint64_t n = tensor_numbers(src_tensor(p, op, 0));
    for (uint64_t i = 0; i < n; i++) {
        const float u = up ? up[i] : 1;
        dst_f32(p, op)[i] =
            op->glu.kind == GLU_OAI ? glu_oai(&op->glu, gate[i], u) : activate(op->glu.kind, gate[i]) * u;
    }
}

/* --- Rows cut and joined --- */

static void slice(const struct program *p, const struct op *op) {
    const struct slice_desc *d = &op->slice;
    const uint64_t n = tensor_numbers(graph_tensor(p->g, op->dst));
    for (uint64_t i = 0; i < n; i++)
        dst_f32(p, op)[i] = src_f32(p, op, 0)[i / d->count * d->group + d->first + i % d->count];
}

static void concat(const struct program *p, const struct op *op) {
    const struct concat_desc *d = &op->concat;
    const struct tensor *a = src_tensor(p, op, 0), *b = src_tensor(p, op, 1);
    const uint64_t both = d->group_a + d->group_b, n_groups = tensor_numbers(a) / d->group_a;
    const uint64_t share = n_groups / (tensor_numbers(b) / d->group_b); // groups of a to one of b
    for (uint64_t i = 0; i < n_groups; i++) {
        float *out = dst_f32(p, op) + i * both;
        for (uint64_t k = 0; k < d->group_a; k++) out[k] = src_f32(p, op, 0)[i * d->group_a + k];
        for (uint64_t k = 0; k < d->group_b; k++) out[d->group_a + k] = src_f32(p, op, 1)[i / share * d->group_b + k];
    }
}

/* --- Positions and caches --- */

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

/* --- Experts --- */

static void pick_experts(const struct program *p, const struct op *op, float *scratch) {
    const struct tensor *t = src_tensor(p, op, 0); // (n_expert, n_tok)
    const float *bias = op->src[1] == NO_TENSOR ? NULL : src_f32(p, op, 1);
    for (uint64_t i = 0; i < t->ne[1]; i++)
        experts_pick(&op->pick, src_f32(p, op, 0) + i * t->ne[0], bias, (uint32_t)t->ne[0], scratch,
                     dst_i32(p, op) + i * op->pick.n_used);
}

static void weigh_experts(const struct program *p, const struct op *op, float *scratch) {
    const struct tensor *t = src_tensor(p, op, 0), *ids = src_tensor(p, op, 1); // (n_expert, n_tok), (n_used, n_tok)
    for (uint64_t i = 0; i < t->ne[1]; i++)
        experts_weigh(&op->weigh, src_f32(p, op, 0) + i * t->ne[0], (uint32_t)t->ne[0],
                      src_i32(p, op, 1) + i * ids->ne[0], (uint32_t)ids->ne[0], scratch,
                      dst_f32(p, op) + i * ids->ne[0]);
}

static void sum_experts(const struct program *p, const struct op *op) {
    const struct tensor *t = src_tensor(p, op, 0); // (n, n_slot, n_tok)
    const uint64_t n = t->ne[0], n_slot = t->ne[1];
    for (uint64_t i = 0; i < n * t->ne[2]; i++) {
        const float *x = src_f32(p, op, 0) + i / n * n * n_slot + i % n, *w = src_f32(p, op, 1) + i / n * n_slot;
        float sum = 0;
        for (uint64_t s = 0; s < n_slot; s++) sum += w[s] * x[s * n];
        dst_f32(p, op)[i] = sum;
    }
}

void ref_op_run(const struct program *p, const struct op *op, float *scratch) {
    switch (op->kind) {
    case OP_GET_ROWS: get_rows(p, op); break;
    case OP_NORM: norm(p, op); break;
    case OP_MATMUL: matmul(p, op, scratch); break;
    case OP_MATMUL_ID: matmul_id(p, op, scratch); break;
    case OP_ADD: add(p, op); break;
    case OP_SCALE: scale(p, op); break;
    case OP_GATE_ROWS: gate_rows(p, op); break;
    case OP_GLU: glu(p, op); break;
    case OP_SLICE: slice(p, op); break;
    case OP_CONCAT: concat(p, op); break;
    case OP_ROPE: rope(p, op); break;
    case OP_KV_STORE: kv_store(p, op); break;
    case OP_ATTENTION: ref_attention(p, op, scratch); break;
    case OP_PICK_EXPERTS: pick_experts(p, op, scratch); break;
    case OP_WEIGH_EXPERTS: weigh_experts(p, op, scratch); break;
    case OP_SUM_EXPERTS: sum_experts(p, op); break;
    case OP_KINDS: break;
    }
}
