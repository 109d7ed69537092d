/* Owns the search for types whose groups of 8 (IQ3: 4) weights are points of a grid: x' = L v, L = d unit (s + 1/2)
 * with a small integer s for each 16 or 32 weights and a half d per 256. v is a point whose elements are magnitudes
 * with a sign each (IQ2, IQ3), or steps shifted by an eighth (IQ1). What a point costs at a given L is known exactly,
 * so that everything but d and s is chosen by looking at all points.
 *
 * A tile has a lane for each group. A point's cost is that of its lower half plus that of its upper half, and there are
 * few halves: at a given L all of them are costed once, and each point takes an addition at most. Where the number of
 * minus signs must be even, the cheapest element to turn is part of the costs: every half has a second cost, with one
 * sign turned.
 *
 * The search: (1) find a good scale for each sub-block, roughly as if every element could take the nearest level, then
 * by the points around it, and refit it by least squares; (2) choose d among candidates by the parabolas that this
 * gives, s being the nearest integers; (3) twice: every s against its neighbours, d by least squares. A third time
 * gains nothing that five digits show. */
#include "quant/enc_tile.h"

enum {
    MAX_GROUPS = 64,   /* lanes of a tile */
    MAX_HALVES = 81,
    MAX_LEVELS = 8,
    SETS = 32,         /* eights of weights, which share the signs' parity, in a tile */
};

/* How a set's points may vary beside the choice of the point. */
enum rule {
    SIGNS_FREE,
    SIGNS_EVEN,   /* the number of minus signs in 8 weights is even */
    SHIFT_EACH,   /* 8 weights are shifted up or down */
    SHIFT_SCALE,  /* likewise all that share a scale */
};

struct grid_type {
    const struct iq_grid *grid;
    enum rule rule;
    int len, levels;          /* of the grid */
    int lanes, subs;          /* points, and scales, in a tile */
    float unit, scale_top;    /* L = d unit (s + 1/2), s <= scale_top */
    float from, step;         /* first scales: from * step^i times the root mean square */
    int steps;
    size_t block_bytes;
    block_pack *pack;
};

/* The weights of a tile; x holds magnitudes where the rule is about signs. */
struct weights {
    struct tile t;
    uint8_t sign[SETS]; /* bit i: weight i of the set is negative */
    bool odd[SETS];     /* their number, where it matters */
};

/* What each half of a point costs in WIDE vecs of lanes; `turned`: with the sign of its cheapest element turned. Two
 * at a time, since the walk over the points costs as much as the arithmetic of one. */
enum { WIDE = 2 };
struct halves { vec cost[MAX_HALVES][WIDE], turned[MAX_HALVES][WIDE]; };

/* Costs of points in each lane at one scale a lane. [1]: with a sign turned, or shifted down. */
struct lane_costs { float cost[2][MAX_GROUPS]; };
/* The points that have them. */
struct lane_points { int at[2][MAX_GROUPS]; };

static ALWAYS_INLINE bool has_shift(const struct grid_type *k) { return k->rule >= SHIFT_EACH; }
static ALWAYS_INLINE int halves_of(const struct grid_type *k) { return k->len == 8 ? 81 : 64; }

/* Costs of one element at every level, and how much more the other sign costs. */
static ALWAYS_INLINE void element_costs(vec x, vec w, const vec *value, vec *cost, vec *extra,
                                        const struct grid_type *k) {
    for (int l = 0; l < k->levels; l++) {
        vec d = x - value[l];
        cost[l] = w * d * d;
        if (k->rule == SIGNS_EVEN) extra[l] = 4 * w * x * value[l];
    }
}

/* Vec number i of the halves, for the VEC lanes from b on, whose elements begin with number `first`. value: L times the
 * levels. */
