/* Owns the tokenizer of a directory: which of its files is read, and what the files beside it add or have another say
 * in. The files themselves are read by hf_tokenizer.c, sentencepiece.c and tekken.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "format/hf_tok_impl.h"
#include "format/sentencepiece.h"
#include "format/tekken.h"

/* The largest public file, of 262,000 pieces and 515,000 merges, has 33 MB. */
#define MAX_FILE_BYTES ((size_t)256 << 20)
#define MAX_SIDE_BYTES ((size_t)16 << 20)

struct hf_tokenizer *hf_tokenizer_new(void) {
    struct hf_tokenizer *t = NEW(struct hf_tokenizer);
    if (t) t->bos = t->eos = t->unk = t->pad = -1;
    return t;
}

void hf_tokenizer_close(struct hf_tokenizer *t) {
    if (!t) return;
    arena_fini(&t->mem);
    mem_free(t);
}

int32_t hf_tokenizer_id(const struct hf_tokenizer *t, struct str text) {
    for (uint32_t i = 0; i < t->n_added; i++) {
        if (str_eq(t->added[i].text, text)) return t->added[i].id;
    }
    for (uint32_t i = 0; i < t->n; i++) {
        if (t->piece[i].p && str_eq(t->piece[i], text)) return (int32_t)i;
    }
    return -1;
}

enum err_code hf_tok_keep(struct hf_tokenizer *t, const char *p, size_t n, struct str *out, struct err *e) {
    char *copy = arena_strndup(&t->mem, p, n);
    if (!copy) return err_no_memory(e, n);
    *out = (struct str){ copy, n };
    return ERR_NONE;
}

/* --- Tokens added to a tokenizer.model --- */

/* Makes room for ids below n. Pieces that are not there stay {NULL, 0}. */
static enum err_code grow(struct hf_tokenizer *t, uint32_t n, struct err *e) {
    if (n <= t->n) return ERR_NONE;
    struct str *piece = arena_alloc(&t->mem, n, sizeof(*piece));
    float *score = arena_alloc(&t->mem, n, sizeof(*score));
    uint8_t *type = arena_alloc(&t->mem, n, 1);
    if (!piece || !score || !type) return err_no_memory(e, 21ull * n);
    memcpy(piece, t->piece, t->n * sizeof(*piece));
    memcpy(score, t->score, t->n * sizeof(*score));
    memcpy(type, t->type, t->n);
    t->piece = piece;
    t->score = score;
    t->type = type;
    t->n = n;
    return ERR_NONE;
}

/* n: how many are being added, so that a single number cannot ask for more memory than a file can have ids. */
static enum err_code add_token(struct hf_tokenizer *t, struct hf_tok_added *list, size_t n, struct hf_tok_added token,
                               struct err *e) {
    if (token.id < 0 || (uint64_t)token.id > 2 * (t->n + (uint64_t)n) + 1024) {
        return err_set(e, ERR_FORMAT, "the added token %.60s has id %d where there are %u pieces", token.text.p,
                       token.id, t->n);
    }
    TRY(grow(t, (uint32_t)token.id + 1, e));
    TRY(hf_tok_keep(t, token.text.p, token.text.n, &token.text, e));
    list[t->n_added++] = token;
    return ERR_NONE;
}

static enum err_code new_list(struct hf_tokenizer *t, size_t n, struct hf_tok_added **list, struct err *e) {
    *list = arena_alloc(&t->mem, n + 1, sizeof(**list));
    if (!*list) return err_no_memory(e, n * sizeof(**list));
    t->added = *list;
    return ERR_NONE;
}

/* tokenizer_config.json: {"added_tokens_decoder": {"32000": {"content": "<pad>", "special": true}}} */
static enum err_code config_added(struct hf_tokenizer *t, const struct hf_config *c, struct err *e) {
    struct hf_tok_added *list;
    size_t n = hf_config_count(c, "added_tokens_decoder");
    if (!t->type || t->n_added || hf_config_kind(c, "added_tokens_decoder") != HF_OBJECT) return ERR_NONE;
    TRY(new_list(t, n, &list, e));
    for (size_t i = 0; i < n; i++) {
        const char *id = hf_config_key(c, "added_tokens_decoder", i), *text;
        char path[80], *end;
        struct hf_tok_added token = { 0 };
        bool found;
        unsigned long number = strtoul(id, &end, 10);
        if (!*id || *end || number > INT32_MAX) {
            return err_set(e, ERR_FORMAT, "\"added_tokens_decoder\" has the key \"%.40s\", which is no id", id);
        }
        snprintf(path, sizeof(path), "added_tokens_decoder.%.20s.special", id);
        TRY(hf_config_bool(c, path, &token.special, &found, e));
        snprintf(path, sizeof(path), "added_tokens_decoder.%.20s.content", id);
        TRY(hf_config_str(c, path, &text, NULL, e));
        token.id = (int32_t)number;
        token.text = str_of(text);
        TRY(add_token(t, list, n, token, e));
    }
    return ERR_NONE;
}

