/* safetensors: reading, refusing, sharded sets, writing; Hugging Face directories. The files in fuzz/corpus are
 * composed by fuzz/make_corpus.py without any code of src; those in the shared reference data were written by
 * transformers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "format/safetensors.h"
#include "format/tfile.h"
#include "format_files.h"

static void mixed_file_is_read(void **state) {
    (void)state;
    struct span file = read_bytes(corpus("safetensors/mixed.safetensors"));
    struct safetensors *s;
    /* In order of their data, which are the bytes 0 to 51. */
    static const struct {
        const char *name, *type_name;
        enum qtype type;
        uint32_t n_dims;
        uint64_t ne[4];
        uint8_t at, n;
    } want[] = {
        { "model.w", "BF16", QTYPE_BF16, 2, { 3, 2, 1, 1 }, 0, 12 },
        { "model.h", "F16", QTYPE_F16, 3, { 2, 1, 3, 1 }, 12, 12 },
        { "model.norm.weight", "F32", QTYPE_F32, 1, { 2, 1, 1, 1 }, 24, 8 },
        { "ids", "I64", QTYPE_NONE, 1, { 1, 1, 1, 1 }, 32, 8 },
        { "scalar", "F32", QTYPE_F32, 0, { 1, 1, 1, 1 }, 40, 4 },
        { "none", "F32", QTYPE_F32, 2, { 5, 0, 1, 1 }, 44, 0 },
        { "conv", "U8", QTYPE_NONE, 4, { 2, 2, 1, 2 }, 44, 8 }, /* five dimensions: the last two are one */
    };
    assert_true(safetensors_probe(file));
    assert_int_equal(safetensors_open(file, &s, NULL), ERR_NONE);
    assert_int_equal(s->n_tensors, ARRAY_LEN(want));
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        const struct tfile_tensor *t = &s->tensors[i];
        assert_string_equal(t->name, want[i].name);
        assert_string_equal(t->type_name, want[i].type_name);
        assert_true(t->type == want[i].type && t->n_dims == want[i].n_dims && t->bytes == want[i].n);
        assert_memory_equal(t->ne, want[i].ne, sizeof(t->ne));
        if (t->bytes) assert_int_equal(t->data[0], want[i].at);
        assert_int_equal(t->file_off, s->data_off + want[i].at);
    }
    safetensors_close(s);
    mem_free((void *)file.p);
}

/* Opens a header of that text with n bytes of data behind. */
static enum err_code open_text(const char *json, size_t n, struct err *e) {
    struct buf b = { 0 };
    struct safetensors *s;
    uint64_t length = strlen(json);
    buf_add(&b, &length, 8);
    buf_addz(&b, json);
    for (size_t i = 0; i < n; i++) buf_addc(&b, 0);
    uint8_t *exact = mem_alloc(b.n, 1); /* so that reading one byte too far is seen */
    memcpy(exact, b.p, b.n);
    enum err_code rc = safetensors_open((struct span){ exact, b.n }, &s, e);
    if (rc) assert_null(s);
    safetensors_close(s);
    mem_free(exact);
    buf_fini(&b);
    return rc;
}

