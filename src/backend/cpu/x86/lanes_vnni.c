/* Rows of stored weights times several tokens of int8 activations, in AVX-512 VNNI: a lane is a token.
 *
 * Where the rows kernels have elements of one row in their lanes and the tiles have rows, a vector of activations here
 * has four elements of each of 8 tokens, from two places A and B of the unit (or of 4 tokens, in half a vector). The
 * codes of a row are broadcast to it, eight bytes, so that nothing is interleaved among rows; often they are masked out
 * of what is stored by the very instruction that broadcasts it. A and B are chosen so that this works, and in different
 * sub-blocks if possible, as each sum that becomes a float then is a whole one:
 *
 *   stored, Q4_K    | k..k+3: sub-block s in the low nibbles, s + 1 in the high ones |
 *   codes           | s k..k+3 | (s+1) k..k+3 | s k..k+3 | (s+1) k..k+3 | ...             mask 0f, f0, 0f, f0 ...
 *   activations     | token 0  | token 0      | token 1  | token 1      | ...             dpbusd
 *
 * Four rows at a time share each load of activations. A token's sums are made in the same order whether it is one of 8
 * or of 4. Activations are brought to their order once for all rows (turn). */
#include <immintrin.h>

#include "backend/cpu/x86/fetch.h"
#include "backend/cpu/x86/rows_units_vnni.h"

enum { LANES_ROWS = 4 };

/* Where codes come from: what is stored, or a buffer where they have been put with A and B by turns. */
enum lanes_source { LANES_Q4_K, LANES_Q4_0, LANES_Q4_1, LANES_Q8_0, LANES_Q2_K, LANES_BUFFER16, LANES_BUFFER32 };

/* A unit is 64 fours of elements: pairs of sub-blocks, or of halves of one, p; the fours of one as steps i; A or B. */
struct lanes_type {
    struct int8_form form;
    enum lanes_source from;
    bool one_sub;  /* A and B are in one sub-block of 32 */
    /* By the bits of 2 * (steps * p + i) + (0: A, 1: B), from low to high: how many fours of the unit one means, and
     * what it multiplies the code with, 0 for 1. */
    uint8_t fours[6], times[6];
};

static ALWAYS_INLINE unsigned lanes_steps(const struct lanes_type *type) {
    return type->one_sub ? 4 : type->form.sub / 4;
}

/* What is taken out of a unit of weights: scales and mins of the pairs, A and B by turns, and codes where they cannot
 * be read in place. */
struct lanes_unit {
    uint8_t q[4][64];
    float scale[2 * UNIT_SUBS]; /* mins behind the scales, if there are any */
} ALIGNED(64);

/* The activations of n tokens, 4 or 8, in the room of their units: each of the three for all tokens. */
struct lanes_x { int8_t *q; float *scale, *sum; };

static ALWAYS_INLINE struct lanes_x lanes_x(struct x_unit *x, const unsigned n) {
    int8_t *q = (int8_t *)x;
    float *scale = (float *)(void *)(q + n * UNIT);
    return (struct lanes_x){ q, scale, scale + n * UNIT_SUBS };
}

#define LANES_N 8
#include "backend/cpu/x86/lanes_loop.def"
#undef LANES_N
#define LANES_N 4
#include "backend/cpu/x86/lanes_loop.def"
#undef LANES_N

/* Tokens t .. t + 7 of n, or the last four. */
static ALWAYS_INLINE bool is_eight(unsigned t, unsigned n) { return t + 4 < n; }

/* --- Activations --- */

static ALWAYS_INLINE void turn(struct x_unit *x, const unsigned n, const struct lanes_type *type) {
    struct x_unit in[8];
    uint8_t four[64] = { 0 }, times[64] = { 1 };
    const struct lanes_x out = lanes_x(x, n);
    memcpy(in, x, n * sizeof *x);
    for (unsigned b = 0; b < 6; b++)
        for (unsigned k = 0; k < 1u << b; k++) {
            four[k + (1u << b)] = four[k] + type->fours[b];
            times[k + (1u << b)] = times[k] * (type->times[b] ? type->times[b] : 1);
        }
    for (unsigned k = 0; k < 64; k++)
        for (unsigned t = 0; t < n; t++) memcpy(out.q + 8 * (k / 2 * n + t) + 4 * (k % 2), in[t].q + 4 * four[k], 4);
    for (unsigned s = 0; s < 64 / lanes_steps(type); s++) {
        const unsigned k = s / 2 * lanes_steps(type) * 2 + s % 2, from = 4 * four[k] / type->form.sub;
        for (unsigned t = 0; t < n; t++) {
            const unsigned to = 2 * (s / 2 * n + t) + s % 2;
            const int32_t corr = in[t].corr[from] * times[k];
            out.scale[to] = in[t].scale[from] / (float)times[k];
            if (type->one_sub && s % 2) out.sum[to] = 0;
            else if (type->form.has_min) out.sum[to] = in[t].sum[from];
            else memcpy(&out.sum[to], &corr, sizeof corr);
        }
    }
}

