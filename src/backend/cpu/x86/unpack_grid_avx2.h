#ifndef BACKEND_CPU_X86_UNPACK_GRID_AVX2_H
#define BACKEND_CPU_X86_UNPACK_GRID_AVX2_H
/* Taking units of the types with signs apart in AVX2 registers, in element order: those whose groups of weights are
 * points of a grid, and small floats. The layouts are those of docs/formats/blocks.md; grid_ref.c says the same without
 * vectors. */
#include <immintrin.h>
#include <string.h>

#include "backend/cpu/x86/signs_avx2.h"
#include "backend/cpu/x86/unpack_avx2.h"
#include "qtype/codec.h"

struct signed256 {
    __m256i q[8];      /* 32 magnitudes each */
    __m256i minus[8];  /* -1 where the weight is negative, else 0 */
    __m256 scale[2];   /* as that of struct unit256 */
};

/* -1 in the bytes of the 32 whose bit is set. */
static ALWAYS_INLINE __m256i bits_to_masks(uint32_t bits) {
    const __m256i which = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i one = _mm256_set1_epi64x((int64_t)0x8040201008040201ull);
    __m256i v = _mm256_shuffle_epi8(_mm256_set1_epi32((int)bits), which);
    return _mm256_cmpeq_epi8(_mm256_and_si256(v, one), one);
}

static ALWAYS_INLINE void signs_at(const uint8_t *signs, struct signed256 *u) {
#pragma GCC unroll 8
    for (int v = 0; v < 8; v++) u->minus[v] = bits_to_masks(load_u32(signs + 4 * v));
}

static ALWAYS_INLINE void put_signs(__m256i signs, struct signed256 *u) {
    uint8_t s[32] ALIGNED(32);
    _mm256_store_si256((__m256i *)s, signs);
    signs_at(s, u);
}

static ALWAYS_INLINE int64_t point8(const struct iq_grid *g, unsigned i) {
    int64_t point;
    memcpy(&point, g->points + 8 * (size_t)i, 8);
    return point;
}

static ALWAYS_INLINE __m256i points8x4(const struct iq_grid *g, unsigned i0, unsigned i1, unsigned i2, unsigned i3) {
    return _mm256_setr_epi64x(point8(g, i0), point8(g, i1), point8(g, i2), point8(g, i3));
}

static ALWAYS_INLINE int32_t point4(const struct iq_grid *g, unsigned i) {
    int32_t point;
    memcpy(&point, g->points + 4 * (size_t)i, 4);
    return point;
}

/* Points of four from eight bytes of indices; `ninth` has a ninth bit of each. */
static ALWAYS_INLINE __m256i points4x8(const struct iq_grid *g, const uint8_t *b, unsigned ninth) {
    int32_t p[8];
#pragma GCC unroll 8
    for (int l = 0; l < 8; l++) p[l] = point4(g, b[l] | (ninth << (8 - l) & 256));
    return _mm256_setr_epi32(p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]);
}

static ALWAYS_INLINE __m256i eight_bytes(const uint8_t *p) {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
}

/* d (1/2 + s) of eight words that have s in their top four bits, times a power of two. */
static ALWAYS_INLINE __m256 top_scales(const uint8_t *d, __m256i words, float power) {
    __m256 s = _mm256_add_ps(_mm256_cvtepi32_ps(_mm256_srli_epi32(words, 28)), _mm256_set1_ps(0.5f));
    return _mm256_mul_ps(_mm256_mul_ps(half_to_all(d), s), _mm256_set1_ps(power));
}

/* d (1/2 + s) / 4 of sixteen nibbles. */
static ALWAYS_INLINE void nibble_scales(const uint8_t *d, const uint8_t *nibbles, __m256 scale[2]) {
    __m128i b = _mm_loadl_epi64((const __m128i *)nibbles);
    bytes_to_floats(_mm_and_si128(_mm_unpacklo_epi8(b, _mm_srli_epi16(b, 4)), _mm_set1_epi8(15)), scale);
    for (int i = 0; i < 2; i++) scale[i] = _mm256_add_ps(scale[i], _mm256_set1_ps(0.5f));
    times(scale, half_to_all(d));
    times(scale, _mm256_set1_ps(0.25f));
}

static ALWAYS_INLINE void take_iq2_xxs(const uint8_t *b, struct signed256 *u) {
    uint32_t words[8];
#pragma GCC unroll 8
    for (int v = 0; v < 8; v++) {
        const uint8_t *p = b + 2 + 8 * v;
        u->q[v] = points8x4(&iq2_xxs_grid, p[0], p[1], p[2], p[3]);
        words[v] = load_u32(p + 4);
    }
    __m256i w = load256((const uint8_t *)words);
    u->scale[0] = top_scales(b, w, 0.25f);
    put_signs(signs_of_words(w), u);
}

