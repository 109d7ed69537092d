/* Vocabularies from and to files: defaults and refusals of GGUF metadata, ids that no piece has, hints of
 * config.json. The seam as a whole, with real files, is in test_tok_reference. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../assert_ok.h"
#include "base/log.h"
#include "base/os.h"
#include "runtime/vocab_file.h"

/* Metadata as the writer has it by now, read back; the writer is used up. */
static enum err_code read_back(struct gguf_writer *w, struct vocab *v, struct err *e) {
    struct buf header = { 0 };
    struct gguf *g;
    assert_ok(gguf_writer_header(w, &header, e), e);
    gguf_writer_free(w);
    assert_ok(gguf_open((struct span){ (const uint8_t *)header.p, header.n }, &g, e), e);
    enum err_code rc = vocab_from_gguf(g, v, e);
    gguf_close(g);
    buf_fini(&header); /* nothing may be borrowed from it */
    return rc;
}

static struct gguf_writer *new_writer(const char *model, uint32_t n) {
    static const struct str pieces[] = { { "<unk>", 5 }, { "<s>", 3 }, { "</s>", 4 }, { "a", 1 } };
    struct gguf_writer *w;
    struct err e = { 0 };
    assert_ok(gguf_writer_new(&w, &e), &e);
    gguf_writer_str(w, "general.architecture", STR("llama"));
    if (model) gguf_writer_str(w, "tokenizer.ggml.model", str_of(model));
    if (n) gguf_writer_str_array(w, "tokenizer.ggml.tokens", pieces, n);
    return w;
}

static void check_refused(struct gguf_writer *w, enum err_code want, const char *word) {
    struct vocab v;
    struct err e = { 0 };
    assert_int_equal(read_back(w, &v, &e), want);
    if (!strstr(e.msg, word)) fail_msg("%s", e.msg);
    assert_int_equal(v.n, 0);
    vocab_fini(&v);
}

static const float scores[4] = { 0, 0, 0, -1 };

static void defaults_of_gguf(void **state) {
    (void)state;
    struct vocab v;
    struct err e = { 0 };
    struct gguf_writer *w = new_writer("llama", 4);
    gguf_writer_array(w, "tokenizer.ggml.scores", GGUF_F32, scores, 4);
    gguf_writer_u32(w, "tokenizer.ggml.padding_token_id", UINT32_MAX); /* "none" of older writers */
    assert_ok(read_back(w, &v, &e), &e);
    assert_true(v.model == VOCAB_SPM && v.n == 4 && v.unk == 0 && v.bos == 1 && v.eos == 2 && v.pad == -1);
    assert_true(v.add_bos && !v.add_eos && v.add_space_prefix && v.kind[3] == TOKEN_NORMAL && v.score[3] == -1);
    assert_true(str_eqz(v.piece[2], "</s>"));
    vocab_fini(&v);

    w = new_writer("gpt2", 4);
    gguf_writer_str_array(w, "tokenizer.ggml.merges", &STR("a a"), 1);
    gguf_writer_str(w, "tokenizer.ggml.pre", STR("llama-v3"));
    gguf_writer_str(w, "tokenizer.chat_template", STR("{{ x }}"));
    assert_ok(read_back(w, &v, &e), &e);
    assert_true(v.model == VOCAB_BPE && v.bos == -1 && v.eos == -1 && v.add_bos && v.ignore_merges && !v.nfc);
    assert_true(!strcmp(v.pre, "llama-v3") && v.n_merges == 1 && str_eqz(v.chat_template, "{{ x }}"));
    vocab_fini(&v);

    assert_ok(read_back(new_writer(NULL, 0), &v, &e), &e);
    assert_true(v.model == VOCAB_NONE && v.n == 0 && v.bos == -1);
    vocab_fini(&v);
    assert_ok(read_back(new_writer("none", 0), &v, &e), &e);
    assert_int_equal(v.model, VOCAB_NONE);
    vocab_fini(&v);
}