static ALWAYS_INLINE void half_costs(const struct tile *t, int b, int first, const vec *value, int at,
                                     struct halves *out, const struct grid_type *k) {
    enum { PART = 9 };
    const int n = k->len == 8 ? 9 : 8; /* patterns of a quarter of a point, which is two elements or one */
    vec cost[2][PART], extra[2][PART];
    for (int part = 0; part < 2; part++) {
        const int e = (first + part * k->len / 4) * k->lanes + b;
        vec c[2][MAX_LEVELS], x[2][MAX_LEVELS];
        for (int i = 0; i < k->len / 4; i++)
            element_costs(vec_load(t->x + e + i * k->lanes), vec_load(t->w + e + i * k->lanes), value, c[i], x[i], k);
        for (int p = 0; p < n; p++) {
            const int two = k->len == 8;
            cost[part][p] = c[0][two ? p % 3 : p];
            if (two) cost[part][p] += c[1][p / 3];
            if (k->rule != SIGNS_EVEN) continue;
            extra[part][p] = x[0][two ? p % 3 : p];
            if (two) extra[part][p] = vec_min(extra[part][p], x[1][p / 3]);
        }
    }
    for (int high = 0; high < n; high++)
        for (int low = 0; low < n; low++) {
            vec c = out->cost[n * high + low][at] = cost[0][low] + cost[1][high];
            if (k->rule == SIGNS_EVEN) out->turned[n * high + low][at] = c + vec_min(extra[0][low], extra[1][high]);
        }
}

/* The least cost of any point, and the number of its upper half. */
struct least { vec cost[WIDE], row[WIDE]; };

static ALWAYS_INLINE void take(struct least *l, int i, vec cost, int row) {
    vec better = vec_above(l->cost[i], cost);
    l->cost[i] = vec_min(cost, l->cost[i]);
    l->row[i] = vec_pick(better, vec_all((float)row), l->row[i]);
}

/* Looks at all points. best[1]: with one sign turned. */
static ALWAYS_INLINE void least_of_all(const struct halves *low, const struct halves *high, struct least best[2],
                                       const struct grid_type *k) {
    const uint8_t *at = k->grid->low;
    for (int i = 0; i < WIDE; i++) {
        best[0].cost[i] = best[1].cost[i] = vec_all(INFINITY);
        best[0].row[i] = best[1].row[i] = vec_all(0);
    }
    for (int h = 0; h < halves_of(k); h++) {
        const uint8_t *end = k->grid->low + k->grid->first[h + 1];
        if (at == end) continue;
        vec m[WIDE], m_turned[WIDE];
        for (int i = 0; i < WIDE; i++) {
            m[i] = low->cost[*at][i];
            if (k->rule == SIGNS_EVEN) m_turned[i] = low->turned[*at][i];
        }
        while (++at < end)
            for (int i = 0; i < WIDE; i++) {
                m[i] = vec_min(m[i], low->cost[*at][i]);
                if (k->rule == SIGNS_EVEN) m_turned[i] = vec_min(m_turned[i], low->turned[*at][i]);
            }
        for (int i = 0; i < WIDE; i++) {
            take(&best[0], i, m[i] + high->cost[h][i], h);
            if (k->rule != SIGNS_EVEN) continue;
            take(&best[1], i, vec_min(m_turned[i] + high->cost[h][i], m[i] + high->turned[h][i]), h);
        }
    }
}

static ALWAYS_INLINE float in_lane(const vec *costs, int lane) {
    float v;
    memcpy(&v, (const char *)costs + (size_t)lane * sizeof v, sizeof v);
    return v;
}

/* Which point of its row has the least cost in a lane. */
static ALWAYS_INLINE int point_of_row(const struct halves *low, const struct halves *high, int row, int lane,
                                      bool turned, const struct grid_type *k) {
    const float upper = in_lane(high->cost[row], lane), upper_turned = turned ? in_lane(high->turned[row], lane) : 0;
    float least = INFINITY;
    int best = k->grid->first[row];
    for (int p = best; p < k->grid->first[row + 1]; p++) {
        float cost = in_lane(low->cost[k->grid->low[p]], lane);
        if (turned) {
            float a = in_lane(low->turned[k->grid->low[p]], lane) + upper, b = cost + upper_turned;
            cost = b < a ? b : a;
        }
        if (cost < least) least = cost, best = p;
    }
    return best;
}

