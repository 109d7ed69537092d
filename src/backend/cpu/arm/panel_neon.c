/* Unpacking panels of 16 rows of stored weights: four rows at a time, beside one another, then interleaved. */
#include "backend/cpu/arm/transpose_neon.h"
#include "backend/cpu/arm/unpack_grid_neon.h"

/* A vector of each of four rows: its four columns to out, PANEL_ROWS dwords apart. */
static ALWAYS_INLINE void interleave4(uint32x4_t r0, uint32x4_t r1, uint32x4_t r2, uint32x4_t r3, void *out) {
    uint32x4_t v[4] = { r0, r1, r2, r3 };
    transpose4(v);
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) vst1q_u32((uint32_t *)out + PANEL_ROWS * c, v[c]);
}

#define FOUR_ROWS(as_u32, u, member) as_u32(u[0].member), as_u32(u[1].member), as_u32(u[2].member), as_u32(u[3].member)

static void interleave_rows(const struct unit_neon u[4], const struct int8_form form, int row, struct panel_unit *out) {
    for (int v = 0; v < 16; v++) interleave4(FOUR_ROWS(vreinterpretq_u32_u8, u, q[v]), out->q[4 * v][row]);
    for (int v = 0; v < UNIT / form.sub / 4; v++) {
        interleave4(FOUR_ROWS(vreinterpretq_u32_f32, u, scale[v]), &out->scale[4 * v][row]);
        if (form.has_min) interleave4(FOUR_ROWS(vreinterpretq_u32_f32, u, min[v]), &out->min[4 * v][row]);
    }
}

#define PANEL_NEON(codec, sub, offset, has_min)                                                                        \
    void panel_##codec##_neon(const struct panel_job *j) {                                                             \
        const struct int8_form form = { sub, offset, has_min };                                                        \
        struct unit_neon units[4];                                                                                     \
        uint8_t copy[UNIT_BYTES_MAX];                                                                                  \
        for (size_t i = 0; i < j->n_units; i++)                                                                        \
            for (int row = 0; row < PANEL_ROWS; row += 4) {                                                            \
                for (int r = 0; r < 4; r++)                                                                            \
                    unpack_##codec(unit_at(j->rows[row + r], j->first + i, j->n_in, UNIT_BYTES_##codec,                \
                                           BLOCK_BYTES_##codec, copy), &units[r]);                                     \
                interleave_rows(units, form, row, &j->out[i]);                                                         \
            }                                                                                                          \
    }

UNIT_CODECS(PANEL_NEON)
GRID_CODECS(PANEL_NEON)
