/* Owns: the choice of the way a product is computed and the loops around the kernels. Promises: the same bits for any
 * number of threads, since work is cut by shape alone; no memory of its own. Leaves to others: the arithmetic
 * (kernels.def), the scratch (the device), the threads (base/pool.h), several matrices (cpu_matmul_id.c).
 *
 * Few tokens: each row of weights is read once and multiplied with all of them as it streams by; several at once have
 * kernels of their own (lanes), where the type has any. Many tokens: a panel of rows is unpacked into the second-level
 * cache, a chunk of the inner dimension at a time, and multiplied with tiles of TILE_TOKENS tokens. */
#include "backend/cpu/cpu_matmul.h"

#include <assert.h>
#include <string.h>

#include "backend/cpu/cpu_matmul_impl.h"

enum {
    /* Weights of a piece of work of the rows kernels: a stream long enough for the processor's own prefetching to pay,
     * short enough that a small matrix has work for several threads. */
    PIECE_MIN_BYTES = 1 << 16, PIECE_MAX_BYTES = 1 << 17, PIECES = 32,
    CHUNK_UNITS = 16,      /* units of a panel that are unpacked at once: 96 KiB, beside the tile in a 512 KiB cache */
    CHUNK_F32 = 512,       /* inner length of a float panel, in floats: 64 KiB */
    GATHER = 256,          /* floats of each token of a tile that are packed at once */
    EDGE_ROWS = 256,       /* results of a rows kernel that wait beside the matrix for their places */
};

bool cpu_matmul_is_int8(const struct kern *k, enum qtype type) {
    return int8_form(type)->sub && k->rows[type] && k->panel[type];
}

enum matmul_way cpu_matmul_way(const struct kern *k, enum qtype type, size_t n_tok) {
    if (n_tok <= LANES_TOKENS && k->lanes_tokens[type] >> n_tok & 1) return BY_LANES;
    return n_tok <= k->few_tokens[type] ? BY_ROWS : BY_PANELS;
}

size_t cpu_matmul_int8_slot(void) { return CHUNK_UNITS * sizeof(struct panel_unit); }

size_t cpu_matmul_float_slot(size_t n_in) {
    return round_up(max_u64(n_in, 2 * F32_ROWS * CHUNK_F32) * sizeof(float), 64);
}

size_t cpu_matmul_scratch(enum qtype type, size_t n_in, size_t n_tok, unsigned n_threads, bool exact) {
    size_t tokens = div_up(n_tok, TILE_TOKENS) * TILE_TOKENS;
    size_t as_float = tokens * n_in * sizeof(float) + n_threads * cpu_matmul_float_slot(n_in);
    if (exact || !int8_form(type)->sub) return as_float;
    const size_t unit = units_of(n_in) * sizeof(struct x_unit);
    const size_t few = MATMUL_GROUP * round_up(min_u64(n_tok, LANES_TOKENS), LANES_TURN) * unit;
    return max_u64(max_u64(as_float, few), n_tok * unit + n_threads * cpu_matmul_int8_slot());
}

static float *out_row(const struct matmul *m, size_t t) { return m->out + (m->pick ? m->pick[t] : t) * m->out_stride; }

static void add_bias(const struct matmul *m, size_t begin, size_t end) {
    for (size_t t = 0; m->bias && t < m->n_tok; t++) {
        float *out = out_row(m, t);
        for (size_t o = begin; o < end; o++) out[o] += m->bias[o];
    }
}

/* A tile's place: n_tok tokens from t on, n_rows rows from row on. Tiles at the matrix's lower edge, and those whose
 * tokens do not follow each other, are computed beside it. */
struct tile_place { const struct matmul *m; size_t t, n_tok, row, n_rows; };

static void copy_in(const struct tile_place *p, float *tile, size_t stride) {
    for (size_t i = 0; i < p->n_tok; i++)
        memcpy(tile + i * stride, out_row(p->m, p->t + i) + p->row, p->n_rows * sizeof *tile);
}

static void copy_out(const struct tile_place *p, const float *tile, size_t stride) {
    for (size_t i = 0; i < p->n_tok; i++)
        memcpy(out_row(p->m, p->t + i) + p->row, tile + i * stride, p->n_rows * sizeof *tile);
}

/* --- Few tokens --- */

