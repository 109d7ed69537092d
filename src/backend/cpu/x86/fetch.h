#ifndef BACKEND_CPU_X86_FETCH_H
#define BACKEND_CPU_X86_FETCH_H
/* Fetching weights before they are needed, into the second-level cache. The first has no room to keep them beside the
 * activations of a long row, and would lose them before they are read. */
#include <immintrin.h>

#include "backend/cpu/kern.h"

/* Bytes ahead of what a rows kernel reads: past the page that the processor's own prefetching stops at. */
enum { FETCH_AHEAD = 8192 };

static ALWAYS_INLINE void fetch_lines(const uint8_t *p, size_t bytes) {
    for (size_t i = 0; i < bytes; i += 64) _mm_prefetch((const char *)p + i, _MM_HINT_T1);
}

/* Two requests for each line, which brings more of them in time, as if single ones got lost while many are under way:
 * a tenth and more of the speed of float rows on Zen 4, 7 % of Q8_0's, none of those whose units begin within lines. */
static ALWAYS_INLINE void fetch_ahead(const uint8_t *p, size_t bytes) {
    for (size_t i = 0; i < bytes; i += 32) _mm_prefetch((const char *)p + FETCH_AHEAD + i, _MM_HINT_T1);
}

/* The next panel while a tile is computed, a few lines at a time and in ascending order: step i of n. */
static ALWAYS_INLINE void fetch_step(const struct fetch *f, size_t i, size_t n) {
    const size_t lines = (f->bytes + 63) / 64, all = PANEL_ROWS * lines;
    if (!f->at) return;
    for (size_t l = i * all / n; l < (i + 1) * all / n; l++)
        _mm_prefetch((const char *)f->at + l / lines * f->row_bytes + l % lines * 64, _MM_HINT_T1);
}
#endif