/* Fills up to whole fours with tokens of zeros. */
static ALWAYS_INLINE void turn_all(struct x_unit *x, unsigned n_tok, const struct lanes_type *type) {
    const unsigned n = round_up(n_tok, 4);
    memset(x + n_tok, 0, (n - n_tok) * sizeof *x);
    for (unsigned t = 0; t < n; t += 8) {
        if (is_eight(t, n)) turn(x + t, 8, type);
        else turn(x + t, 4, type);
    }
}

/* --- The loop --- */

/* put_CODEC takes the next unit apart while the current one is multiplied: a row after each pair or two. */
#define LANES_LOOP(codec, n, sum)                                                                                      \
    static NOINLINE void codec##_span##n(const uint8_t *const rows[LANES_ROWS], size_t n_units,                        \
                                         const struct x_unit *x, size_t x_step, size_t ahead, sum sums[LANES_ROWS]) {  \
        const unsigned twos = 16 / lanes_steps(&codec##_type), each = LANES_ROWS / twos;                               \
        const uint8_t *w[LANES_ROWS] = { rows[0], rows[1], rows[2], rows[3] };                                         \
        sum s[LANES_ROWS] = { sums[0], sums[1], sums[2], sums[3] };                                                    \
        struct lanes_unit u[2][LANES_ROWS];                                                                            \
        for (int r = 0; r < LANES_ROWS; r++) put_##codec(w[r], &u[0][r]);                                              \
        for (unsigned now = 0; n_units; n_units--, x += x_step, now ^= 1) {                                            \
            const size_t step = n_units > 1 ? UNIT_BYTES_##codec : 0;                                                  \
            _Pragma("GCC unroll 4") for (unsigned i = 0; i < twos; i++) {                                              \
                multiply##n(&codec##_type, w, u[now], x, 2 * i, s);                                                    \
                _Pragma("GCC unroll 2") for (unsigned r = i * each; r < (i + 1) * each; r++) {                         \
                    fetch_lines(w[r] + ahead, UNIT_BYTES_##codec);                                                     \
                    put_##codec(w[r] + step, &u[now ^ 1][r]);                                                          \
                }                                                                                                      \
            }                                                                                                          \
            _Pragma("GCC unroll 4") for (int r = 0; r < LANES_ROWS; r++) w[r] += step;                                 \
        }                                                                                                              \
        for (int r = 0; r < LANES_ROWS; r++) sums[r] = s[r];                                                           \
    }                                                                                                                  \
    static void codec##_lanes##n(const struct rows_job *j, unsigned t) {                                               \
        const size_t whole = j->n_in / UNIT, x_step = round_up(j->n_tok, 4);                                           \
        const size_t ahead = round_up(div_up(FETCH_AHEAD, j->row_bytes), LANES_ROWS) * j->row_bytes;                   \
        for (size_t row = 0; row < j->n_rows; row += LANES_ROWS) {                                                     \
            const struct x_unit *x = (const struct x_unit *)j->x + t;                                                  \
            const uint8_t *w[LANES_ROWS];                                                                              \
            sum s[LANES_ROWS] = { { 0 } };                                                                             \
            for (size_t r = 0; r < LANES_ROWS; r++) w[r] = j->w + min_u64(row + r, j->n_rows - 1) * j->row_bytes;      \
            if (whole) codec##_span##n(w, whole, x, x_step, ahead, s);                                                 \
            if (whole * UNIT < j->n_in) {                                                                              \
                uint8_t copy[LANES_ROWS][UNIT_BYTES_MAX];                                                              \
                for (size_t r = 0; r < LANES_ROWS; r++)                                                                \
                    w[r] = padded_unit(w[r] + whole * UNIT_BYTES_##codec, j->n_in - whole * UNIT,                      \
                                       BLOCK_BYTES_##codec, copy[r]);                                                  \
                codec##_span##n(w, 1, x + whole * x_step, x_step, 0, s);                                               \
            }                                                                                                          \
            store##n(j, row, t, s);                                                                                    \
        }                                                                                                              \
    }

#define LANES(codec, ...)                                                                                              \
    static const struct lanes_type codec##_type = __VA_ARGS__;                                                         \
    LANES_LOOP(codec, 8, __m512)                                                                                       \
    LANES_LOOP(codec, 4, __m256)                                                                                       \
    void turn_##codec##_vnni(struct x_unit *x, unsigned n_tok) { turn_all(x, n_tok, &codec##_type); }                  \
    void lanes_##codec##_vnni(const struct rows_job *j) {                                                              \
        for (unsigned t = 0; t < j->n_tok; t += 8) {                                                                   \
            if (is_eight(t, j->n_tok)) codec##_lanes8(j, t);                                                           \
            else codec##_lanes4(j, t);                                                                                 \
        }                                                                                                              \
    }

/* --- The types --- */

/* The compiler would rather keep what is put in registers, and shuffle it from there. */
static ALWAYS_INLINE void in_memory(struct lanes_unit *u) { __asm__("" : "+m"(*u)); }

/* Scales of eight sub-blocks, or of eight and their mins. */
static ALWAYS_INLINE void put_scales(__m512 scale, struct lanes_unit *out) {
    _mm512_store_ps(out->scale, scale);
    in_memory(out);
}

/* Scales and mins by turns become scales, then mins. */
static ALWAYS_INLINE __m512 apart(__m512 pairs, const int a, const int b, const int c) {
    const __m512i at = _mm512_setr_epi32(0, a, b, a + b, c, a + c, b + c, a + b + c, 1, a + 1, b + 1, a + b + 1, c + 1,
                                         a + c + 1, b + c + 1, a + b + c + 1);
    return _mm512_permutexvar_ps(at, pairs);
}

/* A are the codes of vectors 0 and 1, B those of 2 and 3. */
static ALWAYS_INLINE void put_codes(const struct unit512 *u, struct lanes_unit *out) {
#pragma GCC unroll 2
    for (int v = 0; v < 2; v++) {
        _mm512_store_si512(out->q[2 * v], _mm512_unpacklo_epi32(u->q[v], u->q[v + 2]));
        _mm512_store_si512(out->q[2 * v + 1], _mm512_unpackhi_epi32(u->q[v], u->q[v + 2]));
    }
}

/* Sub-blocks p and p + 4 make a pair. */
static ALWAYS_INLINE void put_blocks(const struct unit512 *u, const bool has_min, struct lanes_unit *out) {
    const __m512i pairs = _mm512_castsi256_si512(_mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    put_codes(u, out);
    put_scales(has_min ? apart(u->scale, 8, 2, 4) : _mm512_permutexvar_ps(pairs, u->scale), out);
}

static ALWAYS_INLINE void put_q4_k(const uint8_t *b, struct lanes_unit *out) {
    struct unit512 u;
    k4_scales(b, &u);
    put_scales(u.scale, out);
}

static ALWAYS_INLINE void put_q5_k(const uint8_t *b, struct lanes_unit *out) {
    struct unit512 u;
    rows_unpack_q5_k(b, &u);
    put_codes(&u, out);
    k4_scales(b, &u);
    put_scales(u.scale, out);
}

static ALWAYS_INLINE void put_q4_0(const uint8_t *b, struct lanes_unit *out) {
    const struct unit_words w = load_words(b, 144);
    put_scales(scales_of(&w, 9), out);
}

static ALWAYS_INLINE void put_q4_1(const uint8_t *b, struct lanes_unit *out) {
    const struct unit_words w = load_words(b, 160);
    put_scales(apart(pairs_of(&w, 5), 2, 4, 8), out);
}

static ALWAYS_INLINE void put_q8_0(const uint8_t *b, struct lanes_unit *out) { put_scales(eight_halves(b, 34), out); }

#define PUT_BLOCKS(codec, has_min)                                                                                     \
    static ALWAYS_INLINE void put_##codec(const uint8_t *b, struct lanes_unit *out) {                                  \
        struct unit512 u;                                                                                              \
        rows_unpack_##codec(b, &u);                                                                                    \
        put_blocks(&u, has_min, out);                                                                                  \
    }
PUT_BLOCKS(q5_0, false)
PUT_BLOCKS(q5_1, true)
PUT_BLOCKS(iq4_nl, false)
PUT_BLOCKS(iq4_xs, false)

/* Scales of 16 sub-blocks, brought to their order by `at`, times d. */
static ALWAYS_INLINE __m512 scales16(__m128i bytes, __m128i at, __m512 d) {
    return _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_shuffle_epi8(bytes, at))));
}

