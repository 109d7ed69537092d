/* Owns what tokenizer.json says of the model: pieces, merges or scores, and the tokens added to them. */
#include "format/hf_tok_impl.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/log.h"
#include "base/num.h"

/* Far above any vocabulary. */
#define MAX_PIECES (1 << 24)

static enum err_code keep_json(struct hf_tokenizer *t, const json_t *s, struct str *out, struct err *e) {
    return hf_tok_keep(t, json_string_value(s), json_string_length(s), out, e);
}

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

/* Ids below n are there, and those of added tokens. Real files leave gaps of a few, if any; a hostile one must not ask
 * for memory by a single number. */
static enum err_code claim_ids(struct hf_tokenizer *t, uint32_t n, size_t n_pieces, struct err *e) {
    uint64_t given = n_pieces + (uint64_t)t->n_added;
    if (n > t->n) t->n = n;
    if (t->n <= 2 * given + 1024) return ERR_NONE;
    return err_set(e, ERR_FORMAT, "ids up to %u for %llu pieces", t->n - 1, (unsigned long long)given);
}

static enum err_code read_pieces(struct hf_tokenizer *t, json_t *vocab, struct err *e) {
    const char *key;
    json_t *v;
    int32_t id = 0;
    if (!json_is_object(vocab) || !json_object_size(vocab)) {
        return err_set(e, ERR_FORMAT, "\"model.vocab\" is no object of pieces and ids");
    }
    json_object_foreach(vocab, key, v) {
        TRY(check_id(v, key, &id, e));
        if (id >= (int64_t)t->n) t->n = (uint32_t)id + 1;
    }
    TRY(claim_ids(t, 0, json_object_size(vocab), e));
    struct str *piece = arena_alloc(&t->mem, t->n, sizeof(*piece));
    if (!piece) return err_no_memory(e, t->n * sizeof(*piece));
    t->piece = piece;
    json_object_foreach(vocab, key, v) {
        id = (int32_t)json_integer_value(v);
        if (piece[id].p)
            return err_set(e, ERR_FORMAT, "pieces \"%.60s\" and \"%.60s\" have the same id %d", piece[id].p, key, id);
        TRY(hf_tok_keep(t, key, strlen(key), &piece[id], e));
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

/* Unigram: [["piece", score], ...], the place being the id. */
static enum err_code read_scored(struct hf_tokenizer *t, const json_t *vocab, struct err *e) {
    size_t i, n = json_array_size(vocab);
    const json_t *entry;
    if (!json_is_array(vocab) || !n) return err_set(e, ERR_FORMAT, "\"model.vocab\" is no list of pieces and scores");
    if (n > MAX_PIECES) return err_set(e, ERR_TOO_LARGE, "\"model.vocab\" has %zu pieces", n);
    TRY(claim_ids(t, (uint32_t)n, n, e));
    struct str *piece = arena_alloc(&t->mem, t->n, sizeof(*piece));
    float *score = arena_alloc(&t->mem, t->n, sizeof(*score));
    if (!piece || !score) return err_no_memory(e, t->n * (sizeof(*piece) + sizeof(*score)));
    t->piece = piece;
    t->score = score;
    json_array_foreach((json_t *)vocab, i, entry) {
        const json_t *text = json_array_get(entry, 0), *number = json_array_get(entry, 1);
        double value = json_number_value(number);
        if (json_array_size(entry) != 2 || !json_is_string(text) || !json_is_number(number) || fabs(value) > FLT_MAX) {
            return err_set(e, ERR_FORMAT, "entry %zu of \"model.vocab\" is no pair of a piece and its score", i);
        }
        TRY(keep_json(t, text, &piece[i], e));
        score[i] = (float)value;
    }
    return ERR_NONE;
}

static enum err_code read_unigram(struct hf_tokenizer *t, const json_t *model, struct err *e) {
    const json_t *unk = json_object_get(model, "unk_id");
    t->model = HF_TOK_UNIGRAM;
    t->byte_fallback = flag(model, "byte_fallback", false);
    TRY(read_scored(t, json_object_get(model, "vocab"), e));
    if (!unk || json_is_null(unk)) return ERR_NONE;
    TRY(check_id(unk, "\"model.unk_id\"", &t->unk, e));
    if (t->unk < (int64_t)t->n) return ERR_NONE;
    return err_set(e, ERR_FORMAT, "\"model.unk_id\" is %d, but there are %u pieces", t->unk, t->n);
}

static bool has_text(const json_t *o, const char *key) { return json_string_length(json_object_get(o, key)) > 0; }

static enum err_code read_bpe(struct hf_tokenizer *t, const json_t *model, struct err *e) {
    const json_t *dropout = json_object_get(model, "dropout"), *unk = json_object_get(model, "unk_token");
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
    if (json_is_string(unk)) {
        t->unk = hf_tokenizer_id(t, (struct str){ json_string_value(unk), json_string_length(unk) });
    }
    return read_merges(t, json_object_get(model, "merges"), e);
}

enum err_code hf_tok_read_model(struct hf_tokenizer *t, const json_t *root, struct err *e) {
    const json_t *model = json_object_get(root, "model"), *type = json_object_get(model, "type");
    TRY(read_added(t, json_object_get(root, "added_tokens"), e));
    if (!json_is_object(model)) return err_set(e, ERR_FORMAT, "there is no \"model\"");
    /* Old files do not name the type: BPE alone has merges, and Unigram alone a list of pieces. */
    bool list = json_is_array(json_object_get(model, "vocab"));
    if (type ? is_type(model, "Unigram") : list) return read_unigram(t, model, e);
    if (!type || is_type(model, "BPE")) return read_bpe(t, model, e);
    return err_set(e, ERR_UNSUPPORTED, "the tokenizer's model is %.60s; snug has BPE and Unigram", type_of(model));
}
