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

/* Checkpoints of the bare model, without its head, leave the prefix "model." out. */
static const struct tfile_tensor *find(const struct model *m, const char *name) {
    static const char prefix[] = "model.";
    const struct tfile_tensor *t = tfile_find(m->file, name);
    bool prefixed = from_hf(m) && !strncmp(name, prefix, sizeof prefix - 1);
    return t || !prefixed ? t : tfile_find(m->file, name + sizeof prefix - 1);
}

/* Names of GGUF files from before 2024-04, which keep every expert by itself. */
static const char *old_gguf_name(enum slot s) {
    switch (s) {
    case SLOT_EXPERT_GATE: return "blk.%u.ffn_gate.%x.weight";
    case SLOT_EXPERT_UP: return "blk.%u.ffn_up.%x.weight";
    case SLOT_EXPERT_DOWN: return "blk.%u.ffn_down.%x.weight";
    default: return NULL;
    }
}

/* The file's pattern of a weight's name; NULL if files of this kind never have it. */
static const char *file_pattern(const struct model *m, enum slot s, uint32_t layer) {
    if (from_hf(m)) return arch_hf_name(m->hp.arch, s);
    char name[SLOT_NAME_BYTES];
    const char *pattern = arch_gguf_name(m->hp.arch, s), *old = old_gguf_name(s);
    slot_format_name(pattern, layer, 0, name);
    return old && !tfile_find(m->file, name) ? old : pattern;
}

static bool same_map(const struct source_map *a, const struct source_map *b) { return !memcmp(a, b, sizeof *a); }

/* Whether every number that the map asks for is inside of the tensor. */
static bool map_fits(const struct weight *w, const struct tfile_tensor *t) {
    const struct source_map *p = &w->map;
    uint64_t i = w->ne[0] - 1, r = w->ne[1] - 1, x = w->ne[2] - 1; /* products far below 2^64: hparams' limits */
    uint64_t row = p->row0 + i * p->row_i + r * p->row_r + x * p->row_x;
    uint64_t col = p->col0 + i * p->col_i + r * p->col_r;
    return row < t->ne[1] * t->ne[2] * t->ne[3] && col < t->ne[0];
}

static bool shape_fits(const struct weight *w, const struct tfile_tensor *t) {
    struct source_map plain = model_plain_map(w);
    if (!same_map(&w->map, &plain)) return map_fits(w, t);
    uint64_t ne[TENSOR_DIMS] = { w->ne[0], w->ne[1], w->ne[2], 1 };
    if (w->n_parts > 1) ne[w->ne[2] > 1 ? 2 : 1] = 1;
    return !memcmp(t->ne, ne, sizeof ne);
}

