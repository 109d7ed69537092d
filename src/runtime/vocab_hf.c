/* Owns the making of a vocabulary from the tokenizer of a directory: kinds of pieces, merges or scores, the name of the
 * pre-tokenizer. Ids that no piece has get one that is never used. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/utf8.h"
#include "runtime/vocab_fill.h"
#include "text/bytes.h"
#include "text/pretok.h"

static bool is_byte_piece(struct str s) {
    static const char digits[] = "0123456789ABCDEF";
    return s.n == 6 && !memcmp(s.p, "<0x", 3) && memchr(digits, s.p[3], 16) && memchr(digits, s.p[4], 16) &&
           s.p[5] == '>';
}

/* A piece of plain bytes in the byte alphabet, whose characters have two bytes at most. */
static enum err_code keep_bytes(struct vocab *v, struct str s, struct str *out, struct err *e) {
    char *p = arena_alloc(&v->arena, s.n * 2 + 1, 1), put[4];
    if (!p) return err_no_memory(e, s.n * 2);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        size_t len = utf8_put(alphabet_of_byte((uint8_t)s.p[i]), put);
        memcpy(p + n, put, len);
        n += len;
    }
    *out = (struct str){ p, n };
    return ERR_NONE;
}

static enum err_code pieces_from_hf(const struct hf_tokenizer *t, struct vocab *v, struct err *e) {
    for (uint32_t i = 0; i < t->n; i++) {
        if (!t->piece[i].p) continue;
        TRY(t->by_rank ? keep_bytes(v, t->piece[i], &v->piece[i], e) : vocab_keep(v, t->piece[i], &v->piece[i], e));
        if (t->type) v->kind[i] = t->type[i]; /* GGUF took over the numbers */
        else v->kind[i] = t->byte_fallback && is_byte_piece(t->piece[i]) ? TOKEN_BYTE : TOKEN_NORMAL;
    }
    for (uint32_t i = 0; i < t->n_added; i++) {
        int32_t id = t->added[i].id;
        TRY(vocab_keep(v, t->added[i].text, &v->piece[id], e));
        v->kind[id] = t->added[i].special ? TOKEN_CONTROL : TOKEN_USER;
    }
    if (vocab_is_spm(v) && t->unk >= 0) v->kind[t->unk] = TOKEN_UNKNOWN;
    for (uint32_t i = 0; i < v->n; i++) {
        char name[24];
        if (v->piece[i].p) continue;
        int n = snprintf(name, sizeof(name), "[PAD%u]", i);
        TRY(vocab_keep(v, (struct str){ name, (size_t)n }, &v->piece[i], e));
        v->kind[i] = TOKEN_UNUSED;
    }
    return ERR_NONE;
}

/* --- Merges by rank --- */

struct rank_merge { int32_t left, right; };

static int by_parts(const void *pa, const void *pb) {
    const struct rank_merge *a = pa, *b = pb;
    if (a->left != b->left) return a->left < b->left ? -1 : 1;
    return a->right < b->right ? -1 : a->right > b->right;
}

/* All ways to make piece id of two others, in the order of their ranks, appended to merges. */
static void ways_to_make(const struct hf_tokenizer *t, const struct strmap *map, uint32_t id, struct buf *ways) {
    struct str s = t->piece[id];
    buf_clear(ways);
    for (size_t at = 1; at < s.n; at++) {
        struct rank_merge m = { strmap_get(map, s.p, at), strmap_get(map, s.p + at, s.n - at) };
        if (m.left >= 0 && m.right >= 0) buf_add(ways, &m, sizeof(m));
    }
    if (ways->n) qsort(ways->p, ways->n / sizeof(struct rank_merge), sizeof(struct rank_merge), by_parts);
}

static enum err_code put_merge(struct vocab *v, const struct rank_merge *m, struct buf *list, struct err *e) {
    struct str l = v->piece[m->left], r = v->piece[m->right];
    char *p = arena_alloc(&v->arena, l.n + r.n + 1, 1);
    if (!p) return err_no_memory(e, l.n + r.n + 1);
    memcpy(p, l.p, l.n);
    p[l.n] = ' ';
    memcpy(p + l.n + 1, r.p, r.n);
    buf_add(list, &(struct str){ p, l.n + 1 + r.n }, sizeof(struct str));
    return ERR_NONE;
}

