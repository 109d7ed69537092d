#ifndef BACKEND_CPU_X86_UNPACK_AVX2_H
#define BACKEND_CPU_X86_UNPACK_AVX2_H
/* Taking units of stored weights apart in AVX2 registers, in element order. The layouts are those of
 * docs/formats/blocks.md; the scalar bodies in unit_ref.c say the same without vectors. */
#include <immintrin.h>
#include <string.h>

#include "backend/cpu/unit.h"
#include "base/compiler.h"
#include "base/num.h"
#include "qtype/codec.h"

struct unit256 {
    __m256i q[8];     /* 32 codes each */
    __m256 scale[2];  /* of 16 sub-blocks; of 8: the first */
    __m256 min[2];    /* likewise, for types that have it */
};

static ALWAYS_INLINE __m256 half_to_all(const uint8_t *p) {
    uint16_t h;
    memcpy(&h, p, 2);
    return _mm256_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(h)));
}

/* The halves at p, p + step, ... of eight blocks. */
static ALWAYS_INLINE __m256 eight_halves(const uint8_t *p, size_t step) {
    uint16_t h[8];
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) memcpy(&h[g], p + (size_t)g * step, 2);
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)h));
}

static ALWAYS_INLINE __m256i load256(const uint8_t *p) { return _mm256_loadu_si256((const __m256i *)p); }

/* 16 bytes of nibbles: low ones are elements 0..15, high ones 16..31. */
static ALWAYS_INLINE __m256i nibbles16(const uint8_t *p) {
    __m128i v = _mm_loadu_si128((const __m128i *)p);
    __m256i both = _mm256_inserti128_si256(_mm256_castsi128_si256(v), _mm_srli_epi16(v, 4), 1);
    return _mm256_and_si256(both, _mm256_set1_epi8(15));
}

/* `bit` in the bytes of the 32 whose bit in `mask` is set. */
static ALWAYS_INLINE __m256i bits_to_bytes(const uint8_t *mask, int bit) {
    int32_t m;
    memcpy(&m, mask, 4);
    const __m256i which = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    __m256i v = _mm256_shuffle_epi8(_mm256_set1_epi32(m), which);
    const __m256i one = _mm256_set1_epi64x((int64_t)0x8040201008040201ull);
    return _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(v, one), one), _mm256_set1_epi8((char)bit));
}

static ALWAYS_INLINE void unpack_q4_0(const uint8_t *b, struct unit256 *u) {
#pragma GCC unroll 8
    for (int v = 0; v < 8; v++) u->q[v] = nibbles16(b + 18 * v + 2);
    u->scale[0] = eight_halves(b, 18);
}

static ALWAYS_INLINE void unpack_q4_1(const uint8_t *b, struct unit256 *u) {
#pragma GCC unroll 8
    for (int v = 0; v < 8; v++) u->q[v] = nibbles16(b + 20 * v + 4);
    u->scale[0] = eight_halves(b, 20);
    u->min[0] = eight_halves(b + 2, 20);
}

static ALWAYS_INLINE void unpack_q5_0(const uint8_t *b, struct unit256 *u) {
#pragma GCC unroll 8
    for (int v = 0; v < 8; v++)
        u->q[v] = _mm256_or_si256(nibbles16(b + 22 * v + 6), bits_to_bytes(b + 22 * v + 2, 16));
    u->scale[0] = eight_halves(b, 22);
}

static ALWAYS_INLINE void unpack_q5_1(const uint8_t *b, struct unit256 *u) {
#pragma GCC unroll 8
    for (int v = 0; v < 8; v++)
        u->q[v] = _mm256_or_si256(nibbles16(b + 24 * v + 8), bits_to_bytes(b + 24 * v + 4, 16));
    u->scale[0] = eight_halves(b, 24);
    u->min[0] = eight_halves(b + 2, 24);
}

static ALWAYS_INLINE void unpack_q8_0(const uint8_t *b, struct unit256 *u) {
#pragma GCC unroll 8
    for (int v = 0; v < 8; v++) u->q[v] = _mm256_xor_si256(load256(b + 34 * v + 2), _mm256_set1_epi8((char)0x80));
    u->scale[0] = eight_halves(b, 34);
}

/* The 16 levels plus 128, in each half. */
static ALWAYS_INLINE __m256i iq4_of(__m256i nibbles) {
    const __m128i levels = _mm_setr_epi8(1, 24, 45, 63, 79, 93, 106, 118, -127, -115, -103, -90, -75, -59, -39, -15);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(levels), nibbles);
}