size_t cpu_matmul_grain(const struct matmul *m) {
    uint64_t share = m->n_out * m->row_bytes / PIECES;
    uint64_t bytes = min_u64(max_u64(share, PIECE_MIN_BYTES), PIECE_MAX_BYTES);
    return round_up(bytes / max_u64(m->row_bytes, 1) + 1, 16);
}

/* Runs a rows kernel on tokens t .. of the rows from `row` on. */
static void run_rows(const struct matmul *m, rows_fn *kernel, struct rows_job *j, size_t t, size_t row) {
    if (!m->pick || j->n_tok == 1) {
        j->out = out_row(m, t) + row;
        j->out_stride = m->out_stride;
        kernel(j);
        return;
    }
    float edge[LANES_TOKENS * EDGE_ROWS]; /* rows kernels take fewer */
    struct rows_job part = *j;
    part.out = edge;
    part.out_stride = EDGE_ROWS;
    for (size_t r = 0; r < j->n_rows; r += EDGE_ROWS) {
        part.w = j->w + r * j->row_bytes;
        part.n_rows = min_u64(j->n_rows - r, EDGE_ROWS);
        kernel(&part);
        copy_out(&(struct tile_place){ m, t, j->n_tok, row + r, part.n_rows }, edge, EDGE_ROWS);
    }
}

void cpu_matmul_rows(void *arg, size_t begin, size_t end, unsigned thread) {
    const struct matmul_run *a = arg;
    const struct matmul *m = a->m;
    (void)thread;
    const size_t at_once = !a->x8 ? ROWS_F32_TOKENS : a->way == BY_LANES ? LANES_TOKENS : ROWS_TOKENS;
    for (size_t t = 0; t < m->n_tok; t += at_once) {
        struct rows_job j = {
            .w = weight_row(m, begin), .row_bytes = m->row_bytes, .n_rows = end - begin, .n_in = m->n_in,
            .x = a->x8 ? (const void *)(a->x8 + t * a->n_units) : m->x + t * m->x_stride, .x_stride = m->x_stride,
            .n_tok = (unsigned)min_u64(m->n_tok - t, at_once),
        };
        run_rows(m, a->way == BY_LANES ? a->k->lanes[m->type] : a->k->rows[m->type], &j, t, begin);
    }
    add_bias(m, begin, end);
}

void cpu_matmul_decoded_rows(void *arg, size_t begin, size_t end, unsigned thread) {
    const struct matmul_run *a = arg;
    const struct matmul *m = a->m;
    float *row = (float *)(a->slots + thread * a->slot_bytes);
    for (size_t o = begin; o < end; o++) {
        a->k->widen[m->type](weight_row(m, o), row, m->n_in);
        for (size_t t = 0; t < m->n_tok; t += ROWS_F32_TOKENS) {
            struct rows_job j = {
                .w = (const uint8_t *)row, .n_rows = 1, .n_in = m->n_in, .x = m->x + t * m->x_stride,
                .x_stride = m->x_stride, .n_tok = (unsigned)min_u64(m->n_tok - t, ROWS_F32_TOKENS),
            };
            run_rows(m, a->k->rows[QTYPE_F32], &j, t, o);
        }
    }
    add_bias(m, begin, end);
}

/* --- Many tokens, int8 --- */

void cpu_matmul_round(void *arg, size_t begin, size_t end, unsigned thread) {
    const struct matmul_run *a = arg;
    const struct matmul *m = a->m;
    arrange_fn *arrange = a->way == BY_ROWS ? a->k->arrange[m->type] : NULL;
    (void)thread;
    for (size_t t = begin; t < end; t++) {
        size_t first = t / TILE_TOKENS * TILE_TOKENS, width = min_u64(m->n_tok - first, TILE_TOKENS);
        struct x_unit *x = a->x8 + first * a->n_units + (t - first);
        for (size_t u = 0; u < a->n_units; u++, x += width) {
            a->k->round(x_row(m, t) + u * UNIT, min_u64(m->n_in - u * UNIT, UNIT), a->form, x);
            if (arrange) arrange(x);
        }
    }
}

