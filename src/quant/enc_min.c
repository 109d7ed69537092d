/* Owns the search for types with mins: x' = L q - M, codes q = 0..top. Q4_1 and Q5_1 have two halves per block of 32;
 * Q2_K, Q4_K and Q5_K have L = d s and M = dmin m >= 0 with small integers s and m per sub-block and two halves per
 * 256.
 *
 * For fixed codes the error is a paraboloid in (L, M) whose minimum solves two linear equations. (1) Try a grid of
 * ranges inside the weights' own, each end clipped by its own share; keep the lowest paraboloid and re-round with its
 * minimum. (2) For K types choose d and dmin among candidates by the paraboloids alone. (3) Alternate exact steps while
 * the error falls: s and m of each lane against their neighbours, codes re-rounded; d and dmin by least squares. The
 * neighbourhood is wide at first: under re-rounding the exact error is rugged along the valley where a larger s goes
 * with a larger m, and each further try there has its chance (Q5_K: radius 1 to 4 lowers the error by 4 %). */
#include "quant/enc_tile.h"

struct min_type {
    int lanes;
    float top;             /* largest code */
    float clip_step;       /* ends are clipped by 0 .. clips - 1 of these, as shares of the range */
    int clips;
    float scale_top;       /* largest s and m; 0 where every block has its own halves */
    int radius;            /* how far from the first guess s and m are searched */
    size_t block_bytes;
    block_pack *pack;
};

/* Per lane: sums over elements of w times 1, x; and for some codes w times q, q^2, x q. */
struct consts { float one[MAX_LANES], x[MAX_LANES]; };
struct sums { float q[MAX_LANES], qq[MAX_LANES], xq[MAX_LANES]; };
/* The same of VEC lanes. */
struct vec_sums { vec q, qq, xq; };

/* The code of x with M = min at inverse scale inv, given x + M. */
static ALWAYS_INLINE vec code(vec shifted, vec inv, const struct min_type *k) {
    return vec_nearest(vec_clamp(shifted * inv, 0, k->top));
}

/* Sums of the VEC lanes from b on. */
static ALWAYS_INLINE struct vec_sums sums_at(const struct tile *t, int b, vec inv, vec min, const struct min_type *k) {
    struct vec_sums s = { vec_all(0), vec_all(0), vec_all(0) };
    for (int j = b; j < TILE; j += k->lanes) {
        vec x = vec_load(t->x + j), q = code(x + min, inv, k), wq = vec_load(t->w + j) * q;
        s.q += wq;
        s.qq += wq * q;
        s.xq += wq * x;
    }
    return s;
}

/* The exact errors of the VEC lanes from b on with L = scale, M = min, codes rounded for them. Where all of them rise
 * beyond `enough`, they are left there. */
static ALWAYS_INLINE vec errors_at(const struct tile *t, int b, vec scale, vec inv, vec min, vec enough,
                                   const struct min_type *k) {
    vec sum = vec_all(0);
    for (int j = b; j < TILE && !vec_every_above(sum, enough);)
        for (int stop = j + TILE / 4; j < stop; j += k->lanes) {
            vec shifted = vec_load(t->x + j) + min, d = shifted - scale * code(shifted, inv, k);
            sum += vec_load(t->w + j) * d * d;
        }
    return sum;
}

/* The best real scale and min of each lane, and the sums of their codes. */
struct fit { float scale[MAX_LANES], min[MAX_LANES]; struct sums sums; };
/* The same of VEC lanes. gain: how far the error falls below S_xx. */
struct vec_fit { vec scale, min, gain; struct vec_sums sums; };