static ALWAYS_INLINE void unpack_iq4_nl(const uint8_t *b, struct unit256 *u) {
    unpack_q4_0(b, u);
#pragma GCC unroll 8
    for (int v = 0; v < 8; v++) u->q[v] = iq4_of(u->q[v]);
}

static ALWAYS_INLINE __m256 iq4_xs_scales(const uint8_t *b) {
    uint16_t high;
    uint32_t low;
    memcpy(&high, b + 2, 2);
    memcpy(&low, b + 4, 4);
    __m256i l = _mm256_srlv_epi32(_mm256_set1_epi32((int)low), _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28));
    __m256i h = _mm256_srlv_epi32(_mm256_set1_epi32(high), _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14));
    __m256i s = _mm256_or_si256(_mm256_and_si256(l, _mm256_set1_epi32(15)),
                                _mm256_slli_epi32(_mm256_and_si256(h, _mm256_set1_epi32(3)), 4));
    return _mm256_mul_ps(half_to_all(b), _mm256_cvtepi32_ps(_mm256_sub_epi32(s, _mm256_set1_epi32(32))));
}

static ALWAYS_INLINE void unpack_iq4_xs(const uint8_t *b, struct unit256 *u) {
#pragma GCC unroll 8
    for (int v = 0; v < 8; v++) u->q[v] = iq4_of(nibbles16(b + 8 + 16 * v));
    u->scale[0] = iq4_xs_scales(b);
}

/* Pairs of bits: byte l of 32 has elements l, l + 32, l + 64, l + 96 from its low bits up. Fills q[0..3]. */
static ALWAYS_INLINE void pairs(const uint8_t *b, __m256i *q) {
    __m256i v = load256(b), mask = _mm256_set1_epi8(3);
    q[0] = _mm256_and_si256(v, mask);
    q[1] = _mm256_and_si256(_mm256_srli_epi16(v, 2), mask);
    q[2] = _mm256_and_si256(_mm256_srli_epi16(v, 4), mask);
    q[3] = _mm256_and_si256(_mm256_srli_epi16(v, 6), mask);
}

/* Sixteen bytes as floats, in two vectors. */
static ALWAYS_INLINE void bytes_to_floats(__m128i b, __m256 f[2]) {
    f[0] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(b));
    f[1] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_unpackhi_epi64(b, b)));
}

static ALWAYS_INLINE void times(__m256 f[2], __m256 d) {
    f[0] = _mm256_mul_ps(f[0], d);
    f[1] = _mm256_mul_ps(f[1], d);
}

static ALWAYS_INLINE void unpack_q2_k(const uint8_t *b, struct unit256 *u) {
    __m128i s = _mm_loadu_si128((const __m128i *)b), mask = _mm_set1_epi8(15);
    bytes_to_floats(_mm_and_si128(s, mask), u->scale);
    bytes_to_floats(_mm_and_si128(_mm_srli_epi16(s, 4), mask), u->min);
    times(u->scale, half_to_all(b + 80));
    times(u->min, _mm256_xor_ps(half_to_all(b + 82), _mm256_set1_ps(-0.0f)));
    pairs(b + 16, u->q);
    pairs(b + 48, u->q + 4);
}

/* Granules of 16 weights in eight bytes, low nibbles first: of lo in the lower half, of hi in the upper one; the levels
 * plus 16. */
static ALWAYS_INLINE __m256i fp4_of_two(const uint8_t *lo, const uint8_t *hi) {
    const __m256i levels = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)fp4_levels));
    const __m128i a = _mm_loadl_epi64((const __m128i *)lo), b = _mm_loadl_epi64((const __m128i *)hi);
    const __m256i v = _mm256_inserti128_si256(_mm256_castsi128_si256(a), b, 1);
    const __m256i n = _mm256_and_si256(_mm256_unpacklo_epi64(v, _mm256_srli_epi16(v, 4)), _mm256_set1_epi8(15));
    return _mm256_add_epi8(_mm256_shuffle_epi8(levels, n), _mm256_set1_epi8(16));
}

static ALWAYS_INLINE const uint8_t *nvfp4_granule(const uint8_t *b, size_t g) {
    return b + 36 * (g / 4) + 4 + 8 * (g % 4);
}

/* As nvfp4_scale, of each block's four. */
static ALWAYS_INLINE __m128i nvfp4_scale_bytes(const uint8_t *b) {
    const __m128i x = _mm_setr_epi32((int)load_u32(b), (int)load_u32(b + 36), (int)load_u32(b + 72),
                                     (int)load_u32(b + 108));
    const __m128i is_nan = _mm_cmpeq_epi8(x, _mm_set1_epi8(0x7f));
    return _mm_andnot_si128(is_nan, _mm_and_si128(x, _mm_set1_epi8(0x7f)));
}

