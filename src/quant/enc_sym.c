/* Owns the search for types without mins: a weight is scale times a level, x' = L v(q). Q4_0, Q5_0, Q8_0 and IQ4_NL
 * have a half L per block of 32; Q3_K, Q6_K and IQ4_XS have L = d s with a small integer s per sub-block and a half d
 * per 256.
 *
 * For fixed codes the error is a parabola in L whose minimum is S_xv / S_vv, so the search is over scales: (1) try a
 * grid of scales that puts the extreme weight at or beyond either end of the levels, keep the one whose parabola is
 * lowest, re-round with its minimum; (2) for K types choose d among candidates by the parabolas alone, s being the
 * nearest integers; (3) alternate exact steps while the error falls: every s against its neighbours, codes re-rounded,
 * d by least squares. */
#include "quant/enc_tile.h"

struct sym_type {
    int lanes;             /* sub-blocks in a tile of 256 */
    bool iq4;              /* levels of iq4_levels; else the integers lo..hi */
    float lo, hi;          /* the levels' ends */
    float bias;            /* code of level 0, types whose levels are integers */
    float from, to, step;  /* candidates: the extreme weight at from..to levels on either side */
    float scale_lo, scale_hi; /* range of s; both 0 where every block has its own half */
    uint8_t scale_bias;
    int radius;            /* how far from the first guess s is searched */
    size_t block_bytes;
    block_pack *pack;
};

/* The level nearest to t. */
static ALWAYS_INLINE float level(float t, const struct sym_type *k) {
    if (!k->iq4) return nearest(clamp(t, k->lo, k->hi));
    /* Climb over the middles between neighbours. The table is a constant of the format, spelled here as differences. */
    static const float rise[15] = { 23, 21, 18, 16, 14, 13, 12, 11, 12, 12, 13, 15, 16, 20, 24 };
    float v = -127, at = -127;
    for (int i = 0; i < 15; i++) {
        v += t > at + 0.5f * rise[i] ? rise[i] : 0;
        at += rise[i];
    }
    return v;
}

struct sums { float xv[MAX_LANES], vv[MAX_LANES]; };

/* S_xv and S_vv of each lane at inverse scale inv. */
static ALWAYS_INLINE void sums_at(const struct tile *t, const float *inv, struct sums *out, const struct sym_type *k) {
    float xv[MAX_LANES] = { 0 }, vv[MAX_LANES] = { 0 };
    for (int j = 0; j < TILE; j += k->lanes)
        for (int b = 0; b < k->lanes; b++) {
            float x = t->x[j + b], v = level(x * inv[b], k), wv = t->w[j + b] * v;
            xv[b] += wv * x;
            vv[b] += wv * v;
        }
    for (int b = 0; b < k->lanes; b++) out->xv[b] = xv[b], out->vv[b] = vv[b];
}

/* The exact error of each lane at scale L, codes rounded for it. */
static ALWAYS_INLINE void errors_at(const struct tile *t, const float *scale, float *err, const struct sym_type *k) {
    float inv[MAX_LANES], sum[MAX_LANES] = { 0 };
    for (int b = 0; b < k->lanes; b++) inv[b] = inverse(scale[b]);
    for (int j = 0; j < TILE; j += k->lanes)
        for (int b = 0; b < k->lanes; b++) {
            float x = t->x[j + b], d = x - scale[b] * level(x * inv[b], k);
            sum[b] += t->w[j + b] * d * d;
        }
    memcpy(err, sum, sizeof sum);
}

/* The best real scale of each lane and the sums of its codes. gain = S_xv^2 / S_vv is how far the error falls. */
struct fit { float scale[MAX_LANES], gain[MAX_LANES]; struct sums sums; };

static ALWAYS_INLINE void try_inverse(const struct tile *t, const float *inv, struct fit *f, const struct sym_type *k) {
    struct sums s;
    sums_at(t, inv, &s, k);
    for (int b = 0; b < k->lanes; b++) {
        float scale = s.vv[b] > 0 ? s.xv[b] / s.vv[b] : 0, gain = scale * s.xv[b];
        bool better = gain > f->gain[b];
        f->scale[b] = better ? scale : f->scale[b];
        f->gain[b] = better ? gain : f->gain[b];
        f->sums.xv[b] = better ? s.xv[b] : f->sums.xv[b];
        f->sums.vv[b] = better ? s.vv[b] : f->sums.vv[b];
    }
}

