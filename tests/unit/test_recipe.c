/* llama.cpp's mixes against files that it wrote and against the published sizes of 70B models; patterns of --keep. */
#include "model_data.h"
#include <math.h>
#include "format/gguf_read.h"
#include "quant/recipe.h"

static const char *const mixes[] = {
    "Q2_K",  "Q3_K_M",  "Q4_K_M", "Q5_K_M", "Q6_K",    "IQ4_XS",
    "IQ3_S", "IQ3_XXS", "IQ2_S",  "IQ2_XS", "IQ2_XXS", "IQ1_M",
};

static const struct recipe *find(const char *name) {
    const struct recipe *r;
    struct err e;
    assert_ok(recipe_find(name, &r, &e), &e);
    return r;
}

static const struct weight *weight_named(const struct model *m, const char *name) {
    for (uint32_t i = 0; i < m->n_weights; i++)
        if (!strcmp(m->weights[i].name, name)) return &m->weights[i];
    fail_msg("the model has no %s", name);
    return NULL;
}

static void expect_types_of(const char *mix, const struct model *m) {
    struct os_map map;
    struct gguf *g;
    struct err e;
    char name[64];
    size_t matrices = 0;
    uint32_t file_type;
    bool found;
    snprintf(name, sizeof name, "models/tiny/llamacpp/%s.gguf", mix);
    assert_ok(os_map_open(shared(name).p, &map, &e), &e);
    assert_ok(gguf_open((struct span){ map.p, map.n }, &g, &e), &e);
    const struct recipe *r = find(mix);
    for (size_t i = 0; i < g->n_tensors; i++) {
        const struct weight *w = weight_named(m, g->tensors[i].name);
        if (!slot_info(w->slot)->matrix) continue;
        enum qtype got = recipe_type(r, &m->hp, w);
        if (got != g->tensors[i].type)
            fail_msg("%s: %s is %s, llama.cpp made it %s", mix, w->name, qtype_name(got),
                     qtype_name(g->tensors[i].type));
        matrices++;
    }
    assert_int_equal(matrices, 6 * 7 + 1);
    assert_ok(gguf_get_u32(g, "general.file_type", &file_type, &found, &e), &e);
    assert_true(found);
    assert_int_equal(r->file_type, file_type);
    gguf_close(g);
    os_map_close(&map);
}

static void types_equal_llamacpp_files(void **state) {
    struct model *m;
    struct err e;
    (void)state;
    assert_ok(model_open(shared("models/tiny").p, true, &m, &e), &e);
    for (size_t i = 0; i < ARRAY_LEN(mixes); i++) expect_types_of(mixes[i], m);
    model_close(m);
}

/* Bytes of all weights in GB; vectors are F32. */
static double gigabytes(const struct model *m, const char *mix) {
    const struct recipe *r = find(mix);
    uint64_t sum = 0, row;
    for (uint32_t i = 0; i < m->n_weights; i++) {
        const struct weight *w = &m->weights[i];
        enum qtype t = slot_info(w->slot)->matrix ? recipe_type(r, &m->hp, w) : QTYPE_F32;
        assert_true(qtype_row_bytes(t, w->ne[0], &row));
        sum += row * w->ne[1];
    }
    return (double)sum * 1e-9;
}

/* GB of published files, without norms (5 MB in F32), cut to two places. */
static const struct { const char *mix; double llama2, llama3; } sizes[] = {
    { "Q8_0", 73.29, 74.96 },   { "Q6_K", 56.58, 57.88 },   { "Q5_K_M", 48.75, 49.94 }, { "Q4_K_M", 41.42, 42.51 },
    { "Q4_K_S", 39.24, 40.33 }, { "IQ4_XS", 36.82, 37.89 }, { "Q3_K_M", 33.27, 34.25 }, { "Q2_K", 25.46, 26.36 },
    { "IQ3_XXS", 26.58, 27.46 }, { "IQ2_XS", 20.33, 21.13 }, { "IQ2_XXS", 18.28, 19.08 },
};

static void sizes_of_70b(void **state) {
    struct model *two, *three;
    struct err e;
    (void)state;
    assert_ok(model_open(shared("models/configs/llama-2-70b").p, true, &two, &e), &e);
    assert_ok(model_open(shared("models/configs/llama-3.3-70b").p, true, &three, &e), &e);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        double a = gigabytes(two, sizes[i].mix), b = gigabytes(three, sizes[i].mix);
        if (fabs(a - sizes[i].llama2) > 0.01 || fabs(b - sizes[i].llama3) > 0.01)
            fail_msg("%s: %.3f and %.3f GB, published %.2f and %.2f", sizes[i].mix, a, b, sizes[i].llama2,
                     sizes[i].llama3);
    }
    model_close(two);
    model_close(three);
}

