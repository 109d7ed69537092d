/* Operations on stored blocks and int8 units: integer parts exactly, float parts within the bound of a float sum.
 * Expected values are sums in double over the weights that qtype's decoders give. */
#include "checks.h"

/* --- Operations on stored blocks --- */

/* Weight i of row r of a panel, in double. */
static double panel_weight(const struct panel_unit *w, const struct int8_form *form, size_t r, size_t i,
                           double *magnitude) {
    const struct panel_unit *u = &w[i / UNIT];
    size_t e = i % UNIT, s = e / form->sub;
    double a = (double)u->scale[s][r] * (u->q[e / 4][r][e % 4] - form->offset), m = form->has_min ? u->min[s][r] : 0;
    *magnitude = fabs(a) + fabs(m);
    return a + m;
}

enum { PANEL_N = 5 * UNIT };

void check_panel(const struct body *b) {
    panel_fn *f = (panel_fn *)b->fn;
    const struct int8_form *form = int8_form(b->type);
    const size_t n_sub = UNIT / form->sub;
    uint64_t largest = 0;
    uint8_t *end = end_of_memory(PANEL_ROWS * PANEL_N * 2 + 1);
    struct panel_unit *out = mem_calloc(PANEL_N / UNIT, sizeof *out);
    float row[PANEL_N];
    for (unsigned rep = 0; rep < 40; rep++) {
        size_t n = random_length(b->type, PANEL_N), n_units = div_up(n, UNIT);
        uint64_t row_bytes = 0;
        assert_true(qtype_row_bytes(b->type, n, &row_bytes));
        struct panel_job j = { .n_in = n, .first = rng_below(&rng, (uint32_t)n_units), .out = out };
        j.n_units = n_units - j.first;
        uint8_t *blocks = end - (rep & 1) - PANEL_ROWS * row_bytes;
        fill_blocks(blocks, b->type, n * PANEL_ROWS, rep % N_KINDS);
        for (size_t r = 0; r < PANEL_ROWS; r++) j.rows[r] = blocks + r * row_bytes;
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
            for (size_t k = 0; k < sizeof u->q; k++) largest = max_u64(largest, ((const uint8_t *)u->q)[k]);
        }
    }
    assert_int_equal(largest, int8_top(b->type));
    mem_free(out);
}

