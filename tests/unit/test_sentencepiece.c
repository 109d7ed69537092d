/* SentencePiece's model files: ids and texts against SentencePiece itself, the record of a file, what a directory adds
 * to it, and what is refused.
 *
 * tests/data/tok/NAME.model were trained with the Python package sentencepiece 0.2.3 on 3000 lines of generated text in
 * many languages, character_coverage 0.98, through a stream so that no path is in them:
 *   unigram        700 pieces, a normalization_rule_tsv of 12 rules, user_defined_symbols <tool> and <x>, pad_id 3
 *   unigram_bytes  900 pieces, identity, byte_fallback, no dummy prefix, extra spaces stay
 *   bpe            900 pieces, the same 12 rules, byte_fallback
 *   bpe_plain      600 pieces, identity, extra spaces stay, pieces across spaces (split_by_whitespace false)
 * and sentencepiece.jsonl has what encode() and decode() of the same package give. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "format/sentencepiece.h"
#include "tok_lines.h"

static struct hf_tokenizer *parse(const char *model, const char *config_json) {
    char name[64], *path, *file;
    size_t n;
    struct err e = { 0 };
    struct hf_tokenizer *t;
    struct hf_config *config;
    snprintf(name, sizeof(name), "%s.model", model);
    path = tok_data_path(name);
    assert_ok(os_read_file(path, 1 << 20, &file, &n, &e), &e);
    assert_ok(sentencepiece_parse((struct span){ (const uint8_t *)file, n }, &t, &e), &e);
    mem_free(file); /* nothing may be borrowed from it */
    mem_free(path);
    if (config_json) {
        struct span span = { (const uint8_t *)config_json, strlen(config_json) };
        assert_ok(hf_config_parse(span, "tokenizer_config.json", &config, &e), &e);
        assert_ok(hf_tokenizer_configure(t, config, &e), &e);
        hf_config_close(config);
    }
    return t;
}

/* --- Records --- */

static void records(void **state) {
    (void)state;
    struct hf_tokenizer *t = parse("unigram", NULL);
    assert_true(t->model == HF_TOK_UNIGRAM && t->n == 700 && !t->byte_fallback);
    assert_true(t->prefix == HF_TOK_PREFIX_EACH && t->remove_extra_spaces && t->charsmap.n == 1063);
    assert_true(t->unk == 0 && t->bos == 1 && t->eos == 2 && t->pad == 3 && !t->add_bos && !t->add_eos);
    assert_true(str_eqz(t->piece[4], "<tool>") && t->type[4] == 4 && t->type[1] == 3 && t->type[0] == 2);
    assert_true(t->type[6] == 1 && t->score[6] < 0 && t->score[0] == 0);
    hf_tokenizer_close(t);

    t = parse("unigram_bytes", "{\"add_eos_token\": true, \"bos_token\": \"</s>\"}");
    assert_true(t->byte_fallback && t->prefix == HF_TOK_PREFIX_NONE && !t->remove_extra_spaces && !t->charsmap.n);
    assert_true(str_eqz(t->piece[3], "<0x00>") && t->type[3] == 6 && t->pad == -1);
    assert_true(t->add_eos && t->bos == 2);
    hf_tokenizer_close(t);

    t = parse("bpe", NULL);
    assert_true(t->model == HF_TOK_SENTENCEPIECE && t->add_bos && t->prefix == HF_TOK_PREFIX_EACH);
    hf_tokenizer_close(t);
    t = parse("bpe", "{\"legacy\": false, \"add_bos_token\": false}");
    assert_true(t->prefix == HF_TOK_PREFIX_FIRST && !t->add_bos);
    hf_tokenizer_close(t);
    t = parse("bpe", "{\"add_prefix_space\": false}");
    assert_int_equal(t->prefix, HF_TOK_PREFIX_NONE);
    hf_tokenizer_close(t);
}

/* --- Ids --- */

enum { N_MODELS = 4 };
static const char *const models[N_MODELS] = { "unigram", "unigram_bytes", "bpe", "bpe_plain" };

/* SentencePiece itself puts one prefix space, at the start. */
static void open_pair(const char *model, struct tok_pair *p) { tok_pair_open(p, parse(model, "{\"legacy\": false}")); }

