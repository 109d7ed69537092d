/* One matrix: scanned, encoded, tried. See tries.h.
 *
 * The work is cut into pieces of rows whose size follows from the shape alone, none with rows of two matrices of a
 * stack; each piece writes results of its own, which are added up in order. Products with the sampled inputs are the
 * processor back end's in float, one piece a call, each without a pool within its thread. */
#include "quant/tries.h"

#include <math.h>
#include <string.h>

#include "backend/cpu/cpu_matmul.h"
#include "base/cpu.h"
#include "base/mem.h"
#include "base/num.h"
#include "quant/encoder.h"

enum {
    /* Weights of a piece: large enough for matrix products to run well, small enough to stay in a core's caches. */
    PIECE_WEIGHTS = 1 << 18,
    PIECE_MIN_ROWS = 8,
    PIECE_MAX_ROWS = 64,
    /* Weights that are tried of one matrix, or stack. The error is a mean over rows, which are alike. */
    TRY_WEIGHTS = 1 << 20,
};

static uint64_t piece_rows(const struct weight *w) {
    uint64_t rows = PIECE_WEIGHTS / w->ne[0];
    return rows < PIECE_MIN_ROWS ? PIECE_MIN_ROWS : rows > PIECE_MAX_ROWS ? PIECE_MAX_ROWS : rows;
}

/* What a thread works in, and the error it met. */
struct bench {
    float *w, *error, *product; /* (piece, n_in) twice, (piece, n_sample) */
    uint8_t *blocks;            /* (piece) rows of the largest type tried */
    void *scratch;
    enum err_code rc;
    struct err err;
};

struct work {
    const struct weight *w;
    uint64_t piece; /* rows */
    uint64_t rows;  /* of each matrix that are taken, evenly spread */
    const struct stats *inputs; /* (n_mat) or NULL */
    struct kern kern;           /* where there are inputs */
    const float *importance;    /* (n_mat, n_in) or NULL */
    const enum qtype *types;
    size_t n_types;
    struct bench *bench; /* (threads) */
    unsigned n_bench;
    double *sums;  /* (pieces, 1 + n_types): squares of the product, then of each type's error */
    uint8_t *out;  /* of weight_encode */
    float *maxima; /* (pieces) of weight_scan; NaN: bad */
};

/* Rows [first, first + n) of those taken of matrix x. */
struct run { uint64_t x, first, n; };

static uint64_t n_pieces(const struct work *k) { return k->w->ne[2] * div_up(k->rows, k->piece); }

static struct run run_at(const struct work *k, uint64_t piece) {
    uint64_t each = div_up(k->rows, k->piece), first = piece % each * k->piece;
    return (struct run){ piece / each, first, min_u64(k->piece, k->rows - first) };
}

static struct encoder_input encoder_input(const struct work *k, uint64_t x) {
    return (struct encoder_input){ .importance = k->importance ? k->importance + x * k->w->ne[0] : NULL };
}

static void bench_fini(struct work *k) {
    for (unsigned i = 0; k->bench && i < k->n_bench; i++) {
        mem_free(k->bench[i].w);
        mem_free(k->bench[i].error);
        mem_free(k->bench[i].product);
        mem_free(k->bench[i].blocks);
        mem_free(k->bench[i].scratch);
    }
    mem_free(k->bench);
}

static enum err_code product_init(const struct work *k, struct bench *b, struct err *e) {
    size_t n = k->piece * k->inputs->n_sample, scratch = cpu_matmul_scratch(QTYPE_F32, k->w->ne[0], k->piece, 1, true);
    b->product = mem_alloc(n, sizeof(float));
    b->scratch = mem_alloc(scratch, 1);
    if (!b->product || !b->scratch) return err_no_memory(e, n * sizeof(float) + scratch);
    return ERR_NONE;
}

static enum err_code bench_init(struct work *k, struct pool *p, struct err *e) {
    k->n_bench = pool_size(p);
    k->bench = NEW_ARRAY(struct bench, k->n_bench);
    if (!k->bench) return err_no_memory(e, k->n_bench * sizeof *k->bench);
    size_t n = k->piece * k->w->ne[0];
    for (unsigned i = 0; i < k->n_bench; i++) {
        struct bench *b = &k->bench[i];
        b->w = mem_alloc(n, sizeof(float));
        b->error = mem_alloc(k->n_types ? n : 0, sizeof(float));
        b->blocks = mem_alloc(k->n_types ? n : 0, sizeof(float)); /* no type is larger than F32 */
        if (!b->w || !b->error || !b->blocks) return err_no_memory(e, n * sizeof(float));
        if (k->inputs) TRY(product_init(k, b, e));
    }
    return ERR_NONE;
}

