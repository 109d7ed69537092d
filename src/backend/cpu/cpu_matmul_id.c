/* Owns: products with several matrices. The slots of a batch are sorted by matrix, their activations are prepared in
 * that order, and the pieces of all matrices are handed out in one go. Promises and leaves to others what cpu_matmul.c
 * does, whose loops it runs for each matrix. */
#include <assert.h>
#include <string.h>

#include "backend/cpu/cpu_matmul.h"
#include "backend/cpu/cpu_matmul_impl.h"

/* The slots that one matrix is multiplied with: n from `begin` on in the order of the matrices; tile, x: how many tiles
 * to prepare come before theirs, and how many rounded tokens. */
struct group { uint32_t matrix, begin, n, tile, x; };

/* Where things lie in the scratch, in bytes; slots are those of the threads. */
struct id_layout { uint64_t order, groups, x, slots, all; };

/* What the loop bodies share; one.m is the product with one matrix, copied and filled in for each. */
struct id_run {
    struct matmul_run one;
    const struct matmul_id *m;
    uint32_t *order;       /* (n_slot) slots, by matrix */
    struct group *groups;  /* (n_groups) */
    size_t n_groups, grain, pieces; /* pieces of `grain` rows: of a matrix */
    bool int8;
};

/* Returns the size, UINT64_MAX if it is beyond all memory. Behind the order of the slots there is a word for each
 * matrix. */
static uint64_t id_layout(const struct matmul_id *m, bool int8, unsigned n_threads, struct id_layout *l) {
    const uint64_t n_in = m->each.n_in, groups = min_u64(m->n_mat, m->n_slot);
    const uint64_t most_tiles = m->n_slot / TILE_TOKENS + groups;
    uint64_t x_bytes;
    const uint64_t filled = m->n_slot + (LANES_TURN - 1) * groups; /* as lanes kernels want each matrix's slots */
    bool fits = int8 ? mul_u64(filled, units_of(n_in) * sizeof(struct x_unit), &x_bytes)
                     : mul_u64(most_tiles * TILE_TOKENS, n_in * sizeof(float), &x_bytes);
    if (!fits || x_bytes > INT64_MAX || m->n_slot > INT32_MAX || m->n_mat > INT32_MAX) return UINT64_MAX;
    l->order = 0;
    l->groups = l->order + round_up((m->n_slot + m->n_mat) * sizeof(uint32_t), 64);
    l->x = l->groups + round_up(groups * sizeof(struct group), 64);
    l->slots = l->x + round_up(x_bytes, 64);
    return l->all = l->slots + n_threads * (int8 ? cpu_matmul_int8_slot() : cpu_matmul_float_slot(n_in));
}

uint64_t cpu_matmul_id_scratch(const struct matmul_id *m, unsigned n_threads, bool exact) {
    struct id_layout l;
    const uint64_t as_float = id_layout(m, false, n_threads, &l);
    if (exact || !int8_form(m->each.type)->sub) return as_float;
    return max_u64(as_float, id_layout(m, true, n_threads, &l));
}

static size_t matrix_of(const struct matmul_id *m, size_t slot) {
    assert(!m->ids || (m->ids[slot] >= 0 && (size_t)m->ids[slot] < m->n_mat));
    return m->ids ? (size_t)m->ids[slot] : slot % m->n_mat;
}

static enum matmul_way way_of(const struct id_run *a, size_t n) {
    if (a->int8) return cpu_matmul_way(a->one.k, a->m->each.type, n);
    return n <= FEW_TOKENS_FLOAT ? BY_ROWS : BY_PANELS;
}

/* Tiles of a group of n slots that are prepared apart; for lanes all of it is one. */
static size_t n_tiles(const struct id_run *a, size_t n) {
    return way_of(a, n) == BY_LANES ? 1 : div_up(n, TILE_TOKENS);
}

/* Sorts the slots by matrix, slots of one matrix in their order, and lists the matrices that have any. */
static void group_slots(struct id_run *a) {
    const struct matmul_id *m = a->m;
    uint32_t *next = a->order + m->n_slot; /* (n_mat): how many name each, then where the next of them goes */
    struct group g = { 0 };
    memset(next, 0, m->n_mat * sizeof *next);
    for (size_t i = 0; i < m->n_slot; i++) next[matrix_of(m, i)]++;
    for (size_t i = 0; i < m->n_mat; i++) {
        g.matrix = (uint32_t)i;
        g.n = next[i];
        next[i] = g.begin;
        if (g.n) a->groups[a->n_groups++] = g;
        g.begin += g.n;
        g.tile += (uint32_t)n_tiles(a, g.n);
        g.x += (uint32_t)round_up(g.n, way_of(a, g.n) == BY_LANES ? LANES_TURN : 1);
    }
    for (size_t i = 0; i < m->n_slot; i++) a->order[next[matrix_of(m, i)]++] = (uint32_t)i;
}

