#ifndef BACKEND_CPU_X86_ROWS_UNITS_VNNI_H
#define BACKEND_CPU_X86_ROWS_UNITS_VNNI_H
/* Taking units of stored weights apart for the rows kernels in AVX-512: into the order that costs least, which the
 * activations are brought to (rows_vnni.c). A granule is 16 elements of a unit, a quarter of a vector. The panels need
 * the order of the elements: unpack_vnni.h. */
#include <immintrin.h>

#include "backend/cpu/x86/unpack_vnni.h"

/* A load that happens once: left alone, the compiler loads for each use, and a load across two lines costs two. */
static ALWAYS_INLINE __m512i load512(const uint8_t *p) {
    __m512i v = _mm512_loadu_si512(p);
    __asm__("" : "+v"(v));
    return v;
}

/* Words w .. w + 7, as indices into two vectors that hold 64 words from the unit's beginning. */
#define WORDS_A(w) (w), (w) + 1, (w) + 2, (w) + 3, (w) + 4, (w) + 5, (w) + 6, (w) + 7
/* The same in words 32 .. 63 and the last 32 of a unit of n words. */
#define WORD_B(w, n) ((w) < 64 ? (w) - 32 : (w) - (n) + 64)
#define WORDS_B(w, n)                                                                                                  \
    WORD_B(w, n), WORD_B((w) + 1, n), WORD_B((w) + 2, n), WORD_B((w) + 3, n), WORD_B((w) + 4, n), WORD_B((w) + 5, n),  \
        WORD_B((w) + 6, n), WORD_B((w) + 7, n)

/* The words of eight blocks of `step` words: 16 bytes of nibbles, from word `at` of a block on, fill a quarter of a
 * vector; blocks 0..3 make a, blocks 4..7 b. */
struct block_words { uint16_t a[32], b[32]; } ALIGNED(64);
#define BLOCK_WORDS(step, at)                                                                                          \
    {                                                                                                                  \
        { WORDS_A(at), WORDS_A(step + at), WORDS_A(2 * step + at), WORDS_A(3 * step + at) }, {                         \
            WORDS_B(4 * step + at, 8 * step), WORDS_B(5 * step + at, 8 * step), WORDS_B(6 * step + at, 8 * step),      \
                WORDS_B(7 * step + at, 8 * step)                                                                       \
        }                                                                                                              \
    }

/* A unit in three loads; the last two may overlap. */
struct unit_words { __m512i first, second, last; };

static ALWAYS_INLINE struct unit_words load_words(const uint8_t *b, size_t bytes) {
    return (struct unit_words){ load512(b), load512(b + 64), load512(b + bytes - 64) };
}

static ALWAYS_INLINE __m512i words_a(const struct unit_words *w, const struct block_words *at) {
    return _mm512_permutex2var_epi16(w->first, _mm512_load_si512(at->a), w->second);
}

static ALWAYS_INLINE __m512i words_b(const struct unit_words *w, const struct block_words *at) {
    return _mm512_permutex2var_epi16(w->second, _mm512_load_si512(at->b), w->last);
}

/* Low nibbles to q[0], high ones to q[1]. */
static ALWAYS_INLINE void split(__m512i v, __m512i q[2]) {
    const __m512i low = _mm512_set1_epi8(15);
    q[0] = _mm512_and_si512(v, low);
    q[1] = _mm512_and_si512(_mm512_srli_epi16(v, 4), low);
}

static ALWAYS_INLINE void split_blocks(const struct unit_words *w, const struct block_words *at, struct unit512 *u) {
    split(words_a(w, at), u->q);
    split(words_b(w, at), u->q + 2);
}

/* Word 0 of eight blocks of `step` words, as floats; words 0..63 reach it where 7 * step < 64. */
static ALWAYS_INLINE __m512 scales_of(const struct unit_words *w, const short step) {
    const __m128i blocks = _mm_setr_epi16(0, 1, 2, 3, 4, 5, 6, 7);
    const __m512i at = _mm512_castsi128_si512(_mm_mullo_epi16(blocks, _mm_set1_epi16(step)));
    __m512i h = _mm512_permutex2var_epi16(w->first, at, w->second);
    return _mm512_castps256_ps512(_mm256_cvtph_ps(_mm512_castsi512_si128(h)));
}

/* Dword 0 of eight blocks of `step` dwords: scale and min by turns. The last 16 of the 8 * step dwords reach the last
 * two blocks. */
