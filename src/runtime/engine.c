/* Placing a model on a device.
 *
 * Matrices are used where the file is mapped when the device shares the host's memory and the file has them whole;
 * those of a stack may lie apart, as experts do in files that keep each by itself. The others are copied into one
 * buffer. Vectors (norms, biases, routers) are few: they become F32 there, so that
 * kernels need one type.
 * The engine owns model, vocabulary, tokenizer and back end, and frees them in the reverse order. */
#include "runtime/engine.h"
#include "base/num.h"
#include "base/os.h"
#include "runtime/vocab_file.h"

/* The part of a shard's mapping that its tensors cover, lent to the device as one buffer. */
struct lent { const uint8_t *begin, *end; uint32_t buffer; };

static bool is_vector(const struct weight *w) { return !slot_info(w->slot)->matrix; }

/* Matrices that a device which shares the host's memory can use where they are. */
static bool is_usable_in_file(const struct weight *w) { return !is_vector(w) && model_matrix_in_file(w, 0); }

static const struct tfile_tensor *tensor_of(const struct weight *w, uint64_t matrix) {
    return w->n_parts == 1 ? w->src : w->parts[matrix];
}

static enum err_code lend_shards(struct engine *en, struct lent *lent, size_t n_shards, struct err *e) {
    const struct model *m = en->model;
    for (uint32_t i = 0; i < m->n_weights; i++) {
        const struct weight *w = &m->weights[i];
        for (uint32_t part = 0; is_usable_in_file(w) && part < w->n_parts; part++) {
            const struct tfile_tensor *t = w->parts[part];
            struct lent *l = &lent[t->shard];
            if (!l->begin || t->data < l->begin) l->begin = t->data;
            if (t->data + t->bytes > l->end) l->end = t->data + t->bytes;
        }
    }
    for (size_t s = 0; s < n_shards; s++)
        if (lent[s].begin)
            TRY(backend_import(en->be, lent[s].begin, (uint64_t)(lent[s].end - lent[s].begin), &lent[s].buffer, e));
    return ERR_NONE;
}

static struct place place_of(const struct weight *w, uint64_t matrix, const struct lent *lent) {
    const struct lent *l = &lent[tensor_of(w, matrix)->shard];
    return (struct place){ l->buffer, (uint64_t)(model_matrix_in_file(w, matrix) - l->begin) };
}

static enum err_code place_one(struct engine *en, uint32_t index, const struct lent *lent, struct err *e) {
    const struct weight *w = &en->model->weights[index];
    struct place *each = NULL;
    if (w->ne[2] > 1 && !model_is_in_file(w)) {
        each = arena_alloc(&en->places, w->ne[2], sizeof *each);
        if (!each) return err_no_memory(e, w->ne[2] * sizeof *each);
        for (uint64_t x = 0; x < w->ne[2]; x++) each[x] = place_of(w, x, lent);
    }
    en->placed[index] = (struct placed){ w->type, place_of(w, 0, lent), each };
    en->mapped_bytes += model_weight_bytes(w);
    return ERR_NONE;
}

static enum err_code place_in_file(struct engine *en, struct err *e) {
    const struct model *m = en->model;
    struct lent *lent = NEW_ARRAY(struct lent, m->file->n_files);
    if (!lent) return err_no_memory(e, m->file->n_files * sizeof *lent);
    enum err_code rc = lend_shards(en, lent, m->file->n_files, e);
    for (uint32_t i = 0; !rc && i < m->n_weights; i++)
        if (is_usable_in_file(&m->weights[i])) rc = place_one(en, i, lent, e);
    mem_free(lent);
    return rc;
}

enum { PIECE_BYTES = 1 << 22 }; /* of a weight, held on the way to a device */

/* Brings a matrix to the device as its type stores it, piece by piece where the file keeps it in another order. */
static enum err_code upload_matrix(struct engine *en, const struct weight *w, uint32_t buffer, uint64_t off,
                                   struct err *e) {
    if (model_is_in_file(w)) return backend_upload(en->be, buffer, off, w->src->data, model_weight_bytes(w), e);
    uint64_t n_rows = model_weight_rows(w), row = model_weight_bytes(w) / n_rows, step = max_u64(1, PIECE_BYTES / row);
    void *piece = mem_alloc(min_u64(step, n_rows), row);
    if (!piece) return err_no_memory(e, step * row);
    enum err_code rc = ERR_NONE;
    for (uint64_t r = 0; r < n_rows && !rc; r += step) {
        uint64_t n = min_u64(step, n_rows - r);
        model_copy_file_rows(w, r, n, piece);
        rc = backend_upload(en->be, buffer, off + r * row, piece, n * row, e);
    }
    mem_free(piece);
    return rc;
}

static enum err_code upload_vector(struct engine *en, const struct weight *w, uint32_t buffer, uint64_t off,
                                   struct err *e) {
    uint64_t n_rows = model_weight_rows(w), n = w->ne[0] * n_rows;
    float *v = mem_alloc(n, sizeof *v);
    if (!v) return err_no_memory(e, n * sizeof *v);
    model_read_file_rows(w, 0, n_rows, v);
    enum err_code rc = backend_upload(en->be, buffer, off, v, n * sizeof *v, e);
    mem_free(v);
    return rc;
}

static uint64_t bytes_on_device(const struct engine *en, const struct weight *w) {
    enum qtype type = is_vector(w) ? QTYPE_F32 : w->type;
    return round_up(backend_weight_bytes(en->be, type, w->ne), 64);
}

/* Whatever place_in_file left: everything on a device with a memory of its own, else vectors and matrices that the file
 * keeps in another order. */