static ALWAYS_INLINE void try_range(const struct tile *t, int b, const vec c[2], vec inv, vec min, struct vec_fit *f,
                                    const struct min_type *k) {
    const vec zero = vec_all(0), unit = vec_all(1), one = c[0], x = c[1];
    struct vec_sums s = sums_at(t, b, inv, min, k);
    vec det = one * s.qq - s.q * s.q;
    /* Equal codes leave the min undefined; rounding makes of det's zero a small number of either sign. */
    vec solvable = vec_above(det, 1e-6f * one * s.qq);
    vec inv_det = 1 / vec_pick(solvable, det, unit);
    vec scale = (one * s.xq - x * s.q) * inv_det;
    vec m = (s.q * s.xq - s.qq * x) * inv_det;
    /* Without a min, or where it would have a sign that the type has not. */
    vec alone = s.xq / vec_pick(vec_above(s.qq, zero), s.qq, unit);
    scale = vec_pick(solvable, scale, alone);
    m = vec_pick(solvable, m, zero);
    if (k->scale_top > 0) {
        vec below = vec_above(zero, m);
        scale = vec_pick(below, alone, scale);
        m = vec_pick(below, zero, m);
    }
    vec gain = scale * s.xq - m * x;
    vec better = vec_pick(vec_above(scale, zero), vec_above(gain, f->gain), zero);
    f->scale = vec_pick(better, scale, f->scale);
    f->min = vec_pick(better, m, f->min);
    f->gain = vec_pick(better, gain, f->gain);
    f->sums.q = vec_pick(better, s.q, f->sums.q);
    f->sums.qq = vec_pick(better, s.qq, f->sums.qq);
    f->sums.xq = vec_pick(better, s.xq, f->sums.xq);
}

/* Fits the VEC lanes from b on. */
static ALWAYS_INLINE void fit_vec(const struct tile *t, int b, struct consts *consts, struct fit *out,
                                  const struct min_type *k) {
    const vec zero = vec_all(0);
    vec lo = k->scale_top > 0 ? zero : vec_load(t->x + b), hi = vec_load(t->x + b), c[2] = { zero, zero };
    for (int j = b; j < TILE; j += k->lanes) {
        vec x = vec_load(t->x + j), w = vec_load(t->w + j);
        lo = vec_min(x, lo);
        hi = vec_max(x, hi);
        c[0] += w;
        c[1] += w * x;
    }
    /* Without any code: all elements at -M. */
    vec m = vec_ratio(-c[1], c[0]), range = hi - lo;
    if (k->scale_top > 0) m = vec_max(m, zero);
    struct vec_fit f = { .scale = zero, .min = m, .gain = -m * c[1], .sums = { zero, zero, zero } };
    for (int below = 0; below < k->clips; below++)
        for (int above = 0; above < k->clips; above++) {
            vec min = -(lo + range * k->clip_step * (float)below);
            vec inv = k->top * vec_inverse(range * (1 - k->clip_step * (float)(below + above)));
            try_range(t, b, c, inv, min, &f, k);
        }
    for (int round = 0; round < 2; round++) try_range(t, b, c, vec_inverse(f.scale), f.min, &f, k);
    vec_store(consts->one + b, c[0]);
    vec_store(consts->x + b, c[1]);
    vec_store(out->scale + b, f.scale);
    vec_store(out->min + b, f.min);
    vec_store(out->sums.q + b, f.sums.q);
    vec_store(out->sums.qq + b, f.sums.qq);
    vec_store(out->sums.xq + b, f.sums.xq);
}

static ALWAYS_INLINE void fit_lanes(const struct tile *t, struct consts *c, struct fit *f, const struct min_type *k) {
    for (int b = 0; b < k->lanes; b += VEC) fit_vec(t, b, c, f, k);
}

static ALWAYS_INLINE float sum_lanes(const float *v, int lanes) {
    float sum = 0;
    for (int b = 0; b < lanes; b++) sum += v[b];
    return sum;
}

static ALWAYS_INLINE float max_lanes(const float *v, int lanes) {
    float m = 0;
    for (int b = 0; b < lanes; b++) m = v[b] > m ? v[b] : m;
    return m;
}

/* A choice of everything but the codes, and its error. */
struct choice { float d, dmin, s[MAX_LANES], m[MAX_LANES], error; };