/* --- Without reference data --- */

static enum qtype type_of(const char *mix, struct hparams hp, enum slot s, uint32_t layer) {
    struct weight w = { .slot = s, .layer = layer, .ne = { 4096, 4096, 1, 1 } };
    return recipe_type(find(mix), &hp, &w);
}

/* Rules that the files above do not reach: shared key heads, 16 blocks, a head of its own. */
static void rules_by_hand(void **state) {
    (void)state;
    struct hparams mha = { .n_layer = 16, .n_head = 32, .n_head_kv = 32 };
    struct hparams gqa = { .n_layer = 16, .n_head = 32, .n_head_kv = 8 };
    struct hparams big = { .n_layer = 80, .n_head = 64, .n_head_kv = 8 };
    assert_int_equal(type_of("Q2_K", mha, SLOT_ATTN_V, 3), QTYPE_Q3_K);
    assert_int_equal(type_of("Q2_K", gqa, SLOT_ATTN_V, 3), QTYPE_Q4_K);
    assert_int_equal(type_of("Q2_K", big, SLOT_ATTN_V, 3), QTYPE_Q5_K); /* Q4_K raised in a 70B */
    assert_int_equal(type_of("Q3_K_S", big, SLOT_ATTN_V, 3), QTYPE_Q5_K);
    assert_int_equal(type_of("Q2_K_S", gqa, SLOT_FFN_DOWN, 1), QTYPE_Q4_K);
    assert_int_equal(type_of("Q2_K_S", gqa, SLOT_FFN_DOWN, 2), QTYPE_Q2_K);
    assert_int_equal(type_of("Q3_K_M", gqa, SLOT_ATTN_V, 1), QTYPE_Q5_K);
    assert_int_equal(type_of("Q3_K_M", gqa, SLOT_ATTN_V, 2), QTYPE_Q4_K);
    assert_int_equal(type_of("Q3_K_M", gqa, SLOT_FFN_DOWN, 0), QTYPE_Q5_K);
    assert_int_equal(type_of("Q3_K_M", gqa, SLOT_FFN_DOWN, 1), QTYPE_Q4_K);
    assert_int_equal(type_of("Q3_K_L", gqa, SLOT_ATTN_OUT, 9), QTYPE_Q5_K);
    assert_int_equal(type_of("Q4_K_S", gqa, SLOT_ATTN_V, 3), QTYPE_Q5_K);
    assert_int_equal(type_of("Q4_K_S", gqa, SLOT_ATTN_V, 4), QTYPE_Q4_K);
    assert_int_equal(type_of("Q4_K_S", gqa, SLOT_FFN_DOWN, 1), QTYPE_Q5_K);
    assert_int_equal(type_of("Q4_0", gqa, SLOT_FFN_DOWN, 1), QTYPE_Q4_1);
    assert_int_equal(type_of("Q5_0", gqa, SLOT_FFN_DOWN, 2), QTYPE_Q5_0);
    assert_int_equal(type_of("IQ4_XS", gqa, SLOT_ATTN_V, 9), QTYPE_Q5_K);
    assert_int_equal(type_of("IQ4_XS", mha, SLOT_ATTN_V, 9), QTYPE_IQ4_XS);
    for (uint32_t i = 0; i < 16; i++)
        assert_int_equal(type_of("IQ3_XS", mha, SLOT_FFN_UP, i), i < 2 || i >= 14 ? QTYPE_IQ3_S : QTYPE_IQ3_XXS);
    assert_int_equal(type_of("IQ3_XS", mha, SLOT_ATTN_Q, 5), QTYPE_IQ3_XXS);
    assert_int_equal(type_of("IQ3_XS", mha, SLOT_ATTN_V, 5), QTYPE_IQ3_S);
    assert_int_equal(type_of("IQ3_XS", gqa, SLOT_ATTN_V, 5), QTYPE_Q4_K);
    assert_int_equal(type_of("IQ3_M", mha, SLOT_ATTN_OUT, 5), QTYPE_Q4_K);
    assert_int_equal(type_of("IQ3_M", mha, SLOT_FFN_DOWN, 1), QTYPE_Q4_K);
    assert_int_equal(type_of("IQ3_M", mha, SLOT_FFN_DOWN, 2), QTYPE_IQ3_S);
    assert_int_equal(type_of("IQ2_M", mha, SLOT_ATTN_K, 2), QTYPE_IQ2_S);
    assert_int_equal(type_of("IQ2_M", mha, SLOT_TOKEN_EMBD, 0), QTYPE_IQ3_S);
    assert_int_equal(type_of("IQ1_S", mha, SLOT_TOKEN_EMBD, 0), QTYPE_Q2_K);
    assert_int_equal(type_of("IQ1_S", mha, SLOT_ATTN_OUT, 2), QTYPE_IQ2_XXS);
    assert_int_equal(type_of("IQ1_S", mha, SLOT_ATTN_V, 2), QTYPE_Q2_K);
    assert_int_equal(type_of("IQ1_S", big, SLOT_ATTN_V, 2), QTYPE_Q4_K);
    assert_int_equal(type_of("IQ3_M", big, SLOT_ATTN_V, 2), QTYPE_Q5_K);
    struct hparams moe = { .n_layer = 32, .n_head = 32, .n_head_kv = 8, .n_expert = 8 };
    assert_int_equal(type_of("Q4_K_M", moe, SLOT_ATTN_V, 0), QTYPE_Q8_0);
    assert_int_equal(type_of("Q4_K_M", moe, SLOT_ATTN_K, 0), QTYPE_Q8_0);
    assert_int_equal(type_of("Q4_K_M", moe, SLOT_ATTN_OUT, 0), QTYPE_Q5_K);
    assert_int_equal(type_of("Q3_K_L", moe, SLOT_ATTN_OUT, 0), QTYPE_Q3_K);
    assert_int_equal(type_of("Q4_K_M", moe, SLOT_EXPERT_DOWN, 0), QTYPE_Q6_K);
    assert_int_equal(type_of("IQ2_XXS", moe, SLOT_ATTN_K, 0), QTYPE_Q4_K);
    assert_int_equal(type_of("IQ3_M", moe, SLOT_FFN_DOWN, 6), QTYPE_Q4_K); /* 2 past the first eighth */
    /* 16 blocks: the first two, the last two, and every third between from the fifth on. */
    for (uint32_t i = 0; i < 16; i++)
        assert_int_equal(type_of("Q4_K_M", gqa, SLOT_FFN_DOWN, i),
                         i < 2 || i >= 14 || i % 3 == 1 ? QTYPE_Q6_K : QTYPE_Q4_K);
    assert_int_equal(type_of("Q2_K", gqa, SLOT_OUTPUT, 0), QTYPE_Q6_K);
    assert_int_equal(type_of("Q8_0", gqa, SLOT_OUTPUT, 0), QTYPE_Q8_0);
    assert_int_equal(type_of("Q2_K", gqa, SLOT_TOKEN_EMBD, 0), QTYPE_Q2_K);
    gqa.tied = true;
    assert_int_equal(type_of("Q2_K", gqa, SLOT_TOKEN_EMBD, 0), QTYPE_Q6_K);
    assert_int_equal(type_of("F16", gqa, SLOT_TOKEN_EMBD, 0), QTYPE_F16);
}