/* Costs, and with `points` also which points, of all lanes at their scales. */
static ALWAYS_INLINE void search_points(const struct tile *t, const float *scale, struct lane_costs *out,
                                        struct lane_points *points, const struct grid_type *k) {
    const int kinds = k->rule == SIGNS_EVEN ? 2 : 1;
    *out = (struct lane_costs){ 0 }; /* what the type has no lanes or variants for costs nothing */
    for (int b = 0; b < k->lanes; b += WIDE * VEC)
        for (int variant = 0; variant <= has_shift(k); variant++) {
            const float shift = has_shift(k) ? variant ? -0.125f : 0.125f : 0;
            struct halves low, high;
            struct least best[2];
            for (int i = 0; i < WIDE; i++) {
                vec value[MAX_LEVELS], l = vec_load(scale + b + i * VEC);
                for (int v = 0; v < k->levels; v++) value[v] = l * ((float)k->grid->level[v] + shift);
                half_costs(t, b + i * VEC, 0, value, i, &low, k);
                half_costs(t, b + i * VEC, k->len / 2, value, i, &high, k);
            }
            least_of_all(&low, &high, best, k);
            for (int kind = 0; kind < kinds; kind++) {
                float row[WIDE * VEC];
                for (int i = 0; i < WIDE; i++) {
                    vec_store(out->cost[variant + kind] + b + i * VEC, best[kind].cost[i]);
                    vec_store(row + i * VEC, best[kind].row[i]);
                }
                for (int lane = 0; points && lane < WIDE * VEC; lane++)
                    points->at[variant + kind][b + lane] = point_of_row(&low, &high, (int)row[lane], lane, kind, k);
            }
        }
}

/* The cost of a set of 8 weights, and of which of its points the sign is turned. */
static ALWAYS_INLINE float set_cost(const struct weights *w, const struct lane_costs *c, int set, int *turned,
                                    const struct grid_type *k) {
    const float *cost = c->cost[0], *other = c->cost[1];
    *turned = -1;
    if (k->len == 8) {
        if (k->rule == SHIFT_EACH) return cost[set] <= other[set] ? cost[set] : other[set];
        if (k->rule == SIGNS_EVEN && w->odd[set]) return *turned = 0, other[set];
        return cost[set];
    }
    const int a = 2 * set, b = a + 1;
    if (k->rule != SIGNS_EVEN || !w->odd[set]) return cost[a] + cost[b];
    const float first = other[a] + cost[b], second = cost[a] + other[b];
    *turned = second < first;
    return *turned ? second : first;
}

/* The cost of all that share scale number `sub`. */
static ALWAYS_INLINE float sub_cost(const struct weights *w, const struct lane_costs *c, int sub,
                                    const struct grid_type *k) {
    const int n = SETS / k->subs;
    float sum = 0, down = 0;
    for (int set = n * sub, turned; set < n * (sub + 1); set++) {
        sum += set_cost(w, c, set, &turned, k);
        if (k->rule == SHIFT_SCALE) down += c->cost[1][set];
    }
    return k->rule == SHIFT_SCALE && down < sum ? down : sum;
}

/* Lanes' scales from those of the sub-blocks. */
static ALWAYS_INLINE void spread(const float *sub, float *scale, const struct grid_type *k) {
    for (int i = 0; i < k->lanes; i++) scale[i] = sub[i / (k->lanes / k->subs)];
}

static ALWAYS_INLINE void sub_costs(const struct weights *w, const float *sub_scale, float *cost,
                                    const struct grid_type *k) {
    float scale[MAX_GROUPS];
    struct lane_costs c;
    spread(sub_scale, scale, k);
    search_points(&w->t, scale, &c, NULL, k);
    for (int s = 0; s < k->subs; s++) cost[s] = sub_cost(w, &c, s, k);
}

/* Points, signs, and for each sub-block S_xv and S_vv. */
struct chosen {
    struct block_codes codes;
    float xv[MAX_LANES], vv[MAX_LANES];
};

/* Takes over point number `lane` with its signs, turning that of its cheapest element if asked. */
static ALWAYS_INLINE void take_point(const struct weights *w, int lane, bool turn, struct chosen *out,
                                     const struct grid_type *k) {
    const int8_t *v = k->grid->points + k->len * out->codes.point[lane];
    const int set = lane * k->len / 8, first = lane * k->len % 8, sub = set / (SETS / k->subs);
    const float *x = w->t.x + lane, *weight = w->t.w + lane;
    const float shift = !has_shift(k) ? 0 : out->codes.sign[set] ? -0.125f : 0.125f;
    float xv = 0, vv = 0, cheapest = INFINITY;
    int at = 0;
    for (int i = 0; i < k->len; i++) {
        float value = (float)v[i] + shift, wv = weight[i * k->lanes] * value, wxv = wv * x[i * k->lanes];
        xv += wxv;
        vv += wv * value;
        if (wxv < cheapest) cheapest = wxv, at = i;
    }
    if (turn) {
        xv -= 2 * cheapest;
        out->codes.sign[set] ^= (uint8_t)(1 << (first + at));
    }
    out->xv[sub] += xv;
    out->vv[sub] += vv;
}

