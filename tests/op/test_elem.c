/* Operations that work number by number or on groups of a row, on every device. */
#include "devices.h"

#include <math.h>
#include <string.h>

#include "base/num.h"

/* --- NORM --- */

struct norm_case { struct norm_desc d; uint64_t n, rows; bool own, has_w, has_bias; const float *x, *w, *bias; };

static tensor_id build_norm(struct rig *r, const void *arg) {
    const struct norm_case *c = arg;
    const uint64_t group = c->d.group ? c->d.group : c->n;
    const uint64_t n = c->own ? c->n : group;
    /* Both shapes that factors of one's own may have: flat, and a row a group. */
    const uint64_t rows = c->own && c->has_bias ? c->n / group : 1;
    tensor_id w = c->has_w ? rig_weight(r, QTYPE_F32, n / rows, rows, c->w, false) : NO_TENSOR;
    tensor_id bias = c->has_bias ? rig_weight(r, QTYPE_F32, n, 1, c->bias, false) : NO_TENSOR;
    return graph_norm(r->g, rig_f32(r, c->n, c->rows, c->x), w, bias, &c->d);
}

static void expect_group(const struct norm_case *c, size_t at, uint64_t group, struct expected *x) {
    const float *in = c->x + at;
    double mean = 0, sizes = 0, squares = 0;
    for (uint64_t k = 0; k < group; k++) mean += in[k] / (double)group, sizes += fabs((double)in[k]) / (double)group;
    if (c->d.kind == NORM_RMS) mean = sizes = 0;
    for (uint64_t k = 0; k < group; k++) squares += (in[k] - mean) * (in[k] - mean);
    const double inv = 1 / sqrt(squares / (double)group + c->d.eps);
    for (uint64_t k = 0; k < group; k++) {
        const size_t f = c->own ? (at + k) % c->n : k;
        const double w = c->has_w ? c->w[f] : 1, bias = c->has_bias ? c->bias[f] : 0, y = (in[k] - mean) * inv * w;
        /* Half of the sum's relative error, then mean, eps, root, quotient and products; the mean's own error is that
         * of a sum of n numbers, and moves all numbers of the group and their squares. */
        const double of_mean = (double)(group + 2) * sizes * inv;
        expect_number(x, at + k, y + bias, 1, fabs(y) * (0.5 * (double)(group + 3) + 5 + of_mean) + of_mean * fabs(w));
    }
}

static void norm(void **state) {
    (void)state;
    static const struct norm_case cases[] = {
        { { NORM_RMS, 1e-6f, 0 }, 1, 1, false, true, false, 0, 0, 0 },
        { { NORM_RMS, 1e-5f, 0 }, 7, 3, false, true, false, 0, 0, 0 },
        { { NORM_RMS, 1e-6f, 0 }, 33, 9, false, true, true, 0, 0, 0 },
        { { NORM_RMS, 1e-6f, 0 }, 576, 2, false, false, false, 0, 0, 0 },
        { { NORM_RMS, 1e-6f, 0 }, 2048, 1, false, true, false, 0, 0, 0 },
        { { NORM_RMS, 1e-6f, 64 }, 256, 17, false, true, false, 0, 0, 0 }, /* one for all heads */
        { { NORM_RMS, 1e-6f, 64 }, 192, 3, true, true, false, 0, 0, 0 },   /* heads with their own */
        { { NORM_LAYER, 1e-5f, 0 }, 1, 3, false, true, true, 0, 0, 0 },
        { { NORM_LAYER, 1e-5f, 0 }, 131, 64, false, true, true, 0, 0, 0 },
        { { NORM_LAYER, 1e-5f, 0 }, 2560, 2, false, false, false, 0, 0, 0 },
        { { NORM_LAYER, 1e-5f, 80 }, 240, 17, true, true, true, 0, 0, 0 },
        { { NORM_LAYER, 1e-5f, 40 }, 120, 3, true, true, false, 0, 0, 0 },
        { { NORM_LAYER, 1e-5f, 16 }, 48, 3, false, true, true, 0, 0, 0 },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct norm_case c = cases[i];
        float *in = random_f32(i, c.n * c.rows, i % 3 ? 1.0f : 1e-3f);
        const uint64_t group = c.d.group ? c.d.group : c.n;
        memset(in, 0, group * sizeof *in); /* zeros stay zero */
        c.x = in;
        c.w = random_f32(i + 100, c.n, 2.0f);
        c.bias = random_f32(i + 200, c.n, 0.5f);
        struct expected x = expect("NORM", c.n * c.rows);
        for (size_t at = 0; at < x.n; at += group) expect_group(&c, at, group, &x);
        check_devices(build_norm, &c, &x);
        rig_data_free(NULL);
    }
}

/* --- ADD, SCALE, GATE_ROWS, GLU --- */

struct flat_case { uint64_t n, rows; const float *a, *b; float scale, softcap; struct glu_desc glu; };
static const uint64_t flat_shapes[][2] = { { 1, 1 }, { 7, 3 }, { 16, 1 }, { 131, 67 }, { 8192, 3 } };

