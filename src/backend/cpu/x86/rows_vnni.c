/* Rows of stored weights times a few tokens of int8 activations, in AVX-512 VNNI.
 *
 * A unit is taken apart once into four vectors of 64 codes. For each token a vector is multiplied with dpbusd (unsigned codes,
 * signed activations: 16 sums of four products), turned to float and added to the row's sum times the product of both
 * scales, which a permutation brings to the lanes of its sub-block. A lane is 4 elements: 8 lanes are a sub-block of 32, 4
 * lanes one of 16. The offset of the codes is taken off lane by lane before anything is rounded: a lane begins with minus the
 * offset times its four activations, which all rows share. */
#include <immintrin.h>

#include "backend/cpu/kern.h"
#include "backend/cpu/unit.h"
#include "backend/cpu/x86/unpack_vnni.h"

#define ROWS_AT_ONCE 2

/* The sub-block of each lane of vector v. */
static ALWAYS_INLINE __m512i sub_of_lanes(const unsigned sub, const int v) {
    __m512i first = sub == 32 ? _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1)
                              : _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    return _mm512_add_epi32(first, _mm512_set1_epi32(v * (int)(64 / sub)));
}

/* One unit of n_rows rows times n_tok tokens; sums[row * ROWS_TOKENS + token]. */
static ALWAYS_INLINE void multiply(const struct unit512 *w, const struct x_unit *x, const struct int8_form form,
                                   const unsigned n_rows, const unsigned n_tok, __m512 *sums, __m512 *mins) {
    const __m512i zero = _mm512_setzero_si512(), offset = _mm512_set1_epi8((char)form.offset);
#pragma GCC unroll 4
    for (unsigned t = 0; t < n_tok; t++) {
        __m512 x_scale = _mm512_load_ps(x[t].scale), scale[ROWS_AT_ONCE];
#pragma GCC unroll 2
        for (unsigned r = 0; r < n_rows; r++) {
            __m512 *min = &mins[r * ROWS_TOKENS + t];
            scale[r] = _mm512_mul_ps(w[r].scale, x_scale);
            if (form.has_min) *min = _mm512_fmadd_ps(w[r].min, _mm512_load_ps(x[t].sum), *min);
        }
#pragma GCC unroll 4
        for (int v = 0; v < 4; v++) {
            __m512i lanes = sub_of_lanes(form.sub, v), q = _mm512_load_si512(x[t].q + 64 * v);
            __m512i first = form.has_min ? zero : _mm512_sub_epi32(zero, _mm512_dpbusd_epi32(zero, offset, q));
#pragma GCC unroll 2
            for (unsigned r = 0; r < n_rows; r++) {
                __m512 *s = &sums[r * ROWS_TOKENS + t], p = _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(first, w[r].q[v], q));
                *s = _mm512_fmadd_ps(p, _mm512_permutexvar_ps(lanes, scale[r]), *s);
            }
        }
    }
}

/* The same place in the rows that come next: they are read when these are done. */
static ALWAYS_INLINE void fetch_ahead(const uint8_t *p, size_t bytes) {
    for (size_t i = 0; i < bytes; i += 64) _mm_prefetch((const char *)p + i, _MM_HINT_T0);
}

/* The form is written out, so that it is a constant in the loop. */
#define ROWS_KERNEL(codec, sub, offset, has_min)                                                                                   \
    static ALWAYS_INLINE void codec##_body(const struct rows_job *j, size_t row, const unsigned n_rows,                    \
                                           const unsigned n_tok) {                                                         \
        __m512 sums[ROWS_AT_ONCE * ROWS_TOKENS], mins[ROWS_AT_ONCE * ROWS_TOKENS];                                         \
        const struct x_unit *x = j->x;                                                                                     \
        const uint8_t *w = j->w + row * j->row_bytes;                                                                      \
        const struct int8_form form = { sub, offset, has_min };                                                            \
        struct unit512 unit[ROWS_AT_ONCE];                                                                                 \
        uint8_t copy[UNIT_BYTES_MAX];                                                                                      \
        size_t u = 0;                                                                                                      \
        for (unsigned i = 0; i < n_rows * ROWS_TOKENS; i++) sums[i] = mins[i] = _mm512_setzero_ps();                       \
        for (; (u + 1) * UNIT <= j->n_in; u++, x += n_tok) {                                                               \
            _Pragma("GCC unroll 2")                                                                                        \
            for (unsigned r = 0; r < n_rows; r++) {                                                                        \
                const uint8_t *p = w + r * j->row_bytes + u * UNIT_BYTES_##codec;                                          \
                fetch_ahead(p + n_rows * j->row_bytes, UNIT_BYTES_##codec);                                                \
                unpack_##codec(p, &unit[r]);                                                                               \
            }                                                                                                              \
            multiply(unit, x, form, n_rows, n_tok, sums, mins);                                                    \
        }                                                                                                                  \
        if (u * UNIT < j->n_in) {                                                                                          \
            for (unsigned r = 0; r < n_rows; r++)                                                                          \
                unpack_##codec(padded_unit(w + r * j->row_bytes + u * UNIT_BYTES_##codec, j->n_in - u * UNIT,              \
                                           BLOCK_BYTES_##codec, copy), &unit[r]);                                          \
            multiply(unit, x, form, n_rows, n_tok, sums, mins);                                                    \
        }                                                                                                                  \
        for (unsigned r = 0; r < n_rows; r++)                                                                              \
            for (unsigned t = 0; t < n_tok; t++) {                                                                         \
                __m512 s = sums[r * ROWS_TOKENS + t];                                                                      \
                if (has_min) s = _mm512_add_ps(s, mins[r * ROWS_TOKENS + t]);                                              \
                j->out[t * j->out_stride + row + r] = _mm512_reduce_add_ps(s);                                             \
            }                                                                                                              \
    }                                                                                                                      \
    static ALWAYS_INLINE void codec##_tokens(const struct rows_job *j, const unsigned n_tok) {                             \
        size_t r = 0;                                                                                                      \
        for (; r + ROWS_AT_ONCE <= j->n_rows; r += ROWS_AT_ONCE) codec##_body(j, r, ROWS_AT_ONCE, n_tok);                  \
        for (; r < j->n_rows; r++) codec##_body(j, r, 1, n_tok);                                                           \
    }                                                                                                                      \
    void rows_##codec##_vnni(const struct rows_job *j) {                                                                   \
        if (j->n_tok == 1) codec##_tokens(j, 1);                                                                           \
        else if (j->n_tok == 2) codec##_tokens(j, 2);                                                                      \
        else if (j->n_tok == 3) codec##_tokens(j, 3);                                                                      \
        else codec##_tokens(j, 4);                                                                                         \
    }

ROWS_KERNEL(q4_0, 32, 8, false)
ROWS_KERNEL(q4_1, 32, 0, true)
ROWS_KERNEL(q5_0, 32, 16, false)
ROWS_KERNEL(q5_1, 32, 0, true)
ROWS_KERNEL(q8_0, 32, 128, false)
ROWS_KERNEL(iq4_nl, 32, 128, false)
ROWS_KERNEL(q2_k, 16, 0, true)
ROWS_KERNEL(q3_k, 16, 4, false)
ROWS_KERNEL(q4_k, 32, 0, true)
ROWS_KERNEL(q5_k, 32, 0, true)
ROWS_KERNEL(q6_k, 16, 32, false)
ROWS_KERNEL(iq4_xs, 32, 128, false)
