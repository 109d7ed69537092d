#ifndef BACKEND_CPU_UNIT_REF_H
#define BACKEND_CPU_UNIT_REF_H
/* Inside of the scalar bodies that read stored blocks: what a unit is taken apart into, and the two kernels, rows and
 * panel, that are made from a type's function unpack_CODEC. */
#include "backend/cpu/kern.h"
#include "backend/cpu/unit.h"
#include "qtype/codec.h"

struct unit_codes {
    uint8_t q[UNIT];
    float scale[UNIT_SUBS], min[UNIT_SUBS];
};

/* Codes of 16 bytes of nibbles: low ones first. */
static inline void nibbles16(const uint8_t *b, uint8_t *q) {
    for (int j = 0; j < 16; j++) {
        q[j] = b[j] & 15;
        q[j + 16] = b[j] >> 4;
    }
}

/* Codes of 64 bytes of pairs of bits: byte l of either half has elements l, l + 32, l + 64, l + 96. */
static inline void pairs(const uint8_t *b, uint8_t *q) {
    for (int e = 0; e < UNIT; e++) q[e] = b[32 * (e >> 7) + (e & 31)] >> 2 * (e >> 5 & 3) & 3;
}

static inline float dot_unit(const struct unit_codes *u, const struct x_unit *x, const struct int8_form *form) {
    float sum = 0;
    for (int s = 0; s < UNIT / form->sub; s++) {
        int32_t isum = form->has_min ? 0 : x->corr[s];
        for (int j = form->sub * s; j < form->sub * (s + 1); j++) isum += u->q[j] * x->q[j];
        sum += u->scale[s] * x->scale[s] * (float)isum;
        if (form->has_min) sum += u->min[s] * x->sum[s];
    }
    return sum;
}

static inline void put_in_panel(const struct unit_codes *u, int row, struct panel_unit *out) {
    for (int e = 0; e < UNIT; e++) out->q[e / 4][row][e % 4] = u->q[e];
    for (int s = 0; s < UNIT_SUBS; s++) {
        out->scale[s][row] = u->scale[s];
        out->min[s][row] = u->min[s];
    }
}

#define UNIT_KERNELS(type, codec)                                                                                      \
    void rows_##codec##_ref(const struct rows_job *j) {                                                                \
        const struct int8_form *form = int8_form(QTYPE_##type);                                                        \
        const struct x_unit *x = j->x;                                                                                 \
        uint8_t copy[UNIT_BYTES_MAX];                                                                                  \
        for (size_t r = 0; r < j->n_rows; r++) {                                                                       \
            float sum[ROWS_TOKENS] = { 0 };                                                                            \
            for (size_t u = 0; u < div_up(j->n_in, UNIT); u++) {                                                       \
                struct unit_codes c = { .min = { 0 } };                                                                \
                unpack_##codec(unit_at(j->w + r * j->row_bytes, u, j->n_in, UNIT_BYTES_##codec, BLOCK_BYTES_##codec,   \
                                       copy), &c);                                                                     \
                for (unsigned t = 0; t < j->n_tok; t++) sum[t] += dot_unit(&c, &x[u * j->n_tok + t], form);            \
            }                                                                                                          \
            for (unsigned t = 0; t < j->n_tok; t++) j->out[t * j->out_stride + r] = sum[t];                            \
        }                                                                                                              \
    }                                                                                                                  \
    void panel_##codec##_ref(const struct panel_job *j) {                                                              \
        uint8_t copy[UNIT_BYTES_MAX];                                                                                  \
        for (size_t u = 0; u < j->n_units; u++)                                                                        \
            for (int r = 0; r < PANEL_ROWS; r++) {                                                                     \
                struct unit_codes c = { .min = { 0 } };                                                                \
                const uint8_t *p = unit_at(j->rows[r], j->first + u, j->n_in, UNIT_BYTES_##codec,                      \
                                           BLOCK_BYTES_##codec, copy);                                                 \
                unpack_##codec(p, &c);                                                                                 \
                put_in_panel(&c, r, &j->out[u]);                                                                       \
            }                                                                                                          \
    }
#endif
