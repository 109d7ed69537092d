/* Owns the tokenizer's life and the way a text takes: special tokens are cut out, what stands between goes to the
 * model's own file (tok_bpe.c, tok_spm.c). A tokenizer is never changed after tok_open; whatever a call needs lives in
 * that call. Decoding is tok_stream.c's. */
#include <string.h>
#include "base/log.h"
#include "base/num.h"
#include "text/tok_impl.h"

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

bool tok_is_eog(const struct tok *t, int32_t id) { return id >= 0 && (uint32_t)id < t->v->n && t->eog[id]; }

const struct vocab *tok_vocab(const struct tok *t) { return t->v; }
