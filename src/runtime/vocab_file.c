/* Owns the translation of vocabularies between tokenizer.json, GGUF metadata and struct vocab. Promises that whatever
 * comes out has arrays of equal length, kinds that exist and special ids that are in range or -1. */
#include "runtime/vocab_file.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/num.h"
#include "base/os.h"
#include "text/pretok.h"
#include "text/strmap.h"

#define KEY "tokenizer.ggml."
/* What no standard key says: the prefix space stands at the start of the text only; and flags that the
 * pre-tokenizer's name implies elsewhere, written where the file it came from says otherwise. */
#define KEY_PREFIX_FIRST "snug.tokenizer.prefix_space_first_only"
#define KEY_IGNORE_MERGES "snug.tokenizer.ignore_merges"
#define KEY_NFC "snug.tokenizer.nfc"

static enum err_code set_pre(struct vocab *v, struct str name, struct err *e) {
    if (name.n >= sizeof(v->pre)) {
        return err_set(e, ERR_UNSUPPORTED, "the name of the pre-tokenizer has %zu characters, more than %zu", name.n,
                       sizeof(v->pre) - 1);
    }
    if (name.n) memcpy(v->pre, name.p, name.n);
    v->pre[name.n] = 0;
    return ERR_NONE;
}

/* What the name of the pre-tokenizer says besides the expressions. */
static unsigned implied_flags(const struct vocab *v) {
    const struct pretok_rule *rule = v->model == VOCAB_BPE ? pretok_rule_named(str_of(v->pre)) : NULL;
    return rule ? rule->flags : 0;
}

static enum err_code alloc_pieces(struct vocab *v, uint32_t n, struct err *e) {
    v->piece = arena_alloc(&v->arena, n, sizeof(*v->piece));
    v->kind = arena_alloc(&v->arena, n, 1);
    if (v->model == VOCAB_SPM) v->score = arena_alloc(&v->arena, n, sizeof(*v->score));
    if (!v->piece || !v->kind || (v->model == VOCAB_SPM && !v->score)) return err_no_memory(e, 21ull * n);
    v->n = n;
    return ERR_NONE;
}

static enum err_code keep(struct vocab *v, struct str s, struct str *out, struct err *e) {
    char *copy = arena_strndup(&v->arena, s.p ? s.p : "", s.n);
    if (!copy) return err_no_memory(e, s.n);
    *out = (struct str){ copy, s.n };
    return ERR_NONE;
}

/* --- From GGUF --- */

/* A list of strings; the bytes are copied as one block. */
static enum err_code strings_from_gguf(struct vocab *v, const struct gguf_array *a, struct str **out, struct err *e) {
    struct gguf_array rest = *a;
    uint8_t *block = arena_alloc(&v->arena, a->bytes + 1, 1);
    *out = arena_alloc(&v->arena, a->n + 1, sizeof(**out));
    if (!block || !*out) return err_no_memory(e, a->bytes + a->n * sizeof(**out));
    memcpy(block, a->p, a->bytes);
    rest.p = block;
    for (uint64_t i = 0; gguf_array_next_str(&rest, &(*out)[i]); i++) continue;
    return ERR_NONE;
}

/* An array of key with n elements of the vocabulary; *found false if it is not there. */
static enum err_code per_piece(const struct gguf *g, const char *key, uint32_t n, struct gguf_array *a, bool *found,
                               struct err *e) {
    TRY(gguf_get_array(g, key, a, found, e));
    if (*found && a->n != n) {
        return err_set(e, ERR_FORMAT, "%s has %llu elements for %u tokens", key, (unsigned long long)a->n, n);
    }
    return ERR_NONE;
}

