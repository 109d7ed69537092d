/* tokenizer.json of Unigram models: ids and texts against Hugging Face's own, for each pipeline around the model that
 * public files have, from the file and after a way through GGUF. What is refused is in test_hf_tokenizer.
 *
 * tests/data/tok/hf_unigram.json has the 900 pieces of unigram_bytes.model, four that join spaces, four special tokens
 * and <tool>; and six pipelines by name: "today" is what the converters of transformers 5 make of T5, "first" the same
 * of a model that puts a space before the start of the text only, "words" the older way of T5 and XLM-R, "whole" keeps
 * all spaces, "split" keeps them as pieces of their own, "llama" puts spaces in the normalizer. The table of
 * replacements is that of unigram.model. hf_unigram.jsonl has what encode() and decode() of the Python package
 * tokenizers 0.23.3 give. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tok_lines.h"

static json_t *load_data(const char *name) {
    FILE *f = tok_data_open(name);
    json_t *o = json_loadf(f, 0, NULL);
    fclose(f);
    assert_non_null(o);
    return o;
}

/* The whole file that has this pipeline. */
static struct hf_tokenizer *parse(const json_t *data, const char *name) {
    json_t *root = json_deep_copy(json_object_get(data, "tokenizer"));
    json_t *pipeline = json_deep_copy(json_object_get(json_object_get(data, "pipelines"), name));
    json_object_set(json_object_get(root, "model"), "byte_fallback", json_object_get(pipeline, "byte_fallback"));
    json_object_update(root, pipeline);
    char *text = json_dumps(root, JSON_COMPACT);
    struct err e = { 0 };
    struct hf_tokenizer *t;
    assert_ok(hf_tokenizer_parse((struct span){ (const uint8_t *)text, strlen(text) }, NULL, &t, &e), &e);
    assert_int_equal(t->model, HF_TOK_UNIGRAM);
    free(text);
    json_decref(pipeline);
    json_decref(root);
    return t;
}

/* --- Ids --- */

static void ids_are_hugging_faces(void **state) {
    (void)state;
    json_t *data = load_data("hf_unigram.json");
    const struct tok_line_how how = { .flags = TOK_ADD_SPECIAL | TOK_PARSE_SPECIAL, .skip_special = true };
    FILE *f = tok_data_open("hf_unigram.jsonl");
    struct tok_pair pair = { 0 };
    char opened[16] = "";
    size_t n = 0, wrong = 0;
    for (json_t *line; (line = json_loadf(f, JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, NULL)); n++) {
        const char *name = json_string_value(json_object_get(line, "pipeline"));
        if (strcmp(name, opened)) { /* the lines of one pipeline stand together */
            snprintf(opened, sizeof opened, "%s", name);
            tok_pair_close(&pair);
            tok_pair_open(&pair, parse(data, name));
        }
        for (int k = 0; k < 2; k++) wrong += !tok_line_matches(pair.tok[k], line, how);
        json_decref(line);
    }
    tok_pair_close(&pair);
    fclose(f);
    json_decref(data);
    assert_int_equal(n, 360);
    assert_int_equal(wrong, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_hugging_faces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
