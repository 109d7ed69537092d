/* tokenizer.json: what the record says of small files, both spellings of merges, and what is refused. The whole of real
 * files is in test_tok_reference; cut and flipped files are in tests/fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/os.h"
#include "format/hf_tokenizer.h"

static struct hf_tokenizer *parse(const char *json, const char *config_json) {
    struct err e = { 0 };
    struct hf_config *config = NULL;
    struct hf_tokenizer *t;
    if (config_json) {
        struct span span = { (const uint8_t *)config_json, strlen(config_json) };
        if (hf_config_parse(span, "tokenizer_config.json", &config, &e)) fail_msg("%s", e.msg);
    }
    if (hf_tokenizer_parse((struct span){ (const uint8_t *)json, strlen(json) }, config, &t, &e)) fail_msg("%s", e.msg);
    hf_config_close(config);
    return t;
}

static struct hf_tokenizer *open_seed(const char *name) {
    struct err e = { 0 };
    struct hf_tokenizer *t;
    char *dir = os_path_join(getenv("SNUG_SOURCE"), "fuzz/corpus/tokenizer_json");
    char *path = os_path_join(dir, name), *text;
    size_t n;
    if (os_read_file(path, 1 << 16, &text, &n, &e)) fail_msg("%s", e.msg);
    if (hf_tokenizer_parse((struct span){ (const uint8_t *)text, n }, NULL, &t, &e)) fail_msg("%s", e.msg);
    mem_free(text);
    mem_free(path);
    mem_free(dir);
    return t;
}

#define BYTES "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false}"
#define MODEL(more) "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2}" more "}"
#define GOOD "{" BYTES "," MODEL(",\"merges\":[\"a b\"]") "}"

static void byte_level(void **state) {
    (void)state;
    struct hf_tokenizer *t = open_seed("llama3.json");
    assert_int_equal(t->model, HF_TOK_BYTE_LEVEL);
    assert_int_equal(t->n, 11);
    assert_true(str_eqz(t->piece[6], "\xc4\xa0" "a"));
    assert_null(t->piece[9].p); /* an added token alone */
    assert_int_equal(t->n_added, 2);
    assert_true(str_eqz(t->added[0].text, "<s>") && t->added[0].special && t->added[0].id == 9);
    assert_true(str_eqz(t->added[1].text, "<tool>") && !t->added[1].special);
    assert_int_equal(t->n_merges, 3);
    assert_true(str_eqz(t->merge[2].left, "ab") && str_eqz(t->merge[2].right, "c"));
    assert_int_equal(t->n_splits, 1); /* ByteLevel does not split here */
    assert_true(str_starts(t->split[0], "(?i:'s|'t|"));
    assert_true(t->ignore_merges && !t->nfc && !t->byte_fallback);
    assert_true(t->add_bos && !t->add_eos && t->bos == 9 && t->eos == -1 && t->unk == -1);
    hf_tokenizer_close(t);

    t = open_seed("smollm.json");
    assert_int_equal(t->n_splits, 2);
    assert_true(str_eqz(t->split[0], "\\p{N}"));
    assert_true(str_starts(t->split[1], "'s|'t|'re|"));
    assert_true(str_eqz(t->merge[1].left, "\xc4\xa0") && str_eqz(t->merge[1].right, "he"));
    assert_true(t->unk == 0 && !t->add_bos && !t->ignore_merges);
    hf_tokenizer_close(t);

    t = open_seed("qwen2.json");
    assert_true(t->nfc);
    hf_tokenizer_close(t);
}

static void sentencepiece(void **state) {
    (void)state;
    struct hf_tokenizer *t = open_seed("llama2.json");
    assert_int_equal(t->model, HF_TOK_SENTENCEPIECE);
    assert_true(t->byte_fallback && t->unk == 0 && t->bos == 1 && t->add_bos);
    assert_int_equal(t->prefix, HF_TOK_PREFIX_EACH);
    assert_false(t->prefix_once);
    hf_tokenizer_close(t);
    t = open_seed("metaspace.json");
    assert_int_equal(t->prefix, HF_TOK_PREFIX_FIRST);
    assert_true(t->prefix_once);
    hf_tokenizer_close(t);
    t = open_seed("gemma.json");
    assert_int_equal(t->model, HF_TOK_SENTENCEPIECE);
    assert_int_equal(t->prefix, HF_TOK_PREFIX_NONE);
    hf_tokenizer_close(t);
}

