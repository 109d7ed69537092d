/* The planner: what it says of a model and a machine, and that speed is measured on all that a pass does. */
#include "far_device.h"
#include <math.h>
#include <stdlib.h>
#include "plan/speed.h"
#include "snug.h"

static const char *tiny(void) {
    static char dir[600];
    snprintf(dir, sizeof dir, "%s/models/tiny", getenv("SNUG_SOURCE"));
    return dir;
}

static struct snug_plan_result plan(const struct snug_plan_options *o) {
    struct snug_plan_result r;
    struct snug_error e;
    if (snug_plan(o, &r, &e)) fail_msg("%s", e.message);
    return r;
}

/* --- Speed --- */

/* What one pass of the family does in each block: three norms less one (the head has its own), seven products, two
 * rotations, two stores, one attention, one gated unit, two sums; beside that a row of the embedding, and for the head
 * the last token's row, a norm and a product. */
static void expect_ops(const struct far *far, unsigned passes, unsigned blocks, unsigned heads) {
    const unsigned want[OP_KINDS] = {
        [OP_GET_ROWS] = 1 + heads, [OP_NORM] = 2 * blocks + heads, [OP_MATMUL] = 7 * blocks + heads,
        [OP_ADD] = 2 * blocks, [OP_GLU] = blocks, [OP_ROPE] = 2 * blocks, [OP_KV_STORE] = 2 * blocks,
        [OP_ATTENTION] = blocks,
    };
    for (unsigned k = 0; k < OP_KINDS; k++)
        if (far->ops[k] != passes * want[k])
            fail_msg("%s ran %u times in %u passes, not %u", op_name(k), far->ops[k], passes, passes * want[k]);
}

static void test_speed_is_that_of_a_whole_pass(void **state) {
    (void)state;
    struct far *far = far_open();
    struct model *m;
    double seconds = 0;
    assert_int_equal(model_open(tiny(), true, &m, NULL), ERR_NONE);
    struct speed_desc d = { .m = m, .kv = { QTYPE_F16, QTYPE_F16 }, .n_layer = m->hp.n_layer, .head = true, .n_tok = 1,
                            .depth = 40 };
    assert_int_equal(speed_measure(&far->base, &d, &seconds, NULL), ERR_NONE);
    assert_true(seconds > 0);
    assert_true(far->ops[OP_ATTENTION] >= 6 * m->hp.n_layer); /* a warm-up and at least five more */
    expect_ops(far, far->ops[OP_ATTENTION] / m->hp.n_layer, m->hp.n_layer, 1);

    memset(far->ops, 0, sizeof far->ops);
    d = (struct speed_desc){ .m = m, .kv = { QTYPE_F16, QTYPE_F16 }, .n_layer = 2, .n_tok = 3 };
    assert_int_equal(speed_measure(&far->base, &d, &seconds, NULL), ERR_NONE);
    expect_ops(far, far->ops[OP_ATTENTION] / 2, 2, 0);
    assert_int_equal(far->buffers, 0);
    model_close(m);
    backend_close(&far->base);
}

/* Experts, their biases and a router, which are no vectors: three norms less one as above, products of the four
 * projections and the router, three of experts. */
static void test_speed_of_experts(void **state) {
    (void)state;
    const char *root = getenv("SNUG_SHARED");
    char dir[600];
    if (!root) {
        printf("SNUG_SHARED is not set: the speed of a model with experts is not checked\n");
        skip();
    }
    snprintf(dir, sizeof dir, "%s/models/arch/gpt-oss", root);
    struct far *far = far_open();
    struct model *m;
    struct err e;
    double seconds = 0;
    if (model_open(dir, true, &m, &e)) fail_msg("%s", e.msg);
    const unsigned n = m->hp.n_layer;
    struct speed_desc d = { .m = m, .kv = { QTYPE_F16, QTYPE_F16 }, .n_layer = n, .n_tok = 5 };
    if (speed_measure(&far->base, &d, &seconds, &e)) fail_msg("%s", e.msg);
    const unsigned passes = far->ops[OP_ATTENTION] / n;
    assert_true(passes >= 6 && seconds > 0);
    assert_int_equal(far->ops[OP_MATMUL], passes * n * 5);
    assert_int_equal(far->ops[OP_MATMUL_ID], passes * n * 3);
    assert_int_equal(far->ops[OP_SUM_EXPERTS], passes * n);
    assert_int_equal(far->buffers, 0);
    model_close(m);
    backend_close(&far->base);
}

/* Stand-ins of every type give numbers, also in a cache of F16: what is no number may be slow. */
static void test_stand_ins_give_numbers(void **state) {
    (void)state;
    struct model *m;
    size_t n;
    const enum qtype *types = qtype_all(&n);
    float *logits = mem_alloc(4096, sizeof *logits);
    assert_int_equal(model_open(tiny(), true, &m, NULL), ERR_NONE);
    assert_int_equal(m->hp.n_vocab, 4096);
    for (size_t t = 0; t < n; t++) {
        struct far *far = far_open();
        double seconds;
        struct speed_desc d = { .m = m, .kv = { QTYPE_F16, QTYPE_F16 }, .n_layer = m->hp.n_layer, .head = true,
                                .n_tok = 2 };
        for (uint32_t i = 0; i < m->n_weights; i++) m->weights[i].type = types[t];
        far->outputs = logits;
        assert_int_equal(speed_measure(&far->base, &d, &seconds, NULL), ERR_NONE);
        for (size_t i = 0; i < 4096; i++)
            if (!isfinite(logits[i])) fail_msg("%s: a logit is %g", qtype_name(types[t]), (double)logits[i]);
        backend_close(&far->base);
    }
    mem_free(logits);
    model_close(m);
}

