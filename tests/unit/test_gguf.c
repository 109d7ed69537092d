/* GGUF: reading, refusing, writing, split sets. The files in fuzz/corpus are composed by fuzz/make_corpus.py without
 * any code of src; those in the shared reference data were written by llama.cpp. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "format/gguf_read.h"
#include "format/gguf_write.h"
#include "format/tfile.h"
#include "format_files.h"

struct opened { struct span file; struct gguf *g; };

static struct opened open_corpus(const char *name) {
    struct opened o = { .file = read_bytes(corpus(name)) };
    assert_int_equal(gguf_open(o.file, &o.g, NULL), ERR_NONE);
    return o;
}

static void close_corpus(struct opened *o) {
    gguf_close(o->g);
    mem_free((void *)o->file.p);
}

/* --- Reading --- */

static void scalars_are_read(void **state) {
    (void)state;
    struct opened o = open_corpus("gguf/all_types.gguf");
    uint32_t u32;
    uint64_t u64;
    int32_t i32;
    float f32;
    bool b, found;
    struct str s;
    struct err e;
    assert_int_equal(o.g->version, 3);
    assert_int_equal(o.g->n_kv, 28);
    assert_true(!gguf_get_u32(o.g, "a.u8", &u32, NULL, &e) && u32 == 200);
    assert_true(!gguf_get_i32(o.g, "a.i8", &i32, NULL, &e) && i32 == -100);
    assert_true(!gguf_get_u32(o.g, "a.u16", &u32, NULL, &e) && u32 == 60000);
    assert_true(!gguf_get_i32(o.g, "a.i16", &i32, NULL, &e) && i32 == -30000);
    assert_true(!gguf_get_u32(o.g, "a.u32", &u32, NULL, &e) && u32 == 4000000000u);
    assert_true(!gguf_get_i32(o.g, "a.i32", &i32, NULL, &e) && i32 == -2000000000);
    assert_true(!gguf_get_f32(o.g, "a.f32", &f32, NULL, &e) && f32 == 1.5f);
    assert_true(!gguf_get_f32(o.g, "a.f64", &f32, NULL, &e) && f32 == -0.1f);
    assert_true(!gguf_get_f32(o.g, "a.i16", &f32, NULL, &e) && f32 == -30000);
    assert_true(!gguf_get_bool(o.g, "a.yes", &b, NULL, &e) && b);
    assert_true(!gguf_get_bool(o.g, "a.no", &b, NULL, &e) && !b);
    assert_true(!gguf_get_u64(o.g, "a.u64", &u64, NULL, &e) && u64 == (uint64_t)1 << 63);
    assert_true(!gguf_get_str(o.g, "a.empty", &s, NULL, &e) && s.n == 0);
    assert_true(!gguf_get_str(o.g, "a.text", &s, NULL, &e) && str_eqz(s, "gr\xC3\xB6\xC3\x9F" "er"));
    /* Absent keys leave what was there; without `found` they are errors. */
    u32 = 77;
    assert_true(!gguf_get_u32(o.g, "a.none", &u32, &found, &e) && !found && u32 == 77);
    assert_true(!gguf_get_u32(o.g, "a.u8", &u32, &found, &e) && found && u32 == 200);
    assert_int_equal(gguf_get_str(o.g, "a.none", &s, NULL, &e), ERR_FORMAT);
    assert_non_null(strstr(e.msg, "a.none"));
    close_corpus(&o);
}

static void wrong_kinds_are_refused(void **state) {
    (void)state;
    struct opened o = open_corpus("gguf/all_types.gguf");
    uint32_t u32 = 5;
    int32_t i32 = 5;
    float f32 = 5;
    bool b = false, found;
    struct str s;
    struct gguf_array a;
    struct err e;
    assert_int_equal(gguf_get_u32(o.g, "a.i8", &u32, &found, &e), ERR_FORMAT); /* negative */
    assert_non_null(strstr(e.msg, "a.i8"));
    assert_int_equal(gguf_get_u32(o.g, "a.u64", &u32, &found, &e), ERR_FORMAT); /* 2^63 */
    assert_int_equal(gguf_get_i32(o.g, "a.u32", &i32, &found, &e), ERR_FORMAT); /* 4e9 */
    assert_int_equal(gguf_get_i32(o.g, "a.i64", &i32, &found, &e), ERR_FORMAT); /* -2^62 */
    assert_int_equal(gguf_get_u32(o.g, "a.f32", &u32, &found, &e), ERR_FORMAT);
    assert_int_equal(gguf_get_u32(o.g, "a.yes", &u32, &found, &e), ERR_FORMAT);
    assert_int_equal(gguf_get_u32(o.g, "b.u16", &u32, &found, &e), ERR_FORMAT);
    assert_int_equal(gguf_get_f32(o.g, "a.text", &f32, &found, &e), ERR_FORMAT);
    assert_int_equal(gguf_get_bool(o.g, "a.u8", &b, &found, &e), ERR_FORMAT);
    assert_int_equal(gguf_get_str(o.g, "b.str", &s, &found, &e), ERR_FORMAT);
    assert_int_equal(gguf_get_array(o.g, "a.u8", &a, &found, &e), ERR_FORMAT);
    assert_true(u32 == 5 && i32 == 5 && f32 == 5);
    close_corpus(&o);
}