static void gguf_is_refused(void **state) {
    (void)state;
    static const int32_t kinds[3] = { 1, 1, 1 };
    check_refused(new_writer("rwkv", 4), ERR_UNSUPPORTED, "rwkv");
    check_refused(new_writer("llama", 0), ERR_FORMAT, "tokens");
    check_refused(new_writer("llama", 4), ERR_FORMAT, "scores");
    check_refused(new_writer("gpt2", 4), ERR_FORMAT, "merges");
    struct gguf_writer *w = new_writer("llama", 4);
    gguf_writer_array(w, "tokenizer.ggml.scores", GGUF_F32, scores, 3);
    check_refused(w, ERR_FORMAT, "3 elements");
    w = new_writer("gpt2", 4);
    gguf_writer_array(w, "tokenizer.ggml.token_type", GGUF_I32, kinds, 3);
    check_refused(w, ERR_FORMAT, "token_type");
    w = new_writer("gpt2", 4);
    gguf_writer_array(w, "tokenizer.ggml.merges", GGUF_I32, kinds, 3);
    check_refused(w, ERR_FORMAT, "merges");
    w = new_writer("gpt2", 0);
    gguf_writer_array(w, "tokenizer.ggml.tokens", GGUF_I32, kinds, 3);
    check_refused(w, ERR_FORMAT, "tokens");
    w = new_writer("gpt2", 4);
    gguf_writer_str_array(w, "tokenizer.ggml.merges", &STR("a a"), 1);
    gguf_writer_str(w, "tokenizer.ggml.pre", STR("a-name-that-is-longer-than-the-field"));
    check_refused(w, ERR_UNSUPPORTED, "pre-tokenizer");
}

static struct hf_tokenizer *open_seed(const char *name) {
    struct err e = { 0 };
    struct hf_tokenizer *t;
    char *dir = os_path_join(getenv("SNUG_SOURCE"), "fuzz/corpus/tokenizer_json");
    char *path = os_path_join(dir, name), *text;
    size_t n;
    assert_ok(os_read_file(path, 4096, &text, &n, &e), &e);
    assert_ok(hf_tokenizer_parse((struct span){ (const uint8_t *)text, n }, NULL, &t, &e), &e);
    mem_free(text);
    mem_free(path);
    mem_free(dir);
    return t;
}

static void hints_fill_gaps(void **state) {
    (void)state;
    struct hf_tokenizer *t = open_seed("llama3.json"); /* ids 0 to 10; begin token 9, no end token */
    struct vocab v;
    struct err e = { 0 };
    assert_ok(vocab_from_hf(t, &(struct vocab_hints){ 13, 3, 10, 99 }, &v, &e), &e);
    assert_true(v.n == 13 && v.bos == 9 && v.eos == 10 && v.pad == -1);
    assert_true(str_eqz(v.piece[12], "[PAD12]") && v.kind[12] == TOKEN_UNUSED);
    assert_true(v.kind[9] == TOKEN_CONTROL && v.kind[10] == TOKEN_USER && v.kind[8] == TOKEN_NORMAL);
    assert_string_equal(v.pre, "llama-bpe");
    assert_true(str_eqz(v.merge[1], "\xc4\xa0 a"));
    vocab_fini(&v);
    assert_int_equal(vocab_from_hf(t, &(struct vocab_hints){ 10, -1, -1, -1 }, &v, &e), ERR_FORMAT);
    assert_non_null(strstr(e.msg, "10 embeddings"));
    hf_tokenizer_close(t);
}

/* Merges of llama2.json: _a first, then ab, _ab (two ways), __; what no merge makes comes last. */
static void scores_follow_merges(void **state) {
    (void)state;
    static const float want[12] = { 0, 0, 0, 0, 0, -4, -4, -4, -1, 0, -2, -3 };
    struct hf_tokenizer *t = open_seed("llama2.json");
    struct vocab v;
    struct err e = { 0 };
    assert_ok(vocab_from_hf(t, &(struct vocab_hints){ 0, -1, -1, -1 }, &v, &e), &e);
    assert_int_equal(v.n, 12);
    for (int i = 0; i < 12; i++) assert_true(v.score[i] == want[i]);
    assert_true(v.kind[0] == TOKEN_UNKNOWN && v.kind[1] == TOKEN_CONTROL && v.kind[3] == TOKEN_BYTE);
    assert_string_equal(v.pre, "default");
    vocab_fini(&v);
    hf_tokenizer_close(t);
}

