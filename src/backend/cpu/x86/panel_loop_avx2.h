#ifndef BACKEND_CPU_X86_PANEL_LOOP_AVX2_H
#define BACKEND_CPU_X86_PANEL_LOOP_AVX2_H
/* The loop of a panel kernel in AVX2: 16 rows are unpacked beside one another by the codec's unpack_CODEC, then
 * interleaved. */
#include <immintrin.h>

#include "backend/cpu/kern.h"
#include "backend/cpu/unit.h"
#include "backend/cpu/x86/transpose_avx2.h"
#include "backend/cpu/x86/unpack_avx2.h"

/* Rows beside one another, as unpacked, before they are interleaved. */
struct unit_rows {
    uint8_t q[PANEL_ROWS][UNIT];
    float scale[PANEL_ROWS][UNIT_SUBS], min[PANEL_ROWS][UNIT_SUBS];
} ALIGNED(32);

static ALWAYS_INLINE void put_row(const struct unit256 *u, const struct int8_form form, unsigned row,
                                  struct unit_rows *out) {
#pragma GCC unroll 8
    for (int v = 0; v < 8; v++) _mm256_store_si256((__m256i *)(out->q[row] + 32 * v), u->q[v]);
    for (int i = 0; i < UNIT / form.sub / 8; i++) {
        _mm256_store_ps(out->scale[row] + 8 * i, u->scale[i]);
        if (form.has_min) _mm256_store_ps(out->min[row] + 8 * i, u->min[i]);
    }
}

/* Eight rows of eight dwords, `stride` dwords apart, to eight columns, PANEL_ROWS dwords apart. */
static ALWAYS_INLINE void interleave8(const void *rows, size_t stride, void *out) {
    __m256 v[8];
#pragma GCC unroll 8
    for (int r = 0; r < 8; r++) v[r] = _mm256_load_ps((const float *)rows + r * stride);
    transpose8(v);
#pragma GCC unroll 8
    for (int c = 0; c < 8; c++) _mm256_store_ps((float *)out + PANEL_ROWS * c, v[c]);
}

static void interleave_rows(const struct unit_rows *in, const struct int8_form form, struct panel_unit *out) {
    for (int row = 0; row < PANEL_ROWS; row += 8) {
        for (int v = 0; v < 8; v++) interleave8(in->q[row] + 32 * v, UNIT / 4, out->q[8 * v][row]);
        for (int s = 0; s < UNIT / form.sub; s += 8) {
            interleave8(in->scale[row] + s, UNIT_SUBS, &out->scale[s][row]);
            if (form.has_min) interleave8(in->min[row] + s, UNIT_SUBS, &out->min[s][row]);
        }
    }
}

#define PANEL_KERNEL(codec, sub, offset, has_min)                                                                      \
    void panel_##codec##_avx2(const struct panel_job *j) {                                                             \
        const struct int8_form form = { sub, offset, has_min };                                                        \
        struct unit_rows rows;                                                                                         \
        uint8_t copy[UNIT_BYTES_MAX];                                                                                  \
        for (size_t i = 0; i < j->n_units; i++) {                                                                      \
            for (unsigned r = 0; r < PANEL_ROWS; r++) {                                                                \
                struct unit256 unit;                                                                                   \
                const uint8_t *p = unit_at(j->rows[r], j->first + i, j->n_in, UNIT_BYTES_##codec,                      \
                                           BLOCK_BYTES_##codec, copy);                                                 \
                unpack_##codec(p, &unit);                                                                              \
                put_row(&unit, form, r, &rows);                                                                        \
            }                                                                                                          \
            interleave_rows(&rows, form, &j->out[i]);                                                                  \
        }                                                                                                              \
    }
#endif
