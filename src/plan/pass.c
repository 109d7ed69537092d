/* The graph of a whole pass. See pass.h. */
#include "plan/pass.h"
#include <string.h>
#include "base/log.h"
#include "base/num.h"

struct pass_desc pass_defaults(const struct hparams *hp, const struct pass_desc *d) {
    struct pass_desc r = *d;
    if (!r.n_ctx) r.n_ctx = (uint32_t)min_u64(PASS_DEFAULT_CTX, hp->n_ctx_train);
    if (!r.n_seq) r.n_seq = 1;
    if (!r.n_batch) r.n_batch = PASS_DEFAULT_BATCH;
    if (!r.n_out) r.n_out = 1;
    r.n_batch = (uint32_t)min_u64(r.n_batch, (uint64_t)r.n_ctx * r.n_seq);
    r.n_out = (uint32_t)min_u64(r.n_out, r.n_batch);
    return r;
}

void pass_warn(const struct hparams *hp, const struct pass_desc *d) {
    if (d->n_ctx > hp->n_ctx_train)
        log_warn("a context of %u tokens is more than the %u that the model was made for", d->n_ctx, hp->n_ctx_train);
}

uint32_t pass_n_pages(const struct pass_desc *d) { return (uint32_t)div_up(d->n_ctx, KV_PAGE); }

static uint64_t n_cells(const struct pass_desc *d) { return (uint64_t)d->n_seq * pass_n_pages(d) * KV_PAGE; }

/* Bytes of a cache whose rows are of this width. */
static uint64_t cache_bytes(const struct pass_desc *d, enum qtype type, uint64_t width) {
    uint64_t row = 0;
    qtype_row_bytes(type, width, &row);
    return round_up(n_cells(d) * row, 64);
}

/* Of one block, keys before values. */
static uint64_t block_kv_bytes(const struct hparams *hp, const struct pass_desc *d) {
    return cache_bytes(d, d->kv.k, hparams_k_width(hp)) + cache_bytes(d, d->kv.v, hparams_v_width(hp));
}

uint64_t pass_kv_bytes(const struct hparams *hp, const struct pass_desc *d) {
    return hp->n_layer * block_kv_bytes(hp, d);
}

uint64_t pass_kv_token_bytes(const struct hparams *hp, struct kv_types kv) {
    uint64_t k = 0, v = 0;
    qtype_row_bytes(kv.k, hparams_k_width(hp), &k);
    qtype_row_bytes(kv.v, hparams_v_width(hp), &v);
    return hp->n_layer * (k + v);
}

static void add_caches(struct build *b, const struct pass_desc *d, uint32_t kv_buffer, uint32_t layer) {
    const struct hparams *hp = &b->m->hp;
    uint64_t k[2] = { hparams_k_width(hp), n_cells(d) }, v[2] = { hparams_v_width(hp), n_cells(d) };
    uint64_t at = layer * block_kv_bytes(hp, d);
    b->k_cache = graph_kv(b->g, "k_cache", d->kv.k, k, 2, (struct place){ kv_buffer, at });
    if (!v[0]) return;
    at += cache_bytes(d, d->kv.k, k[0]);
    b->v_cache = graph_kv(b->g, "v_cache", d->kv.v, v, 2, (struct place){ kv_buffer, at });
}

static tensor_id add_inv_freq(struct graph *g, const char *name, const struct rope_params *r) {
    return graph_input(g, name, QTYPE_F32, (uint64_t[]){ r->n_rot / 2 }, 1);
}

static tensor_id add_ids(struct graph *g, const char *name, uint64_t n, uint64_t rows) {
    return graph_input(g, name, TENSOR_I32, (uint64_t[]){ n, rows }, 2);
}

enum err_code pass_build(struct pass *p, const struct model *m, const struct pass_desc *d, const struct pass_weights *w,
                         uint32_t kv_buffer, struct err *e) {
    const struct hparams *hp = &m->hp;
    struct graph *g = p->g = graph_new();
    if (!g) return err_no_memory(e, sizeof *g);
    p->ids = add_ids(g, "ids", p->n_tok, 1);
    p->pos = add_ids(g, "positions", p->n_tok, 1);
    p->seq = add_ids(g, "sequences", p->n_tok, 1);
    p->cells = add_ids(g, "cells", p->n_tok, 1);
    p->pages = add_ids(g, "pages", pass_n_pages(d), d->n_seq);
    p->inv_freq = add_inv_freq(g, "inv_freq", &hp->rope);
    p->inv_freq_local = hp->has_local_rope ? add_inv_freq(g, "inv_freq_local", &hp->rope_local) : NO_TENSOR;
    p->rows = p->logits = NO_TENSOR;
    struct build b = { .g = g, .m = m, .weight = w->weight, .user = w->user, .pos = p->pos, .seq = p->seq,
                       .cells = p->cells, .pages = p->pages, .inv_freq = p->inv_freq,
                       .inv_freq_local = p->inv_freq_local, .v_cache = NO_TENSOR, .page = KV_PAGE };
    tensor_id x = model_build_embed(&b, p->ids);
    for (uint32_t l = 0; l < hp->n_layer; l++) {
        add_caches(&b, d, kv_buffer, l);
        x = model_build_block(&b, l, x);
    }
    if (p->n_out) {
        p->rows = add_ids(g, "rows", p->n_out, 1);
        p->logits = model_build_head(&b, graph_get_rows(g, x, p->rows, 1.0f));
        graph_output(g, p->logits);
    }
    return graph_finish(g, e);
}

void pass_fini(struct pass *p) {
    graph_free(p->g);
    memset(p, 0, sizeof *p);
}

enum err_code pass_memory(struct backend *be, const struct model *m, const struct pass_desc *desc,
                          const struct pass_weights *w,
                          struct pass_memory *out, struct err *e) {
    struct pass_desc d = pass_defaults(&m->hp, desc);
    if (n_cells(&d) > INT32_MAX) return err_set(e, ERR_USAGE, "%u sequences of %u tokens are too many", d.n_seq,
                                                d.n_ctx);
    TRY(kv_types_check(&m->hp, d.kv, e));
    struct pass p = { .n_tok = d.n_batch, .n_out = d.n_out };
    enum err_code rc = pass_build(&p, m, &d, w, 1, e);
    if (!rc)
        *out = (struct pass_memory){ .kv_bytes = pass_kv_bytes(&m->hp, &d), .act_bytes = p.g->act_bytes,
                                     .io_bytes = p.g->io_bytes, .scratch_bytes = backend_scratch_bytes(be, p.g) };
    pass_fini(&p);
    return rc;
}