static void rows_that_do_not_suit(void **state) {
    static const struct { enum qtype wanted, by32; } falls[] = {
        { QTYPE_Q2_K, QTYPE_IQ4_NL }, { QTYPE_Q3_K, QTYPE_IQ4_NL }, { QTYPE_IQ4_XS, QTYPE_IQ4_NL },
        { QTYPE_Q4_K, QTYPE_Q5_0 },   { QTYPE_Q5_K, QTYPE_Q5_1 },   { QTYPE_Q6_K, QTYPE_Q8_0 },
        { QTYPE_Q8_0, QTYPE_Q8_0 },   { QTYPE_Q4_0, QTYPE_Q4_0 },   { QTYPE_IQ1_M, QTYPE_IQ4_NL },
        { QTYPE_TQ1_0, QTYPE_Q4_0 },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(falls); i++) {
        assert_int_equal(recipe_fit(falls[i].wanted, 512), falls[i].wanted);
        assert_int_equal(recipe_fit(falls[i].wanted, 576), falls[i].by32); /* 18 * 32, and 2.25 * 256 */
        assert_int_equal(recipe_fit(falls[i].wanted, 100), QTYPE_F16);
    }
    assert_int_equal(recipe_fit(QTYPE_BF16, 100), QTYPE_BF16);
}

