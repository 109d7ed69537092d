#ifndef BACKEND_CPU_X86_ROWS_LOOP_H
#define BACKEND_CPU_X86_ROWS_LOOP_H
/* The loop of a rows kernel, whatever the registers: one row after the other, unit by unit or two by two, the last one
 * padded. The file that expands it has the arithmetic: struct row_sums with row_clear and row_total, and what takes
 * units apart and multiplies them. */
#include <immintrin.h>

#include "backend/cpu/kern.h"
#include "backend/cpu/unit.h"
#include "backend/cpu/x86/fetch.h"

/* unpack(w, units) takes `per` units apart; multiply(&unit, x, form, n_tok, sums) adds the products of one. */
#define ROWS_LOOP_OF(per, codec, isa, unit_regs, unpack, multiply, form)                                               \
    static ALWAYS_INLINE void codec##_rows(const struct rows_job *j, const unsigned n_tok) {                           \
        for (size_t r = 0; r < j->n_rows; r++) {                                                                       \
            struct row_sums sums[ROWS_TOKENS];                                                                         \
            struct unit_regs units[per];                                                                               \
            const struct x_unit *x = j->x;                                                                             \
            const uint8_t *w = j->w + r * j->row_bytes;                                                                \
            size_t left = j->n_in;                                                                                     \
            for (unsigned t = 0; t < n_tok; t++) row_clear(&sums[t]);                                                  \
            for (; left >= (per) * UNIT; left -= (per) * UNIT, w += (per) * UNIT_BYTES_##codec) {                      \
                fetch_ahead(w, (per) * UNIT_BYTES_##codec);                                                            \
                unpack(w, units);                                                                                      \
                _Pragma("GCC unroll 2")                                                                                \
                for (int i = 0; i < (per); i++, x += n_tok) multiply(&units[i], x, form, n_tok, sums);                 \
            }                                                                                                          \
            if (left) {                                                                                                \
                uint8_t copy[(per) * UNIT_BYTES_MAX] = { 0 };                                                          \
                memcpy(copy, w, left / UNIT * UNIT_BYTES_##codec + left % UNIT / 32 * BLOCK_BYTES_##codec);            \
                unpack(copy, units);                                                                                   \
                _Pragma("GCC unroll 2")                                                                                \
                for (size_t i = 0; i < (per); i++, x += n_tok)                                                         \
                    if (i * UNIT < left) multiply(&units[i], x, form, n_tok, sums);                                    \
            }                                                                                                          \
            for (unsigned t = 0; t < n_tok; t++) j->out[t * j->out_stride + r] = row_total(&sums[t]);                  \
        }                                                                                                              \
    }                                                                                                                  \
    void rows_##codec##_##isa(const struct rows_job *j) {                                                              \
        if (j->n_tok == 1) codec##_rows(j, 1);                                                                         \
        else if (j->n_tok == 2) codec##_rows(j, 2);                                                                    \
        else if (j->n_tok == 4) codec##_rows(j, 4);                                                                    \
        else codec##_rows(j, j->n_tok);                                                                                \
    }

#define ROWS_LOOP(...) ROWS_LOOP_OF(1, __VA_ARGS__)
#endif