static enum err_code pieces_from_gguf(const struct gguf *g, struct vocab *v, struct err *e) {
    struct gguf_array a;
    bool found;
    double score;
    int64_t kind;
    TRY(gguf_get_array(g, KEY "tokens", &a, NULL, e));
    if (a.elem != GGUF_STRING || !a.n || a.n > INT32_MAX / 2) {
        return err_set(e, ERR_FORMAT, KEY "tokens is no list of strings of a fitting length");
    }
    TRY(alloc_pieces(v, (uint32_t)a.n, e));
    TRY(strings_from_gguf(v, &a, &v->piece, e));
    TRY(per_piece(g, KEY "token_type", v->n, &a, &found, e));
    for (uint32_t i = 0; i < v->n; i++) {
        if (found && !gguf_array_i64(&a, i, &kind)) return err_set(e, ERR_FORMAT, KEY "token_type holds no integers");
        v->kind[i] = found && kind >= TOKEN_NORMAL && kind <= TOKEN_BYTE ? (uint8_t)kind : TOKEN_NORMAL;
    }
    if (v->model != VOCAB_SPM) return ERR_NONE;
    TRY(per_piece(g, KEY "scores", v->n, &a, &found, e));
    if (!found) return err_set(e, ERR_FORMAT, KEY "scores is missing, by which this model's pieces are merged");
    for (uint32_t i = 0; i < v->n; i++) {
        if (!gguf_array_f64(&a, i, &score)) return err_set(e, ERR_FORMAT, KEY "scores holds no numbers");
        v->score[i] = (float)score;
    }
    return ERR_NONE;
}

static enum err_code merges_from_gguf(const struct gguf *g, struct vocab *v, struct err *e) {
    struct gguf_array a;
    TRY(gguf_get_array(g, KEY "merges", &a, NULL, e));
    if (a.elem != GGUF_STRING || a.n > INT32_MAX) return err_set(e, ERR_FORMAT, KEY "merges is no list of strings");
    TRY(strings_from_gguf(v, &a, &v->merge, e));
    v->n_merges = (uint32_t)a.n;
    return ERR_NONE;
}

/* A special id; one that is no piece counts as absent, as all bits set do in files of older writers. */
static enum err_code id_from_gguf(const struct gguf *g, const char *key, const struct vocab *v, int32_t *id,
                                  struct err *e) {
    uint32_t u = 0;
    bool found;
    TRY(gguf_get_u32(g, key, &u, &found, e));
    if (found) *id = u < v->n ? (int32_t)u : -1;
    if (found && *id < 0 && u != UINT32_MAX) log_warn("%s is %u, but there are %u tokens: ignored", key, u, v->n);
    if (*id >= (int64_t)v->n) *id = -1;
    return ERR_NONE;
}

static enum err_code ids_from_gguf(const struct gguf *g, struct vocab *v, struct err *e) {
    bool spm = v->model == VOCAB_SPM;
    v->bos = spm ? 1 : -1; /* what SentencePiece numbers them */
    v->eos = spm ? 2 : -1;
    v->unk = spm ? 0 : -1;
    v->pad = v->eot = -1;
    TRY(id_from_gguf(g, KEY "bos_token_id", v, &v->bos, e));
    TRY(id_from_gguf(g, KEY "eos_token_id", v, &v->eos, e));
    TRY(id_from_gguf(g, KEY "unknown_token_id", v, &v->unk, e));
    TRY(id_from_gguf(g, KEY "padding_token_id", v, &v->pad, e));
    return id_from_gguf(g, KEY "eot_token_id", v, &v->eot, e);
}

