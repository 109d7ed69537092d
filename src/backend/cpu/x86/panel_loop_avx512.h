#ifndef BACKEND_CPU_X86_PANEL_LOOP_AVX512_H
#define BACKEND_CPU_X86_PANEL_LOOP_AVX512_H
/* The loop of a panel kernel in AVX-512: 16 rows are unpacked beside one another by the codec's unpack_CODEC, then
 * interleaved. */
#include <immintrin.h>

#include "backend/cpu/kern.h"
#include "backend/cpu/unit.h"
#include "backend/cpu/x86/transpose_avx512.h"
#include "backend/cpu/x86/unpack_vnni.h"

/* Rows beside one another, as unpacked, before they are interleaved. */
struct unit_rows {
    uint8_t q[PANEL_ROWS][UNIT];
    float scale[PANEL_ROWS][UNIT_SUBS], min[PANEL_ROWS][UNIT_SUBS];
} ALIGNED(64);

static ALWAYS_INLINE void put_row(const struct unit512 *u, const bool has_min, unsigned row, struct unit_rows *out) {
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) _mm512_store_si512(out->q[row] + 64 * v, u->q[v]);
    _mm512_store_ps(out->scale[row], u->scale);
    if (has_min) _mm512_store_ps(out->min[row], u->min);
}

/* The first n columns of 16 rows of dwords, `stride` dwords apart. */
static ALWAYS_INLINE void interleave(const void *rows, size_t stride, int n, void *out) {
    __m512i v[16];
#pragma GCC unroll 16
    for (int r = 0; r < 16; r++) v[r] = _mm512_load_si512((const int32_t *)rows + r * stride);
    transpose16(v);
#pragma GCC unroll 16
    for (int c = 0; c < n; c++) _mm512_store_si512((int32_t *)out + 16 * c, v[c]);
}

static void interleave_rows(const struct unit_rows *in, const bool has_min, struct panel_unit *out) {
    for (int v = 0; v < 4; v++) interleave(in->q[0] + 64 * v, UNIT / 4, 16, out->q[16 * v]);
    interleave(in->scale, UNIT_SUBS, 16, out->scale);
    if (has_min) interleave(in->min, UNIT_SUBS, 16, out->min);
}

#define PANEL_KERNEL(codec, isa, has_min)                                                                              \
    void panel_##codec##_##isa(const struct panel_job *j) {                                                            \
        struct unit_rows rows;                                                                                         \
        uint8_t copy[UNIT_BYTES_MAX];                                                                                  \
        for (size_t i = 0; i < j->n_units; i++) {                                                                      \
            for (unsigned r = 0; r < PANEL_ROWS; r++) {                                                                \
                struct unit512 unit;                                                                                   \
                const uint8_t *p = unit_at(j->rows[r], j->first + i, j->n_in, UNIT_BYTES_##codec,                      \
                                           BLOCK_BYTES_##codec, copy);                                                 \
                unpack_##codec(p, &unit);                                                                              \
                put_row(&unit, has_min, r, &rows);                                                                     \
            }                                                                                                          \
            interleave_rows(&rows, has_min, &j->out[i]);                                                               \
        }                                                                                                              \
    }
#endif