static enum err_code place_copies(struct engine *en, struct err *e) {
    const struct model *m = en->model;
    uint64_t total = 0, off = 0;
    uint32_t buffer;
    for (uint32_t i = 0; i < m->n_weights; i++)
        if (!en->placed[i].at.buffer) total += bytes_on_device(en, &m->weights[i]);
    TRY(backend_alloc(en->be, total, &buffer, e));
    en->own_bytes += total;
    for (uint32_t i = 0; i < m->n_weights; i++) {
        const struct weight *w = &m->weights[i];
        if (en->placed[i].at.buffer) continue;
        TRY((is_vector(w) ? upload_vector : upload_matrix)(en, w, buffer, off, e));
        en->placed[i] = (struct placed){ is_vector(w) ? QTYPE_F32 : w->type, { buffer, off }, NULL };
        off += bytes_on_device(en, w);
    }
    return ERR_NONE;
}

static enum err_code read_divisors(struct engine *en, struct err *e) {
    const struct weight *w = model_weight(en->model, SLOT_ROPE_FREQS, 0);
    if (!w) return ERR_NONE;
    en->divisors = mem_alloc(w->ne[0], sizeof *en->divisors);
    if (!en->divisors) return err_no_memory(e, w->ne[0] * sizeof *en->divisors);
    model_read_rows(w, 0, 1, en->divisors);
    return ERR_NONE;
}

static enum err_code place_weights(struct engine *en, struct err *e) {
    struct device_info info;
    en->be->ops->info(en->be, &info);
    en->placed = NEW_ARRAY(struct placed, en->model->n_weights);
    if (!en->placed) return err_no_memory(e, en->model->n_weights * sizeof *en->placed);
    if (info.host_memory) TRY(place_in_file(en, e));
    return place_copies(en, e);
}

static enum err_code read_vocab(struct engine *en, struct tfile *f, struct err *e) {
    TRY(vocab_from_file(f, &en->vocab, e));
    if (en->vocab.model == VOCAB_NONE) return ERR_NONE;
    return tok_open(&en->vocab, &en->tok, e);
}

enum err_code engine_open(const char *path, const struct engine_options *o, struct engine **out, struct err *e) {
    *out = NULL;
    uint64_t t0 = os_now_ns();
    struct engine *en = NEW(struct engine);
    if (!en) {
        backend_close(o->device);
        return err_no_memory(e, sizeof *en);
    }
    en->exact = o->exact;
    en->be = o->device;
    enum err_code rc;
    TRY_OUT(rc, kv_types_named(o->cache_type_k, o->cache_type_v, o->exact, &en->kv, e));
    TRY_OUT(rc, model_open(path, false, &en->model, e));
    TRY_OUT(rc, kv_types_check(&en->model->hp, en->kv, e));
    TRY_OUT(rc, read_vocab(en, en->model->file, e));
    struct backend_options bo = { .threads = o->threads, .exact = o->exact };
    if (!en->be) TRY_OUT(rc, backend_open(o->backend ? o->backend : "cpu", &bo, &en->be, e));
    TRY_OUT(rc, place_weights(en, e));
    TRY_OUT(rc, read_divisors(en, e));
    en->load_ns = os_now_ns() - t0;
    *out = en;
    return ERR_NONE;
out:
    engine_close(en);
    return rc;
}

enum err_code engine_open_vocab(const char *path, struct engine **out, struct err *e) {
    *out = NULL;
    struct engine *en = NEW(struct engine);
    if (!en) return err_no_memory(e, sizeof *en);
    struct tfile *f = NULL;
    enum err_code rc = tfile_open(path, TFILE_NO_WEIGHTS_OK, &f, e);
    if (!rc) rc = read_vocab(en, f, e);
    if (!rc && !en->tok) rc = err_where(e, err_set(e, ERR_UNSUPPORTED, "it has no tokenizer"), "%s", path);
    tfile_close(f);
    if (rc) engine_close(en);
    else *out = en;
    return rc;
}

void engine_close(struct engine *en) {
    if (!en) return;
    backend_close(en->be);
    tok_close(en->tok);
    vocab_fini(&en->vocab);
    model_close(en->model);
    mem_free(en->placed);
    arena_fini(&en->places);
    mem_free(en->divisors);
    mem_free(en);
}

tensor_id engine_weight(void *engine, struct graph *g, enum slot s, uint32_t layer) {
    const struct engine *en = engine;
    const struct weight *w = model_weight(en->model, s, layer);
    if (!w) return NO_TENSOR;
    const struct placed *p = &en->placed[w - en->model->weights];
    if (p->each) return graph_weight_apart(g, w->name, p->type, w->ne, p->each);
    return graph_weight(g, w->name, p->type, w->ne, TENSOR_DIMS, p->at);
}

uint64_t engine_weight_bytes(const struct engine *en, uint32_t index) {
    const struct weight *w = &en->model->weights[index];
    return backend_weight_bytes(en->be, en->placed[index].type, w->ne);
}

uint64_t engine_bytes_per_token(const struct engine *en) {
    const struct model *m = en->model;
    uint64_t total = 0;
    for (uint32_t i = 0; i < m->n_weights; i++) {
        uint64_t bytes = engine_weight_bytes(en, i);
        const struct weight *w = &m->weights[i];
        bool lookup_only = w->slot == SLOT_TOKEN_EMBD && !m->hp.tied;
        if (lookup_only) bytes /= w->ne[1];
        if (slot_info(w->slot)->experts) bytes = bytes / m->hp.n_expert * m->hp.n_expert_used;
        total += bytes;
    }
    return total;
}