static enum err_code flags_from_gguf(const struct gguf *g, struct vocab *v, struct err *e) {
    struct str pre = STR("default"), template = { 0 };
    bool found;
    TRY(gguf_get_str(g, KEY "pre", &pre, &found, e));
    TRY(set_pre(v, pre, e));
    unsigned implied = implied_flags(v);
    v->ignore_merges = implied & PRETOK_IGNORE_MERGES;
    v->nfc = implied & PRETOK_NFC;
    v->add_bos = v->model == VOCAB_SPM || implied & PRETOK_ADD_BOS;
    v->add_space_prefix = v->model == VOCAB_SPM;
    TRY(gguf_get_bool(g, KEY "add_bos_token", &v->add_bos, &found, e));
    TRY(gguf_get_bool(g, KEY "add_eos_token", &v->add_eos, &found, e));
    TRY(gguf_get_bool(g, KEY "add_space_prefix", &v->add_space_prefix, &found, e));
    TRY(gguf_get_bool(g, KEY_PREFIX_FIRST, &v->prefix_space_first_only, &found, e));
    TRY(gguf_get_bool(g, KEY_IGNORE_MERGES, &v->ignore_merges, &found, e));
    TRY(gguf_get_bool(g, KEY_NFC, &v->nfc, &found, e));
    TRY(gguf_get_str(g, "tokenizer.chat_template", &template, &found, e));
    return keep(v, template, &v->chat_template, e);
}

static enum err_code fill_from_gguf(const struct gguf *g, struct vocab *v, struct err *e) {
    struct str model = STR("none");
    bool found;
    TRY(gguf_get_str(g, KEY "model", &model, &found, e));
    v->bos = v->eos = v->unk = v->pad = v->eot = -1;
    if (str_eqz(model, "none") || str_eqz(model, "no_vocab")) return ERR_NONE;
    if (str_eqz(model, "llama")) v->model = VOCAB_SPM;
    else if (str_eqz(model, "gpt2")) v->model = VOCAB_BPE;
    else {
        return err_set(e, ERR_UNSUPPORTED, KEY "model is \"%.*s\"; snug reads \"gpt2\", \"llama\" and \"none\"",
                       (int)min_u64(model.n, 60), model.p);
    }
    TRY(pieces_from_gguf(g, v, e));
    if (v->model == VOCAB_BPE) TRY(merges_from_gguf(g, v, e));
    TRY(ids_from_gguf(g, v, e));
    return flags_from_gguf(g, v, e);
}

enum err_code vocab_from_gguf(const struct gguf *g, struct vocab *v, struct err *e) {
    *v = (struct vocab){ 0 };
    enum err_code rc = fill_from_gguf(g, v, e);
    if (rc) vocab_fini(v);
    return rc;
}

/* --- From Hugging Face --- */

static bool is_byte_piece(struct str s) {
    static const char digits[] = "0123456789ABCDEF";
    return s.n == 6 && !memcmp(s.p, "<0x", 3) && memchr(digits, s.p[3], 16) && memchr(digits, s.p[4], 16) &&
           s.p[5] == '>';
}

static enum err_code pieces_from_hf(const struct hf_tokenizer *t, struct vocab *v, struct err *e) {
    for (uint32_t i = 0; i < t->n; i++) {
        if (t->piece[i].p) TRY(keep(v, t->piece[i], &v->piece[i], e));
        v->kind[i] = t->byte_fallback && is_byte_piece(t->piece[i]) ? TOKEN_BYTE : TOKEN_NORMAL;
    }
    for (uint32_t i = 0; i < t->n_added; i++) {
        int32_t id = t->added[i].id;
        TRY(keep(v, t->added[i].text, &v->piece[id], e));
        v->kind[id] = t->added[i].special ? TOKEN_CONTROL : TOKEN_USER;
    }
    if (v->model == VOCAB_SPM && t->unk >= 0) v->kind[t->unk] = TOKEN_UNKNOWN;
    for (uint32_t i = 0; i < v->n; i++) {
        char name[24];
        if (v->piece[i].p) continue;
        int n = snprintf(name, sizeof(name), "[PAD%u]", i);
        TRY(keep(v, (struct str){ name, (size_t)n }, &v->piece[i], e));
        v->kind[i] = TOKEN_UNUSED;
    }
    return ERR_NONE;
}

