/* Owns the searches of types whose codes are very small numbers: ternary TQ1_0 and TQ2_0, and MXFP4. Both find the
 * least weighted error that their layout allows, but for the rounding of sums.
 *
 * Ternary, x' = d q with q of -1, 0, 1: at any d the weights that are not 0 are the largest, so there are 256 choices;
 * the d of a choice is the half nearest to its least-squares value, for its error is a parabola.
 *
 * MXFP4, x' = 2^e times a four-bit float: exponents are tried from the largest that can win downwards, until what the
 * levels' end cuts off is alone more than the least error so far. */
#include "quant/enc_tile.h"

/* --- Ternary --- */

struct size { float x, w; };

/* Size i of the 256 in descending order of x. Buckets of 1/32 of an octave put them in order but for a few, which
 * insertion moves; below 2^-16 of the largest all share the last. */
static void sort_sizes(const float *x, const float *w, struct size *out) {
    enum { BUCKETS = 512, SHIFT = 23 - 5 };
    uint16_t start[BUCKETS + 1] = { 0 }, bucket[TILE];
    float most = 0;
    for (int i = 0; i < TILE; i++) most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
    for (int i = 0; i < TILE; i++) {
        uint32_t below = (f32_to_bits(most) - f32_to_bits(fabsf(x[i]))) >> SHIFT;
        bucket[i] = (uint16_t)(below < BUCKETS ? below : BUCKETS - 1);
        start[bucket[i] + 1]++;
    }
    for (int b = 0; b < BUCKETS; b++) start[b + 1] = (uint16_t)(start[b + 1] + start[b]);
    for (int i = 0; i < TILE; i++) out[start[bucket[i]]++] = (struct size){ fabsf(x[i]), w[i] };
    for (int i = 1; i < TILE; i++) {
        struct size s = out[i];
        int at = i;
        for (; at > 0 && out[at - 1].x < s.x; at--) out[at] = out[at - 1];
        out[at] = s;
    }
}

/* The best d of a block. The gain, by which the error falls, is at most S_x^2 / S_w; halves are looked at only where
 * that could win. */
static float ternary_scale(const float *x, const float *w) {
    struct size sorted[TILE];
    float sum_x = 0, sum_w = 0, best = 0, best_gain = 0;
    sort_sizes(x, w, sorted);
    for (int i = 0; i < TILE; i++) {
        sum_x += sorted[i].w * sorted[i].x;
        sum_w += sorted[i].w;
        float d = sum_x / sum_w;
        if (d * sum_x <= best_gain) continue;
        d = half_rounded(d);
        float gain = d * (2 * sum_x - d * sum_w);
        if (gain > best_gain) best_gain = gain, best = d;
    }
    return best;
}

static void search_ternary(const float *x, const float *w, uint8_t *out, size_t n, size_t block_bytes,
                           block_pack *pack) {
    for (; n; n -= TILE, x += TILE, w += TILE, out += block_bytes) {
        const float d = ternary_scale(x, w), half = d > 0 ? d / 2 : INFINITY;
        struct block_codes c = { .d = f16_from_f32(d) };
        for (int i = 0; i < TILE; i++) c.q[i] = (uint8_t)(1 + (x[i] > half) - (x[i] < -half));
        pack(&c, out);
    }
}

void ENC_NAME(search_tq1_0)(const float *x, const float *w, void *out, size_t n) {
    search_ternary(x, w, out, n, 54, pack_tq1_0);
}

void ENC_NAME(search_tq2_0)(const float *x, const float *w, void *out, size_t n) {
    search_ternary(x, w, out, n, 66, pack_tq2_0);
}

/* --- MXFP4 --- */

enum { LANES = 8, DOWN = 24 };

/* The doubled level nearest to a >= 0: whole to 4, even to 8, then 12. */
static ALWAYS_INLINE vec fp4_nearest(vec a) {
    vec above4 = vec_above(a, vec_all(4)), above8 = vec_above(a, vec_all(8));
    vec unit = vec_pick(above8, vec_all(4), vec_pick(above4, vec_all(2), vec_all(1)));
    vec inv = vec_pick(above8, vec_all(0.25f), vec_pick(above4, vec_all(0.5f), vec_all(1)));
    return unit * vec_nearest(vec_min(a, vec_all(12)) * inv);
}

/* The errors of the VEC lanes from b on, whose levels are multiples of unit; *cut is what the last level cuts off. */
static ALWAYS_INLINE vec fp4_errors(const struct tile *t, int b, float unit, vec *cut) {
    vec sum = vec_all(0);
    *cut = vec_all(0);
    for (int j = b; j < TILE; j += LANES) {
        vec a = vec_abs(vec_load(t->x + j)), w = vec_load(t->w + j), d = a - unit * fp4_nearest(a * (1 / unit));
        vec over = vec_max(a - 12 * unit, vec_all(0));
        sum += w * d * d;
        *cut += w * over * over;
    }
    return sum;
}

/* Per lane, how many powers of two below the first the best exponent is. The first of equals. */
static void fp4_search(const struct tile *t, float *down) {
    for (int b = 0; b < LANES; b += VEC) {
        vec least = vec_all(INFINITY), at = vec_all(0), cut = at;
        float unit = 1;
        for (int i = 0; i <= DOWN + 1 && !vec_every_above(cut, least); i++) {
            vec e = fp4_errors(t, b, unit, &cut), better = vec_above(least, e);
            least = vec_pick(better, e, least);
            at = vec_pick(better, vec_all((float)i), at);
            unit /= 2;
        }
        vec_store(down + b, at);
    }
}

/* Each block is brought to a largest weight within 4 and 8, where exponent 1 is the last that can win: levels of higher
 * ones are among its own. Blocks so small that DOWN less than the first exponent would be negative stay smaller. */
void ENC_NAME(search_mxfp4)(const float *x, const float *w, void *out, size_t n) {
    enum { LEN = TILE / LANES };
    for (uint8_t *block = out; n;) {
        struct tile t;
        int top[LANES] = { 0 };
        float down[LANES];
        tile_load(&t, x, w, n, LANES);
        for (int b = 0; b < LANES; b++) {
            float most = 0;
            for (int j = b; j < TILE; j += LANES) most = fabsf(t.x[j]) > most ? fabsf(t.x[j]) : most;
            top[b] = mxfp4_exponent(most);
            top[b] = top[b] < DOWN ? DOWN : top[b];
            float inv = ldexpf(1, 127 - top[b]);
            for (int j = b; j < TILE; j += LANES) t.x[j] *= inv;
        }
        fp4_search(&t, down);
        for (int b = 0; b < LANES && n; b++, n -= LEN, x += LEN, w += LEN, block += 17) {
            struct block_codes c = { .scale = { (uint8_t)(top[b] + 1 - (int)down[b]) } };
            for (int j = 0; j < LEN; j++) c.q[j] = fp4_code(t.x[j * LANES + b] * ldexpf(1, (int)down[b]));
            pack_mxfp4(&c, block);
        }
    }
}
