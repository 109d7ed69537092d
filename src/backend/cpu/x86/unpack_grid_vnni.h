#ifndef BACKEND_CPU_X86_UNPACK_GRID_VNNI_H
#define BACKEND_CPU_X86_UNPACK_GRID_VNNI_H
/* Taking units of the types with signs apart in AVX-512 registers: those whose groups of weights are points of a grid,
 * and small floats. The layouts are those of docs/formats/blocks.md; grid_ref.c says the same without vectors. A point
 * of eight is one load of the grid. */
#include <immintrin.h>
#include <string.h>

#include "backend/cpu/x86/signs_avx2.h"
#include "backend/cpu/x86/unpack_vnni.h"
#include "qtype/codec.h"

struct signed512 {
    __m512i q[4];        /* 64 magnitudes each */
    __mmask64 minus[4];  /* where the weight is negative */
    __m512 scale;        /* as that of struct unit512 */
};

/* Magnitudes are added to the offset or taken off it. */
static ALWAYS_INLINE void signed_to_unit(const struct signed512 *s, int offset, struct unit512 *u) {
    const __m512i o = _mm512_set1_epi8((char)offset);
    u->scale = s->scale;
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++)
        u->q[v] = _mm512_mask_sub_epi8(_mm512_add_epi8(o, s->q[v]), s->minus[v], o, s->q[v]);
}

/* Which eight elements stand at place s of vector v. */
enum order {
    IN_ORDER,
    BY_32, /* number v of sub-block s */
    BY_16, /* number v % 2 of sub-block s or, in vectors 2 and 3, of s + 8 */
};

static ALWAYS_INLINE int eight_at(enum order o, int v, int s) {
    return o == IN_ORDER ? 8 * v + s : o == BY_32 ? 4 * s + v : 2 * (s + 8 * (v >> 1)) + (v & 1);
}

/* A byte for each eight elements, from their order to that of the vectors. */
static ALWAYS_INLINE __m256i ordered(__m256i bytes, enum order o) {
    const __m128i by_32 = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m128i by_16 = _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
    if (o == IN_ORDER) return bytes;
    if (o == BY_16) return _mm256_shuffle_epi8(bytes, _mm256_broadcastsi128_si256(by_16));
    bytes = _mm256_shuffle_epi8(bytes, _mm256_broadcastsi128_si256(by_32));
    return _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

/* signs: a byte for each eight elements, in their order. */
static ALWAYS_INLINE void put_signs(__m256i signs, enum order o, struct signed512 *u) {
    signs = ordered(signs, o);
    __m128i low = _mm256_castsi256_si128(signs), high = _mm256_extracti128_si256(signs, 1);
    u->minus[0] = _cvtu64_mask64((uint64_t)_mm_cvtsi128_si64(low));
    u->minus[1] = _cvtu64_mask64((uint64_t)_mm_extract_epi64(low, 1));
    u->minus[2] = _cvtu64_mask64((uint64_t)_mm_cvtsi128_si64(high));
    u->minus[3] = _cvtu64_mask64((uint64_t)_mm_extract_epi64(high, 1));
}

static ALWAYS_INLINE int64_t point8(const struct iq_grid *g, unsigned i) {
    int64_t point;
    memcpy(&point, g->points + 8 * (size_t)i, 8);
    return point;
}

/* i: the points in their order. */
static ALWAYS_INLINE void put_points(const struct iq_grid *g, const unsigned *i, enum order o, struct signed512 *u) {
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) {
        int64_t p[8];
#pragma GCC unroll 8
        for (int s = 0; s < 8; s++) p[s] = point8(g, i[eight_at(o, v, s)]);
        u->q[v] = _mm512_setr_epi64(p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]);
    }
}

/* d (1/2 + s) of eight words that have s in their top four bits, times a power of two. */
static ALWAYS_INLINE __m512 top_scales(const uint8_t *d, __m256i words, float power) {
    __m512 s = _mm512_castps256_ps512(_mm256_cvtepi32_ps(_mm256_srli_epi32(words, 28)));
    s = _mm512_mul_ps(half_to_all_stored(d), _mm512_add_ps(s, _mm512_set1_ps(0.5f)));
    return _mm512_mul_ps(s, _mm512_set1_ps(power));
}

/* Sixteen nibbles as dwords. */
static ALWAYS_INLINE __m512i nibble_dwords(const uint8_t *p) {
    __m128i b = _mm_loadl_epi64((const __m128i *)p);
    __m128i n = _mm_and_si128(_mm_unpacklo_epi8(b, _mm_srli_epi16(b, 4)), _mm_set1_epi8(15));
    return _mm512_cvtepu8_epi32(n);
}

