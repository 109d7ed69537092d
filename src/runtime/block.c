/* One piece of a model at a time: embedding, a block, the head.
 *
 * Each piece is a graph over one sequence of fixed length with float caches of its own, rebuilt when the block or a
 * replaced weight changes. The inputs of the matrices are outputs of the graph, so that they can be read after a run.
 * */
#include "runtime/block.h"
#include "base/num.h"
#include "base/os.h"
#include "runtime/session.h"

enum { MAX_TAPS = 16, MAX_REPLACED = 16 };
enum piece { PIECE_NONE, PIECE_EMBED, PIECE_BLOCK, PIECE_HEAD };

struct tap { enum slot slot; tensor_id x, ids; /* ids as struct build's tap_stack has them */ };
struct staging { void *p; uint64_t bytes; }; /* grown as needed */
struct replaced { enum slot slot; uint32_t layer; enum qtype type; uint32_t buffer; };

struct block_runner {
    struct engine *en;
    uint32_t length;
    uint32_t kv_buffer, act_buffer, io_buffer;
    uint64_t act_bytes, io_bytes;
    struct replaced replaced[MAX_REPLACED];
    unsigned n_replaced;
    float *inv_freq;     /* (n_rot / 2), of rope; behind it the same of rope_local */
    float *inv_freq_local;
    int32_t *positions;  /* (length): 0, 1, ...: positions, cells and pages at once */
    int32_t *zeros;      /* (length): sequence numbers */
    struct staging x, ids; /* of one tap */

    /* The piece that is compiled now. */
    enum piece piece;
    uint32_t layer;
    struct graph *g;
    struct program *program;
    tensor_id in, out, pos, seq, cells, pages, inv, inv_local;
    struct tap taps[MAX_TAPS];
    unsigned n_taps;
};

static void drop_piece(struct block_runner *r) {
    program_free(r->en->be, r->program);
    graph_free(r->g);
    r->program = NULL;
    r->g = NULL;
    r->piece = PIECE_NONE;
    r->n_taps = 0;
}

static uint64_t cache_bytes(const struct block_runner *r, uint64_t width) {
    return round_up(round_up(r->length, KV_PAGE) * width * sizeof(float), 64);
}

enum err_code block_open(struct engine *en, uint32_t length, struct block_runner **out, struct err *e) {
    *out = NULL;
    const struct hparams *hp = &en->model->hp;
    struct block_runner *r = NEW(struct block_runner);
    if (!r) return err_no_memory(e, sizeof *r);
    r->en = en;
    r->length = length;
    enum err_code rc;
    r->inv_freq = NEW_ARRAY(float, hp->rope.n_rot / 2 + hp->rope_local.n_rot / 2);
    r->positions = NEW_ARRAY(int32_t, length);
    r->zeros = NEW_ARRAY(int32_t, length);
    if (!r->inv_freq || !r->positions || !r->zeros) TRY_OUT(rc, err_no_memory(e, 8ull * length));
    for (uint32_t i = 0; i < length; i++) r->positions[i] = (int32_t)i;
    r->inv_freq_local = r->inv_freq + hp->rope.n_rot / 2;
    rope_inv_freq(&hp->rope, en->divisors, length, r->inv_freq);
    rope_inv_freq(&hp->rope_local, en->divisors, length, r->inv_freq_local);
    uint64_t cache = cache_bytes(r, hparams_k_width(hp)) + cache_bytes(r, hparams_v_width(hp));
    TRY_OUT(rc, backend_alloc(en->be, cache, &r->kv_buffer, e));
    *out = r;
    r = NULL;
out:
    block_close(r);
    return rc;
}

void block_close(struct block_runner *r) {
    if (!r) return;
    drop_piece(r);
    block_restore(r);
    const uint32_t buffers[] = { r->kv_buffer, r->act_buffer, r->io_buffer };
    for (size_t i = 0; i < ARRAY_LEN(buffers); i++)
        if (buffers[i]) backend_release(r->en->be, buffers[i]);
    mem_free(r->inv_freq);
    mem_free(r->positions);
    mem_free(r->zeros);
    mem_free(r->x.p);
    mem_free(r->ids.p);
    mem_free(r);
}

enum err_code block_replace(struct block_runner *r, enum slot s, uint32_t layer, enum qtype type, const void *data,
                            struct err *e) {
    const struct weight *w = model_weight(r->en->model, s, layer);
    uint64_t row;
    if (!w || r->n_replaced == MAX_REPLACED || !qtype_row_bytes(type, w->ne[0], &row))
        return err_set(e, ERR_INTERNAL, "slot %u of block %u cannot be replaced", (unsigned)s, layer);
    struct replaced *p = &r->replaced[r->n_replaced];
    *p = (struct replaced){ s, layer, type, 0 };
    TRY(backend_import(r->en->be, data, row * model_weight_rows(w), &p->buffer, e));
    r->n_replaced++;
    drop_piece(r);
    return ERR_NONE;
}

