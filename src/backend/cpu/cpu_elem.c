/* Operations whose numbers depend on few others: rows picked or stored, sums, gates, norms. */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "backend/cpu/cpu_ops.h"
#include "base/num.h"

/* Numbers in a piece: enough work to pay for handing it out (about a microsecond), small enough to share a prompt. */
enum { PIECE = 8192, EXP_PIECE = 1024 };

static size_t rows_in_piece(uint64_t n) { return (size_t)max_u64(PIECE / n, 1); }

static void get_rows(void *arg, size_t begin, size_t end, unsigned thread) {
    (void)thread;
    const struct cpu_run *r = arg;
    const struct tensor *table = src_tensor(r->p, r->op, 0); // (n, n_rows)
    const int32_t *ids = src_i32(r->p, r->op, 1);            // (m)
    const uint64_t n = table->ne[0], row_bytes = tensor_row_bytes(table);
    const float scale = r->op->get_rows.scale;
    for (size_t i = begin; i < end; i++) {
        assert(ids[i] >= 0 && (uint64_t)ids[i] < tensor_rows(table));
        float *out = dst_f32(r->p, r->op) + i * n;
        r->d->kern.widen[table->type](r->p->at[r->op->src[0]] + (uint64_t)ids[i] * row_bytes, out, n);
        if (scale == 1) continue;
        for (uint64_t k = 0; k < n; k++) out[k] *= scale;
    }
}

void cpu_get_rows(struct cpu_run *r) {
    const size_t m = src_tensor(r->p, r->op, 1)->ne[0];
    pool_run(r->d->pool, m, rows_in_piece(src_tensor(r->p, r->op, 0)->ne[0]), get_rows, r);
}

static size_t n_numbers(const struct cpu_run *r) { return tensor_numbers(src_tensor(r->p, r->op, 0)); }

/* --- Norms --- */

static float sum_of(const float *x, size_t n) {
    float part[8] = { 0 }, sum = 0;
    for (size_t i = 0; i < n; i++) part[i % 8] += x[i];
    for (int i = 0; i < 8; i++) sum += part[i];
    return sum;
}

static void norm_group(const struct cpu_run *r, const float *x, const float *w, const float *bias, float *out) {
    const struct norm_desc *d = &r->op->norm;
    const size_t n = d->group;
    if (d->kind == NORM_LAYER) {
        const float mean = sum_of(x, n) / (float)n;
        for (size_t i = 0; i < n; i++) out[i] = x[i] - mean;
        x = out;
    }
    const float inv = 1.0f / sqrtf(r->d->kern.dot_f32(x, x, n) / (float)n + d->eps);
    if (w)
        for (size_t i = 0; i < n; i++) out[i] = x[i] * inv * w[i];
    else
        for (size_t i = 0; i < n; i++) out[i] = x[i] * inv;
    for (size_t i = 0; bias && i < n; i++) out[i] += bias[i];
}

/* Source i's numbers for group k of a row: the same for all groups, or its own. */
static const float *factors(const struct cpu_run *r, unsigned i, size_t k) {
    if (r->op->src[i] == NO_TENSOR) return NULL;
    const size_t group = r->op->norm.group;
    return src_f32(r->p, r->op, i) + (tensor_numbers(src_tensor(r->p, r->op, i)) == group ? 0 : k * group);
}

static void norm(void *arg, size_t begin, size_t end, unsigned thread) {
    (void)thread;
    const struct cpu_run *r = arg;
    const size_t group = r->op->norm.group, groups = src_tensor(r->p, r->op, 0)->ne[0] / group; // (n, ...)
    for (size_t i = begin; i < end; i++)
        norm_group(r, src_f32(r->p, r->op, 0) + i * group, factors(r, 1, i % groups), factors(r, 2, i % groups),
                   dst_f32(r->p, r->op) + i * group);
}

void cpu_norm(struct cpu_run *r) {
    const size_t group = r->op->norm.group;
    pool_run(r->d->pool, n_numbers(r) / group, rows_in_piece(group), norm, r);
}