static ALWAYS_INLINE void put_q2_k(const uint8_t *b, struct lanes_unit *out) {
    const __m128i at = _mm_setr_epi8(0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15), low = _mm_set1_epi8(15);
    const __m128i bytes = _mm_loadu_si128((const __m128i *)b);
    const __m512 minus = _mm512_set1_ps(-0.0f);
    _mm512_store_ps(out->scale, scales16(_mm_and_si128(bytes, low), at, half_to_all(b + 80)));
    _mm512_store_ps(out->scale + UNIT_SUBS, scales16(_mm_and_si128(_mm_srli_epi16(bytes, 4), low), at,
                                       _mm512_xor_ps(half_to_all(b + 82), minus)));
    in_memory(out);
}

static ALWAYS_INLINE void put_q3_k(const uint8_t *b, struct lanes_unit *out) {
    const __m128i at = _mm_setr_epi8(0, 4, 1, 5, 8, 12, 9, 13, 2, 6, 3, 7, 10, 14, 11, 15);
    struct unit512 u;
    rows_unpack_q3_k(b, &u);
    put_codes(&u, out);
    _mm512_store_ps(out->scale, scales16(q3_k_scales(b), at, half_to_all(b + 108)));
    in_memory(out);
}

static ALWAYS_INLINE void put_q6_k(const uint8_t *b, struct lanes_unit *out) {
    const __m128i at = _mm_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
    struct unit512 u;
    unpack_q6_k(b, &u);
    put_codes(&u, out);
    _mm512_store_ps(out->scale, scales16(_mm_loadu_si128((const __m128i *)(b + 192)), at, half_to_all(b + 208)));
    in_memory(out);
}