static void bad_headers_are_refused(void **state) {
    (void)state;
    static const struct { const char *json; size_t n; const char *text;
    } cases[] = {
        { "", 0, "not valid JSON" },
        { "[]", 0, "not a JSON object" },
        { "{\"a\":1,\"a\":2}", 0, "duplicate" },
        { "{\"a\":1}", 0, "tensor a has no dtype" },
        { "{\"a\\nb\":1}", 0, "control characters: a b" },
        { "{\"a\":{\"dtype\":\"F33\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "unknown dtype F33" },
        { "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "no shape" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "impossible shape" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}}", 4, "impossible shape" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,4]}}", 4,
          "impossible shape" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", 0, "does not make" },
        { "{\"a\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,1]}}", 1, "does not make" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, "no valid data_offsets" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, "no valid data_offsets" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, "does not make the 4 bytes" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 5, "tensor a is cut: 3 of its 8 bytes" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 9, "5 bytes behind the last tensor" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, "there is a hole" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
          "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
          8, "tensors overlap" },
    };
    struct err e;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        e = (struct err){ 0 };
        enum err_code rc = open_text(cases[i].json, cases[i].n, &e);
        if (!rc || !strstr(e.msg, cases[i].text)) fail_msg("'%s': %d '%s'", cases[i].json, rc, e.msg);
    }
    assert_int_equal(open_text("{}", 0, &e), ERR_NONE);
    assert_int_equal(open_text("{\"__metadata__\":{\"format\":\"pt\"}}  ", 0, &e), ERR_NONE);
    struct span huge = read_bytes(corpus("safetensors/bad_length.safetensors"));
    struct safetensors *s;
    assert_int_equal(safetensors_open(huge, &s, &e), ERR_FORMAT);
    assert_non_null(strstr(e.msg, "limit is 100 MB"));
    mem_free((void *)huge.p);
    assert_int_equal(safetensors_open((struct span){ NULL, 0 }, &s, &e), ERR_FORMAT);
    assert_int_equal(safetensors_open((struct span){ (const uint8_t *)"\x40\0\0\0\0\0\0\0{}", 10 }, &s, &e),
                     ERR_FORMAT);
    assert_non_null(strstr(e.msg, "62 bytes early"));
}

static void index_is_read(void **state) {
    (void)state;
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{\"weight_map\":{}}",
        "{\"weight_map\":{\"a\":1}}",
        "{\"weight_map\":{\"a\":\"../x.safetensors\"}}",
        "{\"weight_map\":{\"a\":\"/x.safetensors\"}}",
        "{\"weight_map\":{\"a\":\"..\"}}",
        "{\"weight_map\":{\"a\":\"\"}}",
        "{\"weight_map\":{\"a\":\"x\",\"a\":\"x\"}}",
    };
    struct span json = read_bytes(corpus("safetensors/index.json"));
    struct safetensors_index *x;
    assert_int_equal(safetensors_index_open(json, &x, NULL), ERR_NONE);
    assert_true(x->n_files == 2 && x->n_entries == 3);
    assert_string_equal(x->files[0], "model-00001-of-00002.safetensors");
    assert_string_equal(x->files[1], "model-00002-of-00002.safetensors");
    assert_int_equal(safetensors_index_find(x, "model.w"), 0);
    assert_int_equal(safetensors_index_find(x, "model.h"), 1);
    assert_int_equal(safetensors_index_find(x, "model"), -1);
    safetensors_index_close(x);
    mem_free((void *)json.p);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(safetensors_index_open((struct span){ (const uint8_t *)bad[i], strlen(bad[i]) }, &x, NULL),
                         ERR_FORMAT);
        assert_null(x);
    }
}

/* --- Directories --- */

#define TENSOR_A "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}"
#define TENSOR_B "{\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}"

static void write_tensors(const char *name, const char *json) {
    struct buf b = { 0 };
    uint64_t length = strlen(json);
    buf_add(&b, &length, 8);
    buf_addz(&b, json);
    buf_add(&b, "\0\0\x80\x3F", 4); /* 1.0f */
    write_bytes(scratch(name), b.p, b.n);
    buf_fini(&b);
}

static void write_text(const char *name, const char *text) { write_bytes(scratch(name), text, strlen(text)); }

static void expect_dir(unsigned flags, const char *refusal, size_t n_tensors) {
    struct tfile *f;
    struct err e = { 0 };
    char all[700];
    enum err_code rc = tfile_open(scratch_dir, flags, &f, &e);
    err_format(&e, all, sizeof(all));
    if (refusal && (!rc || !strstr(all, refusal))) fail_msg("expected '%s', got %d '%s'", refusal, rc, all);
    if (!refusal && rc) fail_msg("%s", all);
    if (!rc) {
        assert_true(f->kind == TFILE_HF && f->config && f->n_tensors == n_tensors);
        assert_string_equal(f->dir, scratch_dir);
    }
    tfile_close(f);
}