/* Every field that a file can hold comes back. */
static void gguf_keeps_all(void **state) {
    (void)state;
    static const char *const seeds[] = { "llama3.json", "smollm.json", "qwen2.json", "llama2.json", "metaspace.json" };
    for (size_t i = 0; i < ARRAY_LEN(seeds); i++) {
        struct hf_tokenizer *t = open_seed(seeds[i]);
        struct gguf_writer *w = new_writer(NULL, 0);
        struct vocab a, b;
        struct err e = { 0 };
        assert_ok(vocab_from_hf(t, &(struct vocab_hints){ 0, -1, -1, -1 }, &a, &e), &e);
        a.eot = 2;
        a.ignore_merges = a.model == VOCAB_BPE && i != 0; /* against what the names imply */
        a.nfc = a.model == VOCAB_BPE && i != 2;
        assert_ok(vocab_to_gguf(&a, w, &e), &e);
        assert_ok(read_back(w, &b, &e), &e);
        assert_true(vocab_same(&a, &b, NULL, 0));
        assert_string_equal(a.pre, b.pre);
        assert_true(a.pad == b.pad && a.unk == b.unk && a.eot == b.eot && a.n_merges == b.n_merges);
        assert_true(a.add_bos == b.add_bos && a.add_eos == b.add_eos && a.add_space_prefix == b.add_space_prefix);
        assert_true(a.ignore_merges == b.ignore_merges && a.nfc == b.nfc);
        assert_true(a.prefix_space_first_only == b.prefix_space_first_only);
        for (uint32_t k = 0; k < a.n_merges; k++) assert_true(str_eq(a.merge[k], b.merge[k]));
        for (uint32_t k = 0; a.score && k < a.n; k++) assert_true(a.score[k] == b.score[k]);
        vocab_fini(&a);
        vocab_fini(&b);
        hf_tokenizer_close(t);
    }
}

/* Gemma 4's metadata: pieces and merges in SentencePiece's style, without scores that count. The vocabulary is the one
 * that the same pieces and merges give from tokenizer.json. */
static void gemma4_is_scored_by_merges(void **state) {
    (void)state;
    struct hf_tokenizer *t = open_seed("gemma.json");
    struct gguf_writer *w = new_writer("gemma4", 0);
    struct vocab a, b;
    struct err e = { 0 };
    struct str merge[32];
    struct buf text = { 0 };
    int32_t kind[64];
    assert_ok(vocab_from_hf(t, &(struct vocab_hints){ 0, -1, -1, -1 }, &a, &e), &e);
    assert_true(a.model == VOCAB_SPM && a.n <= ARRAY_LEN(kind) && t->n_merges && t->n_merges <= ARRAY_LEN(merge));
    for (uint32_t i = 0; i < a.n; i++) kind[i] = a.kind[i];
    for (uint32_t i = 0; i < t->n_merges; i++) {
        buf_add(&text, t->merge[i].left.p, t->merge[i].left.n);
        buf_addc(&text, ' ');
        buf_add(&text, t->merge[i].right.p, t->merge[i].right.n);
    }
    for (uint32_t i = 0, at = 0; i < t->n_merges; i++) {
        merge[i] = (struct str){ text.p + at, t->merge[i].left.n + 1 + t->merge[i].right.n };
        at += (uint32_t)merge[i].n;
    }
    gguf_writer_str_array(w, "tokenizer.ggml.tokens", a.piece, a.n);
    gguf_writer_array(w, "tokenizer.ggml.token_type", GGUF_I32, kind, a.n);
    gguf_writer_str_array(w, "tokenizer.ggml.merges", merge, t->n_merges);
    gguf_writer_u32(w, "tokenizer.ggml.bos_token_id", (uint32_t)a.bos);
    gguf_writer_u32(w, "tokenizer.ggml.eos_token_id", (uint32_t)a.eos);
    gguf_writer_bool(w, "tokenizer.ggml.add_space_prefix", false);
    assert_ok(read_back(w, &b, &e), &e);
    assert_true(b.model == VOCAB_SPM && b.n == a.n && b.add_bos && !b.add_space_prefix && !b.n_merges);
    for (uint32_t i = 0; i < a.n; i++) {
        assert_true(str_eq(a.piece[i], b.piece[i]) && a.kind[i] == b.kind[i] && a.score[i] == b.score[i]);
    }
    vocab_fini(&a);
    vocab_fini(&b);
    buf_fini(&text);
    hf_tokenizer_close(t);
}