static ALWAYS_INLINE void fit_lanes(const struct tile *t, struct fit *f, const struct sym_type *k) {
    float ends[MAX_LANES] = { 0 }, inv[MAX_LANES];
    memset(f, 0, sizeof *f);
    for (int j = 0; j < TILE; j += k->lanes)
        for (int b = 0; b < k->lanes; b++) ends[b] = fabsf(t->x[j + b]) > fabsf(ends[b]) ? t->x[j + b] : ends[b];
    for (int b = 0; b < k->lanes; b++) ends[b] = inverse(ends[b]);
    for (float at = k->from; at < k->to; at += k->step)
        for (int sign = -1; sign <= 1; sign += 2) {
            for (int b = 0; b < k->lanes; b++) inv[b] = (float)sign * at * ends[b];
            try_inverse(t, inv, f, k);
        }
    for (int round = 0; round < 3; round++) {
        for (int b = 0; b < k->lanes; b++) inv[b] = inverse(f->scale[b]);
        try_inverse(t, inv, f, k);
    }
}

static ALWAYS_INLINE float sum_lanes(const float *v, int lanes) {
    float sum = 0;
    for (int b = 0; b < lanes; b++) sum += v[b];
    return sum;
}

/* The d whose integer scales fit the lanes' parabolas best: the largest scale is put at each of many integers. */
static ALWAYS_INLINE float choose_d(const struct fit *f, const struct sym_type *k) {
    enum { TRIES = 24 };
    float end = 0, best_d = 0, best_gain = 0;
    for (int b = 0; b < k->lanes; b++) end = fabsf(f->scale[b]) > fabsf(end) ? f->scale[b] : end;
    for (int i = 0; i < TRIES; i++)
        for (int sign = 0; sign < 2; sign++) {
            float at = (sign ? k->scale_hi : k->scale_lo) * (1.06f - 0.36f * (float)i / TRIES), inv = at * inverse(end);
            float num[MAX_LANES], den[MAX_LANES];
            for (int b = 0; b < k->lanes; b++) {
                float s = nearest(clamp(f->scale[b] * inv, k->scale_lo, k->scale_hi));
                num[b] = s * f->sums.xv[b];
                den[b] = s * s * f->sums.vv[b];
            }
            float n = sum_lanes(num, k->lanes), d = sum_lanes(den, k->lanes);
            if (n * n > best_gain * d && d > 0) best_gain = n * n / d, best_d = n / d;
        }
    return best_d;
}

/* One choice of d and s, and its exact error. */
struct choice { float d, s[MAX_LANES], error; };

/* Each lane takes the best of s - radius .. s + radius at this d. */
static ALWAYS_INLINE void best_neighbours(const struct tile *t, struct choice *c, int radius,
                                          const struct sym_type *k) {
    float err[MAX_LANES] = { 0 }, s[MAX_LANES] = { 0 };
    for (int step = -radius; step <= radius; step++) {
        float trial[MAX_LANES], scale[MAX_LANES], e[MAX_LANES];
        for (int b = 0; b < k->lanes; b++) {
            trial[b] = clamp(c->s[b] + (float)step, k->scale_lo, k->scale_hi);
            scale[b] = c->d * trial[b];
        }
        errors_at(t, scale, e, k);
        for (int b = 0; b < k->lanes; b++) {
            bool better = step == -radius || e[b] < err[b];
            err[b] = better ? e[b] : err[b];
            s[b] = better ? trial[b] : s[b];
        }
    }
    memcpy(c->s, s, sizeof s);
    c->error = sum_lanes(err, k->lanes);
}

/* The least-squares d for the codes that d and s give. */
static ALWAYS_INLINE float refitted_d(const struct tile *t, const struct choice *c, const struct sym_type *k) {
    float inv[MAX_LANES], num = 0, den = 0;
    struct sums q;
    for (int b = 0; b < k->lanes; b++) inv[b] = inverse(c->d * c->s[b]);
    sums_at(t, inv, &q, k);
    for (int b = 0; b < k->lanes; b++) {
        num += c->s[b] * q.xv[b];
        den += c->s[b] * c->s[b] * q.vv[b];
    }
    return half_rounded(den > 0 ? num / den : 0);
}

static ALWAYS_INLINE void codes_of(const struct tile *t, const float *scale, uint8_t *q, const struct sym_type *k) {
    float v[TILE], inv[MAX_LANES];
    for (int b = 0; b < k->lanes; b++) inv[b] = inverse(scale[b]);
    for (int j = 0; j < TILE; j += k->lanes)
        for (int b = 0; b < k->lanes; b++) v[j + b] = level(t->x[j + b] * inv[b], k);
    if (k->iq4) {
        for (int i = 0; i < TILE; i++) {
            int code = 0;
            for (int l = 1; l < 16; l++) code += v[i] >= iq4_levels[l];
            v[i] = (float)code;
        }
    }
    tile_codes(v, k->bias, k->lanes, q);
}

