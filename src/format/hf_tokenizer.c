/* Owns reading of tokenizer.json. The file describes a pipeline: normalizer,
 * pre-tokenizer, model, post-processor, decoder. Each part is recognized by its type and options and becomes a field of
 * the record; whatever would make other ids than the record says is refused rather than ignored. jansson bounds the
 * nesting. */
#include "format/hf_tokenizer.h"

#include <jansson.h>
#include <string.h>

#include "base/log.h"
#include "base/num.h"
#include "base/os.h"

/* Far above any vocabulary. */
#define MAX_PIECES (1 << 24)

#define SPACE "\xe2\x96\x81" /* U+2581 */
/* What ByteLevel with use_regex does. */
#define GPT2_SPLIT "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

/* --- Access to JSON --- */

static bool is_type(const json_t *o, const char *type) {
    const char *s = json_string_value(json_object_get(o, "type"));
    return s && !strcmp(s, type);
}

static bool flag(const json_t *o, const char *key, bool absent) {
    const json_t *v = json_object_get(o, key);
    return json_is_boolean(v) ? json_is_true(v) : absent;
}

static bool text_is(const json_t *o, const char *key, const char *text) {
    const char *s = json_string_value(json_object_get(o, key));
    return s && !strcmp(s, text);
}

static const char *type_of(const json_t *o) {
    const char *s = json_string_value(json_object_get(o, "type"));
    return s ? s : "(no type)";
}

static enum err_code unsupported(const json_t *o, const char *part, struct err *e) {
    return err_set(e, ERR_UNSUPPORTED,
                   "\"%s\" has a part of type %.60s, or with options, that snug cannot tokenize with", part,
                   type_of(o));
}

static enum err_code keep(struct hf_tokenizer *t, const char *p, size_t n, struct str *out, struct err *e) {
    char *copy = arena_strndup(&t->mem, p, n);
    if (!copy) return err_no_memory(e, n);
    *out = (struct str){ copy, n };
    return ERR_NONE;
}

static enum err_code keep_json(struct hf_tokenizer *t, const json_t *s, struct str *out, struct err *e) {
    return keep(t, json_string_value(s), json_string_length(s), out, e);
}

/* --- Vocabulary --- */

static enum err_code check_id(const json_t *v, const char *what, int32_t *id, struct err *e) {
    json_int_t i = json_integer_value(v);
    if (!json_is_integer(v) || i < 0 || i >= MAX_PIECES) {
        return err_set(e, ERR_FORMAT, "the id of %.60s is no number from 0 to %d", what, MAX_PIECES - 1);
    }
    *id = (int32_t)i;
    return ERR_NONE;
}

static enum err_code read_added(struct hf_tokenizer *t, const json_t *list, struct err *e) {
    size_t i;
    const json_t *a;
    bool stripped = false;
    if (!list || json_is_null(list)) return ERR_NONE;
    if (!json_is_array(list)) return err_set(e, ERR_FORMAT, "\"added_tokens\" is no list");
    struct hf_tok_added *added = arena_alloc(&t->mem, json_array_size(list) + 1, sizeof(*added));
    if (!added) return err_no_memory(e, json_array_size(list) * sizeof(*added));
    json_array_foreach((json_t *)list, i, a) {
        struct hf_tok_added *to = &added[t->n_added];
        const json_t *text = json_object_get(a, "content");
        if (!json_is_string(text)) return err_set(e, ERR_FORMAT, "\"added_tokens\" has an entry without \"content\"");
        TRY(check_id(json_object_get(a, "id"), "an added token", &to->id, e));
        TRY(keep_json(t, text, &to->text, e));
        to->special = flag(a, "special", false);
        stripped = stripped || flag(a, "lstrip", false) || flag(a, "rstrip", false) || flag(a, "single_word", false);
        if (to->id >= (int64_t)t->n) t->n = (uint32_t)to->id + 1;
        t->n_added++;
    }
    t->added = added;
    if (stripped) {
        log_warn(
            "tokenizer.json: added tokens that take the spaces beside them (lstrip, rstrip, single_word) leave them");
    }
    return ERR_NONE;
}

