/* Operations that read floats: against sums in double, and bit for bit where the result is exact. Limits: that they
 * do the work they say. */
#include "checks.h"

/* --- Operations that read floats --- */

enum { DOT_MAX = 700 };

void check_dot_f32(const struct body *b) {
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

void check_round(const struct body *b) {
    round_fn *f = (round_fn *)b->fn;
    static const enum qtype types[] = { QTYPE_Q8_0, QTYPE_Q4_K, QTYPE_Q6_K, QTYPE_Q2_K, QTYPE_Q3_K };
    for (int rep = 0; rep < 2000; rep++) {
        const struct int8_form *form = int8_form(types[rep % 5]);
        struct x_unit want, got;
        float buf[UNIT + 1], *x = buf + (rep & 1);
        size_t n = rep < 500 ? UNIT : 32 * (1 + rng_below(&rng, 8));
        fill_floats(x, UNIT, rep / 5 % N_KINDS);
        if (rep % 7 == 0) /* scales of 1, so that every second number is halfway between two codes */
            for (size_t i = 0; i < UNIT; i++)
                x[i] = i % form->sub ? (float)rng_below(&rng, 2 * 254 + 1) / 2 - 127 : 127;
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

void check_pack_f32(const struct body *b) {
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

void check_tile_f32(const struct body *b) {
    tile_f32_fn *f = (tile_f32_fn *)b->fn;
    enum { K = 200 };
    static float w[K * F32_ROWS + 1], x[K * TILE_TOKENS + 1], out[TILE_TOKENS * 40], old[TILE_TOKENS * 40];
    for (unsigned rep = 0; rep < 120; rep++) {
        struct f32_tile_job j = {
            .w = w + (rep & 1), .x = x + (rep >> 1 & 1), .n_k = 1 + rng_below(&rng, K), .n_tok = 1 + rep % TILE_TOKENS,
            .add = rep >> 2 & 1, .out = out, .out_stride = 40,
        };
        fill_floats(w, ARRAY_LEN(w), rep / TILE_TOKENS % N_KINDS); /* each kind with every number of tokens */
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

/* The same with pairs of BF16, of which the numbers below the normal ones count as 0, as do such sums. */
void check_tile_bf16(const struct body *b) {
    tile_f32_fn *f = (tile_f32_fn *)b->fn;
    enum { K = 100, STRIDE = 40 };
    static uint16_t w[K * F32_ROWS][2], x[K * TILE_TOKENS][2];
    static float all[2 * K * F32_ROWS], out[TILE_TOKENS * STRIDE], old[TILE_TOKENS * STRIDE];
    for (unsigned rep = 0; rep < 144; rep++) {
        struct f32_tile_job j = {
            .w = (float *)(void *)w, .x = (float *)(void *)x, .n_k = 1 + rng_below(&rng, K),
            .n_tok = 1 + rep % TILE_TOKENS, .add = rep >> 2 & 1, .out = out, .out_stride = STRIDE,
        };
        fill_floats(all, ARRAY_LEN(all), rep / TILE_TOKENS % N_KINDS);
        qtype_info(QTYPE_BF16)->encode(all, w, ARRAY_LEN(all));
        fill_floats(all, 2 * K * TILE_TOKENS, rep / 7 % N_KINDS);
        qtype_info(QTYPE_BF16)->encode(all, x, 2 * K * TILE_TOKENS);
        fill_floats(old, ARRAY_LEN(old), NORMAL);
        memcpy(out, old, sizeof out);
        f(&j);
        for (unsigned t = 0; t < TILE_TOKENS; t++)
            for (unsigned r = 0; r < STRIDE; r++) {
                double was = old[t * STRIDE + r], want = j.add ? was : 0, magnitude = fabs(want);
                if (t >= j.n_tok || r >= F32_ROWS) {
                    assert_true(out[t * STRIDE + r] == was);
                    continue;
                }
                for (size_t i = 0; i < 2 * j.n_k; i++) {
                    const float a = f32_from_bf16(w[i / 2 * F32_ROWS + r][i % 2]);
                    const float c = f32_from_bf16(x[i / 2 * TILE_TOKENS + t][i % 2]);
                    const double p = isnormal(a) && isnormal(c) ? (double)a * c : 0;
                    want += p;
                    magnitude += fabs(p);
                }
                const double lost = (double)(2 * j.n_k + 1) * FLT_MIN;
                assert_close(b->name, out[t * STRIDE + r], want, sum_bound(2 * j.n_k + 1, magnitude) + lost);
            }
    }
}

static void check_widen_blocks(const struct body *b) {
    enum { BLOCKS = 9 };
    const struct qtype_info *info = qtype_info(b->type);
    uint8_t *end = end_of_memory(BLOCKS * 34 + 1);
    float got[BLOCKS * 32 + 1], want[BLOCKS * 32];
    assert_true(info->block_bytes <= 34 && info->block_weights <= 32);
    for (unsigned rep = 0; rep < 600; rep++) {
        const size_t n = rep % (BLOCKS + 1) * info->block_weights;
        uint8_t *p = end - rep / (BLOCKS + 1) % 2 - n / info->block_weights * info->block_bytes;
        fill_blocks(p, b->type, n, rep % N_KINDS);
        got[n] = 77;
        ((widen_fn *)b->fn)(p, got, n);
        info->decode(p, want, n);
        assert_memory_equal(got, want, n * sizeof *want);
        assert_true(got[n] == 77);
    }
}

void check_widen(const struct body *b) {
    if (qtype_info(b->type)->block_weights > 1) {
        check_widen_blocks(b);
        return;
    }
    widen_fn *f = (widen_fn *)b->fn;
    uint16_t in[257];
    float got[257], want[257];
    uint8_t *end = end_of_memory(2 * 257 + 1);
    for (unsigned first = 0; first < 0x10000; first += 256) { /* every pattern of 16 bits, at both alignments */
        size_t n = 257 - first / 256 % 2;
        uint8_t *p = end - (first >> 9 & 1) - 2 * n;
        for (unsigned i = 0; i < 257; i++) in[i] = (uint16_t)(first + i);
        memcpy(p, in, 2 * n);
        f(p, got, n);
        qtype_info(b->type)->decode(p, want, n);
        for (size_t i = 0; i < n; i++)
            if (!(isnan(want[i]) && isnan(got[i]))) assert_int_equal(f32_to_bits(got[i]), f32_to_bits(want[i]));
    }
}

/* --- Limits --- */

void check_read_sum(const struct body *b) {
    read_sum_fn *f = (read_sum_fn *)b->fn;
    uint8_t bytes[1000] = { 0 };
    for (size_t n = 0; n < 900; n++) { /* every byte is read: one bit more in any of them changes the sum */
        uint64_t before = f(bytes + n % 7, n);
        size_t at = n ? rng_below(&rng, (uint32_t)n) : 0;
        bytes[n % 7 + at] ^= 1;
        assert_true((f(bytes + n % 7, n) != before) == (n > 0));
    }
}

static void check_spin(const struct body *b) {
    uint64_t once = 0, often = 0;
    ((spin_fn *)b->fn)(1, &once);
    ((spin_fn *)b->fn)(1000, &often);
    assert_true(once > 0);
    assert_int_equal(often, 1000 * once);
}

void check_spin_int8(const struct body *b) { check_spin(b); }
void check_spin_f32(const struct body *b) { check_spin(b); }
void check_spin_bf16(const struct body *b) { check_spin(b); }