static void arrays_are_read(void **state) {
    (void)state;
    struct opened o = open_corpus("gguf/all_types.gguf");
    static const struct { const char *key; uint64_t n; double values[3]; } cases[] = {
        { "b.u8", 3, { 1, 2, 255 } }, { "b.i8", 3, { -1, 0, 1 } },    { "b.u16", 1, { 65535 } },
        { "b.i16", 1, { -32768 } },   { "b.u32", 3, { 8, 8, 4 } },    { "b.i32", 2, { -5, 7 } },
        { "b.f32", 2, { 0, -2.5 } },  { "b.bool", 3, { 1, 0, 1 } },   { "b.u64", 1, { 0x1p40 } },
        { "b.i64", 1, { -1 } },       { "b.f64", 1, { 1e300 } },      { "b.none", 0, { 0 } },
    };
    static const struct str strings[] = { { "", 0 }, { "a", 1 }, { "zwei", 4 }, { "a\0b", 3 } };
    struct gguf_array a;
    struct str s;
    uint32_t each[3];
    uint64_t u64;
    int64_t i64;
    double f64;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(gguf_get_array(o.g, cases[i].key, &a, NULL, NULL), ERR_NONE);
        assert_int_equal(a.n, cases[i].n);
        for (uint64_t k = 0; k < a.n; k++) assert_true(gguf_array_f64(&a, k, &f64) && f64 == cases[i].values[k]);
    }
    assert_int_equal(gguf_get_array(o.g, "b.i32", &a, NULL, NULL), ERR_NONE);
    assert_true(!gguf_array_u64(&a, 0, &u64) && gguf_array_u64(&a, 1, &u64) && u64 == 7);
    assert_true(gguf_array_i64(&a, 0, &i64) && i64 == -5 && gguf_array_i64(&a, 1, &i64) && i64 == 7);
    assert_false(gguf_array_next_str(&a, &s));
    assert_int_equal(gguf_get_array(o.g, "b.str", &a, NULL, NULL), ERR_NONE);
    assert_int_equal(a.n, ARRAY_LEN(strings));
    for (size_t i = 0; i < ARRAY_LEN(strings); i++) assert_true(gguf_array_next_str(&a, &s) && str_eq(s, strings[i]));
    assert_false(gguf_array_next_str(&a, &s));
    assert_true(!gguf_get_u32_each(o.g, "b.u32", each, 3, NULL, NULL) && each[0] == 8 && each[1] == 8 && each[2] == 4);
    assert_true(!gguf_get_u32_each(o.g, "a.u8", each, 3, NULL, NULL) && each[0] == 200 && each[2] == 200);
    assert_int_equal(gguf_get_u32_each(o.g, "b.u32", each, 2, NULL, NULL), ERR_FORMAT);
    assert_int_equal(gguf_get_u32_each(o.g, "b.i32", each, 2, NULL, NULL), ERR_FORMAT);
    close_corpus(&o);
}

static void tensors_are_placed(void **state) {
    (void)state;
    struct opened o = open_corpus("gguf/all_types.gguf");
    /* Sizes: 4*3*4 = 48 -> 64; 4 rows of one block of 34 = 136 -> 160; 4 -> 32; 3*2 = 6. */
    static const struct { const char *name; enum qtype type; uint32_t n_dims; uint64_t ne[4], off, bytes; } want[] = {
        { "token_embd.weight", QTYPE_F32, 2, { 4, 3, 1, 1 }, 0, 48 },
        { "blk.0.ffn_up.weight", QTYPE_Q8_0, 3, { 32, 2, 2, 1 }, 64, 136 },
        { "scalar", QTYPE_F32, 0, { 1, 1, 1, 1 }, 224, 4 },
        { "output_norm.weight", QTYPE_F16, 1, { 3, 1, 1, 1 }, 256, 6 },
    };
    assert_int_equal(o.g->n_tensors, ARRAY_LEN(want));
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        const struct tfile_tensor *t = &o.g->tensors[i];
        assert_string_equal(t->name, want[i].name);
        assert_int_equal(t->type, want[i].type);
        assert_int_equal(t->n_dims, want[i].n_dims);
        assert_memory_equal(t->ne, want[i].ne, sizeof(t->ne));
        assert_int_equal(t->bytes, want[i].bytes);
        assert_int_equal(t->file_off, o.g->data_off + want[i].off);
        assert_ptr_equal(t->data, o.file.p + t->file_off);
    }
    static const float row[4] = { -1, -0.5f, 0, 0.5f };
    assert_memory_equal(o.g->tensors[0].data, row, sizeof(row));
    close_corpus(&o);
    o = open_corpus("gguf/aligned64.gguf");
    assert_true(o.g->alignment == 64 && o.g->data_off % 64 == 0);
    assert_int_equal(o.g->tensors[1].file_off, o.g->data_off + 64);
    close_corpus(&o);
    o = open_corpus("gguf/version2.gguf");
    assert_true(o.g->version == 2 && o.g->n_tensors == 1);
    close_corpus(&o);
    o = open_corpus("gguf/empty.gguf");
    assert_true(o.g->n_kv == 0 && o.g->n_tensors == 0 && !gguf_find(o.g, "x"));
    close_corpus(&o);
}

/* --- Refusing --- */

