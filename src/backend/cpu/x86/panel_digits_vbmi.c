/* Unpacking panels of 16 rows of TQ1_0, in AVX-512 VBMI. */
#include "backend/cpu/x86/panel_loop_avx512.h"
#include "backend/cpu/x86/unpack_digits_vbmi.h"

static ALWAYS_INLINE __m512i digit(const struct digits512 *d, const int t) {
    return _mm512_and_si512(_mm512_srli_epi16(d->four, 2 * t), _mm512_set1_epi8(3));
}

static ALWAYS_INLINE __m512i lower_halves(__m512i a, __m512i b) {
    return _mm512_inserti64x4(a, _mm512_castsi512_si256(b), 1);
}

static ALWAYS_INLINE __m256i third_quarters(__m512i a, __m512i b) {
    return _mm512_castsi512_si256(_mm512_permutex2var_epi64(a, _mm512_setr_epi64(4, 5, 12, 13, 0, 0, 0, 0), b));
}

static ALWAYS_INLINE void unpack_tq1_0(const uint8_t *b, struct unit512 *u) {
    struct digits512 d;
    take_digits(b, &d);
    const __m512i d0 = digit(&d, 0), d1 = digit(&d, 1), d2 = digit(&d, 2), d3 = digit(&d, 3);
    u->q[0] = lower_halves(d0, d1);
    u->q[1] = lower_halves(d2, d3);
    u->q[2] = _mm512_inserti64x4(d.fifth, third_quarters(d0, d1), 1);
    u->q[3] = _mm512_inserti64x4(d.fifth, third_quarters(d2, d3), 0);
    u->scale = half_to_all(b + 52);
}

PANEL_KERNEL(tq1_0, vbmi, false)