static ALWAYS_INLINE void nvfp4_scales(__m128i bytes, __m256 f[2]) {
    f[0] = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu8_epi32(bytes), 20));
    f[1] = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu8_epi32(_mm_unpackhi_epi64(bytes, bytes)), 20));
    times(f, _mm256_set1_ps(0x1p119f));
}

static ALWAYS_INLINE void unpack_nvfp4(const uint8_t *b, struct unit256 *u) {
#pragma GCC unroll 8
    for (size_t v = 0; v < 8; v++) u->q[v] = fp4_of_two(nvfp4_granule(b, 2 * v), nvfp4_granule(b, 2 * v + 1));
    nvfp4_scales(nvfp4_scale_bytes(b), u->scale);
}

static ALWAYS_INLINE void unpack_tq2_0(const uint8_t *b, struct unit256 *u) {
    pairs(b, u->q);
    pairs(b + 32, u->q + 4);
    u->scale[0] = half_to_all(b + 64);
}

/* The first digits of base three of 32 fractions, in 256ths. Comparisons are of signed bytes: 128 less. */
static ALWAYS_INLINE __m256i first_digits(__m256i f) {
    f = _mm256_xor_si256(f, _mm256_set1_epi8((char)0x80));
    __m256i one = _mm256_cmpgt_epi8(f, _mm256_set1_epi8(85 - 128));
    __m256i two = _mm256_cmpgt_epi8(f, _mm256_set1_epi8(170 - 128));
    return _mm256_abs_epi8(_mm256_add_epi8(one, two));
}

static ALWAYS_INLINE __m256i three_times(__m256i f) { return _mm256_add_epi8(f, _mm256_add_epi8(f, f)); }

/* Five digits of 32 bytes, five of 16, four of 4: 5, 2 1/2 and 1/2 vectors of elements. */
static ALWAYS_INLINE void unpack_tq1_0(const uint8_t *b, struct unit256 *u) {
    const __m256i powers = _mm256_setr_epi64x(0x0001000100010001, 0x0003000300030003, 0x0009000900090009,
                                              0x001b001b001b001b);
    __m256i f = load256(b), g = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(b + 32))), h[5];
#pragma GCC unroll 5
    for (int t = 0; t < 5; t++) {
        u->q[t] = first_digits(f);
        h[t] = g;
        f = three_times(f);
        g = three_times(g);
    }
    __m256i l = _mm256_cvtepu8_epi16(_mm_set1_epi32((int)load_u32(b + 48)));
    l = _mm256_and_si256(_mm256_mullo_epi16(l, powers), _mm256_set1_epi16(255));
    __m128i last = _mm_packus_epi16(_mm256_castsi256_si128(l), _mm256_extracti128_si256(l, 1));
    u->q[5] = first_digits(_mm256_permute2x128_si256(h[0], h[1], 0x20));
    u->q[6] = first_digits(_mm256_permute2x128_si256(h[2], h[3], 0x20));
    u->q[7] = first_digits(_mm256_inserti128_si256(h[4], last, 1));
    u->scale[0] = half_to_all(b + 52);
}

/* `bit` in the bytes of v that have the bits of `which`. */
static ALWAYS_INLINE __m256i bit_where(__m256i v, int which, int bit) {
    __m256i w = _mm256_set1_epi8((char)which);
    return _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(v, w), w), _mm256_set1_epi8((char)bit));
}

/* The 16 scales, -32..31: scale s has the low nibble of byte s % 8 (s < 8) or the high one, and pair s / 4 of byte
 * 8 + s % 4. */
static ALWAYS_INLINE __m128i q3_k_scales(const uint8_t *b) {
    __m128i v = _mm_loadu_si128((const __m128i *)(b + 94)); /* two bytes of codes, the scales' 12, d */
    __m128i l = _mm_shuffle_epi8(v, _mm_setr_epi8(2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5, 6, 7, 8, 9));
    __m128i h = _mm_shuffle_epi8(v, _mm_setr_epi8(10, 11, 12, 13, 10, 11, 12, 13, 10, 11, 12, 13, 10, 11, 12, 13));
    l = _mm_and_si128(_mm_srlv_epi64(l, _mm_set_epi64x(4, 0)), _mm_set1_epi8(15));
    h = _mm_srlv_epi32(_mm_sllv_epi32(h, _mm_setr_epi32(4, 2, 0, 0)), _mm_setr_epi32(0, 0, 0, 2));
    h = _mm_and_si128(h, _mm_set1_epi8(0x30));
    return _mm_sub_epi8(_mm_or_si128(l, h), _mm_set1_epi8(32));
}

