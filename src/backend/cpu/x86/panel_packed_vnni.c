/* Unpacking panels of 16 rows in AVX-512 from types that pack codes of 2 to 6 bits: bytes are interleaved as they are
 * stored, four of a row to a lane, and taken apart into codes afterwards, which is half the interleaving or less.
 * The types that gain nothing by it are in panel_vnni.c. */
#include <immintrin.h>

#include "backend/cpu/kern.h"
#include "backend/cpu/x86/rows_units_vnni.h"
#include "backend/cpu/x86/transpose_avx512.h"

/* One unit of each row. */
struct stored { const uint8_t *row[PANEL_ROWS]; };

/* --- Interleaving --- */

/* 64 bytes of each row: v[c] becomes bytes 4c .. 4c + 3 of all. */
static ALWAYS_INLINE void load_columns(const struct stored *s, size_t at, __m512i v[16]) {
#pragma GCC unroll 16
    for (int r = 0; r < 16; r++) v[r] = _mm512_loadu_si512(s->row[r] + at);
    transpose16(v);
}

/* 32 bytes of each row: v[c] becomes bytes 4c .. 4c + 3 of all. */
static ALWAYS_INLINE void load_columns8(const struct stored *s, size_t at, __m512i v[8]) {
#pragma GCC unroll 8
    for (int r = 0; r < 8; r++) v[r] = two_256(s->row[r] + at, s->row[r + 8] + at);
    transpose8x16(v);
}

/* 8 floats of each row. */
static ALWAYS_INLINE void put_scales8(__m256 rows[16], float out[][PANEL_ROWS]) {
    __m512i v[8];
#pragma GCC unroll 8
    for (int r = 0; r < 8; r++)
        v[r] = _mm512_castps_si512(_mm512_insertf32x8(_mm512_castps256_ps512(rows[r]), rows[r + 8], 1));
    transpose8x16(v);
#pragma GCC unroll 8
    for (int c = 0; c < 8; c++) _mm512_store_si512(out[c], v[c]);
}

/* 16 floats of each row, those of odd places to `odd`, if there is one. */
static ALWAYS_INLINE void put_scales16(__m512 rows[16], float out[][PANEL_ROWS], float (*odd)[PANEL_ROWS]) {
    __m512i v[16];
#pragma GCC unroll 16
    for (int r = 0; r < 16; r++) v[r] = _mm512_castps_si512(rows[r]);
    transpose16(v);
#pragma GCC unroll 16
    for (int c = 0; c < 16; c++) _mm512_store_si512(!odd ? out[c] : c & 1 ? odd[c / 2] : out[c / 2], v[c]);
}

static ALWAYS_INLINE void put(struct panel_unit *out, int four, __m512i codes) {
    _mm512_store_si512(out->q[four], codes);
}

/* --- Nibbles --- */

static ALWAYS_INLINE __m512i low_nibbles(__m512i v) { return _mm512_and_si512(v, _mm512_set1_epi8(15)); }
static ALWAYS_INLINE __m512i high_nibbles(__m512i v) { return low_nibbles(_mm512_srli_epi16(v, 4)); }

/* Columns of four blocks of 16 bytes, from block `block` on: high nibbles are 16 elements after the low ones. */
static ALWAYS_INLINE void put_blocks(const __m512i v[16], int block, const bool levels, struct panel_unit *out) {
#pragma GCC unroll 16
    for (int c = 0; c < 16; c++) {
        __m512i low = low_nibbles(v[c]), high = high_nibbles(v[c]);
        const int four = 8 * (block + c / 4) + c % 4;
        put(out, four, levels ? iq4_of(low) : low);
        put(out, four + 4, levels ? iq4_of(high) : high);
    }
}

/* Blocks of their own scales (and mins). */
static ALWAYS_INLINE void unpack_blocks(const struct stored *s, const struct block_words *at, const bool has_min,
                                        const bool levels, struct panel_unit *out) {
    __m512i a[16], b[16];
    __m512 pairs[16];
    __m256 scales[16];
#pragma GCC unroll 16
    for (int r = 0; r < 16; r++) {
        struct unit_words w = load_words(s->row[r], has_min ? 160 : 144);
        a[r] = words_a(&w, at);
        b[r] = words_b(&w, at);
        if (has_min) pairs[r] = pairs_of(&w, 5);
        else scales[r] = _mm512_castps512_ps256(scales_of(&w, 9));
    }
    transpose16(a);
    put_blocks(a, 0, levels, out);
    transpose16(b);
    put_blocks(b, 4, levels, out);
    if (has_min) put_scales16(pairs, out->scale, out->min);
    else put_scales8(scales, out->scale);
}

