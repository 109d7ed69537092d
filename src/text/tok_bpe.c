/* Owns byte-level BPE (GGUF's model "gpt2"): normal form, words by the pre-tokenizer's rule, bytes, merges by rank.
 * Pieces are kept as the bytes they stand for, so text is never translated into the byte alphabet. */
#include <string.h>
#include "base/log.h"
#include "base/num.h"
#include "base/utf8.h"
#include "text/nfc.h"
#include "text/tok_impl.h"

/* Bytes of all pieces. Normal pieces go into the map first: where a special token is spelled like one, the normal
 * piece is what text merges to. */
static enum err_code fill_bytes(struct tok *t, struct err *e) {
    const struct vocab *v = t->v;
    size_t total = 0;
    for (uint32_t i = 0; i < v->n; i++) total += v->piece[i].n;
    char *pool = arena_alloc(&t->arena, total + 1, 1);
    if (!pool) return err_no_memory(e, total);
    for (uint32_t i = 0; i < v->n; i++) {
        struct str piece = v->piece[i];
        size_t n = piece.n;
        if (v->kind[i] == TOKEN_NORMAL) n = bytes_of_piece(piece, pool);
        else if (n) memcpy(pool, piece.p, n);
        t->bytes[i] = (struct str){ pool, n };
        pool += n;
    }
    for (uint32_t i = 0; i < v->n; i++) {
        if (v->kind[i] == TOKEN_NORMAL && t->bytes[i].n) strmap_add(&t->map, (int32_t)i);
    }
    for (uint32_t i = 0; i < v->n; i++) {
        if (v->kind[i] == TOKEN_USER && t->bytes[i].n) strmap_add(&t->map, (int32_t)i);
    }
    return ERR_NONE;
}

/* "left right" to the bytes of both and of what they make, which are written to word; empty ones if there is no pair.
 * Returns the number of bytes. */
static size_t split_merge(struct str merge, char *word, struct str part[3]) {
    /* The byte alphabet has no space, so the first one parts the pieces. */
    const char *gap = merge.n > 1 ? memchr(merge.p + 1, ' ', merge.n - 1) : NULL;
    part[0] = part[1] = part[2] = (struct str){ word, 0 };
    if (!gap) return 0;
    size_t n_left = bytes_of_piece((struct str){ merge.p, gap - merge.p }, word);
    size_t n = n_left + bytes_of_piece((struct str){ gap + 1, merge.p + merge.n - gap - 1 }, word + n_left);
    part[0] = (struct str){ word, n_left };
    part[1] = (struct str){ word + n_left, n - n_left };
    part[2] = (struct str){ word, n };
    return n;
}

enum { MERGES_AT_ONCE = 64 };

/* merge[first..first+n): word must hold their bytes. Merges of pieces that are not there are counted. */
static enum err_code add_merges(struct tok *t, uint32_t first, uint32_t n, char *word, uint32_t *n_lost,
                                struct err *e) {
    struct str part[3 * MERGES_AT_ONCE];
    struct merge_slot pair[MERGES_AT_ONCE];
    int32_t id[3 * MERGES_AT_ONCE];
    for (uint32_t i = 0; i < n; i++) word += split_merge(t->v->merge[first + i], word, part + 3 * i);
    strmap_get_many(&t->map, part, 3 * n, id);
    for (uint32_t i = 0; i < n; i++)
        pair[i] = (struct merge_slot){ id[3 * i], id[3 * i + 1], first + i, id[3 * i + 2] };
    return merge_add_many(&t->merges, pair, n, n_lost, e);
}

static enum err_code fill_merges(struct tok *t, struct err *e) {
    const struct vocab *v = t->v;
    uint32_t n_lost = 0, n;
    enum err_code rc = ERR_NONE;
    struct buf word = { 0 };
    for (uint32_t i = 0; i < v->n_merges; i += n) {
        n = (uint32_t)min_u64(v->n_merges - i, MERGES_AT_ONCE);
        buf_clear(&word);
        for (uint32_t k = 0; k < n; k++) buf_add(&word, v->merge[i + k].p, v->merge[i + k].n); /* room, no more */
        TRY_OUT(rc, buf_status(&word, e));
        TRY_OUT(rc, add_merges(t, i, n, word.p, &n_lost, e));
    }
    if (n_lost) log_warn("tokenizer: %u of %u merges name pieces that the vocabulary lacks", n_lost, v->n_merges);
out:
    buf_fini(&word);
    return rc;
}

