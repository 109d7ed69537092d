#ifndef TESTS_TOK_LINES_H
#define TESTS_TOK_LINES_H
/* What the tests of tokenizers share: a tokenizer from its file and after a way through GGUF, and the check of a line
 * of reference data, {"text", "ids", "decoded"}, against one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <jansson.h>

#include "../assert_ok.h"
#include "base/os.h"
#include "format/hf_tokenizer.h"
#include "runtime/vocab_file.h"
#include "text/tok.h"

/* A file of tests/data/tok; the caller frees the path. */
static inline char *tok_data_path(const char *name) {
    char *dir = os_path_join(getenv("SNUG_SOURCE"), "tests/data/tok"), *path = os_path_join(dir, name);
    mem_free(dir);
    assert_non_null(path);
    return path;
}

static inline FILE *tok_data_open(const char *name) {
    char *path = tok_data_path(name);
    FILE *f = fopen(path, "r");
    mem_free(path);
    assert_non_null(f);
    return f;
}

/* Writes v as GGUF metadata and reads it back. */
static inline void vocab_through_gguf(const struct vocab *v, struct vocab *back) {
    struct err e = { 0 };
    struct gguf_writer *w;
    struct gguf *g;
    struct buf header = { 0 };
    assert_ok(gguf_writer_new(&w, &e), &e);
    gguf_writer_str(w, "general.architecture", STR("llama"));
    assert_ok(vocab_to_gguf(v, w, &e), &e);
    assert_ok(gguf_writer_header(w, &header, &e), &e);
    gguf_writer_free(w);
    assert_ok(gguf_open((struct span){ (const uint8_t *)header.p, header.n }, &g, &e), &e);
    assert_ok(vocab_from_gguf(g, back, &e), &e);
    gguf_close(g);
    buf_fini(&header); /* nothing may be borrowed from it */
}

struct tok_pair { struct vocab vocab[2]; struct tok *tok[2]; }; /* from the file, and written to GGUF and read back */

/* Closes t. */
static inline void tok_pair_open(struct tok_pair *p, struct hf_tokenizer *t) {
    struct err e = { 0 };
    assert_ok(vocab_from_hf(t, &(struct vocab_hints){ 0, -1, -1, -1 }, &p->vocab[0], &e), &e);
    hf_tokenizer_close(t);
    vocab_through_gguf(&p->vocab[0], &p->vocab[1]);
    for (int i = 0; i < 2; i++) assert_ok(tok_open(&p->vocab[i], &p->tok[i], &e), &e);
    assert_true(vocab_same(&p->vocab[0], &p->vocab[1], NULL, 0));
}

/* Fine on a zeroed pair. */
static inline void tok_pair_close(struct tok_pair *p) {
    for (int i = 0; i < 2; i++) {
        tok_close(p->tok[i]);
        vocab_fini(&p->vocab[i]);
    }
    *p = (struct tok_pair){ 0 };
}

static inline struct str tok_line_text(const json_t *line, const char *key) {
    const json_t *s = json_object_get(line, key);
    return (struct str){ json_string_value(s), json_string_length(s) };
}

/* How a line was made. */
struct tok_line_how {
    unsigned flags;         /* of encoding */
    bool skip_special;      /* in the decoded text */
    bool sign_for_unknown;  /* is what an unknown piece is decoded to there, and its name here: not compared */
};

/* Whether the ids are the line's, and the text of them is, where it has one; says what is not. */
static inline bool tok_line_matches(const struct tok *t, const json_t *line, struct tok_line_how how) {
    const json_t *want = json_object_get(line, "ids");
    struct err e = { 0 };
    struct buf text = { 0 };
    int32_t *ids;
    size_t n;
    assert_ok(tok_encode(t, tok_line_text(line, "text"), how.flags, &ids, &n, &e), &e);
    bool right = n == json_array_size(want), has_text = json_object_get(line, "decoded") != NULL;
    for (size_t i = 0; right && i < n; i++) {
        right = ids[i] == json_integer_value(json_array_get(want, i));
        has_text = has_text && !(how.sign_for_unknown && ids[i] == tok_vocab(t)->unk);
    }
    assert_ok(tok_decode(t, ids, n, how.skip_special, &text, &e), &e);
    if (right && has_text) right = str_eq((struct str){ text.p, text.n }, tok_line_text(line, "decoded"));
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
#endif
