/* Rows of the types whose nibbles name levels (IQ4_XS, IQ4_NL, MXFP4) times a few tokens of int8 activations, in
 * AVX-512 VNNI and VBMI. Levels, with the offset of the codes, are looked up by permuting bytes, which looks at six
 * bits of each: nibbles are looked up where they are, whatever stands above them. Two lanes of all four vectors of a
 * unit have elements of one sub-block of 32, so that dpbusd adds them up: one sum a unit to float. */
#include <immintrin.h>

#include "backend/cpu/x86/rows_loop.h"
#include "backend/cpu/x86/rows_units_vnni.h"

/* Quarter i of vectors has 8 of a unit's bytes of block i and 8 of block 4 + i: the first 8 of a block in vectors 0, 1,
 * the others in 2, 3; low nibbles in vectors 0, 2, high ones in 1, 3. */
struct levels512 {
    __m512i q[4];
    __m256 scale;  /* of blocks 0, 2, 4, 6, 1, 3, 5, 7 */
};

struct row_sums { __m512 sum; };

static ALWAYS_INLINE void row_clear(struct row_sums *s) { s->sum = _mm512_setzero_ps(); }

static ALWAYS_INLINE float row_total(const struct row_sums *s) { return _mm512_reduce_add_ps(s->sum); }

static ALWAYS_INLINE void multiply(const struct levels512 *w, const struct x_unit *x, const int offset,
                                   const unsigned n_tok, struct row_sums *sums) {
    (void)offset;
    const __m512i block = _mm512_setr_epi32(0, 0, 2, 2, 4, 4, 6, 6, 1, 1, 3, 3, 5, 5, 7, 7);
#pragma GCC unroll 4
    for (unsigned t = 0; t < n_tok; t++, x++) {
        __m512i sum = _mm512_load_si512(x->corr);
#pragma GCC unroll 4
        for (int v = 0; v < 4; v++) sum = _mm512_dpbusd_epi32(sum, w->q[v], _mm512_load_si512(x->q + 64 * v));
        __m512 scale = _mm512_castps256_ps512(_mm256_mul_ps(w->scale, _mm256_load_ps(x->scale)));
        scale = _mm512_permutexvar_ps(block, scale);
        sums[t].sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scale, sums[t].sum);
    }
}

/* times: what the weights' scales are multiplied with. */
static inline void arrange(struct x_unit *x, const int offset, const float times) {
    const struct x_unit old = *x;
    for (int s = 0; s < 8; s++) x->scale[s / 2 + 4 * (s & 1)] = old.scale[s] / times;
    for (int l = 0; l < 16; l++) {
        const int block = l / 4 + 2 * (l & 2), eight = 4 * (l & 1);
        int sum = 0;
        for (int v = 0; v < 4; v++) {
            int8_t *q = x->q + 64 * v + 4 * l;
            memcpy(q, old.q + 32 * block + 16 * (v & 1) + 8 * (v >> 1) + eight, 4);
            sum += q[0] + q[1] + q[2] + q[3];
        }
        x->corr[l] = -offset * sum;
    }
}

/* first, second: the first 8 bytes of nibbles of all blocks, and the others; levels: the same 16 in each quarter. */
static ALWAYS_INLINE void put_levels(__m512i first, __m512i second, __m512i levels, struct levels512 *u) {
    u->q[0] = _mm512_permutexvar_epi8(first, levels);
    u->q[1] = _mm512_permutexvar_epi8(_mm512_srli_epi16(first, 4), levels);
    u->q[2] = _mm512_permutexvar_epi8(second, levels);
    u->q[3] = _mm512_permutexvar_epi8(_mm512_srli_epi16(second, 4), levels);
}

/* Four times the scales, as signed bytes: their low nibbles, even ones in the lower nibbles of four bytes, odd ones in
 * the upper, below their upper pairs, which are two bytes, in order. Put together in words outside of the vector
 * registers, whose operations are what rows kernels lack. */
