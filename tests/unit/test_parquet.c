/* Parquet: the seeds of the fuzz target, whose contents fuzz/make_corpus.py states; files that Arrow wrote; what is
 * refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>

#include "base/utf8.h"
#include "format/calib_source.h"
#include "format/parquet.h"
#include "format/parquet_bits.h"
#include "format_files.h"

/* All records of a source as one text: "text|" or "<role>content<role>content|". NULL: an error, in e. */
static char *read_all(const char *name, struct err *e) {
    struct calib_source *s;
    struct calib_record r;
    struct buf all = { 0 };
    bool more = true;
    if (calib_source_open(name, &s, e)) return NULL;
    enum err_code rc = calib_source_next(s, &r, &more, e);
    while (!rc && more) {
        if (r.kind == CALIB_TEXT) buf_add(&all, r.text.p, r.text.n);
        for (size_t i = 0; r.kind == CALIB_CHAT && i < r.n_messages; i++) {
            const struct calib_message *m = &r.messages[i];
            buf_addf(&all, "<%.*s>%.*s", (int)m->role.n, m->role.p, (int)m->content.n, m->content.p);
        }
        buf_addc(&all, '|');
        rc = calib_source_next(s, &r, &more, e);
    }
    calib_source_close(s);
    if (rc) buf_fini(&all);
    return all.p;
}

static void assert_reads(const char *name, const char *want) {
    struct err e = { 0 };
    char *have = read_all(name, &e);
    if (!have || strcmp(have, want)) fail_msg("%s: '%s' %s", name, have ? have : "", e.msg);
    mem_free(have);
}

static void assert_refuses(const char *name, enum err_code code, const char *says) {
    struct err e = { 0 };
    char text[700], *have = read_all(name, &e);
    err_format(&e, text, sizeof text);
    if (have || e.code != code || !strstr(text, says)) fail_msg("%s: %d '%s', not '%s'", name, e.code, text, says);
}

#define WORDS "Once upon a time|Once upon a hill|gr\xC3\xB6\xC3\x9F" "er||Once upon a time|"

static void every_codec_and_encoding_gives_the_same(void **state) {
    (void)state;
    static const char *const names[] = { "snappy", "gzip", "brotli", "lz4", "lz4_raw", "zstd", "delta_length",
                                         "delta_length_v2", "delta_strings", "delta_strings_v2", "dictionary",
                                         "dictionary_v2" };
    char path[64];
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(path, sizeof path, "parquet/%s.parquet", names[i]);
        assert_reads(corpus(path), WORDS);
    }
    assert_reads(corpus("parquet/plain.parquet"), WORDS WORDS); /* two row groups */
}

static void conversations_are_records(void **state) {
    (void)state;
    assert_reads(corpus("parquet/messages.parquet"), "<user>Hi<assistant>Hello|<assistant>|");
    assert_reads(corpus("parquet/messages_v2.parquet"), "<user>Hi<assistant>Hello|<assistant>|");
    assert_reads(corpus("parquet/conversations.parquet"), "<user>Hi<assistant>Hello|<assistant>|");
}

static void columns_are_named(void **state) {
    (void)state;
    char name[800];
    snprintf(name, sizeof name, "%s:text", corpus("parquet/plain.parquet"));
    assert_reads(name, WORDS WORDS);
    snprintf(name, sizeof name, "%s:id", corpus("parquet/plain.parquet"));
    assert_refuses(name, ERR_USAGE, "\"id\" holds neither strings nor lists of messages");
    snprintf(name, sizeof name, "%s:body", corpus("parquet/plain.parquet"));
    assert_refuses(name, ERR_USAGE, "no column \"body\"; it has: id, text");
    assert_refuses(corpus("parquet/bad_no_text.parquet"), ERR_USAGE, "name one as FILE:COLUMN; it has: id");
    /* The same for JSON; a file whose name has a colon goes first. */
    static const char a[] = "{\"text\":\"no\",\"body\":\"yes\"}\n", b[] = "{\"text\":\"colon\"}\n";
    write_bytes(scratch("a.jsonl"), a, sizeof a - 1);
    write_bytes(scratch("b:text.jsonl"), b, sizeof b - 1);
    snprintf(name, sizeof name, "%s:body", scratch("a.jsonl"));
    assert_reads(name, "yes|");
    snprintf(name, sizeof name, "%s:other", scratch("a.jsonl"));
    assert_refuses(name, ERR_FORMAT, "line 1 has no \"other\"");
    assert_reads(scratch("b:text.jsonl"), "colon|");
    assert_refuses(scratch("gone:text"), ERR_NOT_FOUND, "gone");
}

static void bad_files_are_told(void **state) {
    (void)state;
    static const struct { const char *name; enum err_code code; const char *says; } cases[] = {
        { "bad_cut", ERR_FORMAT, "not complete" },
        { "bad_encrypted", ERR_UNSUPPORTED, "encrypted" },
        { "bad_codec", ERR_UNSUPPORTED, "LZO" },
        { "bad_rows", ERR_FORMAT, "column text: row 7 is missing" },
        { "bad_values", ERR_FORMAT, "row 6 is not its row group's last" },
        { "bad_cyclic", ERR_FORMAT, "row group 2 is damaged: it begins within the one before" },
        { "bad_utf8", ERR_FORMAT, "row 1 is no UTF-8 text" },
        { "bad_children", ERR_FORMAT, "description of itself is damaged" },
        { "bad_deep", ERR_FORMAT, "description of itself is damaged" },
        { "bad_bomb_snappy", ERR_FORMAT, "no valid snappy" },
        { "bad_bomb_zstd", ERR_FORMAT, "no valid zstd" },
        { "bad_bomb_gzip", ERR_FORMAT, "no valid gzip" },
        { "bad_bomb_lz4", ERR_FORMAT, "no valid LZ4" },
        { "bad_bomb_brotli", ERR_FORMAT, "no valid brotli" },
        { "bad_bomb_more", ERR_FORMAT, "no valid gzip or not of the size it names (byte 4)" },
        { "no_rows", ERR_FORMAT, "the calibration source is empty" },
    };
    char path[64];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        snprintf(path, sizeof path, "parquet/%s.parquet", cases[i].name);
        assert_refuses(corpus(path), cases[i].code, cases[i].says);
    }
}

