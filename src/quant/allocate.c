/* The multiple-choice knapsack, solved exactly.
 *
 * A price per byte (Lagrange's multiplier) turns the budget into a cost: choosing for every item the option of least
 * loss + price * bytes gives, at the right price, a lower bound that is very close to the optimum, as the items are
 * many. A greedy repair of that choice gives an upper bound. Dynamic programming over the items then keeps only partial
 * choices (bytes, loss) that no other one beats in both, and that can still end below the upper bound when the rest is
 * counted by the lower bound. What survives is a narrow band of states, so the exact answer costs little.
 * (Kellerer, Pferschy, Pisinger: Knapsack Problems, 2004, chapter 11.) */
#include "quant/allocate.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

struct option { uint64_t bytes; double loss; uint8_t index; };
struct item { struct option o[ALLOCATE_MAX_OPTIONS]; size_t n; }; /* ascending bytes, descending loss */

struct state { uint64_t bytes; double loss; uint32_t from; uint8_t option; };
struct layer { struct state *s; size_t n; };

static int by_bytes(const void *a, const void *b) {
    const struct option *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1;
    if (x->loss != y->loss) return x->loss < y->loss ? -1 : 1;
    return (int)x->index - (int)y->index;
}

/* Options that cost more bytes without less loss are never chosen. */
static void keep_useful(const struct allocate_item *in, struct item *out) {
    struct option all[ALLOCATE_MAX_OPTIONS];
    size_t n = 0;
    for (size_t i = 0; i < in->n; i++)
        if (in->options[i].loss < INFINITY)
            all[n++] = (struct option){ in->options[i].bytes, in->options[i].loss, (uint8_t)i };
    qsort(all, n, sizeof *all, by_bytes);
    out->n = 0;
    for (size_t i = 0; i < n; i++)
        if (out->n == 0 || all[i].loss < out->o[out->n - 1].loss) out->o[out->n++] = all[i];
}

static double cost_of(const struct option *o, double price) { return o->loss + price * (double)o->bytes; }

static size_t cheapest(const struct item *it, double price) {
    size_t best = 0;
    for (size_t i = 1; i < it->n; i++) /* an equal cost keeps the smaller option */
        if (cost_of(&it->o[i], price) < cost_of(&it->o[best], price)) best = i;
    return best;
}

static uint64_t bytes_at(const struct item *items, size_t n, double price) {
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++) sum += items[i].o[cheapest(&items[i], price)].bytes;
    return sum;
}

/* The lowest price, to a relative 2^-50, at which the cheapest options fit. */
static double find_price(const struct item *items, size_t n, uint64_t budget) {
    if (bytes_at(items, n, 0) <= budget) return 0;
    double low = 0, high = 1e-30;
    while (bytes_at(items, n, high) > budget) low = high, high *= 16;
    for (int i = 0; i < 120 && high - low > high * 0x1p-50; i++) {
        double mid = 0.5 * (low + high);
        *(bytes_at(items, n, mid) > budget ? &low : &high) = mid;
    }
    return high;
}

/* Spends what is left of the budget on the steps that save most per byte: an upper bound of the least loss. */
static double greedy_loss(const struct item *items, size_t n, uint64_t budget, double price, size_t *pick) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < n; i++) bytes += items[i].o[pick[i] = cheapest(&items[i], price)].bytes;
    for (;;) {
        size_t best = n, to = 0;
        double gain = 0;
        for (size_t i = 0; i < n; i++)
            for (size_t k = pick[i] + 1; k < items[i].n; k++) {
                const struct option *now = &items[i].o[pick[i]], *o = &items[i].o[k];
                if (bytes - now->bytes + o->bytes > budget) break;
                double g = (now->loss - o->loss) / (double)(o->bytes - now->bytes);
                if (g > gain) gain = g, best = i, to = k;
            }
        if (best == n) break;
        bytes += items[best].o[to].bytes - items[best].o[pick[best]].bytes;
        pick[best] = to;
    }
    double loss = 0;
    for (size_t i = 0; i < n; i++) loss += items[i].o[pick[i]].loss;
    return loss;
}

static int by_state(const void *a, const void *b) {
    const struct state *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1;
    if (x->loss != y->loss) return x->loss < y->loss ? -1 : 1;
    if (x->from != y->from) return x->from < y->from ? -1 : 1;
    return (int)x->option - (int)y->option;
}

/* Keeps the states that no smaller one matches in loss; s is sorted then. */
static size_t keep_best(struct state *s, size_t n) {
    qsort(s, n, sizeof *s, by_state);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || s[i].loss < s[kept - 1].loss) s[kept++] = s[i];
    return kept;
}