static enum err_code merges_from_hf(const struct hf_tokenizer *t, struct vocab *v, struct err *e) {
    v->merge = arena_alloc(&v->arena, (size_t)t->n_merges + 1, sizeof(*v->merge));
    if (!v->merge) return err_no_memory(e, t->n_merges * sizeof(*v->merge));
    for (uint32_t i = 0; i < t->n_merges; i++) {
        struct str l = t->merge[i].left, r = t->merge[i].right;
        char *p = arena_alloc(&v->arena, l.n + r.n + 2, 1);
        if (!p) return err_no_memory(e, l.n + r.n + 2);
        if (memchr(l.p, ' ', l.n) || memchr(r.p, ' ', r.n)) {
            return err_set(e, ERR_UNSUPPORTED, "merge %u has a space within a piece", i);
        }
        memcpy(p, l.p, l.n);
        p[l.n] = ' ';
        memcpy(p + l.n + 1, r.p, r.n);
        v->merge[i] = (struct str){ p, l.n + 1 + r.n };
    }
    v->n_merges = t->n_merges;
    return ERR_NONE;
}

/* SentencePiece merges by the score of the result, tokenizer.json by the order of merges: a piece scores by the first
 * merge that makes it, 0 for the first piece, -1 for the second and so on. A piece that no merge makes comes last. */
static enum err_code scores_from_hf(const struct hf_tokenizer *t, struct vocab *v, struct err *e) {
    struct strmap map = { 0 };
    struct buf word = { 0 };
    enum err_code rc;
    uint32_t n_scored = 0;
    TRY_OUT(rc, strmap_init(&map, v->piece, v->n, e));
    for (uint32_t i = 0; i < v->n; i++) {
        strmap_add(&map, (int32_t)i);
        v->score[i] = 1; /* none yet */
    }
    for (uint32_t i = 0; i < t->n_merges; i++) {
        buf_clear(&word);
        buf_add(&word, t->merge[i].left.p, t->merge[i].left.n);
        buf_add(&word, t->merge[i].right.p, t->merge[i].right.n);
        TRY_OUT(rc, buf_status(&word, e));
        int32_t id = strmap_get(&map, word.p, word.n);
        if (id < 0) TRY_OUT(rc, err_set(e, ERR_FORMAT, "merge %u makes \"%.60s\", which is no piece", i, word.p));
        if (v->score[id] > 0) v->score[id] = -(float)n_scored++;
    }
    for (uint32_t i = 0; i < v->n; i++) {
        if (v->score[i] > 0) v->score[i] = v->kind[i] == TOKEN_NORMAL ? -(float)n_scored : 0;
    }
out:
    strmap_fini(&map);
    buf_fini(&word);
    return rc;
}

static enum err_code pre_from_hf(const struct hf_tokenizer *t, struct vocab *v, struct err *e) {
    unsigned flags = (t->nfc ? PRETOK_NFC : 0) | (t->ignore_merges ? PRETOK_IGNORE_MERGES : 0);
    const struct pretok_rule *rule = pretok_rule_like(t->split, t->n_splits, flags);
    if (!rule) {
        log_warn("tokenizer.json splits words by expressions that no known pre-tokenizer has: a general rule is used, "
                 "and text may be tokenized differently than in training");
        rule = pretok_rule_named(STR("default"));
    }
    return set_pre(v, pretok_rule_name(rule), e);
}

static int32_t first_known(int32_t own, int32_t hint, uint32_t n) {
    return own >= 0 ? own : hint >= 0 && hint < (int64_t)n ? hint : -1;
}