static ALWAYS_INLINE void choose_points(const struct weights *w, const float *sub_scale, struct chosen *out,
                                        const struct grid_type *k) {
    float scale[MAX_GROUPS];
    struct lane_costs c;
    struct lane_points p = { 0 };
    const int per_set = k->lanes / SETS;
    spread(sub_scale, scale, k);
    search_points(&w->t, scale, &c, &p, k);
    memset(out->xv, 0, sizeof out->xv);
    memset(out->vv, 0, sizeof out->vv);
    for (int set = 0, turned; set < SETS; set++) {
        set_cost(w, &c, set, &turned, k);
        bool down = k->rule == SHIFT_EACH && c.cost[1][set] < c.cost[0][set];
        if (k->rule == SHIFT_SCALE) {
            const int n = SETS / k->subs, first = set / n * n;
            float sum[2] = { 0, 0 };
            for (int i = first; i < first + n; i++) sum[0] += c.cost[0][i], sum[1] += c.cost[1][i];
            down = sum[1] < sum[0];
        }
        out->codes.sign[set] = has_shift(k) ? down : w->sign[set];
        for (int i = 0; i < per_set; i++) {
            const int lane = set * per_set + i;
            out->codes.point[lane] = (uint16_t)p.at[down || i == turned][lane];
            take_point(w, lane, i == turned, out, k);
        }
    }
}

static ALWAYS_INLINE void load_weights(struct weights *w, const float *x, const float *weight,
                                       const struct grid_type *k) {
    tile_load(&w->t, x, weight, TILE, k->lanes);
    memset(w->sign, 0, sizeof w->sign);
    memset(w->odd, 0, sizeof w->odd);
    if (has_shift(k)) return;
    for (int set = 0; set < SETS; set++) {
        unsigned signs = 0, minus = 0;
        for (int i = 0; i < 8; i++) signs |= (unsigned)(x[8 * set + i] < 0) << i, minus += x[8 * set + i] < 0;
        w->sign[set] = (uint8_t)signs;
        w->odd[set] = minus & 1;
    }
    for (int i = 0; i < TILE; i += VEC) vec_store(w->t.x + i, vec_abs(vec_load(w->t.x + i)));
}

/* What the lanes cost if every element could take the level nearest to it: a rough idea of which scales are good. */
static ALWAYS_INLINE void rough_costs(const struct tile *t, const float *scale, float *cost,
                                      const struct grid_type *k) {
    for (int b = 0; b < k->lanes; b += VEC) {
        vec l = vec_load(scale + b), least_sum = vec_all(INFINITY);
        for (int variant = 0; variant <= has_shift(k); variant++) {
            const float shift = has_shift(k) ? variant ? -0.125f : 0.125f : 0;
            vec sum = vec_all(0);
            for (int e = 0; e < k->len; e++) {
                vec x = vec_load(t->x + e * k->lanes + b), d = vec_all(INFINITY);
                for (int v = 0; v < k->levels; v++) d = vec_min(d, vec_abs(x - l * ((float)k->grid->level[v] + shift)));
                sum += vec_load(t->w + e * k->lanes + b) * d * d;
            }
            least_sum = vec_min(least_sum, sum);
        }
        vec_store(cost + b, least_sum);
    }
}

/* The best real scale of each sub-block and its parabola. */
struct fit { float scale[MAX_LANES], xv[MAX_LANES], vv[MAX_LANES]; };

/* The weighted root mean square of each sub-block. */
static ALWAYS_INLINE void rms_of(const float *x, const float *weight, float *rms, const struct grid_type *k) {
    const int len = TILE / k->subs;
    for (int s = 0; s < k->subs; s++) {
        float xx = 0, sum = 0;
        for (int i = s * len; i < (s + 1) * len; i++) {
            xx += weight[i] * x[i] * x[i];
            sum += weight[i];
        }
        rms[s] = sqrtf(xx / sum);
    }
}

