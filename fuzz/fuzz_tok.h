#ifndef FUZZ_FUZZ_TOK_H
#define FUZZ_FUZZ_TOK_H
/* What the targets of tokenizer files do with a record that a parser took: every byte of it is read, it is made a
 * vocabulary and, where that is taken, a tokenizer that encodes and decodes a text. */
#include "format/hf_tokenizer.h"
#include "fuzz.h"
#include "runtime/vocab_file.h"
#include "text/tok.h"

static inline void fuzz_use_tokenizer(const struct vocab *v) {
    static const unsigned flags[] = { 0, TOK_ADD_SPECIAL | TOK_PARSE_SPECIAL };
    const struct str text = STR(" ab abc  he ~he12\xc3\xa9 \xff<s>a<tool>\n<|im_end|>");
    struct tok *t;
    if (tok_open(v, &t, NULL)) return;
    for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
        struct buf out = { 0 };
        int32_t *ids;
        size_t n;
        if (tok_encode(t, text, flags[i], &ids, &n, NULL)) continue;
        if (!tok_decode(t, ids, n, i == 0, &out, NULL)) fuzz_touch(out.p, out.n);
        buf_fini(&out);
        mem_free(ids);
    }
    tok_close(t);
}

static inline void fuzz_use_record(const struct hf_tokenizer *t) {
    for (uint32_t i = 0; i < t->n; i++) fuzz_touch(t->piece[i].p, t->piece[i].n);
    if (t->score) fuzz_touch(t->score, t->n * sizeof(*t->score));
    if (t->type) fuzz_touch(t->type, t->n);
    fuzz_touch(t->charsmap.p, t->charsmap.n);
    for (uint32_t i = 0; i < t->n_merges; i++) {
        fuzz_touch(t->merge[i].left.p, t->merge[i].left.n);
        fuzz_touch(t->merge[i].right.p, t->merge[i].right.n);
    }
    for (uint32_t i = 0; i < t->n_added; i++) fuzz_touch(t->added[i].text.p, t->added[i].text.n);
}

/* Takes t over, also after an error; t is what parsing gave, NULL where rc is its error. */
static inline enum err_code fuzz_use_parsed(enum err_code rc, struct hf_tokenizer *t, struct err *e) {
    const struct vocab_hints hints = { 0, -1, -1, -1 };
    struct vocab v;
    if (rc) return rc;
    fuzz_use_record(t);
    rc = vocab_from_hf(t, &hints, &v, e);
    if (!rc) {
        fuzz_use_tokenizer(&v);
        vocab_fini(&v);
    }
    hf_tokenizer_close(t);
    return rc;
}
#endif
