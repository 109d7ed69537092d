/* Owns what a call of tok_encode has found so far: its ids, and the words that it has seen. Both models put theirs
 * here; neither is known here. */
#include <string.h>
#include "text/tok_impl.h"

/* Words longer than this are not worth looking up: they rarely come again. */
#define SEEN_MAX_BYTES 64

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

static bool has_bytes(const struct tok *t, const char *p, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (t->byte_id[(uint8_t)p[i]] < 0) return false;
    }
    return true;
}

enum err_code tok_put_unknown(struct tok_job *j, const char *p, size_t n, bool *unknown_before, struct err *e) {
    bool known = has_bytes(j->t, p, n), again = *unknown_before;
    *unknown_before = !known;
    for (size_t i = 0; known && i < n; i++) TRY(tok_put(j, j->t->byte_id[(uint8_t)p[i]], e));
    return known || again || j->t->v->unk < 0 ? ERR_NONE : tok_put(j, j->t->v->unk, e);
}
