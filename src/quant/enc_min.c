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

static ALWAYS_INLINE void sums_at(const struct tile *t, const float *inv, const float *min, struct sums *out,
                                  const struct min_type *k) {
    float q1[MAX_LANES] = { 0 }, qq[MAX_LANES] = { 0 }, xq[MAX_LANES] = { 0 };
    for (int j = 0; j < TILE; j += k->lanes)
        for (int b = 0; b < k->lanes; b++) {
            float x = t->x[j + b], q = nearest(clamp((x + min[b]) * inv[b], 0, k->top)), wq = t->w[j + b] * q;
            q1[b] += wq;
            qq[b] += wq * q;
            xq[b] += wq * x;
        }
    for (int b = 0; b < k->lanes; b++) out->q[b] = q1[b], out->qq[b] = qq[b], out->xq[b] = xq[b];
}

/* The exact error of each lane with L = scale, M = min, codes rounded for them. */
static ALWAYS_INLINE void errors_at(const struct tile *t, const float *scale, const float *min, float *err,
                                    const struct min_type *k) {
    float inv[MAX_LANES], sum[MAX_LANES] = { 0 };
    for (int b = 0; b < k->lanes; b++) inv[b] = inverse(scale[b]);
    for (int j = 0; j < TILE; j += k->lanes)
        for (int b = 0; b < k->lanes; b++) {
            float shifted = t->x[j + b] + min[b], q = nearest(clamp(shifted * inv[b], 0, k->top));
            float d = shifted - scale[b] * q;
            sum[b] += t->w[j + b] * d * d;
        }
    memcpy(err, sum, sizeof sum);
}

/* The best real scale and min of each lane, and the sums of their codes. gain: how far the error falls below S_xx. */
struct fit { float scale[MAX_LANES], min[MAX_LANES], gain[MAX_LANES]; struct sums sums; };

static ALWAYS_INLINE void try_range(const struct tile *t, const struct consts *c, const float *inv, const float *min,
                                    struct fit *f, const struct min_type *k) {
    struct sums s;
    sums_at(t, inv, min, &s, k);
    for (int b = 0; b < k->lanes; b++) {
        float det = c->one[b] * s.qq[b] - s.q[b] * s.q[b];
        /* Equal codes leave the min undefined; rounding makes of det's zero a small number of either sign. */
        bool solvable = det > 1e-6f * c->one[b] * s.qq[b];
        float inv_det = 1 / (solvable ? det : 1);
        float scale = (c->one[b] * s.xq[b] - c->x[b] * s.q[b]) * inv_det;
        float m = (s.q[b] * s.xq[b] - s.qq[b] * c->x[b]) * inv_det;
        bool alone = !solvable || (k->scale_top > 0 && m < 0);
        scale = alone ? s.xq[b] / (s.qq[b] > 0 ? s.qq[b] : 1) : scale;
        m = alone ? 0 : m;
        float gain = scale * s.xq[b] - m * c->x[b];
        bool better = gain > f->gain[b] && scale > 0;
        f->scale[b] = better ? scale : f->scale[b];
        f->min[b] = better ? m : f->min[b];
        f->gain[b] = better ? gain : f->gain[b];
        f->sums.q[b] = better ? s.q[b] : f->sums.q[b];
        f->sums.qq[b] = better ? s.qq[b] : f->sums.qq[b];
        f->sums.xq[b] = better ? s.xq[b] : f->sums.xq[b];
    }
}

