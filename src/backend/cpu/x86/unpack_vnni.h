#ifndef BACKEND_CPU_X86_UNPACK_VNNI_H
#define BACKEND_CPU_X86_UNPACK_VNNI_H
/* Taking units of stored weights apart in AVX-512 registers, in element order. The layouts are those of docs/formats/
 * blocks.md; the scalar bodies in unit_ref.c say the same without vectors. */
#include <immintrin.h>
#include <string.h>

#include "backend/cpu/unit.h"
#include "base/compiler.h"
#include "base/num.h"
#include "qtype/codec.h"

struct unit512 {
    __m512i q[4];  /* 64 codes each */
    __m512 scale;  /* of 16 sub-blocks, or of 8 in the lower half; the upper half is then any number */
    __m512 min;    /* likewise, for types that have it */
};

static ALWAYS_INLINE __m512 half_to_all(const uint8_t *p) {
    return _mm512_broadcastss_ps(_mm_cvtph_ps(_mm_set1_epi16((short)load_u16(p))));
}

/* The same by way of memory, slower by itself; for where shuffles are what lacks. */
static ALWAYS_INLINE __m512 half_to_all_stored(const uint8_t *p) {
    float f = _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(load_u16(p))));
    __asm__("" : "+m"(f));
    return _mm512_set1_ps(f);
}

/* The halves at p, p + step, ... of eight blocks. */
static ALWAYS_INLINE __m512 eight_halves(const uint8_t *p, size_t step) {
    uint16_t h[8];
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) memcpy(&h[g], p + (size_t)g * step, 2);
    return _mm512_castps256_ps512(_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)h)));
}

static ALWAYS_INLINE __m512i two_256(const uint8_t *lo, const uint8_t *hi) {
    __m256i a = _mm256_loadu_si256((const __m256i *)lo), b = _mm256_loadu_si256((const __m256i *)hi);
    return _mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1);
}

/* 16 bytes of nibbles at lo and at hi: a byte's low nibble is element j, its high one element j + 16 of its 32. */
static ALWAYS_INLINE __m512i nibbles16x2(const uint8_t *lo, const uint8_t *hi) {
    __m256i a = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)lo));
    __m256i b = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)hi));
    __m512i v = _mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1);
    return _mm512_and_si512(_mm512_srlv_epi64(v, _mm512_setr_epi64(0, 0, 4, 4, 0, 0, 4, 4)), _mm512_set1_epi8(15));
}

/* 32 bytes of nibbles: low ones are elements 0..31, high ones 32..63. */
static ALWAYS_INLINE __m512i nibbles32(const uint8_t *p) {
    __m512i v = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)p));
    return _mm512_and_si512(_mm512_srlv_epi64(v, _mm512_setr_epi64(0, 0, 0, 0, 4, 4, 4, 4)), _mm512_set1_epi8(15));
}

/* Adds 16 to the codes whose bit in `high` is set. */
static ALWAYS_INLINE __m512i fifth_bit(__m512i q, __mmask64 high) {
    return _mm512_mask_add_epi8(q, high, q, _mm512_set1_epi8(16));
}

static ALWAYS_INLINE void unpack_q4_0(const uint8_t *b, struct unit512 *u) {
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) u->q[v] = nibbles16x2(b + 36 * v + 2, b + 36 * v + 20);
    u->scale = eight_halves(b, 18);
}

static ALWAYS_INLINE void unpack_q4_1(const uint8_t *b, struct unit512 *u) {
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) u->q[v] = nibbles16x2(b + 40 * v + 4, b + 40 * v + 24);
    u->scale = eight_halves(b, 20);
    u->min = eight_halves(b + 2, 20);
}

/* The codes of eight blocks of `step` bytes, which end in 4 bytes of fifth bits and 16 of nibbles. */
static ALWAYS_INLINE void five_bits(const uint8_t *b, const size_t step, struct unit512 *u) {
#pragma GCC unroll 4
    for (size_t v = 0; v < 4; v++) {
        const uint8_t *lo = b + step * (2 * v + 1) - 20, *hi = lo + step;
        u->q[v] = fifth_bit(nibbles16x2(lo + 4, hi + 4), load_u32(lo) | (uint64_t)load_u32(hi) << 32);
    }
}