static struct flat_case flat_case(size_t i) {
    struct flat_case c = { .n = flat_shapes[i][0], .rows = flat_shapes[i][1] };
    c.a = random_f32(i, c.n * c.rows, 1.0f);
    c.b = random_f32(i + 100, c.n * c.rows, 3.0f);
    return c;
}

static tensor_id build_add(struct rig *r, const void *arg) {
    const struct flat_case *c = arg;
    tensor_id a = rig_f32(r, c->n, c->rows, c->a);
    return graph_add(r->g, a, rig_f32(r, c->n, c->rows, c->b), c->scale);
}

static void add(void **state) {
    (void)state;
    static const float scales[] = { 1, 0.22f, -3, 1, 0 };
    for (size_t i = 0; i < ARRAY_LEN(flat_shapes); i++) {
        struct flat_case c = flat_case(i);
        c.scale = scales[i];
        struct expected x = expect("ADD", c.n * c.rows);
        for (size_t k = 0; k < x.n; k++)
            expect_number(&x, k, c.a[k] + (double)c.scale * c.b[k], 1, scales[i] == 1 ? 0 : fabs(c.scale * c.b[k]));
        check_devices(build_add, &c, &x);
        rig_data_free(NULL);
    }
}

static tensor_id build_scale(struct rig *r, const void *arg) {
    const struct flat_case *c = arg;
    return graph_scale(r->g, rig_f32(r, c->n, c->rows, c->a), c->scale, c->softcap);
}

static void scale(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(flat_shapes); i++) {
        struct flat_case c = flat_case(i);
        c.scale = i % 2 ? 0.0625f : -7.5f;
        c.softcap = i % 3 ? 30 : 0;
        struct expected x = expect("SCALE", c.n * c.rows);
        for (size_t k = 0; k < x.n; k++) {
            const double y = (double)c.scale * c.a[k];
            expect_number(&x, k, c.softcap > 0 ? c.softcap * tanh(y / c.softcap) : y, 8, 0);
        }
        check_devices(build_scale, &c, &x);
        rig_data_free(NULL);
    }
}

static tensor_id build_gate_rows(struct rig *r, const void *arg) {
    const struct flat_case *c = arg;
    tensor_id x = rig_f32(r, c->n, c->rows, c->a);
    return graph_gate_rows(r->g, x, rig_f32(r, 1, c->rows, c->b));
}

static void gate_rows(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(flat_shapes); i++) {
        struct flat_case c = flat_case(i);
        struct expected x = expect("GATE_ROWS", c.n * c.rows);
        for (size_t k = 0; k < x.n; k++) expect_number(&x, k, c.a[k] / (1 + exp(-(double)c.b[k / c.n])), 8, 0);
        check_devices(build_gate_rows, &c, &x);
        rig_data_free(NULL);
    }
}

static tensor_id build_glu(struct rig *r, const void *arg) {
    const struct flat_case *c = arg;
    tensor_id gate = rig_f32(r, c->n, c->rows, c->a);
    return graph_glu(r->g, gate, c->b ? rig_f32(r, c->n, c->rows, c->b) : NO_TENSOR, &c->glu);
}

/* A gate's value, and through *relative what float arithmetic may lose: the error of exp's argument, and some steps. */
static double gate_of(const struct glu_desc *d, double g, double *relative) {
    const double inner = sqrt(2 / acos(-1)) * (g + 0.044715 * g * g * g);
    double arg = g;
    if (d->kind == GLU_OAI) arg = d->alpha * (g = fmin(g, (double)d->limit));
    if (d->kind == GLU_GELU_TANH) arg = 2 * inner;
    *relative = 10 + 4 * fmin(fabs(arg), 120);
    if (d->kind == GLU_RELU2) return g > 0 ? g * g : 0;
    if (d->kind == GLU_GELU_ERF) return 0.5 * g * erfc(-g / sqrt(2));
    return arg > -700 ? g / (1 + exp(-arg)) : 0;
}

static void expect_glu(const struct flat_case *c, struct expected *x) {
    for (size_t k = 0; k < x->n; k++) {
        double relative, up = c->b ? c->b[k] : 1;
        if (c->glu.kind == GLU_OAI) up = fmax(fmin(up, (double)c->glu.limit), -(double)c->glu.limit) + 1;
        const double want = gate_of(&c->glu, c->a[k], &relative) * up;
        /* 1 + tanh and 1 + erf cancel for negative gates: their errors are of 1. The rest is what is denormal or where
         * exp is infinite: |g| * exp(-88) with g from -104 to -88. */
        const bool cancels = c->glu.kind == GLU_GELU_TANH || c->glu.kind == GLU_GELU_ERF;
        expect_number(x, k, want, relative, (cancels ? 4 * fmin(fabs((double)c->a[k]), 20) * fabs(up) : 0) + 1);
        x->bound[k] = cancels ? x->bound[k] : EPS * relative * fabs(want) + 1e-36 * fabs(up);
        if (fabs(want) > 0x1.fffffep127) x->bound[k] = INFINITY; /* too large for float */
    }
}

