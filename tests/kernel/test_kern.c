/* Every kernel of kernels.def that this machine can run: integer parts exactly, float parts within the bound of a float sum,
 * on random and extreme input, all tails, unaligned pointers. Expected values are sums in double over the weights that
 * qtype's decoders give. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backend/cpu/cpu_matmul.h"
#include "backend/cpu/kern.h"
#include "base/cpu.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/rng.h"

typedef void any_fn(void);
struct body {
    const char *name;
    any_fn *fn;
    unsigned needs;
    enum qtype type; /* of KERNEL_OF */
};

static struct rng rng;

/* --- Input --- */

enum kind { NORMAL, ZERO, HUGE_VALUES, DENORMAL, EXTREME, OUTLIER, N_KINDS };

static void fill_floats(float *x, size_t n, enum kind kind) {
    for (size_t i = 0; i < n; i++) {
        float r = rng_f32(&rng) * 2 - 1;
        x[i] = kind == ZERO ? 0 : kind == HUGE_VALUES ? r * 1e18f : kind == DENORMAL ? r * 1e-39f : r;
        if (kind == EXTREME) x[i] = rng_u32(&rng) & 1 ? 1 : -1;
        if (kind == OUTLIER && rng_below(&rng, 100) == 0) x[i] = r * 1000;
    }
}

/* Where a block keeps its halves: random bytes there could be infinite. */
static const int half_at[QTYPE_ID_LIMIT][2] = {
    [QTYPE_Q4_0] = { 0, -1 },  [QTYPE_Q4_1] = { 0, 2 },   [QTYPE_Q5_0] = { 0, -1 },   [QTYPE_Q5_1] = { 0, 2 },
    [QTYPE_Q8_0] = { 0, -1 },  [QTYPE_IQ4_NL] = { 0, -1 }, [QTYPE_Q2_K] = { 80, 82 }, [QTYPE_Q3_K] = { 108, -1 },
    [QTYPE_Q4_K] = { 0, 2 },   [QTYPE_Q5_K] = { 0, 2 },   [QTYPE_Q6_K] = { 208, -1 }, [QTYPE_IQ4_XS] = { 0, -1 },
};

static uint16_t random_half(enum kind kind) {
    float r = rng_f32(&rng) * 2 - 1;
    if (kind == ZERO) return rng_u32(&rng) & 1 ? 0x8000 : 0;
    if (kind == HUGE_VALUES) return r < 0 ? 0xfbff : 0x7bff;
    if (kind == DENORMAL) return (uint16_t)(rng_u32(&rng) & 0x83ff);
    return f16_from_f32(r);
}

/* n weights of any content that a file may hold with finite scales. */
static void fill_blocks(uint8_t *w, enum qtype type, size_t n, enum kind kind) {
    const struct qtype_info *q = qtype_info(type);
    if (qtype_is_float(type)) {
        float *x = malloc(n * sizeof(float));
        fill_floats(x, n, kind == HUGE_VALUES && type == QTYPE_F16 ? NORMAL : kind);
        q->encode(x, w, n);
        free(x);
        return;
    }
    for (size_t b = 0; b < n / q->block_weights; b++, w += q->block_bytes) {
        static const uint8_t same[] = { 0x80, 0xff, 0x00, 0x7f };
        uint8_t byte = same[rng_below(&rng, 4)];
        for (size_t i = 0; i < q->block_bytes; i++) w[i] = kind == EXTREME ? byte : (uint8_t)rng_u32(&rng);
        for (int h = 0; h < 2; h++) {
            uint16_t half = random_half(kind);
            if (half_at[type][h] >= 0) memcpy(w + half_at[type][h], &half, 2);
        }
    }
}

/* A length that the type allows, with every tail. */
static size_t random_length(enum qtype type, size_t max) {
    size_t block = qtype_info(type)->block_weights;
    return block * (1 + rng_below(&rng, (uint32_t)(max / block)));
}