static ALWAYS_INLINE void unpack_q5_0(const uint8_t *b, struct unit512 *u) {
    five_bits(b, 22, u);
    u->scale = eight_halves(b, 22);
}

static ALWAYS_INLINE void unpack_q5_1(const uint8_t *b, struct unit512 *u) {
    five_bits(b, 24, u);
    u->scale = eight_halves(b, 24);
    u->min = eight_halves(b + 2, 24);
}

static ALWAYS_INLINE void unpack_q8_0(const uint8_t *b, struct unit512 *u) {
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++)
        u->q[v] = _mm512_xor_si512(two_256(b + 68 * v + 2, b + 68 * v + 36), _mm512_set1_epi8((char)0x80));
    u->scale = eight_halves(b, 34);
}

/* The levels of NVFP4 (and MXFP4) plus 16, in each quarter. */
static ALWAYS_INLINE __m512i fp4_of(__m512i nibbles) {
    const __m128i levels = _mm_setr_epi8(16, 17, 18, 19, 20, 22, 24, 28, 16, 15, 14, 13, 12, 10, 8, 4);
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(levels), nibbles);
}

/* As nvfp4_scale, of the 16 sub-blocks in the order `at`. */
static ALWAYS_INLINE __m512 nvfp4_scales(const uint8_t *b, __m128i at) {
    int32_t four[4];
#pragma GCC unroll 4
    for (size_t v = 0; v < 4; v++) memcpy(&four[v], b + 36 * v, 4);
    const __m128i stored = _mm_shuffle_epi8(_mm_setr_epi32(four[0], four[1], four[2], four[3]), at);
    const __m128i number = _mm_and_si128(stored, _mm_set1_epi8(0x7f));
    const __m128i x = _mm_maskz_mov_epi8(_mm_cmpneq_epi8_mask(stored, _mm_set1_epi8(0x7f)), number);
    const __m512i bits = _mm512_slli_epi32(_mm512_cvtepu8_epi32(x), 20);
    return _mm512_mul_ps(_mm512_castsi512_ps(bits), _mm512_set1_ps(0x1p119f));
}

/* Eight bytes have 16 elements, low nibbles first. */
static ALWAYS_INLINE void nvfp4_codes(const uint8_t *b, struct unit512 *u) {
    const __m512i twice = _mm512_setr_epi64(0, 0, 1, 1, 2, 2, 3, 3), shift = _mm512_setr_epi64(0, 4, 0, 4, 0, 4, 0, 4);
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) {
        __m512i n = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)(b + 36 * v + 4)));
        n = _mm512_srlv_epi64(_mm512_permutexvar_epi64(twice, n), shift);
        u->q[v] = fp4_of(_mm512_and_si512(n, _mm512_set1_epi8(15)));
    }
}

static ALWAYS_INLINE void unpack_nvfp4(const uint8_t *b, struct unit512 *u) {
    nvfp4_codes(b, u);
    u->scale = nvfp4_scales(b, _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
}

/* The 16 levels plus 128, in each quarter. */
static ALWAYS_INLINE __m512i iq4_levels_in_quarters(void) {
    return _mm512_broadcast_i32x4(
        _mm_setr_epi8(1, 24, 45, 63, 79, 93, 106, 118, -127, -115, -103, -90, -75, -59, -39, -15));
}

static ALWAYS_INLINE __m512i iq4_of(__m512i nibbles) {
    return _mm512_shuffle_epi8(iq4_levels_in_quarters(), nibbles);
}

static ALWAYS_INLINE void unpack_iq4_nl(const uint8_t *b, struct unit512 *u) {
    unpack_q4_0(b, u);
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) u->q[v] = iq4_of(u->q[v]);
}

/* In words outside of the vector registers, whose operations are what rows kernels lack. Low nibbles of the scales:
 * even ones in the lower nibbles of four bytes, odd ones in the upper. Their upper pairs: two bytes, in order. */