static enum err_code read_pieces(struct hf_tokenizer *t, json_t *vocab, struct err *e) {
    const char *key;
    json_t *v;
    int32_t id = 0;
    uint64_t given = json_object_size(vocab) + t->n_added;
    if (!json_is_object(vocab) || !json_object_size(vocab)) {
        return err_set(e, ERR_FORMAT, "\"model.vocab\" is no object of pieces and ids");
    }
    json_object_foreach(vocab, key, v) {
        TRY(check_id(v, key, &id, e));
        if (id >= (int64_t)t->n) t->n = (uint32_t)id + 1;
    }
    /* Real files leave gaps of a few ids, if any; a hostile one must not ask for memory by a single number. */
    if (t->n > 2 * given + 1024) return err_set(e, ERR_FORMAT, "ids up to %u for %zu pieces", t->n - 1, (size_t)given);
    struct str *piece = arena_alloc(&t->mem, t->n, sizeof(*piece));
    if (!piece) return err_no_memory(e, t->n * sizeof(*piece));
    t->piece = piece;
    json_object_foreach(vocab, key, v) {
        id = (int32_t)json_integer_value(v);
        if (piece[id].p)
            return err_set(e, ERR_FORMAT, "pieces \"%.60s\" and \"%.60s\" have the same id %d", piece[id].p, key, id);
        TRY(keep(t, key, strlen(key), &piece[id], e));
    }
    return ERR_NONE;
}

/* A merge is "left right" or ["left", "right"]. */
static enum err_code read_merge(struct hf_tokenizer *t, const json_t *m, struct hf_tok_merge *out, struct err *e) {
    const json_t *left = json_array_get(m, 0), *right = json_array_get(m, 1);
    if (json_array_size(m) == 2 && json_string_length(left) && json_string_length(right)) {
        TRY(keep_json(t, left, &out->left, e));
        return keep_json(t, right, &out->right, e);
    }
    const char *s = json_string_value(m), *gap = s && *s ? strchr(s + 1, ' ') : NULL;
    if (!gap || !gap[1]) return err_set(e, ERR_FORMAT, "\"model.merges\" has an entry that is no pair of pieces");
    struct str both = { 0 };
    TRY(keep_json(t, m, &both, e));
    out->left = (struct str){ both.p, (size_t)(gap - s) };
    out->right = (struct str){ both.p + (gap - s) + 1, both.n - (size_t)(gap - s) - 1 };
    return ERR_NONE;
}

static enum err_code read_merges(struct hf_tokenizer *t, const json_t *list, struct err *e) {
    size_t i;
    const json_t *m;
    if (!json_is_array(list)) return err_set(e, ERR_FORMAT, "\"model.merges\" is no list");
    size_t n = json_array_size(list);
    if (n > INT32_MAX) return err_set(e, ERR_TOO_LARGE, "\"model.merges\" has %zu entries", n);
    struct hf_tok_merge *merge = arena_alloc(&t->mem, n + 1, sizeof(*merge));
    if (!merge) return err_no_memory(e, n * sizeof(*merge));
    json_array_foreach((json_t *)list, i, m) TRY(read_merge(t, m, &merge[i], e));
    t->merge = merge;
    t->n_merges = (uint32_t)n;
    return ERR_NONE;
}

static bool has_text(const json_t *o, const char *key) { return json_string_length(json_object_get(o, key)) > 0; }

static enum err_code read_model(struct hf_tokenizer *t, const json_t *model, struct err *e) {
    const json_t *type = json_object_get(model, "type"), *dropout = json_object_get(model, "dropout");
    if (!json_is_object(model)) return err_set(e, ERR_FORMAT, "there is no \"model\"");
    /* Old files do not name the type; only BPE has merges. */
    if (type && !is_type(model, "BPE")) {
        return err_set(e, ERR_UNSUPPORTED, "the tokenizer's model is %.60s; snug has BPE", type_of(model));
    }
    if (has_text(model, "continuing_subword_prefix") || has_text(model, "end_of_word_suffix")) {
        return err_set(e, ERR_UNSUPPORTED,
                       "pieces are marked as parts or ends of words, which snug cannot tokenize with");
    }
    if (json_is_number(dropout) && json_number_value(dropout) != 0) {
        return err_set(e, ERR_UNSUPPORTED, "the tokenizer drops merges by chance (\"model.dropout\")");
    }
    t->byte_fallback = flag(model, "byte_fallback", false);
    t->ignore_merges = flag(model, "ignore_merges", false);
    TRY(read_pieces(t, json_object_get(model, "vocab"), e));
    return read_merges(t, json_object_get(model, "merges"), e);
}