/* A float sum of n terms, in any order, rounds by at most this; each operation may lose the smallest float too. */
static double sum_bound(size_t n, double magnitude) {
    return (double)(n + 1) * (FLT_EPSILON / 2) * magnitude + (double)(n + 1) * FLT_TRUE_MIN;
}

static void assert_close(const char *name, double got, double want, double bound) {
    if (!(fabs(got - want) <= bound)) fail_msg("%s: want %.9g got %.9g, bound %g", name, want, got, bound);
}

/* --- Operations that read floats --- */

enum { DOT_MAX = 700 };

static void check_dot_f32(const struct body *b) {
    dot_f32_fn *f = (dot_f32_fn *)b->fn;
    float x[DOT_MAX + 1], y[DOT_MAX + 1];
    for (size_t rep = 0; rep < 2 * DOT_MAX; rep++) {
        size_t n = rep % DOT_MAX, off = rep & 1;
        double want = 0, magnitude = 0;
        fill_floats(x, n + 1, rep % N_KINDS);
        fill_floats(y, n + 1, rep / N_KINDS % N_KINDS);
        for (size_t i = off; i < n + off; i++) {
            want += (double)x[i] * y[i];
            magnitude += fabs((double)x[i] * y[i]);
        }
        assert_close(b->name, f(x + off, y + off, n), want, sum_bound(n, magnitude));
    }
}

static void check_round(const struct body *b) {
    round_fn *f = (round_fn *)b->fn;
    static const enum qtype types[] = { QTYPE_Q8_0, QTYPE_Q4_K, QTYPE_Q6_K, QTYPE_Q2_K, QTYPE_Q3_K };
    for (int rep = 0; rep < 2000; rep++) {
        const struct int8_form *form = int8_form(types[rep % 5]);
        struct x_unit want, got;
        float buf[UNIT + 1], *x = buf + (rep & 1);
        size_t n = rep < 500 ? UNIT : 32 * (1 + rng_below(&rng, 8));
        fill_floats(x, UNIT, rep / 5 % N_KINDS);
        memset(&got, 0x55, sizeof got);
        round_ref(x, n, form, &want);
        f(x, n, form, &got);
        assert_memory_equal(&got, &want, sizeof got);
        for (size_t i = 0; i < UNIT; i++) {
            double scale = got.scale[i / form->sub], v = i < n ? x[i] : 0;
            double bound = scale / 2 * (1 + 4e-7 * 127) + ROUND_TINY * (scale == 0);
            assert_close(b->name, scale * got.q[i], v, bound);
        }
    }
}

static void check_pack_f32(const struct body *b) {
    pack_f32_fn *f = (pack_f32_fn *)b->fn;
    enum { K = 70, GUARD = 16 };
    float in[F32_ROWS * K + 1], out[F32_ROWS * K + GUARD];
    fill_floats(in, F32_ROWS * K + 1, NORMAL);
    for (size_t rep = 0; rep < 600; rep++) {
        size_t width = rep & 1 ? TILE_TOKENS : F32_ROWS;
        struct pack_f32_job j = {
            .rows = in + (rep >> 1 & 1), .stride = K, .n_rows = 1 + rng_below(&rng, (uint32_t)width),
            .n_k = 1 + rng_below(&rng, K), .width = width, .out = out,
        };
        for (size_t i = 0; i < F32_ROWS * K + GUARD; i++) out[i] = 77;
        f(&j);
        for (size_t k = 0; k < j.n_k; k++)
            for (size_t r = 0; r < width; r++)
                assert_true(out[k * width + r] == (r < j.n_rows ? j.rows[r * K + k] : 0));
        for (size_t i = j.n_k * width; i < j.n_k * width + GUARD; i++) assert_true(out[i] == 77);
    }
}