/* added_tokens.json, which older directories have instead: {"<pad>": 32000} */
static enum err_code read_added(struct hf_tokenizer *t, struct span json, struct err *e) {
    struct hf_tok_added *list;
    json_error_t je;
    enum err_code rc = ERR_NONE;
    const char *text;
    json_t *id, *root = json_loadb((const char *)json.p, json.n, JSON_REJECT_DUPLICATES, &je);
    if (!root) return err_set(e, ERR_FORMAT, "this is not valid JSON: line %d: %s", je.line, je.text);
    TRY_OUT(rc, new_list(t, json_object_size(root), &list, e));
    json_object_foreach(root, text, id) {
        json_int_t i = json_integer_value(id);
        if (!json_is_integer(id) || i < 0 || i > INT32_MAX) {
            TRY_OUT(rc, err_set(e, ERR_FORMAT, "the id of %.60s is no number that can be one", text));
        }
        TRY_OUT(rc, add_token(t, list, json_object_size(root), (struct hf_tok_added){ (int32_t)i, str_of(text), false },
                              e));
    }
out:
    json_decref(root);
    return rc;
}

/* --- tokenizer_config.json --- */

/* A token written as text or as an object with "content". Keeps what a template gave. */
static enum err_code config_token(const struct hf_tokenizer *t, const struct hf_config *c, const char *key, int32_t *id,
                                  struct err *e) {
    char content[32];
    const char *text = NULL;
    if (hf_config_kind(c, key) == HF_OBJECT) {
        snprintf(content, sizeof(content), "%s.content", key);
        key = content;
    }
    bool found;
    TRY(hf_config_str(c, key, &text, &found, e));
    if (!found || (*id >= 0 && !t->type && !t->by_rank)) return ERR_NONE;
    int32_t named = hf_tokenizer_id(t, str_of(text));
    if (named >= 0) *id = named;
    return ERR_NONE;
}

/* One text, or a list of named ones of which "default" counts. */
static enum err_code config_template(struct hf_tokenizer *t, const struct hf_config *c, struct err *e) {
    const char *text = NULL, *name;
    char path[64];
    bool found;
    if (hf_config_kind(c, "chat_template") == HF_STRING) TRY(hf_config_str(c, "chat_template", &text, &found, e));
    for (size_t i = 0; hf_config_kind(c, "chat_template") == HF_ARRAY && i < hf_config_count(c, "chat_template"); i++) {
        snprintf(path, sizeof(path), "chat_template.%zu.name", i);
        TRY(hf_config_str(c, path, &name, &found, e));
        if (!found || strcmp(name, "default") != 0) continue;
        snprintf(path, sizeof(path), "chat_template.%zu.template", i);
        TRY(hf_config_str(c, path, &text, &found, e));
    }
    return text ? hf_tok_keep(t, text, strlen(text), &t->chat_template, e) : ERR_NONE;
}

/* How a tokenizer.model is used is said here: "legacy" puts the prefix space before each stretch of text between
 * special tokens, which is also what an absent key means, the newer way only at the start of the text. */
static enum err_code config_prefix(struct hf_tokenizer *t, const struct hf_config *c, struct err *e) {
    bool found, legacy = true, prefix = true;
    TRY(hf_config_bool(c, "legacy", &legacy, &found, e));
    TRY(hf_config_bool(c, "add_prefix_space", &prefix, &found, e));
    if (t->prefix == HF_TOK_PREFIX_EACH && !legacy) t->prefix = HF_TOK_PREFIX_FIRST;
    if (!prefix) t->prefix = HF_TOK_PREFIX_NONE;
    return ERR_NONE;
}

