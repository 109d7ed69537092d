/* Every kernel of kernels.def that this machine can run, one test for each row, and whole products of every type on
 * every kind of processor: on random and extreme input, all tails, unaligned pointers, one to three threads. */
#include "checks.h"

#include "backend/cpu/cpu_matmul.h"
#include "../random_block.h"

/* --- The whole product --- */

struct product {
    struct matmul m;
    uint8_t *w;
    float *x, *out, *bias;
};

static void product_new(struct product *p, enum qtype type, size_t n_in, size_t n_out, size_t n_tok, enum kind kind) {
    uint64_t row_bytes = 0;
    assert_true(qtype_row_bytes(type, n_in, &row_bytes));
    p->w = malloc(row_bytes * n_out + 1);
    p->x = malloc(sizeof(float) * n_tok * (n_in + 1));
    p->out = malloc(sizeof(float) * n_tok * (n_out + 5));
    p->bias = malloc(sizeof(float) * n_out);
    if (qtype_is_float(type)) fill_blocks(p->w + 1, type, n_in * n_out, NORMAL);
    else random_blocks(&rng, type, p->w + 1, n_in * n_out);
    fill_floats(p->x, n_tok * (n_in + 1), kind);
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

/* The largest rounding error of activation i: half a step, which is that of the 16 or 32 around it and no wider. */
static double half_step(const struct matmul *m, const float *x, size_t i) {
    const size_t sub = int8_form(m->type)->sub, begin = i / sub * sub;
    float top = 0;
    for (size_t j = begin; j < begin + sub; j++) top = fmaxf(top, fabsf(x[j]));
    return top / 254 * 1.0001;
}

/* Float bound, plus the largest rounding error of each activation when not exact: half a step of int8, or of BF16,
 * which has 8 bits. */
static void product_check(const struct product *p, bool exact) {
    const struct matmul *m = &p->m;
    float *row = malloc(m->n_in * sizeof(float));
    double *steps = mem_calloc(m->n_tok * m->n_in, sizeof *steps);
    for (size_t i = 0; !exact && i < m->n_tok * m->n_in; i++) {
        const float *x = m->x + i / m->n_in * m->x_stride;
        if (int8_form(m->type)->sub) steps[i] = half_step(m, x, i % m->n_in);
        else if (m->type == QTYPE_BF16) steps[i] = fabs(x[i % m->n_in]) / 256;
    }
    for (size_t o = 0; o < m->n_out; o++) {
        qtype_info(m->type)->decode(p->w + 1 + o * m->row_bytes, row, m->n_in);
        for (size_t t = 0; t < m->n_tok; t++) {
            double want = m->bias ? m->bias[o] : 0, magnitude = fabs(want), rounding = 0;
            for (size_t i = 0; i < m->n_in; i++) {
                double v = (double)row[i] * m->x[t * m->x_stride + i];
                want += v;
                magnitude += fabs(v);
                rounding += fabs(row[i]) * steps[t * m->n_in + i];
            }
            /* Types with a min add and subtract up to four times the weight. */
            double bound = 4 * sum_bound(m->n_in, magnitude) + rounding;
            assert_close(qtype_name(m->type), m->out[t * m->out_stride + o], want, bound);
        }
    }
    mem_free(steps);
    free(row);
}

static void check_product(const struct kern *k, enum qtype type, bool exact) {
    static const size_t tokens[] = { 1, 2, 3, 4, 5, 8, 9, 13, 16, 31 };
    size_t block = qtype_info(type)->block_weights;
    for (size_t i = 0; i < ARRAY_LEN(tokens); i++) {
        struct product p;
        size_t n_in = block == 1 ? 500 + rng_below(&rng, 300) : block * (768 / block + rng_below(&rng, 3));
        product_new(&p, type, n_in, 1 + rng_below(&rng, 100), tokens[i], i & 1 ? OUTLIER : NORMAL);
        size_t n_out_bytes = sizeof(float) * p.m.n_tok * p.m.out_stride;
        float *first = malloc(n_out_bytes);
        for (unsigned threads = 1; threads <= 3; threads++) {
            struct pool *pool;
            struct err e;
            assert_int_equal(pool_open(threads, &pool, &e), ERR_NONE);
            void *scratch = mem_alloc(1, cpu_matmul_scratch(type, n_in, tokens[i], threads, exact));
            memset(p.out, 0x55, n_out_bytes);
            cpu_matmul(k, pool, &p.m, 1, scratch, exact);
            mem_free(scratch);
            pool_close(pool);
            if (threads == 1) memcpy(first, p.out, n_out_bytes);
            assert_memory_equal(first, p.out, n_out_bytes);
        }
        product_check(&p, exact);
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
        product_new(&p, types[i], 256 * 33, 37, 14, OUTLIER);
        void *scratch = mem_alloc(1, cpu_matmul_scratch(types[i], p.m.n_in, 14, 2, false));
        cpu_matmul(k, pool, &p.m, 1, scratch, false);
        product_check(&p, false);
        mem_free(scratch);
        pool_close(pool);
        product_free(&p);
    }
}

/* Products of the same activations in one call have the bits that they have alone. */
static void check_together(const struct kern *k, size_t n_tok, unsigned threads) {
    static const enum qtype types[MATMUL_GROUP] = { QTYPE_Q4_K, QTYPE_Q6_K, QTYPE_Q4_K, QTYPE_IQ4_XS };
    struct product p[MATMUL_GROUP];
    struct matmul m[MATMUL_GROUP];
    float *alone[MATMUL_GROUP];
    struct pool *pool;
    assert_int_equal(pool_open(threads, &pool, NULL), ERR_NONE);
    void *scratch = mem_alloc(1, cpu_matmul_scratch(QTYPE_Q4_K, 768, n_tok, threads, false));
    for (size_t i = 0; i < MATMUL_GROUP; i++) {
        product_new(&p[i], types[i], 768, 1 + rng_below(&rng, 300), n_tok, NORMAL);
        m[i] = p[i].m;
        m[i].x = p[0].m.x, m[i].x_stride = p[0].m.x_stride;
        cpu_matmul(k, pool, &m[i], 1, scratch, false);
        alone[i] = mem_alloc(n_tok * m[i].out_stride, sizeof(float));
        memcpy(alone[i], m[i].out, n_tok * m[i].out_stride * sizeof(float));
        for (size_t t = 0; t < n_tok; t++) memset(m[i].out + t * m[i].out_stride, 0x55, m[i].n_out * sizeof(float));
    }
    cpu_matmul(k, pool, m, MATMUL_GROUP, scratch, false);
    for (size_t i = 0; i < MATMUL_GROUP; i++) {
        for (size_t t = 0; t < n_tok; t++) {
            const size_t at = t * m[i].out_stride;
            assert_memory_equal(alone[i] + at, m[i].out + at, m[i].n_out * sizeof(float));
        }
        mem_free(alone[i]);
        product_free(&p[i]);
    }
    mem_free(scratch);
    pool_close(pool);
}

static void test_products(void **state) {
    (void)state;
    static const struct { const char *level; unsigned less; } processors[] = {
        { "scalar", 0 }, { "avx2", 0 }, { "avx512", 0 }, { "vnni", CPU_VBMI /* Cascade Lake */ }, { "vnni", 0 },
        { "amx", 0 },
    };
    size_t n;
    const enum qtype *types = qtype_all(&n);
    struct kern k, last;
    memset(&last, 0, sizeof last);
    for (size_t p = 0; p < ARRAY_LEN(processors); p++) {
        assert_true(cpu_limit(processors[p].level));
        kern_init(&k, cpu_features() & ~processors[p].less);
        if (!memcmp(&k, &last, sizeof k)) continue; /* this processor has no more */
        last = k;
        for (size_t i = 0; i < n; i++) {
            check_product(&k, types[i], true);
            check_product(&k, types[i], false);
        }
        check_long_product(&k);
        static const size_t tokens[] = { 1, 2, 5, 8, 12, 14 };
        for (size_t i = 0; i < ARRAY_LEN(tokens); i++) check_together(&k, tokens[i], 1 + (unsigned)i % 3);
    }
    cpu_limit("native");
}

/* --- One test for each row of the table --- */

static void skip_body(void) {
    print_message("this processor lacks what the body needs\n");
    skip();
}

#define KERNEL(op, fn, isa, need)                                                       \
    static void test_##op##_##isa(void **state) {                                       \
        (void)state;                                                                    \
        const struct body b = { #op "_" #isa, (any_fn *)op##_##isa, need, QTYPE_NONE }; \
        if (b.needs & ~cpu_features()) skip_body();                                     \
        check_##op(&b);                                                                 \
    }
#define KERNEL_OF(op, type, codec, isa, need)                                                                    \
    static void test_##op##_##codec##_##isa(void **state) {                                                      \
        (void)state;                                                                                             \
        const struct body b = { #op "_" #codec "_" #isa, (any_fn *)op##_##codec##_##isa, need, QTYPE_##type };   \
        if (b.needs & ~cpu_features()) skip_body();                                                              \
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