static void glu(void **state) {
    (void)state;
    static const struct glu_desc kinds[] = {
        { GLU_SILU, 0, 0 },  { GLU_GELU_TANH, 0, 0 },  { GLU_GELU_ERF, 0, 0 },
        { GLU_RELU2, 0, 0 }, { GLU_OAI, 1.702f, 7 },
    };
    static const float edges[] = { 0.0f, -0.0f, 88.5f, -88.5f, 104.0f, -104.0f, 1e4f, -1e4f, 1e30f, -1e30f };
    for (size_t n = 0; n < ARRAY_LEN(kinds); n++) {
        for (size_t i = 0; i < ARRAY_LEN(flat_shapes); i++) {
            struct flat_case c = flat_case(i);
            float *gate = random_f32(i, c.n * c.rows, 4.0f);
            for (size_t k = 0; k < ARRAY_LEN(edges) && c.n * c.rows > 200; k++) gate[13 * k] = edges[k];
            c.a = gate;
            c.glu = kinds[n];
            if (i % 2 && c.glu.kind != GLU_OAI) c.b = NULL;
            struct expected x = expect("GLU", c.n * c.rows);
            expect_glu(&c, &x);
            check_devices(build_glu, &c, &x);
            rig_data_free(NULL);
        }
    }
}

/* --- SLICE, CONCAT --- */

struct cut_case { struct slice_desc d; uint64_t n, rows; const float *x; };

static tensor_id build_slice(struct rig *r, const void *arg) {
    const struct cut_case *c = arg;
    return graph_slice(r->g, rig_f32(r, c->n, c->rows, c->x), &c->d);
}

static void slice(void **state) {
    (void)state;
    static const struct cut_case cases[] = {
        { { 1, 0, 1 }, 1, 1, 0 }, { { 12, 3, 5 }, 36, 17, 0 }, { { 576, 512, 64 }, 576, 3, 0 },
        { { 192, 0, 128 }, 192 * 16, 64, 0 }, { { 2, 1, 1 }, 10, 3, 0 },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct cut_case c = cases[i];
        c.x = random_f32(i, c.n * c.rows, 1.0f);
        const uint64_t n = c.n / c.d.group * c.d.count;
        struct expected x = expect("SLICE", n * c.rows);
        for (size_t r = 0; r < c.rows; r++)
            for (uint64_t g = 0; g < c.n / c.d.group; g++)
                for (uint64_t k = 0; k < c.d.count; k++)
                    x.want[r * n + g * c.d.count + k] = c.x[r * c.n + g * c.d.group + c.d.first + k];
        check_devices(build_slice, &c, &x);
        rig_data_free(NULL);
    }
}

struct join_case { struct concat_desc d; uint64_t n_groups, rows; bool one_b; const float *a, *b; };

static tensor_id build_concat(struct rig *r, const void *arg) {
    const struct join_case *c = arg;
    tensor_id a = rig_f32(r, c->d.group_a * c->n_groups, c->rows, c->a);
    return graph_concat(r->g, a, rig_f32(r, c->d.group_b * (c->one_b ? 1 : c->n_groups), c->rows, c->b), &c->d);
}

static void concat(void **state) {
    (void)state;
    static const struct join_case cases[] = {
        { { 1, 1 }, 1, 1, false, 0, 0 },   { { 5, 3 }, 4, 17, false, 0, 0 },    { { 5, 3 }, 4, 17, true, 0, 0 },
        { { 128, 64 }, 16, 64, true, 0, 0 }, { { 512, 64 }, 128, 1, false, 0, 0 }, { { 300, 2 }, 1, 3, true, 0, 0 },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct join_case c = cases[i];
        const uint64_t both = c.d.group_a + c.d.group_b, groups_b = c.one_b ? 1 : c.n_groups;
        c.a = random_f32(i, c.d.group_a * c.n_groups * c.rows, 1.0f);
        c.b = random_f32(i + 10, c.d.group_b * groups_b * c.rows, 1.0f);
        struct expected x = expect("CONCAT", both * c.n_groups * c.rows);
        for (size_t k = 0; k < x.n; k++) {
            const uint64_t row = k / (both * c.n_groups), g = k / both % c.n_groups, at = k % both;
            x.want[k] = at < c.d.group_a
                            ? c.a[(row * c.n_groups + g) * c.d.group_a + at]
                            : c.b[(row * groups_b + (c.one_b ? 0 : g)) * c.d.group_b + at - c.d.group_a];
        }
        check_devices(build_concat, &c, &x);
        rig_data_free(NULL);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(norm, rig_data_free),      cmocka_unit_test_teardown(add, rig_data_free),
        cmocka_unit_test_teardown(scale, rig_data_free),     cmocka_unit_test_teardown(gate_rows, rig_data_free),
        cmocka_unit_test_teardown(glu, rig_data_free),       cmocka_unit_test_teardown(slice, rig_data_free),
        cmocka_unit_test_teardown(concat, rig_data_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