LANES(q4_k, { { 32, 0, true }, LANES_Q4_K, false, { 8, 1, 2, 4, 16, 32 }, { 16 } })
LANES(q5_k, { { 32, 0, true }, LANES_BUFFER32, false, { 8, 1, 2, 4, 16, 32 }, { 2 } })
LANES(q4_0, { { 32, 8, false }, LANES_Q4_0, true, { 4, 1, 2, 8, 16, 32 }, { 16 } })
LANES(q4_1, { { 32, 0, true }, LANES_Q4_1, true, { 4, 1, 2, 8, 16, 32 }, { 16 } })
LANES(q8_0, { { 32, 128, false }, LANES_Q8_0, true, { 1, 2, 4, 8, 16, 32 }, { 0 } })
LANES(q5_0, { { 32, 16, false }, LANES_BUFFER32, false, { 32, 1, 2, 4, 8, 16 }, { 0 } })
LANES(q5_1, { { 32, 0, true }, LANES_BUFFER32, false, { 32, 1, 2, 4, 8, 16 }, { 0 } })
LANES(iq4_nl, { { 32, 128, false }, LANES_BUFFER32, false, { 32, 1, 2, 4, 8, 16 }, { 0 } })
LANES(iq4_xs, { { 32, 128, false }, LANES_BUFFER32, false, { 32, 1, 2, 4, 8, 16 }, { 0 } })
LANES(q2_k, { { 16, 0, true }, LANES_Q2_K, false, { 8, 1, 2, 4, 16, 32 }, { 4, 0, 0, 0, 16 } })
LANES(q3_k, { { 16, 4, false }, LANES_BUFFER16, false, { 16, 1, 2, 4, 32, 8 }, { 0, 0, 0, 0, 0, 4 } })
LANES(q6_k, { { 16, 32, false }, LANES_BUFFER16, false, { 32, 1, 2, 4, 8, 16 }, { 0 } })
