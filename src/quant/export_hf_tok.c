/* Owns the writing of tokenizer.json: pieces, merges, and the pipeline around them in the parts that
 * format/hf_tokenizer.c reads. Byte-level vocabularies have their merges; SentencePiece's only have scores, and their
 * merges follow from these. */
#include "quant/export_hf_tok.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/utf8.h"
#include "quant/export_hf_meta.h"
#include "text/pretok.h"
#include "text/strmap.h"

#define SPACE "\xe2\x96\x81" /* U+2581, which stands for a space in SentencePiece's pieces */

static void put(json_t *o, const char *key, json_t *v) { json_object_set_new(o, key, v); }
static json_t *text_of(struct str s) { return json_stringn(s.n ? s.p : "", s.n); }
static bool is_spm(const struct vocab *v) { return v->model == VOCAB_SPM; }
static bool is_added(const struct vocab *v, uint32_t i) {
    uint8_t k = v->kind[i];
    return k == TOKEN_CONTROL || k == TOKEN_USER || k == TOKEN_UNKNOWN;
}
static bool is_text(struct str s) { return s.n && utf8_valid(s.p, s.n) && !memchr(s.p, 0, s.n); }

/* A name that stands for an id which has no piece: the model's embedding is longer than its vocabulary. */
static bool is_filler(const struct vocab *v, uint32_t i) {
    char name[24];
    snprintf(name, sizeof name, "[PAD%u]", i);
    return v->kind[i] == TOKEN_UNUSED && str_eqz(v->piece[i], name);
}

/* --- Pieces --- */

static json_t *added_json(const struct vocab *v) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < v->n; i++) {
        if (!is_added(v, i)) continue;
        json_array_append_new(list, json_pack("{s:I, s:o, s:b, s:b, s:b, s:b, s:b}", "id", (json_int_t)i, "content",
                                              text_of(v->piece[i]), "single_word", 0, "lstrip", 0, "rstrip", 0,
                                              "normalized", 0, "special", v->kind[i] != TOKEN_USER));
    }
    return list;
}

/* Added tokens are among the pieces too: readers number those that are not from the end on. */
static enum err_code pieces_json(const struct vocab *v, json_t *o, struct err *e) {
    struct buf key = { 0 };
    enum err_code rc = ERR_NONE;
    for (uint32_t i = 0; i < v->n && !rc; i++) {
        if (is_filler(v, i)) continue;
        buf_clear(&key);
        buf_add(&key, v->piece[i].p, v->piece[i].n);
        rc = buf_status(&key, e);
        if (rc) break;
        if (!is_text(v->piece[i])) rc = err_set(e, ERR_FORMAT, "token %u is no text that JSON can hold", i);
        else if (json_object_get(o, key.p)) rc = err_set(e, ERR_FORMAT, "two tokens are \"%.60s\"", key.p);
        else if (json_object_set_new(o, key.p, json_integer(i))) rc = err_no_memory(e, key.n);
    }
    buf_fini(&key);
    return rc;
}

/* --- Merges --- */

static enum err_code stored_merges(const struct vocab *v, json_t *list, struct err *e) {
    for (uint32_t i = 0; i < v->n_merges; i++)
        if (json_array_append_new(list, text_of(v->merge[i])))
            return err_set(e, ERR_FORMAT, "merge %u is no text that JSON can hold", i);
    return ERR_NONE;
}

struct made_merge { float score; int32_t left, right, whole; };

/* The best result first; SentencePiece leaves the order among equals open. */
static int better(const void *a, const void *b) {
    const struct made_merge *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    if (x->whole != y->whole) return x->whole < y->whole ? -1 : 1;
    return (x->left > y->left) - (x->left < y->left);
}

static bool merges_to(const struct vocab *v, int32_t id) {
    return id >= 0 && (v->kind[id] == TOKEN_NORMAL || v->kind[id] == TOKEN_USER);
}

/* All ways to make a normal piece from two others, appended to list. */
static void ways_to_make(const struct vocab *v, const struct strmap *map, uint32_t id, struct buf *list) {
    struct str s = v->piece[id];
    uint32_t cp;
    if (v->kind[id] != TOKEN_NORMAL) return;
    for (size_t at = utf8_step(s.p, s.n, &cp); at < s.n; at += utf8_step(s.p + at, s.n - at, &cp)) {
        int32_t left = strmap_get(map, s.p, at), right = strmap_get(map, s.p + at, s.n - at);
        if (!merges_to(v, left) || !merges_to(v, right)) continue;
        buf_add(list, &(struct made_merge){ v->score[id], left, right, (int32_t)id }, sizeof(struct made_merge));
    }
}