static ALWAYS_INLINE __m512 pairs_of(const struct unit_words *w, const int step) {
    const int last = 16 - 8 * step;
    __m256i a = _mm512_castsi512_si256(_mm512_permutex2var_epi32(
        w->first, _mm512_castsi256_si512(_mm256_setr_epi32(0, step, 2 * step, 3 * step, 4 * step, 5 * step, 0, 0)),
        w->second));
    __m256i b = _mm512_castsi512_si256(_mm512_permutexvar_epi32(
        _mm512_castsi256_si512(_mm256_setr_epi32(0, 0, 0, 0, 0, 0, 6 * step + last, 7 * step + last)), w->last));
    return _mm512_cvtph_ps(_mm256_blend_epi32(a, b, 0xc0));
}

static ALWAYS_INLINE void rows_unpack_q4_0(const uint8_t *b, struct unit512 *u) {
    static const struct block_words at = BLOCK_WORDS(9, 1);
    struct unit_words w = load_words(b, 144);
    split_blocks(&w, &at, u);
    u->scale = scales_of(&w, 9);
}

static ALWAYS_INLINE void rows_unpack_iq4_nl(const uint8_t *b, struct unit512 *u) {
    rows_unpack_q4_0(b, u);
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) u->q[v] = iq4_of(u->q[v]);
}

static ALWAYS_INLINE void rows_unpack_q4_1(const uint8_t *b, struct unit512 *u) {
    static const struct block_words at = BLOCK_WORDS(10, 2);
    struct unit_words w = load_words(b, 160);
    split_blocks(&w, &at, u);
    u->scale = pairs_of(&w, 5);
}

/* Adds the fifth bits of four blocks; each quarter of `high` has a block's 32, first half of the quarter: the lower
 * 16 over and over, second half: the upper ones. */
static ALWAYS_INLINE void fifth_bits(__m512i high, __m512i q[2]) {
    const __m512i low8 = _mm512_broadcast_i32x4(_mm_set_epi64x(0x0101010101010101, 0));
    const __m512i high8 = _mm512_broadcast_i32x4(_mm_set_epi64x(0x0909090909090909, 0x0808080808080808));
    const __m512i bit = _mm512_set1_epi64((int64_t)0x8040201008040201ull);
    q[0] = fifth_bit(q[0], _mm512_test_epi8_mask(_mm512_shuffle_epi8(high, low8), bit));
    q[1] = fifth_bit(q[1], _mm512_test_epi8_mask(_mm512_shuffle_epi8(high, high8), bit));
}

/* One word four times, then the next one four times. */
#define TWICE_A(w) (w), (w), (w), (w), (w) + 1, (w) + 1, (w) + 1, (w) + 1
#define TWICE_B(w, n)                                                                                                  \
    WORD_B(w, n), WORD_B(w, n), WORD_B(w, n), WORD_B(w, n), WORD_B((w) + 1, n), WORD_B((w) + 1, n),                    \
        WORD_B((w) + 1, n), WORD_B((w) + 1, n)
#define BIT_WORDS(step, at)                                                                                            \
    {                                                                                                                  \
        { TWICE_A(at), TWICE_A(step + at), TWICE_A(2 * step + at), TWICE_A(3 * step + at) }, {                         \
            TWICE_B(4 * step + at, 8 * step), TWICE_B(5 * step + at, 8 * step), TWICE_B(6 * step + at, 8 * step),      \
                TWICE_B(7 * step + at, 8 * step)                                                                       \
        }                                                                                                              \
    }

static ALWAYS_INLINE void rows_unpack_q5_0(const uint8_t *b, struct unit512 *u) {
    static const struct block_words at = BLOCK_WORDS(11, 3), bits = BIT_WORDS(11, 1);
    struct unit_words w = load_words(b, 176);
    split_blocks(&w, &at, u);
    fifth_bits(words_a(&w, &bits), u->q);
    fifth_bits(words_b(&w, &bits), u->q + 2);
    u->scale = eight_halves(b, 22);
}

static ALWAYS_INLINE void rows_unpack_q5_1(const uint8_t *b, struct unit512 *u) {
    static const struct block_words at = BLOCK_WORDS(12, 4), bits = BIT_WORDS(12, 2);
    struct unit_words w = load_words(b, 192);
    split_blocks(&w, &at, u);
    fifth_bits(words_a(&w, &bits), u->q);
    fifth_bits(words_b(&w, &bits), u->q + 2);
    u->scale = pairs_of(&w, 6);
}

