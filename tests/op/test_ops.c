/* Rows of tables, products, rotations and caches on every device. */
#include "devices.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/cpu.h"
#include "base/num.h"

/* --- GET_ROWS --- */

struct table_case { enum qtype type; uint64_t n, rows, m; const void *stored; const int32_t *ids; float scale; };

static tensor_id build_get_rows(struct rig *r, const void *arg) {
    const struct table_case *c = arg;
    tensor_id table = rig_weight(r, c->type, c->n, c->rows, c->stored, true);
    return graph_get_rows(r->g, table, rig_i32(r, c->m, 1, c->ids), c->scale);
}

static void get_rows_decodes(void **state) {
    (void)state;
    static const int32_t ids[] = { 4, 0, 4, 2, 1, 4, 3 };
    size_t n_types;
    const enum qtype *types = qtype_all(&n_types);
    for (size_t i = 0; i < n_types; i++) {
        struct table_case c = { .type = types[i], .n = qtype_is_float(types[i]) ? 37 : 256, .rows = 5 };
        c.m = ARRAY_LEN(ids);
        c.ids = ids;
        float *rows;
        c.stored = random_stored(i, c.type, c.n, c.rows, &rows);
        c.scale = i % 2 ? 1.0f : 5.65685f;
        struct expected x = expect(qtype_name(c.type), c.n * c.m);
        for (size_t k = 0; k < x.n; k++) {
            x.want[k] = (double)c.scale * rows[(size_t)ids[k / c.n] * c.n + k % c.n];
            x.bound[k] = EPS * fabs(x.want[k]);
        }
        check_devices(build_get_rows, &c, &x);
        rig_data_free(NULL);
    }
}

/* --- MATMUL --- */

struct matmul_case { enum qtype type; uint64_t n_in, n_out, n_tok; const void *w; const float *x, *bias; };

static tensor_id build_matmul(struct rig *r, const void *arg) {
    const struct matmul_case *c = arg;
    tensor_id w = rig_weight(r, c->type, c->n_in, c->n_out, c->w, true), x = rig_f32(r, c->n_in, c->n_tok, c->x);
    tensor_id bias = c->bias ? rig_weight(r, QTYPE_F32, c->n_out, 1, c->bias, false) : NO_TENSOR;
    return graph_matmul(r->g, w, x, bias);
}

static void expect_matmul(const struct matmul_case *c, const float *w, struct expected *x) {
    for (size_t i = 0; i < x->n; i++) {
        const size_t t = i / c->n_out, o = i % c->n_out;
        expect_product(x, i, w + o * c->n_in, c->x + t * c->n_in, c->n_in, c->bias ? c->bias[o] : 0);
    }
}

static void matmul(void **state) {
    (void)state;
    static const uint64_t shapes[][3] = { { 1, 3, 1 }, { 3, 1, 0 }, { 2, 17, 5 }, { 1, 40, 13 }, { 5, 33, 26 } };
    size_t n_types;
    const enum qtype *types = qtype_all(&n_types);
    for (size_t i = 0; i < n_types; i++) {
        for (size_t s = 0; s < ARRAY_LEN(shapes); s++) {
            const uint32_t block = qtype_info(types[i])->block_weights;
            struct matmul_case c = { .type = types[i], .n_in = shapes[s][0] * block, .n_out = shapes[s][1] };
            if (block == 1) c.n_in = shapes[s][0] * 51;
            c.n_tok = shapes[s][2] + !shapes[s][2];
            float *w;
            c.w = random_stored(i, c.type, c.n_in, c.n_out, &w);
            c.x = random_f32(s, c.n_in * c.n_tok, 2.0f);
            c.bias = s % 2 ? random_f32(7, c.n_out, 1.0f) : NULL;
            struct expected x = expect(qtype_name(c.type), c.n_out * c.n_tok);
            expect_matmul(&c, w, &x);
            check_devices(build_matmul, &c, &x);
            rig_data_free(NULL);
        }
    }
}

/* --- ROPE --- */

struct rope_case { struct rope_desc d; uint64_t n_head, n_tok; const float *x, *inv_freq; const int32_t *pos; };