static ALWAYS_INLINE __m512 iq4_xs_scales(const uint8_t *b) {
    const uint64_t nibbles = 0x0f0f0f0f0f0f0f0f, pairs = 0x3030303030303030;
    uint64_t low = load_u32(b + 4), high = load_u16(b + 2);
    high = (high | high << 8) & 0x00ff00ff;
    high = (high | high << 4) & nibbles; /* the pairs of an even and an odd scale to a byte */
    const uint64_t even_odd = ((low | low << 28) & nibbles) | ((high << 4 | high << 34) & pairs);
    __m128i s = _mm_cvtsi64_si128((int64_t)even_odd);
    s = _mm_shuffle_epi8(s, _mm_setr_epi8(0, 4, 1, 5, 2, 6, 3, 7, -1, -1, -1, -1, -1, -1, -1, -1));
    __m256 f = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_sub_epi8(s, _mm_set1_epi8(32))));
    return _mm512_mul_ps(half_to_all(b), _mm512_castps256_ps512(f));
}

static ALWAYS_INLINE void unpack_iq4_xs(const uint8_t *b, struct unit512 *u) {
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) u->q[v] = iq4_of(nibbles16x2(b + 8 + 32 * v, b + 24 + 32 * v));
    u->scale = iq4_xs_scales(b);
}

/* Pairs of bits: byte l of 32 has elements l, l + 32, l + 64, l + 96 from its low bits up. Fills q[0], q[1]. */
static ALWAYS_INLINE void pairs(const uint8_t *b, __m512i *q) {
    __m512i v = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)b)), mask = _mm512_set1_epi8(3);
    q[0] = _mm512_and_si512(_mm512_srlv_epi64(v, _mm512_setr_epi64(0, 0, 0, 0, 2, 2, 2, 2)), mask);
    q[1] = _mm512_and_si512(_mm512_srlv_epi64(v, _mm512_setr_epi64(4, 4, 4, 4, 6, 6, 6, 6)), mask);
}

static ALWAYS_INLINE void unpack_q2_k(const uint8_t *b, struct unit512 *u) {
    __m512i s = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)b));
    u->scale = _mm512_mul_ps(half_to_all(b + 80), _mm512_cvtepi32_ps(_mm512_and_si512(s, _mm512_set1_epi32(15))));
    __m512 min = _mm512_cvtepi32_ps(_mm512_srli_epi32(s, 4)), minus = _mm512_set1_ps(-0.0f);
    u->min = _mm512_mul_ps(_mm512_xor_ps(half_to_all(b + 82), minus), min);
    pairs(b + 16, u->q);
    pairs(b + 48, u->q + 2);
}

/* Bit n in the bytes of the lower half, bit n + 1 in those of the upper one. */
static ALWAYS_INLINE __m512i bits_of_halves(int n) {
    return _mm512_inserti64x4(_mm512_set1_epi8((char)(1 << n)), _mm256_set1_epi8((char)(2 << n)), 1);
}

/* The 16 scales, -32..31: scale s has the low nibble of byte s % 8 (s < 8) or the high one, and pair s / 4 of byte
 * 8 + s % 4. */
static ALWAYS_INLINE __m128i q3_k_scales(const uint8_t *b) {
    const uint64_t nibbles = 0x0f0f0f0f0f0f0f0f, pairs = 0x3030303030303030, high = load_u32(b + 104);
    uint64_t low;
    memcpy(&low, b + 96, 8);
    const uint64_t first = (low & nibbles) | ((high << 4 | high << 34) & pairs);
    const uint64_t second = (low >> 4 & nibbles) | ((high | high >> 2 << 32) & pairs);
    return _mm_sub_epi8(_mm_set_epi64x((int64_t)second, (int64_t)first), _mm_set1_epi8(32));
}