enum err_code hf_tokenizer_configure(struct hf_tokenizer *t, const struct hf_config *config, struct err *e) {
    bool found;
    TRY(config_added(t, config, e));
    TRY(config_token(t, config, "bos_token", &t->bos, e));
    TRY(config_token(t, config, "eos_token", &t->eos, e));
    TRY(config_token(t, config, "unk_token", &t->unk, e));
    TRY(config_token(t, config, "pad_token", &t->pad, e));
    if (!t->has_template) {
        TRY(hf_config_bool(config, "add_bos_token", &t->add_bos, &found, e));
        TRY(hf_config_bool(config, "add_eos_token", &t->add_eos, &found, e));
    }
    if (t->type) TRY(config_prefix(t, config, e));
    return config_template(t, config, e);
}

/* --- The directory --- */

/* The tokenizer's files, the first that is there counts. */
typedef enum err_code parse_fn(struct span file, struct hf_tokenizer **out, struct err *e);
static enum err_code parse_json(struct span file, struct hf_tokenizer **out, struct err *e) {
    return hf_tokenizer_parse(file, NULL, out, e);
}
static const struct { const char *name; parse_fn *parse; } files[] = {
    { "tokenizer.json", parse_json }, { "tokenizer.model", sentencepiece_parse }, { "tekken.json", tekken_parse },
};

/* Reads dir/name with body if it is there; errors name it. */
typedef enum err_code side_fn(struct hf_tokenizer *t, struct span file, struct err *e);
static enum err_code read_side(struct hf_tokenizer *t, const char *dir, const char *name, side_fn *body,
                               struct err *e) {
    char *path = os_path_join(dir, name), *text = NULL;
    size_t n;
    enum err_code rc = ERR_NONE;
    if (!path) return err_no_memory(e, strlen(dir));
    if (!os_exists(path)) goto out;
    TRY_OUT(rc, os_read_file(path, MAX_SIDE_BYTES, &text, &n, e));
    rc = body(t, (struct span){ (const uint8_t *)text, n }, e);
    if (rc) rc = err_where(e, rc, "%s", path);
out:
    mem_free(text);
    mem_free(path);
    return rc;
}

/* Newer directories keep the template in a file of its own, which then counts. */
static enum err_code read_template(struct hf_tokenizer *t, struct span file, struct err *e) {
    return hf_tok_keep(t, (const char *)file.p, file.n, &t->chat_template, e);
}

static enum err_code open_file(const char *path, parse_fn *parse, struct hf_tokenizer **out, struct err *e) {
    struct os_map map;
    TRY(os_map_open(path, &map, e));
    enum err_code rc = map.n > MAX_FILE_BYTES
        ? err_set(e, ERR_TOO_LARGE, "%zu bytes are more than a tokenizer has", map.n)
        : parse((struct span){ map.p, map.n }, out, e);
    os_map_close(&map);
    return rc ? err_where(e, rc, "%s", path) : ERR_NONE;
}

static enum err_code open_first(const char *dir, struct hf_tokenizer **out, struct err *e) {
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        char *path = os_path_join(dir, files[i].name);
        if (!path) return err_no_memory(e, strlen(dir));
        bool there = os_exists(path);
        enum err_code rc = there ? open_file(path, files[i].parse, out, e) : ERR_NONE;
        mem_free(path);
        if (there) return rc;
    }
    return err_where(e, err_set(e, ERR_NOT_FOUND, "there is no tokenizer.json, tokenizer.model or tekken.json"), "%s",
                     dir);
}

enum err_code hf_tokenizer_open(const char *dir, const struct hf_config *config, struct hf_tokenizer **out,
                                struct err *e) {
    struct hf_tokenizer *t = NULL;
    enum err_code rc = ERR_NONE;
    *out = NULL;
    TRY(open_first(dir, &t, e));
    if (config) rc = hf_tokenizer_configure(t, config, e);
    if (config && rc) TRY_OUT(rc, err_where(e, rc, "%s/tokenizer_config.json", dir));
    if (t->type && !t->n_added) TRY_OUT(rc, read_side(t, dir, "added_tokens.json", read_added, e));
    TRY_OUT(rc, read_side(t, dir, "chat_template.jinja", read_template, e));
    *out = t;
    t = NULL;
out:
    hf_tokenizer_close(t);
    return rc;
}