static void names(void **state) {
    const struct recipe *r;
    struct err e;
    (void)state;
    assert_string_equal(find("q4_k_m")->name, "Q4_K_M");
    assert_string_equal(find("Q4_K")->name, "Q4_K_M");
    assert_string_equal(find("iq3_m")->name, "IQ3_M");
    assert_int_equal(find("mxfp4_moe")->base, QTYPE_MXFP4);
    assert_int_equal(recipe_find("Q9_X", &r, &e), ERR_USAGE);
    assert_non_null(strstr(e.msg, "Q9_X"));
    assert_int_equal(recipe_file_type(QTYPE_Q3_K), 11);
    assert_int_equal(recipe_file_type(QTYPE_IQ4_XS), 30);
    assert_int_equal(recipe_file_type(QTYPE_IQ3_S), 26);
}

/* --- --keep --- */

static struct keep parsed(const char *text) {
    struct keep k;
    struct err e;
    assert_ok(keep_parse(text, &k, &e), &e);
    return k;
}

static void keep_words(void **state) {
    struct keep k;
    struct err e;
    (void)state;
    k = parsed("blk.*.attn_v.weight=q6_k");
    assert_string_equal(k.pattern, "blk.*.attn_v.weight");
    assert_int_equal(k.type, QTYPE_Q6_K);
    static const char *const wrong[] = { "output", "=Q6_K", "output=Q7_K", "output=", "" };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        assert_int_equal(keep_parse(wrong[i], &k, &e), ERR_USAGE);
        assert_non_null(strstr(e.msg, wrong[i]));
    }
    char longer[200];
    memset(longer, 'a', sizeof longer);
    memcpy(longer + sizeof longer - 6, "=Q6_K", 6);
    assert_int_equal(keep_parse(longer, &k, &e), ERR_USAGE);
}

static void last_pattern_wins(void **state) {
    (void)state;
    struct keep k[] = { parsed("blk.*=Q4_K"), parsed("blk.[01].ffn_*.weight=Q6_K"), parsed("output.weight=F16") };
    assert_int_equal(keep_type(k, 3, "blk.1.ffn_up.weight"), QTYPE_Q6_K);
    assert_int_equal(keep_type(k, 3, "blk.2.ffn_up.weight"), QTYPE_Q4_K);
    assert_int_equal(keep_type(k, 3, "output.weight"), QTYPE_F16);
    assert_int_equal(keep_type(k, 3, "token_embd.weight"), QTYPE_NONE);
    assert_int_equal(keep_type(NULL, 0, "output.weight"), QTYPE_NONE);
}

static void patterns_must_match_and_suit(void **state) {
    (void)state;
    struct weight w[] = { { .name = "output_norm.weight", .slot = SLOT_OUTPUT_NORM, .ne = { 576, 1, 1, 1 } },
                          { .name = "blk.0.attn_q.weight", .slot = SLOT_ATTN_Q, .ne = { 576, 576, 1, 1 } } };
    struct model m = { .weights = w, .n_weights = 2 };
    struct err e;
    struct keep good[] = { parsed("*attn_q*=Q8_0") }, none[] = { parsed("blk.7.*=Q8_0") };
    struct keep vector[] = { parsed("output_norm.weight=Q8_0") }, wide[] = { parsed("blk.*=Q4_K") };
    assert_ok(keep_check(good, 1, &m, &e), &e);
    assert_int_equal(keep_check(none, 1, &m, &e), ERR_USAGE);
    assert_non_null(strstr(e.msg, "blk.7.*"));
    assert_int_equal(keep_check(vector, 1, &m, &e), ERR_USAGE);
    assert_int_equal(keep_check(wide, 1, &m, &e), ERR_USAGE);
    assert_non_null(strstr(e.msg, "blk.0.attn_q.weight"));
    assert_non_null(strstr(e.msg, "576"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_equal_llamacpp_files), cmocka_unit_test(sizes_of_70b), cmocka_unit_test(rules_by_hand),
        cmocka_unit_test(rows_that_do_not_suit), cmocka_unit_test(names), cmocka_unit_test(keep_words),
        cmocka_unit_test(last_pattern_wins), cmocka_unit_test(patterns_must_match_and_suit),
    };
    return cmocka_run_group_tests_name("recipe", tests, NULL, NULL);
}
