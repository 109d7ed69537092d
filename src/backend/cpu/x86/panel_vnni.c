/* Unpacking panels of 16 rows and multiplying them with tiles of tokens, in AVX-512 VNNI.
 *
 * A lane of 32 bits is a row: a vector of the panel holds four codes of each of the 16 rows, a broadcast the same four
 * activations of one token, and dpbusd adds their products to the 16 sums of that token. */
#include <immintrin.h>

#include "backend/cpu/kern.h"
#include "backend/cpu/x86/fetch.h"
#include "backend/cpu/x86/panel_loop_avx512.h"

PANEL_KERNEL(q5_0, vnni, false)
PANEL_KERNEL(q5_1, vnni, true)
PANEL_KERNEL(q8_0, vnni, false)
PANEL_KERNEL(nvfp4, vnni, false)

/* --- The tile: 16 rows times up to 12 tokens, whose integer and float sums stay in registers. --- */

static ALWAYS_INLINE __m512i four_codes(const int8_t *q) {
    int32_t four;
    memcpy(&four, q, 4);
    return _mm512_set1_epi32(four);
}

static ALWAYS_INLINE void sub_block(const struct panel_unit *w, const struct x_unit *x, const unsigned sub, unsigned s,
                                    const bool has_min, const unsigned n_tok, __m512 *sums) {
    const unsigned fours = sub / 4;
    __m512i isum[TILE_TOKENS];
#pragma GCC unroll 12
    for (unsigned t = 0; t < n_tok; t++) isum[t] = has_min ? _mm512_setzero_si512() : _mm512_set1_epi32(x[t].corr[s]);
#pragma GCC unroll 8
    for (unsigned f = 0; f < fours; f++) {
        __m512i q = _mm512_load_si512(w->q[s * fours + f]);
#pragma GCC unroll 12
        for (unsigned t = 0; t < n_tok; t++)
            isum[t] = _mm512_dpbusd_epi32(isum[t], q, four_codes(x[t].q + 4 * (s * fours + f)));
    }
    __m512 scale = _mm512_load_ps(w->scale[s]);
#pragma GCC unroll 12
    for (unsigned t = 0; t < n_tok; t++) {
        __m512 both = _mm512_mul_ps(scale, _mm512_set1_ps(x[t].scale[s]));
        sums[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(isum[t]), both, sums[t]);
    }
    if (!has_min) return;
    __m512 min = _mm512_load_ps(w->min[s]);
#pragma GCC unroll 12
    for (unsigned t = 0; t < n_tok; t++) sums[t] = _mm512_fmadd_ps(min, _mm512_set1_ps(x[t].sum[s]), sums[t]);
}

static ALWAYS_INLINE void tile_body(const struct tile_job *j, unsigned t0, const unsigned sub, const bool has_min,
                                    const unsigned n_tok) {
    __m512 sums[TILE_TOKENS];
    const struct x_unit *x = j->x + t0;
    float *out = j->out + t0 * j->out_stride;
#pragma GCC unroll 12
    for (unsigned t = 0; t < n_tok; t++)
        sums[t] = j->add ? _mm512_loadu_ps(out + t * j->out_stride) : _mm512_setzero_ps();
    for (size_t u = 0; u < j->n_units; u++, x += j->x_tokens)
        for (unsigned s = 0; s < UNIT / sub; s++) {
            if (t0 == 0) fetch_step(&j->fetch, u * (UNIT / sub) + s, j->n_units * (UNIT / sub));
            sub_block(&j->w[u], x, sub, s, has_min, n_tok, sums);
        }
#pragma GCC unroll 12
    for (unsigned t = 0; t < n_tok; t++) _mm512_storeu_ps(out + t * j->out_stride, sums[t]);
}

static ALWAYS_INLINE void tile_tokens(const struct tile_job *j, const unsigned sub, const bool has_min) {
    unsigned t = 0;
    if (j->n_tok == 12) {
        tile_body(j, 0, sub, has_min, 12);
        return;
    }
    for (; t + 8 <= j->n_tok; t += 8) tile_body(j, t, sub, has_min, 8);
    for (; t + 4 <= j->n_tok; t += 4) tile_body(j, t, sub, has_min, 4);
    for (; t + 2 <= j->n_tok; t += 2) tile_body(j, t, sub, has_min, 2);
    if (t < j->n_tok) tile_body(j, t, sub, has_min, 1);
}

void tile16_vnni(const struct tile_job *j) {
    if (j->form->has_min) tile_tokens(j, 16, true);
    else tile_tokens(j, 16, false);
}

void tile32_vnni(const struct tile_job *j) {
    if (j->form->has_min) tile_tokens(j, 32, true);
    else tile_tokens(j, 32, false);
}