/* What a lane may choose from at some d: s is one of the two integers around L / d. e(M) is its error's paraboloid. */
struct half_choice {
    float s[MAX_LANES], scale[MAX_LANES]; /* L = scale = d s */
    float min[MAX_LANES];                 /* the best real M for this L */
    float base[MAX_LANES];                /* (e(M) - M (M S_1 + 2 S_x)) / L + 2 M S_q */
};

static ALWAYS_INLINE void half_choose(const struct consts *c, const struct fit *f, float d, int up,
                                      struct half_choice *h, const struct min_type *k) {
    float inv_d = inverse(d);
    for (int b = 0; b < k->lanes; b += VEC) {
        vec at = vec_load(f->scale + b) * inv_d, one = vec_load(c->one + b);
        vec s = vec_clamp(vec_nearest(at - 0.5f) + (float)up, 0, k->scale_top), scale = s * d;
        one = vec_pick(vec_above(one, vec_all(0)), one, vec_all(1));
        vec_store(h->s + b, s);
        vec_store(h->scale + b, scale);
        vec_store(h->min + b, (scale * vec_load(f->sums.q + b) - vec_load(c->x + b)) / one);
        vec_store(h->base + b, scale * vec_load(f->sums.qq + b) - 2 * vec_load(f->sums.xq + b));
    }
}

/* By the paraboloids alone: each lane takes the better half, and the m nearest to its best min. */
static ALWAYS_INLINE void integers_for(const struct consts *c, const struct fit *f, const struct half_choice h[2],
                                       struct choice *out, const struct min_type *k) {
    float inv_m = inverse(out->dmin), err[MAX_LANES];
    for (int b = 0; b < k->lanes; b += VEC) {
        vec m[2], e[2], q = vec_load(f->sums.q + b), one = vec_load(c->one + b), x = vec_load(c->x + b);
        for (int up = 0; up < 2; up++) {
            m[up] = vec_nearest(vec_clamp(vec_load(h[up].min + b) * inv_m, 0, k->scale_top));
            vec min = m[up] * out->dmin, base = vec_load(h[up].base + b) - min * 2 * q;
            e[up] = vec_load(h[up].scale + b) * base + min * (min * one + x * 2);
        }
        vec second = vec_above(e[0], e[1]);
        vec_store(err + b, vec_pick(second, e[1], e[0]));
        vec_store(out->m + b, vec_pick(second, m[1], m[0]));
        vec_store(out->s + b, vec_pick(second, vec_load(h[1].s + b), vec_load(h[0].s + b)));
    }
    out->error = sum_lanes(err, k->lanes);
}

static ALWAYS_INLINE struct choice choose_d(const struct consts *c, const struct fit *f, const struct min_type *k) {
    enum { TRIES = 10 };
    float largest = max_lanes(f->scale, k->lanes), largest_min = max_lanes(f->min, k->lanes), dmin[TRIES];
    struct choice best = { .error = INFINITY };
    for (int i = 0; i < TRIES; i++) dmin[i] = half_rounded(largest_min / (k->scale_top * (1.04f - 0.04f * (float)i)));
    for (int i = 0; i < TRIES; i++) {
        struct choice trial = { .d = half_rounded(largest / (k->scale_top * (1.04f - 0.04f * (float)i))) };
        struct half_choice h[2];
        for (int up = 0; up < 2; up++) half_choose(c, f, trial.d, up, &h[up], k);
        for (int j = 0; j < TRIES; j++) {
            trial.dmin = dmin[j];
            integers_for(c, f, h, &trial, k);
            if (trial.error < best.error) best = trial;
        }
    }
    return best;
}

/* Each lane takes the best of its neighbours in (s, m), up to `radius` away, the first of equals. No error above that
 * of where it is can win, so it need not be known. */
