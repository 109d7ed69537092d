/* Rows of weights in points of a grid times a few tokens of int8 activations, in AVX-512 VNNI and VBMI. The codes are
 * magnitudes, and the signs are given to the activations, so that no offset has to be taken off. A lane has the same 16
 * elements in all vectors of a unit, so that dpbusd adds them up to one sum, whose scale stands in the same lane. */
#include "backend/cpu/x86/rows_loop.h"
#include "backend/cpu/x86/rows_units_vbmi.h"

struct row_sums { __m512 sum; };

static ALWAYS_INLINE void row_clear(struct row_sums *s) { s->sum = _mm512_setzero_ps(); }

static ALWAYS_INLINE float row_total(const struct row_sums *s) { return _mm512_reduce_add_ps(s->sum); }

static ALWAYS_INLINE void multiply(const struct sixteens *w, const struct x_unit *x, const int sub,
                                   const unsigned n_tok, struct row_sums *sums) {
    (void)sub;
    const __m512i zero = _mm512_setzero_si512();
#pragma GCC unroll 4
    for (unsigned t = 0; t < n_tok; t++, x++) {
        __m512i sum = zero;
#pragma GCC unroll 4
        for (int v = 0; v < 4; v++) {
            __m512i q = _mm512_load_si512(x->q + 64 * v);
            sum = _mm512_dpbusd_epi32(sum, w->q[v], _mm512_mask_sub_epi8(q, w->minus[v], zero, q));
        }
        __m512 scale = _mm512_mul_ps(w->scale, _mm512_load_ps(x->scale));
        sums[t].sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scale, sums[t].sum);
    }
}

/* sub: weights under one scale. */
static inline void arrange(struct x_unit *x, const int sub) {
    const struct x_unit old = *x;
    for (int l = 0; l < 16; l++) {
        for (int v = 0; v < 4; v++) memcpy(x->q + 64 * v + 4 * l, old.q + 16 * l + 4 * v, 4);
        x->scale[l] = old.scale[16 * l / sub];
    }
}

#define ROWS(codec, sub, per)                                                                                          \
    void arrange_##codec##_vbmi(struct x_unit *x) { arrange(x, sub); }                                                 \
    ROWS_LOOP_OF(per, codec, vbmi, sixteens, rows_unpack_##codec, multiply, sub)

#define ROWS_OF_TWO(codec, sub)                                                                                        \
    static ALWAYS_INLINE void rows_unpack_##codec(const uint8_t *b, struct sixteens u[2]) {                            \
        two_units_##codec(b, b + UNIT_BYTES_##codec, u);                                                               \
    }                                                                                                                  \
    ROWS(codec, sub, 2)

ROWS_OF_TWO(iq2_xxs, 32)
ROWS_OF_TWO(iq2_xs, 16)
ROWS_OF_TWO(iq2_s, 16)
ROWS(iq3_xxs, 32, 1)
ROWS(iq3_s, 32, 1)
