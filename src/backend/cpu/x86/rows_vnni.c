/* Rows of stored weights times a few tokens of int8 activations, in AVX-512 VNNI.
 *
 * A unit is taken apart once into four vectors of 64 codes. For each token a vector is multiplied with dpbusd (unsigned
 * codes, signed activations: 16 sums of four products), turned to float and added to the row's sum times the product of
 * both scales, which a permutation brings to the lanes of its sub-block. A lane is 4 elements: 8 lanes are a sub-block
 * of 32, 4 lanes one of 16. The offset of the codes is taken off lane by lane before anything is rounded: a lane begins
 * with minus the offset times its four activations.
 *
 * One row at a time: the weights are then one stream in ascending order, which the processor fetches ahead at the
 * memory's speed; several rows at once halve it. */
#include <immintrin.h>

#include "backend/cpu/x86/rows_loop.h"
#include "backend/cpu/x86/unpack_vnni.h"

/* The sub-block of each lane of vector v. */
static ALWAYS_INLINE __m512i sub_of_lanes(const unsigned sub, const int v) {
    __m512i first = sub == 32 ? _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1)
                              : _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    return _mm512_add_epi32(first, _mm512_set1_epi32(v * (int)(64 / sub)));
}

/* The sums of one row and one token: two, so that additions need not wait for one another, and that of the mins. */
struct row_sums { __m512 even, odd, min; };

static ALWAYS_INLINE void multiply(const struct unit512 *w, const struct x_unit *x, const struct int8_form form,
                                   const unsigned n_tok, struct row_sums *sums) {
    const __m512i zero = _mm512_setzero_si512(), offset = _mm512_set1_epi8((char)form.offset);
#pragma GCC unroll 4
    for (unsigned t = 0; t < n_tok; t++) {
        struct row_sums *s = &sums[t];
        __m512 scale = _mm512_mul_ps(w->scale, _mm512_load_ps(x[t].scale));
        if (form.has_min) s->min = _mm512_fmadd_ps(w->min, _mm512_load_ps(x[t].sum), s->min);
#pragma GCC unroll 4
        for (int v = 0; v < 4; v++) {
            __m512i q = _mm512_load_si512(x[t].q + 64 * v);
            __m512i first = form.has_min ? zero : _mm512_sub_epi32(zero, _mm512_dpbusd_epi32(zero, offset, q));
            __m512 p = _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(first, w->q[v], q));
            __m512 lanes = _mm512_permutexvar_ps(sub_of_lanes(form.sub, v), scale);
            if (v & 1) s->odd = _mm512_fmadd_ps(p, lanes, s->odd);
            else s->even = _mm512_fmadd_ps(p, lanes, s->even);
        }
    }
}

static ALWAYS_INLINE void row_clear(struct row_sums *s) { s->even = s->odd = s->min = _mm512_setzero_ps(); }

static ALWAYS_INLINE float row_total(const struct row_sums *s) {
    return _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(s->even, s->odd), s->min));
}

ROWS_KERNELS(vnni, unit512)
