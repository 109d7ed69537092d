#ifndef BACKEND_CPU_X86_ROWS_UNITS_VBMI_H
#define BACKEND_CPU_X86_ROWS_UNITS_VBMI_H
/* Taking units of the types whose groups of weights are points of a grid apart for the rows kernels, with AVX512_VBMI.
 * A point is 16 bits: which levels its elements have. The bytes of 64 points are looked up at once, without leaving
 * the registers: the 64 points of a unit, or the 32 of two units. */
#include "backend/cpu/x86/look_up_vbmi.h"
#include "backend/cpu/x86/rows_units_vnni.h"

/* Lane l of every vector has elements of the same 16, 16 l .. 16 l + 15; vector v has four of them, from 4 v on. */
struct sixteens {
    __m512i q[4];        /* magnitudes */
    __mmask64 minus[4];  /* where the weight is negative */
    __m512 scale;        /* of each 16 */
};

/* The same number in all bytes, and the numbers of four bytes over and over. */
static ALWAYS_INLINE __m512i fours(uint32_t bytes) { return _mm512_set1_epi32((int)bytes); }

/* --- Magnitudes --- */

/* words: of points 4 s .. 4 s + 3 of eight elements in each qword s, two bits an element. */
static ALWAYS_INLINE void put_eights(__m512i words, const struct iq_grid *g, struct sixteens *u) {
    const __m512i level = fours(load_u32((const uint8_t *)g->level));
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) {
        const __m512i at = _mm512_set1_epi64(0x2624222006040200 + 0x0808080808080808 * v);
        u->q[v] = _mm512_permutexvar_epi8(_mm512_multishift_epi64_epi8(at, words), level);
    }
}

/* lo, hi: bytes of 64 points of eight elements, 32 of each unit. */
static ALWAYS_INLINE void put_two_units(__m512i lo, __m512i hi, const struct iq_grid *g, struct sixteens u[2]) {
    const __m512i by_turns = _mm512_set_epi64(
        0x5f1f5e1e5d1d5c1c, 0x5b1b5a1a59195818, 0x5717561655155414, 0x5313521251115010,
        0x4f0f4e0e4d0d4c0c, 0x4b0b4a0a49094808, 0x4707460645054404, 0x4303420241014000);
    put_eights(_mm512_permutex2var_epi8(lo, by_turns, hi), g, &u[0]);
    put_eights(_mm512_permutex2var_epi8(lo, _mm512_add_epi8(by_turns, _mm512_set1_epi8(32)), hi), g, &u[1]);
}

/* lo, hi: bytes of the 64 points of four elements of a unit, four bits an element. */
static ALWAYS_INLINE void put_fours(__m512i lo, __m512i hi, const struct iq_grid *g, struct sixteens *u) {
    uint64_t levels;
    memcpy(&levels, g->level, 8);
    const __m512i level = _mm512_set1_epi64((int64_t)levels);
    /* To each qword s the words of points 8 s, 8 s + 1, 8 s + 4, 8 s + 5. */
    const __m512i first = _mm512_set_epi64(
        0x7d3d7c3c79397838, 0x7535743471317030, 0x6d2d6c2c69296828, 0x6525642461216020,
        0x5d1d5c1c59195818, 0x5515541451115010, 0x4d0d4c0c49094808, 0x4505440441014000);
    const __m512i two = _mm512_set1_epi8(2);
    const __m512i words[2] = {
        _mm512_permutex2var_epi8(lo, first, hi), _mm512_permutex2var_epi8(lo, _mm512_add_epi8(first, two), hi),
    };
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) {
        const __m512i at = _mm512_set1_epi64(0x2c2824200c080400 + 0x1010101010101010 * (v & 1));
        u->q[v] = _mm512_permutexvar_epi8(_mm512_multishift_epi64_epi8(at, words[v / 2]), level);
    }
}

/* Entry i, more where the index has a ninth and a tenth bit. */
static ALWAYS_INLINE __m512i look_up1024(const uint8_t *table, __m512i i, __mmask64 ninth, __mmask64 tenth) {
    return _mm512_mask_mov_epi8(look_up512(table, i, ninth), tenth, look_up512(table + 512, i, ninth));
}

/* --- Signs --- */

/* a, b: in each lane l, over and over, the signs of eights 2 l and 2 l + 1. The lower four and the upper four of an
 * eight may come from different vectors. */
