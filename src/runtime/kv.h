#ifndef RUNTIME_KV_H
#define RUNTIME_KV_H
/* Which cells of the KV caches hold which position of which sequence. Cells come in pages; a sequence takes pages from
 * a common pool as it grows, so sequences of any length share the memory. Pure bookkeeping: no device, no data. */
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"

struct kv {
    uint32_t n_seq, page;      /* cells a page */
    uint32_t pages_per_seq;    /* columns of the table */
    uint32_t n_free;
    int32_t *table;            /* (pages_per_seq, n_seq): page numbers, 0 where none is taken yet */
    int32_t *free_pages;       /* (n_free), a stack: lowest number on top at first */
    uint32_t *length;          /* (n_seq) positions in use */
};
/* Every sequence can reach n_ctx: the pool holds n_seq * ceil(n_ctx / page) pages. */
enum err_code kv_init(struct kv *kv, uint32_t n_seq, uint32_t n_ctx, uint32_t page, struct err *e);
void kv_fini(struct kv *kv);
static inline uint32_t kv_cells(const struct kv *kv) { return kv->n_seq * kv->pages_per_seq * kv->page; }
/* The cell of the next position of seq, which is taken. The caller knows that there is room. */
int32_t kv_append(struct kv *kv, uint32_t seq);
/* Keeps the first `length` positions and gives whole free pages back. */
void kv_truncate(struct kv *kv, uint32_t seq, uint32_t length);
#endif