/* A vocabulary by rank merges what makes the piece of the lowest rank. */
static enum err_code merges_by_rank(const struct hf_tokenizer *t, struct vocab *v, struct err *e) {
    struct strmap map = { 0 };
    struct buf ways = { 0 }, list = { 0 };
    enum err_code rc;
    TRY_OUT(rc, strmap_init(&map, t->piece, t->n, e));
    for (uint32_t i = 0; i < t->n; i++) {
        if (t->piece[i].p) strmap_add(&map, (int32_t)i);
    }
    for (uint32_t i = 0; i < t->n; i++) {
        ways_to_make(t, &map, i, &ways);
        for (size_t k = 0; k < ways.n / sizeof(struct rank_merge); k++) {
            struct rank_merge m;
            memcpy(&m, ways.p + k * sizeof(m), sizeof(m));
            TRY_OUT(rc, put_merge(v, &m, &list, e));
        }
        TRY_OUT(rc, buf_status(&ways, e));
    }
    TRY_OUT(rc, buf_status(&list, e));
    v->n_merges = (uint32_t)(list.n / sizeof(struct str));
    v->merge = arena_alloc(&v->arena, (size_t)v->n_merges + 1, sizeof(*v->merge));
    if (!v->merge) TRY_OUT(rc, err_no_memory(e, list.n));
    if (list.n) memcpy(v->merge, list.p, list.n);
out:
    strmap_fini(&map);
    buf_fini(&ways);
    buf_fini(&list);
    return rc;
}

static enum err_code merges_from_hf(const struct hf_tokenizer *t, struct vocab *v, struct err *e) {
    if (t->by_rank) return merges_by_rank(t, v, e);
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

static enum err_code scores_from_hf(const struct hf_tokenizer *t, struct vocab *v, struct err *e) {
    struct vocab_scoring s;
    enum err_code rc = ERR_NONE;
    if (t->score) {
        memcpy(v->score, t->score, t->n * sizeof(*v->score));
        return ERR_NONE;
    }
    TRY_OUT(rc, vocab_scoring_init(&s, v, e));
    for (uint32_t i = 0; i < t->n_merges; i++) {
        TRY_OUT(rc, vocab_score_merge(&s, v, i, t->merge[i].left, t->merge[i].right, e));
    }
    vocab_score_rest(&s, v);
out:
    vocab_scoring_fini(&s);
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
    return vocab_set_pre(v, pretok_rule_name(rule), e);
}

static int32_t first_known(int32_t own, int32_t hint, uint32_t n) {
    return own >= 0 ? own : hint >= 0 && hint < (int64_t)n ? hint : -1;
}

static enum err_code fill_from_hf(const struct hf_tokenizer *t, const struct vocab_hints *hints, struct vocab *v,
                                  struct err *e) {
    static const enum vocab_model models[] = {
        [HF_TOK_BYTE_LEVEL] = VOCAB_BPE, [HF_TOK_SENTENCEPIECE] = VOCAB_SPM, [HF_TOK_UNIGRAM] = VOCAB_UNIGRAM,
    };
    if (hints->n_vocab && t->n > hints->n_vocab) {
        return err_set(e, ERR_FORMAT, "the tokenizer has ids up to %u, the model only %u embeddings", t->n - 1,
                       hints->n_vocab);
    }
    v->model = models[t->model];
    bool spm = vocab_is_spm(v);
    TRY(vocab_alloc(v, hints->n_vocab > t->n ? hints->n_vocab : t->n, e));
    TRY(pieces_from_hf(t, v, e));
    TRY(spm ? scores_from_hf(t, v, e) : merges_from_hf(t, v, e));
    TRY(spm ? vocab_set_pre(v, STR("default"), e) : pre_from_hf(t, v, e));
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
    v->remove_extra_spaces = t->remove_extra_spaces;
    v->spaces = (t->trim_start ? SPACES_TRIM_START : 0) | (t->trim_end ? SPACES_TRIM_END : 0) |
                (t->join_spaces ? SPACES_JOIN : 0) | (t->white_parts ? SPACES_PART : 0) |
                (t->split_words ? SPACES_SPLIT : 0);
    TRY(vocab_keep(v, t->charsmap, &v->charsmap, e));
    return vocab_keep(v, t->chat_template, &v->chat_template, e);
}

enum err_code vocab_from_hf(const struct hf_tokenizer *t, const struct vocab_hints *hints, struct vocab *v,
                            struct err *e) {
    *v = (struct vocab){ 0 };
    enum err_code rc = fill_from_hf(t, hints, v, e);
    if (rc) vocab_fini(v);
    return rc;
}
