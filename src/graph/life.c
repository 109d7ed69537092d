/* Lifetimes: where each tensor of a graph lies in its buffer.
 *
 * An activation lives from the operation that makes it to the last one that reads it, both included: an operation never
 * writes over its own sources. Two activations share bytes only if their lives do not meet. Placing intervals in the
 * least memory is NP-hard; the rule here is the usual one, largest first and each in the tightest gap between those
 * that live at the same time. The result depends on the graph alone.
 *
 * Inputs and outputs belong to the host before and after the run and never share. */
#include "graph/life.h"

#include <stdlib.h>

#include "base/num.h"

struct life {
    tensor_id id;
    uint32_t first, last; /* operations, both included */
    uint64_t bytes, off;  /* bytes: rounded up to LIFE_ALIGN */
};

static bool lives_meet(const struct life *a, const struct life *b) {
    return a->first <= b->last && b->first <= a->last;
}

/* Lives of all activations, in the order in which they are made. Returns their number. */
static uint32_t collect(const struct graph *g, struct life *lives, uint32_t *life_of) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < g->n_ops; i++) {
        const struct op *op = &g->ops[i];
        for (unsigned s = 0; s < OP_MAX_SRC; s++) {
            if (op->src[s] != NO_TENSOR && g->tensors[op->src[s]].role == ROLE_ACT) lives[life_of[op->src[s]]].last = i;
        }
        const struct tensor *dst = &g->tensors[op->dst];
        if (dst->role != ROLE_ACT) continue;
        lives[n] = (struct life){ op->dst, i, i, round_up(dst->bytes, LIFE_ALIGN), 0 };
        life_of[op->dst] = n++;
    }
    return n;
}

static int by_size(const void *pa, const void *pb) {
    const struct life *a = pa, *b = pb;
    if (a->bytes != b->bytes) return a->bytes > b->bytes ? -1 : 1;
    return a->id < b->id ? -1 : a->id > b->id;
}

/* Offset for `want` in the smallest gap that holds it between the lives that it meets, else behind them all. placed
 * holds n indices into lives in ascending order of offset. */
static uint64_t tightest_gap(const struct life *want, const struct life *lives, const uint32_t *placed, uint32_t n) {
    uint64_t end = 0, best_off = 0, best_gap = UINT64_MAX;
    for (uint32_t i = 0; i < n; i++) {
        const struct life *l = &lives[placed[i]];
        if (!lives_meet(l, want)) continue;
        if (l->off > end && l->off - end >= want->bytes && l->off - end < best_gap) {
            best_gap = l->off - end;
            best_off = end;
        }
        end = max_u64(end, l->off + l->bytes);
    }
    return best_gap == UINT64_MAX ? end : best_off;
}

static void insert_by_offset(const struct life *lives, uint32_t *placed, uint32_t n, uint32_t new_one) {
    uint32_t i = n;
    for (; i > 0 && lives[placed[i - 1]].off > lives[new_one].off; i--) placed[i] = placed[i - 1];
    placed[i] = new_one;
}

static void place_shared(struct graph *g, struct life *lives, uint32_t n, uint32_t *placed) {
    qsort(lives, n, sizeof *lives, by_size);
    for (uint32_t i = 0; i < n; i++) {
        lives[i].off = tightest_gap(&lives[i], lives, placed, i);
        insert_by_offset(lives, placed, i, i);
        g->tensors[lives[i].id].place.off = lives[i].off;
        g->act_bytes = max_u64(g->act_bytes, lives[i].off + lives[i].bytes);
    }
}

static void place_apart(struct graph *g, const struct life *lives, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        g->tensors[lives[i].id].place.off = g->act_bytes;
        g->act_bytes += lives[i].bytes;
    }
}

/* The sum of everything bounds every offset: if it fits in 63 bits, no addition above overflows. */
static enum err_code check_total(const struct graph *g, struct err *e) {
    uint64_t total = 0;
    for (uint32_t i = 0; i < g->n_tensors; i++) {
        const struct tensor *t = &g->tensors[i];
        if (t->role == ROLE_WEIGHT || t->role == ROLE_KV) continue;
        bool fits = t->bytes <= INT64_MAX - LIFE_ALIGN && add_u64(total, round_up(t->bytes, LIFE_ALIGN), &total);
        if (!fits || total > INT64_MAX)
            return err_set(e, ERR_TOO_LARGE, "the graph's tensors pass 2^63 bytes at %s; use a smaller batch", t->name);
    }
    return ERR_NONE;
}

enum err_code life_plan(struct graph *g, struct err *e) {
    TRY(check_total(g, e));
    g->io_bytes = g->act_bytes = 0;
    for (uint32_t i = 0; i < g->n_tensors; i++) {
        struct tensor *t = &g->tensors[i];
        if (t->role != ROLE_INPUT && t->role != ROLE_OUTPUT) continue;
        t->place.off = g->io_bytes;
        g->io_bytes += round_up(t->bytes, LIFE_ALIGN);
    }
    enum err_code rc = ERR_NONE;
    struct life *lives = NEW_ARRAY(struct life, g->n_ops);
    uint32_t *life_of = NEW_ARRAY(uint32_t, g->n_tensors), *placed = NEW_ARRAY(uint32_t, g->n_ops);
    if (!lives || !life_of || !placed) {
        rc = err_no_memory(e, g->n_ops * sizeof *lives);
        goto out;
    }
    uint32_t n = collect(g, lives, life_of);
    if (g->keep_all) place_apart(g, lives, n);
    else place_shared(g, lives, n, placed);
out:
    mem_free(lives);
    mem_free(life_of);
    mem_free(placed);
    return rc;
}
