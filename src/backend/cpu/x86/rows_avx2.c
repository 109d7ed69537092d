/* Rows of stored weights times a few tokens of int8 activations, in AVX2.
 *
 * A unit is taken apart once into eight vectors of 32 codes. For each token a vector is multiplied into 16-bit sums of
 * two products, which must not overflow: codes up to 63 give at most 63 * 127 * 2; codes of 8 bits are made signed and
 * multiplied as magnitude times activation with the code's sign, at most 128 * 127 * 2. Then sums of four, to float,
 * and added to the row's sum times the product of both scales, brought to the lanes of its sub-block: 8 lanes for 32
 * elements, 4 for 16.
 *
 * One row at a time: the weights are then one stream in ascending order, which the processor fetches ahead at the
 * memory's speed. */
#include <immintrin.h>

#include "backend/cpu/x86/rows_loop.h"
#include "backend/cpu/x86/unpack_avx2.h"

/* The scales of vector v in its lanes. */
static ALWAYS_INLINE __m256 scale_lanes(const __m256 *scale, const unsigned sub, const int v) {
    if (sub == 32) return _mm256_permutevar8x32_ps(scale[0], _mm256_set1_epi32(v));
    const int s = 2 * (v & 3);
    return _mm256_permutevar8x32_ps(scale[v / 4], _mm256_setr_epi32(s, s, s, s, s + 1, s + 1, s + 1, s + 1));
}

/* Sums of two products, exact, of 32 codes with 32 activations. */
static ALWAYS_INLINE __m256i products(__m256i codes, __m256i x, const int offset) {
    if (offset == 0) return _mm256_maddubs_epi16(codes, x);
    if (offset < 128) {
        __m256i shift = _mm256_maddubs_epi16(_mm256_set1_epi8((char)offset), x);
        return _mm256_sub_epi16(_mm256_maddubs_epi16(codes, x), shift);
    }
    __m256i w = _mm256_xor_si256(codes, _mm256_set1_epi8((char)0x80));
    return _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
}

struct row_sums { __m256 even, odd, min; };

static ALWAYS_INLINE void multiply(const struct unit256 *w, const struct x_unit *x, const struct int8_form form,
                                   const unsigned n_tok, struct row_sums *sums) {
    const __m256i ones = _mm256_set1_epi16(1);
    const unsigned n_scales = form.sub == 32 ? 1 : 2;
#pragma GCC unroll 4
    for (unsigned t = 0; t < n_tok; t++) {
        struct row_sums *s = &sums[t];
        __m256 scale[2];
        for (unsigned i = 0; i < n_scales; i++) {
            scale[i] = _mm256_mul_ps(w->scale[i], _mm256_load_ps(x[t].scale + 8 * i));
            if (form.has_min) s->min = _mm256_fmadd_ps(w->min[i], _mm256_load_ps(x[t].sum + 8 * i), s->min);
        }
#pragma GCC unroll 8
        for (int v = 0; v < 8; v++) {
            __m256i q = _mm256_load_si256((const __m256i *)(x[t].q + 32 * v));
            __m256 p = _mm256_cvtepi32_ps(_mm256_madd_epi16(products(w->q[v], q, form.offset), ones));
            __m256 lanes = scale_lanes(scale, form.sub, v);
            if (v & 1) s->odd = _mm256_fmadd_ps(p, lanes, s->odd);
            else s->even = _mm256_fmadd_ps(p, lanes, s->even);
        }
    }
}

static ALWAYS_INLINE float sum8(__m256 v) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

static ALWAYS_INLINE void row_clear(struct row_sums *s) { s->even = s->odd = s->min = _mm256_setzero_ps(); }

static ALWAYS_INLINE float row_total(const struct row_sums *s) {
    return sum8(_mm256_add_ps(_mm256_add_ps(s->even, s->odd), s->min));
}

ROWS_KERNELS(avx2, unit256)
