/* See export.h. Rows are read in GGUF's order, decoded, and encoded by the pool in fixed pieces; quantized matrices
 * that keep type and order are copied. The source's pages are let go piece by piece. */
#include "quant/export.h"
#include <math.h>
#include <string.h>
#include "base/num.h"
#include "base/os.h"
#include "quant/encoder.h"
#include "quant/export_meta.h"
#include "quant/tries.h"

enum {
    PIECE_FLOATS = 1 << 20, /* weights held decoded at once */
    TASK_FLOATS = 1 << 14,  /* weights a thread takes at once */
    COPY_BYTES = 1 << 22,
};

bool export_is_matrix(const struct export *x, size_t index) {
    const struct weight *w = x->tensors[index].w;
    return w && slot_info(w->slot)->matrix;
}

static unsigned dims_of(const uint64_t *ne) {
    unsigned n = TENSOR_DIMS;
    while (n > 1 && ne[n - 1] == 1) n--;
    return n;
}

static enum err_code add(struct export *x, const char *name, const uint64_t *ne, struct export_tensor t,
                         struct err *e) {
    x->tensors[x->n_tensors++] = t;
    return gguf_writer_tensor(x->writer, name, t.type, dims_of(ne), ne, e);
}

static enum err_code add_made(struct export *x, enum slot s, const float *data, uint64_t n, struct err *e) {
    uint64_t ne[TENSOR_DIMS] = { n, 1, 1, 1 };
    return add(x, slot_info(s)->gguf_name, ne, (struct export_tensor){ .data = data, .type = QTYPE_F32 }, e);
}

/* Scaling that config.json has as numbers and GGUF as tensors. */
static enum err_code add_rope_tensors(struct export *x, struct err *e) {
    const struct rope_params *r = &x->m->hp.rope;
    uint64_t n = r->n_rot / 2;
    if (r->scaling == ROPE_SCALE_LONG) {
        TRY(add_made(x, SLOT_ROPE_LONG, r->long_factors, n, e));
        return add_made(x, SLOT_ROPE_SHORT, r->short_factors, n, e);
    }
    if (r->scaling != ROPE_SCALE_LLAMA3) return ERR_NONE;
    x->divisors = mem_alloc(n, sizeof *x->divisors);
    if (!x->divisors) return err_no_memory(e, n * sizeof *x->divisors);
    rope_freq_divisors(r, x->divisors);
    return add_made(x, SLOT_ROPE_FREQS, x->divisors, n, e);
}

static enum err_code add_tensors(struct export *x, struct err *e) {
    const struct model *m = x->m;
    x->tensors = NEW_ARRAY(struct export_tensor, m->n_weights + 2);
    if (!x->tensors) return err_no_memory(e, m->n_weights * sizeof *x->tensors);
    for (uint32_t i = 0; i < m->n_weights; i++) {
        const struct weight *w = &m->weights[i];
        enum qtype type = slot_info(w->slot)->matrix ? w->type : QTYPE_F32;
        TRY(add(x, w->name, w->ne, (struct export_tensor){ .w = w, .type = type }, e));
    }
    return m->file->gguf ? ERR_NONE : add_rope_tensors(x, e);
}

enum err_code export_open(const struct model *m, const struct vocab *v, struct export **out, struct err *e) {
    *out = NULL;
    struct export *x = NEW(struct export);
    if (!x) return err_no_memory(e, sizeof *x);
    x->m = m;
    enum err_code rc = gguf_writer_new(&x->writer, e);
    if (!rc) rc = export_meta(m, v, x->writer, e);
    if (!rc) rc = add_tensors(x, e);
    if (rc) export_close(x);
    else *out = x;
    return rc;
}

void export_close(struct export *x) {
    if (!x) return;
    gguf_writer_free(x->writer);
    mem_free(x->tensors);
    mem_free(x->divisors);
    mem_free(x);
}

enum err_code export_set_type(struct export *x, size_t index, enum qtype type, struct err *e) {
    x->tensors[index].type = type;
    return gguf_writer_set_type(x->writer, index, type, e);
}

