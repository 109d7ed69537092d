#ifndef BACKEND_CPU_MATMUL_IMPL_H
#define BACKEND_CPU_MATMUL_IMPL_H
/* Inside of cpu_matmul: what products with one matrix (cpu_matmul.c) and with several (cpu_matmul_id.c) share. */
#include "backend/cpu/cpu_matmul.h"
#include "base/num.h"

enum { FEW_TOKENS_FLOAT = 8 }; /* up to here rows of weights are multiplied as they come, beyond in panels */

/* Which kernels a product in int8 takes, by its tokens. */
enum matmul_way { BY_ROWS, BY_LANES, BY_PANELS };
enum matmul_way cpu_matmul_way(const struct kern *k, enum qtype type, size_t n_tok);

/* A product at work: what the loops share. */
struct matmul_run {
    const struct kern *k;
    const struct matmul *m;
    const struct int8_form *form;
    const struct qtype_info *info;
    enum matmul_way way;   /* in int8 */
    bool pairs;            /* of BF16 in the place of floats, in panels and tiles */
    size_t n_units;        /* of a row */
    struct x_unit *x8;     /* tiles of [n_units][tokens of the tile] */
    float *xf;             /* tiles of [n_in][TILE_TOKENS], or of half as many with pairs */
    uint8_t *slots;        /* one for each thread */
    size_t slot_bytes;
};

static inline size_t units_of(size_t n_in) { return div_up(n_in, UNIT); }

static inline const uint8_t *weight_row(const struct matmul *m, size_t row) {
    return (const uint8_t *)m->w + row * m->row_bytes;
}

static inline const float *x_row(const struct matmul *m, size_t t) {
    return m->x + (m->pick ? m->pick[t] / m->share : t) * m->x_stride;
}

/* Bytes of a slot, multiples of 64: a chunk of a panel of codes; or the larger of a decoded row and a panel with
 * the decoded rows that it is packed from. */
size_t cpu_matmul_int8_slot(void);
size_t cpu_matmul_float_slot(size_t n_in);
/* Whether many tokens of a float product are multiplied as pairs of BF16. */
bool cpu_matmul_takes_pairs(const struct kern *k, const struct matmul *m, bool exact);
/* Packs the activations of tile `tile` of TILE_TOKENS tokens to its place in xf. */
void cpu_matmul_pack_tile(const struct matmul_run *a, size_t tile);
/* Rows of a piece of work for the two functions on rows. */
size_t cpu_matmul_grain(const struct matmul *m);

/* The loops, for pool_run with a struct matmul_run. cpu_matmul_round rounds tokens begin .. end - 1 to their places in
 * x8, cpu_matmul_turn units begin .. end - 1 of all tokens for lanes kernels, whose tokens are filled up to a multiple
 * of LANES_TURN. The others make the results of rows begin .. end - 1, bias included. */
pool_body cpu_matmul_round, cpu_matmul_turn;
/* By rows or by lanes: x8 holds one tile of all tokens, or is NULL and the floats are read in place. */
pool_body cpu_matmul_rows;
/* The same in float for types whose rows are decoded first. */
pool_body cpu_matmul_decoded_rows;
/* Many tokens, at most PANEL_ROWS rows of codes or F32_ROWS of floats. */
pool_body cpu_matmul_panels, cpu_matmul_floats;
#endif