static ALWAYS_INLINE void unpack16_q4_0(const struct stored *s, struct panel_unit *out) {
    static const struct block_words at = BLOCK_WORDS(9, 1);
    unpack_blocks(s, &at, false, false, out);
}

static ALWAYS_INLINE void unpack16_iq4_nl(const struct stored *s, struct panel_unit *out) {
    static const struct block_words at = BLOCK_WORDS(9, 1);
    unpack_blocks(s, &at, false, true, out);
}

static ALWAYS_INLINE void unpack16_q4_1(const struct stored *s, struct panel_unit *out) {
    static const struct block_words at = BLOCK_WORDS(10, 2);
    unpack_blocks(s, &at, true, false, out);
}

static ALWAYS_INLINE void unpack16_iq4_xs(const struct stored *s, struct panel_unit *out) {
    __m512i v[16];
    __m256 scales[16];
#pragma GCC unroll 2
    for (int half = 0; half < 2; half++) {
        load_columns(s, 8 + 64 * half, v);
        put_blocks(v, 4 * half, true, out);
    }
#pragma GCC unroll 16
    for (int r = 0; r < 16; r++) scales[r] = _mm512_castps512_ps256(iq4_xs_scales(s->row[r]));
    put_scales8(scales, out->scale);
}

/* --- K types of 32 weights under a scale --- */

static ALWAYS_INLINE void put_k4_scales(const struct stored *s, struct panel_unit *out) {
    __m512 pairs[16];
#pragma GCC unroll 16
    for (int r = 0; r < 16; r++) pairs[r] = k4_pairs(s->row[r]);
    put_scales16(pairs, out->scale, out->min);
}

static ALWAYS_INLINE void unpack16_q4_k(const struct stored *s, struct panel_unit *out) {
    __m512i v[16];
#pragma GCC unroll 2
    for (int half = 0; half < 2; half++) {
        load_columns(s, 16 + 64 * half, v);
#pragma GCC unroll 16
        for (int c = 0; c < 16; c++) { /* high nibbles are 32 elements after the low ones */
            const int four = 32 * half + 16 * (c / 8) + c % 8;
            put(out, four, low_nibbles(v[c]));
            put(out, four + 8, high_nibbles(v[c]));
        }
    }
    put_k4_scales(s, out);
}

/* Adds bit `from` of each byte of v, at bit `to`, to the codes. */
static ALWAYS_INLINE __m512i with_bit(__m512i codes, __m512i v, const int from, const int to) {
    __m512i moved = from < to ? _mm512_slli_epi16(v, to - from) : _mm512_srli_epi16(v, from - to);
    /* 0xf8: first or (second and third), bit by bit */
    return _mm512_ternarylogic_epi64(codes, moved, _mm512_set1_epi8((char)(1 << to)), 0xf8);
}

static ALWAYS_INLINE void unpack16_q5_k(const struct stored *s, struct panel_unit *out) {
    __m512i v[16], bits[8];
    load_columns8(s, 16, bits);
#pragma GCC unroll 2
    for (int half = 0; half < 2; half++) {
        load_columns(s, 48 + 64 * half, v);
#pragma GCC unroll 16
        for (int c = 0; c < 16; c++) {
            const int group = 4 * half + 2 * (c / 8), four = 8 * group + c % 8;
            put(out, four, with_bit(low_nibbles(v[c]), bits[c % 8], group, 4));
            put(out, four + 8, with_bit(high_nibbles(v[c]), bits[c % 8], group + 1, 4));
        }
    }
    put_k4_scales(s, out);
}

/* --- Pairs of bits, K types of 16 weights under a scale --- */

static ALWAYS_INLINE __m512 scales_of_bytes(__m128i bytes, __m512 d) {
    return _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes)));
}