void export_set_file_type(struct export *x, uint32_t file_type) {
    gguf_writer_u32(x->writer, "general.file_type", file_type);
}

/* --- Weights --- */

/* Where the work stands. */
struct writing {
    const struct export *x;
    const struct export_target *t;
    struct tstream *s;
    uint64_t at, total; /* bytes */
};

/* n bytes more are written: asks whether to go on. */
static enum err_code advance(struct writing *k, uint64_t n, struct err *e) {
    k->at += n;
    if (progress_step(&k->t->progress, "writing", (double)k->at, (double)k->total)) return ERR_NONE;
    return err_set(e, ERR_INTERRUPTED, "interrupted");
}

static enum err_code put(struct writing *k, const void *p, uint64_t n, struct err *e) {
    TRY(tstream_put(k->s, p, n, e));
    return advance(k, n, e);
}

struct piece {
    const struct export_tensor *t;
    bool plain;
    uint64_t first, n, n_in, row_bytes; /* rows */
    float *floats;
    uint8_t *bytes;
    struct err *errs; /* one a task */
    uint64_t rows_per_task;
};

static void encode_task(void *arg, size_t begin, size_t end, unsigned thread) {
    struct piece *p = arg;
    struct err *e = &p->errs[begin / p->rows_per_task];
    float *x = p->floats + begin * p->n_in;
    (void)thread;
    model_read_rows(p->t->w, p->first + begin, end - begin, x);
    for (size_t r = begin, n; r < end && !e->code; r += n) { /* what lies in one matrix of a stack at once */
        uint64_t row = p->first + r, n_out = p->t->w->ne[1], in_matrix = row % n_out;
        const float *importance = p->t->importance;
        struct encoder_input in = { .importance = importance ? importance + row / n_out * p->n_in : NULL,
                                    .plain = p->plain, .first_row = row };
        n = min_u64(end - r, n_out - in_matrix);
        e->code = encode_rows(p->t->type, p->floats + r * p->n_in, n, p->n_in, &in, p->bytes + r * p->row_bytes, e);
    }
}

/* Encodes the rows of one piece; the first error in the order of rows wins, whichever thread met it first. */
static enum err_code encode_piece(struct piece *p, struct pool *pool, struct err *e) {
    uint64_t n_tasks = div_up(p->n, p->rows_per_task);
    memset(p->errs, 0, n_tasks * sizeof *p->errs);
    pool_run(pool, p->n, p->rows_per_task, encode_task, p);
    for (uint64_t i = 0; i < n_tasks; i++)
        if (p->errs[i].code) {
            if (e) *e = p->errs[i];
            return p->errs[i].code;
        }
    return ERR_NONE;
}

static enum err_code put_encoded(struct writing *k, const struct export_tensor *t, struct err *e) {
    uint64_t n_in = t->w->ne[0], n_rows = model_weight_rows(t->w);
    uint64_t piece = max_u64(1, PIECE_FLOATS / n_in);
    struct piece p = { .t = t, .plain = k->x->plain, .n_in = n_in, .rows_per_task = max_u64(1, TASK_FLOATS / n_in) };
    piece = div_up(piece, p.rows_per_task) * p.rows_per_task;
    qtype_row_bytes(t->type, n_in, &p.row_bytes);
    p.floats = mem_alloc(piece, n_in * sizeof *p.floats);
    p.bytes = mem_alloc(piece, p.row_bytes);
    p.errs = NEW_ARRAY(struct err, piece / p.rows_per_task);
    enum err_code rc = p.floats && p.bytes && p.errs ? ERR_NONE : err_no_memory(e, piece * n_in * sizeof *p.floats);
    for (p.first = 0; p.first < n_rows && !rc; p.first += p.n) {
        p.n = min_u64(piece, n_rows - p.first);
        rc = encode_piece(&p, k->t->pool, e);
        if (!rc) rc = put(k, p.bytes, p.n * p.row_bytes, e);
        model_release_rows(t->w, p.first, p.n);
    }
    model_release(t->w);
    mem_free(p.floats);
    mem_free(p.bytes);
    mem_free(p.errs);
    return rc;
}

