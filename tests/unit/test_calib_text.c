/* Calibration sources: text, records, token ids. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "format/calib_source.h"
#include "format_files.h"

static struct span bytes(const char *z) { return (struct span){ (const uint8_t *)z, strlen(z) }; }

static void text_is_one_record(void **state) {
    (void)state;
    struct calib_text *c;
    struct err e;
    assert_int_equal(calib_text_plain(bytes("\xEF\xBB\xBF" "Once\r\nupon"), &c, NULL), ERR_NONE);
    assert_true(c->n_records == 1 && c->records[0].kind == CALIB_TEXT);
    assert_true(str_eqz(c->records[0].text, "Once\r\nupon")); /* without the byte order mark, otherwise as it is */
    calib_text_close(c);
    assert_int_equal(calib_text_plain(bytes(""), &c, &e), ERR_FORMAT);
    assert_null(c);
    assert_int_equal(calib_text_plain(bytes("\xEF\xBB\xBF"), &c, &e), ERR_FORMAT);
    assert_int_equal(calib_text_plain(bytes("PAR1\xFF"), &c, &e), ERR_FORMAT);
    assert_non_null(strstr(e.msg, "UTF-8"));
}

static void records_are_read(void **state) {
    (void)state;
    struct calib_text *c;
    struct span file = read_bytes(corpus("jsonl/records.jsonl"));
    assert_int_equal(calib_text_jsonl(file, NULL, &c, NULL), ERR_NONE);
    mem_free((void *)file.p);
    assert_int_equal(c->n_records, 4);
    const struct calib_record *r = c->records;
    assert_true(r[0].kind == CALIB_TEXT && str_eqz(r[0].text, "Once upon a time, gr\xC3\xB6\xC3\x9F" "er"));
    assert_true(r[1].kind == CALIB_TEXT && str_eqz(r[1].text, "two"));
    for (size_t i = 2; i < 4; i++) {
        static const char *const contents[2][2] = { { "Hi", "Hello" }, { "q", "a" } };
        assert_true(r[i].kind == CALIB_CHAT && r[i].n_messages == 2);
        assert_true(str_eqz(r[i].messages[0].role, "user") && str_eqz(r[i].messages[1].role, "assistant"));
        for (size_t k = 0; k < 2; k++) assert_true(str_eqz(r[i].messages[k].content, contents[i - 2][k]));
    }
    calib_text_close(c);
    assert_int_equal(calib_text_jsonl(bytes("\n {\"text\": \"a\\u0000b\"} \r\n\n{\"text\": \"\"}"), NULL, &c, NULL),
                     ERR_NONE);
    assert_true(c->n_records == 2 && str_eq(c->records[0].text, (struct str){ "a\0b", 3 }) && !c->records[1].text.n);
    calib_text_close(c);
    assert_int_equal(calib_text_json(bytes("[{\"text\": \"a\"}, {\"content\": \"b\"}]"), NULL, &c, NULL), ERR_NONE);
    assert_true(c->n_records == 2 && str_eqz(c->records[1].text, "b"));
    calib_text_close(c);
}

static void bad_records_name_the_line(void **state) {
    (void)state;
    static const struct { const char *text, *message; } cases[] = {
        { "", "empty" },
        { "\n \t\r\n", "empty" },
        { "{\"text\": \"a\"}\n\n{\"text\": 3}", "line 3 is no JSON object with" },
        { "{\"text\": \"a\"}\n[\"text\"]", "line 2 is no JSON object with" },
        { "{\"text\": \"a\"} x", "line 1 is not valid JSON" },
        { "{\"text\": \"\xC0\x80\"}", "line 1 is not valid JSON" },
        { "{\"messages\": []}", "line 1 has a conversation without messages" },
        { "{\"messages\": [{\"content\": \"x\"}]}", "line 1 has a message without a role" },
        { "{\"messages\": [{\"role\": \"user\", \"content\": 3}]}", "line 1 has a message whose content is no text" },
        { "{\"messages\": [{\"role\": 3, \"content\": \"x\"}]}", "line 1 has a message without a role" },
        { "{\"messages\": [3]}", "line 1 has a message without a role" },
    };
    struct calib_text *c;
    struct err e;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        e = (struct err){ 0 };
        enum err_code rc = calib_text_jsonl(bytes(cases[i].text), NULL, &c, &e);
        if (rc != ERR_FORMAT || !strstr(e.msg, cases[i].message)) fail_msg("'%s': %d '%s'", cases[i].text, rc, e.msg);
        assert_null(c);
    }
    struct calib_source *source;
    assert_int_equal(calib_source_open(corpus("jsonl/bad_line.jsonl"), &source, &e), ERR_FORMAT);
    assert_true(strstr(e.where, "bad_line.jsonl") && strstr(e.msg, "line 2"));
    assert_null(source);
    assert_int_equal(calib_source_open(corpus("jsonl/absent.jsonl"), &source, &e), ERR_NOT_FOUND);
}

static void token_ids_are_read(void **state) {
    (void)state;
    static const char *const bad[] = { "", "{}", "[]", "[[]]", "[1, -1]", "[1, 2147483648]", "[1, 1.5]", "[[1], 2]",
                                       "[1, [2]]", "[[\"1\"]]" };
    struct calib_text *c;
    assert_int_equal(calib_text_json(bytes("[[1, 2, 3], [4]]"), NULL, &c, NULL), ERR_NONE);
    assert_true(c->n_records == 2 && c->records[0].kind == CALIB_IDS && c->records[0].n_ids == 3);
    assert_true(c->records[0].ids[2] == 3 && c->records[1].n_ids == 1 && c->records[1].ids[0] == 4);
    calib_text_close(c);
    struct calib_source *source;
    struct calib_record r;
    bool more;
    assert_int_equal(calib_source_open(corpus("jsonl/flat_ids.json"), &source, NULL), ERR_NONE);
    assert_int_equal(calib_source_next(source, &r, &more, NULL), ERR_NONE);
    assert_true(more && r.kind == CALIB_IDS && r.n_ids == 3 && r.ids[0] == 128000);
    assert_int_equal(calib_source_next(source, &r, &more, NULL), ERR_NONE);
    assert_false(more);
    calib_source_close(source);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(calib_text_json(bytes(bad[i]), NULL, &c, NULL), ERR_FORMAT);
        assert_null(c);
    }
}

/* The calibration mix: 100 records, counted as lines. */
static void real_records_are_read(void **state) {
    (void)state;
    struct calib_source *source;
    struct calib_record r;
    bool more = true;
    if (!shared("text/calibration.jsonl")) skip();
    assert_int_equal(calib_source_open(shared("text/calibration.jsonl"), &source, NULL), ERR_NONE);
    size_t n = 0;
    for (; more; n += more) assert_int_equal(calib_source_next(source, &r, &more, NULL), ERR_NONE);
    assert_int_equal(n, 100);
    calib_source_close(source);
    assert_int_equal(calib_source_open(shared("text/calibration.txt"), &source, NULL), ERR_NONE);
    assert_int_equal(calib_source_next(source, &r, &more, NULL), ERR_NONE);
    assert_int_equal(r.text.n, 1614231);
    calib_source_close(source);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_one_record),
        cmocka_unit_test(records_are_read),
        cmocka_unit_test(bad_records_name_the_line),
        cmocka_unit_test(token_ids_are_read),
        cmocka_unit_test(real_records_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