static ALWAYS_INLINE void unpack_q3_k(const uint8_t *b, struct unit512 *u) {
    __m512i s = _mm512_cvtepi8_epi32(q3_k_scales(b));
    u->scale = _mm512_mul_ps(half_to_all(b + 108), _mm512_cvtepi32_ps(s));
    pairs(b + 32, u->q);
    pairs(b + 64, u->q + 2);
    __m512i third = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)b)), bit = _mm512_set1_epi8(4);
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) { /* bit g of byte l is the third bit of element 32g + l */
        __m512i which = bits_of_halves(2 * v);
        u->q[v] = _mm512_mask_add_epi8(u->q[v], _mm512_test_epi8_mask(third, which), u->q[v], bit);
    }
}

/* d, dmin and the 12 bytes of six-bit scales and mins of Q4_K and Q5_K. In dwords w of four: scales 0..3 are the low
 * six bits of w0, 4..7 the low nibbles of w2 and the high pairs of w0; mins likewise of w1 and the high nibbles of
 * w2. */
static ALWAYS_INLINE void k4_scales(const uint8_t *b, struct unit512 *u) {
    __m128i w = _mm_loadu_si128((const __m128i *)b); /* d and dmin, w0, w1, w2 */
    __m128i low = _mm_srlv_epi32(_mm_shuffle_epi32(w, _MM_SHUFFLE(3, 2, 3, 1)), _mm_setr_epi32(0, 0, 0, 4));
    __m128i high = _mm_srli_epi32(_mm_shuffle_epi32(w, _MM_SHUFFLE(2, 2, 1, 1)), 2);
    low = _mm_and_si128(low, _mm_setr_epi32(0x3f3f3f3f, 0x0f0f0f0f, 0x3f3f3f3f, 0x0f0f0f0f));
    high = _mm_and_si128(high, _mm_setr_epi32(0, 0x30303030, 0, 0x30303030));
    __m512 both = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_or_si128(low, high)));
    /* d in the lower eight lanes, -dmin in the upper ones */
    __m128 d = _mm_xor_ps(_mm_cvtph_ps(w), _mm_setr_ps(0, -0.0f, 0, 0));
    __m512i which = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    u->scale = _mm512_mul_ps(_mm512_permutexvar_ps(which, _mm512_castps128_ps512(d)), both);
    u->min = _mm512_shuffle_f32x4(u->scale, u->scale, 0x4e);
}

static ALWAYS_INLINE void unpack_q4_k(const uint8_t *b, struct unit512 *u) {
    k4_scales(b, u);
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) u->q[v] = nibbles32(b + 16 + 32 * v);
}

static ALWAYS_INLINE void unpack_q5_k(const uint8_t *b, struct unit512 *u) {
    k4_scales(b, u);
    __m512i high = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)(b + 16)));
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) { /* bit g of byte l is the fifth bit of element 32g + l */
        __m512i which = bits_of_halves(2 * v);
        u->q[v] = fifth_bit(nibbles32(b + 48 + 32 * v), _mm512_test_epi8_mask(high, which));
    }
}

/* Half h: 64 bytes of low nibbles and 32 bytes of pairs make 128 elements. The pairs are moved to bits 4 and 5. */
static ALWAYS_INLINE void unpack_q6_k(const uint8_t *b, struct unit512 *u) {
    const __m512i low = _mm512_set1_epi8(15), codes = _mm512_set1_epi8(63);
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
        __m512i l = _mm512_loadu_si512(b + 64 * h);
        __m512i p = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)(b + 128 + 32 * h)));
        __m512i p0 = _mm512_sllv_epi64(p, _mm512_setr_epi64(4, 4, 4, 4, 2, 2, 2, 2));
        __m512i p1 = _mm512_srlv_epi64(p, _mm512_setr_epi64(0, 0, 0, 0, 2, 2, 2, 2));
        /* 0xca: low ? second : third, bit by bit */
        u->q[2 * h] = _mm512_and_si512(_mm512_ternarylogic_epi64(low, l, p0, 0xca), codes);
        u->q[2 * h + 1] = _mm512_and_si512(_mm512_ternarylogic_epi64(low, _mm512_srli_epi16(l, 4), p1, 0xca), codes);
    }
    __m512i s = _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(b + 192)));
    u->scale = _mm512_mul_ps(half_to_all(b + 208), _mm512_cvtepi32_ps(s));
}
#endif