void cpu_matmul_turn(void *arg, size_t begin, size_t end, unsigned thread) {
    const struct matmul_run *a = arg;
    const struct matmul *m = a->m;
    (void)thread;
    for (size_t u = begin; u < end; u++)
        for (size_t first = 0; first < m->n_tok; first += LANES_TOKENS) {
            const size_t n_tok = min_u64(m->n_tok - first, LANES_TOKENS), n = min_u64(m->n_in - u * UNIT, UNIT);
            struct x_unit *x = a->x8 + first * a->n_units + u * round_up(n_tok, LANES_TURN);
            for (size_t t = 0; t < n_tok; t++) a->k->round(x_row(m, first + t) + u * UNIT, n, a->form, x + t);
            a->k->turn[m->type](x, (unsigned)n_tok);
        }
}

/* What is unpacked after chunk p of the panel at `row`: the next chunk, or the first of the next panel. */
static struct fetch next_chunk(const struct matmul_run *a, const struct panel_job *p, size_t row) {
    const struct matmul *m = a->m;
    size_t unit = p->first + p->n_units, unit_bytes = UNIT / a->info->block_weights * a->info->block_bytes;
    if (unit == a->n_units) {
        unit = 0;
        row += PANEL_ROWS;
    }
    if (row >= m->n_out) return (struct fetch){ 0 };
    return (struct fetch){ weight_row(m, row) + unit * unit_bytes, m->row_bytes,
                           min_u64(a->n_units - unit, CHUNK_UNITS) * unit_bytes };
}

/* One chunk of a panel, already unpacked at w, times all tokens. */
static void panel_times_tokens(const struct matmul_run *a, const struct panel_unit *w, const struct panel_job *p,
                               size_t row, size_t n_rows) {
    const struct matmul *m = a->m;
    tile_fn *tile = a->form->sub == 16 ? a->k->tile16 : a->k->tile32;
    float edge[TILE_TOKENS * PANEL_ROWS];
    for (size_t t = 0; t < m->n_tok; t += TILE_TOKENS) {
        size_t n_tok = min_u64(m->n_tok - t, TILE_TOKENS);
        const struct tile_place at = { m, t, n_tok, row, n_rows };
        bool whole = n_rows == PANEL_ROWS && !m->pick;
        struct tile_job j = {
            .w = w, .x = a->x8 + t * a->n_units + p->first * n_tok, .n_units = p->n_units, .x_tokens = n_tok,
            .n_tok = (unsigned)n_tok, .form = a->form, .top = int8_top(m->type), .add = p->first > 0,
            .out = whole ? out_row(m, t) + row : edge, .out_stride = whole ? m->out_stride : PANEL_ROWS,
        };
        if (t == 0) j.fetch = next_chunk(a, p, row);
        if (!whole && j.add) copy_in(&at, edge, PANEL_ROWS);
        tile(&j);
        if (!whole) copy_out(&at, edge, PANEL_ROWS);
    }
}

void cpu_matmul_panels(void *arg, size_t begin, size_t end, unsigned thread) {
    const struct matmul_run *a = arg;
    const struct matmul *m = a->m;
    struct panel_unit *w = (struct panel_unit *)(a->slots + thread * a->slot_bytes);
    struct panel_job p = { .n_in = m->n_in, .out = w };
    for (size_t r = 0; r < PANEL_ROWS; r++) p.rows[r] = weight_row(m, min_u64(begin + r, end - 1));
    for (p.first = 0; p.first < a->n_units; p.first += CHUNK_UNITS) {
        p.n_units = min_u64(a->n_units - p.first, CHUNK_UNITS);
        a->k->panel[m->type](&p);
        panel_times_tokens(a, w, &p, begin, end - begin);
    }
    add_bias(m, begin, end);
}

/* --- Many tokens, float --- */

bool cpu_matmul_takes_pairs(const struct kern *k, const struct matmul *m, bool exact) {
    return !exact && k->tile_bf16 && m->type == QTYPE_BF16 && m->n_in % 2 == 0 && m->row_bytes % sizeof(float) == 0;
}

/* Weights, or activations, in the room of a float. */
static size_t in_float(const struct matmul_run *a) { return a->pairs ? 2 : 1; }

