/* Panels of 16 rows times tiles of tokens in AVX2.
 *
 * A lane of 32 bits is a row: two vectors of the panel hold four codes of each of its rows, and a broadcast, which
 * serves both, the same four activations of one token. Products are added in pairs to 16 bits, there for as long as
 * they fit, and then to the row's sum. Levels of 8 bits are multiplied as rows_avx2.c says. */
#include <assert.h>
#include <immintrin.h>
#include <string.h>

#include "backend/cpu/kern.h"
#include "backend/cpu/x86/fetch.h"

enum { TOKENS_AT_ONCE = 4 };

/* The arithmetic of a type. */
struct tile_type {
    unsigned sub;  /* weights under one scale */
    bool has_min;
    unsigned deep; /* fours whose products fit 16 bits: 2 * 127 * deep * the largest code < 2^15; 1: levels of 8 bits */
};

/* Something of both halves of the rows. */
struct halves { __m256i of[2]; };
struct float_halves { __m256 of[2]; };

static ALWAYS_INLINE __m256i four_activations(const int8_t *q) {
    int32_t four;
    memcpy(&four, q, 4);
    return _mm256_set1_epi32(four);
}

static ALWAYS_INLINE struct float_halves load_halves(const float *p) {
    return (struct float_halves){ { _mm256_loadu_ps(p), _mm256_loadu_ps(p + 8) } };
}

/* parts[t] = the products of `deep` fours from q4 on of all rows, in 16 bits. */
static ALWAYS_INLINE void multiply_fours(const struct panel_unit *w, const struct x_unit *x, unsigned q4,
                                         const unsigned deep, const unsigned n_tok, struct halves *parts) {
    const bool wide = deep == 1;
#pragma GCC unroll 8
    for (unsigned k = q4; k < q4 + deep; k++) {
        __m256i codes[2], magnitudes[2];
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
            codes[h] = _mm256_load_si256((const __m256i *)w->q[k][8 * h]);
            if (wide) codes[h] = _mm256_xor_si256(codes[h], _mm256_set1_epi8((char)0x80));
            magnitudes[h] = wide ? _mm256_abs_epi8(codes[h]) : codes[h];
        }
#pragma GCC unroll 4
        for (unsigned t = 0; t < n_tok; t++) {
            const __m256i q = four_activations(x[t].q + 4 * k);
#pragma GCC unroll 2
            for (int h = 0; h < 2; h++) {
                const __m256i p = _mm256_maddubs_epi16(magnitudes[h], wide ? _mm256_sign_epi8(q, codes[h]) : q);
                parts[t].of[h] = k == q4 ? p : _mm256_add_epi16(parts[t].of[h], p);
            }
            /* One after the other, here and below: there are no registers for more. */
            __asm__("" : "+x"(parts[t].of[0]), "+x"(parts[t].of[1]));
        }
    }
}

/* sums[t] = the integer sums of sub-block s. */
static ALWAYS_INLINE void multiply_sub_block(const struct panel_unit *w, const struct x_unit *x, unsigned s,
                                             const struct tile_type type, const unsigned n_tok, struct halves *sums) {
    const unsigned fours = type.sub / 4;
    const bool has_offset = !type.has_min && type.deep > 1;
#pragma GCC unroll 8
    for (unsigned i = 0; i < fours; i += type.deep) {
        struct halves parts[TOKENS_AT_ONCE];
        multiply_fours(w, x, s * fours + i, type.deep, n_tok, parts);
#pragma GCC unroll 4
        for (unsigned t = 0; t < n_tok; t++)
#pragma GCC unroll 2
            for (int h = 0; h < 2; h++) {
                const __m256i wider = _mm256_madd_epi16(parts[t].of[h], _mm256_set1_epi16(1));
                const __m256i before = i > 0 ? sums[t].of[h] : _mm256_set1_epi32(x[t].corr[s]);
                sums[t].of[h] = i > 0 || has_offset ? _mm256_add_epi32(before, wider) : wider;
                __asm__("" : "+x"(sums[t].of[h]));
            }
    }
}

static ALWAYS_INLINE void tile_body(const struct tile_job *j, unsigned t0, const struct tile_type type,
                                    const unsigned n_tok) {
    const unsigned n_sub = UNIT / type.sub;
    const struct x_unit *x = j->x + t0;
    float *out = j->out + t0 * j->out_stride;
    struct float_halves sums[TOKENS_AT_ONCE];
#pragma GCC unroll 4
    for (unsigned t = 0; t < n_tok; t++)
        sums[t] = j->add ? load_halves(out + t * j->out_stride) : (struct float_halves){ 0 };
    for (size_t u = 0; u < j->n_units; u++, x += j->x_tokens)
        for (unsigned s = 0; s < n_sub; s++) {
            const struct panel_unit *w = &j->w[u];
            struct halves isums[TOKENS_AT_ONCE];
            if (t0 == 0) fetch_step(&j->fetch, u * n_sub + s, j->n_units * n_sub);
            multiply_sub_block(w, x, s, type, n_tok, isums);
            const struct float_halves scale = load_halves(w->scale[s]);
            const struct float_halves min = type.has_min ? load_halves(w->min[s]) : scale;
#pragma GCC unroll 4
            for (unsigned t = 0; t < n_tok; t++)
#pragma GCC unroll 2
                for (int h = 0; h < 2; h++) {
                    const __m256 both = _mm256_mul_ps(scale.of[h], _mm256_broadcast_ss(&x[t].scale[s]));
                    __m256 sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(isums[t].of[h]), both, sums[t].of[h]);
                    if (type.has_min) sum = _mm256_fmadd_ps(min.of[h], _mm256_broadcast_ss(&x[t].sum[s]), sum);
                    sums[t].of[h] = sum;
                }
        }
#pragma GCC unroll 4
    for (unsigned t = 0; t < n_tok; t++)
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) _mm256_storeu_ps(out + t * j->out_stride + 8 * h, sums[t].of[h]);
}

static ALWAYS_INLINE void tile_tokens(const struct tile_job *j, const struct tile_type type) {
    unsigned t = 0;
    for (; t + TOKENS_AT_ONCE <= j->n_tok; t += TOKENS_AT_ONCE) tile_body(j, t, type, TOKENS_AT_ONCE);
    for (; t < j->n_tok; t++) tile_body(j, t, type, 1);
}

void tile16_avx2(const struct tile_job *j) {
    if (j->form->has_min) tile_tokens(j, (struct tile_type){ 16, true, 4 });
    else if (j->top <= 31) tile_tokens(j, (struct tile_type){ 16, false, 4 });
    else if (j->form->offset < 128) tile_tokens(j, (struct tile_type){ 16, false, 2 });
    else tile_tokens(j, (struct tile_type){ 16, false, 1 });
}

void tile32_avx2(const struct tile_job *j) {
    assert(j->top <= 31 || j->form->offset == 128);
    if (j->form->has_min && j->top <= 15) tile_tokens(j, (struct tile_type){ 32, true, 8 });
    else if (j->form->has_min) tile_tokens(j, (struct tile_type){ 32, true, 4 });
    else if (j->top <= 15) tile_tokens(j, (struct tile_type){ 32, false, 8 });
    else if (j->top <= 31) tile_tokens(j, (struct tile_type){ 32, false, 4 });
    else tile_tokens(j, (struct tile_type){ 32, false, 1 });
}