/* d (1/2 + s) / 4 of sixteen nibbles. */
static ALWAYS_INLINE __m512 nibble_scales(const uint8_t *d, const uint8_t *nibbles) {
    __m512 s = _mm512_add_ps(_mm512_cvtepi32_ps(nibble_dwords(nibbles)), _mm512_set1_ps(0.5f));
    return _mm512_mul_ps(_mm512_mul_ps(half_to_all_stored(d), s), _mm512_set1_ps(0.25f));
}

static ALWAYS_INLINE void take_iq2_xxs(const uint8_t *b, enum order o, struct signed512 *u) {
    unsigned i[32];
#pragma GCC unroll 32
    for (int l = 0; l < 32; l++) i[l] = b[2 + 8 * (l / 4) + l % 4];
    put_points(&iq2_xxs_grid, i, o, u);
    __m256i words = _mm512_cvtepi64_epi32(_mm512_srli_epi64(_mm512_loadu_si512(b + 2), 32));
    u->scale = top_scales(b, words, 0.25f);
    put_signs(signs_of_words(words), o, u);
}

static ALWAYS_INLINE void take_iq2_xs(const uint8_t *b, enum order o, struct signed512 *u) {
    unsigned i[32];
#pragma GCC unroll 32
    for (int l = 0; l < 32; l++) i[l] = load_u16(b + 2 + 2 * l) & 511;
    put_points(&iq2_xs_grid, i, o, u);
    __m512i w = _mm512_loadu_si512(b + 2);
    put_signs(even_signs32(_mm512_cvtepi16_epi8(_mm512_srli_epi16(w, 9))), o, u);
    u->scale = nibble_scales(b, b + 66);
}

static ALWAYS_INLINE void take_iq2_s(const uint8_t *b, enum order o, struct signed512 *u) {
    unsigned i[32];
#pragma GCC unroll 32
    for (int l = 0; l < 32; l++) i[l] = b[2 + l] | ((unsigned)b[66 + l / 4] << (8 - 2 * (l & 3)) & 0x300);
    put_points(&iq2_s_grid, i, o, u);
    put_signs(_mm256_loadu_si256((const __m256i *)(b + 34)), o, u);
    u->scale = nibble_scales(b, b + 74);
}

/* Steps of -1, 0, 1 become eight times as many, and one more, or less where the eight's byte has its top bit set. */
static ALWAYS_INLINE void put_steps(__m256i down, enum order o, struct signed512 *u) {
    const __m512i eights = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -8));
    const __m512i low = _mm512_set1_epi8(15), one = _mm512_set1_epi8(1);
    const __m512i first = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 8, 8, 8, 8, 8, 8, 8, 8));
    __m256i bytes = ordered(down, o);
    __m128i half[2] = { _mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1) };
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) {
        __m128i eight = v & 1 ? _mm_unpackhi_epi64(half[v / 2], half[v / 2]) : half[v / 2];
        __mmask64 minus = _mm512_movepi8_mask(_mm512_shuffle_epi8(_mm512_cvtepu8_epi64(eight), first));
        __m512i w = _mm512_shuffle_epi8(eights, _mm512_and_si512(u->q[v], low));
        w = _mm512_mask_sub_epi8(_mm512_add_epi8(w, one), minus, w, one);
        u->minus[v] = _mm512_movepi8_mask(w);
        u->q[v] = _mm512_abs_epi8(w);
    }
}

/* d (2 s + 1) / 8 of sixteen numbers, or of eight. */
static ALWAYS_INLINE __m512 odd_scales(__m512 d, __m512i s) {
    s = _mm512_add_epi32(_mm512_add_epi32(s, s), _mm512_set1_epi32(1));
    return _mm512_mul_ps(_mm512_mul_ps(d, _mm512_cvtepi32_ps(s)), _mm512_set1_ps(0.125f));
}