static ALWAYS_INLINE void best_neighbours(const struct tile *t, struct choice *at, int radius,
                                          const struct min_type *k) {
    float err[MAX_LANES];
    for (int b = 0; b < k->lanes; b += VEC) {
        const vec s0 = vec_load(at->s + b), m0 = vec_load(at->m + b), never = vec_all(INFINITY);
        const vec here = errors_at(t, b, s0 * at->d, vec_inverse(s0 * at->d), m0 * at->dmin, never, k);
        vec least = never, s = s0, m = m0;
        for (int ds = -radius; ds <= radius; ds++) {
            vec ts = vec_clamp(s0 + (float)ds, 0, k->scale_top), scale = ts * at->d, inv = vec_inverse(scale);
            for (int dm = -radius; dm <= radius; dm++) {
                vec tm = vec_clamp(m0 + (float)dm, 0, k->scale_top);
                vec e = ds || dm ? errors_at(t, b, scale, inv, tm * at->dmin, vec_min(least, here), k) : here;
                vec better = vec_above(least, e);
                least = vec_pick(better, e, least);
                s = vec_pick(better, ts, s);
                m = vec_pick(better, tm, m);
            }
        }
        vec_store(err + b, least);
        vec_store(at->s + b, s);
        vec_store(at->m + b, m);
    }
    at->error = sum_lanes(err, k->lanes);
}

/* d and dmin by least squares for the codes that s and m give; unchanged where that has no sense. */
static ALWAYS_INLINE void refit_d(const struct tile *t, const struct consts *c, struct choice *at,
                                  const struct min_type *k) {
    struct sums q;
    for (int b = 0; b < k->lanes; b += VEC) {
        vec inv = vec_inverse(vec_load(at->s + b) * at->d), min = vec_load(at->m + b) * at->dmin;
        struct vec_sums sums = sums_at(t, b, inv, min, k);
        vec_store(q.q + b, sums.q);
        vec_store(q.qq + b, sums.qq);
        vec_store(q.xq + b, sums.xq);
    }
    float ss = 0, sm = 0, mm = 0, sx = 0, mx = 0;
    for (int b = 0; b < k->lanes; b++) {
        float s = at->s[b], m = at->m[b];
        ss += s * s * q.qq[b];
        sm += s * m * q.q[b];
        mm += m * m * c->one[b];
        sx += s * q.xq[b];
        mx += m * c->x[b];
    }
    float det = ss * mm - sm * sm;
    bool solvable = det > 1e-6f * ss * mm;
    float d = solvable ? (sx * mm - mx * sm) / det : ss > 0 ? sx / ss : 0;
    float dmin = solvable ? (sx * sm - mx * ss) / det : 0;
    if (d < 0 || dmin < 0) return;
    at->d = half_rounded(d);
    at->dmin = half_rounded(dmin);
}

static ALWAYS_INLINE void codes_of(const struct tile *t, const float *scale, const float *min, uint8_t *q,
                                   const struct min_type *k) {
    float v[TILE];
    for (int b = 0; b < k->lanes; b += VEC) {
        vec inv = vec_inverse(vec_load(scale + b)), m = vec_load(min + b);
        for (int j = b; j < TILE; j += k->lanes) vec_store(v + j, code(vec_load(t->x + j) + m, inv, k));
    }
    tile_codes(v, 0, k->lanes, q);
}

static ALWAYS_INLINE void search_super(const float *x, const float *w, uint8_t *out, size_t n,
                                       const struct min_type *k) {
    for (; n; n -= TILE, x += TILE, w += TILE, out += k->block_bytes) {
        struct tile t;
        struct consts c;
        struct fit f;
        tile_load(&t, x, w, n, k->lanes);
        fit_lanes(&t, &c, &f, k);
        struct choice at = choose_d(&c, &f, k), best = { .error = INFINITY };
        for (int round = 0; round < 4; round++) {
            best_neighbours(&t, &at, round ? 1 : k->radius, k);
            if (!(at.error < best.error)) break;
            best = at;
            refit_d(&t, &c, &at, k);
        }
        struct block_codes codes = { .d = f16_from_f32(best.d), .dmin = f16_from_f32(best.dmin) };
        float scale[MAX_LANES], min[MAX_LANES];
        for (int b = 0; b < k->lanes; b++) {
            codes.scale[b] = (uint8_t)best.s[b];
            codes.min[b] = (uint8_t)best.m[b];
            scale[b] = best.d * best.s[b];
            min[b] = best.dmin * best.m[b];
        }
        codes_of(&t, scale, min, codes.q, k);
        k->pack(&codes, out);
    }
}

