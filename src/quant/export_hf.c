/* Owns the order in which a directory comes into being, and the way of each weight into it. The texts beside the
 * weights are export_hf_meta's and export_hf_tok's.
 *
 * Everything is written into a directory of another name first: OUT.part, which then becomes OUT, or, where OUT is
 * there already (and may be on a disk of its own), OUT/convert.part, whose files then move up, config.json last. A
 * directory without config.json is no model, so a kill leaves the whole model or none. */
#include "quant/export_hf.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/num.h"
#include "base/os.h"
#include "format/safetensors.h"
#include "quant/encoder.h"
#include "quant/export_hf_meta.h"
#include "quant/export_hf_tok.h"
#include "runtime/vocab_file.h"

enum { PIECE_FLOATS = 1 << 20, MAX_SIDE_FILE = 1 << 28, MAX_SIDE_FILES = 16 };

struct side_file { const char *name; struct buf text; };

struct hf_export {
    const struct model *m;
    const struct convert_options *o;
    struct safetensors_writer *w;
    const struct weight **weights; /* (n), in file order */
    enum qtype *types;             /* (n) */
    size_t n;
    enum qtype dtype;              /* of most weights */
    struct side_file side[MAX_SIDE_FILES];
    size_t n_side;
    char *stage;                   /* where files are written first */
    bool into;                     /* the directory is there already; stage stands in it */
};
static const char stage_name[] = "convert.part";

static bool from_hf(const struct model *m) { return m->file->kind != TFILE_GGUF; }
static uint64_t weights_of(const struct weight *w) { return w->ne[0] * w->ne[1] * w->ne[2] * w->ne[3]; }

/* --- Weights --- */

/* Rows of Hugging Face's order. A vector is one row. */
static void read_rows(const struct model *m, const struct weight *w, uint64_t first, uint64_t n, float *out) {
    uint32_t heads = from_hf(m) ? 0 : model_permuted_heads(&m->hp, w->slot);
    bool matrix = slot_info(w->slot)->matrix;
    if (!heads) {
        model_read_file_rows(w, first, n, out);
    } else if (matrix) {
        for (uint64_t i = 0; i < n; i++)
            model_read_file_rows(w, rope_row_in_neighbours(w->ne[1], heads, first + i), 1, out + i * w->ne[0]);
    } else { /* a bias: floats, one element a block */
        const struct qtype_info *q = qtype_info(w->type);
        for (uint64_t i = 0; i < w->ne[0]; i++)
            q->decode(w->src->data + rope_row_in_neighbours(w->ne[0], heads, i) * q->block_bytes, out + i, 1);
    }
}

static enum err_code put_weight(const struct hf_export *x, size_t index, struct tstream *s, struct err *e) {
    const struct weight *w = x->weights[index];
    uint64_t n_in = w->ne[0], n_rows = w->ne[1] * w->ne[2] * w->ne[3], row_bytes = 0;
    uint64_t piece = min_u64(max_u64(1, PIECE_FLOATS / n_in), n_rows), n;
    qtype_row_bytes(x->types[index], n_in, &row_bytes);
    float *floats = mem_alloc(piece, n_in * sizeof *floats);
    uint8_t *bytes = mem_alloc(piece, row_bytes);
    enum err_code rc = floats && bytes ? ERR_NONE : err_no_memory(e, piece * n_in * sizeof *floats);
    for (uint64_t first = 0; first < n_rows && !rc; first += n) {
        n = min_u64(piece, n_rows - first);
        read_rows(x->m, w, first, n, floats);
        struct encoder_input in = { .first_row = first };
        rc = encode_rows(x->types[index], floats, n, n_in, &in, bytes, e);
        if (!rc) rc = tstream_put(s, bytes, n * row_bytes, e);
        model_release_rows(w, first, n);
    }
    mem_free(floats);
    mem_free(bytes);
    return rc ? err_where(e, rc, "%s", w->src->name) : ERR_NONE;
}

static enum err_code put_weights(const struct hf_export *x, struct tstream *s, struct err *e) {
    uint64_t done = 0, total = 0;
    for (size_t i = 0; i < x->n; i++) total += weights_of(x->weights[i]);
    for (size_t i = 0; i < x->n; i++) {
        TRY(put_weight(x, i, s, e));
        done += weights_of(x->weights[i]);
        if (!progress_step(&x->o->progress, "writing", (double)done, (double)total))
            return err_set(e, ERR_INTERRUPTED, "interrupted");
    }
    return ERR_NONE;
}

