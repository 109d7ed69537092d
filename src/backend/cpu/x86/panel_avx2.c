/* Unpacking panels of 16 rows and multiplying them with tiles of tokens, in AVX2.
 *
 * A lane of 32 bits is a row: a vector of the panel holds four codes of each of 8 rows, a broadcast the same four
 * activations of one token. Products are added in pairs to 16 bits, as rows_avx2.c says, then to the 8 sums of that
 * token. */
#include <immintrin.h>

#include "backend/cpu/kern.h"
#include "backend/cpu/x86/fetch.h"
#include "backend/cpu/x86/panel_loop_avx2.h"

PANEL_KERNEL(q4_0, 32, 8, false)
PANEL_KERNEL(q4_1, 32, 0, true)
PANEL_KERNEL(q5_0, 32, 16, false)
PANEL_KERNEL(q5_1, 32, 0, true)
PANEL_KERNEL(q8_0, 32, 128, false)
PANEL_KERNEL(iq4_nl, 32, 128, false)
PANEL_KERNEL(q2_k, 16, 0, true)
PANEL_KERNEL(q3_k, 16, 4, false)
PANEL_KERNEL(q4_k, 32, 0, true)
PANEL_KERNEL(q5_k, 32, 0, true)
PANEL_KERNEL(q6_k, 16, 32, false)
PANEL_KERNEL(iq4_xs, 32, 128, false)
PANEL_KERNEL(nvfp4, 16, 16, false)
PANEL_KERNEL(tq1_0, 32, 1, false)
PANEL_KERNEL(tq2_0, 32, 1, false)

/* --- The tile: 8 of the 16 rows times up to 4 tokens, whose integer and float sums stay in registers. --- */

enum { TOKENS_AT_ONCE = 4 };

static ALWAYS_INLINE __m256i four_codes(const int8_t *q) {
    int32_t four;
    memcpy(&four, q, 4);
    return _mm256_set1_epi32(four);
}

/* Two vectors of codes times their activations: sums of four products of magnitude up to 63 * 127 still fit 16 bits. */
static ALWAYS_INLINE __m256i narrow_products(__m256i w0, __m256i w1, const int8_t *q) {
    return _mm256_add_epi16(_mm256_maddubs_epi16(w0, four_codes(q)), _mm256_maddubs_epi16(w1, four_codes(q + 4)));
}

static ALWAYS_INLINE __m256i wide_products(__m256i magnitude, __m256i w, const int8_t *q) {
    return _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(four_codes(q), w));
}

static ALWAYS_INLINE void sub_block(const uint8_t *w, const struct x_unit *x, const unsigned sub, unsigned s,
                                    const bool has_min, const bool wide, const unsigned n_tok, __m256i *isum) {
    const __m256i ones = _mm256_set1_epi16(1), flip = _mm256_set1_epi8((char)0x80);
    const size_t step = sizeof((struct panel_unit *)0)->q[0];
#pragma GCC unroll 4
    for (unsigned t = 0; t < n_tok; t++)
        isum[t] = has_min || wide ? _mm256_setzero_si256() : _mm256_set1_epi32(x[t].corr[s]);
#pragma GCC unroll 4
    for (unsigned f = 0; f < sub / 4; f += 2) {
        __m256i w0 = _mm256_load_si256((const __m256i *)(w + f * step));
        __m256i w1 = _mm256_load_si256((const __m256i *)(w + (f + 1) * step));
        if (!wide) {
#pragma GCC unroll 4
            for (unsigned t = 0; t < n_tok; t++) {
                __m256i p = narrow_products(w0, w1, x[t].q + s * sub + 4 * f);
                isum[t] = _mm256_add_epi32(isum[t], _mm256_madd_epi16(p, ones));
            }
            continue;
        }
        w0 = _mm256_xor_si256(w0, flip);
        w1 = _mm256_xor_si256(w1, flip);
        __m256i m0 = _mm256_abs_epi8(w0), m1 = _mm256_abs_epi8(w1);
#pragma GCC unroll 4
        for (unsigned t = 0; t < n_tok; t++) {
            __m256i p0 = wide_products(m0, w0, x[t].q + s * sub + 4 * f);
            __m256i p1 = wide_products(m1, w1, x[t].q + s * sub + 4 * f + 4);
            isum[t] = _mm256_add_epi32(isum[t], _mm256_madd_epi16(p0, ones));
            isum[t] = _mm256_add_epi32(isum[t], _mm256_madd_epi16(p1, ones));
        }
    }
}

static ALWAYS_INLINE void tile_body(const struct tile_job *j, unsigned row, unsigned t0, const unsigned sub,
                                    const bool has_min, const bool wide, const unsigned n_tok) {
    __m256 sums[TOKENS_AT_ONCE];
    __m256i isum[TOKENS_AT_ONCE];
    const struct x_unit *x = j->x + t0;
    float *out = j->out + t0 * j->out_stride + row;
#pragma GCC unroll 4
    for (unsigned t = 0; t < n_tok; t++)
        sums[t] = j->add ? _mm256_loadu_ps(out + t * j->out_stride) : _mm256_setzero_ps();
    for (size_t u = 0; u < j->n_units; u++, x += j->x_tokens)
        for (unsigned s = 0; s < UNIT / sub; s++) {
            const struct panel_unit *w = &j->w[u];
            if (t0 == 0 && row == 0) fetch_step(&j->fetch, u * (UNIT / sub) + s, j->n_units * (UNIT / sub));
            sub_block(w->q[s * sub / 4][row], x, sub, s, has_min, wide, n_tok, isum);
            __m256 scale = _mm256_load_ps(&w->scale[s][row]), min = scale;
            if (has_min) min = _mm256_load_ps(&w->min[s][row]);
#pragma GCC unroll 4
            for (unsigned t = 0; t < n_tok; t++) {
                __m256 both = _mm256_mul_ps(scale, _mm256_broadcast_ss(&x[t].scale[s]));
                sums[t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(isum[t]), both, sums[t]);
                if (has_min) sums[t] = _mm256_fmadd_ps(min, _mm256_broadcast_ss(&x[t].sum[s]), sums[t]);
            }
        }
#pragma GCC unroll 4
    for (unsigned t = 0; t < n_tok; t++) _mm256_storeu_ps(out + t * j->out_stride, sums[t]);
}

static ALWAYS_INLINE void tile_tokens(const struct tile_job *j, const unsigned sub, const bool has_min,
                                      const bool wide) {
    for (unsigned row = 0; row < PANEL_ROWS; row += 8) {
        unsigned t = 0;
        for (; t + 4 <= j->n_tok; t += 4) tile_body(j, row, t, sub, has_min, wide, 4);
        for (; t < j->n_tok; t++) tile_body(j, row, t, sub, has_min, wide, 1);
    }
}

void tile16_avx2(const struct tile_job *j) {
    if (j->form->has_min) tile_tokens(j, 16, true, false);
    else if (j->form->offset < 128) tile_tokens(j, 16, false, false);
    else tile_tokens(j, 16, false, true);
}

void tile32_avx2(const struct tile_job *j) {
    if (j->form->has_min) tile_tokens(j, 32, true, false);
    else if (j->form->offset < 128) tile_tokens(j, 32, false, false);
    else tile_tokens(j, 32, false, true);
}
