/* Owns the translation of vocabularies between GGUF metadata and struct vocab, and the choice of the source;
 * directories are vocab_hf.c's. Promises that whatever comes out has arrays of equal length, kinds that exist and
 * special ids that are in range or -1. */
#include "runtime/vocab_fill.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/num.h"
#include "text/pretok.h"

#define KEY "tokenizer.ggml."
#define KEY_CHARSMAP KEY "precompiled_charsmap"
/* What no standard key says: the prefix space stands at the start of the text only; and flags that the
 * pre-tokenizer's name implies elsewhere, written where the file it came from says otherwise. */
#define KEY_PREFIX_FIRST "snug.tokenizer.prefix_space_first_only"
#define KEY_SPACES "snug.tokenizer.spaces" /* enum vocab_spaces, with the next one */
#define KEY_PREFIX_ONCE "snug.tokenizer.prefix_space_once"
#define KEY_IGNORE_MERGES "snug.tokenizer.ignore_merges"
#define KEY_NFC "snug.tokenizer.nfc"

/* What the name of the pre-tokenizer says besides the expressions. */
static unsigned implied_flags(const struct vocab *v) {
    const struct pretok_rule *rule = v->model == VOCAB_BPE ? pretok_rule_named(str_of(v->pre)) : NULL;
    return rule ? rule->flags : 0;
}

/* --- From GGUF --- */

/* GGUF's names of the models, and the ids that special tokens have where the file does not say. */
struct gguf_kind { const char *name; enum vocab_model model; int32_t bos, eos, unk, pad; };
static const struct gguf_kind kinds[] = {
    { "llama", VOCAB_SPM, 1, 2, 0, -1 },
    { "gpt2", VOCAB_BPE, -1, -1, -1, -1 },
    { "t5", VOCAB_UNIGRAM, -1, 1, 2, 0 },
};

static const struct gguf_kind *kind_of(struct str name) {
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (str_eqz(name, kinds[i].name)) return &kinds[i];
    }
    return NULL;
}

static const struct gguf_kind *kind_named(enum vocab_model model) {
    size_t i = 0;
    while (kinds[i].model != model) i++;
    return &kinds[i];
}

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

static enum err_code pieces_from_gguf(const struct gguf *g, struct vocab *v, bool from_merges, struct err *e) {
    struct gguf_array a;
    bool found;
    double score;
    int64_t kind;
    TRY(gguf_get_array(g, KEY "tokens", &a, NULL, e));
    if (a.elem != GGUF_STRING || !a.n || a.n > INT32_MAX / 2) {
        return err_set(e, ERR_FORMAT, KEY "tokens is no list of strings of a fitting length");
    }
    TRY(vocab_alloc(v, (uint32_t)a.n, e));
    TRY(strings_from_gguf(v, &a, &v->piece, e));
    TRY(per_piece(g, KEY "token_type", v->n, &a, &found, e));
    for (uint32_t i = 0; i < v->n; i++) {
        if (found && !gguf_array_i64(&a, i, &kind)) return err_set(e, ERR_FORMAT, KEY "token_type holds no integers");
        v->kind[i] = found && kind >= TOKEN_NORMAL && kind <= TOKEN_BYTE ? (uint8_t)kind : TOKEN_NORMAL;
    }
    if (!vocab_is_spm(v) || from_merges) return ERR_NONE;
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
    const struct gguf_kind *kind = kind_named(v->model); /* what their trainers number them */
    v->bos = kind->bos;
    v->eos = kind->eos;
    v->unk = kind->unk;
    v->pad = kind->pad;
    v->eot = -1;
    TRY(id_from_gguf(g, KEY "bos_token_id", v, &v->bos, e));
    TRY(id_from_gguf(g, KEY "eos_token_id", v, &v->eos, e));
    TRY(id_from_gguf(g, KEY "unknown_token_id", v, &v->unk, e));
    TRY(id_from_gguf(g, KEY "padding_token_id", v, &v->pad, e));
    return id_from_gguf(g, KEY "eot_token_id", v, &v->eot, e);
}

