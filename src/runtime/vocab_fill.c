/* Owns what filling a vocabulary takes, whichever file it comes from: its arrays, its strings and scores made of an
 * order of merges. */
#include "runtime/vocab_fill.h"

#include <string.h>

enum err_code vocab_set_pre(struct vocab *v, struct str name, struct err *e) {
    if (name.n >= sizeof(v->pre)) {
        return err_set(e, ERR_UNSUPPORTED, "the name of the pre-tokenizer has %zu characters, more than %zu", name.n,
                       sizeof(v->pre) - 1);
    }
    if (name.n) memcpy(v->pre, name.p, name.n);
    v->pre[name.n] = 0;
    return ERR_NONE;
}

enum err_code vocab_alloc(struct vocab *v, uint32_t n, struct err *e) {
    v->piece = arena_alloc(&v->arena, n, sizeof(*v->piece));
    v->kind = arena_alloc(&v->arena, n, 1);
    if (vocab_is_spm(v)) v->score = arena_alloc(&v->arena, n, sizeof(*v->score));
    if (!v->piece || !v->kind || (vocab_is_spm(v) && !v->score)) return err_no_memory(e, 21ull * n);
    v->n = n;
    return ERR_NONE;
}

enum err_code vocab_keep(struct vocab *v, struct str s, struct str *out, struct err *e) {
    char *copy = arena_strndup(&v->arena, s.p ? s.p : "", s.n);
    if (!copy) return err_no_memory(e, s.n);
    *out = (struct str){ copy, s.n };
    return ERR_NONE;
}

enum err_code vocab_scoring_init(struct vocab_scoring *s, struct vocab *v, struct err *e) {
    *s = (struct vocab_scoring){ 0 };
    TRY(strmap_init(&s->map, v->piece, v->n, e));
    for (uint32_t i = 0; i < v->n; i++) {
        strmap_add(&s->map, (int32_t)i);
        v->score[i] = 1; /* none yet */
    }
    return ERR_NONE;
}

enum err_code vocab_score_merge(struct vocab_scoring *s, struct vocab *v, uint32_t merge, struct str left,
                                struct str right, struct err *e) {
    buf_clear(&s->word);
    buf_add(&s->word, left.p, left.n);
    buf_add(&s->word, right.p, right.n);
    TRY(buf_status(&s->word, e));
    int32_t id = strmap_get(&s->map, s->word.p, s->word.n);
    if (id < 0) return err_set(e, ERR_FORMAT, "merge %u makes \"%.60s\", which is no piece", merge, s->word.p);
    if (v->score[id] > 0) v->score[id] = -(float)s->n++;
    return ERR_NONE;
}

void vocab_score_rest(const struct vocab_scoring *s, struct vocab *v) {
    for (uint32_t i = 0; i < v->n; i++) {
        if (v->score[i] > 0) v->score[i] = v->kind[i] == TOKEN_NORMAL ? -(float)s->n : 0;
    }
}

void vocab_scoring_fini(struct vocab_scoring *s) {
    strmap_fini(&s->map);
    buf_fini(&s->word);
}