void cpu_matmul_pack_tile(const struct matmul_run *a, size_t tile) {
    const struct matmul *m = a->m;
    const size_t t = tile * TILE_TOKENS, n = min_u64(m->n_tok - t, TILE_TOKENS), each = in_float(a);
    float rows[TILE_TOKENS * GATHER];
    for (size_t k = 0; k < m->n_in; k += GATHER * each) {
        const size_t n_k = min_u64(m->n_in - k, GATHER * each);
        struct pack_f32_job j = {
            .rows = rows, .stride = GATHER, .n_rows = n, .n_k = n_k / each, .width = TILE_TOKENS,
            .out = a->xf + (t * m->n_in + k * TILE_TOKENS) / each,
        };
        for (size_t i = 0; i < n; i++)
            a->k->narrow[a->pairs ? QTYPE_BF16 : QTYPE_F32](x_row(m, t + i) + k, rows + i * GATHER, n_k);
        a->k->pack_f32(&j);
    }
}

static void pack_x_body(void *arg, size_t begin, size_t end, unsigned thread) {
    (void)thread;
    for (size_t tile = begin; tile < end; tile++) cpu_matmul_pack_tile(arg, tile);
}

/* Packs n weights from weight k on of each row, decoded unless they are taken in pairs. */
static void pack_rows(const struct matmul_run *a, size_t row, size_t n_rows, size_t k, size_t n, float *panel) {
    const struct matmul *m = a->m;
    float *decoded = panel + F32_ROWS * CHUNK_F32;
    size_t at = k / a->info->block_weights * a->info->block_bytes;
    struct pack_f32_job j = {
        .rows = decoded, .stride = CHUNK_F32, .n_rows = n_rows, .n_k = n / in_float(a), .width = F32_ROWS, .out = panel,
    };
    if (a->pairs) {
        j.rows = (const float *)(const void *)(weight_row(m, row) + at);
        j.stride = m->row_bytes / sizeof(float);
    } else {
        for (size_t r = 0; r < n_rows; r++)
            a->k->widen[m->type](weight_row(m, row + r) + at, decoded + r * CHUNK_F32, n);
    }
    a->k->pack_f32(&j);
}

void cpu_matmul_floats(void *arg, size_t begin, size_t end, unsigned thread) {
    const struct matmul_run *a = arg;
    const struct matmul *m = a->m;
    float *panel = (float *)(a->slots + thread * a->slot_bytes), edge[TILE_TOKENS * F32_ROWS];
    bool whole = end - begin == F32_ROWS && !m->pick;
    const size_t each = in_float(a);
    for (size_t k = 0; k < m->n_in; k += CHUNK_F32 * each) {
        size_t n_k = min_u64(m->n_in - k, CHUNK_F32 * each);
        pack_rows(a, begin, end - begin, k, n_k, panel);
        for (size_t t = 0; t < m->n_tok; t += TILE_TOKENS) {
            const struct tile_place at = { m, t, min_u64(m->n_tok - t, TILE_TOKENS), begin, end - begin };
            struct f32_tile_job j = {
                .w = panel, .x = a->xf + (t * m->n_in + k * TILE_TOKENS) / each, .n_k = n_k / each,
                .n_tok = (unsigned)at.n_tok, .add = k > 0,
                .out = whole ? out_row(m, t) + begin : edge, .out_stride = whole ? m->out_stride : F32_ROWS,
            };
            if (!whole && j.add) copy_in(&at, edge, F32_ROWS);
            (a->pairs ? a->k->tile_bf16 : a->k->tile_f32)(&j);
            if (!whole) copy_out(&at, edge, F32_ROWS);
        }
    }
    add_bias(m, begin, end);
}

/* --- The choice --- */

/* Products with few tokens as one loop over the pieces of all. */
struct few {
    struct matmul_run one[MATMUL_GROUP];
    size_t grain[MATMUL_GROUP], first[MATMUL_GROUP + 1]; /* rows of a piece; the first piece of each */
};

static void few_body(void *arg, size_t begin, size_t end, unsigned thread) {
    struct few *f = arg;
    size_t i = 0;
    for (size_t piece = begin; piece < end; piece++) {
        while (piece >= f->first[i + 1]) i++;
        size_t row = (piece - f->first[i]) * f->grain[i];
        cpu_matmul_rows(&f->one[i], row, min_u64(row + f->grain[i], f->one[i].m->n_out), thread);
    }
}

/* Whether both kernels want their activations alike. */
static bool same_x(const struct matmul_run *a, const struct matmul_run *b) {
    const struct kern *k = a->k;
    const enum qtype s = a->m->type, t = b->m->type;
    return !memcmp(a->form, b->form, sizeof *a->form) && a->way == b->way &&
           (a->way == BY_LANES ? k->turn[s] == k->turn[t] : k->arrange[s] == k->arrange[t]);
}