/* --- Types --- */

/* Whether all elements of a vector survive being stored as a type. */
static bool is_exact(const struct weight *w, enum qtype type) {
    const struct qtype_info *from = qtype_info(w->type), *to = qtype_info(type);
    for (uint64_t i = 0; i < w->ne[0]; i++) {
        float x, y;
        uint8_t stored[4];
        from->decode(w->src->data + i * from->block_bytes, &x, 1);
        to->encode(&x, stored, 1);
        to->decode(stored, &y, 1);
        if (!(x == y)) return false;
    }
    return true;
}

static enum qtype matrix_type(const struct weight *w, enum qtype wanted) {
    if (wanted != QTYPE_NONE) return wanted;
    return qtype_is_float(w->type) ? w->type : QTYPE_F16; /* what is left of a quantized weight fits a half */
}

/* GGUF holds vectors in F32 whatever they were: they go back to the type of the matrices if nothing is lost. */
static enum qtype vector_type(const struct hf_export *x, const struct weight *w, enum qtype wanted) {
    if (wanted != QTYPE_NONE) return wanted;
    return !from_hf(x->m) && is_exact(w, x->dtype) ? x->dtype : w->type;
}

static void choose_types(struct hf_export *x) {
    uint64_t n[QTYPE_ID_LIMIT] = { 0 };
    x->dtype = QTYPE_F32;
    for (size_t i = 0; i < x->n; i++) {
        if (!slot_info(x->weights[i]->slot)->matrix) continue;
        enum qtype t = x->types[i] = matrix_type(x->weights[i], x->o->type);
        n[t] += weights_of(x->weights[i]);
        if (n[t] > n[x->dtype]) x->dtype = t;
    }
    for (size_t i = 0; i < x->n; i++)
        if (!slot_info(x->weights[i]->slot)->matrix) x->types[i] = vector_type(x, x->weights[i], x->o->type);
}

static enum err_code declare_weights(struct hf_export *x, struct err *e) {
    const struct model *m = x->m;
    x->weights = NEW_ARRAY(const struct weight *, m->n_weights);
    x->types = NEW_ARRAY(enum qtype, m->n_weights);
    if (!x->weights || !x->types) return err_no_memory(e, m->n_weights * sizeof(struct weight *));
    if (!m->hp.arch->hf_constants || m->hp.n_expert)
        return err_set(e, ERR_UNSUPPORTED, "models of architecture %s%s are not written as directories yet; write a "
                       "GGUF file", m->hp.arch->name, m->hp.n_expert ? " with experts" : "");
    for (uint32_t i = 0; i < m->n_weights; i++)
        if (arch_hf_name(m->hp.arch, m->weights[i].slot)) x->weights[x->n++] = &m->weights[i];
    choose_types(x);
    TRY(safetensors_writer_new(&x->w, e));
    for (size_t i = 0; i < x->n; i++) {
        const struct weight *w = x->weights[i];
        char name[SLOT_NAME_BYTES];
        slot_format_name(arch_hf_name(m->hp.arch, w->slot), w->layer, 0, name);
        TRY(safetensors_writer_tensor(x->w, name, x->types[i], slot_info(w->slot)->matrix ? 2 : 1, w->ne, e));
    }
    safetensors_writer_split(x->w, x->o->split_max_size);
    return ERR_NONE;
}

/* --- Side files --- */

static struct buf *add_side(struct hf_export *x, const char *name) {
    x->side[x->n_side].name = name;
    return &x->side[x->n_side++].text;
}

/* What a directory may hold beside config.json and weights, and what describes weights in any type. */
static enum err_code keep_side_files(struct hf_export *x, struct err *e) {
    static const char *const names[] = {
        "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
        "added_tokens.json", "chat_template.jinja", "tokenizer.model", "tekken.json",
        "vocab.json", "merges.txt",
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char *path = os_path_join(x->m->file->dir, names[i]), *text = NULL;
        size_t n;
        if (!path) return err_no_memory(e, strlen(names[i]));
        enum err_code rc = os_exists(path) ? os_read_file(path, MAX_SIDE_FILE, &text, &n, e) : ERR_NONE;
        if (text) buf_add(add_side(x, names[i]), text, n);
        mem_free(text);
        mem_free(path);
        TRY(rc);
    }
    return ERR_NONE;
}

