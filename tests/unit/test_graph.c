/* The graph builder: the shape that each operation makes, what it refuses, and where activations lie. Placement is
 * checked by playing graphs through: every operation must find its sources' bytes as their makers left them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "base/num.h"
#include "base/rng.h"
#include "graph/graph.h"

#define NE(...) ((const uint64_t[]){ __VA_ARGS__ })
static const struct place at_7 = { 7, 64 };

/* Inputs, weights and caches of a block with 4 query and 2 key heads of 8, 3 tokens, 4 pages of 16 cells. */
struct parts {
    struct graph *g;
    tensor_id x, norm, wq, wk, bias, ids, inv, k, v, pages;
};
static struct parts parts_new(void) {
    struct graph *g = graph_new();
    assert_non_null(g);
    return (struct parts){
        .g = g,
        .x = graph_input(g, "x", QTYPE_F32, NE(32, 3), 2),
        .norm = graph_weight(g, "norm", QTYPE_F32, NE(32), 1, at_7),
        .wq = graph_weight(g, "wq", QTYPE_Q8_0, NE(32, 32), 2, at_7),
        .wk = graph_weight(g, "wk", QTYPE_F16, NE(32, 16), 2, at_7),
        .bias = graph_weight(g, "bias", QTYPE_F32, NE(16), 1, at_7),
        .ids = graph_input(g, "ids", TENSOR_I32, NE(3), 1),
        .inv = graph_input(g, "inv_freq", QTYPE_F32, NE(4), 1),
        .k = graph_kv(g, "k", QTYPE_F16, NE(16, 64), 2, at_7),
        .v = graph_kv(g, "v", QTYPE_F16, NE(16, 64), 2, at_7),
        .pages = graph_input(g, "pages", TENSOR_I32, NE(4, 1), 2),
    };
}
static const struct norm_desc rms = { .kind = NORM_RMS, .eps = 1e-5f };
static const struct glu_desc silu = { .kind = GLU_SILU };
static const struct rope_desc rope8 = { .head_dim = 8, .n_rot = 8, .pairing = ROPE_HALVES, .magnitude = 1 };
static const struct attn_desc attn8 = { .head_dim = 8, .page = 16, .scale = 0.5f };

static void assert_shape(const struct parts *p, tensor_id t, uint64_t n0, uint64_t n1) {
    assert_int_not_equal(t, NO_TENSOR);
    const struct tensor *x = graph_tensor(p->g, t);
    assert_int_equal(x->ne[0], n0);
    assert_int_equal(x->ne[1], n1);
    assert_int_equal(x->ne[2] * x->ne[3], 1);
    assert_int_equal(x->type, QTYPE_F32);
    assert_int_equal(x->bytes, n0 * n1 * 4);
    assert_int_equal(tensor_rows(x), n1);
}

static void operations_make_their_shapes(void **state) {
    (void)state;
    struct parts p = parts_new();
    assert_int_equal(graph_tensor(p.g, p.wq)->bytes, 32 * 34); /* one Q8_0 block of 34 bytes a row */
    assert_int_equal(graph_tensor(p.g, p.k)->bytes, 16 * 64 * 2);
    assert_shape(&p, graph_get_rows(p.g, p.wq, p.ids, 1), 32, 3);
    assert_shape(&p, graph_norm(p.g, p.x, p.norm, NO_TENSOR, &rms), 32, 3);
    assert_shape(&p, graph_matmul(p.g, p.wk, p.x, p.bias), 16, 3);
    tensor_id q = graph_matmul(p.g, p.wq, p.x, NO_TENSOR), k = graph_matmul(p.g, p.wk, p.x, NO_TENSOR);
    assert_shape(&p, graph_add(p.g, q, p.x, 1), 32, 3);
    assert_shape(&p, graph_glu(p.g, q, p.x, &silu), 32, 3);
    assert_shape(&p, graph_rope(p.g, q, p.ids, p.inv, &rope8), 32, 3);
    uint32_t before = p.g->n_tensors;
    assert_int_equal(graph_kv_store(p.g, p.k, k, p.ids), p.k);
    assert_int_equal(p.g->n_tensors, before); /* a store makes no tensor */
    const struct attn_src s = { q, p.k, p.v, p.ids, p.ids, p.pages, NO_TENSOR };
    tensor_id a = graph_attention(p.g, &s, &attn8);
    assert_shape(&p, a, 32, 3);
    const struct op *last = &p.g->ops[p.g->n_ops - 1];
    assert_int_equal(last->kind, OP_ATTENTION);
    assert_int_equal(last->src[5], p.pages);
    assert_int_equal(last->attn.page, 16);
    assert_string_equal(op_name(last->kind), "ATTENTION");
    graph_output(p.g, a);
    assert_int_equal(graph_finish(p.g, NULL), ERR_NONE);
    graph_free(p.g);
}

