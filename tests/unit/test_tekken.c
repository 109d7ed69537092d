/* Mistral's tekken.json: ids against Mistral's own reader, special tokens with and without a list, and what is refused.
 *
 * tests/data/tok/tekken.json is the first 422 pieces of tekken_240718.json of the Python package mistral-common 1.13.1
 * without their readable texts, with sizes of 420 pieces and 24 special tokens; tekken.jsonl has what that package's
 * Tekkenizer gives for it, begin token included. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/tekken.h"
#include "tok_lines.h"

static struct hf_tokenizer *parse_data(void) {
    char *path = tok_data_path("tekken.json"), *text;
    size_t n;
    struct err e = { 0 };
    struct hf_tokenizer *t;
    assert_ok(os_read_file(path, 1 << 20, &text, &n, &e), &e);
    assert_ok(tekken_parse((struct span){ (const uint8_t *)text, n }, &t, &e), &e);
    mem_free(text);
    mem_free(path);
    return t;
}

static void record(void **state) {
    (void)state;
    struct hf_tokenizer *t = parse_data();
    assert_true(t->model == HF_TOK_BYTE_LEVEL && t->n == 444 && t->n_added == 24 && t->by_rank && t->ignore_merges);
    assert_true(t->unk == 0 && t->bos == 1 && t->eos == 2 && t->pad == 11 && t->add_bos);
    assert_true(str_eqz(t->added[3].text, "[INST]") && t->added[3].special);
    assert_true(str_eqz(t->added[23].text, "<SPECIAL_23>"));
    assert_true(t->piece[24].n == 1 && t->piece[24].p[0] == 0 && (uint8_t)t->piece[24 + 255].p[0] == 255);
    assert_null(t->piece[0].p);
    hf_tokenizer_close(t);
}

static void ids_are_mistrals(void **state) {
    (void)state;
    struct tok_pair pair;
    FILE *f = tok_data_open("tekken.jsonl");
    size_t n_lines = 0, wrong = 0;
    tok_pair_open(&pair, parse_data());
    assert_string_equal(pair.vocab[0].pre, "tekken");
    for (json_t *line; (line = json_loadf(f, JSON_DISABLE_EOF_CHECK, NULL)); n_lines++) {
        for (int k = 0; k < 2; k++)
            wrong += !tok_line_matches(pair.tok[k], line, (struct tok_line_how){ .flags = TOK_ADD_SPECIAL });
        json_decref(line);
    }
    fclose(f);
    tok_pair_close(&pair);
    assert_int_equal(n_lines, 73);
    assert_int_equal(wrong, 0);
}

/* Three pieces "a", "b", "ab" and sizes. */
#define CONFIG(n, special) \
    "\"config\":{\"pattern\":\"x+\",\"default_vocab_size\":" n ",\"default_num_special_tokens\":" special "}"
#define PIECE(rank, base64) "{\"rank\":" rank ",\"token_bytes\":\"" base64 "\"}"
#define VOCAB "\"vocab\":[" PIECE("1", "Yg==") "," PIECE("0", "YQ==") "," PIECE("2", "YWI=") "]"

static void specials_of_a_list(void **state) {
    (void)state;
    static const char json[] = "{" CONFIG("6", "3") "," VOCAB ",\"special_tokens\":["
        "{\"rank\":2,\"token_str\":\"<s>\",\"is_control\":true},"
        "{\"rank\":0,\"token_str\":\"<t>\",\"is_control\":false}]}";
    struct err e = { 0 };
    struct hf_tokenizer *t;
    struct vocab v;
    assert_ok(tekken_parse((struct span){ (const uint8_t *)json, sizeof(json) - 1 }, &t, &e), &e);
    assert_true(t->n == 6 && t->bos == 2 && t->eos == -1 && !t->added[0].special);
    assert_true(str_eqz(t->added[1].text, "<SPECIAL_1>") && str_eqz(t->piece[5], "ab"));
    assert_ok(vocab_from_hf(t, &(struct vocab_hints){ 0, -1, -1, -1 }, &v, &e), &e);
    assert_true(v.n_merges == 1 && str_eqz(v.merge[0], "a b") && v.kind[0] == TOKEN_USER && v.kind[1] == TOKEN_CONTROL);
    vocab_fini(&v);
    hf_tokenizer_close(t);
}