static enum err_code fill_from_hf(const struct hf_tokenizer *t, const struct vocab_hints *hints, struct vocab *v,
                                  struct err *e) {
    bool spm = t->model == HF_TOK_SENTENCEPIECE;
    if (hints->n_vocab && t->n > hints->n_vocab) {
        return err_set(e, ERR_FORMAT, "the tokenizer has ids up to %u, the model only %u embeddings", t->n - 1,
                       hints->n_vocab);
    }
    v->model = spm ? VOCAB_SPM : VOCAB_BPE;
    TRY(alloc_pieces(v, hints->n_vocab > t->n ? hints->n_vocab : t->n, e));
    TRY(pieces_from_hf(t, v, e));
    TRY(spm ? scores_from_hf(t, v, e) : merges_from_hf(t, v, e));
    TRY(spm ? set_pre(v, STR("default"), e) : pre_from_hf(t, v, e));
    v->bos = first_known(t->bos, hints->bos, v->n);
    v->eos = first_known(t->eos, hints->eos, v->n);
    v->pad = first_known(t->pad, hints->pad, v->n);
    v->unk = t->unk;
    v->eot = -1;
    v->add_bos = t->add_bos;
    v->add_eos = t->add_eos;
    v->ignore_merges = t->ignore_merges;
    v->nfc = t->nfc;
    v->add_space_prefix = t->prefix != HF_TOK_PREFIX_NONE;
    v->prefix_space_first_only = t->prefix == HF_TOK_PREFIX_FIRST;
    v->prefix_space_once = t->prefix_once;
    return keep(v, t->chat_template, &v->chat_template, e);
}

enum err_code vocab_from_hf(const struct hf_tokenizer *t, const struct vocab_hints *hints, struct vocab *v,
                            struct err *e) {
    *v = (struct vocab){ 0 };
    enum err_code rc = fill_from_hf(t, hints, v, e);
    if (rc) vocab_fini(v);
    return rc;
}

/* --- From an opened model --- */

/* An id of config.json, one or a list of which the first counts; generation_config.json where config.json has none. */
static enum err_code hint_id(const struct tfile *f, const char *key, int32_t *id, struct err *e) {
    const struct hf_config *files[] = { f->config, f->generation };
    char first[40];
    snprintf(first, sizeof(first), "%s.0", key);
    *id = -1;
    for (size_t i = 0; i < ARRAY_LEN(files) && *id < 0; i++) {
        const struct hf_config *c = files[i];
        if (!c) continue;
        const char *path = hf_config_kind(c, key) == HF_ARRAY ? first : key;
        uint32_t u = 0;
        bool found = false;
        if (hf_config_kind(c, path) == HF_INT) TRY(hf_config_u32(c, path, &u, &found, e));
        if (found && u <= INT32_MAX) *id = (int32_t)u;
    }
    return ERR_NONE;
}

/* Every id of a key, one or a list, is a token. Padding is not looked at: it is not used, and often names none. */
static enum err_code check_ids(const struct hf_config *c, const char *key, uint32_t n_vocab, struct err *e) {
    bool list = hf_config_kind(c, key) == HF_ARRAY;
    size_t n = list ? hf_config_count(c, key) : 1;
    for (size_t i = 0; i < n; i++) {
        char path[40];
        uint64_t id = 0;
        bool found;
        if (list) snprintf(path, sizeof path, "%s.%zu", key, i);
        else snprintf(path, sizeof path, "%s", key);
        TRY(hf_config_u64(c, path, &id, &found, e));
        if (found && id >= n_vocab) return hf_config_wrong(c, path, "a token of the vocabulary", e);
    }
    return ERR_NONE;
}

static enum err_code from_dir(const struct tfile *f, struct vocab *v, struct err *e) {
    struct vocab_hints hints = { 0 };
    struct hf_tokenizer *t = NULL;
    bool found;
    if (f->config) TRY(hf_config_u32(f->config, "vocab_size", &hints.n_vocab, &found, e));
    if (f->generation && hints.n_vocab) {
        TRY(check_ids(f->generation, "bos_token_id", hints.n_vocab, e));
        TRY(check_ids(f->generation, "eos_token_id", hints.n_vocab, e));
    }
    TRY(hint_id(f, "bos_token_id", &hints.bos, e));
    TRY(hint_id(f, "eos_token_id", &hints.eos, e));
    TRY(hint_id(f, "pad_token_id", &hints.pad, e));
    TRY(hf_tokenizer_open(f->dir, f->tokenizer_config, &t, e));
    enum err_code rc = vocab_from_hf(t, &hints, v, e);
    if (rc) rc = err_where(e, rc, "%s/tokenizer.json", f->dir);
    hf_tokenizer_close(t);
    return rc;
}