/* --- Normalizer and pre-tokenizer --- */

/* The parts of a Sequence, or the object itself; a part beyond the end is NULL. */
static const json_t *part(const json_t *o, const char *list, size_t i) {
    if (is_type(o, "Sequence")) return json_array_get(json_object_get(o, list), i);
    return i || json_is_null(o) ? NULL : o;
}

static enum err_code read_normalizer(struct hf_tokenizer *t, const json_t *o, bool *spaces, struct err *e) {
    const json_t *p;
    for (size_t i = 0; (p = part(o, "normalizers", i)); i++) {
        if (is_type(p, "NFC") && !t->nfc) {
            t->nfc = true;
        } else if (is_type(p, "Prepend") && text_is(p, "prepend", SPACE)) {
            t->prefix = HF_TOK_PREFIX_EACH;
        } else if (is_type(p, "Replace") && text_is(json_object_get(p, "pattern"), "String", " ") &&
                   text_is(p, "content", SPACE)) {
            *spaces = true;
        } else {
            return unsupported(p, "normalizer", e);
        }
    }
    return ERR_NONE;
}

static enum err_code add_split(struct hf_tokenizer *t, const char *re, size_t n, struct err *e) {
    if (t->n_splits == HF_TOK_MAX_SPLITS) return err_set(e, ERR_UNSUPPORTED, "\"pre_tokenizer\" has too many parts");
    return keep(t, re, n, &t->split[t->n_splits++], e);
}

/* Matches stand alone, or they alone stay; the expressions in use match everything, so both mean the same. */
static bool isolates(const json_t *split) {
    if (text_is(split, "behavior", "Isolated")) return !flag(split, "invert", false);
    return text_is(split, "behavior", "Removed") && flag(split, "invert", false);
}

static enum err_code read_metaspace(struct hf_tokenizer *t, const json_t *p, struct err *e) {
    const char *scheme = json_string_value(json_object_get(p, "prepend_scheme"));
    /* With "split", which is the default, runs of spaces never merge. */
    if (!text_is(p, "replacement", SPACE) || flag(p, "split", true)) return unsupported(p, "pre_tokenizer", e);
    /* Files older than the schemes say only whether. */
    if (!scheme) scheme = flag(p, "add_prefix_space", true) ? "always" : "never";
    t->prefix = !strcmp(scheme, "never") ? HF_TOK_PREFIX_NONE
              : !strcmp(scheme, "first") ? HF_TOK_PREFIX_FIRST : HF_TOK_PREFIX_EACH;
    t->prefix_once = true;
    return ERR_NONE;
}

static enum err_code read_pre_tokenizer(struct hf_tokenizer *t, const json_t *o, bool *bytes, bool *spaces,
                                        struct err *e) {
    const json_t *p;
    for (size_t i = 0; (p = part(o, "pretokenizers", i)); i++) {
        const json_t *pattern = json_object_get(p, "pattern"), *re = json_object_get(pattern, "Regex");
        if (is_type(p, "ByteLevel") && !flag(p, "add_prefix_space", true)) {
            if (flag(p, "use_regex", true)) TRY(add_split(t, GPT2_SPLIT, sizeof(GPT2_SPLIT) - 1, e));
            *bytes = true;
        } else if (is_type(p, "Split") && json_is_string(re) && isolates(p)) {
            TRY(add_split(t, json_string_value(re), json_string_length(re), e));
        } else if (is_type(p, "Digits")) {
            const char *digits = flag(p, "individual_digits", false) ? "\\p{N}" : "\\p{N}+";
            TRY(add_split(t, digits, strlen(digits), e));
        } else if (is_type(p, "Metaspace")) {
            TRY(read_metaspace(t, p, e));
            *spaces = true;
        } else if (is_type(p, "Split") && text_is(pattern, "String", " ") && *spaces) {
            continue; /* no spaces are left to split at */
        } else {
            return unsupported(p, "pre_tokenizer", e);
        }
    }
    return ERR_NONE;
}

