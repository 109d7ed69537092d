#ifndef BACKEND_CPU_X86_ROWS_UNITS_AVX2_H
#define BACKEND_CPU_X86_ROWS_UNITS_AVX2_H
/* Taking units of stored weights apart for the rows kernels in AVX2. A granule is 16 elements of a unit; vector i has
 * granule i in its lower half and granule i + 8 in its upper one, and the activations are brought to this order
 * (rows_avx2.c). The panels need the order of the elements: unpack_avx2.h. */
#include <immintrin.h>

#include "backend/cpu/x86/unpack_avx2.h"

static ALWAYS_INLINE __m256i two_halves(const uint8_t *lo, const uint8_t *hi) {
    __m128i a = _mm_loadu_si128((const __m128i *)lo), b = _mm_loadu_si128((const __m128i *)hi);
    return _mm256_inserti128_si256(_mm256_castsi128_si256(a), b, 1);
}

/* Low nibbles to q[0], high ones to q[1]. */
static ALWAYS_INLINE void split(__m256i v, __m256i *q, const int high_at) {
    const __m256i low = _mm256_set1_epi8(15);
    q[0] = _mm256_and_si256(v, low);
    q[high_at] = _mm256_and_si256(_mm256_srli_epi16(v, 4), low);
}

/* Nibbles of eight blocks of `step` bytes, which stand at their ends. */
static ALWAYS_INLINE void split_blocks(const uint8_t *b, const size_t step, struct unit256 *u) {
#pragma GCC unroll 4
    for (size_t j = 0; j < 4; j++)
        split(two_halves(b + step * (j + 1) - 16, b + step * (j + 5) - 16), &u->q[2 * j], 1);
}

static ALWAYS_INLINE void rows_unpack_q4_0(const uint8_t *b, struct unit256 *u) {
    split_blocks(b, 18, u);
    u->scale[0] = eight_halves(b, 18);
}

static ALWAYS_INLINE void rows_unpack_q4_1(const uint8_t *b, struct unit256 *u) {
    split_blocks(b, 20, u);
    u->scale[0] = eight_halves(b, 20);
    u->min[0] = eight_halves(b + 2, 20);
}

/* Adds 16 to the codes whose bit is set. bits: two blocks' 32, each over and over in a half. */
static ALWAYS_INLINE void fifth_bits(__m256i bits, __m256i q[2]) {
    const __m256i one = _mm256_set1_epi64x((int64_t)0x8040201008040201ull), add = _mm256_set1_epi8(16);
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        const __m256i which = i == 0 ? _mm256_setr_epi64x(0, 0x0101010101010101, 0, 0x0101010101010101)
                                     : _mm256_setr_epi64x(0x0202020202020202, 0x0303030303030303, 0x0202020202020202,
                                                          0x0303030303030303);
        __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(bits, which), one), one);
        q[i] = _mm256_or_si256(q[i], _mm256_and_si256(set, add));
    }
}

static ALWAYS_INLINE __m256i two_dwords(const uint8_t *lo, const uint8_t *hi) {
    int32_t a, b;
    memcpy(&a, lo, 4);
    memcpy(&b, hi, 4);
    return _mm256_inserti128_si256(_mm256_set1_epi32(a), _mm_set1_epi32(b), 1);
}

static ALWAYS_INLINE void rows_unpack_q5_0(const uint8_t *b, struct unit256 *u) {
    split_blocks(b, 22, u);
#pragma GCC unroll 4
    for (size_t j = 0; j < 4; j++) fifth_bits(two_dwords(b + 22 * j + 2, b + 22 * j + 90), &u->q[2 * j]);
    u->scale[0] = eight_halves(b, 22);
}

static ALWAYS_INLINE void rows_unpack_q5_1(const uint8_t *b, struct unit256 *u) {
    split_blocks(b, 24, u);
#pragma GCC unroll 4
    for (size_t j = 0; j < 4; j++) fifth_bits(two_dwords(b + 24 * j + 4, b + 24 * j + 100), &u->q[2 * j]);
    u->scale[0] = eight_halves(b, 24);
    u->min[0] = eight_halves(b + 2, 24);
}

/* The 16 levels, signed. */
static ALWAYS_INLINE void to_levels(struct unit256 *u) {
    const __m128i levels = _mm_setr_epi8(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);
#pragma GCC unroll 8
    for (int v = 0; v < 8; v++) u->q[v] = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(levels), u->q[v]);
}

static ALWAYS_INLINE void rows_unpack_iq4_nl(const uint8_t *b, struct unit256 *u) {
    rows_unpack_q4_0(b, u);
    to_levels(u);
}

static ALWAYS_INLINE void rows_unpack_iq4_xs(const uint8_t *b, struct unit256 *u) {
    split_blocks(b + 8, 16, u);
    to_levels(u);
    u->scale[0] = iq4_xs_scales(b);
}

static ALWAYS_INLINE void rows_unpack_q8_0(const uint8_t *b, struct unit256 *u) {
#pragma GCC unroll 8
    for (int v = 0; v < 8; v++) u->q[v] = load256(b + 34 * v + 2);
    u->scale[0] = eight_halves(b, 34);
}

/* 128 bytes of nibbles: of 32 bytes the low ones are a sub-block, the high ones the next. */
static ALWAYS_INLINE void split_chunks(const uint8_t *p, struct unit256 *u) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) { /* of two chunks, the two halves */
        const uint8_t *at = p + 32 * (i / 2) + 16 * (i & 1);
        split(two_halves(at, at + 64), &u->q[4 * (i / 2) + (i & 1)], 2);
    }
}

static ALWAYS_INLINE void rows_unpack_q4_k(const uint8_t *b, struct unit256 *u) {
    k4_scales(b, u);
    split_chunks(b + 16, u);
}