static void assert_3d(const struct parts *p, tensor_id t, uint32_t type, uint64_t n0, uint64_t n1, uint64_t n2) {
    assert_int_not_equal(t, NO_TENSOR);
    const struct tensor *x = graph_tensor(p->g, t);
    assert_int_equal(x->type, type);
    assert_int_equal(x->ne[0], n0);
    assert_int_equal(x->ne[1], n1);
    assert_int_equal(x->ne[2], n2);
    assert_int_equal(x->ne[3], 1);
    assert_int_equal(x->bytes, n0 * n1 * n2 * 4);
}

/* Five experts, two a token. */
struct moe { tensor_id w, bias, logits, ids, slots; };
static struct moe moe_new(struct parts *p) {
    return (struct moe){
        .w = graph_weight(p->g, "experts", QTYPE_Q8_0, NE(32, 10, 5), 3, at_7),
        .bias = graph_weight(p->g, "ex_bias", QTYPE_F32, NE(10, 5), 2, at_7),
        .logits = graph_input(p->g, "logits", QTYPE_F32, NE(5, 3), 2),
        .ids = graph_input(p->g, "chosen", TENSOR_I32, NE(2, 3), 2),
        .slots = graph_input(p->g, "slots", QTYPE_F32, NE(32, 2, 3), 3),
    };
}

static void experts_make_their_shapes(void **state) {
    (void)state;
    struct parts p = parts_new();
    struct moe m = moe_new(&p);
    struct pick_desc pick = { .n_used = 2, .score = SCORE_SIGMOID };
    tensor_id ids = graph_pick_experts(p.g, m.logits, NO_TENSOR, &pick);
    assert_3d(&p, ids, TENSOR_I32, 2, 3, 1);
    assert_int_equal(p.g->ops[p.g->n_ops - 1].pick.n_group, 1);
    tensor_id weights = graph_weigh_experts(p.g, m.logits, ids, &(struct weigh_desc){ .scale = 1 });
    assert_3d(&p, weights, QTYPE_F32, 2, 3, 1);
    tensor_id out = graph_matmul_id(p.g, m.w, p.x, ids, m.bias); /* one vector for both slots */
    assert_3d(&p, out, QTYPE_F32, 10, 2, 3);
    assert_3d(&p, graph_matmul_id(p.g, m.w, m.slots, ids, NO_TENSOR), QTYPE_F32, 10, 2, 3);
    assert_shape(&p, graph_sum_experts(p.g, out, weights), 10, 3);
    /* Without ids each slot has its matrix, side by side. */
    assert_shape(&p, graph_matmul_id(p.g, m.w, p.x, NO_TENSOR, m.bias), 50, 3);
    tensor_id wide = graph_input(p.g, "wide", QTYPE_F32, NE(160, 3), 2);
    assert_shape(&p, graph_matmul_id(p.g, m.w, wide, NO_TENSOR, NO_TENSOR), 50, 3);
    graph_output(p.g, ids);
    assert_int_equal(graph_finish(p.g, NULL), ERR_NONE);
    graph_free(p.g);
}

static void rows_are_cut_and_normed(void **state) {
    (void)state;
    struct parts p = parts_new();
    tensor_id heads = graph_weight(p.g, "heads", QTYPE_F32, NE(8, 4), 2, at_7);
    tensor_id head = graph_weight(p.g, "head", QTYPE_F32, NE(8), 1, at_7);
    tensor_id gate = graph_input(p.g, "gate", QTYPE_F32, NE(1, 3), 2);
    const struct norm_desc by_head = { .kind = NORM_LAYER, .eps = 1e-5f, .group = 8 };
    assert_shape(&p, graph_norm(p.g, p.x, head, head, &by_head), 32, 3);
    assert_shape(&p, graph_norm(p.g, p.x, heads, p.norm, &by_head), 32, 3);
    assert_shape(&p, graph_norm(p.g, p.x, NO_TENSOR, NO_TENSOR, &rms), 32, 3);
    assert_int_equal(p.g->ops[p.g->n_ops - 1].norm.group, 32);
    assert_shape(&p, graph_scale(p.g, p.x, 0.5f, 30), 32, 3);
    assert_shape(&p, graph_gate_rows(p.g, p.x, gate), 32, 3);
    assert_shape(&p, graph_glu(p.g, p.x, NO_TENSOR, &silu), 32, 3);
    tensor_id a = graph_slice(p.g, p.x, &(struct slice_desc){ 8, 2, 6 });
    assert_shape(&p, a, 24, 3);
    tensor_id b = graph_slice(p.g, p.x, &(struct slice_desc){ 32, 30, 2 });
    assert_shape(&p, b, 2, 3);
    assert_shape(&p, graph_concat(p.g, a, b, &(struct concat_desc){ 6, 2 }), 32, 3); /* one group for all four */
    assert_shape(&p, graph_concat(p.g, p.x, a, &(struct concat_desc){ 8, 6 }), 56, 3);
    graph_output(p.g, a);
    assert_int_equal(graph_finish(p.g, NULL), ERR_NONE);
    graph_free(p.g);
}