/* A file under construction: header first, then what each case adds. */
static struct buf begin_file(uint64_t n_tensors, uint64_t n_kv) {
    struct buf b = { 0 };
    uint32_t version = 3;
    buf_add(&b, "GGUF", 4);
    buf_add(&b, &version, 4);
    buf_add(&b, &n_tensors, 8);
    buf_add(&b, &n_kv, 8);
    return b;
}
static void add_u32(struct buf *b, uint32_t v) { buf_add(b, &v, 4); }
static void put_u64(struct buf *b, uint64_t v) { buf_add(b, &v, 8); }
static void add_text(struct buf *b, const char *z) {
    put_u64(b, strlen(z));
    buf_addz(b, z);
}
static void add_kv_u32(struct buf *b, const char *key, uint32_t v) {
    add_text(b, key);
    add_u32(b, GGUF_U32);
    add_u32(b, v);
}
static void add_info(struct buf *b, const char *name, uint32_t n_dims, uint64_t ne, uint32_t type, uint64_t offset) {
    add_text(b, name);
    add_u32(b, n_dims);
    for (uint32_t d = 0; d < n_dims; d++) put_u64(b, ne);
    add_u32(b, type);
    put_u64(b, offset);
}
static void fill(struct buf *b, size_t n) {
    while (b->n % 32) buf_addc(b, 0);
    for (size_t i = 0; i < n; i++) buf_addc(b, 1);
}

/* Opens, expects a refusal whose sentence has the text, and frees the buffer. */
static void expect_refusal(struct buf *b, enum err_code code, const char *text) {
    struct gguf *g;
    struct err e = { 0 };
    uint8_t *exact = mem_alloc(b->n, 1); /* so that reading one byte too far is seen */
    memcpy(exact, b->p, b->n);
    enum err_code rc = gguf_open((struct span){ exact, b->n }, &g, &e);
    if (rc != code || !strstr(e.msg, text)) fail_msg("expected '%s', got %d '%s'", text, rc, e.msg);
    assert_null(g);
    mem_free(exact);
    buf_fini(b);
}

static void bad_headers_are_refused(void **state) {
    (void)state;
    struct buf b = { 0 };
    buf_addz(&b, "GGU");
    expect_refusal(&b, ERR_FORMAT, "not a GGUF file");
    b = begin_file(0, 0);
    b.p[4] = 1;
    expect_refusal(&b, ERR_UNSUPPORTED, "version 1");
    b = begin_file(0, 0);
    b.p[4] = 4;
    expect_refusal(&b, ERR_UNSUPPORTED, "version 4");
    b = begin_file(0, 0);
    b.p[4] = 0, b.p[7] = 3;
    expect_refusal(&b, ERR_UNSUPPORTED, "big-endian");
    b = begin_file(0, 1);
    expect_refusal(&b, ERR_FORMAT, "1 metadata keys");
    b = begin_file((uint64_t)1 << 40, 0);
    fill(&b, 1000);
    expect_refusal(&b, ERR_FORMAT, "tensors cannot be described");
}

static void bad_metadata_are_refused(void **state) {
    (void)state;
    struct buf b = begin_file(0, 2);
    add_kv_u32(&b, "k", 1);
    add_kv_u32(&b, "k", 2);
    expect_refusal(&b, ERR_FORMAT, "key k appears twice");
    b = begin_file(0, 1);
    add_kv_u32(&b, "", 1);
    fill(&b, 32);
    expect_refusal(&b, ERR_FORMAT, "length of 0 bytes");
    b = begin_file(0, 1);
    add_kv_u32(&b, "bad\xC0\x80", 1);
    expect_refusal(&b, ERR_FORMAT, "not printable UTF-8");
    b = begin_file(0, 1);
    add_kv_u32(&b, "red\x1B[31m", 1);
    expect_refusal(&b, ERR_FORMAT, "not printable UTF-8");
    b = begin_file(0, 1);
    add_text(&b, "k");
    add_u32(&b, 13);
    fill(&b, 32);
    expect_refusal(&b, ERR_FORMAT, "unknown type 13");
    b = begin_file(0, 1);
    add_text(&b, "k");
    add_u32(&b, GGUF_BOOL);
    buf_addc(&b, 2);
    expect_refusal(&b, ERR_FORMAT, "neither true nor false");
    b = begin_file(0, 1);
    add_text(&b, "k");
    add_u32(&b, GGUF_ARRAY);
    add_u32(&b, GGUF_ARRAY);
    put_u64(&b, 1);
    expect_refusal(&b, ERR_UNSUPPORTED, "array of arrays");
    b = begin_file(0, 1);
    add_text(&b, "k");
    add_u32(&b, GGUF_ARRAY);
    add_u32(&b, GGUF_U64);
    put_u64(&b, (uint64_t)1 << 61); /* times 8 is 0 in 64 bits */
    expect_refusal(&b, ERR_FORMAT, "limit is 2^30");
    b = begin_file(0, 1);
    add_text(&b, "k");
    add_u32(&b, GGUF_ARRAY);
    add_u32(&b, GGUF_STRING);
    put_u64(&b, 2);
    add_text(&b, "one");
    put_u64(&b, UINT64_MAX);
    expect_refusal(&b, ERR_FORMAT, "18446744073709551615");
    b = begin_file(0, 1);
    add_text(&b, "k");
    add_u32(&b, GGUF_ARRAY);
    add_u32(&b, GGUF_U32);
    put_u64(&b, 8);
    fill(&b, 16); /* 31 bytes follow, 32 are needed */
    expect_refusal(&b, ERR_FORMAT, "the file ends inside k");
    b = begin_file(0, 1);
    add_kv_u32(&b, "general.alignment", 24);
    expect_refusal(&b, ERR_FORMAT, "power of two");
    b = begin_file(0, 1);
    add_kv_u32(&b, "general.alignment", 0);
    expect_refusal(&b, ERR_FORMAT, "power of two");
}

