#ifndef TESTS_MODEL_DATA_H
#define TESTS_MODEL_DATA_H
/* What the tests of models share: the reference folders and what their config.json say. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "base/os.h"
#include "model/model.h"

struct path { char p[512]; };
static inline struct path source(const char *fmt, const char *a, const char *b) {
    const char *root = getenv("SNUG_SOURCE");
    struct path out;
    int n = snprintf(out.p, sizeof out.p, "%s/tests/data/arch/", root ? root : ".");
    snprintf(out.p + n, sizeof out.p - (size_t)n, fmt, a, b);
    return out;
}
/* Skips the test, aloud, when the reference data is not there. */
static inline struct path shared(const char *name) {
    const char *root = getenv("SNUG_SHARED");
    struct path out;
    snprintf(out.p, sizeof out.p, "%s/%s", root ? root : "", name);
    if (root && os_exists(out.p)) return out;
    printf("SNUG_SHARED has no %s: this test is skipped\n", name);
    skip();
    return out;
}
static inline void assert_ok(enum err_code rc, const struct err *e) {
    char text[800];
    if (rc == ERR_NONE) return;
    err_format(e, text, sizeof text);
    fail_msg("%s", text);
}

/* The caller frees *text. */
static inline void read_text(const char *path, char **text) {
    size_t n;
    struct err e;
    assert_ok(os_read_file(path, 1 << 20, text, &n, &e), &e);
}

/* Every field by itself: a struct has padding. */
static inline void assert_same_hparams(const struct hparams *a, const struct hparams *b) {
    assert_ptr_equal(a->arch, b->arch);
    assert_int_equal(a->n_vocab, b->n_vocab);
    assert_int_equal(a->n_ctx_train, b->n_ctx_train);
    assert_int_equal(a->n_embd, b->n_embd);
    assert_int_equal(a->n_layer, b->n_layer);
    assert_int_equal(a->n_head, b->n_head);
    assert_int_equal(a->n_head_kv, b->n_head_kv);
    assert_int_equal(a->head_dim, b->head_dim);
    assert_int_equal(a->n_ff, b->n_ff);
    assert_int_equal(a->window, b->window);
    assert_true(a->norm_eps == b->norm_eps);
    assert_int_equal(a->tied, b->tied);
    assert_int_equal(a->attn_bias, b->attn_bias);
    assert_int_equal(a->ffn_bias, b->ffn_bias);
    assert_int_equal(a->bos, b->bos);
    assert_int_equal(a->eos, b->eos);
    assert_int_equal(a->rope.n_rot, b->rope.n_rot);
    assert_int_equal(a->rope.scaling, b->rope.scaling);
    assert_int_equal(a->rope.original_ctx, b->rope.original_ctx);
    assert_int_equal(a->rope.truncate, b->rope.truncate);
    assert_true(a->rope.base == b->rope.base && a->rope.factor == b->rope.factor);
    assert_true(a->rope.attn_factor == b->rope.attn_factor);
    assert_true(a->rope.beta_fast == b->rope.beta_fast && a->rope.beta_slow == b->rope.beta_slow);
    assert_true(a->rope.low_freq_factor == b->rope.low_freq_factor);
    assert_true(a->rope.high_freq_factor == b->rope.high_freq_factor);
}

/* What the folders' config.json say, read by eye. */
static const struct {
    const char *name;
    uint32_t n_vocab, n_embd, n_layer, n_head, n_head_kv, head_dim, n_ff, n_ctx;
    bool tied, bias;
    float base, factor;
    enum rope_scaling scaling;
    uint32_t original_ctx;
    enum qtype type;
} families[] = {
    { "llama", 325, 256, 2, 8, 2, 32, 256, 512, false, false, 1e4f, 1, ROPE_SCALE_NONE, 512, QTYPE_BF16 },
    { "llama-mha", 323, 64, 2, 4, 4, 16, 172, 512, false, false, 1e4f, 1, ROPE_SCALE_NONE, 512, QTYPE_F16 },
    { "llama-rope3", 325, 64, 2, 4, 2, 32, 64, 512, true, false, 1e4f, 8, ROPE_SCALE_LLAMA3, 64, QTYPE_BF16 },
    { "llama-yarn", 325, 64, 2, 4, 2, 32, 64, 512, false, false, 1e4f, 4, ROPE_SCALE_YARN, 128, QTYPE_F16 },
    { "llama-linear", 336, 64, 2, 4, 2, 16, 64, 512, false, false, 1e4f, 4, ROPE_SCALE_LINEAR, 512, QTYPE_F16 },
    { "llama-dynamic", 336, 64, 2, 4, 2, 16, 64, 32, false, false, 1e4f, 4, ROPE_SCALE_DYNAMIC, 32, QTYPE_F16 },
    { "llama-bias", 336, 64, 2, 4, 2, 16, 64, 512, false, true, 1e4f, 1, ROPE_SCALE_NONE, 512, QTYPE_F32 },
    { "llama-sharded", 324, 64, 2, 4, 2, 16, 64, 512, false, false, 1e4f, 1, ROPE_SCALE_NONE, 512, QTYPE_BF16 },
    { "mistral-nemo", 328, 80, 3, 4, 2, 32, 104, 512, false, false, 1e6f, 1, ROPE_SCALE_NONE, 512, QTYPE_F16 },
};
#endif