struct search {
    const struct item *items;
    size_t n;
    uint64_t budget;
    double price, upper; /* no optimal solution has a larger loss than upper */
    double *rest;        /* (n + 1) least loss + price * bytes of items i.. */
    uint64_t *least;     /* (n + 1) least bytes of items i.. */
    struct layer *layers; /* (n + 1) */
};

static enum err_code grow_layer(struct search *q, size_t i, struct err *e) {
    const struct layer *from = &q->layers[i];
    const struct item *it = &q->items[i];
    size_t cap = from->n * it->n;
    struct state *s = mem_alloc(cap, sizeof *s);
    if (!s) return err_no_memory(e, cap * sizeof *s);
    size_t n = 0;
    for (size_t a = 0; a < from->n; a++)
        for (size_t k = 0; k < it->n; k++) {
            struct state t = { from->s[a].bytes + it->o[k].bytes, from->s[a].loss + it->o[k].loss, (uint32_t)a,
                               (uint8_t)k };
            if (t.bytes + q->least[i + 1] > q->budget) break;
            double bound = t.loss + q->rest[i + 1] - q->price * (double)(q->budget - t.bytes);
            if (bound <= q->upper) s[n++] = t;
        }
    n = keep_best(s, n);
    struct state *fit = mem_realloc(s, n, n ? n : 1, sizeof *s);
    q->layers[i + 1] = (struct layer){ fit ? fit : s, n };
    return ERR_NONE;
}

static enum err_code search_layers(struct search *q, struct err *e) {
    q->layers[0].s = NEW_ARRAY(struct state, 1);
    q->layers[0].n = 1;
    if (!q->layers[0].s) return err_no_memory(e, sizeof *q->layers[0].s);
    for (size_t i = 0; i < q->n; i++) TRY(grow_layer(q, i, e));
    return ERR_NONE;
}

static void read_back(const struct search *q, uint8_t *chosen) {
    /* States of a layer ascend in bytes and descend in loss: the last one is the best. */
    size_t at = q->layers[q->n].n - 1;
    for (size_t i = q->n; i-- > 0;) {
        const struct state *s = &q->layers[i + 1].s[at];
        chosen[i] = q->items[i].o[s->option].index;
        at = s->from;
    }
}

static enum err_code solve(struct search *q, uint8_t *chosen, struct err *e) {
    size_t *pick = NEW_ARRAY(size_t, q->n + 1);
    if (!pick) return err_no_memory(e, q->n * sizeof *pick);
    q->price = find_price(q->items, q->n, q->budget);
    double upper = greedy_loss(q->items, q->n, q->budget, q->price, pick);
    mem_free(pick);
    for (size_t i = q->n; i-- > 0;) {
        const struct option *o = &q->items[i].o[cheapest(&q->items[i], q->price)];
        q->rest[i] = q->rest[i + 1] + o->loss + q->price * (double)o->bytes;
        q->least[i] = q->least[i + 1] + q->items[i].o[0].bytes;
    }
    /* Sums of many doubles in another order differ by rounding: the bound must not cut the optimum off. */
    q->upper = upper + 1e-12 * (fabs(upper) + q->price * (double)q->budget + q->rest[0]);
    TRY(search_layers(q, e));
    read_back(q, chosen);
    return ERR_NONE;
}

uint64_t allocate_least(const struct allocate_item *items, size_t n_items) {
    uint64_t sum = 0;
    for (size_t i = 0; i < n_items; i++) {
        uint64_t least = UINT64_MAX;
        for (size_t k = 0; k < items[i].n; k++) {
            const struct allocate_option *o = &items[i].options[k];
            if (o->loss < INFINITY && o->bytes < least) least = o->bytes;
        }
        sum += least;
    }
    return sum;
}

enum err_code allocate(const struct allocate_item *in, size_t n, uint64_t budget, uint8_t *chosen, struct err *e) {
    uint64_t least = allocate_least(in, n);
    if (least > budget)
        return err_set(e, ERR_TOO_LARGE, "the smallest types need %llu bytes, %llu are given",
                       (unsigned long long)least, (unsigned long long)budget);
    struct item *items = NEW_ARRAY(struct item, n + 1);
    struct search q = { .items = items, .n = n, .budget = budget, .rest = NEW_ARRAY(double, n + 1),
                        .least = NEW_ARRAY(uint64_t, n + 1), .layers = NEW_ARRAY(struct layer, n + 1) };
    enum err_code rc = ERR_NONE;
    if (!items || !q.rest || !q.least || !q.layers) rc = err_no_memory(e, n * sizeof *items);
    for (size_t i = 0; i < n && !rc; i++) keep_useful(&in[i], &items[i]);
    if (!rc) rc = solve(&q, chosen, e);
    for (size_t i = 0; q.layers && i <= n; i++) mem_free(q.layers[i].s);
    mem_free(items);
    mem_free(q.rest);
    mem_free(q.least);
    mem_free(q.layers);
    return rc;
}