/* Two KV heads of 8: values may have their own width, or be a part of the keys. */
static void values_have_their_width(void **state) {
    (void)state;
    struct parts p = parts_new();
    tensor_id v = graph_kv(p.g, "v5", QTYPE_F32, NE(10, 64), 2, at_7);
    tensor_id sinks = graph_weight(p.g, "sinks", QTYPE_F32, NE(4), 1, at_7);
    struct attn_desc d = attn8;
    const struct attn_src narrow = { p.x, p.k, v, p.ids, p.ids, p.pages, sinks };
    d.head_dim_v = 5;
    assert_shape(&p, graph_attention(p.g, &narrow, &d), 20, 3);
    const struct attn_src same = { p.x, p.k, p.k, p.ids, p.ids, p.pages, NO_TENSOR };
    d.head_dim_v = 6;
    assert_shape(&p, graph_attention(p.g, &same, &d), 24, 3);
    d.head_dim_v = 0;
    assert_shape(&p, graph_attention(p.g, &same, &d), 32, 3);
    assert_int_equal(p.g->ops[p.g->n_ops - 1].attn.head_dim_v, 8);
    graph_free(p.g);
}

/* Every builder refuses sources that do not fit and says which; nothing is appended after the first error. */
static tensor_id bad_rows(struct parts *p) { return graph_get_rows(p->g, p->wq, p->x, 1); }
static tensor_id bad_norm(struct parts *p) { return graph_norm(p->g, p->x, p->bias, NO_TENSOR, &rms); }
static tensor_id bad_matmul(struct parts *p) { return graph_matmul(p->g, p->bias, p->x, NO_TENSOR); }
static tensor_id bad_bias(struct parts *p) { return graph_matmul(p->g, p->wq, p->x, p->bias); }
static tensor_id bad_add(struct parts *p) {
    return graph_add(p->g, p->x, graph_matmul(p->g, p->wk, p->x, NO_TENSOR), 1);
}
static tensor_id bad_glu(struct parts *p) { return graph_glu(p->g, p->x, p->ids, &silu); }
static tensor_id bad_rope_pos(struct parts *p) { return graph_rope(p->g, p->x, p->inv, p->inv, &rope8); }
static tensor_id odd_rope(struct parts *p) {
    return graph_rope(p->g, p->x, p->ids, p->inv, &(struct rope_desc){ .head_dim = 8, .n_rot = 7 });
}
static tensor_id wide_rope(struct parts *p) {
    return graph_rope(p->g, p->x, p->ids, p->inv, &(struct rope_desc){ .head_dim = 8, .n_rot = 16 });
}
static tensor_id short_inv_freq(struct parts *p) {
    return graph_rope(p->g, p->x, p->ids, p->inv, &(struct rope_desc){ .head_dim = 8, .n_rot = 4 });
}
static tensor_id bad_store(struct parts *p) { return graph_kv_store(p->g, p->k, p->x, p->ids); }
static tensor_id store_in_weight(struct parts *p) { return graph_kv_store(p->g, p->wq, p->x, p->ids); }
static tensor_id bad_cells(struct parts *p) {
    return graph_kv_store(p->g, p->k, graph_matmul(p->g, p->wk, p->x, NO_TENSOR), p->pages);
}
static tensor_id attend(struct parts *p, tensor_id k, tensor_id seq, uint32_t head_dim, uint32_t page) {
    const struct attn_src s = { p->x, k, p->v, p->ids, seq, p->pages, NO_TENSOR };
    return graph_attention(p->g, &s, &(struct attn_desc){ .head_dim = head_dim, .page = page, .scale = 1 });
}
static tensor_id attend_to_weights(struct parts *p) { return attend(p, p->wk, p->ids, 8, 16); }
static tensor_id uneven_heads(struct parts *p) { return attend(p, p->k, p->ids, 12, 16); }
static tensor_id broken_page(struct parts *p) { return attend(p, p->k, p->ids, 8, 15); }
static tensor_id no_page(struct parts *p) { return attend(p, p->k, p->ids, 8, 0); }
static tensor_id bad_seq(struct parts *p) { return attend(p, p->k, p->inv, 8, 16); }
static tensor_id wide_values(struct parts *p) {
    const struct attn_src s = { p->x, p->k, p->v, p->ids, p->ids, p->pages, NO_TENSOR };
    return graph_attention(p->g, &s, &(struct attn_desc){ .head_dim = 8, .page = 16, .scale = 1, .head_dim_v = 9 });
}
static tensor_id bad_sinks(struct parts *p) {
    const struct attn_src s = { p->x, p->k, p->v, p->ids, p->ids, p->pages, p->bias };
    return graph_attention(p->g, &s, &attn8);
}
static tensor_id no_span(struct parts *p) {
    const struct attn_src s = { p->x, p->k, p->v, p->ids, p->ids, p->pages, NO_TENSOR };
    return graph_attention(p->g, &s, &(struct attn_desc){ .head_dim = 8, .page = 16, .scale = 1, .temp_beta = 0.1f });
}
static tensor_id uneven_norm(struct parts *p) {
    return graph_norm(p->g, p->x, NO_TENSOR, NO_TENSOR, &(struct norm_desc){ .group = 12 });
}
static tensor_id bad_norm_bias(struct parts *p) { return graph_norm(p->g, p->x, p->norm, p->bias, &rms); }
static tensor_id lone_gate(struct parts *p) {
    return graph_glu(p->g, p->x, NO_TENSOR, &(struct glu_desc){ .kind = GLU_OAI, .alpha = 1, .limit = 7 });
}
static tensor_id bad_row_gate(struct parts *p) { return graph_gate_rows(p->g, p->x, p->bias); }
static tensor_id bad_scale(struct parts *p) { return graph_scale(p->g, p->ids, 1, 0); }
static tensor_id wide_slice(struct parts *p) { return graph_slice(p->g, p->x, &(struct slice_desc){ 8, 3, 6 }); }
static tensor_id wrapped_slice(struct parts *p) {
    return graph_slice(p->g, p->x, &(struct slice_desc){ 8, UINT64_MAX, 2 });
}
static tensor_id uneven_slice(struct parts *p) { return graph_slice(p->g, p->x, &(struct slice_desc){ 9, 0, 1 }); }
static tensor_id uneven_concat(struct parts *p) {
    return graph_concat(p->g, p->x, p->x, &(struct concat_desc){ 8, 16 });
}
static tensor_id no_group(struct parts *p) { return graph_concat(p->g, p->x, p->x, &(struct concat_desc){ 8, 0 }); }
static tensor_id bad_experts(struct parts *p) { return graph_matmul_id(p->g, p->wq, p->x, p->x, NO_TENSOR); }
static tensor_id bad_slots(struct parts *p) {
    struct moe m = moe_new(p);
    tensor_id three = graph_input(p->g, "three", QTYPE_F32, NE(32, 3, 3), 3);
    return graph_matmul_id(p->g, m.w, three, m.ids, NO_TENSOR);
}
static tensor_id bad_each(struct parts *p) {
    struct moe m = moe_new(p);
    return graph_matmul_id(p->g, m.w, m.slots, NO_TENSOR, NO_TENSOR);
}
static tensor_id bad_expert_bias(struct parts *p) {
    struct moe m = moe_new(p);
    return graph_matmul_id(p->g, m.w, p->x, m.ids, p->bias);
}
static tensor_id pick(struct parts *p, const struct pick_desc *d) {
    return graph_pick_experts(p->g, moe_new(p).logits, NO_TENSOR, d);
}
static tensor_id six_of_five(struct parts *p) { return pick(p, &(struct pick_desc){ .n_used = 6 }); }
static tensor_id uneven_groups(struct parts *p) {
    return pick(p, &(struct pick_desc){ .n_used = 1, .n_group = 2, .n_group_used = 1, .group_best = 1 });
}
static tensor_id small_groups(struct parts *p) { /* groups of one expert have no two best */
    return pick(p, &(struct pick_desc){ .n_used = 1, .n_group = 5, .n_group_used = 1, .group_best = 2 });
}
static tensor_id pick_of_chosen(struct parts *p) {
    return pick(p, &(struct pick_desc){ .n_used = 1, .score = SCORE_SOFTMAX_CHOSEN });
}
static tensor_id bad_weigh(struct parts *p) {
    return graph_weigh_experts(p->g, moe_new(p).logits, p->ids, &(struct weigh_desc){ .scale = 1 });
}
static tensor_id bad_sum(struct parts *p) {
    struct moe m = moe_new(p);
    return graph_sum_experts(p->g, m.slots, m.logits);
}
static tensor_id no_source(struct parts *p) { return graph_add(p->g, p->x, NO_TENSOR, 1); }
static tensor_id ragged_row(struct parts *p) { return graph_weight(p->g, "ragged", QTYPE_Q4_K, NE(100, 2), 2, at_7); }
static tensor_id empty(struct parts *p) { return graph_input(p->g, "empty", QTYPE_F32, NE(4, 0), 2); }
static tensor_id five_dims(struct parts *p) { return graph_input(p->g, "deep", QTYPE_F32, NE(1, 1, 1, 1, 1), 5); }
static tensor_id huge(struct parts *p) { return graph_input(p->g, "huge", QTYPE_F32, NE(1ull << 40, 1ull << 40), 2); }
static tensor_id huge_act(struct parts *p) { /* each fits in 2^64 bytes, both together pass 2^63 */
    tensor_id x = graph_input(p->g, "huge", QTYPE_F32, NE(1ull << 30, 3ull << 29), 2);
    graph_add(p->g, x, x, 1);
    return NO_TENSOR;
}
static tensor_id quantized_cache(struct parts *p) { return graph_kv(p->g, "kv4", QTYPE_Q4_0, NE(32, 64), 2, at_7); }
static tensor_id cut_blocks(struct parts *p) {
    return attend(p, graph_kv(p->g, "kv8", QTYPE_Q8_0, NE(32, 64), 2, at_7), p->ids, 8, 16);
}
static tensor_id half_input(struct parts *p) { return graph_input(p->g, "half", QTYPE_F16, NE(32), 1); }
static tensor_id weight_as_output(struct parts *p) {
    graph_output(p->g, p->wq);
    return NO_TENSOR;
}