static ALWAYS_INLINE void take_iq2_xs(const uint8_t *b, struct signed256 *u) {
#pragma GCC unroll 8
    for (int v = 0; v < 8; v++) {
        const uint8_t *p = b + 2 + 8 * v;
        u->q[v] = points8x4(&iq2_xs_grid, load_u16(p) & 511, load_u16(p + 2) & 511, load_u16(p + 4) & 511,
                            load_u16(p + 6) & 511);
    }
    __m256i w0 = _mm256_srli_epi16(load256(b + 2), 9), w1 = _mm256_srli_epi16(load256(b + 34), 9);
    put_signs(even_signs32(_mm256_permute4x64_epi64(_mm256_packus_epi16(w0, w1), _MM_SHUFFLE(3, 1, 2, 0))), u);
    nibble_scales(b, b + 66, u->scale);
}

static ALWAYS_INLINE void take_iq2_s(const uint8_t *b, struct signed256 *u) {
#pragma GCC unroll 8
    for (int v = 0; v < 8; v++) {
        const uint8_t *p = b + 2 + 4 * v;
        unsigned high = b[66 + v];
        u->q[v] = points8x4(&iq2_s_grid, p[0] | (high << 8 & 0x300), p[1] | (high << 6 & 0x300),
                            p[2] | (high << 4 & 0x300), p[3] | (high << 2 & 0x300));
    }
    signs_at(b + 34, u);
    nibble_scales(b, b + 74, u->scale);
}

static ALWAYS_INLINE void take_iq3_xxs(const uint8_t *b, struct signed256 *u) {
#pragma GCC unroll 8
    for (int v = 0; v < 8; v++) u->q[v] = points4x8(&iq3_xxs_grid, b + 2 + 8 * v, 0);
    __m256i words = load256(b + 66);
    u->scale[0] = top_scales(b, words, 0.5f);
    put_signs(signs_of_words(words), u);
}

static ALWAYS_INLINE void take_iq3_s(const uint8_t *b, struct signed256 *u) {
#pragma GCC unroll 8
    for (int v = 0; v < 8; v++) u->q[v] = points4x8(&iq3_s_grid, b + 2 + 8 * v, b[66 + v]);
    signs_at(b + 74, u);
    __m256i s = _mm256_set1_epi32((int)load_u32(b + 106));
    s = _mm256_srlv_epi32(s, _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28));
    s = _mm256_and_si256(s, _mm256_set1_epi32(15));
    s = _mm256_add_epi32(_mm256_add_epi32(s, s), _mm256_set1_epi32(1));
    u->scale[0] = _mm256_mul_ps(half_to_all(b), _mm256_cvtepi32_ps(s));
}

/* Steps of -1, 0, 1 become eight times as many, and one more, or less where the eight's byte has its top bit set. */
static ALWAYS_INLINE void put_steps(__m256i down, struct signed256 *u) {
    const __m256i eights =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -8));
    const __m256i zero = _mm256_setzero_si256(), one = _mm256_set1_epi8(1), low = _mm256_set1_epi8(15);
    const __m256i which = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    int32_t fours[8] ALIGNED(32);
    _mm256_store_si256((__m256i *)fours, down);
#pragma GCC unroll 8
    for (int v = 0; v < 8; v++) {
        __m256i minus = _mm256_shuffle_epi8(_mm256_set1_epi32(fours[v]), which);
        __m256i step = _mm256_or_si256(_mm256_cmpgt_epi8(zero, minus), one); /* -1 or 1 */
        __m256i w = _mm256_add_epi8(_mm256_shuffle_epi8(eights, _mm256_and_si256(u->q[v], low)), step);
        u->minus[v] = _mm256_cmpgt_epi8(zero, w);
        u->q[v] = _mm256_abs_epi8(w);
    }
}

/* d (2 s + 1) / 8. */
static ALWAYS_INLINE __m256 odd_scales(__m256 d, __m256i s) {
    s = _mm256_add_epi32(_mm256_add_epi32(s, s), _mm256_set1_epi32(1));
    return _mm256_mul_ps(_mm256_mul_ps(d, _mm256_cvtepi32_ps(s)), _mm256_set1_ps(0.125f));
}

