/* The page table of the KV cache. See kv.h. */
#include "runtime/kv.h"
#include <string.h>
#include "base/mem.h"
#include "base/num.h"

enum err_code kv_init(struct kv *kv, uint32_t n_seq, uint32_t n_ctx, uint32_t page, struct err *e) {
    *kv = (struct kv){ .n_seq = n_seq, .page = page, .pages_per_seq = (uint32_t)div_up(n_ctx, page) };
    size_t n_pages = (size_t)n_seq * kv->pages_per_seq;
    kv->table = NEW_ARRAY(int32_t, n_pages);
    kv->free_pages = NEW_ARRAY(int32_t, n_pages);
    kv->length = NEW_ARRAY(uint32_t, n_seq);
    if (!kv->table || !kv->free_pages || !kv->length) {
        kv_fini(kv);
        return err_no_memory(e, n_pages * sizeof *kv->table);
    }
    for (size_t i = 0; i < n_pages; i++) kv->free_pages[i] = (int32_t)(n_pages - 1 - i);
    kv->n_free = (uint32_t)n_pages;
    return ERR_NONE;
}

void kv_fini(struct kv *kv) {
    mem_free(kv->table);
    mem_free(kv->free_pages);
    mem_free(kv->length);
    memset(kv, 0, sizeof *kv);
}

int32_t kv_append(struct kv *kv, uint32_t seq) {
    uint32_t pos = kv->length[seq]++;
    int32_t *slot = &kv->table[(size_t)seq * kv->pages_per_seq + pos / kv->page];
    if (pos % kv->page == 0) *slot = kv->free_pages[--kv->n_free];
    return *slot * (int32_t)kv->page + (int32_t)(pos % kv->page);
}

void kv_truncate(struct kv *kv, uint32_t seq, uint32_t length) {
    int32_t *row = &kv->table[(size_t)seq * kv->pages_per_seq];
    uint32_t keep = (uint32_t)div_up(length, kv->page), used = (uint32_t)div_up(kv->length[seq], kv->page);
    while (used > keep) {
        kv->free_pages[kv->n_free++] = row[--used];
        row[used] = 0;
    }
    if (length < kv->length[seq]) kv->length[seq] = length;
}