enum err_code vocab_from_file(const struct tfile *f, struct vocab *v, struct err *e) {
    *v = (struct vocab){ .bos = -1, .eos = -1, .unk = -1, .pad = -1, .eot = -1 };
    if (f->gguf) {
        enum err_code rc = vocab_from_gguf(f->gguf, v, e);
        return rc ? err_where(e, rc, "%s", f->path) : ERR_NONE;
    }
    if (!f->dir) return ERR_NONE;
    char *path = os_path_join(f->dir, "tokenizer.json");
    if (!path) return err_no_memory(e, strlen(f->dir));
    bool exists = os_exists(path);
    mem_free(path);
    return exists ? from_dir(f, v, e) : ERR_NONE;
}

/* --- To GGUF --- */

/* "None" is written, as all bits set, only where a reader would take an absent key for an id. */
static void put_id(struct gguf_writer *w, const char *key, int32_t id, bool absent_is_some) {
    if (id >= 0 || absent_is_some) gguf_writer_u32(w, key, (uint32_t)id);
}

static enum err_code put_kinds(const struct vocab *v, struct gguf_writer *w, struct err *e) {
    int32_t *kind = mem_alloc(v->n, sizeof(*kind));
    if (!kind) return err_no_memory(e, v->n * sizeof(*kind));
    for (uint32_t i = 0; i < v->n; i++) kind[i] = v->kind[i];
    gguf_writer_array(w, KEY "token_type", GGUF_I32, kind, v->n);
    mem_free(kind);
    return ERR_NONE;
}

enum err_code vocab_to_gguf(const struct vocab *v, struct gguf_writer *w, struct err *e) {
    static const char *const models[] = { [VOCAB_NONE] = "none", [VOCAB_SPM] = "llama", [VOCAB_BPE] = "gpt2" };
    gguf_writer_str(w, KEY "model", str_of(models[v->model]));
    if (v->model == VOCAB_NONE) return gguf_writer_status(w, e);
    gguf_writer_str(w, KEY "pre", str_of(v->pre));
    gguf_writer_str_array(w, KEY "tokens", v->piece, v->n);
    if (v->model == VOCAB_SPM) gguf_writer_array(w, KEY "scores", GGUF_F32, v->score, v->n);
    TRY(put_kinds(v, w, e));
    if (v->model == VOCAB_BPE) gguf_writer_str_array(w, KEY "merges", v->merge, v->n_merges);
    put_id(w, KEY "bos_token_id", v->bos, v->model == VOCAB_SPM);
    put_id(w, KEY "eos_token_id", v->eos, v->model == VOCAB_SPM);
    put_id(w, KEY "unknown_token_id", v->unk, v->model == VOCAB_SPM);
    put_id(w, KEY "padding_token_id", v->pad, false);
    put_id(w, KEY "eot_token_id", v->eot, false);
    gguf_writer_bool(w, KEY "add_bos_token", v->add_bos);
    gguf_writer_bool(w, KEY "add_eos_token", v->add_eos);
    if (v->model == VOCAB_SPM) gguf_writer_bool(w, KEY "add_space_prefix", v->add_space_prefix);
    if (v->prefix_space_first_only) gguf_writer_bool(w, KEY_PREFIX_FIRST, true);
    bool ignore_merges = implied_flags(v) & PRETOK_IGNORE_MERGES, nfc = implied_flags(v) & PRETOK_NFC;
    if (v->ignore_merges != ignore_merges) gguf_writer_bool(w, KEY_IGNORE_MERGES, v->ignore_merges);
    if (v->nfc != nfc) gguf_writer_bool(w, KEY_NFC, v->nfc);
    if (v->chat_template.n) gguf_writer_str(w, "tokenizer.chat_template", v->chat_template);
    return gguf_writer_status(w, e);
}
