/* Tokenizers against reference data: every line of expected.jsonl and decode.jsonl and the long texts of corpus.json,
 * from each of tokenizer.json, tokenizer.model and tekken.json that a folder has, and from the GGUF metadata that snug
 * writes of each. The ids and texts were made with Hugging
 * Face's tokenizers and SentencePiece (README.md beside the data). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/sha.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/utf8.h"
#include "format/sentencepiece.h"
#include "format/tekken.h"
#include "tok_lines.h"

struct source { const char *dir; bool spm; };
static const struct source sources[] = {
    { "models/tiny", false },
    { "tokenizers/llama3_1", false },
    { "tokenizers/llama2", true },
    { "tokenizers/mistral_v1", true },
    { "tokenizers/mistral_v3", true },
    { "tokenizers/mistral_nemo", false },
    { "tokenizers/gpt35turbo", false },
    { "tokenizers/qwen3", false },
    { "tokenizers/qwen3_5", false },
    { "tokenizers/gemma3", true },
};

/* One tokenizer of the ways to get it. like_spm: spaces as SentencePiece has them, not as Metaspace. */
struct subject {
    const struct source *src;
    const char *file;
    bool gguf, like_spm;
    struct vocab vocab;
    struct tok *tok;
};

typedef enum err_code parse_fn(struct span file, struct hf_tokenizer **out, struct err *e);
static enum err_code parse_json(struct span file, struct hf_tokenizer **out, struct err *e) {
    return hf_tokenizer_parse(file, NULL, out, e);
}
static const struct { const char *name; parse_fn *parse; } files[] = {
    { "tokenizer.json", parse_json }, { "tokenizer.model", sentencepiece_parse }, { "tekken.json", tekken_parse },
};

static const char *shared;

static char *shared_path(const char *dir, const char *name) {
    char *d = os_path_join(shared, dir), *p = os_path_join(d, name);
    mem_free(d);
    assert_non_null(p);
    return p;
}

/* False if the folder has no such file. */
static bool load_hf(const struct source *src, size_t file, struct vocab *v) {
    struct err e = { 0 };
    char *path = shared_path(src->dir, files[file].name), *config_path = shared_path(src->dir, "tokenizer_config.json");
    struct os_map map;
    struct hf_config *config;
    struct hf_tokenizer *t;
    struct vocab_hints hints = { 0, -1, -1, -1 };
    bool there = os_exists(path);
    if (there) {
        assert_ok(os_map_open(path, &map, &e), &e);
        assert_ok(hf_config_open(config_path, &config, &e), &e);
        assert_ok(files[file].parse((struct span){ map.p, map.n }, &t, &e), &e);
        assert_ok(hf_tokenizer_configure(t, config, &e), &e);
        os_map_close(&map);
        assert_ok(vocab_from_hf(t, &hints, v, &e), &e);
        hf_tokenizer_close(t);
        hf_config_close(config);
    }
    mem_free(config_path);
    mem_free(path);
    return there;
}

/* Calls body with each line of a file of JSON objects; gives the number of lines that body found wrong. */
typedef bool line_fn(const struct subject *s, const json_t *line);
static size_t each_line(const struct subject *s, const char *name, line_fn *body, size_t *n_lines) {
    char *path = shared_path(s->src->dir, name), *text;
    size_t n, wrong = 0;
    struct err e = { 0 };
    assert_ok(os_read_file(path, 64u << 20, &text, &n, &e), &e);
    *n_lines = 0;
    for (char *p = text, *end; p < text + n && (end = memchr(p, '\n', (size_t)(text + n - p))); p = end + 1) {
        json_error_t je;
        json_t *line = json_loadb(p, (size_t)(end - p), JSON_ALLOW_NUL, &je);
        if (!line) fail_msg("%s: %s", path, je.text);
        bool right = body(s, line);
        wrong += !right;
        if (!right && wrong <= 3) {
            print_error("%s%s: %.*s\n", path, s->gguf ? " (GGUF)" : "", (int)min_u64((uint64_t)(end - p), 400), p);
        }
        json_decref(line);
        ++*n_lines;
    }
    mem_free(text);
    mem_free(path);
    return wrong;
}

static int32_t *ids_of(const json_t *line, const char *key, size_t *n) {
    const json_t *list = json_object_get(line, key);
    *n = json_array_size(list);
    int32_t *ids = mem_alloc(*n, sizeof(*ids));
    for (size_t i = 0; i < *n; i++) ids[i] = (int32_t)json_integer_value(json_array_get(list, i));
    return ids;
}

