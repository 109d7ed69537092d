/* Owns: the choice of the way a product is computed and the loops around the kernels. Promises: the same bits for any
 * number of threads, since work is cut by shape alone; no memory of its own. Leaves to others: the arithmetic
 * (kernels.def), the scratch (the device), the threads (base/pool.h).
 *
 * Few tokens: each row of weights is read once and multiplied with up to ROWS_TOKENS tokens as it streams by. Many
 * tokens: a panel of rows is unpacked into the second-level cache, a chunk of the inner dimension at a time, and
 * multiplied with tiles of TILE_TOKENS tokens. */
#include "backend/cpu/cpu_matmul.h"

#include <assert.h>
#include <string.h>

#include "base/num.h"

enum {
    PIECE_BYTES = 1 << 16, /* weights of a piece of work of the rows kernels: far above the cost of handing it out */
    CHUNK_UNITS = 16,      /* units of a panel that are unpacked at once: 96 KiB, beside the tile in a 512 KiB cache */
    CHUNK_F32 = 512,       /* inner length of a float panel: 64 KiB */
    FEW_TOKENS_INT8 = 4,   /* up to here the rows kernels are faster; docs/kernels.md */
    FEW_TOKENS_FLOAT = 8,
};

/* What the loop bodies share. */
struct run {
    const struct kern *k;
    const struct matmul *m;
    const struct int8_form *form;
    const struct qtype_info *info;
    size_t n_units;        /* of a row */
    struct x_unit *x8;     /* tiles of [n_units][tokens of the tile] */
    float *xf;             /* tiles of [n_in][TILE_TOKENS] */
    unsigned tile;         /* tokens in a tile of x8 */
    uint8_t *slots;        /* one for each thread */
    size_t slot_bytes;
};

bool cpu_matmul_is_int8(const struct kern *k, enum qtype type) {
    return int8_form(type)->sub && k->rows[type] && k->panel[type];
}

static size_t units_of(size_t n_in) { return div_up(n_in, UNIT); }

static size_t int8_slot_bytes(void) { return CHUNK_UNITS * sizeof(struct panel_unit); }

/* The larger of a decoded row and a panel with the decoded rows it is packed from. */
static size_t float_slot_bytes(size_t n_in) {
    return round_up(max_u64(n_in, 2 * F32_ROWS * CHUNK_F32) * sizeof(float), 64);
}

size_t cpu_matmul_scratch(enum qtype type, size_t n_in, size_t n_tok, unsigned n_threads, bool exact) {
    size_t tokens = div_up(n_tok, TILE_TOKENS) * TILE_TOKENS;
    size_t as_float = tokens * n_in * sizeof(float) + n_threads * float_slot_bytes(n_in);
    if (exact || !int8_form(type)->sub) return as_float;
    return max_u64(as_float, n_tok * units_of(n_in) * sizeof(struct x_unit) + n_threads * int8_slot_bytes());
}

static const uint8_t *weight_row(const struct matmul *m, size_t row) {
    return (const uint8_t *)m->w + row * m->row_bytes;
}

static void add_bias(const struct matmul *m, size_t begin, size_t end) {
    if (!m->bias) return;
    for (size_t t = 0; t < m->n_tok; t++)
        for (size_t o = begin; o < end; o++) m->out[t * m->out_stride + o] += m->bias[o];
}

/* Copies the part of a tile that lies in the matrix; tiles at its lower edge are computed beside it. */
static void copy_tile(const float *from, size_t from_stride, float *to, size_t to_stride, size_t n_tok, size_t n_rows) {
    for (size_t t = 0; t < n_tok; t++) memcpy(to + t * to_stride, from + t * from_stride, n_rows * sizeof(float));
}

/* --- Few tokens --- */

static size_t rows_grain(const struct matmul *m) { return round_up(PIECE_BYTES / max_u64(m->row_bytes, 1) + 1, 16); }