/* --- Number by number --- */

static void add(void *arg, size_t begin, size_t end, unsigned thread) {
    (void)thread;
    const struct cpu_run *r = arg;
    const float *a = src_f32(r->p, r->op, 0), *b = src_f32(r->p, r->op, 1), scale = r->op->add.scale;
    float *out = dst_f32(r->p, r->op);
    for (size_t i = begin; i < end; i++) out[i] = a[i] + scale * b[i];
}

void cpu_add(struct cpu_run *r) { pool_run(r->d->pool, n_numbers(r), PIECE, add, r); }

static void scale(void *arg, size_t begin, size_t end, unsigned thread) {
    (void)thread;
    const struct cpu_run *r = arg;
    const float *x = src_f32(r->p, r->op, 0), cap = r->op->scale.softcap, by = r->op->scale.scale;
    float *out = dst_f32(r->p, r->op);
    for (size_t i = begin; i < end; i++) out[i] = by * x[i];
    for (size_t i = begin; cap > 0 && i < end; i++) out[i] = cap * tanhf(out[i] / cap);
}

void cpu_scale(struct cpu_run *r) {
    pool_run(r->d->pool, n_numbers(r), r->op->scale.softcap > 0 ? EXP_PIECE : PIECE, scale, r);
}

static void gate_rows(void *arg, size_t begin, size_t end, unsigned thread) {
    (void)thread;
    const struct cpu_run *r = arg;
    const size_t n = src_tensor(r->p, r->op, 0)->ne[0]; // (n, n_tok)
    const float *x = src_f32(r->p, r->op, 0);
    for (size_t t = begin; t < end; t++) {
        const float by = 1.0f / (1.0f + expf(-src_f32(r->p, r->op, 1)[t]));
        for (size_t i = t * n; i < (t + 1) * n; i++) dst_f32(r->p, r->op)[i] = x[i] * by;
    }
}

void cpu_gate_rows(struct cpu_run *r) {
    const struct tensor *x = src_tensor(r->p, r->op, 0);
    pool_run(r->d->pool, x->ne[1], rows_in_piece(x->ne[0]), gate_rows, r);
}

/* --- Gated units --- */

enum {
    GLU_RUN = 256,
    GELU_CAP = 256, /* of g^2 in gelu's sigmoid, which is 0 or 1 to the last bit long before: keeps it finite */
};

/* Brings n <= GLU_RUN gates to the form silu(g) * u, for the kernel that has it. */
static void glu_by_silu(const struct cpu_run *r, const float *gate, const float *up, float *out, size_t n) {
    const struct glu_desc *d = &r->op->glu;
    float g[GLU_RUN], u[GLU_RUN];
    for (size_t i = 0; i < n; i++) {
        const float upper = up ? up[i] : 1;
        if (d->kind == GLU_OAI) { /* (u + 1) g sigmoid(alpha g) = silu(alpha g) (u + 1) / alpha */
            g[i] = d->alpha * fminf(gate[i], d->limit);
            u[i] = (fmaxf(fminf(upper, d->limit), -d->limit) + 1) / d->alpha;
        } else if (d->kind == GLU_GELU_TANH) { /* g sigmoid(b g), b = 2 sqrt(2 / pi) (1 + 0.044715 g^2) */
            const float b = 1.595769122f + 0.0713548163f * fminf(gate[i] * gate[i], GELU_CAP);
            g[i] = b * gate[i];
            u[i] = upper / b;
        } else {
            g[i] = gate[i];
            u[i] = upper;
        }
    }
    r->d->kern.silu_mul(g, u, out, n);
}

static void glu_plain(const struct cpu_run *r, const float *gate, const float *up, float *out, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const float g = gate[i], positive = fmaxf(g, 0), upper = up ? up[i] : 1;
        const float act = r->op->glu.kind == GLU_RELU2 ? positive * positive
                                                       : 0.5f * g * (1 + erff(g * 0.707106781f /* 1 / sqrt(2) */));
        out[i] = act * upper;
    }
}