static void check_tile_f32(const struct body *b) {
    tile_f32_fn *f = (tile_f32_fn *)b->fn;
    enum { K = 200 };
    static float w[K * F32_ROWS + 1], x[K * TILE_TOKENS + 1], out[TILE_TOKENS * 40], old[TILE_TOKENS * 40];
    for (unsigned rep = 0; rep < 120; rep++) {
        struct f32_tile_job j = {
            .w = w + (rep & 1), .x = x + (rep >> 1 & 1), .n_k = 1 + rng_below(&rng, K), .n_tok = 1 + rep % TILE_TOKENS,
            .add = rep >> 2 & 1, .out = out, .out_stride = 40,
        };
        fill_floats(w, ARRAY_LEN(w), rep % N_KINDS);
        fill_floats(x, ARRAY_LEN(x), rep / 7 % N_KINDS);
        fill_floats(old, ARRAY_LEN(old), NORMAL);
        memcpy(out, old, sizeof out);
        f(&j);
        for (unsigned t = 0; t < TILE_TOKENS; t++)
            for (unsigned r = 0; r < 40; r++) {
                double was = old[t * 40 + r], want = j.add ? was : 0, magnitude = fabs(want);
                if (t >= j.n_tok || r >= F32_ROWS) {
                    assert_true(out[t * 40 + r] == was);
                    continue;
                }
                for (size_t k = 0; k < j.n_k; k++) {
                    double p = (double)j.w[k * F32_ROWS + r] * j.x[k * TILE_TOKENS + t];
                    want += p;
                    magnitude += fabs(p);
                }
                assert_close(b->name, out[t * 40 + r], want, sum_bound(j.n_k + 1, magnitude));
            }
    }
}

static void check_widen(const struct body *b) {
    widen_fn *f = (widen_fn *)b->fn;
    uint16_t in[257];
    float got[257], want[257];
    for (unsigned first = 0; first < 0x10000; first += 256) { /* every pattern of 16 bits, at both alignments */
        uint8_t bytes[2 * 257 + 1], *p = bytes + (first >> 8 & 1);
        size_t n = 257 - first / 256 % 2;
        for (unsigned i = 0; i < 257; i++) in[i] = (uint16_t)(first + i);
        memcpy(p, in, 2 * 257);
        f(p, got, n);
        qtype_info(b->type)->decode(p, want, n);
        for (size_t i = 0; i < n; i++)
            if (!(isnan(want[i]) && isnan(got[i]))) assert_int_equal(f32_to_bits(got[i]), f32_to_bits(want[i]));
    }
}

/* --- Operations on stored blocks --- */

/* Weight i of row r of a panel, in double. */
static double panel_weight(const struct panel_unit *w, const struct int8_form *form, size_t r, size_t i, double *magnitude) {
    const struct panel_unit *u = &w[i / UNIT];
    size_t e = i % UNIT, s = e / form->sub;
    double a = (double)u->scale[s][r] * (u->q[e / 4][r][e % 4] - form->offset), m = form->has_min ? u->min[s][r] : 0;
    *magnitude = fabs(a) + fabs(m);
    return a + m;
}

enum { PANEL_N = 5 * UNIT };

static void check_panel(const struct body *b) {
    panel_fn *f = (panel_fn *)b->fn;
    const struct int8_form *form = int8_form(b->type);
    const size_t n_sub = UNIT / form->sub;
    uint8_t *blocks = malloc(PANEL_ROWS * PANEL_N * 2 + 1);
    struct panel_unit *out = mem_calloc(PANEL_N / UNIT, sizeof *out);
    float row[PANEL_N];
    for (unsigned rep = 0; rep < 40; rep++) {
        size_t n = random_length(b->type, PANEL_N), n_units = div_up(n, UNIT);
        uint64_t row_bytes = 0;
        assert_true(qtype_row_bytes(b->type, n, &row_bytes));
        struct panel_job j = { .n_in = n, .first = rng_below(&rng, (uint32_t)n_units), .out = out };
        j.n_units = n_units - j.first;
        fill_blocks(blocks + (rep & 1), b->type, n * PANEL_ROWS, rep % N_KINDS);
        for (size_t r = 0; r < PANEL_ROWS; r++) j.rows[r] = blocks + (rep & 1) + r * row_bytes;
        memset(out, 0x55, PANEL_N / UNIT * sizeof *out);
        f(&j);
        for (size_t r = 0; r < PANEL_ROWS; r++) {
            qtype_info(b->type)->decode(j.rows[r], row, n);
            for (size_t i = j.first * UNIT; i < n_units * UNIT; i++) {
                double magnitude, got = panel_weight(out, form, r, i - j.first * UNIT, &magnitude);
                assert_close(b->name, got, i < n ? row[i] : 0, FLT_EPSILON * 2 * magnitude + FLT_TRUE_MIN);
            }
        }
        /* Bits equal to the scalar body's, which is checked above as well. */
        const struct panel_unit *u = out;
        static struct panel_unit want[PANEL_N / UNIT];
        struct kern scalar;
        kern_init(&scalar, 0);
        j.out = want;
        scalar.panel[b->type](&j);
        for (size_t i = 0; i < j.n_units; i++, u++) {
            assert_memory_equal(u->q, want[i].q, sizeof u->q);
            assert_memory_equal(u->scale, want[i].scale, n_sub * sizeof u->scale[0]);
            if (form->has_min) assert_memory_equal(u->min, want[i].min, n_sub * sizeof u->min[0]);
        }
    }
    free(blocks);
    mem_free(out);
}

