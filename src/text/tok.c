/* Owns the tokenizer's life and the way a text takes: special tokens are cut out, what stands between goes to the
 * model's own file (tok_bpe.c, tok_spm.c), and decoding joins the bytes of the pieces. A tokenizer is never changed
 * after tok_open; whatever a call needs lives in that call. */
#include <string.h>
#include "base/log.h"
#include "base/num.h"
#include "text/tok_impl.h"

/* Words longer than this are not worth looking up: they rarely come again. */
#define SEEN_MAX_BYTES 64
/* Memory of one call for words seen before: 2^13 * 32 bytes. */
#define SEEN_MAX_SLOTS 8192

/* Tokens that end a turn or a text, known by their text because files often name only one of them. */
static const char *const eog_texts[] = {
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<turn|>", "<|endoftext|>", "<|end_of_text|>", "<EOT>",
    "_<EOT>", "[EOT]", "<\uff5cend\u2581of\u2581sentence\uff5c>", "<end_of_utterance>",
    "<|return|>", "<|call|>", "<|eom_id|>",
};

static bool ends_by_text(struct str piece) {
    for (size_t i = 0; i < ARRAY_LEN(eog_texts); i++) {
        if (str_eqz(piece, eog_texts[i])) return true;
    }
    return false;
}

static enum err_code find_eog(struct tok *t, struct err *e) {
    const struct vocab *v = t->v;
    t->eog = arena_alloc(&t->arena, v->n, 1);
    if (!t->eog) return err_no_memory(e, v->n);
    for (uint32_t i = 0; i < v->n; i++) {
        bool by_text = (v->kind[i] == TOKEN_CONTROL || v->kind[i] == TOKEN_USER) && ends_by_text(v->piece[i]);
        t->eog[i] = (int32_t)i == v->eos || (int32_t)i == v->eot || by_text;
    }
    return ERR_NONE;
}

static enum err_code check_vocab(const struct vocab *v, struct err *e) {
    if (v->model == VOCAB_NONE) {
        return err_set(e, ERR_UNSUPPORTED, "the model has no tokenizer: give token ids instead of text");
    }
    if (!v->n || v->n > INT32_MAX / 2) return err_set(e, ERR_FORMAT, "a vocabulary of %u pieces", v->n);
    const int32_t ids[] = { v->bos, v->eos, v->unk, v->pad, v->eot };
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        if (ids[i] < -1 || ids[i] >= (int64_t)v->n) {
            return err_set(e, ERR_FORMAT, "special token id %d is not in the vocabulary of %u pieces", ids[i], v->n);
        }
    }
    return ERR_NONE;
}

enum err_code tok_open(const struct vocab *v, struct tok **out, struct err *e) {
    enum err_code rc;
    struct tok *t = NULL;
    *out = NULL;
    TRY(check_vocab(v, e));
    t = NEW(struct tok);
    if (!t) return err_no_memory(e, sizeof(*t));
    t->v = v;
    t->bytes = arena_alloc(&t->arena, v->n, sizeof(*t->bytes));
    if (!t->bytes) TRY_OUT(rc, err_no_memory(e, v->n * sizeof(*t->bytes)));
    memset(t->byte_id, 0xff, sizeof(t->byte_id));
    TRY_OUT(rc, strmap_init(&t->map, t->bytes, v->n, e));
    TRY_OUT(rc, merge_init(&t->merges, v->n_merges, e));
    TRY_OUT(rc, v->model == VOCAB_BPE ? bpe_open(t, e) : spm_open(t, e));
    unsigned user = 1u << TOKEN_USER, all = user | 1u << TOKEN_CONTROL | 1u << TOKEN_UNKNOWN;
    TRY_OUT(rc, special_init(&t->special, v, all, &t->arena, e));
    TRY_OUT(rc, special_init(&t->user, v, user, &t->arena, e));
    TRY_OUT(rc, find_eog(t, e));
    *out = t;
    t = NULL;
out:
    tok_close(t);
    return rc;
}

void tok_close(struct tok *t) {
    if (!t) return;
    strmap_fini(&t->map);
    merge_fini(&t->merges);
    pretok_close(t->pretok);
    arena_fini(&t->arena);
    mem_free(t);
}

enum err_code tok_put(struct tok_job *j, int32_t id, struct err *e) {
    if (j->n_ids == j->cap) {
        size_t cap = j->cap + j->cap / 2 + 64;
        int32_t *ids = mem_realloc(j->ids, j->n_ids, cap, sizeof(*ids));
        if (!ids) return err_no_memory(e, cap * sizeof(*ids));
        j->ids = ids;
        j->cap = cap;
    }
    j->ids[j->n_ids++] = id;
    return ERR_NONE;
}