static void ids_are_sentencepieces(void **state) {
    (void)state;
    const struct tok_line_how how = { .sign_for_unknown = true };
    FILE *f = tok_data_open("sentencepiece.jsonl");
    struct tok_pair pairs[N_MODELS];
    size_t n = 0, wrong = 0;
    for (int i = 0; i < N_MODELS; i++) open_pair(models[i], &pairs[i]);
    for (json_t *line; (line = json_loadf(f, JSON_DISABLE_EOF_CHECK, NULL)); n++) {
        for (int i = 0; i < N_MODELS; i++) {
            if (!str_eqz(tok_line_text(line, "model"), models[i])) continue;
            for (int k = 0; k < 2; k++) wrong += !tok_line_matches(pairs[i].tok[k], line, how);
        }
        json_decref(line);
    }
    fclose(f);
    for (int i = 0; i < N_MODELS; i++) tok_pair_close(&pairs[i]);
    assert_int_equal(n, 296);
    assert_int_equal(wrong, 0);
}

/* --- Long words --- */

/* A megabyte of one thing has no words to cut at. The ids must decode to the text again; a method whose time grows with
 * the square of the length would take hours. */
static void check_long(const struct tok *t, const char *unit, bool loses) {
    struct err e = { 0 };
    struct buf text = { 0 }, back = { 0 };
    int32_t *ids;
    size_t n;
    while (text.n < 1000000) buf_addz(&text, unit);
    assert_ok(tok_encode(t, (struct str){ text.p, text.n }, 0, &ids, &n, &e), &e);
    assert_ok(tok_decode(t, ids, n, false, &back, &e), &e);
    if (!loses) {
        assert_int_equal(back.n, text.n);
        assert_memory_equal(back.p, text.p, text.n);
    }
    mem_free(ids);
    buf_fini(&text);
    buf_fini(&back);
}

static void long_words_end(void **state) {
    (void)state;
    static const char *const units[] = { "a", " ", "\U0001f999", "ab", "\u4e2d", "e ", "\u0301" };
    for (int i = 0; i < N_MODELS; i++) {
        struct tok_pair p;
        open_pair(models[i], &p);
        bool loses = strcmp(models[i], "unigram_bytes"); /* extra spaces, or what is unknown */
        for (size_t k = 0; k < ARRAY_LEN(units); k++) check_long(p.tok[0], units[k], loses);
        check_long(p.tok[0], "\xf0\x9f", true);
        tok_pair_close(&p);
    }
}

/* --- What is refused --- */

/* A model of one piece "a" (field 1) and what a case adds; field numbers and encodings as in docs/formats. */
#define PIECE "\x0a\x03\x0a\x01" "a"
static void check_refused(const char *bytes, size_t n, enum err_code want, const char *word) {
    struct err e = { 0 };
    struct hf_tokenizer *t;
    assert_int_equal(sentencepiece_parse((struct span){ (const uint8_t *)bytes, n }, &t, &e), want);
    assert_null(t);
    if (!strstr(e.msg, word)) fail_msg("%s", e.msg);
}
#define REFUSED(bytes, code, word) check_refused(bytes, sizeof(bytes) - 1, code, word)

static void refused(void **state) {
    (void)state;
    struct err e = { 0 };
    struct hf_tokenizer *t;
    assert_ok(sentencepiece_parse((struct span){ (const uint8_t *)PIECE, 5 }, &t, &e), &e);
    assert_true(t->n == 1 && t->model == HF_TOK_UNIGRAM && t->remove_extra_spaces && t->unk == -1 && t->bos == -1);
    hf_tokenizer_close(t);
    REFUSED("", ERR_FORMAT, "no pieces");
    REFUSED(PIECE "\x12\x02\x18\x03", ERR_UNSUPPORTED, "type 3"); /* trainer: model_type = word */
    REFUSED(PIECE "\x12\x03\xc0\x01\x01", ERR_UNSUPPORTED, "ends of words"); /* treat_whitespace_as_suffix */
    REFUSED(PIECE "\x1a\x02\x28\x00", ERR_UNSUPPORTED, "U+2581"); /* normalizer: escape_whitespaces = false */
    REFUSED("\x0a\x0a\x0a\x06<0x00>\x18\x06", ERR_FORMAT, "byte fallback");
    REFUSED("\x0a\x05\x0a\x01" "a\x18\x07", ERR_FORMAT, "type 7");
    REFUSED("\x0a\x05\x0a\x09" "a\x18\x01", ERR_FORMAT, "more than are left");
    REFUSED("\x0a\x02\x08\x01", ERR_FORMAT, "encoding 0 where 2");
    REFUSED("\x0b", ERR_FORMAT, "encoding 3");
    REFUSED("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", ERR_FORMAT, "does not end");
    REFUSED("IQ== 0\nIg== 1\n", ERR_FORMAT, "SentencePiece"); /* a list of ranks that has the same name elsewhere */
}

/* --- Directories --- */