static enum err_code made_merges(const struct vocab *v, json_t *list, struct err *e) {
    struct strmap map = { 0 };
    struct buf ways = { 0 }, text = { 0 };
    enum err_code rc;
    TRY_OUT(rc, strmap_init(&map, v->piece, v->n, e));
    for (uint32_t i = 0; i < v->n; i++) strmap_add(&map, (int32_t)i);
    for (uint32_t i = 0; i < v->n; i++) ways_to_make(v, &map, i, &ways);
    TRY_OUT(rc, buf_status(&ways, e));
    size_t n = ways.n / sizeof(struct made_merge);
    const struct made_merge *all = (const void *)ways.p;
    if (n) qsort(ways.p, n, sizeof *all, better);
    for (size_t i = 0; i < n; i++) {
        struct str left = v->piece[all[i].left], right = v->piece[all[i].right];
        buf_clear(&text);
        buf_add(&text, left.p, left.n);
        buf_addc(&text, ' ');
        buf_add(&text, right.p, right.n);
        TRY_OUT(rc, buf_status(&text, e));
        if (json_array_append_new(list, json_stringn(text.p, text.n))) TRY_OUT(rc, err_no_memory(e, text.n));
    }
out:
    strmap_fini(&map);
    buf_fini(&ways);
    buf_fini(&text);
    return rc;
}

/* --- The pipeline --- */

static json_t *byte_level(void) {
    return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1, "use_regex",
                     0);
}

static json_t *normalizer_json(const struct vocab *v) {
    if (!is_spm(v)) return v->nfc ? json_pack("{s:s}", "type", "NFC") : json_null();
    if (v->prefix_space_first_only) return json_null(); /* Metaspace does both */
    json_t *parts = json_array();
    if (v->add_space_prefix) json_array_append_new(parts, json_pack("{s:s, s:s}", "type", "Prepend", "prepend", SPACE));
    json_array_append_new(parts, json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", "String", " ",
                                           "content", SPACE));
    return json_pack("{s:s, s:o}", "type", "Sequence", "normalizers", parts);
}

static json_t *pre_tokenizer_json(const struct vocab *v, const struct pretok_rule *rule) {
    if (is_spm(v))
        return v->prefix_space_first_only
                   ? json_pack("{s:s, s:s, s:s, s:b}", "type", "Metaspace", "replacement", SPACE, "prepend_scheme",
                               "first", "split", 0)
                   : json_null();
    json_t *parts = json_array();
    for (int i = 0; i < PRETOK_MAX_RE && rule->re[i]; i++)
        json_array_append_new(parts, json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern", "Regex",
                                               rule->re[i], "behavior", "Isolated", "invert", 0));
    json_array_append_new(parts, byte_level());
    return json_pack("{s:s, s:o}", "type", "Sequence", "pretokenizers", parts);
}

static json_t *decoder_json(const struct vocab *v) {
    if (!is_spm(v)) return byte_level();
    json_t *parts = json_pack("[{s:s, s:{s:s}, s:s}, {s:s}, {s:s}]", "type", "Replace", "pattern", "String", SPACE,
                              "content", " ", "type", "ByteFallback", "type", "Fuse");
    if (v->add_space_prefix)
        json_array_append_new(parts, json_pack("{s:s, s:s, s:i, s:i}", "type", "Strip", "content", " ", "start", 1,
                                               "stop", 0));
    return json_pack("{s:s, s:o}", "type", "Sequence", "decoders", parts);
}

/* One special token of a template: its place in the sequence and its entry in the list beside it. */
static json_t *special_item(const struct vocab *v, int32_t id, json_t *list) {
    json_t *name = text_of(v->piece[id]);
    json_object_set_new(list, json_string_value(name), json_pack("{s:O, s:[i], s:[O]}", "id", name, "ids", (int)id,
                                                                 "tokens", name));
    return json_pack("{s:{s:o, s:i}}", "SpecialToken", "id", name, "type_id", 0);
}

