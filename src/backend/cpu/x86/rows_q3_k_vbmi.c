/* Rows of Q3_K times a few tokens of int8 activations, in AVX-512 VNNI and VBMI. Two codes of three bits fit the six
 * bits of an index: two pairs of bits and two third bits are brought to a byte and looked up in two tables, one for
 * each code. Scales are multiplied in integers, in the step that adds up the last sums, and never become floats. */
#include <immintrin.h>

#include "backend/cpu/x86/look_up_vbmi.h"
#include "backend/cpu/x86/row_sums_avx512.h"
#include "backend/cpu/x86/rows_loop.h"
#include "backend/cpu/x86/rows_units_vnni.h"

enum { SCALE_TIMES = 4 << 8 }; /* what q3_unit's scales are multiplied with */

/* Quarter i of a vector is 16 bytes of pairs, of sub-blocks i' to i' + 6, i' = 0, 1, 8, 9. Its lower half has sub-block
 * i' + 2 v in vector v, its upper one that of vector v ^ 2. */
struct q3_unit {
    __m512i q[4];
    __m512i scale;  /* twice in a lane, as words; lanes of a quarter are those of i', i' + 4, i' + 2, i' + 6 */
    __m512 d;
};

#define CODE(index, pair, third) (((index) >> (pair) & 3) | ((index) >> (third) & 1) << 2)
#define FIRST(index) CODE(index, 0, 4)
#define SECOND(index) CODE(index, 2, 5)

/* A nibble of the last 64 bytes has two pairs of bits. Bit g of byte l of the first 32 is the third bit of element
 * 32g + l: two of them are brought to bits 4 and 5, beside their pairs. */
static ALWAYS_INLINE void take_codes(const uint8_t *b, __m512i q[4]) {
    static const uint8_t first[64] ALIGNED(64) = { OF_64(FIRST, 0) }, second[64] ALIGNED(64) = { OF_64(SECOND, 0) };
    const __m512i low = _mm512_set1_epi8(15), even = _mm512_load_si512(first), odd = _mm512_load_si512(second);
    const __m512i pairs = load512(b + 32), t = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)b));
    __m512i index[2];
#pragma GCC unroll 2
    for (int n = 0; n < 2; n++) {
        const int a = 4 * n, c = 4 - a; /* where the nibbles of lower and upper halves begin */
        const __m512i nibble = _mm512_srlv_epi64(pairs, _mm512_setr_epi64(a, c, a, c, a, c, a, c));
        const int l = 4 - 2 * n, u = 2 + 2 * n;
        const __m512i thirds = _mm512_rolv_epi64(t, _mm512_setr_epi64(l, u, l, u, l - 4, u - 4, l - 4, u - 4));
        /* 0xca: first ? second : third, bit by bit */
        index[n] = _mm512_ternarylogic_epi64(low, nibble, thirds, 0xca);
    }
    __asm__("" : "+v"(index[0]), "+v"(index[1])); /* looking up begins behind: 2 % faster */
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) q[v] = _mm512_permutexvar_epi8(index[v / 2], v & 1 ? odd : even);
}

/* As q3_k_scales, but four times the scale in the upper byte of a word. */
static ALWAYS_INLINE __m512i take_scales(const uint8_t *b) {
#define QUARTER(s) 0, s, 0, s, 0, (s) + 4, 0, (s) + 4, 0, (s) + 2, 0, (s) + 2, 0, (s) + 6, 0, (s) + 6
    static const uint8_t upper[64] ALIGNED(64) = { QUARTER(0), QUARTER(1), QUARTER(8), QUARTER(9) };
    const uint64_t nibbles = 0x3c3c3c3c3c3c3c3c, pairs = 0xc0c0c0c0c0c0c0c0, minus_128 = 0x8080808080808080;
    const uint64_t high = load_u32(b + 104);
    uint64_t low;
    memcpy(&low, b + 96, 8);
    const uint64_t first = (low << 2 & nibbles) | ((high << 6 | high << 36) & pairs);
    const uint64_t second = (low >> 2 & nibbles) | ((high << 2 | high << 32) & pairs);
    const __m128i s = _mm_set_epi64x((int64_t)(second ^ minus_128), (int64_t)(first ^ minus_128));
    return _mm512_maskz_permutexvar_epi8(0xaaaaaaaaaaaaaaaa, _mm512_load_si512(upper), _mm512_castsi128_si512(s));
}

static ALWAYS_INLINE void unpack(const uint8_t *b, struct q3_unit *u) {
    take_codes(b, u->q);
    u->scale = take_scales(b);
    u->d = half_to_all(b + 108);
}

/* Sums of eight products, in the order of vector v's codes. */
static ALWAYS_INLINE __m512i eights(const struct q3_unit *w, const struct x_unit *x, int v) {
    __m512i sum = _mm512_dpbusd_epi32(_mm512_setzero_si512(), w->q[v + 2], _mm512_load_si512(x->q + 64 * (v + 2)));
    sum = _mm512_shuffle_epi32(sum, _MM_SHUFFLE(1, 0, 3, 2));
    return _mm512_dpbusd_epi32(sum, w->q[v], _mm512_load_si512(x->q + 64 * v));
}

static ALWAYS_INLINE void multiply(const struct q3_unit *w, const struct x_unit *x, const int none,
                                   const unsigned n_tok, struct row_sums *sums) {
    (void)none;
#pragma GCC unroll 4
    for (unsigned t = 0; t < n_tok; t++, x++) {
        __m512i sum = _mm512_dpwssd_epi32(_mm512_setzero_si512(), w->scale, _mm512_load_si512(x->corr));
        sum = _mm512_dpwssd_epi32(sum, w->scale, _mm512_packs_epi32(eights(w, x, 0), eights(w, x, 1)));
        __m512 scale = _mm512_mul_ps(w->d, _mm512_load_ps(x->scale));
        sums[t].a = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scale, sums[t].a);
    }
}

/* Corrections are words here, beside words of 0. */
void arrange_q3_k_vbmi(struct x_unit *x) {
    const struct x_unit old = *x;
    for (int i = 0; i < 4; i++) {
        const int first = 8 * (i >> 1) + (i & 1);
        for (int v = 0; v < 4; v++) {
            memcpy(x->q + 64 * v + 16 * i, old.q + 16 * (first + 2 * v), 8);
            memcpy(x->q + 64 * v + 16 * i + 8, old.q + 16 * (first + 2 * (v ^ 2)) + 8, 8);
            const int s = first + (v & 1) * 4 + (v & 2); /* of lane v */
            x->scale[4 * i + v] = old.scale[s] / SCALE_TIMES;
            x->corr[4 * i + v] = old.corr[s] & 0xffff;
        }
    }
}

ROWS_LOOP(q3_k, vbmi, q3_unit, unpack, multiply, 0)