static ALWAYS_INLINE void put_minus(__m512i a_low, __m512i a_high, __m512i b_low, __m512i b_high, struct sixteens *u) {
    const __m512i low = fours(0x08040201), high = fours(0x80402010);
    u->minus[0] = _mm512_test_epi8_mask(a_low, low);
    u->minus[1] = _mm512_test_epi8_mask(a_high, high);
    u->minus[2] = _mm512_test_epi8_mask(b_low, low);
    u->minus[3] = _mm512_test_epi8_mask(b_high, high);
}

/* 32 bytes of signs, in the order of the eights. */
static ALWAYS_INLINE void take_signs(const uint8_t *signs, struct sixteens *u) {
    const __m512i a_at = _mm512_mullo_epi32(
        _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), _mm512_set1_epi32(0x02020202));
    const __m512i s = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)signs));
    const __m512i a = _mm512_permutexvar_epi8(a_at, s);
    const __m512i b = _mm512_permutexvar_epi8(_mm512_add_epi8(a_at, _mm512_set1_epi8(1)), s);
    put_minus(a, a, b, b, u);
}

/* Seven signs and, on top, the one that makes the number of minus signs even; odd: whether those above x are odd. */
#define EVEN2(x, odd) (x) | (odd) << 7, ((x) + 1) | !(odd) << 7
#define EVEN8(x, odd) EVEN2(x, odd), EVEN2((x) + 2, !(odd)), EVEN2((x) + 4, !(odd)), EVEN2((x) + 6, odd)
#define EVEN32(x, odd) EVEN8(x, odd), EVEN8((x) + 8, !(odd)), EVEN8((x) + 16, !(odd)), EVEN8((x) + 24, odd)
static const uint8_t even_signs_table[128] ALIGNED(64) = { EVEN32(0, 0), EVEN32(32, 1), EVEN32(64, 1), EVEN32(96, 0) };

/* All eight of the seven signs in the lower bits of each byte; the upper bit is any. */
static ALWAYS_INLINE __m512i even_signs64(__m512i seven) {
    return _mm512_permutex2var_epi8(_mm512_load_si512(even_signs_table), seven,
                                    _mm512_load_si512(even_signs_table + 64));
}

/* Seven signs each, of the eights that lane 2 s has from bits a0 and b0 of each qword s on, lane 2 s + 1 from a1 and
 * b1. */
static ALWAYS_INLINE void take_sevens(__m512i words, int a0, int a1, int b0, int b1, struct sixteens *u) {
    const int64_t each = 0x01010101;
    const __m512i a = _mm512_multishift_epi64_epi8(_mm512_set1_epi64(each * a0 + (each * a1 << 32)), words);
    const __m512i b = _mm512_multishift_epi64_epi8(_mm512_set1_epi64(each * b0 + (each * b1 << 32)), words);
    put_minus(a, even_signs64(a), b, even_signs64(b), u);
}

/* --- Scales --- */

/* d times entry n of 16; n is the four bits from bit `at` of each qword on, another one for each lane of the qword. */
static ALWAYS_INLINE __m512 scales_at(const uint8_t *d, __m512 table, __m512i words, __m512i at) {
    return _mm512_mul_ps(half_to_all_stored(d), _mm512_permutexvar_ps(_mm512_multishift_epi64_epi8(at, words), table));
}

/* (first + n * step) of n = 0 .. 15. */
static ALWAYS_INLINE __m512 levels16(float first, float step) {
    const __m512 n = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return _mm512_add_ps(_mm512_set1_ps(first), _mm512_mul_ps(n, _mm512_set1_ps(step)));
}

/* Of sixteen nibbles. */
static ALWAYS_INLINE __m512 scales_of_nibbles(const uint8_t *d, const uint8_t *nibbles) {
    const int64_t two = 0x400000000; /* 0 and 4 */
    int64_t n;
    memcpy(&n, nibbles, 8);
    return scales_at(d, levels16(0.125f, 0.25f), _mm512_set1_epi64(n),
                     _mm512_setr_epi64(two, two + 0x800000008, two + 0x1000000010, two + 0x1800000018,
                                       two + 0x2000000020, two + 0x2800000028, two + 0x3000000030,
                                       two + 0x3800000038));
}

/* --- The types, two units at a time, at b and next, where points are of eight elements --- */