static ALWAYS_INLINE void rows_unpack_iq4_xs(const uint8_t *b, struct unit512 *u) {
    split(load512(b + 8), u->q);
    split(load512(b + 72), u->q + 2);
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) u->q[v] = iq4_of(u->q[v]);
    u->scale = iq4_xs_scales(b);
}

/* Scale 0, min 0, scale 1 ... of Q4_K and Q5_K; for the layout see k4_scales. The bits are put together outside of the
 * vector registers, whose operations are what the kernels lack: scales 0 to 3 and mins 0 to 3 to one word, the others
 * to another one. */
static ALWAYS_INLINE __m512 k4_pairs(const uint8_t *b) {
    const uint64_t nibbles = 0x0f0f0f0f0f0f0f0f, pairs = 0x3030303030303030;
    uint64_t six, four = load_u32(b + 12);
    memcpy(&six, b + 4, 8);
    const uint64_t low = six & (nibbles | pairs), high = ((four | four << 28) & nibbles) | (six >> 2 & pairs);
    const __m128i by_turns = _mm_setr_epi8(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15);
    __m128i both = _mm_shuffle_epi8(_mm_set_epi64x((int64_t)high, (int64_t)low), by_turns);
    __m128 d = _mm_xor_ps(_mm_cvtph_ps(_mm_loadu_si32(b)), _mm_setr_ps(0, -0.0f, 0, 0));
    __m512 dd = _mm512_castpd_ps(_mm512_broadcastsd_pd(_mm_castps_pd(d)));
    return _mm512_mul_ps(dd, _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(both)));
}

/* 128 bytes of nibbles as four vectors: quarter i of the first has the low nibbles of bytes 32i .. 32i + 15, of the
 * second those of the next 16; the other two have the high nibbles, left where they are: 16 times the code. */
static ALWAYS_INLINE void rows_unpack_q4_k(const uint8_t *b, struct unit512 *u) {
    const __m512i low = _mm512_set1_epi8(15), high = _mm512_set1_epi8((char)0xf0);
    __m512i v0 = load512(b + 16), v1 = load512(b + 80);
    __m512i first = _mm512_shuffle_i64x2(v0, v1, _MM_SHUFFLE(2, 0, 2, 0));
    __m512i second = _mm512_shuffle_i64x2(v0, v1, _MM_SHUFFLE(3, 1, 3, 1));
    u->q[0] = _mm512_and_si512(first, low);
    u->q[1] = _mm512_and_si512(second, low);
    u->q[2] = _mm512_and_si512(first, high);
    u->q[3] = _mm512_and_si512(second, high);
    u->scale = k4_pairs(b);
}

/* As Q4_K, but the codes of high nibbles are doubled. Bit g of byte l is the fifth bit of element 32g + l: a rotation
 * brings bits 2i and 2i + 1 of quarter i to 4 and 5. */
static ALWAYS_INLINE void rows_unpack_q5_k(const uint8_t *b, struct unit512 *u) {
    const __m512i low = _mm512_set1_epi8(15), high = _mm512_set1_epi8(0x1e);
    const __m512i code = _mm512_set1_epi8(31), twice = _mm512_set1_epi8(62);
    const __m512i turn = _mm512_setr_epi64(4, 4, 2, 2, 0, 0, 62, 62);
    __m512i v0 = load512(b + 48), v1 = load512(b + 112);
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
        __m512i n = h == 0 ? _mm512_shuffle_i64x2(v0, v1, _MM_SHUFFLE(2, 0, 2, 0))
                           : _mm512_shuffle_i64x2(v0, v1, _MM_SHUFFLE(3, 1, 3, 1));
        __m512i bits = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(b + 16 + 16 * h)));
        bits = _mm512_rolv_epi64(bits, turn);
        /* 0xca: first ? second : third, bit by bit */
        u->q[h] = _mm512_and_si512(_mm512_ternarylogic_epi64(low, n, bits, 0xca), code);
        u->q[2 + h] = _mm512_and_si512(_mm512_ternarylogic_epi64(high, _mm512_srli_epi16(n, 3), bits, 0xca), twice);
    }
    u->scale = k4_pairs(b);
}

/* Lane 4i + j of the results of types with 16 weights under a scale has quarter i of vector j. The sub-block of each
 * lane where the codes are in order ... */
#define SUBS_IN_ORDER 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15
/* ... and where pairs of their bits stand as in Q2_K. */
#define SUBS_OF_PAIRS 0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15

static ALWAYS_INLINE void rows_unpack_nvfp4(const uint8_t *b, struct unit512 *u) {
    nvfp4_codes(b, u);
    u->scale = nvfp4_scales(b, _mm_setr_epi8(SUBS_IN_ORDER));
}