static void bad_tensors_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *name;
        uint32_t n_dims;
        uint64_t ne;
        uint32_t type;
        uint64_t offset;
        const char *text;
        enum err_code code;
    } cases[] = {
        { "t", 5, 1, 0, 0, "5 dimensions", ERR_FORMAT },
        { "t", 1, 0, 0, 0, "impossible dimensions", ERR_FORMAT },
        { "t", 4, (uint64_t)1 << 32, 0, 0, "impossible dimensions", ERR_FORMAT },
        { "t", 2, (uint64_t)1 << 31, 0, 0, "t is cut", ERR_FORMAT }, /* 2^64 bytes fit no more in 64 bits; see below */
        { "t", 1, 32, 99, 0, "type number 99", ERR_UNSUPPORTED },
        { "t", 1, 33, 8, 0, "rows of 33 weights", ERR_FORMAT },
        { "t", 1, 8, 0, 32, "offset 32 where 0", ERR_FORMAT },
        { "t", 1, 8, 0, 1, "offset 1 where 0", ERR_FORMAT },
        { "", 1, 8, 0, 0, "length of 0", ERR_FORMAT },
        { "0123456789012345678901234567890123456789012345678901234567890123", 1, 8, 0, 0, "length of 64", ERR_FORMAT },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf b = begin_file(1, 0);
        /* 2^31 x 2^31 halves make 2^63 bytes: the largest that arithmetic can hold, and cut. */
        uint32_t type = cases[i].n_dims == 2 ? 1 : cases[i].type;
        add_info(&b, cases[i].name, cases[i].n_dims, cases[i].ne, type, cases[i].offset);
        fill(&b, 64);
        expect_refusal(&b, cases[i].code, cases[i].text);
    }
    struct buf b = begin_file(2, 0);
    add_info(&b, "t", 1, 8, 0, 0);
    add_info(&b, "t", 1, 8, 0, 32);
    fill(&b, 64);
    expect_refusal(&b, ERR_FORMAT, "two tensors are named t");
    b = begin_file(2, 0); /* the second one's sizes pass 2^64 when added */
    add_info(&b, "a", 2, (uint64_t)1 << 31, 1, 0);
    add_info(&b, "b", 2, (uint64_t)1 << 31, 1, (uint64_t)1 << 63);
    fill(&b, 64);
    expect_refusal(&b, ERR_FORMAT, "tensor a is cut");
}

static void cut_files_name_the_tensor(void **state) {
    (void)state;
    struct span file = read_bytes(corpus("gguf/all_types.gguf"));
    struct opened o = open_corpus("gguf/all_types.gguf");
    uint64_t data_off = o.g->data_off;
    struct gguf *g;
    struct err e = { 0 };
    close_corpus(&o);
    /* 100 bytes of data: 36 of blk.0.ffn_up.weight's 136, which begin at 64, are there. */
    assert_int_equal(gguf_open((struct span){ file.p, data_off + 100 }, &g, &e), ERR_FORMAT);
    assert_non_null(strstr(e.msg, "blk.0.ffn_up.weight is cut: 100 of its 136 bytes are missing"));
    assert_int_equal(gguf_open((struct span){ file.p, data_off + 262 }, &g, &e), ERR_NONE); /* only padding is cut */
    gguf_close(g);
    assert_int_equal(gguf_open((struct span){ file.p, data_off + 261 }, &g, &e), ERR_FORMAT);
    assert_non_null(strstr(e.msg, "output_norm.weight is cut: 1 of its 6 bytes are missing"));
    assert_int_equal(gguf_open((struct span){ file.p, 600 }, &g, &e), ERR_FORMAT);
    assert_true(e.has_off && e.off <= 600 && strstr(e.msg, "the file ends inside"));
    mem_free((void *)file.p);
}

/* --- Writing --- */

static void put_tensors(struct tstream *s, const struct gguf *g, size_t from, size_t to) {
    for (size_t i = from; i < to; i++) {
        const struct tfile_tensor *t = &g->tensors[i];
        size_t half = t->bytes / 2;
        assert_int_equal(tstream_n_done(s), i);
        assert_int_equal(tstream_put(s, t->data, half, NULL), ERR_NONE);
        assert_int_equal(tstream_put(s, t->data + half, t->bytes - half, NULL), ERR_NONE);
    }
}

static struct gguf_writer *writer_like(const struct gguf *g) {
    struct gguf_writer *w;
    struct err e;
    assert_int_equal(gguf_writer_new(&w, &e), ERR_NONE);
    for (size_t i = 0; i < g->n_kv; i++) gguf_writer_copy(w, &g->kv[i]);
    for (size_t i = 0; i < g->n_tensors; i++) {
        const struct tfile_tensor *t = &g->tensors[i];
        assert_int_equal(gguf_writer_tensor(w, t->name, t->type, t->n_dims, t->ne, &e), ERR_NONE);
    }
    return w;
}

