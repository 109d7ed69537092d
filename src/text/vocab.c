/* Owns the lifetime and the comparison of vocabularies. Filling them from files is the runtime's work, using them the
 * tokenizer's. */
#include <stdio.h>
#include <string.h>
#include "base/num.h"
#include "text/vocab.h"

void vocab_fini(struct vocab *v) {
    if (!v) return;
    arena_fini(&v->arena);
    memset(v, 0, sizeof(*v));
}

bool vocab_same(const struct vocab *a, const struct vocab *b, char *why, unsigned why_size) {
    char unused[1];
    if (!why) {
        why = unused;
        why_size = sizeof(unused);
    }
    if (a->model != b->model) {
        snprintf(why, why_size, "one is byte-level, the other is not");
        return false;
    }
    if (a->n != b->n) {
        snprintf(why, why_size, "%u pieces against %u", a->n, b->n);
        return false;
    }
    for (uint32_t i = 0; i < a->n; i++) {
        if (str_eq(a->piece[i], b->piece[i]) && a->kind[i] == b->kind[i]) continue;
        snprintf(why, why_size, "piece %u is \"%.*s\" against \"%.*s\"", i, (int)min_u64(a->piece[i].n, 40),
                 a->piece[i].p, (int)min_u64(b->piece[i].n, 40), b->piece[i].p);
        return false;
    }
    if (a->bos != b->bos || a->eos != b->eos) {
        snprintf(why, why_size, "begin and end tokens %d, %d against %d, %d", a->bos, a->eos, b->bos, b->eos);
        return false;
    }
    return true;
}