static ALWAYS_INLINE void rows_unpack_q6_k(const uint8_t *b, struct unit512 *u) {
    unpack_q6_k(b, u);
    __m128i s = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(b + 192)), _mm_setr_epi8(SUBS_IN_ORDER));
    u->scale = _mm512_mul_ps(half_to_all(b + 208), _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(s)));
}

/* 64 bytes of pairs: byte l of either half has elements l, l + 32, l + 64, l + 96 of its half of the unit from its low
 * bits up, so that each quarter of the vector has the pairs of four sub-blocks of 16. Those of the sub-block in pair p
 * are gathered in lane p of the quarter: vector j has there those that stand in lane p + j. The codes are left in their
 * places: 1, 4, 16 or 64 times the code. */
static ALWAYS_INLINE void split_pairs(const uint8_t *b, struct unit512 *u) {
    const __m512i pair = _mm512_broadcast_i32x4(_mm_setr_epi32(0x03030303, 0x0c0c0c0c, 0x30303030, (int)0xc0c0c0c0));
    const __m512i v = load512(b);
    u->q[0] = _mm512_and_si512(v, pair);
    u->q[1] = _mm512_and_si512(_mm512_shuffle_epi32(v, _MM_SHUFFLE(0, 3, 2, 1)), pair);
    u->q[2] = _mm512_and_si512(_mm512_shuffle_epi32(v, _MM_SHUFFLE(1, 0, 3, 2)), pair);
    u->q[3] = _mm512_and_si512(_mm512_shuffle_epi32(v, _MM_SHUFFLE(2, 1, 0, 3)), pair);
}

static ALWAYS_INLINE void rows_unpack_tq2_0(const uint8_t *b, struct unit512 *u) {
    split_pairs(b, u);
    u->scale = half_to_all(b + 64);
}

static ALWAYS_INLINE void rows_unpack_q2_k(const uint8_t *b, struct unit512 *u) {
    split_pairs(b + 16, u);
    __m128i bytes = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)b), _mm_setr_epi8(SUBS_OF_PAIRS));
    __m512i s = _mm512_cvtepu8_epi32(bytes);
    float d[4];
    _mm_storeu_ps(d, _mm_xor_ps(_mm_cvtph_ps(_mm_loadu_si32(b + 80)), _mm_setr_ps(0, -0.0f, 0, 0)));
    __asm__("" : "+m"(d));
    const __m512 number = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    /* Looking up takes the low four bits. */
    u->scale = _mm512_mul_ps(_mm512_set1_ps(d[0]), _mm512_permutexvar_ps(s, number));
    u->min = _mm512_mul_ps(_mm512_set1_ps(d[1]), _mm512_cvtepi32_ps(_mm512_srli_epi32(s, 4)));
}

/* Pairs as in Q2_K, but vector j gets sub-blocks j of all quarters; the second and the fourth have 4 times the code.
 * Bit g of byte l of the first 32 is the third bit of element 32g + l, which vector g % 4 has. */
static ALWAYS_INLINE void rows_unpack_q3_k(const uint8_t *b, struct unit512 *u) {
    const __m512i pair = _mm512_set1_epi8(3), next = _mm512_set1_epi8(12);
    const __m512i third = _mm512_set1_epi8(4), third4 = _mm512_set1_epi8(16);
    __m512i v = load512(b + 32), high = _mm512_srli_epi16(v, 4);
    __m512i t = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)b));
    t = _mm512_srlv_epi64(t, _mm512_setr_epi64(0, 0, 0, 0, 4, 4, 4, 4));
    /* 0xf8: first or (second and third), bit by bit */
    u->q[0] = _mm512_ternarylogic_epi64(_mm512_and_si512(v, pair), _mm512_slli_epi16(t, 2), third, 0xf8);
    u->q[1] = _mm512_ternarylogic_epi64(_mm512_and_si512(v, next), _mm512_slli_epi16(t, 3), third4, 0xf8);
    u->q[2] = _mm512_ternarylogic_epi64(_mm512_and_si512(high, pair), t, third, 0xf8);
    u->q[3] = _mm512_ternarylogic_epi64(_mm512_and_si512(high, next), _mm512_slli_epi16(t, 1), third4, 0xf8);
    __m128i s = _mm_shuffle_epi8(q3_k_scales(b), _mm_setr_epi8(SUBS_OF_PAIRS));
    u->scale = _mm512_mul_ps(half_to_all(b + 108), _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(s)));
}
#endif
