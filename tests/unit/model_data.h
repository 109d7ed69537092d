#ifndef TESTS_MODEL_DATA_H
#define TESTS_MODEL_DATA_H
/* What the tests of models share: the reference folders and what their config.json say. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../assert_ok.h"
#include "base/os.h"
#include "model/hparams_keys.h"

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
/* The caller frees *text. */
static inline void read_text(const char *path, char **text) {
    size_t n;
    struct err e;
    assert_ok(os_read_file(path, 1 << 20, text, &n, &e), &e);
}

/* But for the pairing, which is the format's. */
static inline void assert_same_rope(const struct rope_params *a, const struct rope_params *b) {
    assert_int_equal(a->n_rot, b->n_rot);
    assert_int_equal(a->scaling, b->scaling);
    assert_int_equal(a->original_ctx, b->original_ctx);
    assert_int_equal(a->truncate, b->truncate);
    assert_true(a->base == b->base && a->factor == b->factor);
    assert_true(a->attn_factor == b->attn_factor && a->mscale_all == b->mscale_all);
    assert_true(a->beta_fast == b->beta_fast && a->beta_slow == b->beta_slow);
    assert_true(a->low_freq_factor == b->low_freq_factor);
    assert_true(a->high_freq_factor == b->high_freq_factor);
    assert_memory_equal(a->short_factors, b->short_factors, sizeof a->short_factors);
    assert_memory_equal(a->long_factors, b->long_factors, sizeof a->long_factors);
}

/* Every field by itself: a struct has padding. The common table's through the table. */
static inline void assert_same_hparams(const struct hparams *a, const struct hparams *b) {
    assert_ptr_equal(a->arch, b->arch);
    for (size_t i = 0; i < hparams_n_keys; i++) {
        const struct hparams_key *k = &hparams_keys[i];
        size_t size = k->kind == HPARAMS_BOOL ? sizeof(bool) : sizeof(uint32_t);
        if (memcmp(hparams_value(a, k), hparams_value(b, k), size)) fail_msg("%s differs", k->gguf);
    }
    assert_true(a->norm_eps == b->norm_eps);
    assert_int_equal(a->tied, b->tied);
    assert_int_equal(a->attn_bias, b->attn_bias);
    assert_int_equal(a->attn_out_bias, b->attn_out_bias);
    assert_int_equal(a->ffn_bias, b->ffn_bias);
    assert_int_equal(a->t.qk_norm, b->t.qk_norm);
    assert_int_equal(a->t.parallel, b->t.parallel);
    assert_int_equal(a->bos, b->bos);
    assert_int_equal(a->eos, b->eos);
    assert_same_rope(&a->rope, &b->rope);
    assert_int_equal(a->has_local_rope, b->has_local_rope);
    if (a->has_local_rope) assert_same_rope(&a->rope_local, &b->rope_local);
    assert_memory_equal(&a->windowed, &b->windowed, sizeof a->windowed);
    assert_memory_equal(&a->no_rope, &b->no_rope, sizeof a->no_rope);
    assert_memory_equal(&a->moe, &b->moe, sizeof a->moe);
    assert_true(a->temp_beta == b->temp_beta && a->temp_span == b->temp_span);
    assert_true(a->glu_alpha == b->glu_alpha && a->glu_limit == b->glu_limit);
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