static void unigram(void **state) {
    (void)state;
    struct hf_tokenizer *t = open_seed("unigram.json");
    assert_int_equal(t->model, HF_TOK_UNIGRAM);
    assert_true(t->n == 12 && t->n_added == 4 && !t->n_merges && t->byte_fallback && t->unk == 0 && !t->type);
    assert_true(str_eqz(t->piece[9], "\xe2\x96\x81" "a") && t->score[9] == -4.5f && !t->piece[11].p);
    assert_true(t->prefix == HF_TOK_PREFIX_EACH && t->prefix_once && t->split_words && t->join_spaces && t->trim_end);
    assert_true(!t->trim_start && !t->white_parts && !t->remove_extra_spaces && !t->add_bos && t->add_eos);
    assert_int_equal(t->charsmap.n, 4 + 4 * 512 + 2);
    assert_memory_equal(t->charsmap.p + 4 + 4 * 512, "a", 2);
    hf_tokenizer_close(t);
    t = open_seed("unigram_words.json");
    assert_true(t->white_parts && t->split_words && !t->join_spaces && !t->trim_end && !t->charsmap.n);
    hf_tokenizer_close(t);
}

static void merges_in_both_spellings(void **state) {
    (void)state;
    struct hf_tokenizer *a = parse(GOOD, NULL);
    struct hf_tokenizer *b = parse("{" BYTES "," MODEL(",\"merges\":[[\"a\",\"b\"]]") "}", NULL);
    assert_true(a->n_merges == 1 && b->n_merges == 1);
    assert_true(str_eqz(a->merge[0].left, "a") && str_eqz(a->merge[0].right, "b"));
    assert_true(str_eqz(b->merge[0].left, "a") && str_eqz(b->merge[0].right, "b"));
    hf_tokenizer_close(a);
    hf_tokenizer_close(b);
}

static void config_completes(void **state) {
    (void)state;
    struct hf_tokenizer *t = parse(GOOD, "{\"bos_token\":\"a\",\"eos_token\":{\"content\":\"ab\",\"special\":true},"
                                         "\"unk_token\":null,\"pad_token\":\"nowhere\",\"add_bos_token\":true,"
                                         "\"model_max_length\":1000000000000000019884624838656,"
                                         "\"chat_template\":[{\"name\":\"tool_use\",\"template\":\"T\"},"
                                         "{\"name\":\"default\",\"template\":\"D\"}]}");
    assert_int_equal(t->bos, 0);
    assert_int_equal(t->eos, 2);
    assert_int_equal(t->unk, -1);
    assert_int_equal(t->pad, -1);
    assert_true(t->add_bos && !t->add_eos);
    assert_true(str_eqz(t->chat_template, "D"));
    hf_tokenizer_close(t);
    t = parse(GOOD, "{\"chat_template\":\"{{ x }}\"}");
    assert_true(str_eqz(t->chat_template, "{{ x }}") && !t->add_bos && t->bos == -1);
    hf_tokenizer_close(t);
}

struct refusal { const char *json; enum err_code code; const char *word; };