static tensor_id build_rope(struct rig *r, const void *arg) {
    const struct rope_case *c = arg;
    tensor_id x = rig_f32(r, c->d.head_dim * c->n_head, c->n_tok, c->x), pos = rig_i32(r, c->n_tok, 1, c->pos);
    return graph_rope(r->g, x, pos, rig_f32(r, c->d.n_rot / 2, 1, c->inv_freq), &c->d);
}

static void expect_rope(const struct rope_case *c, struct expected *x) {
    const uint64_t dim = c->d.head_dim, half = c->d.n_rot / 2;
    for (uint64_t h = 0; h < c->n_head * c->n_tok; h++) {
        const float *in = c->x + h * dim;
        double *want = x->want + h * dim, *bound = x->bound + h * dim;
        for (uint64_t i = 0; i < dim; i++) want[i] = in[i]; /* the rest of the head, to the last bit */
        for (uint64_t i = 0; i < half; i++) {
            const bool halves = c->d.pairing == ROPE_HALVES;
            uint64_t a = halves ? i : 2 * i, b = halves ? i + half : 2 * i + 1;
            double angle = (double)c->pos[h / c->n_head] * c->inv_freq[i];
            want[a] = c->d.magnitude * (in[a] * cos(angle) - in[b] * sin(angle));
            want[b] = c->d.magnitude * (in[a] * sin(angle) + in[b] * cos(angle));
            /* The angle is a rounded product; then sine or cosine, magnitude, product and sum. */
            bound[a] = bound[b] = c->d.magnitude * (fabs(in[a]) + fabs(in[b])) * (fabs(angle) + 6) * EPS;
        }
    }
}

static void rope(void **state) {
    (void)state;
    static const struct rope_desc descs[] = {
        { 64, 64, ROPE_HALVES, 1.0f }, { 64, 64, ROPE_NEIGHBOURS, 1.0f }, { 80, 20, ROPE_HALVES, 1.1f },
        { 6, 2, ROPE_NEIGHBOURS, 0.9f }, { 128, 128, ROPE_HALVES, 1.0f },
    };
    static const int32_t pos[] = { 0, 1, 2, 77, 4095, 130000, 3, 3, 9 };
    for (size_t i = 0; i < ARRAY_LEN(descs); i++) {
        struct rope_case c = { .d = descs[i], .n_head = 3, .n_tok = i % 2 ? 1 : 9, .pos = pos };
        float *inv = rig_data(c.d.n_rot / 2, sizeof *inv);
        for (uint32_t k = 0; k < c.d.n_rot / 2; k++) inv[k] = powf(10000, -2.0f * k / c.d.n_rot);
        c.inv_freq = inv;
        c.x = random_f32(i, c.d.head_dim * c.n_head * c.n_tok, 1.0f);
        struct expected x = expect("ROPE", c.d.head_dim * c.n_head * c.n_tok);
        expect_rope(&c, &x);
        check_devices(build_rope, &c, &x);
        rig_data_free(NULL);
    }
}

/* Four rotations of one graph: of x, of its result by the same angles, by other frequencies, and by other positions. A
 * device that keeps sines from one to the next must see what differs. */
struct turns_case { struct rope_case c; const float *other_freq; const int32_t *other_pos; };

static tensor_id build_turns(struct rig *r, const void *arg) {
    const struct turns_case *a = arg;
    const struct rope_case *c = &a->c;
    tensor_id pos = rig_i32(r, c->n_tok, 1, c->pos), inv = rig_f32(r, c->d.n_rot / 2, 1, c->inv_freq);
    tensor_id other_pos = rig_i32(r, c->n_tok, 1, a->other_pos);
    tensor_id other_inv = rig_f32(r, c->d.n_rot / 2, 1, a->other_freq);
    tensor_id x = graph_rope(r->g, rig_f32(r, c->d.head_dim * c->n_head, c->n_tok, c->x), pos, inv, &c->d);
    x = graph_rope(r->g, graph_rope(r->g, x, pos, inv, &c->d), pos, other_inv, &c->d);
    return graph_rope(r->g, x, other_pos, other_inv, &c->d);
}