static void directories_are_opened(void **state) {
    (void)state;
    write_text("config.json", "{\"model_type\": \"llama\"}");
    expect_dir(0, "no weights", 0);
    expect_dir(TFILE_NO_WEIGHTS_OK, NULL, 0);
    write_tensors("x-2.safetensors", TENSOR_B);
    write_tensors("x-1.safetensors", TENSOR_A);
    expect_dir(0, NULL, 2);
    write_tensors("x-2.safetensors", TENSOR_A);
    expect_dir(0, "tensor a is both in", 0);
    write_tensors("x-2.safetensors", TENSOR_B);
    write_text("model.safetensors.index.json",
               "{\"weight_map\":{\"a\":\"x-1.safetensors\",\"b\":\"x-2.safetensors\"}}");
    expect_dir(0, NULL, 2);
    write_text("model.safetensors.index.json",
               "{\"weight_map\":{\"a\":\"x-1.safetensors\",\"b\":\"x-1.safetensors\"}}");
    expect_dir(0, "tensor b is in the index but not in x-1.safetensors", 0);
    write_text("model.safetensors.index.json", "{\"weight_map\":{\"c\":\"x-1.safetensors\"}}");
    expect_dir(0, "which the index does not say", 0);
    write_text("model.safetensors.index.json",
               "{\"weight_map\":{\"a\":\"x-2.safetensors\",\"b\":\"x-1.safetensors\"}}");
    expect_dir(0, "which the index does not say", 0);
    write_text("model.safetensors.index.json",
               "{\"weight_map\":{\"a\":\"x-1.safetensors\",\"b\":\"x-3.safetensors\"}}");
    expect_dir(0, "x-3.safetensors", 0);
    unlink(scratch("model.safetensors.index.json"));
    write_tensors("model.safetensors", TENSOR_A);
    expect_dir(0, NULL, 1);
    write_text("config.json", "{\"model_type\": ");
    expect_dir(0, "config.json", 0);
    write_text("config.json", "{}");
    struct tfile *f;
    assert_int_equal(tfile_open(scratch("model.safetensors"), 0, &f, NULL), ERR_NONE);
    assert_true(f->kind == TFILE_SAFETENSORS && f->config && !f->generation && f->n_tensors == 1);
    tfile_close(f);
    assert_int_equal(tfile_open(scratch("config.json"), TFILE_NO_WEIGHTS_OK, &f, NULL), ERR_NONE);
    assert_true(f->kind == TFILE_HF && f->n_tensors == 0 && f->config);
    tfile_close(f);
    assert_int_equal(tfile_open(scratch("config.json"), 0, &f, NULL), ERR_FORMAT);
}

/* --- Writing --- */

/* Writes the tensors of a set again with files of at most that many data bytes. */
static void write_again(const char *path, uint64_t max_bytes, uint64_t *total) {
    struct tfile *f;
    struct safetensors_writer *w;
    struct tstream *s;
    assert_int_equal(tfile_open(path, 0, &f, NULL), ERR_NONE);
    assert_int_equal(safetensors_writer_new(&w, NULL), ERR_NONE);
    for (size_t i = 0; i < f->n_tensors; i++) {
        const struct tfile_tensor *t = &f->tensors[i];
        assert_int_equal(safetensors_writer_tensor(w, t->name, t->type, t->n_dims, t->ne, NULL), ERR_NONE);
    }
    safetensors_writer_split(w, max_bytes);
    assert_int_equal(safetensors_writer_total_bytes(w, total, NULL), ERR_NONE);
    assert_int_equal(safetensors_writer_open(w, scratch_dir, &s, NULL), ERR_NONE);
    safetensors_writer_free(w);
    for (size_t i = 0; i < f->n_tensors; i++)
        assert_int_equal(tstream_put(s, f->tensors[i].data, f->tensors[i].bytes, NULL), ERR_NONE);
    assert_int_equal(tstream_commit(s, NULL), ERR_NONE);
    tfile_close(f);
}

static uint64_t size_of(const char *path) {
    struct span file = read_bytes(path);
    mem_free((void *)file.p);
    return file.n;
}