/* 16 bytes, and in the upper half the same with their high nibbles where the low ones were. */
static ALWAYS_INLINE __m256i bits_of_both(const uint8_t *p) {
    __m128i v = _mm_loadu_si128((const __m128i *)p);
    return _mm256_inserti128_si256(_mm256_castsi128_si256(v), _mm_srli_epi16(v, 4), 1);
}

/* Brings bit `from` of each byte to bit `to`, with nothing else. */
static ALWAYS_INLINE __m256i bit_at(__m256i v, const int from, const int to) {
    __m256i moved = from < to ? _mm256_slli_epi16(v, to - from) : _mm256_srli_epi16(v, from - to);
    return _mm256_and_si256(moved, _mm256_set1_epi8((char)(1 << to)));
}

/* Bit g of byte l is the fifth bit of element 32g + l. */
static ALWAYS_INLINE void rows_unpack_q5_k(const uint8_t *b, struct unit256 *u) {
    const __m256i bits[2] = { bits_of_both(b + 16), bits_of_both(b + 32) };
    k4_scales(b, u);
    split_chunks(b + 48, u);
#pragma GCC unroll 8
    for (int v = 0; v < 8; v++) u->q[v] = _mm256_or_si256(u->q[v], bit_at(bits[v & 1], v / 2, 4));
}

/* 64 bytes of pairs: byte l of either half has elements l, l + 32, l + 64, l + 96 from its low bits up. */
static ALWAYS_INLINE void split_pairs(const uint8_t *p, struct unit256 *u) {
    const __m256i pair = _mm256_set1_epi8(3), v[2] = { two_halves(p, p + 32), two_halves(p + 16, p + 48) };
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) u->q[i] = _mm256_and_si256(_mm256_srli_epi16(v[i & 1], i & 6), pair);
}

/* Scales of types with 16 weights under one: those of sub-blocks 0..3 and 8..11, then the others. */
static ALWAYS_INLINE __m128i in_lanes(__m128i bytes) { return _mm_shuffle_epi32(bytes, _MM_SHUFFLE(3, 1, 2, 0)); }

static ALWAYS_INLINE void rows_unpack_q2_k(const uint8_t *b, struct unit256 *u) {
    __m128i s = in_lanes(_mm_loadu_si128((const __m128i *)b)), mask = _mm_set1_epi8(15);
    bytes_to_floats(_mm_and_si128(s, mask), u->scale);
    bytes_to_floats(_mm_and_si128(_mm_srli_epi16(s, 4), mask), u->min);
    times(u->scale, half_to_all(b + 80));
    times(u->min, _mm256_xor_ps(half_to_all(b + 82), _mm256_set1_ps(-0.0f)));
    split_pairs(b + 16, u);
}

static ALWAYS_INLINE void rows_unpack_nvfp4(const uint8_t *b, struct unit256 *u) {
#pragma GCC unroll 8
    for (size_t v = 0; v < 8; v++) u->q[v] = fp4_of_two(nvfp4_granule(b, v), nvfp4_granule(b, v + 8));
    nvfp4_scales(in_lanes(nvfp4_scale_bytes(b)), u->scale);
}

static ALWAYS_INLINE void rows_unpack_tq2_0(const uint8_t *b, struct unit256 *u) {
    split_pairs(b, u);
    u->scale[0] = half_to_all(b + 64);
}

static ALWAYS_INLINE void rows_unpack_tq1_0(const uint8_t *b, struct unit256 *u) {
    struct unit256 in_order;
    unpack_tq1_0(b, &in_order);
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        u->q[2 * j] = _mm256_permute2x128_si256(in_order.q[j], in_order.q[j + 4], 0x20);
        u->q[2 * j + 1] = _mm256_permute2x128_si256(in_order.q[j], in_order.q[j + 4], 0x31);
    }
    u->scale[0] = in_order.scale[0];
}

/* Bit g of byte l of the first 32 is the third bit of element 32g + l. */
static ALWAYS_INLINE void rows_unpack_q3_k(const uint8_t *b, struct unit256 *u) {
    const __m256i bits[2] = { bits_of_both(b), bits_of_both(b + 16) };
    bytes_to_floats(in_lanes(q3_k_scales(b)), u->scale);
    times(u->scale, half_to_all(b + 108));
    split_pairs(b + 32, u);
#pragma GCC unroll 8
    for (int v = 0; v < 8; v++) u->q[v] = _mm256_or_si256(u->q[v], bit_at(bits[v & 1], v / 2, 2));
}

/* Half h: 64 bytes of low nibbles and 32 bytes of pairs make 128 elements. The pairs are moved to bits 4 and 5. */
static ALWAYS_INLINE void rows_unpack_q6_k(const uint8_t *b, struct unit256 *u) {
    const __m256i mask = _mm256_set1_epi8(0x30);
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        const uint8_t *at = b + 16 * i;
        __m256i p = two_halves(at + 128, at + 160), *q = &u->q[i];
        split(two_halves(at, at + 64), q, 4);
        split(two_halves(at + 32, at + 96), q + 2, 4);
        q[0] = _mm256_or_si256(q[0], _mm256_and_si256(_mm256_slli_epi16(p, 4), mask));
        q[2] = _mm256_or_si256(q[2], _mm256_and_si256(_mm256_slli_epi16(p, 2), mask));
        q[4] = _mm256_or_si256(q[4], _mm256_and_si256(p, mask));
        q[6] = _mm256_or_si256(q[6], _mm256_and_si256(_mm256_srli_epi16(p, 2), mask));
    }
    bytes_to_floats(in_lanes(_mm_loadu_si128((const __m128i *)(b + 192))), u->scale);
    times(u->scale, half_to_all(b + 208));
}
#endif