static ALWAYS_INLINE void take_iq1_s(const uint8_t *b, struct signed256 *u) {
#pragma GCC unroll 8
    for (int v = 0; v < 8; v++) {
        const uint8_t *p = b + 2 + 4 * v;
        unsigned high = load_u16(b + 34 + 2 * v);
        u->q[v] = points8x4(&iq1_grid, p[0] | (high << 8 & 0x700), p[1] | (high << 5 & 0x700),
                            p[2] | (high << 2 & 0x700), p[3] | (high >> 1 & 0x700));
    }
    __m256i words = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(b + 34)));
    /* The upper byte of each word four times. */
    const __m128i upper = _mm_setr_epi8(1, 1, 1, 1, 5, 5, 5, 5, 9, 9, 9, 9, 13, 13, 13, 13);
    put_steps(_mm256_shuffle_epi8(words, _mm256_broadcastsi128_si256(upper)), u);
    u->scale[0] = odd_scales(half_to_all(b), _mm256_and_si256(_mm256_srli_epi32(words, 12), _mm256_set1_epi32(7)));
}

static ALWAYS_INLINE void take_iq1_m(const uint8_t *b, struct signed256 *u) {
#pragma GCC unroll 8
    for (int v = 0; v < 8; v++) {
        const uint8_t *p = b + 4 * v;
        unsigned low = b[32 + 2 * v], high = b[33 + 2 * v];
        u->q[v] = points8x4(&iq1_grid, p[0] | (low << 8 & 0x700), p[1] | (low << 4 & 0x700),
                            p[2] | (high << 8 & 0x700), p[3] | (high << 4 & 0x700));
    }
    __m128i high = _mm_loadu_si128((const __m128i *)(b + 32)), even = _mm_slli_epi16(high, 4);
    __m256i down = _mm256_castsi128_si256(_mm_unpacklo_epi8(even, high));
    put_steps(_mm256_inserti128_si256(down, _mm_unpackhi_epi8(even, high), 1), u);
    uint64_t words;
    memcpy(&words, b + 48, 8);
    uint16_t d = (uint16_t)((words >> 12 & 15) | (words >> 24 & 0xf0) | (words >> 36 & 0xf00) | (words >> 48 & 0xf000));
    const __m256i shift = _mm256_setr_epi32(0, 3, 6, 9, 16, 19, 22, 25);
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) { /* two words have eight scales */
        __m256i s = _mm256_srlv_epi32(_mm256_set1_epi32((int)(words >> 32 * i)), shift);
        u->scale[i] = odd_scales(half_to_all((const uint8_t *)&d), _mm256_and_si256(s, _mm256_set1_epi32(7)));
    }
}

/* Powers of two from eight exponents, as mxfp4_scale. */
static ALWAYS_INLINE __m256 mxfp4_scales(const uint8_t *b) {
    uint8_t e[8];
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) e[g] = b[17 * g];
    __m256i x = eight_bytes(e), normal = _mm256_slli_epi32(_mm256_sub_epi32(x, _mm256_set1_epi32(1)), 23);
    __m256i tiny = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), x);
    return _mm256_castsi256_ps(_mm256_blendv_epi8(normal, tiny, _mm256_cmpgt_epi32(_mm256_set1_epi32(2), x)));
}

static ALWAYS_INLINE void take_mxfp4(const uint8_t *b, struct signed256 *u) {
    const __m256i levels = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)fp4_levels));
#pragma GCC unroll 8
    for (int v = 0; v < 8; v++) {
        __m256i w = _mm256_shuffle_epi8(levels, nibbles16(b + 17 * v + 1));
        u->q[v] = _mm256_abs_epi8(w);
        u->minus[v] = _mm256_cmpgt_epi8(_mm256_setzero_si256(), w);
    }
    u->scale[0] = mxfp4_scales(b);
}

/* Magnitudes are added to the offset or taken off it. */
static ALWAYS_INLINE void signed_to_unit(const struct signed256 *s, const struct int8_form form, struct unit256 *u) {
    const __m256i o = _mm256_set1_epi8((char)form.offset);
    for (int i = 0; i < 32 / form.sub; i++) u->scale[i] = s->scale[i];
#pragma GCC unroll 8
    for (int v = 0; v < 8; v++)
        u->q[v] = _mm256_add_epi8(o, _mm256_sub_epi8(_mm256_xor_si256(s->q[v], s->minus[v]), s->minus[v]));
}

/* unpack_CODEC, to codes with that offset. */
#define SIGNED_UNPACK(codec, sub, offset)                                                                              \
    static ALWAYS_INLINE void unpack_##codec(const uint8_t *b, struct unit256 *u) {                                    \
        struct signed256 s;                                                                                            \
        take_##codec(b, &s);                                                                                           \
        signed_to_unit(&s, (struct int8_form){ sub, offset, false }, u);                                               \
    }
#endif