void block_restore(struct block_runner *r) {
    if (r->n_replaced) drop_piece(r);
    while (r->n_replaced) backend_release(r->en->be, r->replaced[--r->n_replaced].buffer);
}

static tensor_id weight_or_replacement(void *user, struct graph *g, enum slot s, uint32_t layer) {
    struct block_runner *r = user;
    for (unsigned i = 0; i < r->n_replaced; i++) {
        const struct replaced *p = &r->replaced[i];
        if (p->slot != s || p->layer != layer) continue;
        const struct weight *w = model_weight(r->en->model, s, layer);
        return graph_weight(g, w->name, p->type, w->ne, TENSOR_DIMS, (struct place){ p->buffer, 0 });
    }
    return engine_weight(r->en, g, s, layer);
}

/* Inputs of the graph stay where they are; what is made would be written over. */
static void keep(struct block_runner *r, tensor_id t) {
    if (t != NO_TENSOR && graph_tensor(r->g, t)->role != ROLE_INPUT) graph_output(r->g, t);
}

static void remember_stack(void *user, enum slot s, uint32_t layer, tensor_id x, tensor_id ids) {
    struct block_runner *r = user;
    (void)layer;
    if (r->n_taps == MAX_TAPS) return;
    keep(r, x);
    keep(r, ids);
    r->taps[r->n_taps++] = (struct tap){ s, x, ids };
}

static void remember_tap(void *user, enum slot s, uint32_t layer, tensor_id x) {
    remember_stack(user, s, layer, x, NO_TENSOR);
}

static void add_attention_inputs(struct block_runner *r, struct build *b) {
    const struct hparams *hp = &r->en->model->hp;
    uint64_t tokens[] = { r->length, 1 }, pages[] = { div_up(r->length, KV_PAGE), 1 };
    b->pos = r->pos = graph_input(r->g, "positions", TENSOR_I32, tokens, 2);
    b->seq = r->seq = graph_input(r->g, "sequences", TENSOR_I32, tokens, 2);
    b->cells = r->cells = graph_input(r->g, "cells", TENSOR_I32, tokens, 2);
    b->pages = r->pages = graph_input(r->g, "pages", TENSOR_I32, pages, 2);
    b->inv_freq = r->inv = graph_input(r->g, "inv_freq", QTYPE_F32, (uint64_t[]){ hp->rope.n_rot / 2 }, 1);
    b->inv_freq_local = r->inv_local = NO_TENSOR;
    if (hp->has_local_rope)
        b->inv_freq_local = r->inv_local = graph_input(r->g, "inv_freq_local", QTYPE_F32,
                                                       (uint64_t[]){ hp->rope_local.n_rot / 2 }, 1);
    uint64_t cells = round_up(r->length, KV_PAGE), k[] = { hparams_k_width(hp), cells },
             v[] = { hparams_v_width(hp), cells };
    b->k_cache = graph_kv(r->g, "k_cache", QTYPE_F32, k, 2, (struct place){ r->kv_buffer, 0 });
    b->v_cache = NO_TENSOR;
    if (v[0])
        b->v_cache = graph_kv(r->g, "v_cache", QTYPE_F32, v, 2, (struct place){ r->kv_buffer, cache_bytes(r, k[0]) });
}

static void build_piece(struct block_runner *r, enum piece piece, uint32_t layer) {
    struct graph *g = r->g;
    struct build b = { .g = g, .m = r->en->model, .weight = weight_or_replacement, .user = r, .page = KV_PAGE,
                       .tap = remember_tap, .tap_stack = remember_stack };
    uint64_t states[] = { r->en->model->hp.n_embd, r->length };
    if (piece == PIECE_EMBED) {
        r->in = graph_input(g, "ids", TENSOR_I32, (uint64_t[]){ r->length }, 1);
        r->out = model_build_embed(&b, r->in);
    } else {
        r->in = graph_input(g, "states", QTYPE_F32, states, 2);
        if (piece == PIECE_BLOCK) add_attention_inputs(r, &b);
        r->out = piece == PIECE_BLOCK ? model_build_block(&b, layer, r->in) : model_build_head(&b, r->in);
    }
    graph_output(g, r->out);
}

static enum err_code grow(struct block_runner *r, uint32_t *buffer, uint64_t *have, uint64_t need, struct err *e) {
    if (need <= *have) return ERR_NONE;
    if (*buffer) backend_release(r->en->be, *buffer);
    *buffer = 0;
    *have = 0;
    TRY(backend_alloc(r->en->be, need, buffer, e));
    *have = need;
    return ERR_NONE;
}

