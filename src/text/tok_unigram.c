/* Owns SentencePiece's unigram model (GGUF's model "t5"): of all ways to cut a word into pieces the one whose scores
 * add up to the most. Found by one walk over the word that keeps, for each place, the best way to get there; the work
 * at a place is bounded by the longest piece.
 *
 * SentencePiece walks over a whole text at once, adding up in single precision. Where no piece joins a letter and a
 * space behind it, the words of a text can be walked apart (tok_spm.c), with less to add up and the same result but for
 * ties that rounding makes. */
#include "base/utf8.h"
#include "text/tok_impl.h"

/* What a character without a piece costs below the worst piece: SentencePiece's constant. */
#define UNKNOWN_PENALTY 10.0f

enum err_code unigram_open(struct tok *t, struct err *e) {
    const struct vocab *v = t->v;
    float worst = 0;
    bool any = false;
    for (uint32_t i = 0; i < v->n; i++) {
        if (v->kind[i] != TOKEN_NORMAL) continue;
        if (v->score[i] != v->score[i]) return err_set(e, ERR_FORMAT, "the score of piece %u is not a number", i);
        if (!any || v->score[i] < worst) worst = v->score[i];
        any = true;
    }
    t->unknown_score = worst - UNKNOWN_PENALTY;
    return special_init(&t->pieces, v, 1u << TOKEN_NORMAL, &t->arena, e);
}

static enum err_code reserve(struct tok_job *j, size_t n, struct err *e) {
    if (n <= j->node_cap) return ERR_NONE;
    if (n > INT32_MAX) return err_set(e, ERR_TOO_LARGE, "a word of %zu bytes is too long: split the text", n);
    size_t cap = n < 256 ? 256 : n + n / 4;
    mem_free(j->node);
    j->node = mem_alloc(cap, sizeof(*j->node));
    j->node_cap = j->node ? cap : 0;
    return j->node ? ERR_NONE : err_no_memory(e, cap * sizeof(*j->node));
}

static void offer(struct unigram_node *node, double score, int32_t id, size_t from) {
    if (node->reached && score <= node->score) return;
    *node = (struct unigram_node){ score, id, (uint32_t)from, true };
}

/* All pieces that begin at `from`, and the character alone if none of them is just that. */
static size_t extend(const struct tok *t, struct unigram_node *node, struct str s, size_t from) {
    struct str rest = { s.p + from, s.n - from };
    struct special_walk walk = special_walk(&t->pieces);
    uint32_t cp;
    size_t len, step = utf8_step(rest.p, rest.n, &cp);
    double base = node[from].score;
    bool alone = true;
    for (int32_t id; (id = special_next(&t->pieces, rest, &walk, &len)) >= 0; ) {
        offer(&node[from + len], base + (double)t->v->score[id], id, from);
        if (len == step) alone = false;
    }
    if (alone) offer(&node[from + step], base + (double)t->unknown_score, -1, from);
    return step;
}

enum err_code unigram_word(struct tok_job *j, struct str s, struct err *e) {
    TRY(reserve(j, s.n + 1, e));
    struct unigram_node *node = j->node;
    for (size_t i = 0; i <= s.n; i++) node[i] = (struct unigram_node){ .id = -1 };
    for (size_t at = 0; at < s.n; ) at += extend(j->t, node, s, at);
    /* Turn the way back into the way there: from each place to the next. */
    for (size_t at = s.n, next = 0; ; ) {
        size_t from = node[at].from;
        node[at].from = (uint32_t)next;
        if (!at) break;
        next = at;
        at = from;
    }
    bool unknown = false;
    for (size_t at = 0, next; at < s.n; at = next) {
        next = node[at].from;
        int32_t id = node[next].id;
        if (id < 0) {
            TRY(tok_put_unknown(j, s.p + at, next - at, &unknown, e));
            continue;
        }
        unknown = false;
        TRY(tok_put(j, id, e));
    }
    return ERR_NONE;
}