/* From GGUF a text's first space is SentencePiece's to add even where the text has one. SentencePiece itself takes no
 * special tokens from a text, so for such lines there are no ids to compare with (mistral_v3 alone). */
static bool has_no_reference(const struct subject *s, const json_t *line) {
    struct str text = tok_line_text(line, "text"), tag = tok_line_text(line, "tag");
    bool space = str_starts(text, " ") || str_starts(text, "\xe2\x96\x81");
    return s->like_spm && s->vocab.prefix_space_first_only && space && !json_object_get(line, "ids_spm") &&
           (str_starts(tag, "special") || str_starts(tag, "added"));
}

static bool encodes(const struct subject *s, const json_t *line) {
    struct err e = { 0 };
    if (has_no_reference(s, line)) return true;
    const char *key = s->like_spm && json_object_get(line, "ids_spm") ? "ids_spm" : "ids";
    size_t n_want, n;
    int32_t *want = ids_of(line, key, &n_want), *ids;
    unsigned flags = (json_is_true(json_object_get(line, "add_special")) ? TOK_ADD_SPECIAL : 0) |
                     (json_is_true(json_object_get(line, "parse_special")) ? TOK_PARSE_SPECIAL : 0);
    assert_ok(tok_encode(s->tok, tok_line_text(line, "text"), flags, &ids, &n, &e), &e);
    bool same = n == n_want && !memcmp(ids, want, n * sizeof(*ids));
    if (!same) {
        print_error("got ");
        for (size_t i = 0; i < n && i < 40; i++) print_error("%d ", ids[i]);
        print_error("\n");
    }
    mem_free(ids);
    mem_free(want);
    return same;
}

/* What Hugging Face's byte fallback makes of ids: a run of byte pieces that is no valid text as a whole is one U+FFFD
 * for each byte, whole characters within it included. snug keeps those, as README.md recommends: so with keep, every
 * character of a run that is valid where it stands stays. Written apart from the code under test. */
static void fallback_text(const struct subject *s, const int32_t *ids, size_t n, bool skip, bool keep,
                          struct buf *out) {
    const struct vocab *v = &s->vocab;
    for (size_t i = 0; i < n; ) {
        char run[512];
        size_t n_run = 0;
        while (i < n && v->kind[ids[i]] == TOKEN_BYTE && n_run < sizeof(run)) {
            run[n_run++] = (char)strtol(v->piece[ids[i++]].p + 3, NULL, 16);
        }
        bool whole = utf8_valid(run, n_run);
        for (size_t k = 0; k < n_run; ) {
            uint32_t cp;
            size_t step = utf8_step(run + k, n_run - k, &cp);
            bool good = step > 1 || (unsigned char)run[k] < 0x80;
            if (whole || (keep && good)) buf_add(out, run + k, step);
            else for (size_t j = 0; j < step; j++) buf_addz(out, "\xef\xbf\xbd");
            k += step;
        }
        if (i < n && v->kind[ids[i]] != TOKEN_BYTE) {
            bool special = v->kind[ids[i]] == TOKEN_CONTROL || v->kind[ids[i]] == TOKEN_UNKNOWN;
            struct err e = { 0 };
            if (!(skip && special)) assert_ok(tok_piece(s->tok, ids[i], out, &e), &e);
            i++;
        }
    }
    if (v->add_space_prefix && out->n && out->p[0] == ' ') memmove(out->p, out->p + 1, out->n--);
}

static bool decodes(const struct subject *s, const json_t *line) {
    struct err e = { 0 };
    struct buf got = { 0 }, other = { 0 }, kept = { 0 };
    size_t n;
    int32_t *ids = ids_of(line, "ids", &n);
    bool skip = json_is_true(json_object_get(line, "skip_special"));
    assert_ok(tok_decode(s->tok, ids, n, skip, &got, &e), &e);
    bool same = str_eq((struct str){ got.p, got.n }, tok_line_text(line, "text"));
    if (!same && s->src->spm) {
        fallback_text(s, ids, n, skip, false, &other);
        fallback_text(s, ids, n, skip, true, &kept);
        same = str_eq((struct str){ other.p, other.n }, tok_line_text(line, "text")) &&
               str_eq((struct str){ kept.p, kept.n }, (struct str){ got.p, got.n });
    }
    if (!same) print_error("got \"%.*s\"\n", (int)got.n, got.p);
    buf_fini(&got);
    buf_fini(&other);
    buf_fini(&kept);
    mem_free(ids);
    return same;
}

static bool is_prefix(const struct buf *a, const struct buf *b) {
    return a->n <= b->n && (!a->n || !memcmp(a->p, b->p, a->n));
}