/* Writes what was read; the file must be the same, and of the size foretold. */
static void expect_copy(const char *path) {
    struct span file = read_bytes(path);
    struct gguf *g;
    struct tstream *s;
    uint64_t total;
    assert_int_equal(gguf_open(file, &g, NULL), ERR_NONE);
    struct gguf_writer *w = writer_like(g);
    assert_int_equal(gguf_writer_total_bytes(w, &total, NULL), ERR_NONE);
    assert_int_equal(total, file.n);
    assert_int_equal(gguf_writer_open(w, scratch("copy.gguf"), NULL, &s, NULL), ERR_NONE);
    gguf_writer_free(w);
    put_tensors(s, g, 0, g->n_tensors);
    assert_false(os_exists(scratch("copy.gguf")));
    assert_int_equal(tstream_commit(s, NULL), ERR_NONE);
    assert_true(same_bytes(scratch("copy.gguf"), path));
    assert_false(os_exists(scratch("copy.gguf.part")));
    unlink(scratch("copy.gguf"));
    gguf_close(g);
    mem_free((void *)file.p);
}

static void copies_equal_the_original(void **state) {
    (void)state;
    expect_copy(corpus("gguf/all_types.gguf"));
    expect_copy(corpus("gguf/empty.gguf"));
    if (shared("models/tiny/llamacpp")) {
        expect_copy(shared("models/tiny/llamacpp/Q4_K_M.gguf"));
        expect_copy(shared("models/tiny/llamacpp/Q2_K.gguf"));
    }
}

static void setters_write_what_they_say(void **state) {
    (void)state;
    struct opened o = open_corpus("gguf/all_types.gguf");
    struct gguf_writer *w;
    struct buf got = { 0 }, want = { 0 };
    static const struct str texts[] = { { "", 0 }, { "a", 1 }, { "zwei", 4 }, { "a\0b", 3 } };
    static const int32_t ints[] = { -5, 7 };
    gguf_writer_new(&w, NULL);
    gguf_writer_str(w, "general.architecture", STR("gemma"));
    gguf_writer_u16(w, "a.u16", 60000);
    gguf_writer_u32(w, "a.u32", 4000000000u);
    gguf_writer_u64(w, "gone", 1);
    gguf_writer_i32(w, "a.i32", -2000000000);
    gguf_writer_f32(w, "a.f32", 1.5f);
    gguf_writer_bool(w, "a.yes", true);
    gguf_writer_array(w, "b.i32", GGUF_I32, ints, 2);
    gguf_writer_str_array(w, "b.str", texts, ARRAY_LEN(texts));
    gguf_writer_str(w, "general.architecture", STR("llama")); /* in place */
    gguf_writer_remove(w, "gone");
    gguf_writer_remove(w, "never there");
    assert_int_equal(gguf_writer_header(w, &got, NULL), ERR_NONE);
    gguf_writer_free(w);
    gguf_writer_new(&w, NULL);
    static const char *const keys[] = { "general.architecture", "a.u16", "a.u32", "a.i32", "a.f32", "a.yes", "b.i32",
                                        "b.str" };
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) gguf_writer_copy(w, gguf_find(o.g, keys[i]));
    assert_int_equal(gguf_writer_header(w, &want, NULL), ERR_NONE);
    assert_int_equal(got.n, want.n);
    assert_memory_equal(got.p, want.p, want.n);
    gguf_writer_free(w);
    buf_fini(&got);
    buf_fini(&want);
    close_corpus(&o);
}

static void sizes_follow_the_types(void **state) {
    (void)state;
    struct gguf_writer *w;
    struct err e;
    uint64_t total, before, bytes;
    static const uint64_t matrix[2] = { 256, 3 }, vector[1] = { 40 }, odd[1] = { 33 };
    gguf_writer_new(&w, &e);
    assert_int_equal(gguf_writer_tensor(w, "m", QTYPE_F32, 2, matrix, &e), ERR_NONE);
    assert_int_equal(gguf_writer_tensor(w, "v", QTYPE_F32, 1, vector, &e), ERR_NONE);
    /* 24 + (8+1+4+16+4+8) + (8+1+4+8+4+8) = 98 -> 128; 3072; 160 */
    assert_int_equal(gguf_writer_total_bytes(w, &total, &e), ERR_NONE);
    assert_int_equal(total, 128 + 3072 + 160);
    /* 3 rows of one block of 210 = 630 -> 640 */
    assert_true(gguf_writer_padded_bytes(w, 0, QTYPE_Q6_K, &bytes) && bytes == 640);
    assert_int_equal(gguf_writer_set_type(w, 0, QTYPE_Q6_K, &e), ERR_NONE);
    assert_int_equal(gguf_writer_tensor_bytes(w, 0), 630);
    before = total;
    assert_int_equal(gguf_writer_total_bytes(w, &total, &e), ERR_NONE);
    assert_int_equal(total, before - 3072 + 640);
    assert_int_equal(gguf_writer_set_type(w, 1, QTYPE_Q8_0, &e), ERR_FORMAT); /* 40 is no multiple of 32 */
    assert_false(gguf_writer_padded_bytes(w, 1, QTYPE_Q8_0, &bytes));
    assert_int_equal(gguf_writer_tensor(w, "odd", QTYPE_Q8_0, 1, odd, &e), ERR_FORMAT);
    assert_int_equal(gguf_writer_tensor(w, "", QTYPE_F32, 1, odd, &e), ERR_FORMAT);
    assert_int_equal(gguf_writer_n_tensors(w), 2);
    gguf_writer_str(w, "", STR("x"));
    assert_int_equal(gguf_writer_total_bytes(w, &total, &e), ERR_INTERNAL);
    gguf_writer_free(w);
}

