/* Owns reading of Mistral's tekken.json: pieces as base64 in order of rank, special tokens before them, and the
 * expression that cuts words (docs/formats/tekken.md). The file has no merges: the rank of a piece is the rank of the
 * merge that makes it. */
#include "format/tekken.h"

#include <stdio.h>
#include <string.h>

#include "format/base64.h"
#include "format/hf_tok_impl.h"

/* Far above any vocabulary; real files have 1000 special tokens, most of them without a name. */
#define MAX_PIECES (1 << 24)
#define MAX_SPECIAL (1 << 16)

/* What a file that lists no special tokens has at the ids from 0 on: those of the first version, which Mistral's own
 * reader fills in. */
static const char *const first_specials[] = {
    "<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]",
    "[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]",
};

/* A number of o from lo to hi. */
static enum err_code get_int(const json_t *o, const char *key, json_int_t lo, json_int_t hi, uint32_t *out,
                             struct err *e) {
    const json_t *v = json_object_get(o, key);
    json_int_t i = json_integer_value(v);
    if (!json_is_integer(v) || i < lo || i > hi) {
        return err_set(e, ERR_FORMAT, "\"%s\" is no number from %lld to %lld", key, (long long)lo, (long long)hi);
    }
    *out = (uint32_t)i;
    return ERR_NONE;
}

/* --- Special tokens --- */

static enum err_code put_special(struct hf_tokenizer *t, struct hf_tok_added *list, uint32_t id, struct str text,
                                 bool control, struct err *e) {
    char *copy = arena_strndup(&t->mem, text.p, text.n);
    if (!copy) return err_no_memory(e, text.n);
    if (list[id].text.p) return err_set(e, ERR_FORMAT, "two of \"special_tokens\" have the rank %u", id);
    list[id] = (struct hf_tok_added){ (int32_t)id, { copy, text.n }, control };
    const struct { const char *text; int32_t *id; } known[] = {
        { "<s>", &t->bos }, { "</s>", &t->eos }, { "<unk>", &t->unk }, { "<pad>", &t->pad },
    };
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (str_eqz(text, known[i].text)) *known[i].id = (int32_t)id;
    }
    return ERR_NONE;
}

static enum err_code listed_specials(struct hf_tokenizer *t, const json_t *given, struct hf_tok_added *list,
                                     uint32_t n, struct err *e) {
    size_t i;
    const json_t *item;
    json_array_foreach((json_t *)given, i, item) {
        const json_t *text = json_object_get(item, "token_str");
        uint32_t id;
        TRY(get_int(item, "rank", 0, (json_int_t)n - 1, &id, e));
        if (!json_is_string(text)) return err_set(e, ERR_FORMAT, "\"special_tokens\" has an entry without text");
        struct str s = { json_string_value(text), json_string_length(text) };
        TRY(put_special(t, list, id, s, !json_is_false(json_object_get(item, "is_control")), e));
    }
    return ERR_NONE;
}

/* Ids 0 to n - 1; those that nothing names get a name by their number. */
static enum err_code read_specials(struct hf_tokenizer *t, const json_t *given, uint32_t n, struct err *e) {
    struct hf_tok_added *list = arena_alloc(&t->mem, (size_t)n + 1, sizeof(*list));
    if (!list) return err_no_memory(e, n * sizeof(*list));
    if (given && !json_is_null(given)) {
        if (!json_is_array(given)) return err_set(e, ERR_FORMAT, "\"special_tokens\" is no list");
        TRY(listed_specials(t, given, list, n, e));
    } else {
        for (uint32_t i = 0; i < n && i < ARRAY_LEN(first_specials); i++) {
            TRY(put_special(t, list, i, str_of(first_specials[i]), true, e));
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        char name[32];
        if (list[i].text.p) continue;
        int len = snprintf(name, sizeof(name), "<SPECIAL_%u>", i);
        TRY(put_special(t, list, i, (struct str){ name, (size_t)len }, true, e));
    }
    t->added = list;
    t->n_added = n;
    return ERR_NONE;
}

/* --- Pieces --- */

/* Pieces of ranks below t->n - first; files list more than the model uses. */
static enum err_code read_pieces(struct hf_tokenizer *t, const json_t *vocab, uint32_t first, struct err *e) {
    size_t i, n;
    const json_t *item;
    if (json_array_size(vocab) < t->n - first) {
        return err_set(e, ERR_FORMAT, "\"vocab\" has %zu pieces where %u are promised", json_array_size(vocab),
                       t->n - first);
    }
    struct str *piece = arena_alloc(&t->mem, t->n, sizeof(*piece));
    if (!piece) return err_no_memory(e, t->n * sizeof(*piece));
    t->piece = piece;
    json_array_foreach((json_t *)vocab, i, item) {
        const json_t *base64 = json_object_get(item, "token_bytes");
        struct str s = { json_string_value(base64), json_string_length(base64) };
        uint32_t rank;
        TRY(get_int(item, "rank", 0, MAX_PIECES, &rank, e));
        if (rank >= t->n - first) continue;
        char *bytes = arena_alloc(&t->mem, s.n + 1, 1);
        if (!bytes) return err_no_memory(e, s.n);
        if (!s.n || !base64_decode(s, bytes, &n)) {
            return err_set(e, ERR_FORMAT, "\"token_bytes\" of rank %u is no base64", rank);
        }
        if (piece[first + rank].p) return err_set(e, ERR_FORMAT, "two pieces have the rank %u", rank);
        piece[first + rank] = (struct str){ bytes, n };
    }
    return ERR_NONE;
}

static enum err_code check_all_there(const struct hf_tokenizer *t, uint32_t first, struct err *e) {
    for (uint32_t i = first; i < t->n; i++) {
        if (!t->piece[i].p) return err_set(e, ERR_FORMAT, "no piece has the rank %u", i - first);
    }
    return ERR_NONE;
}

/* --- The whole --- */

static enum err_code read_root(struct hf_tokenizer *t, const json_t *root, struct err *e) {
    const json_t *config = json_object_get(root, "config"), *pattern = json_object_get(config, "pattern");
    uint32_t n_special;
    if (!json_is_string(pattern)) return err_set(e, ERR_FORMAT, "there is no \"config\" with a \"pattern\"");
    TRY(get_int(config, "default_vocab_size", 1, MAX_PIECES, &t->n, e));
    TRY(get_int(config, "default_num_special_tokens", 0, MAX_SPECIAL, &n_special, e));
    if (n_special >= t->n) return err_set(e, ERR_FORMAT, "all of %u tokens are special", t->n);
    TRY(read_pieces(t, json_object_get(root, "vocab"), n_special, e));
    TRY(check_all_there(t, n_special, e));
    TRY(read_specials(t, json_object_get(root, "special_tokens"), n_special, e));
    size_t n = json_string_length(pattern);
    char *re = arena_strndup(&t->mem, json_string_value(pattern), n);
    if (!re) return err_no_memory(e, n);
    t->split[t->n_splits++] = (struct str){ re, n };
    t->model = HF_TOK_BYTE_LEVEL;
    t->by_rank = true;
    t->ignore_merges = true;
    t->add_bos = t->bos >= 0;
    return ERR_NONE;
}

enum err_code tekken_parse(struct span json, struct hf_tokenizer **out, struct err *e) {
    return hf_tok_parse(json, read_root, out, e);
}