/* Which of the two models it is, by what happens to spaces. */
static enum err_code read_pipeline(struct hf_tokenizer *t, const json_t *root, struct err *e) {
    bool bytes = false, spaces = false;
    TRY(read_normalizer(t, json_object_get(root, "normalizer"), &spaces, e));
    TRY(read_pre_tokenizer(t, json_object_get(root, "pre_tokenizer"), &bytes, &spaces, e));
    if (bytes == spaces) {
        return err_set(e, ERR_UNSUPPORTED, "the tokenizer is neither byte-level nor in SentencePiece's style");
    }
    if (spaces && (t->n_splits || t->nfc)) {
        return err_set(e, ERR_UNSUPPORTED, "a tokenizer in SentencePiece's style that also splits or normalizes text");
    }
    t->model = bytes ? HF_TOK_BYTE_LEVEL : HF_TOK_SENTENCEPIECE;
    return ERR_NONE;
}

/* --- Post-processor, ids, template --- */

/* The id of a special token of a template, by the list beside it; -1 if it is not one id. */
static int32_t template_id(const struct hf_tokenizer *t, const json_t *processor, const json_t *item) {
    const char *name = json_string_value(json_object_get(json_object_get(item, "SpecialToken"), "id"));
    if (!name) return -1;
    const json_t *ids = json_object_get(json_object_get(json_object_get(processor, "special_tokens"), name), "ids");
    if (json_array_size(ids) != 1) return -1;
    json_int_t id = json_integer_value(json_array_get(ids, 0));
    return id >= 0 && id < (json_int_t)t->n ? (int32_t)id : -1;
}

/* [BOS] text [EOS]. */
static enum err_code read_template(struct hf_tokenizer *t, const json_t *p, struct err *e) {
    const json_t *single = json_object_get(p, "single"), *item;
    bool behind = false;
    size_t i;
    json_array_foreach((json_t *)single, i, item) {
        if (json_object_get(item, "Sequence")) {
            behind = true;
            continue;
        }
        int32_t id = template_id(t, p, item);
        bool *add = behind ? &t->add_eos : &t->add_bos;
        if (id < 0 || *add) return unsupported(p, "post_processor", e);
        *add = true;
        *(behind ? &t->eos : &t->bos) = id;
    }
    return ERR_NONE;
}

static enum err_code read_post_processor(struct hf_tokenizer *t, const json_t *o, struct err *e) {
    const json_t *p;
    for (size_t i = 0; (p = part(o, "processors", i)); i++) {
        if (is_type(p, "TemplateProcessing")) {
            t->has_template = true;
            TRY(read_template(t, p, e));
        } else if (!is_type(p, "ByteLevel")) { /* which only moves offsets */
            return unsupported(p, "post_processor", e);
        }
    }
    return ERR_NONE;
}

/* --- The whole --- */

static enum err_code read_root(struct hf_tokenizer *t, const json_t *root, struct err *e) {
    const json_t *model = json_object_get(root, "model"), *unk;
    TRY(read_added(t, json_object_get(root, "added_tokens"), e));
    TRY(read_model(t, model, e));
    TRY(read_pipeline(t, root, e));
    TRY(read_post_processor(t, json_object_get(root, "post_processor"), e));
    unk = json_object_get(model, "unk_token");
    if (json_is_string(unk)) {
        t->unk = hf_tokenizer_id(t, (struct str){ json_string_value(unk), json_string_length(unk) });
    }
    return ERR_NONE;
}

enum err_code hf_tokenizer_parse(struct span json, const struct hf_config *config, struct hf_tokenizer **out,
                                 struct err *e) {
    json_error_t je;
    enum err_code rc;
    *out = NULL;
    struct hf_tokenizer *t = hf_tokenizer_new();
    if (!t) return err_no_memory(e, sizeof(*t));
    json_t *root = json_loadb(json.n ? (const char *)json.p : "", json.n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &je);
    if (!root) rc = err_set(e, ERR_FORMAT, "this is not valid JSON: line %d: %s", je.line, je.text);
    else rc = read_root(t, root, e);
    json_decref(root);
    if (!rc && config) rc = hf_tokenizer_configure(t, config, e);
    if (rc) hf_tokenizer_close(t);
    else *out = t;
    return rc;
}
