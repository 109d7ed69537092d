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
    bool iq4;              /* IQ4's levels; else the integers lo..hi */
    float lo, hi;          /* the levels' ends */
    float bias;            /* code of level 0, types whose levels are integers */
    float from, step;      /* candidates: the extreme weight at so many levels on either side, */
    int tries;             /* from + i step for i < tries */
    float scale_lo, scale_hi; /* range of s; both 0 where every block has its own half */
    uint8_t scale_bias;
    int radius;            /* how far from the first guess s is searched */
    size_t block_bytes;
    block_pack *pack;
};

/* The middles between the levels of IQ4, constants of the format. */
static const float iq4_middles[15] = { -115.5f, -93.5f, -74, -57, -42, -28.5f, -16, -4.5f, 7, 19, 31.5f, 45.5f, 61, 79,
                                       101 };

/* The level nearest to t. */
static ALWAYS_INLINE vec level(vec t, const struct sym_type *k) {
    static const float levels[16] = { -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113 };
    return k->iq4 ? vec_stairs(t, iq4_middles, levels) : vec_nearest(vec_clamp(t, k->lo, k->hi));
}

/* Its code, less the bias. */
static ALWAYS_INLINE vec code_of(vec t, const struct sym_type *k) {
    static const float codes[16] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };
    return k->iq4 ? vec_stairs(t, iq4_middles, codes) : level(t, k);
}

struct vec_sums { vec xv, vv; };

/* S_xv and S_vv of the VEC lanes from b on at inverse scale inv. */
static ALWAYS_INLINE struct vec_sums sums_at(const struct tile *t, int b, vec inv, const struct sym_type *k) {
    struct vec_sums s = { vec_all(0), vec_all(0) };
    for (int j = b; j < TILE; j += k->lanes) {
        vec x = vec_load(t->x + j), v = level(x * inv, k), wv = vec_load(t->w + j) * v;
        s.xv += wv * x;
        s.vv += wv * v;
    }
    return s;
}

/* The exact errors of the VEC lanes from b on at scale L, codes rounded for it. Where all of them rise beyond `enough`,
 * they are left there. */
static ALWAYS_INLINE vec errors_at(const struct tile *t, int b, vec scale, vec enough, const struct sym_type *k) {
    vec inv = vec_inverse(scale), sum = vec_all(0);
    for (int j = b; j < TILE && !vec_every_above(sum, enough);)
        for (int stop = j + TILE / 4; j < stop; j += k->lanes) {
            vec x = vec_load(t->x + j), d = x - scale * level(x * inv, k);
            sum += vec_load(t->w + j) * d * d;
        }
    return sum;
}

/* The best real scale of each lane and the sums of its codes. */
struct fit { float scale[MAX_LANES], xv[MAX_LANES], vv[MAX_LANES]; };
/* The same of VEC lanes. gain = S_xv^2 / S_vv is how far the error falls. */
struct vec_fit { vec scale, gain; struct vec_sums sums; };

static ALWAYS_INLINE void try_inverse(const struct tile *t, int b, vec inv, struct vec_fit *f,
                                      const struct sym_type *k) {
    struct vec_sums s = sums_at(t, b, inv, k);
    vec scale = vec_ratio(s.xv, s.vv), gain = scale * s.xv, better = vec_above(gain, f->gain);
    f->scale = vec_pick(better, scale, f->scale);
    f->gain = vec_pick(better, gain, f->gain);
    f->sums.xv = vec_pick(better, s.xv, f->sums.xv);
    f->sums.vv = vec_pick(better, s.vv, f->sums.vv);
}

static ALWAYS_INLINE void fit_lanes(const struct tile *t, struct fit *out, const struct sym_type *k) {
    const vec zero = vec_all(0);
    for (int b = 0; b < k->lanes; b += VEC) {
        struct vec_fit f = { zero, zero, { zero, zero } };
        vec end = zero;
        for (int j = b; j < TILE; j += k->lanes) {
            vec x = vec_load(t->x + j);
            end = vec_pick(vec_above(vec_abs(x), vec_abs(end)), x, end);
        }
        end = vec_inverse(end);
        for (int i = 0; i < k->tries; i++) {
            float at = k->from + (float)i * k->step;
            try_inverse(t, b, end * -at, &f, k);
            try_inverse(t, b, end * at, &f, k);
        }
        for (int round = 0; round < 3; round++) try_inverse(t, b, vec_inverse(f.scale), &f, k);
        vec_store(out->scale + b, f.scale);
        vec_store(out->xv + b, f.sums.xv);
        vec_store(out->vv + b, f.sums.vv);
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
            for (int b = 0; b < k->lanes; b += VEC) {
                vec s = vec_nearest(vec_clamp(vec_load(f->scale + b) * inv, k->scale_lo, k->scale_hi));
                vec_store(num + b, s * vec_load(f->xv + b));
                vec_store(den + b, s * s * vec_load(f->vv + b));
            }
            float n = sum_lanes(num, k->lanes), d = sum_lanes(den, k->lanes);
            if (n * n > best_gain * d && d > 0) best_gain = n * n / d, best_d = n / d;
        }
    return best_d;
}