static enum err_code put(struct block_runner *r, tensor_id t, const void *data, struct err *e) {
    const struct tensor *x = graph_tensor(r->g, t);
    return backend_upload(r->en->be, r->io_buffer, x->place.off, data, x->bytes, e);
}

static enum err_code compile_piece(struct block_runner *r, enum piece piece, uint32_t layer, struct err *e) {
    if (r->piece == piece && r->layer == layer) return ERR_NONE;
    drop_piece(r);
    if (!(r->g = graph_new())) return err_no_memory(e, sizeof *r->g);
    build_piece(r, piece, layer);
    TRY(graph_finish(r->g, e));
    TRY(grow(r, &r->act_buffer, &r->act_bytes, r->g->act_bytes, e));
    TRY(grow(r, &r->io_buffer, &r->io_bytes, r->g->io_bytes, e));
    graph_place(r->g, r->act_buffer, r->io_buffer);
    TRY(backend_compile(r->en->be, r->g, &r->program, e));
    r->piece = piece;
    r->layer = layer;
    if (piece != PIECE_BLOCK) return ERR_NONE;
    TRY(put(r, r->pos, r->positions, e));
    TRY(put(r, r->seq, r->zeros, e));
    TRY(put(r, r->cells, r->positions, e));
    TRY(put(r, r->pages, r->positions, e));
    TRY(put(r, r->inv, r->inv_freq, e));
    return r->inv_local == NO_TENSOR ? ERR_NONE : put(r, r->inv_local, r->inv_freq_local, e);
}

static enum err_code fetch(struct block_runner *r, tensor_id t, struct staging *s, struct err *e) {
    const struct tensor *x = graph_tensor(r->g, t);
    if (x->bytes > s->bytes) {
        mem_free(s->p);
        s->p = mem_alloc(x->bytes, 1);
        s->bytes = s->p ? x->bytes : 0;
        if (!s->p) return err_no_memory(e, x->bytes);
    }
    return backend_download(r->en->be, r->io_buffer, x->place.off, s->p, x->bytes, e);
}

static enum err_code give_tap(struct block_runner *r, const struct tap *t, block_tap *tap, void *user, struct err *e) {
    const struct weight *w = model_weight(r->en->model, t->slot, r->layer);
    bool chosen = t->ids != NO_TENSOR;
    struct block_input in = { .slot = t->slot, .n_in = w->ne[0], .n_tok = r->length,
                              .n_slot = chosen ? graph_tensor(r->g, t->ids)->ne[0] : w->ne[2] };
    in.shared = graph_tensor(r->g, t->x)->bytes == in.n_in * in.n_tok * sizeof(float);
    TRY(fetch(r, t->x, &r->x, e));
    if (chosen) TRY(fetch(r, t->ids, &r->ids, e));
    in.x = r->x.p;
    in.ids = chosen ? r->ids.p : NULL;
    tap(user, &in);
    return ERR_NONE;
}

static enum err_code give_taps(struct block_runner *r, block_tap *tap, void *user, struct err *e) {
    for (unsigned i = 0; i < r->n_taps; i++) TRY(give_tap(r, &r->taps[i], tap, user, e));
    return ERR_NONE;
}

static enum err_code run(struct block_runner *r, const void *in, float *out, struct err *e) {
    TRY(put(r, r->in, in, e));
    ticket t;
    TRY(backend_submit(r->en->be, r->program, &t, e));
    TRY(backend_wait(r->en->be, t, e));
    const struct tensor *y = graph_tensor(r->g, r->out);
    return backend_download(r->en->be, r->io_buffer, y->place.off, out, y->bytes, e);
}

enum err_code block_embed(struct block_runner *r, const int32_t *ids, float *x, struct err *e) {
    TRY(compile_piece(r, PIECE_EMBED, 0, e));
    return run(r, ids, x, e);
}

enum err_code block_run(struct block_runner *r, uint32_t layer, float *x, block_tap *tap, void *user, struct err *e) {
    TRY(compile_piece(r, PIECE_BLOCK, layer, e));
    TRY(run(r, x, x, e));
    return tap ? give_taps(r, tap, user, e) : ERR_NONE;
}

enum err_code block_head(struct block_runner *r, const float *x, float *logits, block_tap *tap, void *user,
                         struct err *e) {
    TRY(compile_piece(r, PIECE_HEAD, 0, e));
    TRY(run(r, x, logits, e));
    return tap ? give_taps(r, tap, user, e) : ERR_NONE;
}

void block_release(struct block_runner *r, uint32_t layer) {
    const struct model *m = r->en->model;
    for (uint32_t i = 0; i < m->n_weights; i++) {
        const struct weight *w = &m->weights[i];
        if (w->layer == layer && slot_info(w->slot)->per_block) model_release(w);
    }
}
