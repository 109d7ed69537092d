/* Rotary positions: the sines of a token, of angles in float, are computed once and used by all its heads, and by the
 * rotations that follow with the same positions and frequencies: usually all of a graph. */
#include <math.h>

#include "backend/cpu/cpu_ops.h"
#include "base/num.h"

enum { TOKENS_IN_PIECE = 4 };

uint64_t cpu_turns_bytes(const struct graph *g) {
    uint64_t most = 0;
    for (uint32_t i = 0; i < g->n_ops; i++) {
        const struct op *op = &g->ops[i];
        if (op->kind == OP_ROPE) /* no more than the bytes of x */
            most = max_u64(most, tensor_rows(graph_tensor(g, op->src[0])) * op->rope.n_rot * sizeof(float));
    }
    return round_up(most, 64);
}

/* turns (n_tok, n_rot): (cosine, sine) of each pair, times magnitude. */
static void compute_turns(void *arg, size_t begin, size_t end, unsigned thread) {
    (void)thread;
    const struct cpu_run *r = arg;
    const struct rope_desc *d = &r->op->rope;
    const int32_t *pos = src_i32(r->p, r->op, 1);    // (n_tok)
    const float *inv_freq = src_f32(r->p, r->op, 2); // (n_rot / 2)
    for (size_t t = begin; t < end; t++) {
        float *turn = r->turns + t * d->n_rot;
        for (uint32_t i = 0; i < d->n_rot / 2; i++) {
            const float angle = (float)pos[t] * inv_freq[i];
            turn[2 * i] = cosf(angle) * d->magnitude;
            turn[2 * i + 1] = sinf(angle) * d->magnitude;
        }
    }
}

static bool same_turns(const struct op *a, const struct op *b) {
    return a->src[1] == b->src[1] && a->src[2] == b->src[2] && a->rope.n_rot == b->rope.n_rot &&
           a->rope.magnitude == b->rope.magnitude;
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
    (void)thread;
    const struct cpu_run *r = arg;
    const struct rope_desc *d = &r->op->rope;
    const uint64_t n = src_tensor(r->p, r->op, 0)->ne[0]; // (head_dim * n_head, n_tok)
    for (size_t t = begin; t < end; t++)
        for (uint64_t h = 0; h < n; h += d->head_dim)
            turn_head(d, src_f32(r->p, r->op, 0) + t * n + h, r->turns + t * d->n_rot,
                      dst_f32(r->p, r->op) + t * n + h);
}

void cpu_rope(struct cpu_run *r) {
    const size_t n_tok = src_tensor(r->p, r->op, 1)->ne[0];
    if (!r->turned || !same_turns(r->turned, r->op)) pool_run(r->d->pool, n_tok, TOKENS_IN_PIECE, compute_turns, r);
    r->turned = r->op;
    pool_run(r->d->pool, n_tok, TOKENS_IN_PIECE, rope, r);
}