static void twins_and_surplus_are_refused(void **state) {
    (void)state;
    struct opened o = open_corpus("gguf/aligned64.gguf");
    struct gguf_writer *w = writer_like(o.g);
    struct tstream *s;
    struct err e;
    assert_int_equal(gguf_writer_open(w, scratch("x.gguf"), NULL, &s, &e), ERR_NONE);
    assert_int_equal(tstream_put(s, o.file.p, 49, &e), ERR_INTERNAL); /* the tensor has 48 */
    assert_int_equal(tstream_commit(s, &e), ERR_INTERNAL);
    assert_true(!os_exists(scratch("x.gguf")) && !os_exists(scratch("x.gguf.part")));
    assert_int_equal(gguf_writer_tensor(w, o.g->tensors[0].name, QTYPE_F32, 1, o.g->tensors[0].ne, &e), ERR_NONE);
    assert_int_equal(gguf_writer_open(w, scratch("x.gguf"), NULL, &s, &e), ERR_FORMAT);
    assert_non_null(strstr(e.msg, "token_embd.weight"));
    gguf_writer_free(w);
    close_corpus(&o);
}

static void interrupted_runs_resume(void **state) {
    (void)state;
    struct opened o = open_corpus("gguf/all_types.gguf");
    struct gguf_writer *w = writer_like(o.g);
    struct tstream *s;
    size_t n_done = 0;
    assert_int_equal(gguf_writer_open(w, scratch("r.gguf"), &n_done, &s, NULL), ERR_NONE);
    put_tensors(s, o.g, 0, 2);
    assert_int_equal(tstream_put(s, "xx", 2, NULL), ERR_NONE); /* half of the third, wrong at that */
    assert_int_equal(tstream_sync(s, NULL), ERR_NONE);
    tstream_abandon(s, true);
    n_done = 1; /* fewer than are there */
    assert_int_equal(gguf_writer_open(w, scratch("r.gguf"), &n_done, &s, NULL), ERR_NONE);
    assert_int_equal(n_done, 1);
    put_tensors(s, o.g, 1, 2);
    assert_int_equal(tstream_put(s, "xx", 2, NULL), ERR_NONE);
    tstream_abandon(s, true);
    n_done = SIZE_MAX; /* as many as are whole */
    assert_int_equal(gguf_writer_open(w, scratch("r.gguf"), &n_done, &s, NULL), ERR_NONE);
    assert_int_equal(n_done, 2);
    put_tensors(s, o.g, 2, 3);
    tstream_abandon(s, true);
    n_done = 3;
    gguf_writer_u32(w, "a.u32", 1); /* another header, of the same length */
    assert_int_equal(gguf_writer_open(w, scratch("r.gguf"), &n_done, &s, NULL), ERR_NONE);
    assert_int_equal(n_done, 0);
    tstream_abandon(s, false);
    assert_false(os_exists(scratch("r.gguf.part")));
    gguf_writer_u32(w, "a.u32", 4000000000u);
    n_done = 0;
    assert_int_equal(gguf_writer_open(w, scratch("r.gguf"), &n_done, &s, NULL), ERR_NONE);
    put_tensors(s, o.g, 0, 1);
    tstream_abandon(s, true);
    n_done = 1;
    assert_int_equal(gguf_writer_open(w, scratch("r.gguf"), &n_done, &s, NULL), ERR_NONE);
    assert_int_equal(tstream_commit(s, NULL), ERR_INTERNAL); /* too early; the work is not lost */
    assert_int_equal(gguf_writer_open(w, scratch("r.gguf"), &n_done, &s, NULL), ERR_NONE);
    assert_int_equal(n_done, 1);
    put_tensors(s, o.g, n_done, 4);
    assert_int_equal(tstream_commit(s, NULL), ERR_NONE);
    assert_true(same_bytes(scratch("r.gguf"), corpus("gguf/all_types.gguf")));
    gguf_writer_free(w);
    close_corpus(&o);
}

/* What describes the file that was read is not copied: neither its alignment nor its place in a set. */
static void copies_stand_alone(void **state) {
    (void)state;
    static const char *const names[] = { "gguf/aligned64.gguf", "gguf/set-00002-of-00002.gguf" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct opened o = open_corpus(names[i]);
        struct gguf_writer *w = writer_like(o.g);
        struct buf header = { 0 };
        assert_int_equal(gguf_writer_header(w, &header, NULL), ERR_NONE);
        assert_memory_equal(header.p + 16, "\0\0\0\0\0\0\0\0", 8); /* no keys */
        buf_fini(&header);
        gguf_writer_free(w);
        close_corpus(&o);
    }
}

/* --- Split sets --- */

/* 24 + 82 of split keys + (8 + 22 + 4 + 8 + 4 + 8) = 160, a multiple of 32: one byte more would show. */
static void split_sizes_are_exact(void **state) {
    (void)state;
    static const char *const names[] = { "name.of.22.letters....", "another.of.22.letters." };
    static const uint64_t ne[1] = { 8 };
    struct gguf_writer *w;
    uint64_t total;
    gguf_writer_new(&w, NULL);
    for (size_t i = 0; i < 2; i++) assert_int_equal(gguf_writer_tensor(w, names[i], QTYPE_F32, 1, ne, NULL), ERR_NONE);
    gguf_writer_split(w, 160 + 32);
    assert_int_equal(gguf_writer_total_bytes(w, &total, NULL), ERR_NONE);
    assert_int_equal(total, 2 * (160 + 32));
    gguf_writer_free(w);
}