static void glu(void *arg, size_t begin, size_t end, unsigned thread) {
    (void)thread;
    const struct cpu_run *r = arg;
    const enum glu_kind kind = r->op->glu.kind;
    const float *gate = src_f32(r->p, r->op, 0), *up = r->op->src[1] == NO_TENSOR ? NULL : src_f32(r->p, r->op, 1);
    float *out = dst_f32(r->p, r->op);
    if (kind == GLU_SILU && up) {
        r->d->kern.silu_mul(gate + begin, up + begin, out + begin, end - begin);
        return;
    }
    for (size_t i = begin; i < end; i += GLU_RUN) {
        const size_t n = min_u64(end - i, GLU_RUN);
        (kind == GLU_RELU2 || kind == GLU_GELU_ERF ? glu_plain
                                                   : glu_by_silu)(r, gate + i, up ? up + i : NULL, out + i, n);
    }
}

void cpu_glu(struct cpu_run *r) { pool_run(r->d->pool, n_numbers(r), EXP_PIECE, glu, r); }

/* --- Rows cut and joined --- */

static void slice(void *arg, size_t begin, size_t end, unsigned thread) {
    (void)thread;
    const struct cpu_run *r = arg;
    const struct slice_desc *d = &r->op->slice;
    const float *x = src_f32(r->p, r->op, 0) + d->first;
    for (size_t i = begin; i < end; i++)
        memcpy(dst_f32(r->p, r->op) + i * d->count, x + i * d->group, d->count * sizeof *x);
}

void cpu_slice(struct cpu_run *r) {
    pool_run(r->d->pool, n_numbers(r) / r->op->slice.group, rows_in_piece(r->op->slice.count), slice, r);
}

static void concat(void *arg, size_t begin, size_t end, unsigned thread) {
    (void)thread;
    const struct cpu_run *r = arg;
    const size_t n_a = r->op->concat.group_a, n_b = r->op->concat.group_b;
    const float *a = src_f32(r->p, r->op, 0), *b = src_f32(r->p, r->op, 1);
    const size_t share = n_numbers(r) / n_a / (tensor_numbers(src_tensor(r->p, r->op, 1)) / n_b); /* see graph_concat */
    for (size_t i = begin; i < end; i++) {
        float *out = dst_f32(r->p, r->op) + i * (n_a + n_b);
        memcpy(out, a + i * n_a, n_a * sizeof *out);
        memcpy(out + n_a, b + i / share * n_b, n_b * sizeof *out);
    }
}

void cpu_concat(struct cpu_run *r) {
    const struct concat_desc *d = &r->op->concat;
    pool_run(r->d->pool, n_numbers(r) / d->group_a, rows_in_piece(d->group_a + d->group_b), concat, r);
}

/* --- Caches --- */

static void kv_store(void *arg, size_t begin, size_t end, unsigned thread) {
    (void)thread;
    const struct cpu_run *r = arg;
    const struct tensor *cache = src_tensor(r->p, r->op, 0); // (n, n_cells)
    const float *x = src_f32(r->p, r->op, 1);                // (n, n_tok)
    const int32_t *cells = src_i32(r->p, r->op, 2);          // (n_tok), each another cell
    const uint64_t n = cache->ne[0], row_bytes = tensor_row_bytes(cache);
    for (size_t t = begin; t < end; t++) {
        assert(cells[t] >= 0 && (uint64_t)cells[t] < tensor_rows(cache));
        r->d->kern.narrow[cache->type](x + t * n, r->p->at[r->op->src[0]] + (uint64_t)cells[t] * row_bytes, n);
    }
}

void cpu_kv_store(struct cpu_run *r) {
    const size_t n_tok = src_tensor(r->p, r->op, 2)->ne[0];
    pool_run(r->d->pool, n_tok, rows_in_piece(src_tensor(r->p, r->op, 0)->ne[0]), kv_store, r);
}