/* x8 holds one tile of all tokens, or xf is NULL and the floats are read in place. */
static void rows_body(void *arg, size_t begin, size_t end, unsigned thread) {
    const struct run *a = arg;
    const struct matmul *m = a->m;
    (void)thread;
    for (size_t t = 0; t < m->n_tok; t += ROWS_TOKENS) {
        struct rows_job j = {
            .w = weight_row(m, begin), .row_bytes = m->row_bytes, .n_rows = end - begin, .n_in = m->n_in,
            .x = a->x8 ? (const void *)(a->x8 + t * a->n_units) : m->x + t * m->x_stride, .x_stride = m->x_stride,
            .n_tok = (unsigned)min_u64(m->n_tok - t, ROWS_TOKENS),
            .out = m->out + t * m->out_stride + begin, .out_stride = m->out_stride,
        };
        a->k->rows[m->type](&j);
    }
    add_bias(m, begin, end);
}

/* Types whose rows are decoded first. */
static void decoded_rows_body(void *arg, size_t begin, size_t end, unsigned thread) {
    const struct run *a = arg;
    const struct matmul *m = a->m;
    float *row = (float *)(a->slots + thread * a->slot_bytes);
    for (size_t o = begin; o < end; o++) {
        a->k->widen[m->type](weight_row(m, o), row, m->n_in);
        for (size_t t = 0; t < m->n_tok; t += ROWS_TOKENS) {
            struct rows_job j = {
                .w = (const uint8_t *)row, .n_rows = 1, .n_in = m->n_in, .x = m->x + t * m->x_stride,
                .x_stride = m->x_stride, .n_tok = (unsigned)min_u64(m->n_tok - t, ROWS_TOKENS),
                .out = m->out + t * m->out_stride + o, .out_stride = m->out_stride,
            };
            a->k->rows[QTYPE_F32](&j);
        }
    }
    add_bias(m, begin, end);
}

/* --- Many tokens, int8 --- */

static void round_body(void *arg, size_t begin, size_t end, unsigned thread) {
    const struct run *a = arg;
    const struct matmul *m = a->m;
    (void)thread;
    for (size_t t = begin; t < end; t++) {
        size_t first = t / a->tile * a->tile, width = min_u64(m->n_tok - first, a->tile);
        struct x_unit *x = a->x8 + first * a->n_units + (t - first);
        for (size_t u = 0; u < a->n_units; u++)
            a->k->round(m->x + t * m->x_stride + u * UNIT, min_u64(m->n_in - u * UNIT, UNIT), a->form, x + u * width);
    }
}

/* One chunk of a panel, already unpacked at w, times all tokens. */
static void panel_times_tokens(const struct run *a, const struct panel_unit *w, const struct panel_job *p, size_t row,
                               size_t n_rows) {
    const struct matmul *m = a->m;
    tile_fn *tile = a->form->sub == 16 ? a->k->tile16 : a->k->tile32;
    float edge[TILE_TOKENS * PANEL_ROWS];
    for (size_t t = 0; t < m->n_tok; t += a->tile) {
        size_t n_tok = min_u64(m->n_tok - t, a->tile);
        float *out = m->out + t * m->out_stride + row;
        bool whole = n_rows == PANEL_ROWS;
        struct tile_job j = {
            .w = w, .x = a->x8 + t * a->n_units + p->first * n_tok, .n_units = p->n_units, .x_tokens = n_tok,
            .n_tok = (unsigned)n_tok, .form = a->form, .add = p->first > 0,
            .out = whole ? out : edge, .out_stride = whole ? m->out_stride : PANEL_ROWS,
        };
        if (!whole && j.add) copy_tile(out, m->out_stride, edge, PANEL_ROWS, n_tok, n_rows);
        tile(&j);
        if (!whole) copy_tile(edge, PANEL_ROWS, out, m->out_stride, n_tok, n_rows);
    }
}