#define AFTER ",\"merges\":[]"
#define PIECES "\"model\":{\"type\":\"Unigram\",\"unk_id\":null,\"vocab\":[[\"a\",-1.5]]}"
#define META "\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\"}"
#define JOIN(to) "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\" {2,}\"},\"content\":\"" to "\"}"
static const struct refusal refusals[] = {
    { "", ERR_FORMAT, "JSON" },
    { "[]", ERR_FORMAT, "model" },
    { "{\"model\":{}}", ERR_FORMAT, "vocab" },
    { "{\"model\":{\"type\":\"Unigram\",\"vocab\":[]}}", ERR_FORMAT, "no list" },
    { "{\"model\":{\"type\":\"Unigram\",\"vocab\":{\"a\":0}}}", ERR_FORMAT, "no list" },
    { "{\"model\":{\"vocab\":[[\"a\"]]}}", ERR_FORMAT, "entry 0" },
    { "{\"model\":{\"vocab\":[[\"a\",-1],[\"b\",\"-1\"]]}}", ERR_FORMAT, "entry 1" },
    { "{\"model\":{\"vocab\":[[\"a\",1e39]]}}", ERR_FORMAT, "entry 0" },
    { "{\"model\":{\"vocab\":[[7,0]]}}", ERR_FORMAT, "entry 0" },
    { "{\"model\":{\"unk_id\":1,\"vocab\":[[\"a\",0]]}}", ERR_FORMAT, "unk_id" },
    { "{\"added_tokens\":[{\"id\":9999,\"content\":\"x\"}]," PIECES "}", ERR_FORMAT, "9999" },
    { "{" PIECES "}", ERR_UNSUPPORTED, "neither" },
    { "{" BYTES "," PIECES "}", ERR_UNSUPPORTED, "Unigram" },
    { "{" META ",\"normalizer\":{\"type\":\"NFKC\"}," PIECES "}", ERR_UNSUPPORTED, "NFKC" },
    { "{" META ",\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"A\"}," PIECES "}", ERR_FORMAT,
      "base64" },
    { "{" META ",\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[" JOIN(" ") ",{\"type\":\"Strip\"}]},"
      PIECES "}", ERR_UNSUPPORTED, "Strip" }, /* all files have it the other way round */
    { "{\"normalizer\":" JOIN("\u2581") ",\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":["
      "{\"type\":\"WhitespaceSplit\"},{\"type\":\"Metaspace\",\"replacement\":\"\u2581\"}]}," PIECES "}",
      ERR_UNSUPPORTED, "WhitespaceSplit" },
    { "{\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"WhitespaceSplit\"},"
      "{\"type\":\"Metaspace\",\"replacement\":\"\u2581\",\"prepend_scheme\":\"first\"}]}," PIECES "}",
      ERR_UNSUPPORTED, "Metaspace" },
    { "{\"normalizer\":{\"type\":\"Strip\"}," BYTES "," MODEL(AFTER) "}", ERR_UNSUPPORTED, "byte-level" },
    { "{\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"a\":0}}}", ERR_UNSUPPORTED, "WordPiece" },
    { "{" BYTES "," MODEL("") "}", ERR_FORMAT, "merges" },
    { "{" BYTES "," MODEL(",\"merges\":[\"ab\"]") "}", ERR_FORMAT, "pair" },
    { "{" BYTES "," MODEL(",\"merges\":[[\"a\"]]") "}", ERR_FORMAT, "pair" },
    { "{" BYTES "," MODEL(",\"merges\":[[\"a\",\"b\",\"c\"]]") "}", ERR_FORMAT, "pair" },
    { "{" BYTES "," MODEL(",\"merges\":[7]") "}", ERR_FORMAT, "pair" },
    { "{" BYTES ",\"model\":{\"vocab\":{\"a\":-1},\"merges\":[]}}", ERR_FORMAT, "id of a" },
    { "{" BYTES ",\"model\":{\"vocab\":{\"a\":\"0\"},\"merges\":[]}}", ERR_FORMAT, "id of a" },
    { "{" BYTES ",\"model\":{\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}}", ERR_FORMAT, "same id" },
    { "{" BYTES ",\"model\":{\"vocab\":{\"a\":0,\"a\":1},\"merges\":[]}}", ERR_FORMAT, "duplicate" },
    { "{" BYTES ",\"model\":{\"vocab\":{\"a\":9999999},\"merges\":[]}}", ERR_FORMAT, "9999999" },
    { "{" BYTES "," MODEL(AFTER ",\"dropout\":0.1") "}", ERR_UNSUPPORTED, "dropout" },
    { "{" BYTES "," MODEL(AFTER ",\"end_of_word_suffix\":\"</w>\"") "}", ERR_UNSUPPORTED, "words" },
    { "{" MODEL(AFTER) "}", ERR_UNSUPPORTED, "neither" },
    { "{\"normalizer\":{\"type\":\"Lowercase\"}," BYTES "," MODEL(AFTER) "}", ERR_UNSUPPORTED, "Lowercase" },
    { "{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true}," MODEL(AFTER) "}", ERR_UNSUPPORTED,
      "ByteLevel" },
    { "{\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"_\"}," MODEL(AFTER) "}", ERR_UNSUPPORTED,
      "Metaspace" },
    { "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\"},\"behavior\":\"MergedWithNext\"},"
      MODEL(AFTER) "}", ERR_UNSUPPORTED, "Split" },
    { "{\"post_processor\":{\"type\":\"BertProcessing\"}," BYTES "," MODEL(AFTER) "}", ERR_UNSUPPORTED,
      "BertProcessing" },
    { "{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"x\"}}]}," BYTES ","
      MODEL(AFTER) "}", ERR_UNSUPPORTED, "TemplateProcessing" },
    { "{\"added_tokens\":[{\"id\":1}]," BYTES "," MODEL(AFTER) "}", ERR_FORMAT, "content" },
    { "{\"added_tokens\":7," BYTES "," MODEL(AFTER) "}", ERR_FORMAT, "added_tokens" },
};

static void wrong_files_are_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
        const struct refusal *r = &refusals[i];
        struct hf_tokenizer *t;
        struct err e = { 0 };
        struct span span = { (const uint8_t *)r->json, strlen(r->json) };
        enum err_code code = hf_tokenizer_parse(span, NULL, &t, &e);
        if (code != r->code || t || !strstr(e.msg, r->word)) fail_msg("%s: code %d, %s", r->json, code, e.msg);
    }
}

static void missing_file(void **state) {
    (void)state;
    struct hf_tokenizer *t;
    struct err e = { 0 };
    assert_int_equal(hf_tokenizer_open("/nonexistent", NULL, &t, &e), ERR_NOT_FOUND);
    assert_null(t);
    hf_tokenizer_close(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(byte_level),
        cmocka_unit_test(sentencepiece),
        cmocka_unit_test(unigram),
        cmocka_unit_test(merges_in_both_spellings),
        cmocka_unit_test(config_completes),
        cmocka_unit_test(wrong_files_are_refused),
        cmocka_unit_test(missing_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