enum err_code tok_seen_before(struct tok_job *j, struct str word, bool *found, struct tok_seen **slot, struct err *e) {
    *found = false;
    *slot = NULL;
    if (!j->seen || word.n > SEEN_MAX_BYTES) return ERR_NONE;
    struct tok_seen *s = &j->seen[bytes_hash(word.p, word.n) & (j->n_seen - 1)];
    *slot = s;
    if (s->n != word.n || s->text != j->text || memcmp(s->p, word.p, word.n) != 0) return ERR_NONE;
    *found = true;
    for (uint32_t i = 0; i < s->n_ids; i++) TRY(tok_put(j, j->ids[s->at + i], e));
    return ERR_NONE;
}

void tok_note(struct tok_job *j, struct tok_seen *slot, struct str word, size_t first_id) {
    if (slot) *slot = (struct tok_seen){ word.p, first_id, (uint32_t)word.n, (uint32_t)(j->n_ids - first_id), j->text };
}

static enum err_code encode_plain(struct tok_job *j, struct str text, struct err *e) {
    if (!text.n) return ERR_NONE;
    TRY(j->t->v->model == VOCAB_BPE ? bpe_encode(j, text, e) : spm_encode(j, text, e));
    j->first = false;
    return ERR_NONE;
}

static enum err_code encode_all(struct tok_job *j, struct str text, unsigned flags, struct err *e) {
    const struct vocab *v = j->t->v;
    const struct special_set *cut = flags & TOK_PARSE_SPECIAL ? &j->t->special : &j->t->user;
    if ((flags & TOK_ADD_SPECIAL) && v->add_bos && v->bos >= 0) TRY(tok_put(j, v->bos, e));
    size_t done = 0, at = 0, len;
    for (int32_t id; (id = special_find(cut, text, &at, &len)) >= 0; ) {
        j->user_behind = v->kind[id] == TOKEN_USER;
        TRY(encode_plain(j, (struct str){ text.p + done, at - done }, e));
        j->user_before = j->user_behind;
        TRY(tok_put(j, id, e));
        j->first = false;
        done = at += len;
    }
    j->user_behind = false;
    TRY(encode_plain(j, (struct str){ text.p + done, text.n - done }, e));
    if ((flags & TOK_ADD_SPECIAL) && v->add_eos && v->eos >= 0) TRY(tok_put(j, v->eos, e));
    return ERR_NONE;
}

enum err_code tok_encode(const struct tok *t, struct str text, unsigned flags, int32_t **ids, size_t *n,
                         struct err *e) {
    enum err_code rc = ERR_NONE;
    struct tok_job j = { .t = t, .first = true, .text = 1 };
    *ids = NULL;
    *n = 0;
    if (!text.n) text.p = "";
    /* English has about four bytes a token; most texts then need no second allocation. */
    j.cap = text.n / 3 + 16;
    j.ids = mem_alloc(j.cap, sizeof(*j.ids));
    if (!j.ids) return err_no_memory(e, j.cap * sizeof(*j.ids));
    if (text.n >= 1024) {
        for (j.n_seen = 256; j.n_seen < SEEN_MAX_SLOTS && j.n_seen < text.n / 16; ) j.n_seen *= 2;
        j.seen = NEW_ARRAY(struct tok_seen, j.n_seen);
        if (!j.seen) TRY_OUT(rc, err_no_memory(e, j.n_seen * sizeof(*j.seen)));
    }
    if (t->pretok) TRY_OUT(rc, pretok_run_init(t->pretok, &j.pretok, e));
    TRY_OUT(rc, encode_all(&j, text, flags, e));
    *ids = j.ids;
    *n = j.n_ids;
    j.ids = NULL;
out:
    pretok_run_fini(&j.pretok);
    merge_word_fini(&j.word);
    mem_free(j.node);
    mem_free(j.seen);
    mem_free(j.ids);
    return rc;
}

enum err_code tok_piece(const struct tok *t, int32_t id, struct buf *out, struct err *e) {
    if (id < 0 || (uint32_t)id >= t->v->n) {
        return err_set(e, ERR_USAGE, "token id %d is not in the vocabulary of %u pieces", id, t->v->n);
    }
    buf_add(out, t->bytes[id].p, t->bytes[id].n);
    return buf_status(out, e);
}

enum err_code tok_decode(const struct tok *t, const int32_t *ids, size_t n, bool skip_special, struct buf *out,
                         struct err *e) {
    struct tok_stream s;
    enum err_code rc = ERR_NONE;
    tok_stream_init(&s, t, skip_special);
    for (size_t i = 0; i < n; i++) TRY_OUT(rc, tok_stream_push(&s, ids[i], out, e));
    tok_stream_end(&s, out);
    rc = buf_status(out, e);
out:
    tok_stream_fini(&s);
    return rc;
}

bool tok_is_eog(const struct tok *t, int32_t id) { return id >= 0 && (uint32_t)id < t->v->n && t->eog[id]; }

const struct vocab *tok_vocab(const struct tok *t) { return t->v; }