/* The writer cuts the four tensors as the corpus does when 544 bytes are allowed, which the first two fill. One file a
 * tensor: with 24 + 82 (split keys) bytes before the table, and 45 + 17 of metadata in the first, the files take
 * 225 -> 256 + 64, 173 -> 192 + 160, 136 -> 160 + 32 and 156 -> 160 + 32. */
static void split_sets_equal_the_corpus(void **state) {
    (void)state;
    struct opened o = open_corpus("gguf/all_types.gguf");
    struct gguf_writer *w;
    struct tstream *s;
    uint64_t total;
    gguf_writer_new(&w, NULL);
    for (size_t i = 0; i < 2; i++) gguf_writer_copy(w, &o.g->kv[i]);
    for (size_t i = 0; i < 4; i++) {
        const struct tfile_tensor *t = &o.g->tensors[i];
        assert_int_equal(gguf_writer_tensor(w, t->name, t->type, t->n_dims, t->ne, NULL), ERR_NONE);
    }
    gguf_writer_split(w, 1);
    assert_int_equal(gguf_writer_total_bytes(w, &total, NULL), ERR_NONE);
    assert_int_equal(total, 320 + 352 + 192 + 192);
    gguf_writer_split(w, 544);
    assert_int_equal(gguf_writer_total_bytes(w, &total, NULL), ERR_NONE);
    assert_int_equal(total, 544 + 256);
    assert_int_equal(gguf_writer_open(w, scratch("my.gguf"), NULL, &s, NULL), ERR_NONE);
    put_tensors(s, o.g, 0, 3);
    assert_false(os_exists(scratch("my-00001-of-00002.gguf")));
    tstream_abandon(s, true);
    size_t n_done = 3; /* into the second file */
    assert_int_equal(gguf_writer_open(w, scratch("my.gguf"), &n_done, &s, NULL), ERR_NONE);
    assert_int_equal(n_done, 3);
    put_tensors(s, o.g, 3, 4);
    assert_int_equal(tstream_commit(s, NULL), ERR_NONE);
    assert_true(same_bytes(scratch("my-00001-of-00002.gguf"), corpus("gguf/set-00001-of-00002.gguf")));
    assert_true(same_bytes(scratch("my-00002-of-00002.gguf"), corpus("gguf/set-00002-of-00002.gguf")));
    gguf_writer_free(w);
    close_corpus(&o);
}

static void expect_tfile_refusal(const char *path, const char *text) {
    struct tfile *f;
    struct err e = { 0 };
    char all[700];
    enum err_code rc = tfile_open(path, 0, &f, &e);
    err_format(&e, all, sizeof(all));
    if (!rc || !strstr(all, text)) fail_msg("expected '%s', got %d '%s'", text, rc, all);
    assert_null(f);
}

static void any_shard_opens_the_set(void **state) {
    (void)state;
    static const char *const names[] = { "gguf/set-00001-of-00002.gguf", "gguf/set-00002-of-00002.gguf" };
    struct tfile *f;
    uint32_t v;
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(tfile_open(corpus(names[i]), 0, &f, NULL), ERR_NONE);
        assert_true(f->kind == TFILE_GGUF && f->n_tensors == 4 && f->n_files == 2 && f->file_bytes == 544 + 256);
        assert_true(!gguf_get_u32(f->gguf, "a.u8", &v, NULL, NULL) && v == 200);
        const struct tfile_tensor *t = tfile_find(f, "output_norm.weight");
        assert_true(t && t->shard == 1 && t->bytes == 6 && !memcmp(t->data, "\x00\x3C\x00\x40\x00\x42", 6)); /* 1 2 3 */
        assert_non_null(strstr(tfile_file_path(f, 1), "set-00002-of-00002.gguf"));
        assert_null(tfile_find(f, "absent"));
        tfile_close(f);
    }
    struct span one = read_bytes(corpus(names[0])), two = read_bytes(corpus(names[1]));
    write_bytes(scratch("a-00001-of-00002.gguf"), one.p, one.n);
    expect_tfile_refusal(scratch("a-00001-of-00002.gguf"), "a-00002-of-00002.gguf");
    write_bytes(scratch("a-00002-of-00002.gguf"), one.p, one.n); /* a copy of the first */
    expect_tfile_refusal(scratch("a-00001-of-00002.gguf"), "does not belong to the set");
    for (size_t i = 0; i < 2; i++) { /* both files say that the set has five tensors */
        struct span file = i ? two : one, key = { (const uint8_t *)"split.tensors.count", 19 };
        uint8_t *at = memmem(file.p, file.n, key.p, key.n);
        at[key.n + 4] = 5;
        write_bytes(scratch(i ? "c-00002-of-00002.gguf" : "c-00001-of-00002.gguf"), file.p, file.n);
    }
    expect_tfile_refusal(scratch("c-00002-of-00002.gguf"), "hold 4 tensors together; 5 are due");
    write_bytes(scratch("b.gguf"), two.p, two.n);
    expect_tfile_refusal(scratch("b.gguf"), "must be named ...-00002-of-00002.gguf");
    mem_free((void *)one.p);
    mem_free((void *)two.p);
}