static enum err_code make_side_files(struct hf_export *x, struct err *e) {
    const struct model *m = x->m;
    struct vocab v;
    TRY(hf_meta_generation(&m->hp, add_side(x, "generation_config.json"), e));
    TRY(vocab_from_file(m->file, &v, e));
    enum err_code rc = ERR_NONE;
    if (v.model == VOCAB_NONE) {
        log_warn("%s has no tokenizer: tokenizer.json is not written", m->file->path);
    } else {
        rc = hf_tok_json(&v, add_side(x, "tokenizer.json"), e);
        if (!rc) rc = hf_tok_config(&v, m->hp.n_ctx_train, add_side(x, "tokenizer_config.json"), e);
        if (v.chat_template.n) buf_add(add_side(x, "chat_template.jinja"), v.chat_template.p, v.chat_template.n);
    }
    vocab_fini(&v);
    return rc;
}

/* config.json is the last one, and so the last one to be written. */
static enum err_code collect_side_files(struct hf_export *x, struct err *e) {
    TRY(from_hf(x->m) ? keep_side_files(x, e) : make_side_files(x, e));
    TRY(hf_meta_config(x->m, x->dtype, add_side(x, "config.json"), e));
    for (size_t i = 0; i < x->n_side; i++) TRY(buf_status(&x->side[i].text, e));
    return ERR_NONE;
}

static enum err_code write_side_files(const struct hf_export *x, struct err *e) {
    for (size_t i = 0; i < x->n_side; i++) {
        char *path = os_path_join(x->stage, x->side[i].name);
        if (!path) return err_no_memory(e, strlen(x->stage));
        enum err_code rc = os_write_file(path, x->side[i].text.p ? x->side[i].text.p : "", x->side[i].text.n, e);
        mem_free(path);
        TRY(rc);
    }
    return ERR_NONE;
}

/* --- The directory --- */

static bool is_model_file(const char *name) {
    size_t n = strlen(name);
    bool weights = n > 12 && !strcmp(name + n - 12, ".safetensors") && !strncmp(name, "model", 5);
    return weights || !strcmp(name, "model.safetensors.index.json") || !strcmp(name, "config.json");
}

/* Calls fn for each name in a directory until one call fails. */
static enum err_code each_file(const char *dir, enum err_code (*fn)(void *user, const char *dir, const char *name,
                               struct err *e), void *user, struct err *e) {
    char **names;
    size_t n;
    TRY(os_list_dir(dir, &names, &n, e));
    enum err_code rc = ERR_NONE;
    for (size_t i = 0; i < n; i++) {
        if (!rc) rc = fn(user, dir, names[i], e);
        mem_free(names[i]);
    }
    mem_free(names);
    return rc;
}

/* Failures to remove show when the name is taken. */
static enum err_code remove_file(void *unused, const char *dir, const char *name, struct err *e) {
    (void)unused;
    char *path = os_path_join(dir, name);
    if (!path) return err_no_memory(e, strlen(name));
    remove(path);
    mem_free(path);
    return ERR_NONE;
}

static enum err_code remove_model_file(void *unused, const char *dir, const char *name, struct err *e) {
    return is_model_file(name) ? remove_file(unused, dir, name, e) : ERR_NONE;
}

static enum err_code refuse_busy(void *unused, const char *dir, const char *name, struct err *e) {
    size_t n = strlen(name), part = strlen(".part");
    (void)unused;
    if (n <= part || strcmp(name + n - part, ".part") != 0) return ERR_NONE;
    char *path = os_path_join(dir, name);
    if (!path) return err_no_memory(e, n);
    path[strlen(path) - part] = 0;
    bool busy = !os_out_is_stale(path);
    mem_free(path);
    return busy ? err_where(e, err_set(e, ERR_EXISTS, "another process is writing here"), "%s", dir) : ERR_NONE;
}

struct contents { size_t n; bool staged, whole; };
static enum err_code note_file(void *user, const char *dir, const char *name, struct err *e) {
    struct contents *c = user;
    (void)dir;
    (void)e;
    c->n++;
    c->staged |= !strcmp(name, stage_name);
    c->whole |= !strcmp(name, "config.json");
    return ERR_NONE;
}

/* What is in a directory needs force to be replaced, but for what a killed conversion left there: it began with leave,
 * and took config.json away when it began to move its files up. */