/* The table of replacements is an array of bytes, signed or not. */
static enum err_code charsmap_from_gguf(const struct gguf *g, struct vocab *v, struct err *e) {
    struct gguf_array a;
    bool found;
    if (!vocab_is_spm(v)) return ERR_NONE;
    TRY(gguf_get_array(g, KEY_CHARSMAP, &a, &found, e));
    if (found && a.elem != GGUF_U8 && a.elem != GGUF_I8) return err_set(e, ERR_FORMAT, KEY_CHARSMAP " holds no bytes");
    return found ? vocab_keep(v, (struct str){ (const char *)a.p, a.n }, &v->charsmap, e) : ERR_NONE;
}

static enum err_code flags_from_gguf(const struct gguf *g, struct vocab *v, struct err *e) {
    struct str pre = STR("default"), template = { 0 };
    bool found;
    TRY(gguf_get_str(g, KEY "pre", &pre, &found, e));
    TRY(vocab_set_pre(v, pre, e));
    unsigned implied = implied_flags(v);
    v->ignore_merges = implied & PRETOK_IGNORE_MERGES;
    v->nfc = implied & PRETOK_NFC;
    v->add_bos = v->model == VOCAB_SPM || implied & PRETOK_ADD_BOS;
    v->add_eos = v->model == VOCAB_UNIGRAM;
    v->add_space_prefix = vocab_is_spm(v);
    TRY(gguf_get_bool(g, KEY "add_bos_token", &v->add_bos, &found, e));
    TRY(gguf_get_bool(g, KEY "add_eos_token", &v->add_eos, &found, e));
    TRY(gguf_get_bool(g, KEY "add_space_prefix", &v->add_space_prefix, &found, e));
    TRY(gguf_get_bool(g, KEY "remove_extra_whitespaces", &v->remove_extra_spaces, &found, e));
    TRY(charsmap_from_gguf(g, v, e));
    TRY(gguf_get_u32(g, KEY_SPACES, &v->spaces, &found, e));
    if (v->spaces) v->remove_extra_spaces = false; /* which is there for other programs */
    TRY(gguf_get_bool(g, KEY_PREFIX_ONCE, &v->prefix_space_once, &found, e));
    TRY(gguf_get_bool(g, KEY_PREFIX_FIRST, &v->prefix_space_first_only, &found, e));
    TRY(gguf_get_bool(g, KEY_IGNORE_MERGES, &v->ignore_merges, &found, e));
    TRY(gguf_get_bool(g, KEY_NFC, &v->nfc, &found, e));
    TRY(gguf_get_str(g, "tokenizer.chat_template", &template, &found, e));
    return vocab_keep(v, template, &v->chat_template, e);
}

/* Gemma 4: SentencePiece's pieces with merges in order, lines apart from the runs of newlines between them, which no
 * piece joins anyway. Said by scores, it is SentencePiece's BPE without prefix space. */
static enum err_code gemma4_from_gguf(struct vocab *v, struct err *e) {
    struct vocab_scoring s;
    enum err_code rc;
    TRY_OUT(rc, vocab_scoring_init(&s, v, e));
    for (uint32_t i = 0; i < v->n_merges; i++) {
        struct str m = v->merge[i];
        const char *gap = m.n > 1 ? memchr(m.p + 1, ' ', m.n - 1) : NULL;
        if (!gap) TRY_OUT(rc, err_set(e, ERR_FORMAT, "merge %u is no pair of pieces", i));
        size_t n_left = (size_t)(gap - m.p);
        struct str left = { m.p, n_left }, right = { gap + 1, m.n - n_left - 1 };
        TRY_OUT(rc, vocab_score_merge(&s, v, i, left, right, e));
    }
    vocab_score_rest(&s, v);
    v->n_merges = 0;
    v->merge = NULL;
    v->add_bos = true;
out:
    vocab_scoring_fini(&s);
    return rc;
}

static enum err_code fill_from_gguf(const struct gguf *g, struct vocab *v, struct err *e) {
    struct str model = STR("none");
    bool found;
    TRY(gguf_get_str(g, KEY "model", &model, &found, e));
    v->bos = v->eos = v->unk = v->pad = v->eot = -1;
    if (str_eqz(model, "none") || str_eqz(model, "no_vocab")) return ERR_NONE;
    const struct gguf_kind *kind = kind_of(model);
    bool gemma4 = str_eqz(model, "gemma4");
    if (gemma4) kind = kind_named(VOCAB_SPM);
    if (!kind) {
        return err_set(e, ERR_UNSUPPORTED, KEY "model is \"%.*s\"; snug reads \"gpt2\", \"llama\", \"gemma4\", \"t5\" "
                       "and \"none\"", (int)min_u64(model.n, 60), model.p);
    }
    v->model = kind->model;
    TRY(pieces_from_gguf(g, v, gemma4, e));
    if (v->model == VOCAB_BPE || gemma4) TRY(merges_from_gguf(g, v, e));
    TRY(ids_from_gguf(g, v, e));
    TRY(flags_from_gguf(g, v, e));
    return gemma4 ? gemma4_from_gguf(v, e) : ERR_NONE;
}

