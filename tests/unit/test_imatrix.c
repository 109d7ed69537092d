/* Importance files: the seeds of the fuzz target, whose contents fuzz/make_corpus.py states; one that llama.cpp wrote;
 * what we write, in both forms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "format/gguf_read.h"
#include "format/imatrix.h"
#include "format_files.h"

static void assert_means(const struct imatrix *m, const char *name, uint64_t n_in, uint64_t n_experts,
                         const float *want) {
    float have[16];
    assert_non_null(imatrix_find(m, name));
    assert_int_equal(imatrix_means(imatrix_find(m, name), n_in, n_experts, have, NULL), ERR_NONE);
    for (uint64_t i = 0; i < n_in * n_experts; i++)
        if (have[i] != want[i]) fail_msg("%s: %g at %d, not %g", name, (double)have[i], (int)i, (double)want[i]);
}

static void sums_become_means(void **state) {
    (void)state;
    struct imatrix *m;
    assert_int_equal(imatrix_open(corpus("imatrix/plain.gguf"), &m, NULL), ERR_NONE);
    assert_true(m->n_entries == 2 && m->n_chunks == 3 && m->chunk_length == 8);
    assert_true(m->n_datasets == 2 && str_eqz(m->datasets[0], "a.txt") && str_eqz(m->datasets[1], "b.txt"));
    assert_means(m, "blk.0.attn_q.weight", 4, 1, (float[]){ 1, 2, 0, 0.5f });
    assert_means(m, "blk.0.ffn_down.weight", 2, 1, (float[]){ 1, 1 }); /* nothing was seen: all alike */
    assert_null(imatrix_find(m, "blk.0.attn_k.weight"));
    imatrix_close(m);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(imatrix_open(corpus(i ? "imatrix/oldest.dat" : "imatrix/older.dat"), &m, NULL), ERR_NONE);
        assert_true(m->n_entries == 2 && m->n_datasets == (i ? 0 : 1) && m->n_chunks == (i ? 0 : 3));
        assert_means(m, "blk.0.attn_q.weight", 4, 1, (float[]){ 1, 2, 0, 0.5f });
        imatrix_close(m);
    }
}

/* Means (1, 2) of 8 tokens, none, (4, 2) of 16: the expert without any gets (8 + 64) / 24 and (16 + 32) / 24. The older
 * form has no counts for each expert, so there it is the mean of the other two. */
static void experts_without_tokens_take_the_layers(void **state) {
    (void)state;
    struct imatrix *m;
    struct err e;
    float out[8];
    assert_int_equal(imatrix_open(corpus("imatrix/experts.gguf"), &m, NULL), ERR_NONE);
    assert_means(m, "blk.0.ffn_up_exps.weight", 2, 3, (float[]){ 1, 2, 3, 2, 4, 2 });
    const struct imatrix_entry *t = imatrix_find(m, "blk.0.ffn_up_exps.weight");
    assert_int_equal(imatrix_means(t, 2, 4, out, &e), ERR_FORMAT);
    assert_non_null(strstr(e.msg, "of another model"));
    assert_int_equal(imatrix_means(t, 3, 2, out, &e), ERR_FORMAT);
    assert_int_equal(imatrix_means(t, 6, 1, out, &e), ERR_FORMAT);
    imatrix_close(m);
    assert_int_equal(imatrix_open(corpus("imatrix/older.dat"), &m, NULL), ERR_NONE);
    assert_means(m, "blk.0.ffn_up_exps.weight", 2, 3, (float[]){ 1, 2, 2.5f, 2, 4, 2 });
    imatrix_close(m);
    assert_int_equal(imatrix_open(corpus("imatrix/plain.gguf"), &m, NULL), ERR_NONE);
    assert_means(m, "blk.0.attn_q.weight", 4, 2, (float[]){ 1, 2, 0, 0.5f, 1, 2, 0, 0.5f }); /* one for all experts */
    imatrix_close(m);
}

