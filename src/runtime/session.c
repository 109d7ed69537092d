/* Sessions: KV memory, one graph for each shape of batch, and the run of a batch.
 *
 * A shape is a pair (tokens, wanted rows). Its graph is built and compiled when it first occurs and kept; the few
 * shapes that a generation uses (whole prefill batches, a last partial one, one token) stay. All shapes share the
 * buffers that were sized for the largest batch at opening. */
#include "runtime/session.h"
#include <string.h>
#include "base/num.h"
#include "runtime/kv.h"

enum { MAX_SHAPES = 8 };

struct shape {
    struct pass pass;
    struct program *program;
    uint64_t used; /* when last used: the oldest shape gives way */
};

struct session {
    struct engine *en;
    struct pass_desc d;
    struct kv kv;
    struct pass_memory mem;
    uint32_t kv_buffer, act_buffer, io_buffer;
    struct shape shapes[MAX_SHAPES];
    uint64_t clock;
    int32_t *staging;  /* (4, n_batch): ids, positions, sequences, cells */
    int32_t *rows;     /* (n_out) */
    float *inv_freq;   /* (n_rot / 2), of rope; behind it the same of rope_local */
    float *inv_freq_local;
};

static struct pass_desc with_defaults(const struct engine *en, const struct pass_desc *d) {
    struct pass_desc r = pass_defaults(&en->model->hp, d);
    r.kv = en->kv;
    return r;
}

static struct pass_weights weights_of(struct engine *en) { return (struct pass_weights){ engine_weight, en }; }

static void shape_free(struct shape *sh, struct backend *be) {
    program_free(be, sh->program);
    pass_fini(&sh->pass);
    memset(sh, 0, sizeof *sh);
}

enum err_code session_memory(struct engine *en, const struct pass_desc *desc, struct pass_memory *out, struct err *e) {
    struct pass_desc d = with_defaults(en, desc);
    struct pass_weights w = weights_of(en);
    return pass_memory(en->be, en->model, &d, &w, out, e);
}

enum err_code session_open(struct engine *en, const struct pass_desc *desc, struct session **out, struct err *e) {
    *out = NULL;
    struct session *s = NEW(struct session);
    if (!s) return err_no_memory(e, sizeof *s);
    s->en = en;
    s->d = with_defaults(en, desc);
    pass_warn(&en->model->hp, &s->d);
    enum err_code rc;
    TRY_OUT(rc, session_memory(en, desc, &s->mem, e));
    TRY_OUT(rc, kv_init(&s->kv, s->d.n_seq, s->d.n_ctx, KV_PAGE, e));
    s->staging = NEW_ARRAY(int32_t, 4 * (size_t)s->d.n_batch);
    s->rows = NEW_ARRAY(int32_t, s->d.n_out);
    const struct hparams *hp = &en->model->hp;
    s->inv_freq = NEW_ARRAY(float, hp->rope.n_rot / 2 + hp->rope_local.n_rot / 2);
    if (!s->staging || !s->rows || !s->inv_freq) TRY_OUT(rc, err_no_memory(e, 16ull * s->d.n_batch));
    s->inv_freq_local = s->inv_freq + hp->rope.n_rot / 2;
    TRY_OUT(rc, backend_alloc(en->be, s->mem.kv_bytes, &s->kv_buffer, e));
    TRY_OUT(rc, backend_alloc(en->be, s->mem.act_bytes, &s->act_buffer, e));
    TRY_OUT(rc, backend_alloc(en->be, s->mem.io_bytes, &s->io_buffer, e));
    *out = s;
    return ERR_NONE;
out:
    session_close(s);
    return rc;
}

void session_close(struct session *s) {
    if (!s) return;
    struct backend *be = s->en->be;
    for (int i = 0; i < MAX_SHAPES; i++) shape_free(&s->shapes[i], be);
    const uint32_t buffers[] = { s->kv_buffer, s->act_buffer, s->io_buffer };
    for (size_t i = 0; i < ARRAY_LEN(buffers); i++)
        if (buffers[i]) backend_release(be, buffers[i]);
    kv_fini(&s->kv);
    mem_free(s->staging);
    mem_free(s->rows);
    mem_free(s->inv_freq);
    mem_free(s);
}

