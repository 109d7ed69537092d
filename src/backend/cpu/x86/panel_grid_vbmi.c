/* Unpacking panels of 16 rows of weights in points of four, in AVX-512 VBMI: a grid's table, two bytes a point, is
 * looked up 64 points at a time by byte permutations, without leaving the registers. Magnitudes are then added to the
 * type's offset or taken off it, as in panel_grid_vnni.c. */
#include "backend/cpu/x86/look_up_vbmi.h"
#include "backend/cpu/x86/panel_loop_avx512.h"
#include "backend/cpu/x86/unpack_grid_vnni.h"

/* Bytes 0..3 of each eight: which places of 128 are those of the two points that stand there in vector v. */
static ALWAYS_INLINE __m512i places_at(int v) {
    int64_t at[8];
#pragma GCC unroll 8
    for (int s = 0; s < 8; s++) at[s] = 0x41014000 + 0x02020202 * (8 * v + s);
    return _mm512_setr_epi64(at[0], at[1], at[2], at[3], at[4], at[5], at[6], at[7]);
}

/* The levels of 64 points, given the places of their elements 0 and 1, and 2 and 3. */
static ALWAYS_INLINE void put_levels(__m512i p01, __m512i p23, const struct iq_grid *g, struct signed512 *u) {
    uint64_t levels;
    memcpy(&levels, g->level, 8);
    const __m512i level = _mm512_set1_epi64((int64_t)levels), nibbles = _mm512_set1_epi64(0x1c1814100c080400);
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) { /* the places of two points to each eight bytes, then one to a byte */
        __m512i both = _mm512_permutex2var_epi8(p01, places_at(v), p23);
        __m512i places = _mm512_and_si512(_mm512_multishift_epi64_epi8(nibbles, both), _mm512_set1_epi8(7));
        u->q[v] = _mm512_shuffle_epi8(level, places);
    }
}

static ALWAYS_INLINE void unpack_iq3_xxs(const uint8_t *b, struct unit512 *u) {
    struct signed512 parts;
    __m512i i = _mm512_loadu_si512(b + 2);
    put_levels(look_up256(iq3_xxs_places[0], i), look_up256(iq3_xxs_places[1], i), &iq3_xxs_grid, &parts);
    __m256i words = _mm256_loadu_si256((const __m256i *)(b + 66));
    parts.scale = top_scales(b, words, 0.5f);
    put_signs(signs_of_words(words), IN_ORDER, &parts);
    signed_to_unit(&parts, 128, u);
}

static ALWAYS_INLINE void unpack_iq3_s(const uint8_t *b, struct unit512 *u) {
    struct signed512 parts;
    __m512i i = _mm512_loadu_si512(b + 2);
    uint64_t ninth;
    memcpy(&ninth, b + 66, 8);
    __mmask64 high = _cvtu64_mask64(ninth);
    put_levels(look_up512(iq3_s_places[0], i, high), look_up512(iq3_s_places[1], i, high), &iq3_s_grid, &parts);
    put_signs(_mm256_loadu_si256((const __m256i *)(b + 74)), IN_ORDER, &parts);
    uint32_t nibbles;
    memcpy(&nibbles, b + 106, 4);
    __m256i s = _mm256_srlv_epi32(_mm256_set1_epi32((int)nibbles), _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28));
    s = _mm256_and_si256(s, _mm256_set1_epi32(15));
    s = _mm256_add_epi32(_mm256_add_epi32(s, s), _mm256_set1_epi32(1));
    parts.scale = _mm512_mul_ps(half_to_all_stored(b), _mm512_castps256_ps512(_mm256_cvtepi32_ps(s)));
    signed_to_unit(&parts, 16, u);
}

PANEL_KERNEL(iq3_xxs, vbmi, false)
PANEL_KERNEL(iq3_s, vbmi, false)