static void bad_files_are_told(void **state) {
    (void)state;
    static const struct { const char *name, *says; } cases[] = {
        { "bad_type.gguf", "no importance file: its general.type is not imatrix" },
        { "bad_empty.gguf", "it holds no importances" },
        { "bad_counts.gguf", "it has sums of w and no counts" },
        { "bad_negative.gguf", "sum 1 of w is -1" },
        { "bad_nan.dat", "sum 1 of w is" },
        { "bad_twice.dat", "w appears twice" },
        { "bad_huge.dat", "ends early" },
        { "bad_many.dat", "this is no importance file" },
        { "bad_text.dat", "this is no importance file" },
    };
    char path[64], text[700];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct imatrix *m;
        struct err e = { 0 };
        snprintf(path, sizeof path, "imatrix/%s", cases[i].name);
        assert_int_equal(imatrix_open(corpus(path), &m, &e), ERR_FORMAT);
        assert_null(m);
        err_format(&e, text, sizeof text);
        if (!strstr(text, cases[i].says) || !strstr(text, cases[i].name)) fail_msg("%s: '%s'", path, text);
    }
}

/* The bytes of both forms are those that make_corpus.py composes. */
static void what_is_written_is_the_format(void **state) {
    (void)state;
    struct imatrix *m;
    assert_int_equal(imatrix_open(corpus("imatrix/plain.gguf"), &m, NULL), ERR_NONE);
    assert_int_equal(imatrix_write(m, scratch("a.gguf"), NULL), ERR_NONE);
    assert_true(same_bytes(scratch("a.gguf"), corpus("imatrix/plain.gguf")));
    imatrix_close(m);
    assert_int_equal(imatrix_open(corpus("imatrix/experts.gguf"), &m, NULL), ERR_NONE);
    assert_int_equal(imatrix_write(m, scratch("b.gguf"), NULL), ERR_NONE);
    assert_true(same_bytes(scratch("b.gguf"), corpus("imatrix/experts.gguf")));
    /* The older form keeps means times chunks (3), with those of the others for the expert that saw nothing. */
    assert_int_equal(imatrix_write(m, scratch("b.dat"), NULL), ERR_NONE);
    imatrix_close(m);
    static const uint8_t head[] = { 1, 0, 0, 0, 24, 0, 0, 0 }, middle[] = { 3, 0, 0, 0, 6, 0, 0, 0 },
                         end[] = { 3, 0, 0, 0, 5, 0, 0, 0, 'a', '.', 't', 'x', 't' };
    static const float values[] = { 3, 6, 9, 6, 12, 6 };
    struct span file = read_bytes(scratch("b.dat"));
    assert_int_equal(file.n, 8 + 24 + 8 + 24 + 13);
    assert_memory_equal(file.p, head, 8);
    assert_memory_equal(file.p + 8, "blk.0.ffn_up_exps.weight", 24);
    assert_memory_equal(file.p + 32, middle, 8);
    assert_memory_equal(file.p + 40, values, 24);
    assert_memory_equal(file.p + 64, end, 13);
    mem_free((void *)file.p);
}

/* 42 matrices; counts of 150 windows of 512 tokens; a sum as Python's gguf package shows it. */
static void a_file_of_llamacpp_is_read(void **state) {
    (void)state;
    struct imatrix *m;
    if (!shared("models/tiny/llamacpp/imatrix.gguf")) skip();
    assert_int_equal(imatrix_open(shared("models/tiny/llamacpp/imatrix.gguf"), &m, NULL), ERR_NONE);
    assert_true(m->n_entries == 42 && m->n_chunks == 150 && m->chunk_length == 512 && m->n_datasets == 1);
    const struct imatrix_entry *t = imatrix_find(m, "blk.0.attn_k.weight");
    assert_true(t && t->n == 256 && t->n_counts == 1 && t->counts[0] == 76800);
    assert_true(t->sums[0] > 39801.27f && t->sums[0] < 39801.29f);
    imatrix_close(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_become_means),
        cmocka_unit_test(experts_without_tokens_take_the_layers),
        cmocka_unit_test(bad_files_are_told),
        cmocka_unit_test_setup_teardown(what_is_written_is_the_format, scratch_make, scratch_remove),
        cmocka_unit_test(a_file_of_llamacpp_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