/* A smaller batch may, by the order of its lifetimes, need a little more than the largest one did. */
static enum err_code make_room(struct session *s, const struct graph *g, struct err *e) {
    struct { uint64_t need, *have; uint32_t *buffer; } b[] = { { g->act_bytes, &s->mem.act_bytes, &s->act_buffer },
                                                              { g->io_bytes, &s->mem.io_bytes, &s->io_buffer } };
    for (size_t i = 0; i < ARRAY_LEN(b); i++) {
        if (b[i].need <= *b[i].have) continue;
        for (int k = 0; k < MAX_SHAPES; k++)
            if (s->shapes[k].pass.g != g) shape_free(&s->shapes[k], s->en->be);
        backend_release(s->en->be, *b[i].buffer);
        *b[i].buffer = 0;
        TRY(backend_alloc(s->en->be, b[i].need, b[i].buffer, e));
        *b[i].have = b[i].need;
    }
    return ERR_NONE;
}

static enum err_code find_shape(struct session *s, uint32_t n_tok, uint32_t n_out, struct shape **out, struct err *e) {
    struct shape *sh = &s->shapes[0];
    for (int i = 0; i < MAX_SHAPES; i++) {
        struct shape *c = &s->shapes[i];
        if (c->program && c->pass.n_tok == n_tok && c->pass.n_out == n_out) {
            c->used = ++s->clock;
            *out = c;
            return ERR_NONE;
        }
        if (c->used < sh->used) sh = c;
    }
    shape_free(sh, s->en->be);
    *sh = (struct shape){ .pass = { .n_tok = n_tok, .n_out = n_out }, .used = ++s->clock };
    struct pass_weights w = weights_of(s->en);
    struct graph *g = NULL;
    enum err_code rc = pass_build(&sh->pass, s->en->model, &s->d, &w, s->kv_buffer, e);
    if (!rc) rc = make_room(s, g = sh->pass.g, e);
    if (!rc) graph_place(g, s->act_buffer, s->io_buffer);
    if (!rc) rc = backend_compile(s->en->be, g, &sh->program, e);
    if (rc) shape_free(sh, s->en->be);
    *out = sh;
    return rc;
}

static enum err_code put(struct session *s, const struct shape *sh, tensor_id t, const void *data, struct err *e) {
    const struct tensor *x = graph_tensor(sh->pass.g, t);
    return backend_upload(s->en->be, s->io_buffer, x->place.off, data, x->bytes, e);
}

/* Tokens first .. first + n - 1 of a batch, of which n_out want logits. */
struct piece { const struct batch *b; size_t first; uint32_t n, n_out; };

static bool piece_goes_on(void *piece, const char *what, double done, double total) {
    const struct piece *p = piece;
    (void)what;
    return progress_step(&p->b->progress, "reading the prompt", (double)p->first + p->n * (done / total),
                         (double)p->b->n);
}

/* The program of a piece whose inputs are in place. */
static enum err_code run_program(struct session *s, struct piece *p, struct program *program, struct err *e) {
    struct backend *be = s->en->be;
    ticket t;
    if (p->b->progress.step) be->progress = (struct progress){ piece_goes_on, p };
    enum err_code rc = backend_submit(be, program, &t, e);
    if (!rc) rc = backend_wait(be, t, e);
    be->progress = (struct progress){ 0 };
    return rc;
}

static enum err_code put_inputs(struct session *s, const struct shape *sh, struct err *e) {
    const struct pass *p = &sh->pass;
    const int32_t *ids = s->staging;
    size_t stride = s->d.n_batch;
    TRY(put(s, sh, p->ids, ids, e));
    TRY(put(s, sh, p->pos, ids + stride, e));
    TRY(put(s, sh, p->seq, ids + 2 * stride, e));
    TRY(put(s, sh, p->cells, ids + 3 * stride, e));
    TRY(put(s, sh, p->pages, s->kv.table, e));
    TRY(put(s, sh, p->inv_freq, s->inv_freq, e));
    if (p->inv_freq_local != NO_TENSOR) TRY(put(s, sh, p->inv_freq_local, s->inv_freq_local, e));
    return p->n_out ? put(s, sh, p->rows, s->rows, e) : ERR_NONE;
}