static ALWAYS_INLINE __m256 xs_scales(const uint8_t *b) {
    const uint64_t nibbles = 0x3c3c3c3c3c3c3c3c, pairs = 0xc0c0c0c0c0c0c0c0, minus_128 = 0x8080808080808080;
    uint64_t low = load_u32(b + 4), high = load_u16(b + 2);
    high = (high | high << 8) & 0x00ff00ff;
    high = (high | high << 4) & 0x0f0f0f0f; /* the pairs of an even and an odd scale to a byte */
    const uint64_t s = (((low << 2 | low << 30) & nibbles) | ((high << 6 | high << 36) & pairs)) ^ minus_128;
    const __m256i each = _mm256_cvtepi8_epi32(_mm_cvtsi64_si128((int64_t)s));
    return _mm256_mul_ps(_mm512_castps512_ps256(half_to_all(b)), _mm256_cvtepi32_ps(each));
}

static ALWAYS_INLINE void unpack_xs(const uint8_t *b, struct levels512 *u) {
    const __m512i v0 = load512(b + 8), v1 = load512(b + 72);
    put_levels(_mm512_unpacklo_epi64(v0, v1), _mm512_unpackhi_epi64(v0, v1), iq4_levels_in_quarters(), u);
    u->scale = xs_scales(b);
}

static ALWAYS_INLINE void unpack_nl(const uint8_t *b, struct levels512 *u) {
    /* Words 9i + 1 .. 9i + 4 of both halves of the unit. */
    const __m512i at = _mm512_set_epi16(
        63, 62, 61, 60, 31, 30, 29, 28, 54, 53, 52, 51, 22, 21, 20, 19,
        45, 44, 43, 42, 13, 12, 11, 10, 36, 35, 34, 33, 4, 3, 2, 1);
    const __m512i scales = _mm512_castsi128_si512(_mm_setr_epi16(0, 18, 32, 50, 9, 27, 41, 59));
    const __m512i v0 = load512(b), v1 = load512(b + 72);
    put_levels(_mm512_permutex2var_epi16(v0, at, v1), _mm512_permutex2var_epi16(load512(b + 8), at, load512(b + 80)),
               iq4_levels_in_quarters(), u);
    u->scale = _mm256_cvtph_ps(_mm512_castsi512_si128(_mm512_permutex2var_epi16(v0, scales, v1)));
}

/* Powers of two, as mxfp4_scale: its two cases are the larger ones of both, as numbers with sign. */
static ALWAYS_INLINE __m256 powers(__m256i top_bytes) {
    const __m256i e = _mm256_srli_epi32(top_bytes, 1);
    const __m256i tiny = _mm256_add_epi32(_mm256_srli_epi32(e, 2), _mm256_set1_epi32(0x00200000));
    return _mm256_castsi256_ps(_mm256_max_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1 << 23)), tiny));
}

static ALWAYS_INLINE void unpack_mxfp4(const uint8_t *b, struct levels512 *u) {
    const __m512i levels = _mm512_broadcast_i32x4(
        _mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0));
    /* Bytes 17g + 1 .. 17g + 8. */
    const __m512i at = _mm512_set_epi64(
        0x7f7e7d7c7b7a7978, 0x3b3a393837363534, 0x6e6d6c6b6a696867, 0x2a29282726252423,
        0x5d5c5b5a59585756, 0x1918171615141312, 0x4c4b4a4948474645, 0x0807060504030201);
    const __m512i exponents = _mm512_castsi256_si512(_mm256_setr_epi32(
        0, 34 << 24, 68 << 24, 102 << 24, 17 << 24, 51 << 24, 85 << 24, 119 << 24));
    const __m512i v0 = load512(b), v1 = load512(b + 64);
    put_levels(_mm512_permutex2var_epi8(v0, at, v1), _mm512_permutex2var_epi8(load512(b + 8), at, load512(b + 72)),
               levels, u);
    u->scale = powers(_mm512_castsi512_si256(_mm512_maskz_permutex2var_epi8(0x88888888, v0, exponents, v1)));
}

#define ROWS(codec, unpack, offset, times)                                                                             \
    void arrange_##codec##_vbmi(struct x_unit *x) { arrange(x, offset, times); }                                       \
    ROWS_LOOP(codec, vbmi, levels512, unpack, multiply, offset)

ROWS(iq4_nl, unpack_nl, 128, 1)
ROWS(iq4_xs, unpack_xs, 128, 4)
ROWS(mxfp4, unpack_mxfp4, 12, 1)