/* The example of the format's documentation: 7, 5, 3, 1, 2, 3, 4, 5, and runs of levels. */
static void packed_integers_are_read(void **state) {
    (void)state;
    /* Block of 128 in 4 miniblocks, 8 values, first 7; least difference -2; differences 0 0 0 3 3 3 3 in two bits. */
    static const uint8_t deltas[] = { 0x80, 1, 4, 8, 14, 3, 2, 0, 0, 0, 0xC0, 0x3F, 0, 0, 0, 0, 0, 0, 0xAA };
    static const int64_t values[] = { 7, 5, 3, 1, 2, 3, 4, 5 };
    struct delta d;
    struct span rest;
    int64_t v;
    assert_true(delta_open(&d, (struct span){ deltas, sizeof deltas }, 8));
    assert_true(delta_skip(d, &rest) && rest.n == 1 && rest.p[0] == 0xAA);
    for (size_t i = 0; i < 8; i++) assert_true(delta_next(&d, &v) && v == values[i]);
    assert_false(delta_next(&d, &v));
    for (size_t n = 0; n + 1 < sizeof deltas; n++) /* cut anywhere: no value is made up */
        assert_false(delta_open(&d, (struct span){ deltas, n }, 8) && delta_skip(d, &rest));
    assert_false(delta_open(&d, (struct span){ deltas, sizeof deltas }, 9));
    /* 0 to 7 in three bits as the documentation has them, then four times 6. */
    static const uint8_t runs[] = { 3, 0x88, 0xC6, 0xFA, 8, 6 };
    struct hybrid h;
    uint32_t u;
    hybrid_open(&h, (struct span){ runs, sizeof runs }, 3);
    for (uint32_t i = 0; i < 8; i++) assert_true(hybrid_next(&h, &u) && u == i);
    for (uint32_t i = 0; i < 4; i++) assert_true(hybrid_next(&h, &u) && u == 6);
    assert_false(hybrid_next(&h, &u));
    assert_int_equal(hybrid_width(0), 0);
    assert_int_equal(hybrid_width(4), 3);
}

/* --- Files of Arrow --- */

/* Strings of expected.json's `column`, nulls left out, as read_all writes them. */
static char *expected(const char *column) {
    json_t *all = json_load_file(shared("text/parquet/expected.json"), 0, NULL), *v;
    struct buf text = { 0 };
    size_t i;
    assert_non_null(all);
    json_array_foreach(json_object_get(all, column), i, v)
        if (json_is_string(v)) {
            buf_add(&text, json_string_value(v), json_string_length(v));
            buf_addc(&text, '|');
        }
    json_decref(all);
    return text.p;
}

static void files_of_arrow_are_read(void **state) {
    (void)state;
    static const char *const names[] = { "brotli", "delta-byte-array", "delta-length", "dictionary", "gzip",
                                         "large-string", "lz4", "none", "page-v2", "snappy", "zstd" };
    char path[64];
    if (!shared("text/parquet")) skip();
    char *text = expected("text"), *content = expected("content");
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(path, sizeof path, "text/parquet/%s.parquet", names[i]);
        assert_reads(shared(path), text);
    }
    assert_reads(shared("text/parquet/nested-nulls.parquet"), content);
    assert_refuses(shared("text/parquet/empty.parquet"), ERR_FORMAT, "empty");
    mem_free(text);
    mem_free(content);
}

/* 40 conversations: "hello N" and the first 200 characters of text N. */
static void conversations_of_arrow_are_read(void **state) {
    (void)state;
    struct buf want = { 0 };
    if (!shared("text/parquet")) skip();
    json_t *all = json_load_file(shared("text/parquet/expected.json"), 0, NULL);
    for (size_t i = 0; i < 40; i++) {
        const json_t *text = json_array_get(json_object_get(all, "text"), i);
        const char *p = json_string_value(text), *end = p + json_string_length(text);
        uint32_t cp;
        for (size_t k = 0; k < 200 && p != end; k++) p += utf8_step(p, (size_t)(end - p), &cp);
        buf_addf(&want, "<user>hello %zu<assistant>", i);
        buf_add(&want, json_string_value(text), (size_t)(p - json_string_value(text)));
        buf_addc(&want, '|');
    }
    assert_reads(shared("text/parquet/messages.parquet"), want.p);
    buf_fini(&want);
    json_decref(all);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_codec_and_encoding_gives_the_same),
        cmocka_unit_test(conversations_are_records),
        cmocka_unit_test_setup_teardown(columns_are_named, scratch_make, scratch_remove),
        cmocka_unit_test(bad_files_are_told),
        cmocka_unit_test(packed_integers_are_read),
        cmocka_unit_test(files_of_arrow_are_read),
        cmocka_unit_test(conversations_of_arrow_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