static ALWAYS_INLINE void unpack_q3_k(const uint8_t *b, struct unit256 *u) {
    bytes_to_floats(q3_k_scales(b), u->scale);
    times(u->scale, half_to_all(b + 108));
    pairs(b + 32, u->q);
    pairs(b + 64, u->q + 4);
    __m256i third = load256(b); /* bit g of byte l is the third bit of element 32g + l */
#pragma GCC unroll 8
    for (int v = 0; v < 8; v++) u->q[v] = _mm256_or_si256(u->q[v], bit_where(third, 1 << v, 4));
}

/* d, dmin and the 12 bytes of six-bit scales and mins of Q4_K and Q5_K. In dwords w of four: scales 0..3 are the low
 * six bits of w0, 4..7 the low nibbles of w2 and the high pairs of w0; mins likewise of w1 and the high nibbles of
 * w2. */
static ALWAYS_INLINE void k4_scales(const uint8_t *b, struct unit256 *u) {
    __m128i w = _mm_loadu_si128((const __m128i *)b); /* d and dmin, w0, w1, w2 */
    __m128i low = _mm_srlv_epi32(_mm_shuffle_epi32(w, _MM_SHUFFLE(3, 2, 3, 1)), _mm_setr_epi32(0, 0, 0, 4));
    __m128i high = _mm_srli_epi32(_mm_shuffle_epi32(w, _MM_SHUFFLE(2, 2, 1, 1)), 2);
    low = _mm_and_si128(low, _mm_setr_epi32(0x3f3f3f3f, 0x0f0f0f0f, 0x3f3f3f3f, 0x0f0f0f0f));
    high = _mm_and_si128(high, _mm_setr_epi32(0, 0x30303030, 0, 0x30303030));
    __m256 both[2];
    bytes_to_floats(_mm_or_si128(low, high), both);
    __m128 d = _mm_xor_ps(_mm_cvtph_ps(w), _mm_setr_ps(0, -0.0f, 0, 0));
    u->scale[0] = _mm256_mul_ps(_mm256_broadcastss_ps(d), both[0]);
    u->min[0] = _mm256_mul_ps(_mm256_broadcastss_ps(_mm_movehdup_ps(d)), both[1]);
}

/* 32 bytes of nibbles: low ones are elements 0..31, high ones 32..63. */
static ALWAYS_INLINE void nibbles32(const uint8_t *p, __m256i *q) {
    __m256i v = load256(p), mask = _mm256_set1_epi8(15);
    q[0] = _mm256_and_si256(v, mask);
    q[1] = _mm256_and_si256(_mm256_srli_epi16(v, 4), mask);
}

static ALWAYS_INLINE void unpack_q4_k(const uint8_t *b, struct unit256 *u) {
    k4_scales(b, u);
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) nibbles32(b + 16 + 32 * v, &u->q[2 * v]);
}

static ALWAYS_INLINE void unpack_q5_k(const uint8_t *b, struct unit256 *u) {
    __m256i high = load256(b + 16); /* bit g of byte l is the fifth bit of element 32g + l */
    k4_scales(b, u);
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) nibbles32(b + 48 + 32 * v, &u->q[2 * v]);
#pragma GCC unroll 8
    for (int v = 0; v < 8; v++) u->q[v] = _mm256_or_si256(u->q[v], bit_where(high, 1 << v, 16));
}

/* Half h: 64 bytes of low nibbles and 32 bytes of pairs make 128 elements. The pairs are moved to bits 4 and 5. */
static ALWAYS_INLINE void unpack_q6_k(const uint8_t *b, struct unit256 *u) {
    const __m256i mask = _mm256_set1_epi8(0x30);
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
        __m256i p = load256(b + 128 + 32 * h), low[2], high[2], *q = &u->q[4 * h];
        nibbles32(b + 64 * h, low);
        nibbles32(b + 64 * h + 32, high);
        q[0] = _mm256_or_si256(low[0], _mm256_and_si256(_mm256_slli_epi16(p, 4), mask));
        q[1] = _mm256_or_si256(high[0], _mm256_and_si256(_mm256_slli_epi16(p, 2), mask));
        q[2] = _mm256_or_si256(low[1], _mm256_and_si256(p, mask));
        q[3] = _mm256_or_si256(high[1], _mm256_and_si256(_mm256_srli_epi16(p, 2), mask));
    }
    bytes_to_floats(_mm_loadu_si128((const __m128i *)(b + 192)), u->scale);
    times(u->scale, half_to_all(b + 208));
}
#endif