/* One choice of d and s, and its exact error. */
struct choice { float d, s[MAX_LANES], error; };

/* Each lane takes the best of s - radius .. s + radius at this d, the first of equals. No error above that of s itself
 * can win, so it need not be known. */
static ALWAYS_INLINE void best_neighbours(const struct tile *t, struct choice *c, int radius,
                                          const struct sym_type *k) {
    float err[MAX_LANES];
    for (int b = 0; b < k->lanes; b += VEC) {
        const vec s0 = vec_load(c->s + b), never = vec_all(INFINITY), here = errors_at(t, b, s0 * c->d, never, k);
        vec least = never, s = s0;
        for (int step = -radius; step <= radius; step++) {
            vec trial = vec_clamp(s0 + (float)step, k->scale_lo, k->scale_hi);
            vec e = step ? errors_at(t, b, trial * c->d, vec_min(least, here), k) : here;
            vec better = vec_above(least, e);
            least = vec_pick(better, e, least);
            s = vec_pick(better, trial, s);
        }
        vec_store(err + b, least);
        vec_store(c->s + b, s);
    }
    c->error = sum_lanes(err, k->lanes);
}

/* The least-squares d for the codes that d and s give. */
static ALWAYS_INLINE float refitted_d(const struct tile *t, const struct choice *c, const struct sym_type *k) {
    float xv[MAX_LANES], vv[MAX_LANES];
    for (int b = 0; b < k->lanes; b += VEC) {
        vec s = vec_load(c->s + b);
        struct vec_sums sums = sums_at(t, b, vec_inverse(s * c->d), k);
        vec_store(xv + b, s * sums.xv);
        vec_store(vv + b, s * s * sums.vv);
    }
    float num = sum_lanes(xv, k->lanes), den = sum_lanes(vv, k->lanes);
    return half_rounded(den > 0 ? num / den : 0);
}

static ALWAYS_INLINE void codes_of(const struct tile *t, const float *scale, uint8_t *q, const struct sym_type *k) {
    float v[TILE];
    for (int b = 0; b < k->lanes; b += VEC) {
        vec inv = vec_inverse(vec_load(scale + b));
        for (int j = b; j < TILE; j += k->lanes) vec_store(v + j, code_of(vec_load(t->x + j) * inv, k));
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
        float inv = inverse(c.d);
        for (int b = 0; b < k->lanes; b += VEC)
            vec_store(c.s + b, vec_nearest(vec_clamp(vec_load(f.scale + b) * inv, k->scale_lo, k->scale_hi)));
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
        float best[MAX_LANES];
        for (int b = 0; b < k->lanes; b += VEC) {
            vec least = vec_all(INFINITY), at = vec_all(0), scale = vec_load(f.scale + b);
            /* The half nearest to the best scale and those beside it: subnormal ones are far apart. */
            for (int near = -1; near <= 1; near++) {
                vec trial = vec_half(scale * (1 + (float)near * 0x1p-10f) + (float)near * 0x1p-25f);
                vec e = errors_at(&t, b, trial, least, k), better = vec_above(least, e);
                at = vec_pick(better, trial, at);
                least = vec_pick(better, e, least);
            }
            vec_store(best + b, at);
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

#define SEARCH(codec, rule, ...)                                                         \
    void ENC_NAME(search_##codec)(const float *x, const float *w, void *out, size_t n) { \
        static const struct sym_type type = { __VA_ARGS__, .pack = pack_##codec };       \
        rule(x, w, out, n, &type);                                                       \
    }
SEARCH(q4_0, search_single, .lanes = 8, .lo = -8, .hi = 7, .bias = 8, .from = 6.5f, .step = 0.25f, .tries = 14,
       .block_bytes = 18)
SEARCH(q5_0, search_single, .lanes = 8, .lo = -16, .hi = 15, .bias = 16, .from = 14, .step = 0.25f, .tries = 16,
       .block_bytes = 22)
SEARCH(q8_0, search_single, .lanes = 8, .lo = -127, .hi = 127, .bias = 128, .from = 125, .step = 0.5f, .tries = 8,
       .block_bytes = 34)
SEARCH(iq4_nl, search_single, .lanes = 8, .iq4 = true, .lo = -127, .hi = 113, .from = 100, .step = 4, .tries = 15,
       .block_bytes = 18)
SEARCH(q3_k, search_super, .lanes = 16, .lo = -4, .hi = 3, .bias = 4, .from = 2.6f, .step = 0.15f, .tries = 20,
       .scale_lo = -32, .scale_hi = 31, .scale_bias = 32, .radius = 2, .block_bytes = 110)
SEARCH(q6_k, search_super, .lanes = 16, .lo = -32, .hi = 31, .bias = 32, .from = 29, .step = 0.25f, .tries = 24,
       .scale_lo = -128, .scale_hi = 127, .scale_bias = 128, .radius = 10, .block_bytes = 210)
SEARCH(iq4_xs, search_super, .lanes = 8, .iq4 = true, .lo = -127, .hi = 113, .from = 100, .step = 4, .tries = 15,
       .scale_lo = -32, .scale_hi = 31, .scale_bias = 32, .radius = 1, .block_bytes = 136)