static void bad_graphs_are_named(void **state) {
    (void)state;
    static const struct { tensor_id (*build)(struct parts *p); const char *says[2]; } cases[] = {
        { bad_rows, { "GET_ROWS", "x F32 (32, 3)" } },
        { bad_norm, { "NORM", "bias F32 (16)" } },
        { bad_matmul, { "MATMUL", "bias F32 (16)" } },
        { bad_bias, { "MATMUL", "wq Q8_0 (32, 32)" } },
        { bad_add, { "ADD", "MATMUL.0 wk F32 (16, 3)" } },
        { bad_glu, { "GLU", "ids I32 (3)" } },
        { bad_rope_pos, { "ROPE", "inv_freq F32 (4)" } },
        { odd_rope, { "ROPE", "n_rot is 7" } },
        { wide_rope, { "ROPE", "n_rot is 16" } },
        { short_inv_freq, { "ROPE", "inv_freq F32 (4)" } },
        { bad_store, { "KV_STORE", "k F16 (16, 64)" } },
        { store_in_weight, { "KV_STORE", "wq" } },
        { bad_cells, { "KV_STORE", "pages I32 (4)" } },
        { attend_to_weights, { "ATTENTION", "wk F16 (32, 16)" } },
        { uneven_heads, { "ATTENTION", "k F16 (16, 64)" } },
        { broken_page, { "ATTENTION", "pages of 15" } },
        { no_page, { "ATTENTION", "page 0" } },
        { bad_seq, { "ATTENTION", "inv_freq" } },
        { wide_values, { "ATTENTION", "head_dim_v" } },
        { bad_sinks, { "ATTENTION", "sinks must" } },
        { no_span, { "ATTENTION", "temp_span 0" } },
        { uneven_norm, { "NORM", "x F32 (32, 3)" } },
        { bad_norm_bias, { "NORM", "bias F32 (16)" } },
        { lone_gate, { "GLU", "alpha" } },
        { bad_row_gate, { "GATE_ROWS", "bias F32 (16)" } },
        { bad_scale, { "SCALE", "ids I32 (3)" } },
        { wide_slice, { "SLICE", "groups of 8" } },
        { wrapped_slice, { "SLICE", "groups of 8" } },
        { uneven_slice, { "SLICE", "x F32 (32, 3)" } },
        { uneven_concat, { "CONCAT", "x F32 (32, 3)" } },
        { no_group, { "CONCAT", "x F32 (32, 3)" } },
        { bad_experts, { "MATMUL_ID", "ids must be I32" } },
        { bad_slots, { "MATMUL_ID", "three F32 (32, 3, 3)" } },
        { bad_each, { "MATMUL_ID", "slots F32 (32, 2, 3)" } },
        { bad_expert_bias, { "MATMUL_ID", "bias F32 (16)" } },
        { six_of_five, { "PICK_EXPERTS", "6 of 5" } },
        { uneven_groups, { "PICK_EXPERTS", "of 2 groups" } },
        { small_groups, { "PICK_EXPERTS", "group_best 2" } },
        { pick_of_chosen, { "PICK_EXPERTS", "softmax" } },
        { bad_weigh, { "WEIGH_EXPERTS", "ids I32 (3)" } },
        { bad_sum, { "SUM_EXPERTS", "logits F32 (5, 3)" } },
        { no_source, { "ADD", "source 1" } },
        { ragged_row, { "ragged", "Q4_K" } },
        { empty, { "empty", "zero" } },
        { five_dims, { "deep", "5" } },
        { huge, { "huge", "F32" } },
        { huge_act, { "2^63", "ADD.0" } },
        { quantized_cache, { "kv4", "Q4_0" } },
        { cut_blocks, { "kv8", "whole blocks" } },
        { half_input, { "half", "I32" } },
        { weight_as_output, { "wq", "output" } },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct parts p = parts_new();
        struct err e = { 0 };
        if (cases[i].build(&p) != NO_TENSOR) fail_msg("case %zu built", i);
        enum err_code rc = graph_finish(p.g, &e);
        if (rc == ERR_NONE || rc != e.code) fail_msg("case %zu: code %d, in the error %d", i, rc, e.code);
        if (!strstr(e.msg, cases[i].says[0]) || !strstr(e.msg, cases[i].says[1])) fail_msg("case %zu: %s", i, e.msg);
        graph_free(p.g);
    }
}