enum err_code bpe_open(struct tok *t, struct err *e) {
    const struct pretok_rule *rule = pretok_rule_named(str_of(t->v->pre));
    if (!rule) {
        log_warn("tokenizer: the pre-tokenizer \"%s\" is unknown; a general rule splits the words, and text may be "
                 "tokenized differently than in training", t->v->pre);
        rule = pretok_rule_named(STR("default"));
    }
    TRY(pretok_open(rule, &t->pretok, e));
    TRY(fill_bytes(t, e));
    for (unsigned i = 0; i < 256; i++) t->byte_id[i] = strmap_get(&t->map, &(char){ (char)i }, 1);
    return fill_merges(t, e);
}

/* A byte without a piece becomes the unknown token, or nothing if there is none. */
static enum err_code put_byte(struct tok_job *j, uint8_t byte, struct err *e) {
    int32_t id = j->t->byte_id[byte] >= 0 ? j->t->byte_id[byte] : j->t->v->unk;
    return id >= 0 ? tok_put(j, id, e) : ERR_NONE;
}

static enum err_code merge_word(struct tok_job *j, const char *p, size_t n, struct err *e) {
    struct merge_word *w = &j->word;
    TRY(merge_reserve(w, n, e));
    w->n = n;
    for (size_t i = 0; i < n; i++) {
        w->id[i] = j->t->byte_id[(uint8_t)p[i]];
        w->off[i] = (uint32_t)i;
    }
    TRY(merge_run(&j->t->merges, w, e));
    for (size_t i = 0; i < w->n; i++) {
        if (w->id[i] >= 0) TRY(tok_put(j, w->id[i], e));
        else TRY(put_byte(j, (uint8_t)p[w->off[i]], e));
    }
    return ERR_NONE;
}

static enum err_code encode_word(void *user, const char *p, size_t n, struct err *e) {
    struct tok_job *j = user;
    if (n == 1) return put_byte(j, (uint8_t)p[0], e);
    if (j->t->v->ignore_merges) {
        int32_t id = strmap_get(&j->t->map, p, n);
        if (id >= 0) return tok_put(j, id, e);
    }
    bool found;
    struct tok_seen *slot;
    size_t first = j->n_ids;
    TRY(tok_seen_before(j, (struct str){ p, n }, &found, &slot, e));
    if (found) return ERR_NONE;
    TRY(merge_word(j, p, n, e));
    tok_note(j, slot, (struct str){ p, n }, first);
    return ERR_NONE;
}

/* Broken bytes are words of their own: no rule speaks of them. */
static enum err_code encode_broken(struct tok_job *j, struct str text, struct err *e) {
    size_t done = 0, at = 0;
    while (at < text.n) {
        uint32_t cp;
        size_t step = utf8_step(text.p + at, text.n - at, &cp);
        if (step > 1 || (uint8_t)text.p[at] < 0x80) {
            at += step;
            continue;
        }
        TRY(pretok_split(j->t->pretok, &j->pretok, (struct str){ text.p + done, at - done }, encode_word, j, e));
        TRY(put_byte(j, (uint8_t)text.p[at], e));
        done = ++at;
    }
    return pretok_split(j->t->pretok, &j->pretok, (struct str){ text.p + done, at - done }, encode_word, j, e);
}

enum err_code bpe_encode(struct tok_job *j, struct str text, struct err *e) {
    if (!utf8_valid(text.p, text.n)) return encode_broken(j, text, e);
    if (!j->t->v->nfc || nfc_is_sure(text)) return pretok_split(j->t->pretok, &j->pretok, text, encode_word, j, e);
    struct buf nfc = { 0 };
    j->text++;
    enum err_code rc = nfc_text(text, &nfc, e);
    if (!rc) rc = pretok_split(j->t->pretok, &j->pretok, (struct str){ nfc.p, nfc.n }, encode_word, j, e);
    j->text++;
    buf_fini(&nfc);
    return rc;
}