static ALWAYS_INLINE void two_units_iq2_xxs(const uint8_t *b, const uint8_t *next, struct sixteens u[2]) {
    const __m512i words[2] = { load512(b + 2), load512(next + 2) };
    const __m512i points = _mm512_set_epi64(
        0x7b7a797873727170, 0x6b6a696863626160, 0x5b5a595853525150, 0x4b4a494843424140,
        0x3b3a393833323130, 0x2b2a292823222120, 0x1b1a191813121110, 0x0b0a090803020100);
    const __m512i i = _mm512_permutex2var_epi8(words[0], points, words[1]);
    put_two_units(look_up256(iq2_xxs_places[0], i), look_up256(iq2_xxs_places[1], i), &iq2_xxs_grid, u);
#pragma GCC unroll 2
    for (int n = 0; n < 2; n++) {
        take_sevens(words[n], 32, 46, 39, 53, &u[n]);
        u[n].scale = scales_at(n ? next : b, levels16(0.125f, 0.25f), words[n], _mm512_set1_epi32(60));
    }
}

static ALWAYS_INLINE void two_units_iq2_xs(const uint8_t *b, const uint8_t *next, struct sixteens u[2]) {
    const __m512i words[2] = { load512(b + 2), load512(next + 2) };
    const __m512i low = _mm512_set_epi64(
        0x7e7c7a7876747270, 0x6e6c6a6866646260, 0x5e5c5a5856545250, 0x4e4c4a4846444240,
        0x3e3c3a3836343230, 0x2e2c2a2826242220, 0x1e1c1a1816141210, 0x0e0c0a0806040200);
    const __m512i one = _mm512_set1_epi8(1), i = _mm512_permutex2var_epi8(words[0], low, words[1]);
    const __m512i high = _mm512_permutex2var_epi8(words[0], _mm512_add_epi8(low, one), words[1]);
    const __mmask64 ninth = _mm512_test_epi8_mask(high, one);
    put_two_units(look_up512(iq2_xs_places[0], i, ninth), look_up512(iq2_xs_places[1], i, ninth), &iq2_xs_grid, u);
#pragma GCC unroll 2
    for (int n = 0; n < 2; n++) {
        take_sevens(words[n], 9, 41, 25, 57, &u[n]);
        u[n].scale = scales_of_nibbles(n ? next : b, (n ? next : b) + 66);
    }
}

static ALWAYS_INLINE void two_units_iq2_s(const uint8_t *b, const uint8_t *next, struct sixteens u[2]) {
    const __m512i i = two_256(b + 2, next + 2);
    /* Two bits of each point, four in a byte, each byte four times. */
    const __m512i four_times = _mm512_mullo_epi32(
        _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), _mm512_set1_epi32(0x01010101));
    int64_t high0, high1;
    memcpy(&high0, b + 66, 8);
    memcpy(&high1, next + 66, 8);
    const __m512i high = _mm512_permutexvar_epi8(four_times, _mm512_castsi128_si512(_mm_set_epi64x(high1, high0)));
    const __mmask64 ninth = _mm512_test_epi8_mask(high, fours(0x40100401));
    const __mmask64 tenth = _mm512_test_epi8_mask(high, fours(0x80200802));
    put_two_units(look_up1024(iq2_s_places[0], i, ninth, tenth), look_up1024(iq2_s_places[1], i, ninth, tenth),
                  &iq2_s_grid, u);
#pragma GCC unroll 2
    for (int n = 0; n < 2; n++) {
        take_signs((n ? next : b) + 34, &u[n]);
        u[n].scale = scales_of_nibbles(n ? next : b, (n ? next : b) + 74);
    }
}

static ALWAYS_INLINE void rows_unpack_iq3_xxs(const uint8_t *b, struct sixteens *u) {
    const __m512i i = load512(b + 2), words = _mm512_cvtepu32_epi64(_mm256_loadu_si256((const __m256i *)(b + 66)));
    put_fours(look_up256(iq3_xxs_places[0], i), look_up256(iq3_xxs_places[1], i), &iq3_xxs_grid, u);
    take_sevens(words, 0, 14, 7, 21, u);
    u->scale = scales_at(b, levels16(0.25f, 0.5f), words, _mm512_set1_epi32(28));
}

static ALWAYS_INLINE void rows_unpack_iq3_s(const uint8_t *b, struct sixteens *u) {
    const __m512i i = load512(b + 2);
    uint64_t ninth;
    memcpy(&ninth, b + 66, 8);
    const __mmask64 high = _cvtu64_mask64(ninth);
    put_fours(look_up512(iq3_s_places[0], i, high), look_up512(iq3_s_places[1], i, high), &iq3_s_grid, u);
    take_signs(b + 74, u);
    u->scale = scales_at(b, levels16(1, 2), fours(load_u32(b + 106)),
                         _mm512_setr_epi32(0, 0, 4, 4, 8, 8, 12, 12, 16, 16, 20, 20, 24, 24, 28, 28));
}
#endif