/* Runs a piece; logits gets the rows that are wanted. If that fails, the sequences are as long as before. */
static enum err_code run_piece(struct session *s, struct piece *p, float *logits, struct err *e) {
    struct shape *sh;
    TRY(find_shape(s, p->n, p->n_out, &sh, e));
    size_t stride = s->d.n_batch;
    int32_t *ids = s->staging, *pos = ids + stride, *seq = pos + stride, *cells = seq + stride;
    for (uint32_t t = 0, o = 0; t < p->n; t++) {
        size_t i = p->first + t;
        ids[t] = p->b->ids[i];
        seq[t] = p->b->seq ? (int32_t)p->b->seq[i] : 0;
        pos[t] = (int32_t)s->kv.length[seq[t]];
        cells[t] = kv_append(&s->kv, (uint32_t)seq[t]);
        bool wanted = p->b->want ? p->b->want[i] : i + 1 == p->b->n;
        if (wanted) s->rows[o++] = (int32_t)t;
    }
    enum err_code rc = put_inputs(s, sh, e);
    if (!rc) rc = run_program(s, p, sh->program, e);
    if (!rc && p->n_out) {
        const struct tensor *out = graph_tensor(sh->pass.g, sh->pass.logits);
        rc = backend_download(s->en->be, s->io_buffer, out->place.off, logits, out->bytes, e);
    }
    for (uint32_t t = p->n; rc && t-- > 0;) kv_truncate(&s->kv, (uint32_t)seq[t], (uint32_t)pos[t]);
    return rc;
}

/* Ids and sequences are in range and every sequence has room; longest: its length after the batch. */
static enum err_code check_batch(const struct session *s, const struct batch *b, uint32_t *longest, struct err *e) {
    uint32_t *length = mem_alloc(s->d.n_seq, sizeof *length);
    if (!length) return err_no_memory(e, s->d.n_seq * sizeof *length);
    memcpy(length, s->kv.length, s->d.n_seq * sizeof *length);
    enum err_code rc = ERR_NONE;
    *longest = 0;
    for (size_t i = 0; i < b->n && !rc; i++) {
        uint32_t seq = b->seq ? b->seq[i] : 0;
        if (b->ids[i] < 0 || (uint32_t)b->ids[i] >= s->en->model->hp.n_vocab)
            rc = err_set(e, ERR_USAGE, "token id %d is outside of the vocabulary of %u", b->ids[i],
                         s->en->model->hp.n_vocab);
        else if (seq >= s->d.n_seq)
            rc = err_set(e, ERR_USAGE, "sequence %u of %u", seq, s->d.n_seq);
        else if (++length[seq] > s->d.n_ctx)
            rc = err_set(e, ERR_TOO_LARGE, "the context of %u tokens is full", s->d.n_ctx);
        else if (length[seq] > *longest)
            *longest = length[seq];
    }
    mem_free(length);
    return rc;
}

enum err_code session_eval(struct session *s, const struct batch *b, float *logits, struct err *e) {
    uint32_t longest = 0;
    TRY(check_batch(s, b, &longest, e));
    rope_inv_freq(&s->en->model->hp.rope, s->en->divisors, longest, s->inv_freq);
    rope_inv_freq(&s->en->model->hp.rope_local, s->en->divisors, longest, s->inv_freq_local);
    for (size_t first = 0; first < b->n;) {
        struct piece p = { .b = b, .first = first };
        while (first + p.n < b->n && p.n < s->d.n_batch) {
            bool wanted = b->want ? b->want[first + p.n] : first + p.n + 1 == b->n;
            if (wanted && p.n_out == s->d.n_out) break;
            p.n_out += wanted;
            p.n++;
        }
        enum err_code rc = run_piece(s, &p, logits, e);
        if (rc == ERR_INTERRUPTED) return err_set(e, rc, "interrupted after %zu of %zu tokens", first, b->n);
        if (rc) return rc;
        first += p.n;
        logits += (size_t)p.n_out * s->en->model->hp.n_vocab;
    }
    return ERR_NONE;
}

uint32_t session_n_ctx(const struct session *s) { return s->d.n_ctx; }
struct pass_memory session_taken(const struct session *s) { return s->mem; }
uint32_t session_length(const struct session *s, uint32_t seq) { return s->kv.length[seq]; }
void session_truncate(struct session *s, uint32_t seq, uint32_t length) { kv_truncate(&s->kv, seq, length); }

uint64_t session_kv_bytes_read(const struct session *s, uint32_t seq) {
    return pass_kv_token_bytes(&s->en->model->hp, s->d.kv) * (s->kv.length[seq] + 1);
}
