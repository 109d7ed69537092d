/* Owns reading of tokenizer.json. The file describes a pipeline: normalizer,
 * pre-tokenizer, model, post-processor, decoder. Each part is recognized by its type and options and becomes a field of
 * the record; whatever would make other ids than the record says is refused rather than ignored. The model and its
 * vocabulary are hf_tok_model.c's. jansson bounds the nesting. */
#include "format/hf_tok_impl.h"

#include <string.h>

#include "base/log.h"
#include "format/base64.h"

/* What ByteLevel with use_regex does. */
#define GPT2_SPLIT "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

static enum err_code unsupported(const json_t *o, const char *part, struct err *e) {
    return err_set(e, ERR_UNSUPPORTED,
                   "\"%s\" has a part of type %.60s, or with options, that snug cannot tokenize with", part,
                   type_of(o));
}

/* --- Normalizer and pre-tokenizer --- */

/* The parts of a Sequence, or the object itself; a part beyond the end is NULL. */
static const json_t *part(const json_t *o, const char *list, size_t i) {
    if (is_type(o, "Sequence")) return json_array_get(json_object_get(o, list), i);
    return i || json_is_null(o) ? NULL : o;
}

/* What the parts say together. */
struct seen {
    bool bytes, spaces;  /* byte-level, and in SentencePiece's style: spaces become U+2581 */
    bool joined_as_mark; /* runs of spaces have become U+2581 already */
};

/* SentencePiece's table of replacements; old files have null where there is none. */
static enum err_code read_charsmap(struct hf_tokenizer *t, const json_t *p, struct err *e) {
    const json_t *text = json_object_get(p, "precompiled_charsmap");
    struct str s = { json_string_value(text), json_string_length(text) };
    if (!s.n) return json_is_null(text) || s.p ? ERR_NONE : unsupported(p, "normalizer", e);
    char *bytes = arena_alloc(&t->mem, s.n / 4 + 1, 3);
    if (!bytes) return err_no_memory(e, s.n);
    if (!base64_decode(s, bytes, &t->charsmap.n)) {
        return err_set(e, ERR_FORMAT, "\"precompiled_charsmap\" is no base64");
    }
    t->charsmap.p = bytes;
    return ERR_NONE;
}

/* What a normalizer does; they are read where they stand in this order, which is that of all public files. */
enum step { STEP_CHARSMAP, STEP_STRIP, STEP_JOIN, STEP_SPACES, STEP_NFC, STEP_OTHER };

static enum step step_of(const json_t *p) {
    const json_t *pattern = json_object_get(p, "pattern");
    bool to_space = text_is(p, "content", SPACE);
    if (is_type(p, "NFC")) return STEP_NFC;
    if (is_type(p, "Precompiled")) return STEP_CHARSMAP;
    if (is_type(p, "Strip")) return STEP_STRIP;
    if (is_type(p, "Prepend") && text_is(p, "prepend", SPACE)) return STEP_SPACES;
    if (!is_type(p, "Replace")) return STEP_OTHER;
    if (text_is(pattern, "Regex", " {2,}") && (to_space || text_is(p, "content", " "))) return STEP_JOIN;
    return text_is(pattern, "String", " ") && to_space ? STEP_SPACES : STEP_OTHER;
}

static enum err_code read_normalizer(struct hf_tokenizer *t, const json_t *o, struct seen *seen, struct err *e) {
    const json_t *p;
    enum step last = STEP_CHARSMAP;
    for (size_t i = 0; (p = part(o, "normalizers", i)); i++) {
        enum step step = step_of(p);
        if (step < last || (step == last && i && step != STEP_SPACES) || step == STEP_OTHER) {
            return unsupported(p, "normalizer", e);
        }
        last = step;
        switch (step) {
        case STEP_CHARSMAP: TRY(read_charsmap(t, p, e)); break;
        case STEP_STRIP:
            t->trim_start = flag(p, "strip_left", true);
            t->trim_end = flag(p, "strip_right", true);
            break;
        case STEP_JOIN:
            t->join_spaces = true;
            seen->joined_as_mark = text_is(p, "content", SPACE);
            break;
        case STEP_NFC: t->nfc = true; break;
        default:
            if (is_type(p, "Prepend")) t->prefix = HF_TOK_PREFIX_EACH;
            else seen->spaces = true;
        }
    }
    return ERR_NONE;
}

static enum err_code add_split(struct hf_tokenizer *t, const char *re, size_t n, struct err *e) {
    if (t->n_splits == HF_TOK_MAX_SPLITS) return err_set(e, ERR_UNSUPPORTED, "\"pre_tokenizer\" has too many parts");
    return hf_tok_keep(t, re, n, &t->split[t->n_splits++], e);
}

/* Matches stand alone, or they alone stay; the expressions in use match everything, so both mean the same. */
static bool isolates(const json_t *split) {
    if (text_is(split, "behavior", "Isolated")) return !flag(split, "invert", false);
    return text_is(split, "behavior", "Removed") && flag(split, "invert", false);
}