/* Random units; with `integers`, scales are 1 and mins whole, so that a result below 2^24 must be exact. */
static void fill_tile(struct panel_unit *w, struct x_unit *x, size_t n_units, size_t tokens, const struct int8_form *form,
                      bool integers) {
    int top = form->offset == 128 ? 255 : 63;
    for (size_t u = 0; u < n_units; u++) {
        bool extreme = rng_below(&rng, 3) == 0;
        for (size_t i = 0; i < sizeof w->q; i++)
            ((uint8_t *)w[u].q)[i] = (uint8_t)(extreme ? top * (int)(rng_u32(&rng) & 1) : (int)rng_below(&rng, (uint32_t)top + 1));
        for (size_t i = 0; i < UNIT_SUBS * PANEL_ROWS; i++) {
            (&w[u].scale[0][0])[i] = integers ? 1 : rng_f32(&rng) - 0.5f;
            (&w[u].min[0][0])[i] = integers ? (float)(int)rng_below(&rng, 9) - 4 : rng_f32(&rng) - 0.5f;
        }
        for (size_t t = 0; t < tokens; t++) {
            struct x_unit *e = &x[u * tokens + t];
            for (size_t i = 0; i < UNIT; i++)
                e->q[i] = (int8_t)(extreme ? (rng_u32(&rng) & 1 ? 127 : -127) : (int)rng_below(&rng, 255) - 127);
            for (size_t s = 0; s < UNIT / form->sub; s++) {
                int32_t sum = 0;
                for (size_t i = 0; i < form->sub; i++) sum += e->q[s * form->sub + i];
                e->scale[s] = integers ? 1 : rng_f32(&rng);
                if (form->has_min) e->sum[s] = e->scale[s] * (float)sum;
                else e->corr[s] = -form->offset * sum;
            }
        }
    }
}