/* A sparse file: 5 GiB of zeros, then 1.0 and 2.0. */
static void offsets_pass_4_gib(void **state) {
    (void)state;
    static const uint64_t big[2] = { 1 << 20, 1280 }, small[1] = { 2 };
    static const float values[2] = { 1, 2 };
    struct gguf_writer *w;
    struct buf header = { 0 };
    struct tfile *f;
    uint64_t total;
    gguf_writer_new(&w, NULL);
    assert_int_equal(gguf_writer_tensor(w, "big", QTYPE_F32, 2, big, NULL), ERR_NONE);
    assert_int_equal(gguf_writer_tensor(w, "small", QTYPE_F32, 1, small, NULL), ERR_NONE);
    assert_int_equal(gguf_writer_header(w, &header, NULL), ERR_NONE);
    assert_int_equal(gguf_writer_total_bytes(w, &total, NULL), ERR_NONE);
    assert_int_equal(total, header.n + ((uint64_t)5 << 30) + 32);
    gguf_writer_free(w);
    write_bytes(scratch("big.gguf"), header.p, header.n);
    FILE *out = fopen(scratch("big.gguf"), "r+b");
    assert_non_null(out);
    assert_int_equal(fseeko(out, (off_t)(total - 32), SEEK_SET), 0);
    assert_int_equal(fwrite(values, sizeof(values), 1, out), 1);
    assert_int_equal(fclose(out), 0);
    assert_int_equal(tfile_open(scratch("big.gguf"), 0, &f, NULL), ERR_NONE);
    const struct tfile_tensor *t = tfile_find(f, "small");
    assert_int_equal(t->file_off, total - 32);
    assert_memory_equal(t->data, values, sizeof(values));
    tfile_close(f);
    unlink(scratch("big.gguf"));
    buf_fini(&header);
}

static void other_paths_are_refused(void **state) {
    (void)state;
    write_bytes(scratch("text.txt"), "hello world, hello", 18);
    write_bytes(scratch("nothing"), "", 0);
    write_bytes(scratch("page.gguf"), "<html>", 6);
    write_bytes(scratch("page.safetensors"), "<html>", 6);
    expect_tfile_refusal(scratch("page.gguf"), "page.gguf: this is not a GGUF file");
    expect_tfile_refusal(scratch("page.safetensors"), "page.safetensors: the file is too short");
    expect_tfile_refusal(scratch("text.txt"), "neither GGUF nor safetensors");
    expect_tfile_refusal(scratch("nothing"), "neither GGUF nor safetensors");
    expect_tfile_refusal(scratch("absent.gguf"), "absent.gguf");
    expect_tfile_refusal(scratch_dir, "directory without config.json");
}

/* --- Files of other programs --- */

/* Values as the Python package gguf 0.17 reads them. */
static void llama_cpp_files_are_read(void **state) {
    (void)state;
    struct tfile *f;
    uint32_t v;
    struct gguf_array a;
    struct str s;
    if (!shared("models/tiny/llamacpp/Q4_K_M.gguf")) skip();
    assert_int_equal(tfile_open(shared("models/tiny/llamacpp/Q4_K_M.gguf"), 0, &f, NULL), ERR_NONE);
    assert_true(f->n_tensors == 56 && f->gguf->n_kv == 26 && f->gguf->data_off == 132352);
    assert_true(!gguf_get_u32(f->gguf, "llama.feed_forward_length", &v, NULL, NULL) && v == 768);
    assert_true(!gguf_get_array(f->gguf, "tokenizer.ggml.merges", &a, NULL, NULL) && a.n == 3838);
    const struct tfile_tensor *t = tfile_find(f, "token_embd.weight");
    assert_true(t && t->type == QTYPE_Q6_K && t->ne[0] == 256 && t->ne[1] == 4096 && t->file_off == 133376);
    assert_int_equal(t->bytes, 860160);
    t = tfile_find(f, "blk.0.attn_k.weight");
    assert_true(t && t->type == QTYPE_Q4_K && t->ne[1] == 128 && t->file_off == 993536 && t->bytes == 18432);
    t = tfile_find(f, "blk.5.ffn_up.weight");
    assert_true(t && t->file_off == 3667712 && t->bytes == 110592);
    tfile_close(f);
    assert_int_equal(tfile_open(shared("tokenizers/vocab_gguf/phi-3.gguf"), 0, &f, NULL), ERR_NONE);
    assert_true(f->n_tensors == 0 && f->gguf->n_kv == 26);
    assert_true(!gguf_get_array(f->gguf, "tokenizer.ggml.scores", &a, NULL, NULL) && a.n == 32064 &&
                a.elem == GGUF_F32);
    assert_true(!gguf_get_str(f->gguf, "general.architecture", &s, NULL, NULL) && str_eqz(s, "phi3"));
    tfile_close(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalars_are_read),
        cmocka_unit_test(wrong_kinds_are_refused),
        cmocka_unit_test(arrays_are_read),
        cmocka_unit_test(tensors_are_placed),
        cmocka_unit_test(bad_headers_are_refused),
        cmocka_unit_test(bad_metadata_are_refused),
        cmocka_unit_test(bad_tensors_are_refused),
        cmocka_unit_test(cut_files_name_the_tensor),
        cmocka_unit_test(copies_equal_the_original),
        cmocka_unit_test(setters_write_what_they_say),
        cmocka_unit_test(sizes_follow_the_types),
        cmocka_unit_test(twins_and_surplus_are_refused),
        cmocka_unit_test(interrupted_runs_resume),
        cmocka_unit_test(copies_stand_alone),
        cmocka_unit_test(split_sizes_are_exact),
        cmocka_unit_test(split_sets_equal_the_corpus),
        cmocka_unit_test(any_shard_opens_the_set),
        cmocka_unit_test(offsets_pass_4_gib),
        cmocka_unit_test(other_paths_are_refused),
        cmocka_unit_test(llama_cpp_files_are_read),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