static void the_first_error_sticks(void **state) {
    (void)state;
    struct parts p = parts_new();
    tensor_id bad = graph_add(p.g, p.x, p.bias, 1);
    assert_int_equal(bad, NO_TENSOR);
    uint32_t n_tensors = p.g->n_tensors, n_ops = p.g->n_ops;
    assert_int_equal(graph_norm(p.g, bad, p.norm, NO_TENSOR, &rms), NO_TENSOR);
    assert_int_equal(graph_add(p.g, p.x, p.x, 1), NO_TENSOR); /* sound, but the graph is not */
    assert_int_equal(graph_input(p.g, "late", QTYPE_F32, NE(1), 1), NO_TENSOR);
    graph_output(p.g, bad);
    assert_int_equal(p.g->n_tensors, n_tensors);
    assert_int_equal(p.g->n_ops, n_ops);
    struct err e = { 0 };
    assert_int_equal(graph_finish(p.g, &e), ERR_INTERNAL);
    assert_non_null(strstr(e.msg, "ADD: both must be F32 of one shape, but they are x F32 (32, 3) and bias F32 (16)"));
    graph_free(p.g);
}

/* --- Placement --- */

/* x (64 bytes times 4 rows = 256 bytes): a = x + x, b = a + x, c = b + x, d = c + x. Each lives until the next is made,
 * so two places of 256 bytes serve all; with d as output it stands in the io buffer behind x. */