/* The model that ships: ids from its config files, and llama.cpp's GGUF of it says the same. */
static void tiny_agrees_with_llama_cpp(void **state) {
    (void)state;
    const char *shared = getenv("SNUG_SHARED");
    struct vocab a, b;
    struct tfile *f;
    struct err e = { 0 };
    char why[200] = "";
    char *path = os_path_join(getenv("SNUG_SOURCE"), "models/tiny");
    assert_ok(tfile_open(path, 0, &f, &e), &e);
    assert_ok(vocab_from_file(f, &a, &e), &e);
    tfile_close(f);
    mem_free(path);
    assert_true(a.n == 4096 && a.bos == 0 && a.eos == 1 && a.add_bos && a.ignore_merges);
    assert_string_equal(a.pre, "llama-bpe");
    if (shared) {
        path = os_path_join(shared, "models/tiny/llamacpp/Q4_K_M.gguf");
        assert_ok(tfile_open(path, 0, &f, &e), &e);
        assert_ok(vocab_from_file(f, &b, &e), &e);
        if (!vocab_same(&a, &b, why, sizeof(why))) fail_msg("%s", why);
        assert_true(a.n_merges == b.n_merges && a.add_bos == b.add_bos && a.ignore_merges == b.ignore_merges);
        for (uint32_t i = 0; i < a.n_merges; i++) assert_true(str_eq(a.merge[i], b.merge[i]));
        tfile_close(f);
        vocab_fini(&b);
        mem_free(path);
    } else {
        print_message("SKIPPED: llama.cpp's file of tiny is not here (SNUG_SHARED)\n");
    }
    vocab_fini(&a);
}

/* The settings of the tiny model's folder with another generation_config.json, whose ids name a token of 4096. */
static void ids_of_settings_are_tokens(void **state) {
    (void)state;
    static const struct { const char *json, *key; } cases[] = {
        { "{\"eos_token_id\": 4095}", NULL }, { "{\"eos_token_id\": [1, 4095], \"pad_token_id\": 4096}", NULL },
        { "{\"eos_token_id\": 4096}", "eos_token_id" }, { "{\"eos_token_id\": [1, 4096]}", "eos_token_id.1" },
        { "{\"bos_token_id\": 99999}", "bos_token_id" }, { "{\"eos_token_id\": -2}", "eos_token_id" },
    };
    static const char config[] = "{\"vocab_size\": 4096, \"bos_token_id\": 0, \"eos_token_id\": 1}";
    char dir[600];
    snprintf(dir, sizeof dir, "%s/models/tiny", getenv("SNUG_SOURCE"));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct hf_config *c, *generation;
        struct vocab v;
        struct err e = { 0 };
        char text[800];
        assert_ok(hf_config_parse((struct span){ (const uint8_t *)config, sizeof config - 1 }, "config.json", &c, &e),
                 &e);
        assert_ok(hf_config_parse((struct span){ (const uint8_t *)cases[i].json, strlen(cases[i].json) },
                                 "generation_config.json", &generation, &e), &e);
        enum err_code rc = vocab_from_file(&(struct tfile){ .dir = dir, .config = c, .generation = generation }, &v,
                                           &e);
        err_format(&e, text, sizeof text);
        if (cases[i].key && rc != ERR_FORMAT) fail_msg("%s is taken", cases[i].json);
        if (cases[i].key && (!strstr(text, "generation_config.json") || !strstr(text, cases[i].key)))
            fail_msg("%s: %s", cases[i].json, text);
        if (!cases[i].key) assert_ok(rc, &e);
        vocab_fini(&v);
        hf_config_close(generation);
        hf_config_close(c);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_of_gguf),
        cmocka_unit_test(gguf_is_refused),
        cmocka_unit_test(hints_fill_gaps),
        cmocka_unit_test(ids_of_settings_are_tokens),
        cmocka_unit_test(scores_follow_merges),
        cmocka_unit_test(gguf_keeps_all),
        cmocka_unit_test(gemma4_is_scored_by_merges),
        cmocka_unit_test(tiny_agrees_with_llama_cpp),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