/* What a block of 32 keeps: both numbers exact halves. */
struct halves { float scale[MAX_LANES], min[MAX_LANES]; };

/* Rounds scale and min to halves, then refits each in turn to the other's rounded value. */
static ALWAYS_INLINE struct halves settle_halves(const struct tile *t, const struct consts *c, const struct fit *f,
                                                 const struct min_type *k) {
    struct halves best;
    for (int b = 0; b < k->lanes; b += VEC) {
        const vec zero = vec_all(0), one = vec_load(c->one + b), x = vec_load(c->x + b);
        vec scale = vec_half(vec_load(f->scale + b)), min = vec_half(vec_load(f->min + b));
        vec best_scale = zero, best_min = zero, least = vec_all(INFINITY);
        for (int round = 0; round < 5; round++) {
            vec inv = vec_inverse(scale), e = errors_at(t, b, scale, inv, min, least, k), better = vec_above(least, e);
            best_scale = vec_pick(better, scale, best_scale);
            best_min = vec_pick(better, min, best_min);
            least = vec_pick(better, e, least);
            struct vec_sums s = sums_at(t, b, inv, min, k);
            if (round & 1) min = vec_half(vec_ratio(scale * s.q - x, one));
            else scale = vec_half(vec_ratio(s.xq + min * s.q, s.qq));
        }
        vec_store(best.scale + b, best_scale);
        vec_store(best.min + b, best_min);
    }
    return best;
}

static ALWAYS_INLINE void search_single(const float *x, const float *w, uint8_t *out, size_t n,
                                        const struct min_type *k) {
    const size_t len = TILE / (size_t)k->lanes;
    while (n) {
        struct tile t;
        struct consts c;
        struct fit f;
        tile_load(&t, x, w, n, k->lanes);
        fit_lanes(&t, &c, &f, k);
        struct halves best = settle_halves(&t, &c, &f, k);
        uint8_t q[TILE];
        codes_of(&t, best.scale, best.min, q, k);
        for (int b = 0; b < k->lanes && n; b++, n -= len, x += len, w += len, out += k->block_bytes) {
            struct block_codes codes = { .d = f16_from_f32(best.scale[b]), .dmin = f16_from_f32(-best.min[b]) };
            memcpy(codes.q, q + (size_t)b * len, len);
            k->pack(&codes, out);
        }
    }
}

#define SEARCH(codec, rule, ...)                                                         \
    void ENC_NAME(search_##codec)(const float *x, const float *w, void *out, size_t n) { \
        static const struct min_type type = { __VA_ARGS__, .pack = pack_##codec };       \
        rule(x, w, out, n, &type);                                                       \
    }
SEARCH(q4_1, search_single, .lanes = 8, .top = 15, .clip_step = 0.02f, .clips = 5, .block_bytes = 20)
SEARCH(q5_1, search_single, .lanes = 8, .top = 31, .clip_step = 0.01f, .clips = 4, .block_bytes = 24)
SEARCH(q2_k, search_super, .lanes = 16, .top = 3, .clip_step = 0.06f, .clips = 6, .scale_top = 15, .radius = 3,
       .block_bytes = 84)
SEARCH(q4_k, search_super, .lanes = 8, .top = 15, .clip_step = 0.02f, .clips = 5, .scale_top = 63, .radius = 4,
       .block_bytes = 144)
SEARCH(q5_k, search_super, .lanes = 8, .top = 31, .clip_step = 0.01f, .clips = 4, .scale_top = 63, .radius = 4,
       .block_bytes = 176)