static void panel_body(void *arg, size_t begin, size_t end, unsigned thread) {
    const struct run *a = arg;
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

static void pack_x_body(void *arg, size_t begin, size_t end, unsigned thread) {
    const struct run *a = arg;
    const struct matmul *m = a->m;
    (void)thread;
    for (size_t tile = begin; tile < end; tile++) {
        size_t t = tile * TILE_TOKENS;
        struct pack_f32_job j = {
            .rows = m->x + t * m->x_stride, .stride = m->x_stride, .n_rows = min_u64(m->n_tok - t, TILE_TOKENS),
            .n_k = m->n_in, .width = TILE_TOKENS, .out = a->xf + t * m->n_in,
        };
        a->k->pack_f32(&j);
    }
}

/* Decodes n weights from weight k on of each row and packs them. */
static void pack_rows(const struct run *a, size_t row, size_t n_rows, size_t k, size_t n, float *panel) {
    const struct matmul *m = a->m;
    float *decoded = panel + F32_ROWS * CHUNK_F32;
    size_t at = k / a->info->block_weights * a->info->block_bytes;
    for (size_t r = 0; r < n_rows; r++) a->k->widen[m->type](weight_row(m, row + r) + at, decoded + r * CHUNK_F32, n);
    struct pack_f32_job j = {
        .rows = decoded, .stride = CHUNK_F32, .n_rows = n_rows, .n_k = n, .width = F32_ROWS, .out = panel,
    };
    a->k->pack_f32(&j);
}

static void float_body(void *arg, size_t begin, size_t end, unsigned thread) {
    const struct run *a = arg;
    const struct matmul *m = a->m;
    float *panel = (float *)(a->slots + thread * a->slot_bytes), edge[TILE_TOKENS * F32_ROWS];
    bool whole = end - begin == F32_ROWS;
    for (size_t k = 0; k < m->n_in; k += CHUNK_F32) {
        size_t n_k = min_u64(m->n_in - k, CHUNK_F32);
        pack_rows(a, begin, end - begin, k, n_k, panel);
        for (size_t t = 0; t < m->n_tok; t += TILE_TOKENS) {
            float *out = m->out + t * m->out_stride + begin;
            struct f32_tile_job j = {
                .w = panel, .x = a->xf + t * m->n_in + k * TILE_TOKENS, .n_k = n_k,
                .n_tok = (unsigned)min_u64(m->n_tok - t, TILE_TOKENS), .add = k > 0,
                .out = whole ? out : edge, .out_stride = whole ? m->out_stride : F32_ROWS,
            };
            if (!whole && j.add) copy_tile(out, m->out_stride, edge, F32_ROWS, j.n_tok, end - begin);
            a->k->tile_f32(&j);
            if (!whole) copy_tile(edge, F32_ROWS, out, m->out_stride, j.n_tok, end - begin);
        }
    }
    add_bias(m, begin, end);
}

/* --- The choice --- */

static void run_int8(struct run *a, struct pool *pool, uint8_t *scratch) {
    const struct matmul *m = a->m;
    bool few = m->n_tok <= FEW_TOKENS_INT8;
    a->x8 = (struct x_unit *)scratch;
    a->tile = few ? ROWS_TOKENS : TILE_TOKENS;
    a->slots = scratch + m->n_tok * a->n_units * sizeof(struct x_unit);
    a->slot_bytes = int8_slot_bytes();
    if (few) round_body(a, 0, m->n_tok, 0);
    else pool_run(pool, m->n_tok, TILE_TOKENS, round_body, a);
    pool_run(pool, m->n_out, few ? rows_grain(m) : PANEL_ROWS, few ? rows_body : panel_body, a);
}

static void run_float(struct run *a, struct pool *pool, uint8_t *scratch) {
    const struct matmul *m = a->m;
    a->slots = scratch;
    a->slot_bytes = float_slot_bytes(m->n_in);
    if (m->n_tok <= FEW_TOKENS_FLOAT) {
        pool_run(pool, m->n_out, rows_grain(m), qtype_is_float(m->type) ? rows_body : decoded_rows_body, a);
        return;
    }
    a->xf = (float *)(scratch + pool_size(pool) * a->slot_bytes);
    pool_run(pool, div_up(m->n_tok, TILE_TOKENS), 1, pack_x_body, a);
    pool_run(pool, m->n_out, F32_ROWS, float_body, a);
}

void cpu_matmul(const struct kern *k, struct pool *pool, const struct matmul *m, void *scratch, bool exact) {
    struct run a = {
        .k = k, .m = m, .form = int8_form(m->type), .info = qtype_info(m->type), .n_units = units_of(m->n_in),
    };
    assert(a.info && m->n_in % a.info->block_weights == 0);
    if (!m->n_tok || !m->n_out) return;
    if (!exact && cpu_matmul_is_int8(k, m->type)) run_int8(&a, pool, scratch);
    else run_float(&a, pool, scratch);
}