/* With each id the stream gives whole characters, and all together they are the decoded text. Where the reference's
 * stream gives text, both have given the same by then; where it holds back, which it does with all of a piece that ends
 * within a character, ours may have given whole characters more. The reference never gives a U+FFFD at the end, so
 * where there is one only whole characters count. */
static bool streams(const struct subject *s, const json_t *line) {
    struct err e = { 0 };
    struct buf got = { 0 }, theirs = { 0 }, whole = { 0 };
    size_t n;
    int32_t *ids = ids_of(line, "ids", &n);
    const json_t *steps = json_object_get(line, "steps");
    struct tok_stream stream;
    bool skip = json_is_true(json_object_get(line, "skip_special")), same = true;
    assert_ok(tok_decode(s->tok, ids, n, skip, &whole, &e), &e);
    bool by_step = json_is_array(steps) && !(whole.n && strstr(whole.p, "\xef\xbf\xbd"));
    buf_addz(&got, "");
    buf_addz(&theirs, "");
    tok_stream_init(&stream, s->tok, skip);
    for (size_t i = 0; i < n; i++) {
        const json_t *step = json_array_get(steps, i);
        assert_ok(tok_stream_push(&stream, ids[i], &got, &e), &e);
        buf_add(&theirs, json_string_value(step), json_string_length(step));
        same = same && utf8_valid(got.p, got.n) && is_prefix(&got, &whole);
        if (by_step) same = same && is_prefix(&theirs, &got) && (!json_is_string(step) || got.n == theirs.n);
    }
    tok_stream_end(&stream, &got);
    tok_stream_fini(&stream);
    same = same && str_eq((struct str){ got.p, got.n }, (struct str){ whole.p, whole.n });
    buf_fini(&got);
    buf_fini(&theirs);
    buf_fini(&whole);
    mem_free(ids);
    return same;
}

static char *find_text(const char *name) {
    char *p = shared_path("text", name);
    if (os_exists(p)) return p;
    mem_free(p);
    return shared_path("tokenizers", name);
}

static void sha256_hex(const void *p, size_t n, char out[65]) {
    unsigned char hash[SHA256_DIGEST_LENGTH];
    SHA256(p, n, hash);
    for (int i = 0; i < SHA256_DIGEST_LENGTH; i++) snprintf(out + 2 * i, 3, "%02x", hash[i]);
}

static size_t check_corpus(const struct subject *s) {
    char *path = shared_path(s->src->dir, "corpus.json"), hex[65];
    json_error_t je;
    json_t *corpus = json_load_file(path, 0, &je), *want;
    const char *name;
    size_t wrong = 0;
    if (!corpus) fail_msg("%s: %s", path, je.text);
    json_object_foreach(corpus, name, want) {
        char *text_path = find_text(name), *text;
        struct err e = { 0 };
        int32_t *ids;
        size_t n_text, n;
        assert_ok(os_read_file(text_path, 64u << 20, &text, &n_text, &e), &e);
        sha256_hex(text, n_text, hex);
        assert_string_equal(hex, json_string_value(json_object_get(want, "sha256_of_file")));
        assert_ok(tok_encode(s->tok, (struct str){ text, n_text }, TOK_PARSE_SPECIAL, &ids, &n, &e), &e);
        sha256_hex(ids, n * sizeof(*ids), hex);
        bool right = n == (size_t)json_integer_value(json_object_get(want, "n_tokens")) &&
                     !strcmp(hex, json_string_value(json_object_get(want, "sha256_of_ids")));
        wrong += !right;
        if (!right) print_error("%s: %s gives %zu ids\n", path, name, n);
        mem_free(ids);
        mem_free(text);
        mem_free(text_path);
    }
    json_decref(corpus);
    mem_free(path);
    return wrong;
}

static void subject_matches(const struct subject *s) {
    size_t n_encode, n_decode;
    size_t wrong_encode = each_line(s, "expected.jsonl", encodes, &n_encode);
    size_t wrong_decode = each_line(s, "decode.jsonl", decodes, &n_decode);
    size_t wrong_stream = each_line(s, "decode.jsonl", streams, &n_decode);
    size_t wrong_corpus = check_corpus(s);
    print_message("%s/%s%s: %zu texts, %zu wrong; %zu decodings, %zu wrong, %zu streams wrong; %zu corpora wrong\n",
                  s->src->dir, s->file, s->gguf ? " (GGUF)" : "", n_encode, wrong_encode, n_decode, wrong_decode,
                  wrong_stream, wrong_corpus);
    assert_int_equal(wrong_encode + wrong_decode + wrong_stream + wrong_corpus, 0);
    assert_true(n_encode > 700 && n_decode > 380);
}