/* --- What is said of budgets --- */

static void test_ample_memory_needs_no_quantizing(void **state) {
    (void)state;
    struct snug_plan_result r = plan(&(struct snug_plan_options){ .model = tiny(), .ram = 8000000000 });
    assert_int_equal(r.n_budgets, 1);
    assert_true(r.budgets[0].fits_as_is);
    assert_string_equal(r.budgets[0].command, "");
    assert_int_equal(r.budgets[0].max_ctx, 1024);
}

/* The command's bits are the budget's, cut to two decimals: the file that it makes fits with what stands beside it. */
static void test_a_small_budget_names_its_bits(void **state) {
    (void)state;
    const uint64_t ram = 8000000;
    struct snug_plan_result r = plan(&(struct snug_plan_options){ .model = tiny(), .ram = ram, .n_ctx = 64 });
    const struct snug_plan_budget *b = &r.budgets[0];
    uint64_t beside = r.devices[0].kv_bytes + r.devices[0].compute_bytes;
    double bpw = floor(100 * 8 * (double)(ram - beside) / (double)r.model.parameters) / 100;
    char want[700];
    assert_true(b->reachable && !b->fits_as_is);
    assert_true(bpw > 3 && bpw < 16);
    snprintf(want, sizeof want, "snug quantize %s -o tiny-%.2fbpw.gguf -b %.2f", tiny(), bpw, bpw);
    assert_string_equal(b->command, want);
}

/* 32 bits a weight do not fit and 16 do: nothing to measure, another container is enough. llama-bias is in F32. */
static void test_a_float_model_is_converted(void **state) {
    (void)state;
    char dir[600];
    snprintf(dir, sizeof dir, "%s/tests/data/arch/llama-bias", getenv("SNUG_SOURCE"));
    struct snug_plan_options o = { .model = dir, .ram = 1000000000, .n_ctx = 32 };
    struct snug_plan_result r = plan(&o);
    assert_true(r.budgets[0].fits_as_is);
    o.ram = r.devices[0].total_bytes - r.model.parameters;
    r = plan(&o);
    assert_false(r.budgets[0].fits_as_is);
    assert_non_null(strstr(r.budgets[0].command, "snug convert "));
    assert_non_null(strstr(r.budgets[0].command, " --outtype f16"));
}

/* A name from inside a file and a path can hold anything; the line can be pasted into a shell. */
static void test_the_command_can_be_pasted(void **state) {
    (void)state;
    char dir[] = "/tmp/snug plan's XXXXXX", command[700], path[700], got[40];
    assert_non_null(mkdtemp(dir));
    snprintf(command, sizeof command, "cp '%s/config.json' \"%s/\"", tiny(), dir);
    assert_int_equal(system(command), 0);
    struct snug_plan_result r = plan(&(struct snug_plan_options){ .model = dir, .ram = 8000000, .n_ctx = 64 });
    assert_non_null(strstr(r.budgets[0].command, "snug quantize "));
    snprintf(path, sizeof path, "snug() { printf '%%s' $#; [ -d \"$2\" ]; }; %s", r.budgets[0].command);
    FILE *shell = popen(path, "r");
    assert_non_null(fgets(got, sizeof got, shell));
    assert_int_equal(pclose(shell), 0);
    assert_string_equal(got, "6"); /* quantize, the model, -o, the file, -b, the bits */
    snprintf(command, sizeof command, "rm -r \"%s\"", dir);
    assert_int_equal(system(command), 0);
}

/* --- The context --- */

static char warning[400];
static void keep_warning(void *user, int level, const char *line) {
    (void)user;
    if (level == SNUG_LOG_WARN) snprintf(warning, sizeof warning, "%s", line);
}

static void test_a_context_beyond_training_is_warned_of(void **state) {
    (void)state;
    snug_set_log(keep_warning, NULL);
    plan(&(struct snug_plan_options){ .model = tiny(), .n_ctx = 1024 });
    assert_string_equal(warning, "");
    struct snug_plan_result r = plan(&(struct snug_plan_options){ .model = tiny(), .n_ctx = 4096 });
    assert_int_equal(r.context, 4096);
    assert_non_null(strstr(warning, "4096"));
    assert_non_null(strstr(warning, "1024"));
    snug_set_log(NULL, NULL);
}

/* 22e9 bytes * 8 / 70e9 weights = 2.514. */
static void test_from_a_number_of_weights(void **state) {
    (void)state;
    const uint64_t vram = 22000000000;
    struct snug_plan_result r = plan(&(struct snug_plan_options){ .parameters = 70e9, .vram = &vram, .n_vram = 1 });
    assert_true(fabs(r.budgets[0].max_bits_per_weight - 2.51) < 1e-9);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_speed_is_that_of_a_whole_pass),
        cmocka_unit_test(test_speed_of_experts),
        cmocka_unit_test(test_stand_ins_give_numbers),
        cmocka_unit_test(test_ample_memory_needs_no_quantizing),
        cmocka_unit_test(test_a_small_budget_names_its_bits),
        cmocka_unit_test(test_a_float_model_is_converted),
        cmocka_unit_test(test_the_command_can_be_pasted),
        cmocka_unit_test(test_a_context_beyond_training_is_warned_of),
        cmocka_unit_test(test_from_a_number_of_weights),
    };
    return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