static enum err_code check_tensor(const struct model *m, const struct weight *w, const struct tfile_tensor *t,
                                  struct err *e) {
    enum err_code rc = ERR_NONE;
    unsigned n_dims = w->ne[2] > 1 ? 3 : w->ne[1] > 1 ? 2 : 1;
    if (!shape_fits(w, t))
        rc = err_set(e, ERR_FORMAT, "tensor %s has shape %s; the hyper-parameters ask for %s", t->name,
                     shape_text(t->ne, t->n_dims).p, shape_text(w->ne, n_dims).p);
    else if (t->type == QTYPE_NONE)
        rc = err_set(e, ERR_UNSUPPORTED, "tensor %s has type %s, which is not supported", t->name, t->type_name);
    else if ((!slot_info(w->slot)->matrix || w->map.col_i != 1 || w->map.row_i) && !qtype_is_float(t->type))
        rc = err_set(e, ERR_UNSUPPORTED, "tensor %s has type %s; F32, F16 or BF16 is needed", t->name, t->type_name);
    else if (t->type != w->src->type)
        rc = err_set(e, ERR_UNSUPPORTED, "tensor %s has type %s, and %s has type %s: parts of a weight must have one",
                     t->name, t->type_name, w->src->name, w->src->type_name);
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

static enum err_code find_parts(struct binder *b, struct weight *w, const char *pattern, struct err *e) {
    struct model *m = b->m;
    const struct tfile_tensor **parts = arena_alloc(&m->arena, w->n_parts, sizeof(struct tfile_tensor *));
    if (!parts) return err_no_memory(e, w->n_parts * sizeof(struct tfile_tensor *));
    for (uint32_t i = 0; i < w->n_parts; i++) {
        char name[SLOT_NAME_BYTES];
        slot_format_name(pattern, w->layer, i, name);
        parts[i] = find(m, name);
        if (parts[i]) continue;
        if (w->slot == SLOT_ROPE_FREQS) return ERR_NONE; /* only files with llama3 scaling have it */
        enum err_code rc = err_set(e, ERR_FORMAT, "tensor %s is missing", name);
        return err_where(e, rc, "%s", m->file->path);
    }
    w->src = parts[0];
    w->parts = parts;
    return ERR_NONE;
}

/* gpt-oss in four bits: NAME_blocks U8 (16, n_in / 32, n_out, n_expert) and NAME_scales U8 (n_in / 32, n_out,
 * n_expert), rows of codes in the order in which the float tensor has its columns. */
static enum err_code bind_mxfp4(struct binder *b, struct weight *w, const char *name, bool *found, struct err *e) {
    struct model *m = b->m;
    char blocks[SLOT_NAME_BYTES + 8], scales[sizeof blocks];
    snprintf(blocks, sizeof blocks, "%s_blocks", name);
    snprintf(scales, sizeof scales, "%s_scales", name);
    const struct tfile_tensor *codes = find(m, blocks), *exps = find(m, scales);
    *found = codes && exps;
    if (!*found) return ERR_NONE;
    uint64_t rows = w->map.col_r * w->ne[1], n = w->ne[0] / 32;
    const uint64_t want[] = { 16, n, rows, w->ne[2] };
    bool fits = w->ne[0] % 32 == 0 && !memcmp(codes->ne, want, sizeof want) && exps->ne[0] == n &&
                exps->ne[1] == rows && exps->ne[2] == w->ne[2] && codes->bytes == 16 * n * rows * w->ne[2] &&
                exps->bytes * 16 == codes->bytes;
    if (!fits) {
        enum err_code rc = err_set(e, ERR_FORMAT, "tensors %s %s and %s %s are no MXFP4 codes and scales of %s", blocks,
                                   shape_text(codes->ne, codes->n_dims).p, scales, shape_text(exps->ne, exps->n_dims).p,
                                   shape_text(w->ne, 3).p);
        return err_where(e, rc, "%s", tfile_file_path(m->file, codes->shard));
    }
    const struct tfile_tensor **parts = arena_alloc(&m->arena, 1, sizeof(struct tfile_tensor *));
    if (!parts) return err_no_memory(e, sizeof(struct tfile_tensor *));
    parts[0] = w->src = codes;
    w->parts = parts;
    w->n_parts = 1;
    w->scales = exps;
    w->type = QTYPE_MXFP4;
    w->map = (struct source_map){ .row0 = w->map.col0, .row_r = w->map.col_r, .row_x = rows, .col_i = 1 };
    b->used[codes - m->file->tensors] = b->used[exps - m->file->tensors] = true;
    return ERR_NONE;
}

static enum err_code bind_file(struct binder *b, struct weight *w, const char *pattern, struct err *e) {
    struct model *m = b->m;
    bool apart = slot_name_has_expert(pattern);
    w->n_parts = apart ? (uint32_t)w->ne[w->ne[2] > 1 ? 2 : 1] : 1;
    w->map = model_plain_map(w);
    if (from_hf(m) && m->hp.arch->hf_map) m->hp.arch->hf_map(&m->hp, w->slot, w->ne, &w->map);
    if (from_hf(m) && w->map.col_r && !apart) { /* experts that the float model keeps transposed */
        char name[SLOT_NAME_BYTES];
        bool found;
        slot_format_name(pattern, w->layer, 0, name);
        TRY(bind_mxfp4(b, w, name, &found, e));
        if (found) return ERR_NONE;
    }
    TRY(find_parts(b, w, pattern, e));
    if (!w->src) return ERR_NONE;
    w->type = w->src->type;
    for (uint32_t i = 0; i < w->n_parts; i++) {
        TRY(check_tensor(m, w, w->parts[i], e));
        b->used[w->parts[i] - m->file->tensors] = true;
    }
    return w->slot == SLOT_ROPE_FREQS ? check_divisors(m, w, e) : ERR_NONE;
}

static bool is_norm(enum slot s) {
    const char *name = slot_info(s)->gguf_name;
    return strstr(name, "norm.weight");
}

static enum err_code bind_slot(struct binder *b, enum slot s, uint32_t layer, struct err *e) {
    struct model *m = b->m;
    struct weight *w = &m->weights[m->n_weights];
    *w = (struct weight){ .slot = s, .layer = layer, .type = m->hp.float_type, .ne = { 1, 1, 1, 1 } };
    if (!arch_shape(&m->hp, s, layer, w->ne)) return ERR_NONE;
    const char *pattern = file_pattern(m, s, layer);
    if (!pattern) return ERR_NONE;
    slot_format_name(arch_gguf_name(m->hp.arch, s), layer, 0, w->name);
    if (from_hf(m)) w->permute_heads = model_permuted_heads(&m->hp, s);
    if (from_hf(m) && is_norm(s)) w->add = m->hp.t.norm_add;
    if (!shapes_alone(m)) {
        TRY(bind_file(b, w, pattern, e));
        if (!w->src) return ERR_NONE;
    }
    m->by_slot[layer * SLOT_COUNT + s] = ++m->n_weights;
    return ERR_NONE;
}

static bool may_ignore(const struct model *m, const char *name) {
    /* Some checkpoints store the tied head too. */
    const char *head = from_hf(m) ? arch_hf_name(m->hp.arch, SLOT_OUTPUT) : NULL;
    return arch_may_ignore(&m->hp, name) || (head && m->hp.tied && !strcmp(name, head));
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
        bool derived = w->slot == SLOT_ROPE_FREQS || w->slot == SLOT_ROPE_LONG || w->slot == SLOT_ROPE_SHORT;
        if (!derived) n += w->ne[0] * w->ne[1] * w->ne[2] * w->ne[3];
    }
    return n;
}