static void check_tile(const struct body *b, unsigned sub) {
    tile_fn *f = (tile_fn *)b->fn;
    enum { UNITS = 3, STRIDE = 20 };
    static struct panel_unit w[UNITS];
    static struct x_unit x[UNITS * (TILE_TOKENS + 1)];
    static const enum qtype types[2][3] = { { QTYPE_Q2_K, QTYPE_Q3_K, QTYPE_Q6_K }, { QTYPE_Q4_K, QTYPE_Q5_0, QTYPE_Q8_0 } };
    for (unsigned rep = 0; rep < 144; rep++) {
        bool integers = rep & 1;
        const struct int8_form *form = int8_form(types[sub == 32][rep / 2 % 3]);
        float out[TILE_TOKENS * STRIDE + 1], old[TILE_TOKENS * STRIDE + 1];
        size_t off = rep / 3 & 1;
        unsigned n_tok = 1 + rep % TILE_TOKENS, x_tokens = n_tok + (rep / 5 & 1);
        struct tile_job j = {
            .w = w, .x = x, .n_units = 1 + rng_below(&rng, UNITS), .x_tokens = x_tokens, .n_tok = n_tok, .form = form,
            .add = rep / 7 & 1, .out = out + off, .out_stride = STRIDE,
        };
        fill_tile(w, x, UNITS, x_tokens, form, integers);
        for (size_t i = 0; i < ARRAY_LEN(old); i++) out[i] = old[i] = (float)rng_below(&rng, 100);
        f(&j);
        for (unsigned t = 0; t < TILE_TOKENS; t++)
            for (unsigned r = 0; r < STRIDE; r++) {
                size_t at = off + t * STRIDE + r;
                double want = j.add ? old[at] : 0, magnitude = want;
                if (t >= n_tok || r >= PANEL_ROWS) {
                    assert_true(out[at] == old[at]);
                    continue;
                }
                for (size_t i = 0; i < j.n_units * UNIT; i++) {
                    const struct x_unit *e = &x[i / UNIT * x_tokens + t];
                    double m, v = (double)e->scale[i % UNIT / sub] * e->q[i % UNIT];
                    want += panel_weight(w, form, r, i, &m) * v;
                    magnitude += m * fabs(v);
                }
                if (integers) assert_true(out[at] == want);
                assert_close(b->name, out[at], want, sum_bound(j.n_units * UNIT, magnitude));
            }
    }
}

static void check_tile16(const struct body *b) { check_tile(b, 16); }
static void check_tile32(const struct body *b) { check_tile(b, 32); }

enum { ROWS_N = 1100, ROWS_MAX = 11 };

/* dot of the decoded row with what the units say the activations are; magnitude of all products, mins apart. */
static double units_dot(enum qtype type, const uint8_t *row, size_t n, const struct x_unit *x, unsigned n_tok, unsigned t,
                        double *magnitude) {
    const struct int8_form *form = int8_form(type);
    struct panel_unit *w = mem_calloc(div_up(n, UNIT), sizeof *w);
    struct panel_job p = { .n_in = n, .n_units = div_up(n, UNIT), .out = w };
    struct kern scalar;
    double sum = 0;
    kern_init(&scalar, 0);
    for (int r = 0; r < PANEL_ROWS; r++) p.rows[r] = row;
    scalar.panel[type](&p);
    *magnitude = 0;
    for (size_t i = 0; i < n; i++) {
        const struct x_unit *e = &x[i / UNIT * n_tok + t];
        double m, v = (double)e->scale[i % UNIT / form->sub] * e->q[i % UNIT];
        sum += panel_weight(w, form, 0, i, &m) * v;
        *magnitude += m * fabs(v);
    }
    mem_free(w);
    return sum;
}

static void check_rows(const struct body *b) {
    rows_fn *f = (rows_fn *)b->fn;
    bool is_float = qtype_is_float(b->type);
    static uint8_t blocks[ROWS_MAX * ROWS_N * 4 + 1];
    static float xf[ROWS_TOKENS * (ROWS_N + 3) + 1], row[ROWS_N];
    static struct x_unit x8[ROWS_TOKENS * 5];
    float out[ROWS_TOKENS * 16];
    for (unsigned rep = 0; rep < 72; rep++) {
        size_t n = random_length(b->type, ROWS_N), n_units = div_up(n, UNIT), n_rows = 1 + rep % ROWS_MAX;
        unsigned n_tok = 1 + rep % ROWS_TOKENS;
        uint64_t row_bytes = 0;
        assert_true(qtype_row_bytes(b->type, n, &row_bytes));
        uint8_t *w = blocks + (rep & 1);
        float *x = xf + (rep >> 1 & 1);
        struct rows_job j = {
            .w = w, .row_bytes = row_bytes, .n_rows = n_rows, .n_in = n, .x = is_float ? (const void *)x : x8,
            .x_stride = n + 3, .n_tok = n_tok, .out = out, .out_stride = 16,
        };
        fill_blocks(w, b->type, n * n_rows, rep % N_KINDS);
        fill_floats(x, n_tok * (n + 3), rep / 5 % N_KINDS);
        if (!is_float)
            for (size_t i = 0; i < n_units * n_tok; i++) {
                size_t u = i / n_tok;
                round_ref(x + i % n_tok * (n + 3) + u * UNIT, min_u64(n - u * UNIT, UNIT), int8_form(b->type), &x8[i]);
            }
        for (size_t i = 0; i < ARRAY_LEN(out); i++) out[i] = 77;
        f(&j);
        for (unsigned t = 0; t < ROWS_TOKENS; t++)
            for (size_t r = 0; r < 16; r++) {
                double want = 0, magnitude = 0, got = out[t * 16 + r];
                if (t >= n_tok || r >= n_rows) {
                    assert_true(got == 77);
                    continue;
                }
                if (!is_float) want = units_dot(b->type, w + r * row_bytes, n, x8, n_tok, t, &magnitude);
                else qtype_info(b->type)->decode(w + r * row_bytes, row, n);
                for (size_t i = 0; is_float && i < n; i++) {
                    want += (double)row[i] * x[t * (n + 3) + i];
                    magnitude += fabs((double)row[i] * x[t * (n + 3) + i]);
                }
                assert_close(b->name, got, want, sum_bound(n, magnitude));
            }
    }
}