static ALWAYS_INLINE void unpack16_q6_k(const struct stored *s, struct panel_unit *out) {
    __m512i v[16], bits[16];
    __m512 scales[16];
    load_columns(s, 128, bits);
#pragma GCC unroll 2
    for (int half = 0; half < 2; half++) {
        load_columns(s, 64 * half, v);
#pragma GCC unroll 16
        for (int c = 0; c < 16; c++) { /* high nibbles are 64 elements after the low ones */
            const __m512i high = _mm512_set1_epi8(0x30);
            __m512i pair = bits[8 * half + c % 8];
            __m512i first = c < 8 ? _mm512_slli_epi16(pair, 4) : _mm512_slli_epi16(pair, 2);
            __m512i second = c < 8 ? pair : _mm512_srli_epi16(pair, 2);
            put(out, 32 * half + c, _mm512_ternarylogic_epi64(low_nibbles(v[c]), first, high, 0xf8));
            put(out, 32 * half + c + 16, _mm512_ternarylogic_epi64(high_nibbles(v[c]), second, high, 0xf8));
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < 16; r++) {
        const uint8_t *b = s->row[r];
        scales[r] = scales_of_bytes(_mm_loadu_si128((const __m128i *)(b + 192)), half_to_all(b + 208));
    }
    put_scales16(scales, out->scale, NULL);
}

static ALWAYS_INLINE __m512i pairs_at(__m512i v, const int bit) {
    return _mm512_and_si512(_mm512_srli_epi16(v, bit), _mm512_set1_epi8(3));
}

/* 64 bytes of pairs, at byte `at` of the unit. */
static ALWAYS_INLINE void put_pairs(const struct stored *s, size_t at, struct panel_unit *out) {
    __m512i v[16];
    load_columns(s, at, v);
#pragma GCC unroll 16
    for (int c = 0; c < 16; c++)
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++) put(out, 32 * (c / 8) + 8 * k + c % 8, pairs_at(v[c], 2 * k));
}

static ALWAYS_INLINE void unpack16_tq2_0(const struct stored *s, struct panel_unit *out) {
    uint16_t halves[PANEL_ROWS];
    put_pairs(s, 0, out);
#pragma GCC unroll 16
    for (int r = 0; r < PANEL_ROWS; r++) memcpy(&halves[r], s->row[r] + 64, 2);
    const __m512 scale = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)halves));
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) _mm512_store_ps(out->scale[g], scale);
}

static ALWAYS_INLINE void unpack16_q2_k(const struct stored *s, struct panel_unit *out) {
    __m512 scales[16], mins[16];
    put_pairs(s, 16, out);
#pragma GCC unroll 16
    for (int r = 0; r < 16; r++) {
        const uint8_t *b = s->row[r];
        const __m128i low = _mm_set1_epi8(15), bytes = _mm_loadu_si128((const __m128i *)b);
        scales[r] = scales_of_bytes(_mm_and_si128(bytes, low), half_to_all(b + 80));
        mins[r] = scales_of_bytes(_mm_and_si128(_mm_srli_epi16(bytes, 4), low),
                                  _mm512_xor_ps(half_to_all(b + 82), _mm512_set1_ps(-0.0f)));
    }
    put_scales16(scales, out->scale, NULL);
    put_scales16(mins, out->min, NULL);
}

static ALWAYS_INLINE void unpack16_q3_k(const struct stored *s, struct panel_unit *out) {
    __m512i v[16], bits[8];
    __m512 scales[16];
    load_columns8(s, 0, bits);
    load_columns(s, 32, v);
#pragma GCC unroll 16
    for (int c = 0; c < 16; c++)
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++) {
            const int group = 4 * (c / 8) + k;
            put(out, 8 * group + c % 8, with_bit(pairs_at(v[c], 2 * k), bits[c % 8], group, 2));
        }
#pragma GCC unroll 16
    for (int r = 0; r < 16; r++) {
        const uint8_t *b = s->row[r];
        scales[r] = scales_of_bytes(q3_k_scales(b), half_to_all(b + 108));
    }
    put_scales16(scales, out->scale, NULL);
}

/* --- The loop --- */

#define PANEL_KERNEL(codec)                                                                                            \
    void panel_##codec##_vnni(const struct panel_job *j) {                                                             \
        uint8_t copies[PANEL_ROWS][UNIT_BYTES_MAX];                                                                    \
        for (size_t i = 0; i < j->n_units; i++) {                                                                      \
            struct stored s;                                                                                           \
            for (unsigned r = 0; r < PANEL_ROWS; r++)                                                                  \
                s.row[r] = unit_at(j->rows[r], j->first + i, j->n_in, UNIT_BYTES_##codec, BLOCK_BYTES_##codec,         \
                                   copies[r]);                                                                         \
            unpack16_##codec(&s, &j->out[i]);                                                                          \
        }                                                                                                              \
    }

PANEL_KERNEL(q4_0)
PANEL_KERNEL(q4_1)
PANEL_KERNEL(iq4_nl)
PANEL_KERNEL(tq2_0)
PANEL_KERNEL(q2_k)
PANEL_KERNEL(q3_k)
PANEL_KERNEL(q4_k)
PANEL_KERNEL(q5_k)
PANEL_KERNEL(q6_k)
PANEL_KERNEL(iq4_xs)
