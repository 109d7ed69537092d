#ifndef BACKEND_CPU_X86_UNPACK_GRID_VNNI_H
#define BACKEND_CPU_X86_UNPACK_GRID_VNNI_H
/* Taking units of the types with signs apart in AVX-512 registers, in element order: those whose groups of weights are
 * points of a grid, and small floats. The layouts are those of docs/formats/blocks.md; grid_ref.c says the same without
 * vectors. A point of eight is one load of the grid. */
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

static ALWAYS_INLINE __mmask64 mask_at(const void *signs, int v) {
    uint64_t m;
    memcpy(&m, (const uint8_t *)signs + 8 * v, 8);
    return _cvtu64_mask64(m);
}

static ALWAYS_INLINE void put_signs(__m256i signs, struct signed512 *u) {
    uint64_t m[4] ALIGNED(32);
    _mm256_store_si256((__m256i *)m, signs);
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) u->minus[v] = mask_at(m, v);
}

static ALWAYS_INLINE int64_t point8(const struct iq_grid *g, unsigned i) {
    int64_t point;
    memcpy(&point, g->points + 8 * (size_t)i, 8);
    return point;
}

static ALWAYS_INLINE __m512i points8x8(const struct iq_grid *g, const uint16_t *i) {
    return _mm512_setr_epi64(point8(g, i[0]), point8(g, i[1]), point8(g, i[2]), point8(g, i[3]), point8(g, i[4]),
                             point8(g, i[5]), point8(g, i[6]), point8(g, i[7]));
}

static ALWAYS_INLINE void put_points(const struct iq_grid *g, __m512i indices, struct signed512 *u) {
    uint16_t i[32] ALIGNED(64);
    _mm512_store_si512(i, indices);
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) u->q[v] = points8x8(g, i + 8 * v);
}

/* d (1/2 + s) of eight words that have s in their top four bits, times a power of two. */
static ALWAYS_INLINE __m512 top_scales(const uint8_t *d, __m256i words, float power) {
    __m512 s = _mm512_castps256_ps512(_mm256_cvtepi32_ps(_mm256_srli_epi32(words, 28)));
    return _mm512_mul_ps(_mm512_mul_ps(half_to_all(d), _mm512_add_ps(s, _mm512_set1_ps(0.5f))), _mm512_set1_ps(power));
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
    return _mm512_mul_ps(_mm512_mul_ps(half_to_all(d), s), _mm512_set1_ps(0.25f));
}

static ALWAYS_INLINE void take_iq2_xxs(const uint8_t *b, struct signed512 *u) {
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) {
        const uint8_t *p = b + 2 + 16 * v;
        uint16_t i[8] = { p[0], p[1], p[2], p[3], p[8], p[9], p[10], p[11] };
        u->q[v] = points8x8(&iq2_xxs_grid, i);
    }
    __m256i words = _mm512_cvtepi64_epi32(_mm512_srli_epi64(_mm512_loadu_si512(b + 2), 32));
    u->scale = top_scales(b, words, 0.25f);
    put_signs(signs_of_words(words), u);
}

static ALWAYS_INLINE void take_iq2_xs(const uint8_t *b, struct signed512 *u) {
    __m512i w = _mm512_loadu_si512(b + 2);
    put_points(&iq2_xs_grid, _mm512_and_si512(w, _mm512_set1_epi16(511)), u);
    put_signs(even_signs32(_mm512_cvtepi16_epi8(_mm512_srli_epi16(w, 9))), u);
    u->scale = nibble_scales(b, b + 66);
}

static ALWAYS_INLINE void take_iq2_s(const uint8_t *b, struct signed512 *u) {
    __m512i low = _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *)(b + 2)));
    /* Four copies of a byte, shifted so that pair l is at bits 8 and 9 of word l. */
    __m512i high = _mm512_cvtepu8_epi64(_mm_loadl_epi64((const __m128i *)(b + 66)));
    high = _mm512_mullo_epi64(high, _mm512_set1_epi64(1ll << 8 | 1ll << 22 | 1ll << 36 | 1ll << 50));
    high = _mm512_and_si512(high, _mm512_set1_epi16(0x300));
    put_points(&iq2_s_grid, _mm512_or_si512(low, high), u);
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) u->minus[v] = mask_at(b + 34, v);
    u->scale = nibble_scales(b, b + 74);
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

static ALWAYS_INLINE void take_mxfp4(const uint8_t *b, struct signed512 *u) {
    const __m512i magnitudes =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 2, 3, 4, 6, 8, 12, 0, 1, 2, 3, 4, 6, 8, 12));
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) {
        __m512i n = nibbles16x2(b + 34 * v + 1, b + 34 * v + 18);
        u->q[v] = _mm512_shuffle_epi8(magnitudes, n);
        u->minus[v] = _mm512_test_epi8_mask(n, _mm512_set1_epi8(8));
    }
    u->scale = mxfp4_scales(b);
}
#endif
