#ifndef BACKEND_CPU_X86_ROWS_GRID_AVX512_H
#define BACKEND_CPU_X86_ROWS_GRID_AVX512_H
/* Rows of the types with signs times a few tokens of int8 activations: as rows_vnni.c, but the codes are magnitudes,
 * and the signs are given to the activations, so that no offset has to be taken off. */
#include "backend/cpu/x86/rows_loop.h"
#include "backend/cpu/x86/unpack_grid_vnni.h"

/* The sub-block of each lane of the first vector. */
static ALWAYS_INLINE __m512i first_subs(const unsigned sub) {
    return sub == 32 ? _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1)
                     : _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
}

struct row_sums { __m512 even, odd; };

static ALWAYS_INLINE void multiply(const struct signed512 *w, const struct x_unit *x, const struct int8_form form,
                                   const unsigned n_tok, struct row_sums *sums) {
    const __m512i zero = _mm512_setzero_si512();
#pragma GCC unroll 4
    for (unsigned t = 0; t < n_tok; t++) {
        struct row_sums *s = &sums[t];
        __m512 scale = _mm512_mul_ps(w->scale, _mm512_load_ps(x[t].scale));
#pragma GCC unroll 4
        for (int v = 0; v < 4; v++) {
            __m512i q = _mm512_load_si512(x[t].q + 64 * v);
            __m512i p = _mm512_dpbusd_epi32(zero, w->q[v], _mm512_mask_sub_epi8(q, w->minus[v], zero, q));
            __m512i subs = _mm512_add_epi32(first_subs(form.sub), _mm512_set1_epi32(v * (int)(64 / form.sub)));
            __m512 lanes = _mm512_permutexvar_ps(subs, scale);
            if (v & 1) s->odd = _mm512_fmadd_ps(_mm512_cvtepi32_ps(p), lanes, s->odd);
            else s->even = _mm512_fmadd_ps(_mm512_cvtepi32_ps(p), lanes, s->even);
        }
    }
}

static ALWAYS_INLINE void row_clear(struct row_sums *s) { s->even = s->odd = _mm512_setzero_ps(); }

static ALWAYS_INLINE float row_total(const struct row_sums *s) {
    return _mm512_reduce_add_ps(_mm512_add_ps(s->even, s->odd));
}

/* Offset and min have no part in it. */
#define SIGNED_ROWS_KERNEL(codec, isa, sub)                                                                            \
    static ALWAYS_INLINE void unpack_##codec(const uint8_t *b, struct signed512 *u) { take_##codec(b, u); }            \
    ROWS_KERNEL(codec, isa, signed512, sub, 0, false)
#endif