static enum err_code bench_errors(const struct work *k, struct err *e) {
    for (unsigned i = 0; i < k->n_bench; i++)
        if (k->bench[i].rc) {
            if (e) *e = k->bench[i].err;
            return err_where(e, k->bench[i].rc, "%s", k->w->name);
        }
    return ERR_NONE;
}

/* --- Scanning --- */

static void scan_piece(void *arg, size_t begin, size_t end, unsigned thread) {
    struct work *k = arg;
    struct run run = run_at(k, begin);
    float *w = k->bench[thread].w, max = 0;
    size_t n = run.n * k->w->ne[0];
    (void)end;
    model_read_file_rows(k->w, run.x * k->w->ne[1] + run.first, run.n, w);
    bool finite = true;
    for (size_t i = 0; i < n; i++) {
        finite &= isfinite(w[i]) != 0;
        max = fabsf(w[i]) > max ? fabsf(w[i]) : max;
    }
    k->maxima[begin] = finite ? max : NAN;
}

static enum err_code name_bad_weight(const struct work *k, uint64_t piece, struct err *e) {
    const struct weight *w = k->w;
    struct run run = run_at(k, piece);
    bool apart = w->n_parts > 1 && w->ne[2] > 1; /* every matrix is a tensor of the file */
    float *row = k->bench[0].w;
    for (uint64_t i = 0; i < run.n; i++) {
        uint64_t r = run.first + i + (apart ? 0 : run.x * w->ne[1]);
        model_read_file_rows(w, run.x * w->ne[1] + run.first + i, 1, row);
        for (uint64_t j = 0; j < k->w->ne[0]; j++)
            if (!isfinite(row[j])) {
                enum err_code rc = err_set(e, ERR_FORMAT,
                                           "the weight in row %llu, column %llu is %g: the model is damaged",
                                           (unsigned long long)r, (unsigned long long)j, (double)row[j]);
                return err_where(e, rc, "%s", (apart ? w->parts[run.x] : w->src)->name);
            }
    }
    return ERR_NONE;
}

enum err_code weight_scan(struct pool *p, const struct weight *w, float *max_abs, struct err *e) {
    struct work k = { .w = w, .piece = piece_rows(w), .rows = w->ne[1] };
    uint64_t pieces = n_pieces(&k);
    enum err_code rc;
    *max_abs = 0;
    k.maxima = mem_alloc(pieces, sizeof *k.maxima);
    if (!k.maxima) return err_no_memory(e, pieces * sizeof *k.maxima);
    TRY_OUT(rc, bench_init(&k, p, e));
    pool_run(p, pieces, 1, scan_piece, &k);
    for (uint64_t i = 0; i < pieces && !rc; i++) {
        if (isnan(k.maxima[i])) rc = name_bad_weight(&k, i, e);
        else if (k.maxima[i] > *max_abs) *max_abs = k.maxima[i];
    }
out:
    bench_fini(&k);
    mem_free(k.maxima);
    return rc;
}

/* --- Encoding --- */

static void encode_piece(void *arg, size_t begin, size_t end, unsigned thread) {
    struct work *k = arg;
    struct bench *b = &k->bench[thread];
    struct run run = run_at(k, begin);
    struct encoder_input in = encoder_input(k, run.x);
    uint64_t row_bytes = 0, row = run.x * k->w->ne[1] + run.first;
    (void)end;
    in.first_row = row;
    qtype_row_bytes(*k->types, k->w->ne[0], &row_bytes);
    model_read_file_rows(k->w, row, run.n, b->w);
    if (!b->rc) b->rc = encode_rows(*k->types, b->w, run.n, k->w->ne[0], &in, k->out + row * row_bytes, &b->err);
}

enum err_code weight_encode(struct pool *p, const struct weight *w, enum qtype t, const float *importance, void *out,
                            struct err *e) {
    if (t == w->type) return model_copy_file_rows(w, 0, model_weight_rows(w), out), ERR_NONE;
    struct work k = { .w = w, .piece = piece_rows(w), .rows = w->ne[1], .importance = importance, .types = &t,
                      .n_types = 1, .out = out };
    enum err_code rc = bench_init(&k, p, e);
    if (!rc) {
        pool_run(p, n_pieces(&k), 1, encode_piece, &k);
        rc = bench_errors(&k, e);
    }
    bench_fini(&k);
    return rc;
}

/* --- Trying --- */