static void chain_takes_two_places(void **state) {
    (void)state;
    for (int keep = 0; keep < 2; keep++) {
        struct graph *g = graph_new();
        g->keep_all = keep;
        tensor_id x = graph_input(g, "x", QTYPE_F32, NE(16, 4), 2);
        tensor_id a = graph_add(g, x, x, 1), b = graph_add(g, a, x, 1);
        tensor_id c = graph_add(g, b, x, 1), d = graph_add(g, c, x, 1);
        graph_output(g, d);
        assert_int_equal(graph_finish(g, NULL), ERR_NONE);
        assert_int_equal(g->act_bytes, keep ? 3 * 256 : 2 * 256);
        assert_int_equal(g->io_bytes, 2 * 256);
        assert_int_equal(graph_tensor(g, x)->place.off, 0);
        assert_int_equal(graph_tensor(g, d)->place.off, 256);
        assert_int_equal(graph_tensor(g, d)->role, ROLE_OUTPUT);
        if (!keep) assert_int_equal(graph_tensor(g, a)->place.off, graph_tensor(g, c)->place.off);
        assert_int_not_equal(graph_tensor(g, a)->place.off, graph_tensor(g, b)->place.off);
        graph_place(g, 3, 4);
        assert_int_equal(graph_tensor(g, a)->place.buffer, 3);
        assert_int_equal(graph_tensor(g, x)->place.buffer, 4);
        assert_int_equal(graph_tensor(g, d)->place.buffer, 4);
        graph_free(g);
    }
}

/* A small tensor goes into the tightest hole: lives, in floats,
 *   op 0 a (64)   0..2    op 1 b (16) 1..4    op 2 c (64) 2..3    op 3 d (16) 3..4    op 4 out
 * Largest first: a at 0, c beside it at 256 bytes (both live at 2), b beside both at 512, d lives with c and b alone:
 * the hole of 256 bytes that a left at 0. Total 576. */
static void holes_are_used(void **state) {
    (void)state;
    struct graph *g = graph_new();
    tensor_id big = graph_input(g, "big", QTYPE_F32, NE(16, 4), 2);
    tensor_id small = graph_input(g, "small", QTYPE_F32, NE(16, 1), 2);
    tensor_id w = graph_weight(g, "w", QTYPE_F32, NE(16, 16), 2, at_7);
    tensor_id one = graph_input(g, "one", TENSOR_I32, NE(1), 1), four = graph_input(g, "four", TENSOR_I32, NE(4), 1);
    tensor_id a = graph_matmul(g, w, big, NO_TENSOR);
    tensor_id b = graph_matmul(g, w, small, NO_TENSOR);
    tensor_id c = graph_get_rows(g, a, four, 1);
    tensor_id d = graph_get_rows(g, c, one, 1);
    graph_output(g, graph_add(g, b, d, 1));
    assert_int_equal(graph_finish(g, NULL), ERR_NONE);
    assert_int_equal(graph_tensor(g, a)->place.off, 0);
    assert_int_equal(graph_tensor(g, c)->place.off, 256);
    assert_int_equal(graph_tensor(g, b)->place.off, 512);
    assert_int_equal(graph_tensor(g, d)->place.off, 0);
    assert_int_equal(g->act_bytes, 576);
    graph_free(g);
}

/* Among holes the tightest is taken. Seven tensors of 512, 448, 384, 320, 256, 192 and 128 bytes live together and are
 * stacked: 0, 512, 960, 1344, 1664, 1920, 2112. Those at 0, 960, 1664 and 1920 end; then one of 128 bytes is made. It
 * finds holes of 512 at 0, 384 at 960 and 256 + 192 = 448 at 1664. */