enum err_code export_copy(const struct tfile_tensor *t, struct tstream *s, struct err *e) {
    for (uint64_t off = 0; off < t->bytes; off += COPY_BYTES) {
        uint64_t n = min_u64(COPY_BYTES, t->bytes - off);
        TRY(tstream_put(s, t->data + off, n, e));
        os_advise(t->data + off, n, OS_DONTNEED);
    }
    return ERR_NONE;
}

static enum err_code put_vector(struct writing *k, const struct weight *w, struct err *e) {
    uint64_t n_rows = model_weight_rows(w), n = w->ne[0] * n_rows;
    float *v = mem_alloc(n, sizeof *v);
    if (!v) return err_no_memory(e, n * sizeof *v);
    enum err_code rc = ERR_NONE;
    model_read_rows(w, 0, n_rows, v);
    for (uint64_t i = 0; i < n && !rc; i++)
        if (!isfinite(v[i]))
            rc = err_set(e, ERR_FORMAT, "the weight in column %llu is %g: the model is damaged",
                         (unsigned long long)(i % w->ne[0]), (double)v[i]);
    if (!rc) rc = put(k, v, n * sizeof *v, e);
    mem_free(v);
    return rc;
}

/* Quantized weights as they are, if they all are numbers. */
static enum err_code put_stored(struct writing *k, const struct weight *w, struct err *e) {
    float max_abs;
    TRY(weight_scan(k->t->pool, w, &max_abs, e));
    uint64_t n_rows = model_weight_rows(w), row = model_weight_bytes(w) / n_rows, n;
    uint64_t piece = min_u64(max_u64(1, COPY_BYTES / row), n_rows);
    void *bytes = mem_alloc(piece, row);
    enum err_code rc = bytes ? ERR_NONE : err_no_memory(e, piece * row);
    for (uint64_t r = 0; r < n_rows && !rc; r += n) {
        n = min_u64(piece, n_rows - r);
        model_copy_file_rows(w, r, n, bytes);
        rc = put(k, bytes, n * row, e);
        model_release_rows(w, r, n);
    }
    mem_free(bytes);
    return rc;
}

static enum err_code put_tensor(struct writing *k, size_t index, struct err *e) {
    const struct export_tensor *t = &k->x->tensors[index];
    uint64_t bytes = gguf_writer_tensor_bytes(k->x->writer, index);
    enum err_code rc;
    if (!t->w) return put(k, t->data, bytes, e);
    bool same = t->type == t->w->type && !t->w->permute_heads;
    if (!slot_info(t->w->slot)->matrix) {
        rc = put_vector(k, t->w, e);
    } else if (same && !qtype_is_float(t->type)) {
        rc = put_stored(k, t->w, e);
    } else {
        rc = put_encoded(k, t, e); /* floats too: they are checked on the way */
    }
    return rc && rc != ERR_INTERRUPTED ? err_where(e, rc, "%s", t->w->name) : rc;
}

/* Errors that another start of the same work may not meet. */
static bool may_pass(enum err_code rc) {
    return rc == ERR_INTERRUPTED || rc == ERR_IO || rc == ERR_NO_SPACE || rc == ERR_NO_MEMORY;
}

enum err_code export_write(struct export *x, const struct export_target *t, struct err *e) {
    struct writing k = { .x = x, .t = t };
    size_t done = t->resume ? SIZE_MAX : 0;
    enum err_code rc = ERR_NONE;
    gguf_writer_split(x->writer, t->split_max_size);
    TRY(gguf_writer_open(x->writer, t->path, t->keep_part ? &done : NULL, &k.s, e));
    if (!t->keep_part) done = 0;
    for (size_t i = 0; i < x->n_tensors; i++) {
        k.total += gguf_writer_tensor_bytes(x->writer, i);
        if (i < done) k.at = k.total;
    }
    for (size_t i = done; i < x->n_tensors && !rc; i++) {
        rc = put_tensor(&k, i, e);
        if (!rc && t->keep_part) rc = tstream_sync(k.s, e);
    }
    if (!rc) return tstream_commit(k.s, e);
    tstream_abandon(k.s, t->keep_part && may_pass(rc));
    return rc;
}
