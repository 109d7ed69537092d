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

/* Where codes come from. */
enum lanes_source { LANES_Q4_K, LANES_BUFFER };

/* A unit is 64 fours of elements: pairs of sub-blocks p, the fours of one as steps i, A or B. */
struct lanes_type {
    struct int8_form form;
    enum lanes_source from;
    /* By the bits of 2 * (steps * p + i) + (0: A, 1: B), from low to high: how many fours of the unit one means, and
     * what it multiplies the code with, 0 for 1. */
    uint8_t fours[6], times[6];
};

static ALWAYS_INLINE unsigned lanes_steps(const struct lanes_type *type) { return type->form.sub / 4; }

/* What is taken out of a unit of weights: scales and mins of the pairs, A and B by turns, and codes where they cannot
 * be read in place. */
struct lanes_unit {
    uint8_t q[4][64];
    float scale[UNIT_SUBS], min[UNIT_SUBS];
} ALIGNED(64);

/* The activations of n tokens, 4 or 8, in the room of their units: each of the three for all tokens. */
struct lanes_x { int8_t *q; float *scale, *sum; };

static ALWAYS_INLINE struct lanes_x lanes_x(struct x_unit *x, const unsigned n) {
    int8_t *q = (int8_t *)x;
    float *scale = (float *)(void *)(q + n * UNIT);
    return (struct lanes_x){ q, scale, scale + n * UNIT_SUBS };
}

#define LANES_N 8
#include "backend/cpu/x86/lanes_loop.h"
#undef LANES_N
#define LANES_N 4
#include "backend/cpu/x86/lanes_loop.h"
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
    for (unsigned s = 0; s < UNIT / type->form.sub; s++) {
        const unsigned k = s / 2 * lanes_steps(type) * 2 + s % 2, from = 4 * four[k] / type->form.sub;
        for (unsigned t = 0; t < n; t++) {
            const unsigned to = 2 * (s / 2 * n + t) + s % 2;
            const int32_t corr = in[t].corr[from] * times[k];
            out.scale[to] = in[t].scale[from] / times[k];
            if (type->form.has_min) out.sum[to] = in[t].sum[from];
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

static ALWAYS_INLINE void put_q4_k(const uint8_t *b, struct lanes_unit *out) {
    struct unit512 u;
    k4_scales(b, &u);
    _mm256_store_ps(out->scale, _mm512_castps512_ps256(u.scale));
    _mm256_store_ps(out->min, _mm512_castps512_ps256(u.min));
    in_memory(out);
}
LANES(q4_k, { { 32, 0, true }, LANES_Q4_K, { 8, 1, 2, 4, 16, 32 }, { 16 } })