static void the_tightest_hole_is_taken(void **state) {
    (void)state;
    struct graph *g = graph_new();
    static const struct { uint64_t rows, off; bool ends; } early[7] = { /* rows of 64 bytes */
        { 8, 0, true }, { 7, 512, false }, { 6, 960, true }, { 5, 1344, false }, { 4, 1664, true }, { 3, 1920, true },
        { 2, 2112, false },
    };
    tensor_id table = graph_input(g, "table", QTYPE_F32, NE(16, 9), 2), made[7];
    tensor_id one = graph_input(g, "one", TENSOR_I32, NE(1), 1), two = graph_input(g, "two", TENSOR_I32, NE(2), 1);
    for (int i = 0; i < 7; i++)
        made[i] = graph_get_rows(g, table, graph_input(g, "ids", TENSOR_I32, NE(early[i].rows), 1), 1);
    for (int i = 0; i < 7; i++)
        if (early[i].ends) graph_output(g, graph_get_rows(g, made[i], one, 1));
    tensor_id late = graph_get_rows(g, table, two, 1);
    for (int i = 0; i < 7; i++)
        if (!early[i].ends) graph_output(g, graph_get_rows(g, made[i], one, 1));
    graph_output(g, graph_get_rows(g, late, one, 1));
    assert_int_equal(graph_finish(g, NULL), ERR_NONE);
    for (int i = 0; i < 7; i++) assert_int_equal(graph_tensor(g, made[i])->place.off, early[i].off);
    assert_int_equal(graph_tensor(g, late)->place.off, 960);
    assert_int_equal(g->act_bytes, 2112 + 128);
    graph_free(g);
}

/* Plays a finished graph: each operation marks the bytes of its result with its number and must find those of its
 * sources marked by whoever made them. Inputs are marked at the start and outputs must still stand at the end. */
static void play(const struct graph *g) {
    uint32_t *act = calloc(g->act_bytes / 4 + 1, 4), *io = calloc(g->io_bytes / 4 + 1, 4);
    uint32_t *mark_of = calloc(g->n_tensors, 4);
    for (uint32_t round = 0; round < g->n_tensors + g->n_ops + 1; round++) {
        bool start = round < g->n_tensors, end = round == g->n_tensors + g->n_ops;
        const struct op *op = start || end ? NULL : &g->ops[round - g->n_tensors];
        for (uint32_t t = 0; t < g->n_tensors; t++) {
            const struct tensor *x = graph_tensor(g, t);
            uint32_t *at = (x->role == ROLE_ACT ? act : io) + x->place.off / 4;
            bool host = x->role == ROLE_INPUT || x->role == ROLE_OUTPUT, made = x->role == ROLE_ACT || host;
            bool read = end ? host : false;
            for (unsigned s = 0; op && s < OP_MAX_SRC; s++) read |= op->src[s] == t;
            if (made && mark_of[t] == 0 && read) fail_msg("%s is read before it is made", x->name);
            for (uint64_t i = 0; made && read && i < x->bytes / 4; i++)
                if (at[i] != mark_of[t]) fail_msg("%s was overwritten by %u before round %u", x->name, at[i], round);
        }
        tensor_id dst = op ? op->dst : start && graph_tensor(g, round)->role == ROLE_INPUT ? round : NO_TENSOR;
        if (dst == NO_TENSOR || graph_tensor(g, dst)->role == ROLE_KV) continue;
        const struct tensor *x = graph_tensor(g, dst);
        bool in_act = x->role == ROLE_ACT;
        assert_int_equal(x->place.off % 64, 0);
        assert_true(x->place.off + x->bytes <= (in_act ? g->act_bytes : g->io_bytes));
        mark_of[dst] = round + 1;
        for (uint64_t i = 0; i < x->bytes / 4; i++) (in_act ? act : io)[x->place.off / 4 + i] = round + 1;
    }
    free(act); free(io); free(mark_of);
}

/* The most bytes that live at one time: no placement needs less. */
static uint64_t widest(const struct graph *g) {
    uint64_t most = 0;
    for (uint32_t now = 0; now < g->n_ops; now++) {
        uint64_t sum = 0;
        for (uint32_t made = 0; made <= now; made++) {
            tensor_id t = g->ops[made].dst;
            bool needed = made == now;
            for (uint32_t i = now; i < g->n_ops; i++)
                for (unsigned s = 0; s < OP_MAX_SRC; s++) needed |= g->ops[i].src[s] == t;
            if (needed && graph_tensor(g, t)->role == ROLE_ACT) sum += round_up(graph_tensor(g, t)->bytes, 64);
        }
        most = max_u64(most, sum);
    }
    return most;
}