static ALWAYS_INLINE void search_super(const float *x, const float *w, uint8_t *out, size_t n,
                                       const struct sym_type *k) {
    for (; n; n -= TILE, x += TILE, w += TILE, out += k->block_bytes) {
        struct tile t;
        struct fit f;
        tile_load(&t, x, w, n, k->lanes);
        fit_lanes(&t, &f, k);
        struct choice c = { .d = half_rounded(choose_d(&f, k)) }, best = { .error = INFINITY };
        for (int b = 0; b < k->lanes; b++) c.s[b] = nearest(clamp(f.scale[b] * inverse(c.d), k->scale_lo, k->scale_hi));
        for (int round = 0; round < 5; round++) {
            best_neighbours(&t, &c, round ? 1 : k->radius, k);
            if (!(c.error < best.error)) break;
            best = c;
            c.d = refitted_d(&t, &c, k);
        }
        struct block_codes codes = { .d = f16_from_f32(best.d) };
        float scale[MAX_LANES];
        for (int b = 0; b < k->lanes; b++) {
            codes.scale[b] = (uint8_t)((int)best.s[b] + k->scale_bias);
            scale[b] = best.d * best.s[b];
        }
        codes_of(&t, scale, codes.q, k);
        k->pack(&codes, out);
    }
}

static ALWAYS_INLINE void search_single(const float *x, const float *w, uint8_t *out, size_t n,
                                        const struct sym_type *k) {
    const size_t len = TILE / (size_t)k->lanes;
    while (n) {
        struct tile t;
        struct fit f;
        tile_load(&t, x, w, n, k->lanes);
        fit_lanes(&t, &f, k);
        float scale[MAX_LANES], best[MAX_LANES] = { 0 }, best_err[MAX_LANES], err[MAX_LANES];
        /* The half nearest to the best scale and those beside it: subnormal ones are far apart. */
        for (int near = -1; near <= 1; near++) {
            for (int b = 0; b < k->lanes; b++)
                scale[b] = half_rounded(f.scale[b] * (1 + (float)near * 0x1p-10f) + (float)near * 0x1p-25f);
            errors_at(&t, scale, err, k);
            for (int b = 0; b < k->lanes; b++) {
                bool better = near == -1 || err[b] < best_err[b];
                best[b] = better ? scale[b] : best[b];
                best_err[b] = better ? err[b] : best_err[b];
            }
        }
        uint8_t q[TILE];
        codes_of(&t, best, q, k);
        for (int b = 0; b < k->lanes && n; b++, n -= len, x += len, w += len, out += k->block_bytes) {
            struct block_codes codes = { .d = f16_from_f32(best[b]) };
            memcpy(codes.q, q + (size_t)b * len, len);
            k->pack(&codes, out);
        }
    }
}

#define SEARCH(codec, rule, ...)                                                  \
    void search_##codec(const float *x, const float *w, void *out, size_t n) {    \
        static const struct sym_type type = { __VA_ARGS__, .pack = pack_##codec }; \
        rule(x, w, out, n, &type);                                                \
    }
SEARCH(q4_0, search_single, .lanes = 8, .lo = -8, .hi = 7, .bias = 8, .from = 6.5f, .to = 10, .step = 0.25f,
       .block_bytes = 18)
SEARCH(q5_0, search_single, .lanes = 8, .lo = -16, .hi = 15, .bias = 16, .from = 14, .to = 18, .step = 0.25f,
       .block_bytes = 22)
SEARCH(q8_0, search_single, .lanes = 8, .lo = -127, .hi = 127, .bias = 128, .from = 125, .to = 129, .step = 0.5f,
       .block_bytes = 34)
SEARCH(iq4_nl, search_single, .lanes = 8, .iq4 = true, .lo = -127, .hi = 113, .from = 100, .to = 160, .step = 4,
       .block_bytes = 18)
SEARCH(q3_k, search_super, .lanes = 16, .lo = -4, .hi = 3, .bias = 4, .from = 2.6f, .to = 5.6f, .step = 0.15f,
       .scale_lo = -32, .scale_hi = 31, .scale_bias = 32, .radius = 2, .block_bytes = 110)
SEARCH(q6_k, search_super, .lanes = 16, .lo = -32, .hi = 31, .bias = 32, .from = 29, .to = 35, .step = 0.25f,
       .scale_lo = -128, .scale_hi = 127, .scale_bias = 128, .radius = 10, .block_bytes = 210)
SEARCH(iq4_xs, search_super, .lanes = 8, .iq4 = true, .lo = -127, .hi = 113, .from = 100, .to = 160, .step = 4,
       .scale_lo = -32, .scale_hi = 31, .scale_bias = 32, .radius = 1, .block_bytes = 136)
