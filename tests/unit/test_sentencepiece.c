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
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include <jansson.h>

#include "base/os.h"
#include "format/sentencepiece.h"
#include "runtime/vocab_file.h"
#include "text/tok.h"

static void check_rc(enum err_code rc, const struct err *e) {
    char line[700];
    if (!rc) return;
    err_format(e, line, sizeof(line));
    fail_msg("%s", line);
}

static char *data_path(const char *name) {
    char *dir = os_path_join(getenv("SNUG_SOURCE"), "tests/data/tok"), *path = os_path_join(dir, name);
    mem_free(dir);
    return path;
}

static struct hf_tokenizer *parse(const char *model, const char *config_json) {
    char name[64], *path, *file;
    size_t n;
    struct err e = { 0 };
    struct hf_tokenizer *t;
    struct hf_config *config;
    snprintf(name, sizeof(name), "%s.model", model);
    path = data_path(name);
    check_rc(os_read_file(path, 1 << 20, &file, &n, &e), &e);
    check_rc(sentencepiece_parse((struct span){ (const uint8_t *)file, n }, &t, &e), &e);
    mem_free(file); /* nothing may be borrowed from it */
    mem_free(path);
    if (config_json) {
        struct span span = { (const uint8_t *)config_json, strlen(config_json) };
        check_rc(hf_config_parse(span, "tokenizer_config.json", &config, &e), &e);
        check_rc(hf_tokenizer_configure(t, config, &e), &e);
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

struct pair { struct vocab vocab[2]; struct tok *tok[2]; }; /* from the file, and written to GGUF and read back */

static void through_gguf(const struct vocab *v, struct vocab *back) {
    struct err e = { 0 };
    struct gguf_writer *w;
    struct gguf *g;
    struct buf header = { 0 };
    check_rc(gguf_writer_new(&w, &e), &e);
    gguf_writer_str(w, "general.architecture", STR("llama"));
    check_rc(vocab_to_gguf(v, w, &e), &e);
    check_rc(gguf_writer_header(w, &header, &e), &e);
    gguf_writer_free(w);
    check_rc(gguf_open((struct span){ (const uint8_t *)header.p, header.n }, &g, &e), &e);
    check_rc(vocab_from_gguf(g, back, &e), &e);
    gguf_close(g);
    buf_fini(&header);
}

/* SentencePiece itself puts one prefix space, at the start. */
static void open_pair(const char *model, struct pair *p) {
    struct err e = { 0 };
    struct hf_tokenizer *t = parse(model, "{\"legacy\": false}");
    check_rc(vocab_from_hf(t, &(struct vocab_hints){ 0, -1, -1, -1 }, &p->vocab[0], &e), &e);
    hf_tokenizer_close(t);
    through_gguf(&p->vocab[0], &p->vocab[1]);
    for (int i = 0; i < 2; i++) check_rc(tok_open(&p->vocab[i], &p->tok[i], &e), &e);
    assert_true(vocab_same(&p->vocab[0], &p->vocab[1], NULL, 0));
}

static void close_pair(struct pair *p) {
    for (int i = 0; i < 2; i++) {
        tok_close(p->tok[i]);
        vocab_fini(&p->vocab[i]);
    }
}

static struct str text_of(const json_t *line, const char *key) {
    const json_t *s = json_object_get(line, key);
    return (struct str){ json_string_value(s), json_string_length(s) };
}

/* Unknown pieces are decoded to a sign by SentencePiece and to their name here, as Hugging Face does. */
static bool same(const struct tok *t, const json_t *line) {
    const json_t *want = json_object_get(line, "ids");
    struct err e = { 0 };
    struct buf text = { 0 };
    int32_t *ids;
    size_t n;
    check_rc(tok_encode(t, text_of(line, "text"), 0, &ids, &n, &e), &e);
    bool right = n == json_array_size(want), unknown = false;
    for (size_t i = 0; right && i < n; i++) {
        right = ids[i] == json_integer_value(json_array_get(want, i));
        unknown = unknown || ids[i] == tok_vocab(t)->unk;
    }
    if (right && !unknown) {
        check_rc(tok_decode(t, ids, n, false, &text, &e), &e);
        right = str_eq((struct str){ text.p, text.n }, text_of(line, "decoded"));
    }
    if (!right) {
        char *shown = json_dumps(line, JSON_COMPACT);
        print_error("%s\n decoded \"%.*s\", ids", shown, (int)text.n, text.p ? text.p : "");
        for (size_t i = 0; i < n; i++) print_error(" %d", ids[i]);
        print_error("\n");
        free(shown);
    }
    buf_fini(&text);
    mem_free(ids);
    return right;
}

static void ids_are_sentencepieces(void **state) {
    (void)state;
    char *path = data_path("sentencepiece.jsonl");
    FILE *f = fopen(path, "r");
    struct pair pairs[N_MODELS];
    size_t n = 0, wrong = 0;
    assert_non_null(f);
    for (int i = 0; i < N_MODELS; i++) open_pair(models[i], &pairs[i]);
    for (json_t *line; (line = json_loadf(f, JSON_DISABLE_EOF_CHECK, NULL)); n++) {
        for (int i = 0; i < N_MODELS; i++) {
            if (!str_eqz(text_of(line, "model"), models[i])) continue;
            for (int k = 0; k < 2; k++) wrong += !same(pairs[i].tok[k], line);
        }
        json_decref(line);
    }
    fclose(f);
    mem_free(path);
    for (int i = 0; i < N_MODELS; i++) close_pair(&pairs[i]);
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
    check_rc(tok_encode(t, (struct str){ text.p, text.n }, 0, &ids, &n, &e), &e);
    check_rc(tok_decode(t, ids, n, false, &back, &e), &e);
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
        struct pair p;
        open_pair(models[i], &p);
        bool loses = strcmp(models[i], "unigram_bytes"); /* extra spaces, or what is unknown */
        for (size_t k = 0; k < ARRAY_LEN(units); k++) check_long(p.tok[0], units[k], loses);
        check_long(p.tok[0], "\xf0\x9f", true);
        close_pair(&p);
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
    check_rc(sentencepiece_parse((struct span){ (const uint8_t *)PIECE, 5 }, &t, &e), &e);
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
    check_rc(os_write_file(path, p, n, &e), &e);
    mem_free(path);
}
static void put_text(const char *dir, const char *name, const char *text) { put_file(dir, name, text, strlen(text)); }

static enum err_code open_dir(const char *dir, struct hf_tokenizer **t, struct err *e) {
    char *path = os_path_join(dir, "tokenizer_config.json");
    struct hf_config *config = NULL;
    if (os_exists(path)) check_rc(hf_config_open(path, &config, e), e);
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
    char dir[] = "/tmp/snug-sp-XXXXXX", *path = data_path("bpe.model"), *model, line[700];
    size_t n;
    struct err e = { 0 };
    struct hf_tokenizer *t;
    struct vocab v;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(hf_tokenizer_open(dir, NULL, &t, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.msg, "tokenizer.model"));
    check_rc(os_read_file(path, 1 << 20, &model, &n, &e), &e);
    put_file(dir, "tokenizer.model", model, n);
    put_text(dir, "added_tokens.json", "{\"<pad>\": 900, \"<a.b>\": 902}");
    check_rc(open_dir(dir, &t, &e), &e);
    assert_true(t->n == 903 && t->n_added == 2 && t->added[1].id == 902 && !t->added[1].special);
    check_rc(vocab_from_hf(t, &(struct vocab_hints){ 0, -1, -1, -1 }, &v, &e), &e);
    assert_true(v.n == 903 && v.kind[900] == TOKEN_USER && v.kind[901] == TOKEN_UNUSED);
    assert_true(str_eqz(v.piece[902], "<a.b>") && v.score[902] == 0 && v.score[899] < 0);
    vocab_fini(&v);
    hf_tokenizer_close(t);

    put_text(dir, "tokenizer_config.json",
             "{\"added_tokens_decoder\": {\"1\": {\"content\": \"<s>\", \"special\": true}, "
             "\"900\": {\"content\": \"<end>\", \"special\": true}}, \"eos_token\": {\"content\": \"<end>\"}}");
    put_text(dir, "chat_template.jinja", "{{ x }}");
    check_rc(open_dir(dir, &t, &e), &e); /* the newer list counts */
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