/* Two ways to make "aaa": the one whose left part has the lower rank comes first. */
static void merges_of_ranks(void **state) {
    (void)state;
    static const char json[] = "{" CONFIG("4", "1") ",\"vocab\":[" PIECE("0", "YQ==") "," PIECE("1", "YWE=") ","
                               PIECE("2", "YWFh") "]}";
    static const char *const want[] = { "a a", "a aa", "aa a" };
    struct err e = { 0 };
    struct hf_tokenizer *t;
    struct vocab v;
    assert_ok(tekken_parse((struct span){ (const uint8_t *)json, sizeof(json) - 1 }, &t, &e), &e);
    assert_ok(vocab_from_hf(t, &(struct vocab_hints){ 0, -1, -1, -1 }, &v, &e), &e);
    assert_int_equal(v.n_merges, ARRAY_LEN(want));
    for (size_t i = 0; i < ARRAY_LEN(want); i++) assert_true(str_eqz(v.merge[i], want[i]));
    vocab_fini(&v);
    hf_tokenizer_close(t);
}

static void check_refused(const char *json, const char *word) {
    struct err e = { 0 };
    struct hf_tokenizer *t;
    assert_int_equal(tekken_parse((struct span){ (const uint8_t *)json, strlen(json) }, &t, &e), ERR_FORMAT);
    assert_null(t);
    if (!strstr(e.msg, word)) fail_msg("%s", e.msg);
}

static void refused(void **state) {
    (void)state;
    check_refused("", "JSON");
    check_refused("{}", "pattern");
    check_refused("{" CONFIG("0", "0") "," VOCAB "}", "default_vocab_size");
    check_refused("{" CONFIG("99999999", "1") "," VOCAB "}", "default_vocab_size");
    check_refused("{" CONFIG("3", "3") "," VOCAB "}", "special");
    check_refused("{" CONFIG("70001", "70000") "," VOCAB "}", "default_num_special_tokens");
    check_refused("{" CONFIG("5", "1") "," VOCAB "}", "4 are promised");
    check_refused("{" CONFIG("4", "1") "}", "vocab");
    check_refused("{" CONFIG("3", "1") ",\"vocab\":[" PIECE("0", "YQ==") "," PIECE("0", "Yg==") "]}", "the rank 0");
    check_refused("{" CONFIG("3", "1") ",\"vocab\":[" PIECE("0", "YQ==") "," PIECE("7", "Yg==") "]}", "no piece");
    check_refused("{" CONFIG("2", "1") ",\"vocab\":[" PIECE("0", "Y=Q=") "]}", "base64");
    check_refused("{" CONFIG("2", "1") ",\"vocab\":[" PIECE("0", "YQ=") "]}", "base64");
    check_refused("{" CONFIG("2", "1") ",\"vocab\":[" PIECE("-1", "YQ==") "]}", "rank");
    check_refused("{" CONFIG("5", "2") "," VOCAB ",\"special_tokens\":[{\"rank\":2,\"token_str\":\"x\"}]}", "rank");
    check_refused("{" CONFIG("5", "2") "," VOCAB ",\"special_tokens\":[{\"rank\":0}]}", "without text");
    check_refused("{" CONFIG("5", "2") "," VOCAB ",\"special_tokens\":{}}", "no list");
    check_refused("{" CONFIG("5", "2") "," VOCAB ",\"special_tokens\":[{\"rank\":1,\"token_str\":\"x\"},"
                  "{\"rank\":1,\"token_str\":\"y\"}]}", "the rank 1");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(record),
        cmocka_unit_test(ids_are_mistrals),
        cmocka_unit_test(specials_of_a_list),
        cmocka_unit_test(merges_of_ranks),
        cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