static enum err_code read_metaspace(struct hf_tokenizer *t, const json_t *p, struct err *e) {
    const char *scheme = json_string_value(json_object_get(p, "prepend_scheme"));
    if (!text_is(p, "replacement", SPACE)) return unsupported(p, "pre_tokenizer", e);
    /* Files older than the schemes say only whether. */
    if (!scheme) scheme = flag(p, "add_prefix_space", true) ? "always" : "never";
    t->prefix = !strcmp(scheme, "never") ? HF_TOK_PREFIX_NONE
              : !strcmp(scheme, "first") ? HF_TOK_PREFIX_FIRST : HF_TOK_PREFIX_EACH;
    t->prefix_once = true;
    t->split_words = flag(p, "split", true);
    return ERR_NONE;
}

static enum err_code read_pre_tokenizer(struct hf_tokenizer *t, const json_t *o, struct seen *seen, struct err *e) {
    const json_t *p;
    for (size_t i = 0; (p = part(o, "pretokenizers", i)); i++) {
        const json_t *pattern = json_object_get(p, "pattern"), *re = json_object_get(pattern, "Regex");
        if (is_type(p, "ByteLevel") && !flag(p, "add_prefix_space", true)) {
            if (flag(p, "use_regex", true)) TRY(add_split(t, GPT2_SPLIT, sizeof(GPT2_SPLIT) - 1, e));
            seen->bytes = true;
        } else if (is_type(p, "Split") && json_is_string(re) && isolates(p)) {
            TRY(add_split(t, json_string_value(re), json_string_length(re), e));
        } else if (is_type(p, "Digits")) {
            const char *digits = flag(p, "individual_digits", false) ? "\\p{N}" : "\\p{N}+";
            TRY(add_split(t, digits, strlen(digits), e));
        } else if (is_type(p, "WhitespaceSplit") && !i && !seen->spaces && !seen->joined_as_mark) {
            t->white_parts = true;
        } else if (is_type(p, "Metaspace") && !seen->spaces) {
            TRY(read_metaspace(t, p, e));
            if (t->white_parts && (t->prefix != HF_TOK_PREFIX_EACH || !t->split_words)) {
                return unsupported(p, "pre_tokenizer", e);
            }
            seen->spaces = true;
        } else if (is_type(p, "Split") && text_is(pattern, "String", " ") && seen->spaces) {
            continue; /* no spaces are left to split at */
        } else {
            return unsupported(p, "pre_tokenizer", e);
        }
    }
    return ERR_NONE;
}

/* Which of the two kinds it is, by what happens to spaces. */
static enum err_code read_pipeline(struct hf_tokenizer *t, const json_t *root, struct err *e) {
    struct seen seen = { 0 };
    TRY(read_normalizer(t, json_object_get(root, "normalizer"), &seen, e));
    TRY(read_pre_tokenizer(t, json_object_get(root, "pre_tokenizer"), &seen, e));
    if (seen.bytes == seen.spaces) {
        return err_set(e, ERR_UNSUPPORTED, "the tokenizer is neither byte-level nor in SentencePiece's style");
    }
    if (seen.spaces && (t->n_splits || t->nfc)) {
        return err_set(e, ERR_UNSUPPORTED, "a tokenizer in SentencePiece's style that also splits or normalizes text");
    }
    if (seen.bytes && (t->charsmap.n || t->trim_start || t->trim_end || t->join_spaces || t->white_parts)) {
        return err_set(e, ERR_UNSUPPORTED, "a byte-level tokenizer that also replaces characters or spaces");
    }
    if (t->model == HF_TOK_UNIGRAM) {
        if (seen.spaces) return ERR_NONE;
        return err_set(e, ERR_UNSUPPORTED, "a Unigram model that is not in SentencePiece's style");
    }
    t->model = seen.bytes ? HF_TOK_BYTE_LEVEL : HF_TOK_SENTENCEPIECE;
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
    TRY(hf_tok_read_model(t, root, e));
    TRY(read_pipeline(t, root, e));
    return read_post_processor(t, json_object_get(root, "post_processor"), e);
}

enum err_code hf_tok_parse(struct span json, hf_tok_reader *read, struct hf_tokenizer **out, struct err *e) {
    json_error_t je;
    enum err_code rc;
    *out = NULL;
    struct hf_tokenizer *t = hf_tokenizer_new();
    if (!t) return err_no_memory(e, sizeof(*t));
    json_t *root = json_loadb(json.n ? (const char *)json.p : "", json.n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &je);
    if (!root) rc = err_set(e, ERR_FORMAT, "this is not valid JSON: line %d: %s", je.line, je.text);
    else rc = read(t, root, e);
    json_decref(root);
    if (rc) hf_tokenizer_close(t);
    else *out = t;
    return rc;
}

enum err_code hf_tokenizer_parse(struct span json, const struct hf_config *config, struct hf_tokenizer **out,
                                 struct err *e) {
    TRY(hf_tok_parse(json, read_root, out, e));
    enum err_code rc = config ? hf_tokenizer_configure(*out, config, e) : ERR_NONE;
    if (!rc) return ERR_NONE;
    hf_tokenizer_close(*out);
    *out = NULL;
    return rc;
}
