/* tokenizer.json of Unigram models: ids and texts against Hugging Face's own, for each pipeline around the model that
 * public files have, from the file and after a way through GGUF. What is refused is in test_hf_tokenizer.
 *
 * tests/data/tok/hf_unigram.json has the 900 pieces of unigram_bytes.model, four that join spaces, four special tokens
 * and <tool>; and six pipelines by name: "today" is what the converters of transformers 5 make of T5, "first" the same
 * of a model that puts a space before the start of the text only, "words" the older way of T5 and XLM-R, "whole" keeps
 * all spaces, "split" keeps them as pieces of their own, "llama" puts spaces in the normalizer. The table of
 * replacements is that of unigram.model. hf_unigram.jsonl has what encode() and decode() of the Python package
 * tokenizers 0.23.3 give. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>

#include "base/os.h"
#include "format/hf_tokenizer.h"
#include "runtime/vocab_file.h"
#include "text/tok.h"

static void check_rc(enum err_code rc, const struct err *e) {
    char line[700];
    if (!rc) return;
    err_format(e, line, sizeof(line));
    fail_msg("%s", line);
}

static FILE *open_data(const char *name) {
    char *dir = os_path_join(getenv("SNUG_SOURCE"), "tests/data/tok"), *path = os_path_join(dir, name);
    FILE *f = fopen(path, "r");
    mem_free(dir);
    mem_free(path);
    assert_non_null(f);
    return f;
}

static json_t *load_data(const char *name) {
    FILE *f = open_data(name);
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
    check_rc(hf_tokenizer_parse((struct span){ (const uint8_t *)text, strlen(text) }, NULL, &t, &e), &e);
    free(text);
    json_decref(pipeline);
    json_decref(root);
    return t;
}

/* --- Ids --- */

enum { N_WAYS = 2 }; /* from the file, and written to GGUF and read back */
struct ways { char name[16]; struct vocab vocab[N_WAYS]; struct tok *tok[N_WAYS]; };

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

static void close_ways(struct ways *w) {
    for (int i = 0; i < N_WAYS; i++) {
        tok_close(w->tok[i]);
        vocab_fini(&w->vocab[i]);
    }
    *w = (struct ways){ 0 };
}

static void open_ways(const json_t *data, const char *name, struct ways *w) {
    struct err e = { 0 };
    struct hf_tokenizer *t = parse(data, name);
    snprintf(w->name, sizeof(w->name), "%s", name);
    assert_int_equal(t->model, HF_TOK_UNIGRAM);
    check_rc(vocab_from_hf(t, &(struct vocab_hints){ 0, -1, -1, -1 }, &w->vocab[0], &e), &e);
    hf_tokenizer_close(t);
    through_gguf(&w->vocab[0], &w->vocab[1]);
    for (int i = 0; i < N_WAYS; i++) check_rc(tok_open(&w->vocab[i], &w->tok[i], &e), &e);
}

static struct str text_of(const json_t *line, const char *key) {
    const json_t *s = json_object_get(line, key);
    return (struct str){ json_string_value(s), json_string_length(s) };
}

static bool same(const struct tok *t, const json_t *line) {
    const json_t *want = json_object_get(line, "ids");
    struct err e = { 0 };
    struct buf text = { 0 };
    int32_t *ids;
    size_t n;
    check_rc(tok_encode(t, text_of(line, "text"), TOK_ADD_SPECIAL | TOK_PARSE_SPECIAL, &ids, &n, &e), &e);
    bool right = n == json_array_size(want);
    for (size_t i = 0; right && i < n; i++) right = ids[i] == json_integer_value(json_array_get(want, i));
    check_rc(tok_decode(t, ids, n, true, &text, &e), &e);
    right = right && str_eq((struct str){ text.p, text.n }, text_of(line, "decoded"));
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

static void ids_are_hugging_faces(void **state) {
    (void)state;
    json_t *data = load_data("hf_unigram.json");
    FILE *f = open_data("hf_unigram.jsonl");
    struct ways w = { 0 };
    size_t n = 0, wrong = 0;
    for (json_t *line; (line = json_loadf(f, JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, NULL)); n++) {
        const char *name = json_string_value(json_object_get(line, "pipeline"));
        if (strcmp(name, w.name)) { /* the lines of one pipeline stand together */
            close_ways(&w);
            open_ways(data, name, &w);
        }
        for (int k = 0; k < N_WAYS; k++) wrong += !same(w.tok[k], line);
        json_decref(line);
    }
    close_ways(&w);
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