static void put_file(const char *dir, const char *name, const void *p, size_t n) {
    struct err e = { 0 };
    char *path = os_path_join(dir, name);
    assert_ok(os_write_file(path, p, n, &e), &e);
    mem_free(path);
}
static void put_text(const char *dir, const char *name, const char *text) { put_file(dir, name, text, strlen(text)); }

static enum err_code open_dir(const char *dir, struct hf_tokenizer **t, struct err *e) {
    char *path = os_path_join(dir, "tokenizer_config.json");
    struct hf_config *config = NULL;
    if (os_exists(path)) assert_ok(hf_config_open(path, &config, e), e);
    enum err_code rc = hf_tokenizer_open(dir, config, t, e);
    hf_config_close(config);
    mem_free(path);
    return rc;
}

static void drop(const char *dir, const char *name) {
    char *path = os_path_join(dir, name);
    unlink(path);
    mem_free(path);
}

static void directories(void **state) {
    (void)state;
    char dir[] = "/tmp/snug-sp-XXXXXX", *path = tok_data_path("bpe.model"), *model, line[700];
    size_t n;
    struct err e = { 0 };
    struct hf_tokenizer *t;
    struct vocab v;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(hf_tokenizer_open(dir, NULL, &t, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.msg, "tokenizer.model"));
    assert_ok(os_read_file(path, 1 << 20, &model, &n, &e), &e);
    put_file(dir, "tokenizer.model", model, n);
    put_text(dir, "added_tokens.json", "{\"<pad>\": 900, \"<a.b>\": 902}");
    assert_ok(open_dir(dir, &t, &e), &e);
    assert_true(t->n == 903 && t->n_added == 2 && t->added[1].id == 902 && !t->added[1].special);
    assert_ok(vocab_from_hf(t, &(struct vocab_hints){ 0, -1, -1, -1 }, &v, &e), &e);
    assert_true(v.n == 903 && v.kind[900] == TOKEN_USER && v.kind[901] == TOKEN_UNUSED);
    assert_true(str_eqz(v.piece[902], "<a.b>") && v.score[902] == 0 && v.score[899] < 0);
    vocab_fini(&v);
    hf_tokenizer_close(t);

    put_text(dir, "tokenizer_config.json",
             "{\"added_tokens_decoder\": {\"1\": {\"content\": \"<s>\", \"special\": true}, "
             "\"900\": {\"content\": \"<end>\", \"special\": true}}, \"eos_token\": {\"content\": \"<end>\"}}");
    put_text(dir, "chat_template.jinja", "{{ x }}");
    assert_ok(open_dir(dir, &t, &e), &e); /* the newer list counts */
    assert_true(t->n == 901 && t->n_added == 2 && t->eos == 900 && t->bos == 1 && t->added[1].special);
    assert_true(str_eqz(t->chat_template, "{{ x }}"));
    hf_tokenizer_close(t);

    /* An error has one place, the file that it is in. */
    static const char *const wrong[] = {
        "{\"add_bos_token\": 3}", "{\"added_tokens_decoder\": {\"x\": {\"content\": \"a\"}}}",
        "{\"added_tokens_decoder\": {\"99999999\": {\"content\": \"a\"}}}", "{\"added_tokens_decoder\": {\"900\": {}}}",
    };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        put_text(dir, "tokenizer_config.json", wrong[i]);
        assert_int_equal(open_dir(dir, &t, &e), ERR_FORMAT);
        err_format(&e, line, sizeof(line));
        const char *place = strstr(line, "tokenizer_config.json");
        assert_non_null(place);
        assert_null(strstr(place + 1, "tokenizer"));
        assert_true(str_starts(str_of(line), dir));
    }
    drop(dir, "tokenizer_config.json");
    put_text(dir, "added_tokens.json", "{\"<pad>\": -1}");
    assert_int_equal(open_dir(dir, &t, &e), ERR_FORMAT);
    assert_non_null(strstr(e.where, "added_tokens.json"));
    drop(dir, "added_tokens.json");
    put_file(dir, "tokenizer.model", model, n / 2);
    assert_int_equal(open_dir(dir, &t, &e), ERR_FORMAT);
    assert_true(strstr(e.where, "tokenizer.model") && e.has_off);
    drop(dir, "tokenizer.model");
    drop(dir, "chat_template.jinja");
    assert_int_equal(rmdir(dir), 0);
    mem_free(model);
    mem_free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records),
        cmocka_unit_test(ids_are_sentencepieces),
        cmocka_unit_test(long_words_end),
        cmocka_unit_test(refused),
        cmocka_unit_test(directories),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