size_t tries_types(const struct weight *w, float max_abs, enum qtype *out) {
    size_t n_all, n = 0;
    const enum qtype *all = qtype_all(&n_all);
    for (size_t i = 0; i < n_all; i++) {
        enum qtype t = all[i];
        uint64_t bytes;
        bool smaller = qtype_bpw(t) < qtype_bpw(w->type);
        if (t != w->type && !qtype_can_write(t)) continue;
        bool wanted = qtype_is_float(t) ? t == w->type || (w->type == QTYPE_F32 && smaller) : t == w->type || smaller;
        if (w->type == QTYPE_F32 && t == QTYPE_F32) wanted = false;
        if (wanted && qtype_row_bytes(t, w->ne[0], &bytes) && max_abs <= encoder_reach(t)) out[n++] = t;
    }
    return n;
}

static double sum_squares(const float *x, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    return sum;
}

/* ||rows X||^2, or ||rows||^2 without inputs; rows of matrix x, and as many columns of X as inputs came. */
static double response(const struct work *k, struct bench *b, const float *rows, struct run run) {
    const struct stats *s = k->inputs ? &k->inputs[run.x] : NULL;
    size_t n_in = k->w->ne[0];
    if (!s) return sum_squares(rows, run.n * n_in);
    struct matmul m = { .type = QTYPE_F32, .w = s->sample, .row_bytes = n_in * sizeof(float), .n_in = n_in,
                        .n_out = s->n_taken, .n_tok = run.n, .x = rows, .x_stride = n_in, .out = b->product,
                        .out_stride = s->n_taken };
    cpu_matmul(&k->kern, NULL, &m, 1, b->scratch, true);
    return sum_squares(b->product, run.n * s->n_taken) * (double)s->n_seen / (double)s->n_taken;
}

static enum err_code try_type(const struct work *k, struct bench *b, enum qtype t, struct run run, double *sum) {
    size_t n_in = k->w->ne[0], n = run.n;
    struct encoder_input in = encoder_input(k, run.x);
    *sum = 0;
    if (t == k->w->type) return ERR_NONE;
    TRY(encode_rows(t, b->w, n, n_in, &in, b->blocks, &b->err));
    qtype_info(t)->decode(b->blocks, b->error, n * n_in);
    for (size_t i = 0; i < n * n_in; i++) b->error[i] = b->w[i] - b->error[i];
    *sum = response(k, b, b->error, run);
    return ERR_NONE;
}

static void try_piece(void *arg, size_t begin, size_t end, unsigned thread) {
    struct work *k = arg;
    struct bench *b = &k->bench[thread];
    struct run run = run_at(k, begin);
    double *sums = k->sums + begin * (1 + k->n_types);
    (void)end;
    if (k->inputs && !k->inputs[run.x].n_taken) return; /* what no token meets makes no error */
    for (uint64_t i = 0; i < run.n; i++) {
        uint64_t r = (run.first + i) * k->w->ne[1] / k->rows;
        model_read_file_rows(k->w, run.x * k->w->ne[1] + r, 1, b->w + i * k->w->ne[0]);
    }
    sums[0] = response(k, b, b->w, run);
    for (size_t i = 0; i < k->n_types && !b->rc; i++) b->rc = try_type(k, b, k->types[i], run, &sums[1 + i]);
}

/* Adds up the pieces in order; a matrix without any response cannot be told better or worse. */
static void finish_rfn(const struct work *k, uint64_t pieces, double *rfn) {
    size_t stride = 1 + k->n_types;
    double whole = 0;
    for (uint64_t p = 0; p < pieces; p++) whole += k->sums[p * stride];
    for (size_t i = 0; i < k->n_types; i++) {
        double error = 0;
        for (uint64_t p = 0; p < pieces; p++) error += k->sums[p * stride + 1 + i];
        rfn[i] = whole > 0 ? sqrt(error / whole) : 0;
    }
}

enum err_code tries_run(struct pool *p, const struct weight *w, const struct stats *inputs, const float *importance,
                        const enum qtype *types, size_t n_types, double *rfn, struct err *e) {
    struct work k = { .w = w, .piece = piece_rows(w), .inputs = inputs, .importance = importance, .types = types,
                      .n_types = n_types };
    k.rows = min_u64(w->ne[1], max_u64(TRY_WEIGHTS / w->ne[0] / w->ne[2], PIECE_MIN_ROWS));
    uint64_t pieces = n_pieces(&k);
    enum err_code rc;
    kern_init(&k.kern, cpu_features());
    k.sums = mem_calloc(pieces, (1 + n_types) * sizeof *k.sums);
    if (!k.sums) return err_no_memory(e, pieces * (1 + n_types) * sizeof *k.sums);
    TRY_OUT(rc, bench_init(&k, p, e));
    pool_run(p, pieces, 1, try_piece, &k);
    rc = bench_errors(&k, e);
    if (!rc) finish_rfn(&k, pieces, rfn);
out:
    bench_fini(&k);
    mem_free(k.sums);
    return rc;
}
