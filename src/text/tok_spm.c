/* Owns what SentencePiece's two models share, the cutting into words, and its BPE (GGUF's
 * model "llama"): characters are merged by the score of what they make. The unigram model is in tok_unigram.c, what
 * happens to the text before in spm_text.c.
 *
 * Scores are turned into a table of pairs once, the rank of a pair being the place of its result's score among all
 * scores, so that both models share one merging routine. Every piece that merging can reach is made of two pieces;
 * that is how these vocabularies are trained. */
#include <stdlib.h>
#include <string.h>
#include "base/utf8.h"
#include "text/tok_impl.h"

static bool is_space(const char *p, size_t n) { return n >= 3 && !memcmp(p, SPM_SPACE, 3); }

static int hex(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "<0x0A>" to 10, -1 if it is something else. */
static int byte_of(struct str piece) {
    if (piece.n != 6 || memcmp(piece.p, "<0x", 3) != 0 || piece.p[5] != '>') return -1;
    int hi = hex(piece.p[3]), lo = hex(piece.p[4]);
    return hi < 0 || lo < 0 ? -1 : hi << 4 | lo;
}

/* Copies a piece with spaces for U+2581. */
static size_t plain(struct str piece, char *out) {
    size_t n = 0;
    for (size_t i = 0; i < piece.n; ) {
        bool space = is_space(piece.p + i, piece.n - i);
        out[n++] = (char)(space ? ' ' : piece.p[i]);
        i += space ? 3 : 1;
    }
    return n;
}

static bool merges(uint8_t kind) { return kind == TOKEN_NORMAL || kind == TOKEN_USER || kind == TOKEN_UNUSED; }

static bool space_behind_letter(struct str p) {
    for (size_t i = 1; i < p.n; i++) {
        if (is_space(p.p + i, p.n - i) && !(i >= 3 && is_space(p.p + i - 3, 3))) return true;
    }
    return false;
}

static enum err_code fill_bytes(struct tok *t, struct err *e) {
    const struct vocab *v = t->v;
    size_t total = 1;
    for (uint32_t i = 0; i < v->n; i++) total += v->piece[i].n;
    char *pool = arena_alloc(&t->arena, total, 1);
    if (!pool) return err_no_memory(e, total);
    for (uint32_t i = 0; i < v->n; i++) {
        int byte = v->kind[i] == TOKEN_BYTE ? byte_of(v->piece[i]) : -1;
        if (v->kind[i] == TOKEN_BYTE && byte < 0) {
            return err_set(e, ERR_FORMAT, "piece %u is marked as a byte but reads \"%.*s\"", i,
                           (int)(v->piece[i].n < 40 ? v->piece[i].n : 40), v->piece[i].p);
        }
        size_t n = 1;
        if (byte >= 0) {
            t->byte_id[byte] = (int32_t)i;
            pool[0] = (char)byte;
        } else {
            n = plain(v->piece[i], pool);
        }
        t->bytes[i] = (struct str){ pool, n };
        pool += n;
    }
    return ERR_NONE;
}

struct by_score { float score; int32_t id; };

static int highest_first(const void *pa, const void *pb) {
    const struct by_score *a = pa, *b = pb;
    if (a->score != b->score) return a->score > b->score ? -1 : 1;
    return a->id < b->id ? -1 : a->id > b->id;
}

enum { CUTS_AT_ONCE = 64 };

/* Pieces cut in two, gathered until there are enough to look them up together. */
struct cuts { struct str part[2 * CUTS_AT_ONCE]; struct merge_slot pair[CUTS_AT_ONCE]; uint32_t n; };

static enum err_code add_cuts(struct tok *t, struct cuts *c, struct err *e) {
    int32_t id[2 * CUTS_AT_ONCE];
    uint32_t n = c->n;
    c->n = 0;
    strmap_get_many(&t->map, c->part, 2 * n, id);
    for (uint32_t i = 0; i < n; i++) {
        c->pair[i].left = id[2 * i];
        c->pair[i].right = id[2 * i + 1];
    }
    return merge_add_many(&t->merges, c->pair, n, NULL, e);
}

/* All ways to make a piece of two others. */
static enum err_code add_pairs(struct tok *t, struct cuts *c, int32_t id, uint32_t rank, struct err *e) {
    struct str p = t->v->piece[id];
    uint32_t cp;
    for (size_t i = utf8_step(p.p, p.n, &cp); i < p.n; i += utf8_step(p.p + i, p.n - i, &cp)) {
        c->part[2 * c->n] = (struct str){ p.p, i };
        c->part[2 * c->n + 1] = (struct str){ p.p + i, p.n - i };
        c->pair[c->n] = (struct merge_slot){ .rank = rank, .result = id };
        if (++c->n == CUTS_AT_ONCE) TRY(add_cuts(t, c, e));
    }
    return ERR_NONE;
}

static enum err_code fill_merges(struct tok *t, struct err *e) {
    const struct vocab *v = t->v;
    enum err_code rc = ERR_NONE;
    uint32_t n = 0, rank = 0;
    struct cuts cuts;
    cuts.n = 0;
    struct by_score *order = NEW_ARRAY(struct by_score, v->n);
    if (!order) return err_no_memory(e, v->n * sizeof(*order));
    for (uint32_t i = 0; i < v->n; i++) {
        if (!merges(v->kind[i]) || !v->piece[i].n) continue;
        if (v->score[i] != v->score[i]) TRY_OUT(rc, err_set(e, ERR_FORMAT, "the score of piece %u is not a number", i));
        order[n++] = (struct by_score){ v->score[i], (int32_t)i };
    }
    qsort(order, n, sizeof(*order), highest_first);
    for (uint32_t i = 0; i < n; i++) {
        if (i && order[i].score != order[i - 1].score) rank++;
        TRY_OUT(rc, add_pairs(t, &cuts, order[i].id, rank, e));
    }
    rc = add_cuts(t, &cuts, e);
out:
    mem_free(order);
    return rc;
}

enum err_code spm_open(struct tok *t, struct err *e) {
    const struct vocab *v = t->v;
    if (!v->score) return err_set(e, ERR_FORMAT, "the vocabulary has no scores");
    TRY(charsmap_init(&t->charsmap, v->charsmap, e));
    TRY(fill_bytes(t, e));
    t->split_spaces = true;
    for (uint32_t i = 0; i < v->n && !(v->spaces & SPACES_SPLIT); i++) {
        if (merges(v->kind[i]) && space_behind_letter(v->piece[i])) t->split_spaces = false;
    }
    if (v->model == VOCAB_UNIGRAM) return unigram_open(t, e);
    t->map.key = v->piece;
    for (uint32_t i = 0; i < v->n; i++) {
        if (merges(v->kind[i]) && v->piece[i].n) strmap_add(&t->map, (int32_t)i);
    }
    return fill_merges(t, e);
}

/* A broken byte has length 1 and is no piece, so it falls back like any character. */
static enum err_code merge_word(struct tok_job *j, struct str s, struct err *e) {
    struct merge_word *w = &j->word;
    size_t n = 0;
    TRY(merge_reserve(w, s.n, e));
    for (size_t i = 0; i < s.n; n++) {
        uint32_t cp;
        size_t step = utf8_step(s.p + i, s.n - i, &cp);
        w->id[n] = strmap_get(&j->t->map, s.p + i, step);
        w->off[n] = (uint32_t)i;
        i += step;
    }
    w->n = n;
    TRY(merge_run(&j->t->merges, w, e));
    bool unknown = false;
    for (size_t i = 0; i < w->n; i++) {
        size_t end = i + 1 < w->n ? w->off[i + 1] : s.n;
        if (w->id[i] < 0) {
            TRY(tok_put_unknown(j, s.p + w->off[i], end - w->off[i], &unknown, e));
            continue;
        }
        unknown = false;
        TRY(tok_put(j, w->id[i], e));
    }
    return ERR_NONE;
}

static enum err_code encode_word(struct tok_job *j, struct str word, struct err *e) {
    bool found;
    struct tok_seen *slot;
    size_t first = j->n_ids;
    TRY(tok_seen_before(j, word, &found, &slot, e));
    if (found) return ERR_NONE;
    TRY(j->t->v->model == VOCAB_SPM ? merge_word(j, word, e) : unigram_word(j, word, e));
    tok_note(j, slot, word, first);
    return ERR_NONE;
}

/* Where the word that begins at `from` ends: behind it stands a space that nothing merges with. */
static size_t word_end(const struct tok *t, struct str s, size_t from) {
    if (!t->split_spaces) return s.n;
    size_t i = from;
    bool each = t->v->spaces & SPACES_SPLIT;
    while (is_space(s.p + i, s.n - i) && !(each && i > from)) i += 3;
    while (i < s.n) {
        const char *p = memchr(s.p + i, SPM_SPACE[0], s.n - i);
        if (!p) return s.n;
        i = (size_t)(p - s.p);
        if (is_space(p, s.n - i)) return i;
        i++;
    }
    return s.n;
}

enum err_code spm_encode(struct tok_job *j, struct str text, struct err *e) {
    struct buf b = { 0 };
    enum err_code rc = spm_text(j, text, &b, e);
    struct str s = { b.p, b.n };
    for (size_t i = 0, end; !rc && i < s.n; i = end) {
        end = word_end(j->t, s, i);
        rc = encode_word(j, (struct str){ s.p + i, end - i }, e);
    }
    j->text++; /* the words' text goes away */
    buf_fini(&b);
    return rc;
}