/* Sums, rows and products of tensors made before, at random; every fifth is an output. */
static struct graph *random_graph(uint64_t seed, bool keep_all) {
    struct rng r;
    rng_seed(&r, seed);
    struct graph *g = graph_new();
    g->keep_all = keep_all;
    tensor_id made[64], w = graph_weight(g, "w", QTYPE_F32, NE(8, 8), 2, at_7), rows[8];
    for (uint32_t i = 0; i < 8; i++) rows[i] = graph_input(g, "rows", TENSOR_I32, NE(1 + 5 * i), 1);
    made[0] = graph_input(g, "x", QTYPE_F32, NE(8, 7), 2);
    for (uint32_t n = 1; n < 64; n++) {
        uint32_t back = n < 9 ? n : 9;
        tensor_id a = made[n - 1 - rng_below(&r, back)], b = made[n - 1 - rng_below(&r, back)];
        bool same = !memcmp(graph_tensor(g, a)->ne, graph_tensor(g, b)->ne, sizeof graph_tensor(g, a)->ne);
        if (same && rng_below(&r, 2)) made[n] = graph_add(g, a, b, 1);
        else if (rng_below(&r, 2)) made[n] = graph_get_rows(g, a, rows[rng_below(&r, 8)], 1);
        else made[n] = graph_matmul(g, w, a, NO_TENSOR);
        if (rng_below(&r, 5) == 0) graph_output(g, made[n]);
    }
    assert_int_equal(graph_finish(g, NULL), ERR_NONE);
    return g;
}

static void lives_never_share_bytes(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct graph *g = random_graph(seed, false), *again = random_graph(seed, false);
        struct graph *apart = random_graph(seed, true);
        play(g);
        play(apart);
        uint64_t sum = 0;
        for (uint32_t t = 0; t < g->n_tensors; t++) {
            const struct tensor *x = graph_tensor(g, t);
            if (x->role == ROLE_ACT) sum += round_up(x->bytes, 64);
            assert_int_equal(x->place.off, graph_tensor(again, t)->place.off);
        }
        assert_int_equal(apart->act_bytes, sum); /* with taps everything has a place of its own */
        assert_true(g->act_bytes >= widest(g));
        assert_true(g->act_bytes <= sum);
        graph_free(g);
        graph_free(apart);
        graph_free(again);
    }
}

/* Blocks as llama has them need no more than what lives at their widest point. */
static void blocks_are_placed_tightly(void **state) {
    (void)state;
    struct parts p = parts_new();
    tensor_id x = graph_get_rows(p.g, p.wq, p.ids, 1);
    tensor_id up = graph_weight(p.g, "up", QTYPE_F32, NE(32, 86), 2, at_7);
    tensor_id down = graph_weight(p.g, "down", QTYPE_F32, NE(86, 32), 2, at_7);
    for (int layer = 0; layer < 6; layer++) {
        tensor_id h = graph_norm(p.g, x, p.norm, NO_TENSOR, &rms);
        tensor_id q = graph_rope(p.g, graph_matmul(p.g, p.wq, h, NO_TENSOR), p.ids, p.inv, &rope8);
        tensor_id k = graph_rope(p.g, graph_matmul(p.g, p.wk, h, NO_TENSOR), p.ids, p.inv, &rope8);
        tensor_id v = graph_matmul(p.g, p.wk, h, p.bias);
        const struct attn_src s = { q, graph_kv_store(p.g, p.k, k, p.ids), graph_kv_store(p.g, p.v, v, p.ids), p.ids,
                                    p.ids, p.pages, NO_TENSOR };
        x = graph_add(p.g, x, graph_matmul(p.g, p.wq, graph_attention(p.g, &s, &attn8), NO_TENSOR), 1);
        h = graph_norm(p.g, x, p.norm, NO_TENSOR, &rms);
        tensor_id gate = graph_matmul(p.g, up, h, NO_TENSOR);
        h = graph_glu(p.g, gate, graph_matmul(p.g, up, h, NO_TENSOR), &silu);
        x = graph_add(p.g, x, graph_matmul(p.g, down, h, NO_TENSOR), 1);
    }
    graph_output(p.g, x);
    assert_int_equal(graph_finish(p.g, NULL), ERR_NONE);
    play(p.g);
    /* Widest at GLU: x of 32 * 3 floats = 384 bytes; gate, up and their product of 86 * 3 floats = 1032, up to 1088. */
    assert_int_equal(widest(p.g), 384 + 3 * 1088);
    assert_int_equal(p.g->act_bytes, widest(p.g));
    graph_free(p.g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operations_make_their_shapes), cmocka_unit_test(bad_graphs_are_named),
        cmocka_unit_test(experts_make_their_shapes),    cmocka_unit_test(rows_are_cut_and_normed),
        cmocka_unit_test(values_have_their_width),
        cmocka_unit_test(the_first_error_sticks),       cmocka_unit_test(chain_takes_two_places),
        cmocka_unit_test(holes_are_used),               cmocka_unit_test(the_tightest_hole_is_taken),
        cmocka_unit_test(lives_never_share_bytes), cmocka_unit_test(blocks_are_placed_tightly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
