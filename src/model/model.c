/* Opening a model: every tensor of the file set lands in one slot, with the shape that the hyper-parameters ask for.
 *
 * Nothing is read but headers; the weights stay where the file set maps them. A tensor that fits no slot is an error
 * rather than a guess: it would mean that the model computes something else than what is built here. */
#include "model/model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "base/str.h"

/* The families, and their list. */
#define ARCH(name) extern const struct arch arch_##name;
#include "model/arch.def"
#undef ARCH
const struct arch *const arch_all[] = {
#define ARCH(name) &arch_##name,
#include "model/arch.def"
#undef ARCH
    NULL
};

/* --- Slots --- */

enum slot_shape { VECTOR, MATRIX };

const struct slot_info *slot_info(enum slot s) {
    static const struct slot_info table[SLOT_COUNT] = {
#define SLOT(name, gguf, shape, part) \
    [SLOT_##name] = { gguf, (shape) == MATRIX, gguf[0] == 'b' && gguf[1] == 'l' && gguf[2] == 'k', part },
#include "model/slots.def"
#undef SLOT
    };
    return &table[s];
}

void slot_format_name(const char *pattern, uint32_t layer, char out[SLOT_NAME_BYTES]) {
    const char *u = strstr(pattern, "%u");
    if (u) snprintf(out, SLOT_NAME_BYTES, "%.*s%u%s", (int)(u - pattern), pattern, layer, u + 2);
    else snprintf(out, SLOT_NAME_BYTES, "%s", pattern);
}

/* --- Binding --- */

struct binder {
    struct model *m;
    bool *used; /* (n_tensors) of the file */
};

static bool from_hf(const struct model *m) { return m->file->kind != TFILE_GGUF; }
static bool shapes_alone(const struct model *m) { return m->file->n_tensors == 0; }

/* "(4096, 128256)" */
struct shape_text { char p[96]; };
static struct shape_text shape_text(const uint64_t ne[TENSOR_DIMS], unsigned n_dims) {
    struct shape_text s;
    int n = snprintf(s.p, sizeof s.p, "(");
    for (unsigned i = 0; i < n_dims; i++)
        n += snprintf(s.p + n, sizeof s.p - (size_t)n, "%s%llu", i ? ", " : "", (unsigned long long)ne[i]);
    snprintf(s.p + n, sizeof s.p - (size_t)n, ")");
    return s;
}

/* The file's name of a weight; false if files of this kind never have it. */
static bool file_name(const struct model *m, enum slot s, uint32_t layer, char out[SLOT_NAME_BYTES]) {
    const char *pattern = from_hf(m) ? m->hp.arch->hf_name(s) : slot_info(s)->gguf_name;
    if (pattern) slot_format_name(pattern, layer, out);
    return pattern;
}

/* Checkpoints of the bare model, without its head, leave the prefix "model." out. */
static const struct tfile_tensor *find(const struct model *m, const char *name) {
    static const char prefix[] = "model.";
    const struct tfile_tensor *t = tfile_find(m->file, name);
    bool prefixed = from_hf(m) && !strncmp(name, prefix, sizeof prefix - 1);
    return t || !prefixed ? t : tfile_find(m->file, name + sizeof prefix - 1);
}

static enum err_code check_tensor(const struct model *m, const struct weight *w, unsigned n_dims, struct err *e) {
    const struct tfile_tensor *t = w->src;
    enum err_code rc = ERR_NONE;
    if (memcmp(t->ne, w->ne, sizeof w->ne))
        rc = err_set(e, ERR_FORMAT, "tensor %s has shape %s; the hyper-parameters ask for %s", t->name,
                     shape_text(t->ne, t->n_dims).p, shape_text(w->ne, n_dims).p);
    else if (t->type == QTYPE_NONE)
        rc = err_set(e, ERR_UNSUPPORTED, "tensor %s has type %s, which is not supported", t->name, t->type_name);
    else if (!slot_info(w->slot)->matrix && !qtype_is_float(t->type))
        rc = err_set(e, ERR_UNSUPPORTED, "tensor %s has type %s; F32, F16 or BF16 is needed", t->name, t->type_name);
    return rc ? err_where(e, rc, "%s", tfile_file_path(m->file, t->shard)) : ERR_NONE;
}

/* The only weights that divide: a zero would turn every angle into no number. */
static enum err_code check_divisors(const struct model *m, const struct weight *w, struct err *e) {
    for (uint64_t i = 0; i < w->ne[0]; i++) {
        float d;
        qtype_info(w->type)->decode(w->src->data + i * qtype_info(w->type)->block_bytes, &d, 1);
        if (isfinite(d) && d > 0) continue;
        enum err_code rc = err_set(e, ERR_FORMAT, "tensor %s holds %g; positive numbers are needed", w->src->name,
                                   (double)d);
        return err_where(e, rc, "%s", tfile_file_path(m->file, w->src->shard));
    }
    return ERR_NONE;
}

static enum err_code bind_slot(struct binder *b, enum slot s, uint32_t layer, struct err *e) {
    struct model *m = b->m;
    struct weight *w = &m->weights[m->n_weights];
    *w = (struct weight){ .slot = s, .layer = layer, .type = m->hp.float_type, .ne = { 1, 1, 1, 1 } };
    unsigned n_dims = m->hp.arch->shape(&m->hp, s, w->ne);
    char name[SLOT_NAME_BYTES];
    if (!n_dims || !file_name(m, s, layer, name)) return ERR_NONE;
    slot_format_name(slot_info(s)->gguf_name, layer, w->name);
    if (from_hf(m)) w->permute_heads = model_permuted_heads(&m->hp, s);
    if (!shapes_alone(m)) {
        w->src = find(m, name);
        if (!w->src && s == SLOT_ROPE_FREQS) return ERR_NONE; /* only files with llama3 scaling have it */
        if (!w->src) {
            enum err_code rc = err_set(e, ERR_FORMAT, "tensor %s is missing", name);
            return err_where(e, rc, "%s", m->file->path);
        }
        TRY(check_tensor(m, w, n_dims, e));
        w->type = w->src->type;
        if (s == SLOT_ROPE_FREQS) TRY(check_divisors(m, w, e));
        b->used[w->src - m->file->tensors] = true;
    }
    m->by_slot[layer * SLOT_COUNT + s] = ++m->n_weights;
    return ERR_NONE;
}

static bool may_ignore(const struct model *m, const char *name) {
    size_t n = strlen(name);
    for (const char *const *end = m->hp.arch->ignored; *end; end++) {
        size_t k = strlen(*end);
        if (n >= k && !strcmp(name + n - k, *end)) return true;
    }
    /* Some checkpoints store the tied head too. */
    const char *head = from_hf(m) ? m->hp.arch->hf_name(SLOT_OUTPUT) : NULL;
    return head && m->hp.tied && !strcmp(name, head);
}

static enum err_code check_unused(const struct binder *b, struct err *e) {
    const struct tfile *f = b->m->file;
    for (size_t i = 0; i < f->n_tensors; i++) {
        const struct tfile_tensor *t = &f->tensors[i];
        if (b->used[i] || may_ignore(b->m, t->name)) continue;
        enum err_code rc = err_set(e, ERR_UNSUPPORTED, "tensor %s has no place in a model of architecture %s with "
                                   "these hyper-parameters", t->name, b->m->hp.arch->name);
        return err_where(e, rc, "%s", tfile_file_path(f, t->shard));
    }
    return ERR_NONE;
}

static enum err_code bind_all(struct model *m, struct err *e) {
    size_t slots = (size_t)m->hp.n_layer * SLOT_COUNT;
    struct binder b = { m, arena_alloc(&m->arena, m->file->n_tensors, sizeof *b.used) };
    m->weights = arena_alloc(&m->arena, slots, sizeof *m->weights);
    m->by_slot = arena_alloc(&m->arena, slots, sizeof *m->by_slot);
    if (!b.used || !m->weights || !m->by_slot) return err_no_memory(e, slots * sizeof *m->weights);
    for (enum slot s = 0; s < SLOT_COUNT; s++) {
        if (!slot_info(s)->per_block) TRY(bind_slot(&b, s, 0, e));
    }
    for (uint32_t layer = 0; layer < m->hp.n_layer; layer++) {
        for (enum slot s = 0; s < SLOT_COUNT; s++) {
            if (slot_info(s)->per_block) TRY(bind_slot(&b, s, layer, e));
        }
    }
    return check_unused(&b, e);
}

enum err_code model_open(const char *path, bool shapes_only, struct model **out, struct err *e) {
    *out = NULL;
    struct model *m = NEW(struct model);
    if (!m) return err_no_memory(e, sizeof *m);
    enum err_code rc;
    TRY_OUT(rc, tfile_open(path, shapes_only ? TFILE_NO_WEIGHTS_OK : 0, &m->file, e));
    TRY_OUT(rc, hparams_read(m->file, &m->hp, e));
    if (m->hp.window && !shapes_only) {
        rc = err_set(e, ERR_UNSUPPORTED, "sliding_window is %u: attention windows shorter than the context (%u) are "
                     "not supported yet", m->hp.window, m->hp.n_ctx_train);
        rc = err_where(e, rc, "%s", path);
        goto out;
    }
    TRY_OUT(rc, bind_all(m, e));
    *out = m;
    m = NULL;
out:
    model_close(m);
    return rc;
}

void model_close(struct model *m) {
    if (!m) return;
    tfile_close(m->file);
    arena_fini(&m->arena);
    mem_free(m);
}

const struct weight *model_weight(const struct model *m, enum slot s, uint32_t layer) {
    if (s >= SLOT_COUNT || layer >= m->hp.n_layer) return NULL;
    uint32_t i = m->by_slot[layer * SLOT_COUNT + s];
    return i ? &m->weights[i - 1] : NULL;
}

uint64_t model_parameters(const struct model *m) {
    uint64_t n = 0;
    for (uint32_t i = 0; i < m->n_weights; i++) {
        const struct weight *w = &m->weights[i];
        if (w->slot != SLOT_ROPE_FREQS) n += w->ne[0] * w->ne[1] * w->ne[2] * w->ne[3];
    }
    return n;
}

/* --- Rows --- */

uint32_t model_permuted_heads(const struct hparams *hp, enum slot s) {
    if (!hp->arch->permute_qk) return 0;
    if (s == SLOT_ATTN_Q || s == SLOT_ATTN_Q_B) return hp->n_head;
    if (s == SLOT_ATTN_K || s == SLOT_ATTN_K_B) return hp->n_head_kv;
    return 0;
}

/* Row 2i + j of a head among neighbours is row j * half + i among halves. */
uint64_t rope_row_in_halves(uint64_t n_rows, uint32_t heads, uint64_t r) {
    uint64_t dim = n_rows / heads, in_head = r % dim;
    return r - in_head + in_head % 2 * (dim / 2) + in_head / 2;
}

uint64_t rope_row_in_neighbours(uint64_t n_rows, uint32_t heads, uint64_t r) {
    uint64_t dim = n_rows / heads, in_head = r % dim;
    return r - in_head + in_head % (dim / 2) * 2 + in_head / (dim / 2);
}

uint64_t model_file_row(const struct weight *w, uint64_t r) {
    uint64_t n_rows = slot_info(w->slot)->matrix ? w->ne[1] : w->ne[0];
    return w->permute_heads ? rope_row_in_halves(n_rows, w->permute_heads, r) : r;
}

void model_read_file_rows(const struct weight *w, uint64_t r0, uint64_t n, float *out) {
    uint64_t row_bytes = w->src->bytes / (w->ne[1] * w->ne[2] * w->ne[3]);
    qtype_info(w->type)->decode(w->src->data + r0 * row_bytes, out, n * w->ne[0]);
}

void model_read_rows(const struct weight *w, uint64_t r0, uint64_t n, float *out) {
    const struct qtype_info *q = qtype_info(w->type);
    if (!w->permute_heads) {
        model_read_file_rows(w, r0, n, out);
    } else if (slot_info(w->slot)->matrix) {
        for (uint64_t r = 0; r < n; r++) model_read_file_rows(w, model_file_row(w, r0 + r), 1, out + r * w->ne[0]);
    } else { /* a bias: floats, one row */
        for (uint64_t i = 0; i < w->ne[0]; i++)
            q->decode(w->src->data + model_file_row(w, i) * q->block_bytes, out + i, 1);
    }
}