static enum err_code check_dir(const char *dir, bool force, struct err *e) {
    struct contents c = { 0 };
    if (!os_exists(dir)) return ERR_NONE;
    enum err_code rc;
    if (!os_is_dir(dir)) {
        rc = err_set(e, ERR_EXISTS, "it is a file; a Hugging Face directory would be made here (names ending in .gguf "
                     "make GGUF)");
        return err_where(e, rc, "%s", dir);
    }
    TRY(each_file(dir, note_file, &c, e));
    if (force || c.n == (size_t)c.staged || (c.staged && !c.whole)) return ERR_NONE;
    rc = err_set(e, ERR_EXISTS, "the directory has files already: --force replaces the model in it");
    return err_where(e, rc, "%s", dir);
}

/* Makes the empty directory that files are written into first. */
static enum err_code open_stage(struct hf_export *x, struct err *e) {
    const char *out = x->o->out;
    size_t n = strlen(out);
    while (n > 1 && out[n - 1] == '/') n--;
    struct buf path = { 0 };
    x->into = os_exists(out);
    if (x->into) buf_addf(&path, "%.*s/%s", (int)n, out, stage_name);
    else buf_addf(&path, "%.*s.part", (int)n, out);
    TRY(buf_status(&path, e));
    enum err_code rc = os_make_dir(path.p, e);
    if (!rc) rc = each_file(path.p, refuse_busy, NULL, e);
    if (!rc) rc = each_file(path.p, remove_file, NULL, e);
    if (rc) buf_fini(&path);
    else x->stage = path.p;
    return rc;
}

/* Also after a failure, when its files are of no use. */
static void close_stage(struct hf_export *x) {
    if (!x->stage) return;
    if (os_exists(x->stage)) each_file(x->stage, remove_file, NULL, NULL);
    remove(x->stage);
    mem_free(x->stage);
}

static enum err_code move_up(void *user, const char *dir, const char *name, struct err *e) {
    const struct hf_export *x = user;
    char *from = os_path_join(dir, name), *to = os_path_join(x->o->out, name);
    enum err_code rc = from && to ? os_rename(from, to, e) : err_no_memory(e, strlen(name));
    mem_free(from);
    mem_free(to);
    return rc;
}

static enum err_code move_up_but_config(void *user, const char *dir, const char *name, struct err *e) {
    return strcmp(name, "config.json") ? move_up(user, dir, name, e) : ERR_NONE;
}

static enum err_code publish(struct hf_export *x, struct err *e) {
    if (!x->into) return os_rename(x->stage, x->o->out, e);
    TRY(remove_file(NULL, x->o->out, "config.json", e));
    TRY(each_file(x->o->out, remove_model_file, NULL, e));
    TRY(each_file(x->stage, move_up_but_config, x, e));
    return move_up(x, x->stage, "config.json", e);
}

static enum err_code write_dir(struct hf_export *x, struct err *e) {
    struct tstream *s = NULL;
    TRY(open_stage(x, e));
    TRY(safetensors_writer_open(x->w, x->stage, &s, e));
    enum err_code rc = put_weights(x, s, e);
    if (rc) {
        tstream_abandon(s, false);
        return rc;
    }
    TRY(tstream_commit(s, e));
    TRY(write_side_files(x, e));
    return publish(x, e);
}

static enum err_code run(struct hf_export *x, struct convert_result *r, struct err *e) {
    const struct convert_options *o = x->o;
    if (o->type != QTYPE_NONE && !qtype_is_float(o->type))
        return err_set(e, ERR_USAGE, "--outtype %s: a Hugging Face directory holds f32, f16 or bf16",
                       qtype_name(o->type));
    TRY(check_dir(o->out, o->force, e));
    TRY(declare_weights(x, e));
    TRY(collect_side_files(x, e));
    *r = (struct convert_result){ .file = mem_strdup(o->out), .n_files = safetensors_writer_n_files(x->w),
                                  .n_tensors = x->n };
    if (!r->file) return err_no_memory(e, strlen(o->out));
    TRY(safetensors_writer_total_bytes(x->w, &r->file_bytes, e));
    return write_dir(x, e);
}

enum err_code export_hf(const struct model *m, const struct convert_options *o, struct convert_result *r,
                        struct err *e) {
    struct hf_export x = { .m = m, .o = o };
    enum err_code rc = run(&x, r, e);
    close_stage(&x);
    safetensors_writer_free(x.w);
    mem_free(x.weights);
    mem_free(x.types);
    for (size_t i = 0; i < x.n_side; i++) buf_fini(&x.side[i].text);
    return rc;
}