enum err_code vocab_from_gguf(const struct gguf *g, struct vocab *v, struct err *e) {
    *v = (struct vocab){ 0 };
    enum err_code rc = fill_from_gguf(g, v, e);
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
    enum err_code rc = hf_tokenizer_open(f->dir, f->tokenizer_config, &t, e);
    if (rc) return rc == ERR_NOT_FOUND ? ERR_NONE : rc; /* a model without tokenizer */
    rc = vocab_from_hf(t, &hints, v, e);
    if (rc) rc = err_where(e, rc, "%s", f->dir);
    hf_tokenizer_close(t);
    return rc;
}

enum err_code vocab_from_file(const struct tfile *f, struct vocab *v, struct err *e) {
    *v = (struct vocab){ .bos = -1, .eos = -1, .unk = -1, .pad = -1, .eot = -1 };
    if (f->gguf) {
        enum err_code rc = vocab_from_gguf(f->gguf, v, e);
        return rc ? err_where(e, rc, "%s", f->path) : ERR_NONE;
    }
    return f->dir ? from_dir(f, v, e) : ERR_NONE;
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
    gguf_writer_str(w, KEY "model", str_of(v->model ? kind_named(v->model)->name : "none"));
    if (v->model == VOCAB_NONE) return gguf_writer_status(w, e);
    bool spm = vocab_is_spm(v);
    gguf_writer_str(w, KEY "pre", str_of(v->pre));
    gguf_writer_str_array(w, KEY "tokens", v->piece, v->n);
    if (spm) gguf_writer_array(w, KEY "scores", GGUF_F32, v->score, v->n);
    TRY(put_kinds(v, w, e));
    if (v->model == VOCAB_BPE) gguf_writer_str_array(w, KEY "merges", v->merge, v->n_merges);
    put_id(w, KEY "bos_token_id", v->bos, v->model == VOCAB_SPM);
    put_id(w, KEY "eos_token_id", v->eos, spm);
    put_id(w, KEY "unknown_token_id", v->unk, spm);
    put_id(w, KEY "padding_token_id", v->pad, v->model == VOCAB_UNIGRAM);
    put_id(w, KEY "eot_token_id", v->eot, false);
    gguf_writer_bool(w, KEY "add_bos_token", v->add_bos);
    gguf_writer_bool(w, KEY "add_eos_token", v->add_eos);
    if (spm) gguf_writer_bool(w, KEY "add_space_prefix", v->add_space_prefix);
    bool extra_go = v->remove_extra_spaces || v->spaces & (SPACES_JOIN | SPACES_PART);
    if (extra_go) gguf_writer_bool(w, KEY "remove_extra_whitespaces", true);
    if (v->spaces) {
        gguf_writer_u32(w, KEY_SPACES, v->spaces);
        gguf_writer_bool(w, KEY_PREFIX_ONCE, v->prefix_space_once);
    }
    if (v->charsmap.n) gguf_writer_array(w, KEY_CHARSMAP, GGUF_U8, v->charsmap.p, v->charsmap.n);
    if (v->prefix_space_first_only) gguf_writer_bool(w, KEY_PREFIX_FIRST, true);
    bool ignore_merges = implied_flags(v) & PRETOK_IGNORE_MERGES, nfc = implied_flags(v) & PRETOK_NFC;
    if (v->ignore_merges != ignore_merges) gguf_writer_bool(w, KEY_IGNORE_MERGES, v->ignore_merges);
    if (v->nfc != nfc) gguf_writer_bool(w, KEY_NFC, v->nfc);
    if (v->chat_template.n) gguf_writer_str(w, "tokenizer.chat_template", v->chat_template);
    return gguf_writer_status(w, e);
}
