/* Rows of TQ1_0 times a few tokens of int8 activations, in AVX-512 VNNI and VBMI. A vector of activations has 32
 * elements that stand in one digit of the unit's first bytes, then 16 of the next bytes; the fifth also has the last 16
 * elements of the unit. The others reach over the next one's first 16, where their codes are 0. Codes of odd digits are
 * four times as large. The sums of the first four vectors are added as those of sub-blocks of 16 (rows_vnni.c). */
#include "backend/cpu/x86/row_sums_avx512.h"
#include "backend/cpu/x86/rows_loop.h"
#include "backend/cpu/x86/unpack_digits_vbmi.h"

enum { X_STEP = 48 };

struct tq1_0_unit {
    __m512i q[5];
    __m512 scale;
};

static ALWAYS_INLINE void rows_unpack_tq1_0(const uint8_t *b, struct tq1_0_unit *u) {
    const __m512i even = _mm512_maskz_set1_epi32(0x0fff, 0x03030303), odd = _mm512_maskz_set1_epi32(0x0fff, 0x0c0c0c0c);
    struct digits512 d;
    take_digits(b, &d);
    __m512i high = _mm512_srli_epi16(d.four, 4);
    u->q[0] = _mm512_and_si512(d.four, even);
    u->q[1] = _mm512_and_si512(d.four, odd);
    u->q[2] = _mm512_and_si512(high, even);
    u->q[3] = _mm512_and_si512(high, odd);
    u->q[4] = d.fifth;
    u->scale = half_to_all(b + 52);
}

/* Corrections are words, those of the first four vectors and the fifth's by turns; the scales of the fifth stand where
 * the others have no sums. */
static ALWAYS_INLINE void multiply(const struct tq1_0_unit *w, const struct x_unit *x, const int offset,
                                   const unsigned n_tok, struct row_sums *sums) {
    const __m512i zero = _mm512_setzero_si512();
    const __m512i of_fifth = _mm512_setr_epi32(12, 12, 12, 12, 12, 12, 12, 12, 13, 13, 13, 13, 13, 13, 13, 13);
#pragma GCC unroll 4
    for (unsigned t = 0; t < n_tok; t++, x++) {
        struct row_sums *s = &sums[t];
        __m512i corr = _mm512_load_si512(x->corr), p[5];
#pragma GCC unroll 4
        for (int v = 0; v < 4; v++) p[v] = _mm512_dpbusd_epi32(zero, w->q[v], _mm512_loadu_si512(x->q + X_STEP * v));
        __m512i first = _mm512_madd_epi16(corr, _mm512_set1_epi32(-offset & 0xffff));
        __m512i fifth = _mm512_madd_epi16(corr, _mm512_set1_epi32((int)(-(unsigned)offset << 16)));
        fifth = _mm512_dpbusd_epi32(fifth, w->q[4], _mm512_loadu_si512(x->q + X_STEP * 4));
        first = sums_of_quarters(p, first, false);
        __m512 scale = _mm512_mul_ps(w->scale, _mm512_load_ps(x->scale));
        s->a = _mm512_fmadd_ps(_mm512_cvtepi32_ps(first), scale, s->a);
        s->b = _mm512_fmadd_ps(_mm512_cvtepi32_ps(fifth), _mm512_permutexvar_ps(of_fifth, scale), s->b);
    }
}

void arrange_tq1_0_vbmi(struct x_unit *x) {
    const struct x_unit old = *x;
    int16_t sums[2 * UNIT_SUBS] = { 0 };
    for (int t = 0; t < 5; t++) {
        memcpy(x->q + X_STEP * t, old.q + 32 * t, 32);
        memcpy(x->q + X_STEP * t + 32, old.q + 160 + 16 * t, 16);
    }
    for (int l = 0; l < 12; l++) { /* quarter l / 4 of vector l % 4 */
        const int t = l % 4, times = t & 1 ? 4 : 1, sub = l < 8 ? t : 5 + t / 2;
        x->scale[l] = old.scale[sub] / (float)times;
        sums[2 * l] = (int16_t)(sum16(x->q + X_STEP * t + 16 * (l / 4)) * times);
    }
    x->scale[12] = old.scale[4];
    x->scale[13] = old.scale[7];
    x->scale[14] = x->scale[15] = 0;
    for (int i = 0; i < 64; i++) sums[i / 4 * 2 + 1] = (int16_t)(sums[i / 4 * 2 + 1] + x->q[X_STEP * 4 + i]);
    memcpy(x->corr, sums, sizeof sums);
}

ROWS_LOOP(tq1_0, vbmi, tq1_0_unit, rows_unpack_tq1_0, multiply, 1)