static ALWAYS_INLINE void fit_lanes(const struct tile *t, struct consts *c, struct fit *f, const struct min_type *k) {
    float lo[MAX_LANES], hi[MAX_LANES], inv[MAX_LANES], min[MAX_LANES];
    memset(f, 0, sizeof *f);
    memset(c, 0, sizeof *c);
    for (int b = 0; b < k->lanes; b++) {
        lo[b] = k->scale_top > 0 ? 0 : t->x[b];
        hi[b] = t->x[b];
    }
    for (int j = 0; j < TILE; j += k->lanes)
        for (int b = 0; b < k->lanes; b++) {
            float x = t->x[j + b], w = t->w[j + b];
            lo[b] = x < lo[b] ? x : lo[b];
            hi[b] = x > hi[b] ? x : hi[b];
            c->one[b] += w;
            c->x[b] += w * x;
        }
    /* Without any code: all elements at -M. */
    for (int b = 0; b < k->lanes; b++) {
        float m = c->one[b] > 0 ? -c->x[b] / c->one[b] : 0;
        f->min[b] = k->scale_top > 0 && m < 0 ? 0 : m;
        f->gain[b] = -f->min[b] * c->x[b];
    }
    for (int below = 0; below < k->clips; below++)
        for (int above = 0; above < k->clips; above++) {
            for (int b = 0; b < k->lanes; b++) {
                float range = hi[b] - lo[b];
                min[b] = -(lo[b] + range * k->clip_step * (float)below);
                inv[b] = k->top * inverse(range * (1 - k->clip_step * (float)(below + above)));
            }
            try_range(t, c, inv, min, f, k);
        }
    for (int round = 0; round < 2; round++) {
        for (int b = 0; b < k->lanes; b++) {
            inv[b] = inverse(f->scale[b]);
            min[b] = f->min[b];
        }
        try_range(t, c, inv, min, f, k);
    }
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

/* By the paraboloids alone: s is one of the two integers around L / d, m the one nearest to the best min for that s. */
static ALWAYS_INLINE void integers_for(const struct consts *c, const struct fit *f, struct choice *out,
                                       const struct min_type *k) {
    float inv_d = inverse(out->d), inv_m = inverse(out->dmin), err[MAX_LANES];
    for (int b = 0; b < k->lanes; b++) {
        float at = f->scale[b] * inv_d, base = nearest(at - 0.5f);
        for (int up = 0; up < 2; up++) {
            float s = clamp(base + (float)up, 0, k->scale_top), scale = s * out->d;
            float one = c->one[b] > 0 ? c->one[b] : 1;
            float m = nearest(clamp((scale * f->sums.q[b] - c->x[b]) / one * inv_m, 0, k->scale_top));
            float min = m * out->dmin;
            float e = scale * (scale * f->sums.qq[b] - 2 * f->sums.xq[b] - 2 * min * f->sums.q[b]) +
                      min * (min * c->one[b] + 2 * c->x[b]);
            bool better = !up || e < err[b];
            err[b] = better ? e : err[b];
            out->s[b] = better ? s : out->s[b];
            out->m[b] = better ? m : out->m[b];
        }
    }
    out->error = sum_lanes(err, k->lanes);
}

static ALWAYS_INLINE struct choice choose_d(const struct consts *c, const struct fit *f, const struct min_type *k) {
    enum { TRIES = 10 };
    float largest = max_lanes(f->scale, k->lanes), largest_min = max_lanes(f->min, k->lanes);
    struct choice best = { .error = INFINITY };
    for (int i = 0; i < TRIES; i++)
        for (int j = 0; j < TRIES; j++) {
            struct choice trial = {
                .d = half_rounded(largest / (k->scale_top * (1.04f - 0.04f * (float)i))),
                .dmin = half_rounded(largest_min / (k->scale_top * (1.04f - 0.04f * (float)j))),
            };
            integers_for(c, f, &trial, k);
            if (trial.error < best.error) best = trial;
        }
    return best;
}

/* Each lane takes the best of its neighbours in (s, m), up to `radius` away. */
static ALWAYS_INLINE void best_neighbours(const struct tile *t, struct choice *at, int radius,
                                          const struct min_type *k) {
    float err[MAX_LANES], s[MAX_LANES], m[MAX_LANES];
    memset(err, 0, sizeof err);
    for (int ds = -radius; ds <= radius; ds++)
        for (int dm = -radius; dm <= radius; dm++) {
            float ts[MAX_LANES], tm[MAX_LANES], scale[MAX_LANES], min[MAX_LANES], e[MAX_LANES];
            for (int b = 0; b < k->lanes; b++) {
                ts[b] = clamp(at->s[b] + (float)ds, 0, k->scale_top);
                tm[b] = clamp(at->m[b] + (float)dm, 0, k->scale_top);
                scale[b] = at->d * ts[b];
                min[b] = at->dmin * tm[b];
            }
            errors_at(t, scale, min, e, k);
            bool first = ds == -radius && dm == -radius;
            for (int b = 0; b < k->lanes; b++) {
                bool better = first || e[b] < err[b];
                err[b] = better ? e[b] : err[b];
                s[b] = better ? ts[b] : s[b];
                m[b] = better ? tm[b] : m[b];
            }
        }
    memcpy(at->s, s, sizeof s);
    memcpy(at->m, m, sizeof m);
    at->error = sum_lanes(err, k->lanes);
}

/* d and dmin by least squares for the codes that s and m give; unchanged where that has no sense. */
static ALWAYS_INLINE void refit_d(const struct tile *t, const struct consts *c, struct choice *at,
                                  const struct min_type *k) {
    float inv[MAX_LANES], min[MAX_LANES];
    struct sums q;
    for (int b = 0; b < k->lanes; b++) {
        inv[b] = inverse(at->d * at->s[b]);
        min[b] = at->dmin * at->m[b];
    }
    sums_at(t, inv, min, &q, k);
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
    float v[TILE], inv[MAX_LANES];
    for (int b = 0; b < k->lanes; b++) inv[b] = inverse(scale[b]);
    for (int j = 0; j < TILE; j += k->lanes)
        for (int b = 0; b < k->lanes; b++) v[j + b] = nearest(clamp((t->x[j + b] + min[b]) * inv[b], 0, k->top));
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
    struct halves at, best = { { 0 }, { 0 } };
    float best_err[MAX_LANES], err[MAX_LANES];
    for (int b = 0; b < k->lanes; b++) {
        at.scale[b] = half_rounded(f->scale[b]);
        at.min[b] = half_rounded(f->min[b]);
    }
    for (int round = 0; round < 5; round++) {
        float inv[MAX_LANES];
        struct sums s;
        for (int b = 0; b < k->lanes; b++) inv[b] = inverse(at.scale[b]);
        errors_at(t, at.scale, at.min, err, k);
        sums_at(t, inv, at.min, &s, k);
        for (int b = 0; b < k->lanes; b++) {
            bool better = !round || err[b] < best_err[b];
            best.scale[b] = better ? at.scale[b] : best.scale[b];
            best.min[b] = better ? at.min[b] : best.min[b];
            best_err[b] = better ? err[b] : best_err[b];
            float scale = s.qq[b] > 0 ? (s.xq[b] + at.min[b] * s.q[b]) / s.qq[b] : 0;
            float min = c->one[b] > 0 ? (at.scale[b] * s.q[b] - c->x[b]) / c->one[b] : 0;
            at.scale[b] = round & 1 ? at.scale[b] : half_rounded(scale);
            at.min[b] = round & 1 ? half_rounded(min) : at.min[b];
        }
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

#define SEARCH(codec, rule, ...)                                                  \
    void search_##codec(const float *x, const float *w, void *out, size_t n) {    \
        static const struct min_type type = { __VA_ARGS__, .pack = pack_##codec }; \
        rule(x, w, out, n, &type);                                                \
    }
SEARCH(q4_1, search_single, .lanes = 8, .top = 15, .clip_step = 0.02f, .clips = 5, .block_bytes = 20)
SEARCH(q5_1, search_single, .lanes = 8, .top = 31, .clip_step = 0.01f, .clips = 4, .block_bytes = 24)
SEARCH(q2_k, search_super, .lanes = 16, .top = 3, .clip_step = 0.06f, .clips = 6, .scale_top = 15, .radius = 3,
       .block_bytes = 84)
SEARCH(q4_k, search_super, .lanes = 8, .top = 15, .clip_step = 0.02f, .clips = 5, .scale_top = 63, .radius = 4,
       .block_bytes = 144)
SEARCH(q5_k, search_super, .lanes = 8, .top = 31, .clip_step = 0.01f, .clips = 4, .scale_top = 63, .radius = 4,
       .block_bytes = 176)