static json_t *post_processor_json(const struct vocab *v) {
    bool bos = v->add_bos && v->bos >= 0 && is_text(v->piece[v->bos]);
    bool eos = v->add_eos && v->eos >= 0 && is_text(v->piece[v->eos]);
    if (!bos && !eos) return is_spm(v) ? json_null() : byte_level();
    json_t *single = json_array(), *pair = json_array(), *list = json_object();
    for (int i = 0; i < 2; i++) { /* a pair is both texts, each with its tokens */
        json_t *text = json_pack("{s:{s:s, s:i}}", "Sequence", "id", i ? "B" : "A", "type_id", 0);
        json_t *begin = bos ? special_item(v, v->bos, list) : NULL, *end = eos ? special_item(v, v->eos, list) : NULL;
        json_t *const items[] = { begin, text, end };
        for (size_t k = 0; k < ARRAY_LEN(items); k++) {
            if (items[k] && !i) json_array_append(single, items[k]);
            if (items[k]) json_array_append_new(pair, items[k]);
        }
    }
    return json_pack("{s:s, s:o, s:o, s:o}", "type", "TemplateProcessing", "single", single, "pair", pair,
                     "special_tokens", list);
}

/* --- The files --- */

static enum err_code model_json(const struct vocab *v, json_t *o, struct err *e) {
    json_t *pieces = json_object(), *merges = json_array();
    put(o, "type", json_string("BPE"));
    put(o, "dropout", json_null());
    put(o, "unk_token", is_spm(v) && v->unk >= 0 ? text_of(v->piece[v->unk]) : json_null());
    put(o, "continuing_subword_prefix", json_null());
    put(o, "end_of_word_suffix", json_null());
    put(o, "fuse_unk", json_boolean(is_spm(v)));
    put(o, "byte_fallback", json_boolean(is_spm(v)));
    put(o, "ignore_merges", json_boolean(v->ignore_merges));
    put(o, "vocab", pieces);
    put(o, "merges", merges);
    TRY(pieces_json(v, pieces, e));
    return is_spm(v) ? made_merges(v, merges, e) : stored_merges(v, merges, e);
}

enum err_code hf_tok_json(const struct vocab *v, struct buf *out, struct err *e) {
    if (v->model == VOCAB_UNIGRAM || v->charsmap.n || v->remove_extra_spaces || v->spaces)
        return err_set(e, ERR_UNSUPPORTED, "tokenizer.json cannot be written for a tokenizer of SentencePiece that %s: "
                       "write GGUF instead",
                       v->model == VOCAB_UNIGRAM ? "is a unigram model" : "replaces characters or spaces");
    const struct pretok_rule *rule = is_spm(v) ? NULL : pretok_rule_named(str_of(v->pre));
    if (!is_spm(v) && !rule)
        return err_set(e, ERR_UNSUPPORTED, "the pre-tokenizer \"%s\" is not known, so tokenizer.json cannot be written",
                       v->pre);
    json_t *o = json_object(), *model = json_object();
    put(o, "version", json_string("1.0"));
    put(o, "truncation", json_null());
    put(o, "padding", json_null());
    put(o, "added_tokens", added_json(v));
    put(o, "normalizer", normalizer_json(v));
    put(o, "pre_tokenizer", pre_tokenizer_json(v, rule));
    put(o, "post_processor", post_processor_json(v));
    put(o, "decoder", decoder_json(v));
    put(o, "model", model);
    enum err_code rc = model_json(v, model, e);
    if (!rc) return hf_meta_json(o, out, e);
    json_decref(o);
    return rc;
}

enum err_code hf_tok_config(const struct vocab *v, uint32_t n_ctx, struct buf *out, struct err *e) {
    const struct { const char *key; int32_t id; } tokens[] = { { "bos_token", v->bos }, { "eos_token", v->eos },
                                                               { "unk_token", v->unk }, { "pad_token", v->pad } };
    json_t *o = json_pack("{s:s, s:b, s:b, s:b, s:I}", "tokenizer_class", "PreTrainedTokenizerFast", "add_bos_token",
                          v->add_bos, "add_eos_token", v->add_eos, "clean_up_tokenization_spaces", 0,
                          "model_max_length", (json_int_t)n_ctx);
    for (size_t i = 0; i < ARRAY_LEN(tokens); i++)
        if (tokens[i].id >= 0) put(o, tokens[i].key, text_of(v->piece[tokens[i].id]));
    return hf_meta_json(o, out, e);
}
