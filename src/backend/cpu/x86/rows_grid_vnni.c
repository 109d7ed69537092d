/* Rows of stored weights with signs times a few tokens of int8 activations, in AVX-512 VNNI. The codes are magnitudes,
 * and the signs are given to the activations, so that no offset has to be taken off. Eight elements stand in two lanes;
 * vectors are arranged so that those two lanes belong to one sub-block in all of them, and the products of vectors are
 * added in dpbusd: in one sum where a sub-block has 32 elements, in two where it has 16. */
#include "backend/cpu/x86/row_sums_avx512.h"
#include "backend/cpu/x86/rows_loop.h"
#include "backend/cpu/x86/unpack_grid_vnni.h"

static ALWAYS_INLINE __m512i add_products(__m512i sum, const struct signed512 *w, const struct x_unit *x, int v) {
    __m512i q = _mm512_load_si512(x->q + 64 * v);
    return _mm512_dpbusd_epi32(sum, w->q[v], _mm512_mask_sub_epi8(q, w->minus[v], _mm512_setzero_si512(), q));
}

/* sub: weights under one scale. */
static ALWAYS_INLINE void multiply(const struct signed512 *w, const struct x_unit *x, const unsigned sub,
                                   const unsigned n_tok, struct row_sums *sums) {
    const __m512i zero = _mm512_setzero_si512();
    const __m512i twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    for (unsigned t = 0; t < n_tok; t++, x++) {
        struct row_sums *s = &sums[t];
        __m512 scale = _mm512_mul_ps(w->scale, _mm512_load_ps(x->scale));
        __m512 lanes = _mm512_permutexvar_ps(twice, scale);
        __m512i a = add_products(add_products(zero, w, x, 0), w, x, 1);
        __m512i b = add_products(add_products(sub == 32 ? a : zero, w, x, 2), w, x, 3);
        s->a = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sub == 32 ? b : a), lanes, s->a);
        if (sub == 32) continue;
        lanes = _mm512_permutexvar_ps(_mm512_add_epi32(twice, _mm512_set1_epi32(8)), scale);
        s->b = _mm512_fmadd_ps(_mm512_cvtepi32_ps(b), lanes, s->b);
    }
}

static inline void arrange(struct x_unit *x, enum order o) {
    const struct x_unit old = *x;
    for (int i = 0; i < 32; i++) memcpy(x->q + 8 * i, old.q + 8 * eight_at(o, i / 8, i % 8), 8);
}

#define SIGNED_ROWS(codec, sub)                                                                                        \
    static ALWAYS_INLINE void rows_unpack_##codec(const uint8_t *b, struct signed512 *u) {                             \
        take_##codec(b, BY_##sub, u);                                                                                  \
    }                                                                                                                  \
    void arrange_##codec##_vnni(struct x_unit *x) { arrange(x, BY_##sub); }                                            \
    ROWS_LOOP(codec, vnni, signed512, rows_unpack_##codec, multiply, sub)

SIGNED_ROWS(iq1_s, 32)
SIGNED_ROWS(iq1_m, 16)
SIGNED_ROWS(iq2_xxs, 32)
SIGNED_ROWS(iq2_xs, 16)
SIGNED_ROWS(iq2_s, 16)
SIGNED_ROWS(mxfp4, 32)