/* The best of a wide range of scales by their rough costs. */
static ALWAYS_INLINE void rough_scales(const struct weights *w, const float *rms, float *out,
                                       const struct grid_type *k) {
    const int lanes = k->lanes / k->subs;
    float trial[MAX_LANES] = { 0 }, least[MAX_LANES], scale[MAX_GROUPS], cost[MAX_GROUPS];
    for (int s = 0; s < k->subs; s++) {
        trial[s] = out[s] = rms[s] * k->from;
        least[s] = INFINITY;
    }
    for (int i = 0; i < k->steps; i++) {
        spread(trial, scale, k);
        rough_costs(&w->t, scale, cost, k);
        for (int s = 0; s < k->subs; s++) {
            float sum = 0;
            for (int b = s * lanes; b < (s + 1) * lanes; b++) sum += cost[b];
            if (sum < least[s]) least[s] = sum, out[s] = trial[s];
            trial[s] *= k->step;
        }
    }
}

/* Around the rough scale, rather above it since points are fewer far out, the exact costs decide. Before that the scale
 * at which all weights are as small as elements are: equal weights are exact there, and every grid has that point. */
static ALWAYS_INLINE void fit_subs(const struct weights *w, const float *x, const float *weight, struct fit *f,
                                   const struct grid_type *k) {
    enum { BELOW = 2, ABOVE = 5 };
    float rms[MAX_LANES], first[MAX_LANES], trial[MAX_LANES] = { 0 }, cost[MAX_LANES], best[MAX_LANES];
    rms_of(x, weight, rms, k);
    rough_scales(w, rms, first, k);
    for (int s = 0; s < k->subs; s++) {
        trial[s] = f->scale[s] = rms[s] / fabsf((float)k->grid->level[0]);
        best[s] = INFINITY;
    }
    for (int i = -BELOW; i <= ABOVE + 1; i++) {
        sub_costs(w, trial, cost, k);
        for (int s = 0; s < k->subs; s++) {
            if (cost[s] < best[s]) best[s] = cost[s], f->scale[s] = trial[s];
            trial[s] = first[s] * (1 + 0.1f * (float)i);
        }
    }
    struct chosen c;
    choose_points(w, f->scale, &c, k);
    for (int s = 0; s < k->subs; s++) {
        f->xv[s] = c.xv[s];
        f->vv[s] = c.vv[s];
        f->scale[s] = c.vv[s] > 0 ? c.xv[s] / c.vv[s] : 0;
    }
}

/* One choice of d and s, and its exact error. */
struct choice { float d, s[MAX_LANES], error; };

static ALWAYS_INLINE float nearest_s(float scale, float inv, const struct grid_type *k) {
    return clamp(nearbyintf(scale * inv - 0.5f), 0, k->scale_top);
}

/* The d whose integer scales fit the sub-blocks' parabolas best: the largest scale is put at each of many places.
 * Halves near the least are far apart, so d is rounded before it is judged. */
static ALWAYS_INLINE struct choice choose_d(const struct fit *f, const struct grid_type *k) {
    enum { TRIES = 32 };
    struct choice best = { 0 };
    float end = 0, least = 0;
    for (int s = 0; s < k->subs; s++) end = f->scale[s] > end ? f->scale[s] : end;
    for (int i = 0; i < TRIES; i++) {
        float inv = (k->scale_top + 0.5f) * (1.1f - 0.6f * (float)i / TRIES) * inverse(end), num = 0, den = 0;
        for (int s = 0; s < k->subs; s++) {
            float u = k->unit * (nearest_s(f->scale[s], inv, k) + 0.5f);
            num += u * f->xv[s];
            den += u * u * f->vv[s];
        }
        float d = half_rounded(den > 0 && num > 0 ? num / den : 0), cost = d * (d * den - 2 * num);
        if (cost < least) least = cost, best.d = d;
    }
    float inv = inverse(best.d * k->unit);
    for (int s = 0; s < k->subs; s++) best.s[s] = nearest_s(f->scale[s], inv, k);
    return best;
}

/* Each sub-block takes the best of s - radius .. s + radius at this d, the first of equals. */
static ALWAYS_INLINE void best_neighbours(const struct weights *w, struct choice *c, int radius,
                                          const struct grid_type *k) {
    float least_cost[MAX_LANES], at[MAX_LANES], trial[MAX_LANES], scale[MAX_LANES] = { 0 }, cost[MAX_LANES];
    for (int s = 0; s < k->subs; s++) least_cost[s] = INFINITY, at[s] = c->s[s];
    for (int step = -radius; step <= radius; step++) {
        for (int s = 0; s < k->subs; s++) {
            trial[s] = clamp(c->s[s] + (float)step, 0, k->scale_top);
            scale[s] = c->d * (k->unit * (trial[s] + 0.5f));
        }
        sub_costs(w, scale, cost, k);
        for (int s = 0; s < k->subs; s++)
            if (cost[s] < least_cost[s]) least_cost[s] = cost[s], at[s] = trial[s];
    }
    c->error = 0;
    for (int s = 0; s < k->subs; s++) c->error += least_cost[s], c->s[s] = at[s];
}