static ALWAYS_INLINE void take_iq1_s(const uint8_t *b, enum order o, struct signed512 *u) {
    unsigned i[32];
#pragma GCC unroll 32
    for (int l = 0; l < 32; l++)
        i[l] = b[2 + l] | ((unsigned)load_u16(b + 34 + 2 * (l / 4)) << 8 >> 3 * (l & 3) & 0x700);
    put_points(&iq1_grid, i, o, u);
    __m256i words = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(b + 34)));
    /* The upper byte of each word four times. */
    const __m128i upper = _mm_setr_epi8(1, 1, 1, 1, 5, 5, 5, 5, 9, 9, 9, 9, 13, 13, 13, 13);
    put_steps(_mm256_shuffle_epi8(words, _mm256_broadcastsi128_si256(upper)), o, u);
    __m256i s = _mm256_and_si256(_mm256_srli_epi32(words, 12), _mm256_set1_epi32(7));
    u->scale = odd_scales(half_to_all_stored(b), _mm512_castsi256_si512(s));
}

static ALWAYS_INLINE void take_iq1_m(const uint8_t *b, enum order o, struct signed512 *u) {
    unsigned i[32];
#pragma GCC unroll 32
    for (int l = 0; l < 32; l++) i[l] = b[l] | ((unsigned)b[32 + l / 2] << (l & 1 ? 4 : 8) & 0x700);
    put_points(&iq1_grid, i, o, u);
    __m128i high = _mm_loadu_si128((const __m128i *)(b + 32)), even = _mm_slli_epi16(high, 4);
    __m256i down = _mm256_castsi128_si256(_mm_unpacklo_epi8(even, high));
    put_steps(_mm256_inserti128_si256(down, _mm_unpackhi_epi8(even, high), 1), o, u);
    uint64_t words;
    memcpy(&words, b + 48, 8);
    uint16_t d = (uint16_t)((words >> 12 & 15) | (words >> 24 & 0xf0) | (words >> 36 & 0xf00) | (words >> 48 & 0xf000));
    const __m128i fours = _mm_setr_epi8(0, 1, 0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3, 2, 3);
    __m128i w = _mm_cvtsi64_si128((int64_t)words);
    __m256i each = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_shuffle_epi8(w, fours)),
                                           _mm_shuffle_epi8(_mm_srli_epi64(w, 32), fours), 1);
    __m512i s = _mm512_cvtepu16_epi32(each);
    s = _mm512_srlv_epi32(s, _mm512_broadcast_i32x4(_mm_setr_epi32(0, 3, 6, 9)));
    u->scale = odd_scales(half_to_all_stored((const uint8_t *)&d), _mm512_and_si512(s, _mm512_set1_epi32(7)));
}

/* Powers of two from eight exponents, as mxfp4_scale. */
static ALWAYS_INLINE __m512 mxfp4_scales(const uint8_t *b) {
    uint8_t e[8];
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) e[g] = b[17 * g];
    __m256i x = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)e));
    __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(x, _mm256_set1_epi32(1)), 23);
    __m256i tiny = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), x);
    __m256i s = _mm256_blendv_epi8(normal, tiny, _mm256_cmpgt_epi32(_mm256_set1_epi32(2), x));
    return _mm512_castps256_ps512(_mm256_castsi256_ps(s));
}

/* 16 bytes at p, p + step, ... */
static ALWAYS_INLINE __m512i four_blocks(const uint8_t *p, size_t step) {
    __m128i n[4];
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) n[i] = _mm_loadu_si128((const __m128i *)(p + step * i));
    __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(n[0]), n[1], 1);
    __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(n[2]), n[3], 1);
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

/* In order, or BY_32. */
static ALWAYS_INLINE void take_mxfp4(const uint8_t *b, enum order o, struct signed512 *u) {
    const __m512i magnitudes =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 2, 3, 4, 6, 8, 12, 0, 1, 2, 3, 4, 6, 8, 12));
    __m512i n[4], even = four_blocks(b + 1, 34), odd = four_blocks(b + 18, 34), low = _mm512_set1_epi8(15);
    __m512i first = _mm512_unpacklo_epi64(even, odd), second = _mm512_unpackhi_epi64(even, odd);
    n[0] = _mm512_and_si512(first, low);
    n[1] = _mm512_and_si512(second, low);
    n[2] = _mm512_and_si512(_mm512_srli_epi16(first, 4), low);
    n[3] = _mm512_and_si512(_mm512_srli_epi16(second, 4), low);
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) {
        if (o == IN_ORDER) n[v] = nibbles16x2(b + 34 * v + 1, b + 34 * v + 18);
        u->q[v] = _mm512_shuffle_epi8(magnitudes, n[v]);
        u->minus[v] = _mm512_test_epi8_mask(n[v], _mm512_set1_epi8(8));
    }
    u->scale = mxfp4_scales(b);
}
#endif