/* The activations of product i: those of one before it, or rounded to scratch, which is moved on. */
static void prepare_few(struct few *f, size_t i, struct pool *pool, struct x_unit **scratch) {
    struct matmul_run *a = &f->one[i];
    for (size_t j = 0; j < i && !a->x8; j++)
        if (same_x(a, &f->one[j])) a->x8 = f->one[j].x8;
    if (a->x8) return;
    a->x8 = *scratch;
    *scratch += round_up(a->m->n_tok, LANES_TURN) * a->n_units;
    if (a->way == BY_LANES) pool_run(pool, a->n_units, 1, cpu_matmul_turn, a);
    else cpu_matmul_round(a, 0, a->m->n_tok, 0);
}

static struct matmul_run run_of(const struct kern *k, const struct matmul *m) {
    struct matmul_run a = {
        .k = k, .m = m, .form = int8_form(m->type), .info = qtype_info(m->type), .n_units = units_of(m->n_in),
        .way = cpu_matmul_way(k, m->type, m->n_tok),
    };
    assert(a.info && m->n_in % a.info->block_weights == 0);
    return a;
}

static void run_few(const struct kern *k, struct pool *pool, const struct matmul *m, size_t n, void *scratch) {
    struct few f = { 0 };
    struct x_unit *x = scratch;
    for (size_t i = 0; i < n; i++) {
        f.one[i] = run_of(k, &m[i]);
        f.grain[i] = cpu_matmul_grain(&m[i]);
        f.first[i + 1] = f.first[i] + div_up(m[i].n_out, f.grain[i]);
        prepare_few(&f, i, pool, &x);
    }
    pool_run(pool, f.first[n], 1, few_body, &f);
}

static void run_int8(struct matmul_run *a, struct pool *pool, uint8_t *scratch) {
    const struct matmul *m = a->m;
    a->x8 = (struct x_unit *)scratch;
    a->slots = scratch + m->n_tok * a->n_units * sizeof(struct x_unit);
    a->slot_bytes = cpu_matmul_int8_slot();
    pool_run(pool, m->n_tok, TILE_TOKENS, cpu_matmul_round, a);
    pool_run(pool, m->n_out, PANEL_ROWS, cpu_matmul_panels, a);
}

static void run_float(struct matmul_run *a, struct pool *pool, uint8_t *scratch, bool exact) {
    const struct matmul *m = a->m;
    a->pairs = cpu_matmul_takes_pairs(a->k, m, exact);
    a->slots = scratch;
    a->slot_bytes = cpu_matmul_float_slot(m->n_in);
    if (m->n_tok <= FEW_TOKENS_FLOAT) {
        pool_run(pool, m->n_out, cpu_matmul_grain(m),
                 qtype_is_float(m->type) ? cpu_matmul_rows : cpu_matmul_decoded_rows, a);
        return;
    }
    a->xf = (float *)(scratch + pool_size(pool) * a->slot_bytes);
    pool_run(pool, div_up(m->n_tok, TILE_TOKENS), 1, pack_x_body, a);
    pool_run(pool, m->n_out, F32_ROWS, cpu_matmul_floats, a);
}

static bool takes_int8(const struct kern *k, const struct matmul *m, bool exact) {
    return !exact && cpu_matmul_is_int8(k, m->type);
}

static bool is_few(const struct kern *k, const struct matmul *m) {
    return cpu_matmul_way(k, m->type, m->n_tok) != BY_PANELS;
}

void cpu_matmul(const struct kern *k, struct pool *pool, const struct matmul *m, size_t n, void *scratch, bool exact) {
    size_t few = 0;
    for (size_t i = 0; i < n; i++) few += takes_int8(k, &m[i], exact) && is_few(k, &m[i]);
    if (few == n) {
        run_few(k, pool, m, n, scratch);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        struct matmul_run a = run_of(k, &m[i]);
        if (!takes_int8(k, &m[i], exact)) run_float(&a, pool, scratch, exact);
        else if (is_few(k, &m[i])) run_few(k, pool, &m[i], 1, scratch);
        else run_int8(&a, pool, scratch);
    }
}