/* Random units; with `integers`, scales are 1 and mins whole, so that a result below 2^24 must be exact. */
static void fill_tile(struct panel_unit *w, struct x_unit *x, size_t n_units, size_t tokens, enum qtype type,
                      bool integers) {
    const struct int8_form *form = int8_form(type);
    uint32_t top = int8_top(type);
    for (size_t u = 0; u < n_units; u++) {
        bool extreme = rng_below(&rng, 3) == 0;
        for (size_t i = 0; i < sizeof w->q; i++)
            ((uint8_t *)w[u].q)[i] = (uint8_t)(extreme ? top * (rng_u32(&rng) & 1) : rng_below(&rng, top + 1));
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
    /* Of each way of adding in 16 bits one, with and without mins. */
    static const enum qtype types[2][5] = {
        { QTYPE_Q2_K, QTYPE_Q6_K, QTYPE_NVFP4, QTYPE_Q3_K, QTYPE_IQ2_S },
        { QTYPE_Q4_K, QTYPE_Q5_K, QTYPE_Q4_0, QTYPE_Q5_0, QTYPE_Q8_0 },
    };
    for (unsigned rep = 0; rep < 240; rep++) {
        const unsigned round = rep / TILE_TOKENS; /* every number of tokens meets every form, in integers and not */
        bool integers = round & 1;
        const enum qtype type = types[sub == 32][round / 2 % 5];
        const struct int8_form *form = int8_form(type);
        float out[TILE_TOKENS * STRIDE + 1], old[TILE_TOKENS * STRIDE + 1];
        size_t off = rep / 3 & 1;
        unsigned n_tok = 1 + rep % TILE_TOKENS, x_tokens = n_tok + (rep / 5 & 1);
        struct tile_job j = {
            .w = w, .x = x, .n_units = 1 + rng_below(&rng, UNITS), .x_tokens = x_tokens, .n_tok = n_tok, .form = form,
            .top = int8_top(type), .add = rep / 7 & 1, .out = out + off, .out_stride = STRIDE,
            .fetch = { rep / 2 & 1 ? &w[0].q[0][0][0] : NULL, 300, 1 + rep % 200 },
        };
        fill_tile(w, x, UNITS, x_tokens, type, integers);
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

void check_tile16(const struct body *b) { check_tile(b, 16); }
void check_tile32(const struct body *b) { check_tile(b, 32); }

enum { ROWS_N = 1100, ROWS_MAX = 11 };

/* dot of the decoded row with what the units say the activations are; magnitude of all products, mins apart. */
static double units_dot(enum qtype type, const uint8_t *row, size_t n, const struct x_unit *x, unsigned n_tok,
                        unsigned t, double *magnitude) {
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

/* Which order is right only the rows kernel knows: here, that each 4 activations stay together, and none are lost. */
void check_arrange(const struct body *b) {
    struct x_unit x;
    memset(&x, 0, sizeof x);
    for (int i = 0; i < UNIT; i++) x.q[i] = (int8_t)i;
    ((arrange_fn *)b->fn)(&x);
    uint64_t seen = 0;
    for (int g = 0; g < UNIT / 4; g++) {
        for (int i = 0; i < 4; i++) assert_int_equal(x.q[4 * g + i], (int8_t)(x.q[4 * g] + i));
        assert_int_equal(x.q[4 * g] & 3, 0);
        seen |= (uint64_t)1 << ((uint8_t)x.q[4 * g] >> 2);
    }
    assert_true(seen == UINT64_MAX);
}

/* The same, of several tokens: no four activations are lost, and what there is room for besides becomes 0. */
void check_turn(const struct body *b) {
    for (unsigned n_tok = 1; n_tok <= LANES_TOKENS; n_tok++) {
        const unsigned n = (unsigned)round_up(n_tok, LANES_TURN);
        struct x_unit x[LANES_TOKENS];
        uint8_t seen[LANES_TOKENS][UNIT / 4] = { { 0 } };
        memset(x, 0x55, sizeof x);
        for (unsigned t = 0; t < n_tok; t++) {
            memset(&x[t], 0, sizeof x[t]);
            for (unsigned i = 0; i < UNIT; i++) x[t].q[i] = (int8_t)(i % 4 == 3 ? t + 1 : i / 4);
        }
        ((turn_fn *)b->fn)(x, n_tok);
        unsigned zeros = 0;
        for (unsigned t = 0; t < n; t += n - t > 4 ? 8 : 4) { /* tokens are mixed by eights, and the last four */
            const int8_t *q = (const int8_t *)&x[t];
            for (unsigned i = 0; i < UNIT / 4 * (n - t > 4 ? 8 : 4); i++, q += 4) {
                assert_true(q[0] == q[1] && q[1] == q[2]);
                if (!q[3]) zeros += q[0] == 0;
                else seen[q[3] - 1][q[0]]++;
            }
        }
        assert_int_equal(zeros, (n - n_tok) * UNIT / 4);
        for (unsigned t = 0; t < n_tok; t++)
            for (unsigned i = 0; i < UNIT / 4; i++) assert_int_equal(seen[t][i], 1);
    }
}

/* Copies n_units units of n_tok tokens as the body wants them, a lanes kernel or a rows kernel. */
static void arrange_for(const struct body *b, bool lanes, const struct x_unit *x, size_t n_units, unsigned n_tok,
                        struct x_unit *out) {
    const size_t width = lanes ? round_up(n_tok, LANES_TURN) : n_tok;
    struct kern k;
    kern_init(&k, b->needs);
    for (size_t u = 0; u < n_units; u++, out += width, x += n_tok) {
        memcpy(out, x, n_tok * sizeof *x);
        if (lanes) k.turn[b->type](out, n_tok);
        for (size_t t = 0; !lanes && k.arrange[b->type] && t < n_tok; t++) k.arrange[b->type](&out[t]);
    }
}

/* A token's results are the same bits whatever other tokens are in the pass. x: as rounded; out: what j gave. */
static void check_token_alone(const struct body *b, bool lanes, const struct rows_job *j, const struct x_unit *x,
                              unsigned t, const float *out) {
    struct x_unit alone[5], arranged[5 * LANES_TURN];
    float row[16];
    struct rows_job one = *j;
    for (size_t u = 0; u < div_up(j->n_in, UNIT); u++) alone[u] = x[u * j->n_tok + t];
    arrange_for(b, lanes, alone, div_up(j->n_in, UNIT), 1, arranged);
    one.x = arranged;
    one.n_tok = 1;
    one.out = row;
    ((rows_fn *)b->fn)(&one);
    assert_memory_equal(row, out + t * j->out_stride, j->n_rows * sizeof *row);
}

static void check_product(const struct body *b, bool lanes) {
    rows_fn *f = (rows_fn *)b->fn;
    bool is_float = qtype_is_float(b->type);
    const unsigned most_tokens = is_float ? ROWS_F32_TOKENS : lanes ? LANES_TOKENS : ROWS_TOKENS;
    uint8_t *end = end_of_memory(ROWS_MAX * ROWS_N * 4 + 1);
    static float xf[LANES_TOKENS * (ROWS_N + 3) + 1], row[ROWS_N];
    static struct x_unit x8[LANES_TOKENS * 5], arranged[LANES_TOKENS * 5];
    float out[LANES_TOKENS * 16];
    for (unsigned rep = 0; rep < 96; rep++) {
        size_t n = random_length(b->type, ROWS_N), n_units = div_up(n, UNIT), n_rows = 1 + rep % ROWS_MAX;
        unsigned n_tok = 1 + rep % most_tokens;
        uint64_t row_bytes = 0;
        assert_true(qtype_row_bytes(b->type, n, &row_bytes));
        uint8_t *w = end - (rep & 1) - row_bytes * n_rows;
        float *x = xf + (rep >> 1 & 1);
        struct rows_job j = {
            .w = w, .row_bytes = row_bytes, .n_rows = n_rows, .n_in = n, .x = is_float ? (const void *)x : arranged,
            .x_stride = n + 3, .n_tok = n_tok, .out = out, .out_stride = 16,
        };
        fill_blocks(w, b->type, n * n_rows, rep / most_tokens % N_KINDS); /* each kind with every number of tokens */
        fill_floats(x, n_tok * (n + 3), rep / 5 % N_KINDS);
        if (!is_float)
            for (size_t i = 0; i < n_units * n_tok; i++) {
                size_t u = i / n_tok;
                round_ref(x + i % n_tok * (n + 3) + u * UNIT, min_u64(n - u * UNIT, UNIT), int8_form(b->type), &x8[i]);
            }
        if (!is_float) arrange_for(b, lanes, x8, n_units, n_tok, arranged);
        for (size_t i = 0; i < ARRAY_LEN(out); i++) out[i] = 77;
        f(&j);
        for (unsigned t = 0; !is_float && t < n_tok; t++) check_token_alone(b, lanes, &j, x8, t, out);
        for (unsigned t = 0; t < LANES_TOKENS; t++)
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
                /* Both scales' product may lose the smallest float too, and is multiplied with codes. */
                double lost = is_float ? 0 : (double)n * 128 * 127 * FLT_TRUE_MIN;
                assert_close(b->name, got, want, sum_bound(n, magnitude) + lost);
            }
    }
}

void check_rows(const struct body *b) { check_product(b, false); }
void check_lanes(const struct body *b) { check_product(b, true); }