static void source_matches(void **state) {
    struct err e = { 0 };
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        struct subject own = { .src = *state, .file = files[i].name, .like_spm = i > 0 }, back = own;
        back.gguf = back.like_spm = true;
        if (!load_hf(own.src, i, &own.vocab)) continue;
        vocab_through_gguf(&own.vocab, &back.vocab);
        assert_true(vocab_same(&own.vocab, &back.vocab, NULL, 0));
        struct subject *const both[] = { &own, &back };
        for (int k = 0; k < 2; k++) {
            assert_ok(tok_open(&both[k]->vocab, &both[k]->tok, &e), &e);
            subject_matches(both[k]);
            tok_close(both[k]->tok);
            vocab_fini(&both[k]->vocab);
        }
    }
}

/* llama.cpp's own vocabulary files: texts parted by a line, ids of each on a line, no special tokens taken or added. */
static void vocab_gguf_matches(void **state) {
    const char *name = *state, *parting = "\n__ggml_vocab_test__\n";
    char *paths[3], in_name[64], *texts, *ids_text;
    const char *ends[] = { "", ".inp", ".out" };
    size_t n_texts, n_ids_text, n_wrong = 0, n_lines = 0;
    struct err e = { 0 };
    struct os_map map;
    struct gguf *g;
    struct vocab v;
    struct tok *t;
    for (int i = 0; i < 3; i++) {
        snprintf(in_name, sizeof(in_name), "%s.gguf%s", name, ends[i]);
        paths[i] = shared_path("tokenizers/vocab_gguf", in_name);
    }
    assert_ok(os_map_open(paths[0], &map, &e), &e);
    assert_ok(gguf_open((struct span){ map.p, map.n }, &g, &e), &e);
    assert_ok(vocab_from_gguf(g, &v, &e), &e);
    assert_ok(tok_open(&v, &t, &e), &e);
    assert_ok(os_read_file(paths[1], 1u << 20, &texts, &n_texts, &e), &e);
    assert_ok(os_read_file(paths[2], 1u << 20, &ids_text, &n_ids_text, &e), &e);
    char *line = ids_text;
    for (char *p = texts; p; n_lines++) {
        char *end = strstr(p, parting), *next_line = strchr(line, '\n');
        size_t n = end ? (size_t)(end - p) : strlen(p), n_ids;
        struct buf got = { 0 };
        int32_t *ids;
        if (!end) break; /* the last text is nothing */
        assert_ok(tok_encode(t, (struct str){ p, n }, 0, &ids, &n_ids, &e), &e);
        buf_addz(&got, "");
        for (size_t i = 0; i < n_ids; i++) buf_addf(&got, " %d", ids[i]);
        assert_non_null(next_line);
        bool same = str_eq((struct str){ got.p, got.n }, (struct str){ line, (size_t)(next_line - line) });
        if (!same) print_error("%s: \"%.*s\" gives%s\n", name, (int)n, p, got.p);
        n_wrong += !same;
        buf_fini(&got);
        mem_free(ids);
        p = end + strlen(parting);
        line = next_line + 1;
    }
    print_message("%s: %zu texts, %zu wrong\n", name, n_lines, n_wrong);
    assert_int_equal(n_wrong, 0);
    assert_true(n_lines > 40);
    tok_close(t);
    vocab_fini(&v);
    gguf_close(g);
    os_map_close(&map);
    mem_free(texts);
    mem_free(ids_text);
    for (int i = 0; i < 3; i++) mem_free(paths[i]);
}

static const char *const vocab_files[] = { "llama-spm", "phi-3", "starcoder", "deepseek-coder" };

int main(void) {
    struct CMUnitTest tests[ARRAY_LEN(sources) + ARRAY_LEN(vocab_files)];
    shared = getenv("SNUG_SHARED");
    if (!shared || !os_is_dir(shared)) {
        puts("SKIPPED: the reference data of tokenizers is not here (SNUG_SHARED)");
        return 77; /* what Meson counts as skipped */
    }
    for (size_t i = 0; i < ARRAY_LEN(sources); i++) {
        tests[i] = (struct CMUnitTest){ sources[i].dir, source_matches, NULL, NULL, (void *)&sources[i] };
    }
    for (size_t i = 0; i < ARRAY_LEN(vocab_files); i++) {
        tests[ARRAY_LEN(sources) + i] =
            (struct CMUnitTest){ vocab_files[i], vocab_gguf_matches, NULL, NULL, (void *)vocab_files[i] };
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