/* The points that d and s give, and the least-squares d for them. */
static ALWAYS_INLINE float refitted_d(const struct weights *w, const struct choice *c, struct chosen *out,
                                      const struct grid_type *k) {
    float scale[MAX_LANES] = { 0 }, num = 0, den = 0;
    for (int s = 0; s < k->subs; s++) scale[s] = c->d * (k->unit * (c->s[s] + 0.5f));
    choose_points(w, scale, out, k);
    for (int s = 0; s < k->subs; s++) {
        float u = k->unit * (c->s[s] + 0.5f);
        num += u * out->xv[s];
        den += u * u * out->vv[s];
    }
    return half_rounded(den > 0 ? num / den : 0);
}

static ALWAYS_INLINE void search_grid(const float *x, const float *weight, uint8_t *out, size_t n,
                                      const struct grid_type *k) {
    for (; n; n -= TILE, x += TILE, weight += TILE, out += k->block_bytes) {
        struct weights w;
        struct fit f;
        struct chosen best;
        load_weights(&w, x, weight, k);
        fit_subs(&w, x, weight, &f, k);
        struct choice c = choose_d(&f, k);
        float error = INFINITY;
        for (int round = 0; round < 2; round++) {
            best_neighbours(&w, &c, 1, k);
            if (!(c.error < error)) break;
            error = c.error;
            best.codes.d = f16_from_f32(c.d);
            for (int s = 0; s < k->subs; s++) best.codes.scale[s] = (uint8_t)c.s[s];
            c.d = refitted_d(&w, &c, &best, k);
        }
        k->pack(&best.codes, out);
    }
}

#define SEARCH(codec, points, ...)                                                               \
    void ENC_NAME(search_##codec)(const float *x, const float *w, void *out, size_t n) {         \
        const struct grid_type type = { __VA_ARGS__, .grid = &points, .pack = pack_##codec };    \
        search_grid(x, w, out, n, &type);                                                        \
    }
SEARCH(iq1_s, iq1_grid, .rule = SHIFT_SCALE, .len = 8, .levels = 3, .lanes = 32, .subs = 8, .unit = 2,
       .scale_top = 7, .from = 0.5f, .step = 1.2f, .steps = 14, .block_bytes = 50)
SEARCH(iq1_m, iq1_grid, .rule = SHIFT_EACH, .len = 8, .levels = 3, .lanes = 32, .subs = 16, .unit = 2,
       .scale_top = 7, .from = 0.5f, .step = 1.2f, .steps = 14, .block_bytes = 56)
SEARCH(iq2_xxs, iq2_xxs_grid, .rule = SIGNS_EVEN, .len = 8, .levels = 3, .lanes = 32, .subs = 8, .unit = 0.25f,
       .scale_top = 15, .from = 0.02f, .step = 1.2f, .steps = 11, .block_bytes = 66)
SEARCH(iq2_xs, iq2_xs_grid, .rule = SIGNS_EVEN, .len = 8, .levels = 3, .lanes = 32, .subs = 16, .unit = 0.25f,
       .scale_top = 15, .from = 0.02f, .step = 1.2f, .steps = 11, .block_bytes = 74)
SEARCH(iq2_s, iq2_s_grid, .rule = SIGNS_FREE, .len = 8, .levels = 3, .lanes = 32, .subs = 16, .unit = 0.25f,
       .scale_top = 15, .from = 0.02f, .step = 1.2f, .steps = 11, .block_bytes = 82)
SEARCH(iq3_xxs, iq3_xxs_grid, .rule = SIGNS_EVEN, .len = 4, .levels = 8, .lanes = 64, .subs = 8, .unit = 0.5f,
       .scale_top = 15, .from = 0.015f, .step = 1.2f, .steps = 16, .block_bytes = 98)
SEARCH(iq3_s, iq3_s_grid, .rule = SIGNS_FREE, .len = 4, .levels = 8, .lanes = 64, .subs = 8, .unit = 2,
       .scale_top = 15, .from = 0.06f, .step = 1.2f, .steps = 16, .block_bytes = 110)
