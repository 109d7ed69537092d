#ifndef BACKEND_CPU_X86_UNPACK_DIGITS_VBMI_H
#define BACKEND_CPU_X86_UNPACK_DIGITS_VBMI_H
/* Taking units of TQ1_0 apart, whose bytes are five digits of base three: the digits of a byte are looked up, the
 * first four of them as pairs of bits. Digit t of the first 32 bytes is sub-block t, of the next 16 sub-block 10 + t of
 * 16; the last four bytes have the last 16 elements. */
#include "backend/cpu/x86/look_up_vbmi.h"
#include "backend/cpu/x86/unpack_vnni.h"

struct digits512 {
    __m512i four;   /* pairs of bits t: digit t of byte 16i + j; the last quarter has the last four bytes four times */
    __m512i fifth;  /* digit 4; in the last quarter the last 16 elements */
};

/* decode_tq1_0 says how a byte has its digits. */
#define DIGIT(b, power) (((b) * (power) & 255) * 3 >> 8)
#define FOUR_DIGITS(b) (DIGIT(b, 1) | DIGIT(b, 3) << 2 | DIGIT(b, 9) << 4 | DIGIT(b, 27) << 6)
#define FIFTH_DIGIT(b) DIGIT(b, 81)
#define OF_BYTES(of) { OF_64(of, 0), OF_64(of, 64), OF_64(of, 128), OF_64(of, 192) }

static ALWAYS_INLINE void take_digits(const uint8_t *b, struct digits512 *u) {
    static const uint8_t four[256] ALIGNED(64) = OF_BYTES(FOUR_DIGITS), fifth[256] ALIGNED(64) = OF_BYTES(FIFTH_DIGIT);
    int32_t last;
    memcpy(&last, b + 48, 4);
    __m512i bytes = _mm512_mask_set1_epi32(_mm512_maskz_loadu_epi32(0x0fff, b), 0xf000, last);
    u->four = look_up256(four, bytes);
    __m512i moved = _mm512_srlv_epi32(u->four, _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 4, 6));
    moved = _mm512_and_si512(moved, _mm512_set1_epi8(3));
    u->fifth = _mm512_mask_mov_epi32(look_up256(fifth, bytes), 0xf000, moved);
}

static ALWAYS_INLINE __m512i digit(const struct digits512 *d, const int t) {
    return _mm512_and_si512(_mm512_srli_epi16(d->four, 2 * t), _mm512_set1_epi8(3));
}

static ALWAYS_INLINE __m512i lower_halves(__m512i a, __m512i b) {
    return _mm512_inserti64x4(a, _mm512_castsi512_si256(b), 1);
}

static ALWAYS_INLINE __m256i third_quarters(__m512i a, __m512i b) {
    return _mm512_castsi512_si256(_mm512_permutex2var_epi64(a, _mm512_setr_epi64(4, 5, 12, 13, 0, 0, 0, 0), b));
}

/* In the order of the elements. */
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
#endif
