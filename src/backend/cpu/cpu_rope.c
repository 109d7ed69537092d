/* Rotary positions: the sines of a token are computed once, of angles in float, and used by all its heads. */
#include <math.h>

#include "backend/cpu/cpu_ops.h"

enum { TOKENS_IN_PIECE = 4 };

/* Sines and cosines (n_rot) of one token for every thread. */
uint64_t cpu_rope_scratch(const struct cpu_dev *d, const struct graph *g, const struct op *op) {
    (void)g;
    return (uint64_t)pool_size(d->pool) * op->rope.n_rot * sizeof(float);
}

/* turn: (cosine, sine) of each pair, times magnitude. */
static void turn_head(const struct rope_desc *d, const float *x, const float *turn, float *out) {
    const uint32_t half = d->n_rot / 2, step = d->pairing == ROPE_HALVES ? 1 : 2;
    const uint32_t partner = d->pairing == ROPE_HALVES ? half : 1;
    for (uint32_t i = 0; i < half; i++) {
        const uint32_t a = step * i, b = a + partner;
        const float xa = x[a], xb = x[b], c = turn[2 * i], s = turn[2 * i + 1];
        out[a] = xa * c - xb * s;
        out[b] = xa * s + xb * c;
    }
    for (uint32_t i = d->n_rot; i < d->head_dim; i++) out[i] = x[i];
}

static void rope(void *arg, size_t begin, size_t end, unsigned thread) {
    const struct cpu_run *r = arg;
    const struct rope_desc *d = &r->op->rope;
    const uint64_t n = src_tensor(r->p, r->op, 0)->ne[0]; // (head_dim * n_head, n_tok)
    const int32_t *pos = src_i32(r->p, r->op, 1);         // (n_tok)
    const float *inv_freq = src_f32(r->p, r->op, 2);      // (n_rot / 2)
    float *turn = (float *)r->scratch + (size_t)thread * d->n_rot;
    for (size_t t = begin; t < end; t++) {
        for (uint32_t i = 0; i < d->n_rot / 2; i++) {
            const float angle = (float)pos[t] * inv_freq[i];
            turn[2 * i] = cosf(angle) * d->magnitude;
            turn[2 * i + 1] = sinf(angle) * d->magnitude;
        }
        for (uint64_t h = 0; h < n; h += d->head_dim)
            turn_head(d, src_f32(r->p, r->op, 0) + t * n + h, turn, dst_f32(r->p, r->op) + t * n + h);
    }
}

void cpu_rope(struct cpu_run *r) {
    const size_t n_tok = src_tensor(r->p, r->op, 1)->ne[0];
    pool_run(r->d->pool, n_tok, TOKENS_IN_PIECE, rope, r);
}
