#ifndef BACKEND_CPU_X86_FETCH_H
#define BACKEND_CPU_X86_FETCH_H
/* Fetching the weights of the next panel while a tile is computed, a few lines at a time and in ascending order. */
#include <immintrin.h>

#include "backend/cpu/kern.h"

/* Step i of n. */
static ALWAYS_INLINE void fetch_step(const struct fetch *f, size_t i, size_t n) {
    const size_t lines = (f->bytes + 63) / 64, all = PANEL_ROWS * lines;
    if (!f->at) return;
    for (size_t l = i * all / n; l < (i + 1) * all / n; l++)
        _mm_prefetch((const char *)f->at + l / lines * f->row_bytes + l % lines * 64, _MM_HINT_T1);
}
#endif