/* --- The whole product --- */

struct product {
    struct matmul m;
    uint8_t *w;
    float *x, *out, *bias;
};

static void product_new(struct product *p, enum qtype type, size_t n_in, size_t n_out, size_t n_tok) {
    uint64_t row_bytes = 0;
    assert_true(qtype_row_bytes(type, n_in, &row_bytes));
    p->w = malloc(row_bytes * n_out + 1);
    p->x = malloc(sizeof(float) * n_tok * (n_in + 1));
    p->out = malloc(sizeof(float) * n_tok * (n_out + 5));
    p->bias = malloc(sizeof(float) * n_out);
    float *row = malloc(n_in * sizeof(float));
    for (size_t o = 0; o < n_out; o++) {
        fill_floats(row, n_in, NORMAL);
        qtype_info(type)->encode(row, p->w + 1 + o * row_bytes, n_in);
    }
    free(row);
    fill_floats(p->x, n_tok * (n_in + 1), NORMAL);
    fill_floats(p->bias, n_out, NORMAL);
    p->m = (struct matmul){
        .type = type, .w = p->w + 1, .row_bytes = row_bytes, .n_in = n_in, .n_out = n_out, .n_tok = n_tok, .x = p->x,
        .x_stride = n_in + 1, .bias = rng_u32(&rng) & 1 ? p->bias : NULL, .out = p->out, .out_stride = n_out + 5,
    };
}

static void product_free(struct product *p) {
    free(p->w);
    free(p->x);
    free(p->out);
    free(p->bias);
}

/* Float bound, plus half a step of rounding of each activation when not exact: at most max|x| / 127 / 2. */
static void product_check(const struct product *p, bool int8) {
    const struct matmul *m = &p->m;
    float *row = malloc(m->n_in * sizeof(float));
    for (size_t o = 0; o < m->n_out; o++) {
        qtype_info(m->type)->decode(p->w + 1 + o * m->row_bytes, row, m->n_in);
        for (size_t t = 0; t < m->n_tok; t++) {
            double want = m->bias ? m->bias[o] : 0, magnitude = fabs(want), rounding = 0;
            for (size_t i = 0; i < m->n_in; i++) {
                double v = (double)row[i] * m->x[t * m->x_stride + i];
                want += v;
                magnitude += fabs(v);
                rounding += fabs(row[i]) / 254 * 1.0001;
            }
            /* Types with a min add and subtract up to four times the weight. */
            double bound = 4 * sum_bound(m->n_in, magnitude) + (int8 ? rounding : 0);
            assert_close(qtype_name(m->type), m->out[t * m->out_stride + o], want, bound);
        }
    }
    free(row);
}

