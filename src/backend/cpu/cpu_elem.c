/* Operations whose numbers depend on few others: rows picked or stored, sums, gates, norms. */
#include <assert.h>
#include <math.h>

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

static void rms_norm(void *arg, size_t begin, size_t end, unsigned thread) {
    (void)thread;
    const struct cpu_run *r = arg;
    const uint64_t n = src_tensor(r->p, r->op, 0)->ne[0]; // (n, ...)
    const float *w = src_f32(r->p, r->op, 1);             // (n)
    for (size_t row = begin; row < end; row++) {
        const float *x = src_f32(r->p, r->op, 0) + row * n;
        float *out = dst_f32(r->p, r->op) + row * n;
        const float inv = 1.0f / sqrtf(r->d->kern.dot_f32(x, x, n) / (float)n + r->op->norm.eps);
        for (uint64_t i = 0; i < n; i++) out[i] = x[i] * inv * w[i];
    }
}

void cpu_rms_norm(struct cpu_run *r) {
    const struct tensor *x = src_tensor(r->p, r->op, 0);
    pool_run(r->d->pool, tensor_rows(x), rows_in_piece(x->ne[0]), rms_norm, r);
}

static size_t n_numbers(const struct cpu_run *r) {
    const struct tensor *x = src_tensor(r->p, r->op, 0);
    return x->ne[0] * tensor_rows(x);
}

static void add(void *arg, size_t begin, size_t end, unsigned thread) {
    (void)thread;
    const struct cpu_run *r = arg;
    const float *a = src_f32(r->p, r->op, 0), *b = src_f32(r->p, r->op, 1);
    float *out = dst_f32(r->p, r->op);
    for (size_t i = begin; i < end; i++) out[i] = a[i] + b[i];
}

void cpu_add(struct cpu_run *r) { pool_run(r->d->pool, n_numbers(r), PIECE, add, r); }

static void glu(void *arg, size_t begin, size_t end, unsigned thread) {
    (void)thread;
    const struct cpu_run *r = arg;
    assert(r->op->glu.kind == GLU_SILU);
    const float *gate = src_f32(r->p, r->op, 0), *up = src_f32(r->p, r->op, 1);
    r->d->kern.silu_mul(gate + begin, up + begin, dst_f32(r->p, r->op) + begin, end - begin);
}

void cpu_glu(struct cpu_run *r) { pool_run(r->d->pool, n_numbers(r), EXP_PIECE, glu, r); }

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