/* The product with a group's matrix. */
static struct matmul product_of(const struct id_run *a, const struct group *g) {
    struct matmul m = a->m->each;
    m.w = a->m->apart ? a->m->apart[g->matrix] : weight_row(&m, g->matrix * m.n_out);
    m.n_tok = g->n;
    m.pick = a->order + g->begin;
    if (m.bias) m.bias += g->matrix * m.n_out;
    return m;
}

/* The run of that product, with the group's activations. */
static struct matmul_run run_of(const struct id_run *a, const struct group *g, const struct matmul *m) {
    struct matmul_run one = a->one;
    one.m = m;
    one.way = way_of(a, g->n);
    if (a->int8) one.x8 += g->x * one.n_units;
    else one.xf += g->tile * TILE_TOKENS * m->n_in;
    return one;
}

/* Brings tile `tile` of a group of floats into one place: rows behind each other for the rows kernels, else packed. */
static void gather_tile(const struct matmul_run *one, size_t tile, bool few) {
    const struct matmul *m = one->m;
    const size_t t = tile * TILE_TOKENS, n = min_u64(m->n_tok - t, TILE_TOKENS);
    float *to = one->xf + t * m->n_in;
    if (!few) cpu_matmul_pack_tile(one, tile);
    for (size_t i = 0; few && i < n; i++) memcpy(to + i * m->n_in, x_row(m, t + i), m->n_in * sizeof *to);
}

/* The last group that begins at this tile or before. */
static const struct group *group_of_tile(const struct id_run *a, size_t tile) {
    size_t low = 0, high = a->n_groups;
    while (high - low > 1) {
        const size_t middle = (low + high) / 2;
        if (a->groups[middle].tile <= tile) low = middle;
        else high = middle;
    }
    return &a->groups[low];
}

/* Tiles of all groups: rounded, turned or gathered. */
static void id_prepare(void *arg, size_t begin, size_t end, unsigned thread) {
    const struct id_run *a = arg;
    for (size_t i = begin; i < end; i++) {
        const struct group *g = group_of_tile(a, i);
        const struct matmul m = product_of(a, g);
        struct matmul_run one = run_of(a, g, &m);
        const size_t tile = i - g->tile, t = tile * TILE_TOKENS;
        if (!a->int8) gather_tile(&one, tile, one.way == BY_ROWS);
        else if (one.way == BY_LANES) cpu_matmul_turn(&one, 0, one.n_units, thread);
        else cpu_matmul_round(&one, t, min_u64(t + TILE_TOKENS, m.n_tok), thread);
    }
}

/* Pieces of all matrices. */
static void id_multiply(void *arg, size_t begin, size_t end, unsigned thread) {
    const struct id_run *a = arg;
    for (size_t i = begin; i < end; i++) {
        const struct group *g = &a->groups[i / a->pieces];
        const size_t first = i % a->pieces * a->grain, last = min_u64(first + a->grain, a->m->each.n_out);
        struct matmul m = product_of(a, g);
        struct matmul_run one = run_of(a, g, &m);
        if (one.way != BY_PANELS) {
            if (!a->int8) m.x = one.xf, m.x_stride = m.n_in;
            (a->int8 || qtype_is_float(m.type) ? cpu_matmul_rows : cpu_matmul_decoded_rows)(&one, first, last, thread);
            continue;
        }
        const size_t rows = a->int8 ? PANEL_ROWS : F32_ROWS;
        for (size_t r = first; r < last; r += rows)
            (a->int8 ? cpu_matmul_panels : cpu_matmul_floats)(&one, r, min_u64(r + rows, last), thread);
    }
}

void cpu_matmul_id(const struct kern *k, struct pool *pool, const struct matmul_id *m, void *scratch, bool exact) {
    const struct matmul *each = &m->each;
    uint8_t *at = scratch;
    struct id_layout l = { 0 };
    struct id_run a = { .m = m, .int8 = !exact && cpu_matmul_is_int8(k, each->type) };
    a.one = (struct matmul_run){
        .k = k, .form = int8_form(each->type), .info = qtype_info(each->type), .n_units = units_of(each->n_in),
        .pairs = cpu_matmul_takes_pairs(k, each, exact),
    };
    id_layout(m, a.int8, pool_size(pool), &l); /* fits, or compile would have failed */
    a.order = (uint32_t *)(void *)(at + l.order);
    a.groups = (struct group *)(void *)(at + l.groups);
    if (a.int8) a.one.x8 = (struct x_unit *)(void *)(at + l.x);
    else a.one.xf = (float *)(void *)(at + l.x);
    a.one.slots = at + l.slots;
    a.one.slot_bytes = a.int8 ? cpu_matmul_int8_slot() : cpu_matmul_float_slot(each->n_in);
    group_slots(&a);
    a.grain = round_up(cpu_matmul_grain(each), F32_ROWS);
    a.pieces = div_up(each->n_out, a.grain);
    const struct group *last = &a.groups[a.n_groups - 1];
    pool_run(pool, last->tile + n_tiles(&a, last->n), 1, id_prepare, &a);
    pool_run(pool, a.n_groups * a.pieces, 1, id_multiply, &a);
}
