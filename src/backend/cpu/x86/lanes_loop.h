#ifndef BACKEND_CPU_X86_LANES_LOOP_H
#define BACKEND_CPU_X86_LANES_LOOP_H
/* What the lanes kernels of all registers share: the order of activations and the loop over rows and units.
 *
 * A unit is 64 fours of elements, taken from two places A and B of it by turns: pairs of sub-blocks, or of halves of
 * one, p; the fours of one as steps i; A or B. Four rows at a time share each load of activations. A token's sums are
 * made in the same order whether it is one of 8 or of 4. */
#include "backend/cpu/kern.h"
#include "backend/cpu/unit.h"
#include "backend/cpu/x86/fetch.h"

enum { LANES_ROWS = 4 };

struct lanes_order {
    struct int8_form form;
    /* By the bits of 2 * (steps * p + i) + (0: A, 1: B), from low to high: how many fours of the unit one means, and
     * what it multiplies the code with, 0 for 1. */
    uint8_t fours[6], times[6];
    bool one_sub; /* A and B are in one sub-block of 32; for types without mins */
    bool apart;   /* of 8 tokens A and B are vectors of their own; otherwise a token's are neighbours */
};

static ALWAYS_INLINE unsigned lanes_steps(const struct lanes_order *order) {
    return order->one_sub ? 4 : order->form.sub / 4;
}

/* The activations of n tokens, 4 or 8, in the room of their units: each of the three for all tokens. */
struct lanes_x { int8_t *q; float *scale, *sum; };

static ALWAYS_INLINE struct lanes_x lanes_x(struct x_unit *x, const unsigned n) {
    int8_t *q = (int8_t *)x;
    float *scale = (float *)(void *)(q + n * UNIT);
    return (struct lanes_x){ q, scale, scale + n * UNIT_SUBS };
}

/* Tokens t .. t + 7 of n, or the last four. */
static ALWAYS_INLINE bool is_eight(unsigned t, unsigned n) { return t + 4 < n; }

/* --- Activations --- */

/* Where number k of token t of n goes. */
static ALWAYS_INLINE unsigned lane_of(const struct lanes_order *order, unsigned k, unsigned t, const unsigned n) {
    return order->apart && n == 8 ? k * n + t : 2 * (k / 2 * n + t) + k % 2;
}

static ALWAYS_INLINE void turn(struct x_unit *x, const unsigned n, const struct lanes_order *order) {
    const unsigned steps = lanes_steps(order);
    struct x_unit in[8];
    uint8_t four[64] = { 0 }, times[64] = { 1 };
    const struct lanes_x out = lanes_x(x, n);
    memcpy(in, x, n * sizeof *x);
    for (unsigned b = 0; b < 6; b++)
        for (unsigned k = 0; k < 1u << b; k++) {
            four[k + (1u << b)] = four[k] + order->fours[b];
            times[k + (1u << b)] = times[k] * (order->times[b] ? order->times[b] : 1);
        }
    for (unsigned k = 0; k < 64; k++)
        for (unsigned t = 0; t < n; t++) memcpy(out.q + 4 * lane_of(order, k, t, n), in[t].q + 4 * four[k], 4);
    for (unsigned s = 0; s < 64 / steps; s++) {
        const unsigned k = s / 2 * steps * 2 + s % 2, from = 4 * four[k] / order->form.sub;
        for (unsigned t = 0; t < n; t++) {
            const unsigned to = lane_of(order, s, t, n);
            out.scale[to] = in[t].scale[from] / (float)times[k];
            const int32_t corr = in[t].corr[from] * times[k];
            if (order->form.has_min) out.sum[to] = in[t].sum[from];
            else memcpy(&out.sum[to], &corr, sizeof corr);
        }
    }
}

/* Fills up to whole fours with tokens of zeros. */
static ALWAYS_INLINE void turn_all(struct x_unit *x, unsigned n_tok, const struct lanes_order *order) {
    const unsigned n = round_up(n_tok, LANES_TURN);
    memset(x + n_tok, 0, (n - n_tok) * sizeof *x);
    for (unsigned t = 0; t < n; t += 8) {
        if (is_eight(t, n)) turn(x + t, 8, order);
        else turn(x + t, 4, order);
    }
}

/* --- The loop --- */

/* Row r of four, `step` from where w is; where put_CODEC takes two units, with the row before it. */
#define LANES_PUT1(codec, w, step, u, r) put_##codec((w)[r] + (step), &(u)[r])
#define LANES_PUT2(codec, w, step, u, r)                                                                               \
    if ((r) % 2) put_##codec((w)[(r)-1] + (step), (w)[r] + (step), &(u)[(r)-1])

