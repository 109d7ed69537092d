/* Operations of attention and of the gated unit: against sums in double and the C library's exp. */
#include "checks.h"

enum { HEAD_MAX = 160, X_MAX = 5, ROWS = 35 };

/* A cache of rows of the body's type, their values, and some vectors and weights. */
struct cache {
    uint8_t bytes[(ROWS * (HEAD_MAX + 1) + 1) * 4] ALIGNED(4);
    float value[ROWS][HEAD_MAX];
    float x[X_MAX * (HEAD_MAX + 3)], s[X_MAX * (ROWS + 2)];
};

static struct attn_job fill_cache(struct cache *c, enum qtype type, unsigned rep) {
    const struct qtype_info *info = qtype_info(type);
    const size_t shift = (rep & 1) * info->block_bytes; /* rows begin anywhere that one block may */
    const size_t row_blocks = HEAD_MAX / info->block_weights + 1;
    struct attn_job j = {
        .rows = c->bytes + shift, .n = random_length(type, HEAD_MAX), .n_rows = 1 + rng_below(&rng, ROWS),
        .n_x = 1 + rep % X_MAX, .x = c->x, .x_stride = HEAD_MAX + 3, .s = c->s, .s_stride = ROWS + 2,
    };
    j.row_bytes = row_blocks * info->block_bytes;
    if (rep % 3) j.next = c->bytes, j.n_next = rep % ROWS, j.next_stride = j.row_bytes, j.next_bytes = j.n;
    fill_floats(c->x, ARRAY_LEN(c->x), NORMAL);
    fill_floats(c->s, ARRAY_LEN(c->s), NORMAL);
    for (size_t r = 0; r < ROWS; r++) {
        uint8_t *row = c->bytes + shift + r * j.row_bytes;
        fill_floats(c->value[r], HEAD_MAX, NORMAL);
        info->encode(c->value[r], row, HEAD_MAX);
        info->decode(row, c->value[r], HEAD_MAX);
    }
    return j;
}

void check_attn_dot(const struct body *b) {
    static struct cache c;
    for (unsigned rep = 0; rep < 400; rep++) {
        struct attn_job j = fill_cache(&c, b->type, rep);
        ((attn_dot_fn *)b->fn)(&j);
        for (size_t i = 0; i < j.n_x; i++)
            for (size_t r = 0; r < j.n_rows; r++) {
                double want = 0, magnitude = 0;
                for (size_t e = 0; e < j.n; e++) {
                    double p = (double)c.x[i * j.x_stride + e] * c.value[r][e];
                    want += p;
                    magnitude += fabs(p);
                }
                assert_close(b->name, c.s[i * j.s_stride + r], want, sum_bound(j.n, magnitude));
            }
    }
}

void check_attn_mix(const struct body *b) {
    static struct cache c;
    static float before[ARRAY_LEN(c.x)];
    for (unsigned rep = 0; rep < 400; rep++) {
        struct attn_job j = fill_cache(&c, b->type, rep);
        memcpy(before, c.x, sizeof before);
        ((attn_mix_fn *)b->fn)(&j);
        for (size_t at = 0; at < ARRAY_LEN(before); at++) {
            size_t i = at / j.x_stride, e = at % j.x_stride;
            double want = before[at], magnitude = fabs(want);
            if (i >= j.n_x || e >= j.n) {
                assert_true(c.x[at] == before[at]);
                continue;
            }
            for (size_t r = 0; r < j.n_rows; r++) {
                double p = (double)c.s[i * j.s_stride + r] * c.value[r][e];
                want += p;
                magnitude += fabs(p);
            }
            assert_close(b->name, c.x[at], want, sum_bound(j.n_rows + 1, magnitude));
        }
    }
}

void check_narrow(const struct body *b) {
    const struct qtype_info *info = qtype_info(b->type);
    enum { MAX = 90, GUARD = 8 };
    for (unsigned rep = 0; rep < 300; rep++) {
        float x[MAX];
        uint8_t got[MAX * 4 + GUARD] ALIGNED(4), want[MAX * 4 + GUARD];
        size_t n = rep % (MAX + 1) / info->block_weights * info->block_weights;
        fill_floats(x, MAX, rep % N_KINDS);
        memset(got, 0x55, sizeof got);
        memset(want, 0x55, sizeof want);
        ((narrow_fn *)b->fn)(x, got + (rep & 1) * info->block_bytes, n);
        if (n) info->encode(x, want + (rep & 1) * info->block_bytes, n);
        assert_memory_equal(got, want, sizeof got);
    }
}

void check_softmax(const struct body *b) {
    enum { MAX = 130 };
    for (unsigned rep = 0; rep < 600; rep++) {
        float s[MAX + 1], old[MAX + 1], max;
        size_t n = 1 + rep % MAX;
        fill_floats(s, MAX + 1, NORMAL);
        for (size_t i = 0; i < n; i++) {
            s[i] *= rep % 3 ? 20 : 200;
            if (rep % 7 == 0 && i > 0 && i % 5 == 0) s[i] = -INFINITY; /* positions that are masked out */
        }
        memcpy(old, s, sizeof old);
        double top = -INFINITY, sum = 0;
        for (size_t i = 0; i < n; i++) top = fmax(top, old[i]);
        float got = ((softmax_fn *)b->fn)(s, n, &max);
        assert_true(max == (float)top);
        assert_true(s[n] == old[n]);
        for (size_t i = 0; i < n; i++) {
            double want = exp((double)(old[i] - (float)top));
            sum += want;
            assert_close(b->name, s[i], want, 8 * FLT_EPSILON * want + 1e-30);
        }
        assert_close(b->name, got, sum, sum_bound(n + 16, sum));
    }
}

void check_blend(const struct body *b) {
    enum { MAX = 70 };
    for (size_t n = 0; n < MAX; n++) {
        float acc[MAX + 1], old[MAX + 1], x[MAX + 1], f[2];
        fill_floats(acc, MAX + 1, NORMAL);
        fill_floats(x, MAX + 1, NORMAL);
        fill_floats(f, 2, NORMAL);
        memcpy(old, acc, sizeof old);
        ((blend_fn *)b->fn)(acc, f[0], x, f[1], n);
        for (size_t i = 0; i <= MAX; i++) {
            double a = (double)f[0] * old[i], m = (double)f[1] * x[i];
            if (i < n) assert_close(b->name, acc[i], a + m, sum_bound(2, fabs(a) + fabs(m)));
            else assert_true(acc[i] == old[i]);
        }
    }
}

void check_silu_mul(const struct body *b) {
    enum { MAX = 70 };
    for (unsigned rep = 0; rep < 400; rep++) {
        float gate[MAX], up[MAX], out[MAX + 1];
        size_t n = rep % MAX;
        fill_floats(gate, MAX, NORMAL);
        fill_floats(up, MAX, NORMAL);
        for (size_t i = 0; i < MAX; i++) gate[i] *= rep % 3 ? 10 : 200;
        out[n] = 77;
        ((silu_mul_fn *)b->fn)(gate, up, out, n);
        for (size_t i = 0; i < n; i++) {
            double want = gate[i] / (1 + exp(-(double)gate[i])) * up[i];
            assert_close(b->name, out[i], want, 8 * FLT_EPSILON * fabs(want) + 1e-30);
        }
        assert_true(out[n] == 77);
    }
}