static void copies_equal_the_original(void **state) {
    (void)state;
    uint64_t total;
    if (!shared("models/tiny")) skip();
    write_again(shared("models/tiny"), 0, &total);
    assert_true(same_bytes(scratch("model.safetensors"), shared("models/tiny/model.safetensors")));
    assert_int_equal(total, size_of(scratch("model.safetensors")));
    unlink(scratch("model.safetensors"));
    write_again(shared("models/arch/llama-sharded"), 100000, &total); /* cut where the original was */
    static const char *const shards[] = { "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors" };
    uint64_t sum = size_of(scratch("model.safetensors.index.json"));
    for (size_t i = 0; i < 2; i++) {
        char original[100];
        snprintf(original, sizeof(original), "models/arch/llama-sharded/%s", shards[i]);
        assert_true(same_bytes(scratch(shards[i]), shared(original)));
        sum += size_of(scratch(shards[i]));
    }
    assert_int_equal(total, sum);
    expect_dir(0, NULL, 21); /* its index, with the config.json of the test before */
}

/* Two tensors of 8 bytes fill a file of 16. */
static void files_are_filled(void **state) {
    (void)state;
    static const char *const names[] = { "a", "b", "c", "d", "e" };
    static const uint64_t ne[1] = { 2 };
    struct safetensors_writer *w;
    struct tstream *s;
    safetensors_writer_new(&w, NULL);
    safetensors_writer_split(w, 16);
    for (size_t i = 0; i < 5; i++) safetensors_writer_tensor(w, names[i], QTYPE_F32, 1, ne, NULL);
    assert_int_equal(safetensors_writer_open(w, scratch_dir, &s, NULL), ERR_NONE);
    safetensors_writer_free(w);
    for (size_t i = 0; i < 5; i++) assert_int_equal(tstream_put(s, "12345678", 8, NULL), ERR_NONE);
    assert_int_equal(tstream_commit(s, NULL), ERR_NONE);
    static const size_t data[] = { 16, 16, 8 };
    for (size_t i = 0; i < 3; i++) {
        char name[64];
        struct safetensors *st;
        snprintf(name, sizeof(name), "model-%05zu-of-00003.safetensors", i + 1);
        struct span file = read_bytes(scratch(name));
        assert_int_equal(safetensors_open(file, &st, NULL), ERR_NONE);
        assert_int_equal(file.n - st->data_off, data[i]);
        safetensors_close(st);
        mem_free((void *)file.p);
    }
}

static void writer_refuses(void **state) {
    (void)state;
    static const uint64_t ne[2] = { 256, 2 };
    struct safetensors_writer *w;
    struct tstream *s;
    struct err e;
    safetensors_writer_new(&w, NULL);
    assert_int_equal(safetensors_writer_tensor(w, "q", QTYPE_Q4_K, 2, ne, &e), ERR_UNSUPPORTED);
    assert_int_equal(safetensors_writer_tensor(w, "w", QTYPE_BF16, 2, ne, &e), ERR_NONE);
    assert_int_equal(safetensors_writer_tensor(w, "w", QTYPE_BF16, 2, ne, &e), ERR_NONE);
    assert_int_equal(safetensors_writer_open(w, scratch_dir, &s, &e), ERR_FORMAT);
    assert_non_null(strstr(e.msg, "two tensors are named w"));
    safetensors_writer_free(w);
}

/* --- Files of other programs --- */

/* Counts as the Python package safetensors gives them. */
static void transformers_files_are_read(void **state) {
    (void)state;
    struct tfile *f;
    if (!shared("models/arch")) skip();
    assert_int_equal(tfile_open(shared("models/arch/mixtral-sharded"), 0, &f, NULL), ERR_NONE);
    assert_true(f->n_files == 8 && f->n_tensors == 41);
    tfile_close(f);
    assert_int_equal(tfile_open(shared("models/tiny"), 0, &f, NULL), ERR_NONE);
    assert_true(f->n_tensors == 56 && f->generation && f->tokenizer_config);
    const struct tfile_tensor *t = tfile_find(f, "model.layers.0.mlp.down_proj.weight"); // (256, 768)
    assert_true(t && t->type == QTYPE_BF16 && t->ne[0] == 768 && t->ne[1] == 256);
    assert_int_equal(t->file_off, 8 + 6040 + 2097664);
    tfile_close(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mixed_file_is_read),
        cmocka_unit_test(bad_headers_are_refused),
        cmocka_unit_test(index_is_read),
        cmocka_unit_test(directories_are_opened),
        cmocka_unit_test(copies_equal_the_original),
        cmocka_unit_test(files_are_filled),
        cmocka_unit_test(writer_refuses),
        cmocka_unit_test(transformers_files_are_read),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