static void rotations_follow_each_other(void **state) {
    (void)state;
    static const int32_t pos[] = { 0, 5, 31 }, other_pos[] = { 3, 4, 7 };
    static const float freq[] = { 1, 0.1f }, other_freq[] = { 0.7f, 0.02f };
    const struct rope_desc d = { 6, 4, ROPE_HALVES, 1 };
    struct turns_case a = { { .d = d, .n_head = 3, .n_tok = 3, .pos = pos, .inv_freq = freq }, other_freq, other_pos };
    a.c.x = random_f32(3, 6 * 3 * 3, 1);
    struct expected x = expect("ROPE after ROPE", 6 * 3 * 3);
    for (size_t h = 0; h < 9; h++) /* rotations by angles add up */
        for (size_t i = 0; i < 6; i++) {
            const size_t k = i % 2, at = h * 6;
            const int32_t here = pos[h / 3], there = other_pos[h / 3];
            const double angle = 2.0 * here * freq[k] + (here + there) * (double)other_freq[k];
            const double even = a.c.x[at + k], odd = a.c.x[at + k + 2];
            const double want = i >= 4  ? a.c.x[at + i]
                                : i < 2 ? even * cos(angle) - odd * sin(angle)
                                        : even * sin(angle) + odd * cos(angle);
            expect_number(&x, at + i, want, 0, (fabs(even) + fabs(odd)) * (fabs(angle) + 24));
        }
    check_devices(build_turns, &a, &x);
}

/* --- KV_STORE --- */

struct store_case {
    enum qtype type;
    uint64_t n, n_cells, n_tok;
    const void *before;
    const float *x;
    const int32_t *cells;
};

static tensor_id build_kv_store(struct rig *r, const void *arg) {
    const struct store_case *c = arg;
    tensor_id cache = rig_cache(r, c->type, c->n, c->n_cells, c->before), x = rig_f32(r, c->n, c->n_tok, c->x);
    return graph_kv_store(r->g, cache, x, rig_i32(r, c->n_tok, 1, c->cells));
}

static void kv_store_of(enum qtype type, uint64_t n) {
    static const int32_t cells[] = { 9, 0, 4, 5, 6 };
    uint64_t row;
    assert_true(qtype_row_bytes(type, n, &row));
    struct store_case c = { .type = type, .n = n, .n_cells = 11, .n_tok = ARRAY_LEN(cells), .cells = cells };
    float *unused, *x = random_f32(5, n * c.n_tok, 100.0f);
    static const float edges[] = { 65504.0f, 65519.9f, 65520.0f, -1e9f, 6e-8f, 2.9e-8f, -0.0f };
    for (size_t i = 0; i < ARRAY_LEN(edges) && n > 100; i++) x[i] = edges[i];
    c.x = x;
    c.before = random_stored(3, type, n, c.n_cells, &unused);
    uint8_t *want = rig_data(c.n_cells, row), *got = rig_data(c.n_cells, row);
    memcpy(want, c.before, c.n_cells * row);
    for (size_t t = 0; t < c.n_tok; t++) qtype_info(type)->encode(x + t * n, want + (size_t)cells[t] * row, n);
    rig_run(&(struct device){ "ref", 1, true }, build_kv_store, &c, got, c.n_cells * row);
    assert_memory_equal(got, want, c.n_cells * row);
    for (size_t l = 0; l < N_LEVELS; l++) {
        assert_true(cpu_limit(cpu_levels[l]));
        rig_run(&(struct device){ "cpu", 2, false }, build_kv_store, &c, got, c.n_cells * row);
        assert_memory_equal(got, want, c.n_cells * row);
    }
    rig_data_free(NULL);
}

static void kv_store(void **state) {
    (void)state;
    kv_store_of(QTYPE_F16, 3);
    kv_store_of(QTYPE_F16, 129);
    kv_store_of(QTYPE_F32, 5);
    kv_store_of(QTYPE_F32, 128);
    kv_store_of(QTYPE_Q8_0, 32);
    kv_store_of(QTYPE_Q8_0, 160);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(get_rows_decodes, rig_data_free),
        cmocka_unit_test_teardown(matmul, rig_data_free),           cmocka_unit_test_teardown(rope, rig_data_free),
        cmocka_unit_test_teardown(kv_store, rig_data_free),
        cmocka_unit_test_teardown(rotations_follow_each_other, rig_data_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