static void check_product(const struct kern *k, enum qtype type, bool exact) {
    static const size_t tokens[] = { 1, 2, 3, 4, 5, 9, 13, 31 };
    size_t block = qtype_info(type)->block_weights;
    for (size_t i = 0; i < ARRAY_LEN(tokens); i++) {
        struct product p;
        size_t n_in = block == 1 ? 500 + rng_below(&rng, 300) : block * (768 / block + rng_below(&rng, 3));
        product_new(&p, type, n_in, 1 + rng_below(&rng, 100), tokens[i]);
        size_t n_out_bytes = sizeof(float) * p.m.n_tok * p.m.out_stride;
        float *first = malloc(n_out_bytes);
        for (unsigned threads = 1; threads <= 3; threads++) {
            struct pool *pool;
            struct err e;
            assert_int_equal(pool_open(threads, &pool, &e), ERR_NONE);
            void *scratch = mem_alloc(1, cpu_matmul_scratch(type, n_in, tokens[i], threads, exact));
            memset(p.out, 0x55, n_out_bytes);
            cpu_matmul(k, pool, &p.m, scratch, exact);
            mem_free(scratch);
            pool_close(pool);
            if (threads == 1) memcpy(first, p.out, n_out_bytes);
            assert_memory_equal(first, p.out, n_out_bytes);
        }
        product_check(&p, !exact && cpu_matmul_is_int8(k, type));
        free(first);
        product_free(&p);
    }
}

/* Inner dimensions beyond one chunk of a panel. */
static void check_long_product(const struct kern *k) {
    static const enum qtype types[] = { QTYPE_BF16, QTYPE_Q8_0, QTYPE_Q6_K };
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        struct product p;
        struct pool *pool;
        assert_int_equal(pool_open(2, &pool, NULL), ERR_NONE);
        product_new(&p, types[i], 256 * 33, 37, 14);
        void *scratch = mem_alloc(1, cpu_matmul_scratch(types[i], p.m.n_in, 14, 2, false));
        cpu_matmul(k, pool, &p.m, scratch, false);
        product_check(&p, !qtype_is_float(types[i]));
        mem_free(scratch);
        pool_close(pool);
        product_free(&p);
    }
}

static void test_products(void **state) {
    (void)state;
    static const char *const levels[] = { "scalar", "avx2", "avx512", "vnni" };
    size_t n;
    const enum qtype *types = qtype_all(&n);
    for (size_t l = 0; l < ARRAY_LEN(levels); l++) {
        struct kern k;
        assert_true(cpu_limit(levels[l]));
        kern_init(&k, cpu_features());
        for (size_t i = 0; i < n; i++) {
            check_product(&k, types[i], true);
            check_product(&k, types[i], false);
        }
        check_long_product(&k);
    }
    cpu_limit("native");
}

/* --- One test for each row of the table --- */

#define KERNEL(op, fn, isa, need)                                                       \
    static void test_##op##_##isa(void **state) {                                       \
        (void)state;                                                                    \
        const struct body b = { #op "_" #isa, (any_fn *)op##_##isa, need, QTYPE_NONE }; \
        if (b.needs & ~cpu_features()) skip();                                           \
        check_##op(&b);                                                                 \
    }
#define KERNEL_OF(op, type, codec, isa, need)                                                                    \
    static void test_##op##_##codec##_##isa(void **state) {                                                      \
        (void)state;                                                                                             \
        const struct body b = { #op "_" #codec "_" #isa, (any_fn *)op##_##codec##_##isa, need, QTYPE_##type };   \
        if (b.needs & ~cpu_features()) skip();                                                                    \
        check_##op(&b);                                                                                          \
    }
#include "backend/cpu/kernels.def"
#undef KERNEL
#undef KERNEL_OF

int main(void) {
    rng_seed(&rng, 1);
    const struct CMUnitTest tests[] = {
#define KERNEL(op, fn, isa, need) cmocka_unit_test(test_##op##_##isa),
#define KERNEL_OF(op, type, codec, isa, need) cmocka_unit_test(test_##op##_##codec##_##isa),
#include "backend/cpu/kernels.def"
#undef KERNEL
#undef KERNEL_OF
        cmocka_unit_test(test_products),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