/* The file that expands it has the arithmetic: struct lanes_unit, CODEC_type with its order, the sums of a row, and for
 * n tokens multiply##n, for two pairs, and store##n. per: units that put_CODEC takes, 1 or 2. LANES_TIMES hands on how
 * many times two pairs are multiplied: if it hides the number that is a loop, otherwise it is unrolled and a pair's
 * number is a constant.
 *
 * put_CODEC takes the next unit apart while the current one is multiplied: a row after each pair or two. After the last
 * unit of four rows the next is the first of the four rows that follow, if there are four. */
#define LANES_LOOP(per, codec, n, sum)                                                                                 \
    struct codec##_walk##n {                                                                                           \
        struct lanes_unit u[2][LANES_ROWS]; /* the one in work and the next */                                         \
        unsigned now;                       /* which is in work */                                                     \
        bool ready;                         /* it has been taken apart */                                              \
        size_t ahead, jump; /* to what is fetched; from the rows' last units to what comes next, 0: nothing */         \
    };                                                                                                                 \
    static NOINLINE void codec##_span##n(struct codec##_walk##n *walk, const uint8_t *const rows[LANES_ROWS],          \
                                         size_t n_units, const struct x_unit *x, size_t x_step,                        \
                                         sum sums[LANES_ROWS]) {                                                       \
        const unsigned twos = 16 / lanes_steps(&codec##_type.order), each = LANES_ROWS / twos;                         \
        const uint8_t *w[LANES_ROWS] = { rows[0], rows[1], rows[2], rows[3] };                                         \
        sum s[LANES_ROWS] = { sums[0], sums[1], sums[2], sums[3] };                                                    \
        const size_t ahead = walk->ahead, jump = walk->jump;                                                           \
        unsigned now = walk->now;                                                                                      \
        for (int r = 0; !walk->ready && r < LANES_ROWS; r++) LANES_PUT##per(codec, w, 0, walk->u[now], r);             \
        for (; n_units; n_units--, x += x_step, now ^= 1) {                                                            \
            const size_t step = n_units > 1 ? UNIT_BYTES_##codec : jump;                                               \
            _Pragma("GCC unroll 4") for (size_t i = 0; i < LANES_TIMES(twos); i++) {                                   \
                multiply##n(&codec##_type, w, walk->u[now], x, 2 * i, s);                                              \
                _Pragma("GCC unroll 2") for (size_t r = i * each; r < (i + 1) * each; r++) {                           \
                    fetch_lines(w[r] + ahead, UNIT_BYTES_##codec);                                                     \
                    LANES_PUT##per(codec, w, step, walk->u[now ^ 1], r);                                               \
                }                                                                                                      \
            }                                                                                                          \
            _Pragma("GCC unroll 4") for (int r = 0; r < LANES_ROWS; r++) w[r] += step;                                 \
        }                                                                                                              \
        walk->now = now;                                                                                               \
        walk->ready = jump != 0;                                                                                       \
        for (int r = 0; r < LANES_ROWS; r++) sums[r] = s[r];                                                           \
    }                                                                                                                  \
    static void codec##_lanes##n(const struct rows_job *j, unsigned t) {                                               \
        const size_t whole = j->n_in / UNIT, left = j->n_in % UNIT;                                                    \
        const size_t x_step = round_up(j->n_tok, LANES_TURN);                                                          \
        struct codec##_walk##n walk;                                                                                   \
        walk.now = 0;                                                                                                  \
        walk.ready = false;                                                                                            \
        walk.ahead = round_up(div_up(FETCH_AHEAD, j->row_bytes), LANES_ROWS) * j->row_bytes;                           \
        for (size_t row = 0; row < j->n_rows; row += LANES_ROWS) {                                                     \
            const struct x_unit *x = (const struct x_unit *)j->x + t;                                                  \
            const uint8_t *w[LANES_ROWS];                                                                              \
            sum s[LANES_ROWS] = { 0 };                                                                                 \
            for (size_t r = 0; r < LANES_ROWS; r++) w[r] = j->w + min_u64(row + r, j->n_rows - 1) * j->row_bytes;      \
            walk.jump = !left && row + 2 * LANES_ROWS <= j->n_rows                                                     \
                            ? LANES_ROWS * j->row_bytes - (whole - 1) * UNIT_BYTES_##codec : 0;                        \
            if (whole) codec##_span##n(&walk, w, whole, x, x_step, s);                                                 \
            if (left) {                                                                                                \
                uint8_t copy[LANES_ROWS][UNIT_BYTES_MAX];                                                              \
                for (size_t r = 0; r < LANES_ROWS; r++)                                                                \
                    w[r] = padded_unit(w[r] + whole * UNIT_BYTES_##codec, left, BLOCK_BYTES_##codec, copy[r]);         \
                codec##_span##n(&walk, w, 1, x + whole * x_step, x_step, s);                                           \
            }                                                                                                          \
            store##n(j, row, t, s);                                                                                    \
        }                                                                                                              \
    }
#endif
