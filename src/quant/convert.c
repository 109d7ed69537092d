/* Owns the choice of the way from one container to another, and both ways into GGUF. Metadata and weights are export's,
 * directories export_hf's. */
#include "quant/convert.h"
#include <stdio.h>
#include <string.h>
#include "base/os.h"
#include "base/pool.h"
#include "quant/export.h"
#include "quant/export_hf.h"
#include "quant/recipe.h"
#include "runtime/vocab_file.h"

/* --- Into GGUF --- */

/* Whether name is that of a file of the set PREFIX-00001-of-0000N.gguf; its number and N are at the same places in all
 * such names. */
static bool is_of_set(const char *name, const char *prefix, size_t n) {
    static const char pattern[] = "-00000-of-00000.gguf";
    if (strncmp(name, prefix, n) != 0) return false;
    for (size_t i = 0; i + 1 < sizeof pattern; i++) {
        char c = name[n + i];
        if (pattern[i] == '0' ? c < '0' || c > '9' : c != pattern[i]) return false;
    }
    return true;
}

/* A set gets its names from the last to the first. So a file without the first one, of which there is a part that
 * nobody writes, was left by a kill between two of these. */
static bool is_cut_off(const char *path) {
    enum { NUMBER = sizeof "00001-of-00000.gguf" - 1 };
    char *first = mem_strdup(path);
    if (!first) return false;
    memcpy(first + strlen(first) - NUMBER, "00001", 5);
    bool cut_off = !os_exists(first) && os_out_is_stale(first);
    mem_free(first);
    return cut_off;
}

/* Removes `name` in `dir` if it is a leftover of out: a part, or (sets) a file of a set that was never completed. */
static void remove_if_left(const char *dir, const char *name, const char *out, bool parts) {
    size_t n = strlen(out), len = strlen(name), part = strlen(".part");
    bool is_part = len > part && !strcmp(name + len - part, ".part");
    bool of_set = is_of_set(name, out, n - strlen(".gguf"));
    char *path = os_path_join(dir, name);
    if (!path) return;
    if (parts && is_part && (of_set || (len == n + part && !strncmp(name, out, n)))) {
        path[strlen(path) - part] = 0;
        bool stale = os_out_is_stale(path);
        path[strlen(path)] = '.';
        if (stale) remove(path);
    } else if (!parts && !is_part && of_set && is_cut_off(path)) {
        remove(path);
    }
    mem_free(path);
}

/* Removes what a killed conversion to `out` left, whatever its cut into files was. */
static void remove_left(const char *out_path) {
    const char *slash = strrchr(out_path, '/'), *out = slash ? slash + 1 : out_path;
    char *dir = slash ? mem_strndup(out_path, (size_t)(slash - out_path) + 1) : mem_strdup("."), **names;
    size_t n;
    if (dir && os_list_dir(dir, &names, &n, NULL) == ERR_NONE) {
        for (size_t i = 0; i < n; i++) remove_if_left(dir, names[i], out, false);
        for (size_t i = 0; i < n; i++) remove_if_left(dir, names[i], out, true);
        for (size_t i = 0; i < n; i++) mem_free(names[i]);
        mem_free(names);
    }
    mem_free(dir);
}

static enum err_code check_outputs(const struct gguf_writer *w, const struct convert_options *o, struct err *e) {
    for (size_t i = 0, n = gguf_writer_n_files(w); i < n && !o->force; i++) {
        char *path = gguf_writer_file_path(w, o->out, i);
        if (!path) return err_no_memory(e, strlen(o->out));
        enum err_code rc = ERR_NONE;
        if (os_exists(path)) {
            rc = err_set(e, ERR_EXISTS, "it exists already: --force replaces it");
            err_where(e, rc, "%s", path);
        }
        mem_free(path);
        TRY(rc);
    }
    return ERR_NONE;
}

static enum err_code fill_result(struct gguf_writer *w, const struct convert_options *o, struct convert_result *r,
                                 struct err *e) {
    *r = (struct convert_result){ .file = gguf_writer_file_path(w, o->out, 0),
                                  .n_files = (uint32_t)gguf_writer_n_files(w),
                                  .n_tensors = gguf_writer_n_tensors(w) };
    if (!r->file) return err_no_memory(e, strlen(o->out));
    return gguf_writer_total_bytes(w, &r->file_bytes, e);
}

static enum err_code put_stored(const struct tfile *f, struct tstream *s, const struct progress *p, struct err *e) {
    uint64_t done = 0, total = 0;
    for (size_t i = 0; i < f->n_tensors; i++) total += f->tensors[i].bytes;
    for (size_t i = 0; i < f->n_tensors; i++) {
        TRY(export_copy(&f->tensors[i], s, e));
        done += f->tensors[i].bytes;
        if (!progress_step(p, "writing", (double)done, (double)total))
            return err_set(e, ERR_INTERRUPTED, "interrupted");
    }
    return ERR_NONE;
}

/* GGUF to GGUF as stored: only the cut into files changes. */
static enum err_code regroup(const struct tfile *f, const struct convert_options *o, struct convert_result *r,
                             struct err *e) {
    struct gguf_writer *w = NULL;
    struct tstream *s = NULL;
    enum err_code rc;
    TRY_OUT(rc, gguf_writer_new(&w, e));
    for (size_t i = 0; i < f->gguf->n_kv; i++) gguf_writer_copy(w, &f->gguf->kv[i]);
    for (size_t i = 0; i < f->n_tensors; i++) {
        const struct tfile_tensor *t = &f->tensors[i];
        TRY_OUT(rc, gguf_writer_tensor(w, t->name, t->type, t->n_dims, t->ne, e));
    }
    gguf_writer_split(w, o->split_max_size);
    TRY_OUT(rc, check_outputs(w, o, e));
    TRY_OUT(rc, fill_result(w, o, r, e));
    TRY_OUT(rc, gguf_writer_open(w, o->out, NULL, &s, e));
    TRY_OUT(rc, put_stored(f, s, &o->progress, e));
    rc = tstream_commit(s, e);
    s = NULL;
out:
    tstream_abandon(s, false);
    gguf_writer_free(w);
    return rc;
}

/* The type that a matrix gets. Rows that Q8_0's blocks do not divide become F16, or stay BF16. */
static enum qtype type_for(const struct weight *w, enum qtype wanted) {
    if (wanted == QTYPE_NONE) return w->type;
    enum qtype fitting = recipe_fit(wanted, w->ne[0]);
    return fitting != wanted && w->type == QTYPE_BF16 ? QTYPE_BF16 : fitting;
}

/* Sets the types of all matrices, and general.file_type from the one that most of their bytes have. */
static enum err_code choose_types(struct export *x, enum qtype wanted, struct err *e) {
    uint64_t bytes[QTYPE_ID_LIMIT] = { 0 };
    enum qtype most = QTYPE_F32;
    for (size_t i = 0; i < x->n_tensors; i++) {
        if (!export_is_matrix(x, i)) continue;
        enum qtype t = type_for(x->tensors[i].w, wanted);
        TRY(export_set_type(x, i, t, e));
        bytes[t] += gguf_writer_tensor_bytes(x->writer, i);
        if (bytes[t] > bytes[most]) most = t;
    }
    export_set_file_type(x, recipe_file_type(most));
    x->plain = true;
    return ERR_NONE;
}

static enum err_code model_to_gguf(const struct model *m, const struct convert_options *o, struct convert_result *r,
                                   struct err *e) {
    struct vocab v = { 0 };
    struct pool *pool = NULL;
    struct export *x = NULL;
    enum err_code rc;
    TRY_OUT(rc, vocab_from_file(m->file, &v, e));
    TRY_OUT(rc, pool_open(o->threads, &pool, e));
    TRY_OUT(rc, export_open(m, &v, &x, e));
    TRY_OUT(rc, choose_types(x, o->type, e));
    gguf_writer_split(x->writer, o->split_max_size);
    TRY_OUT(rc, check_outputs(x->writer, o, e));
    TRY_OUT(rc, fill_result(x->writer, o, r, e));
    struct export_target t = { .path = o->out, .split_max_size = o->split_max_size, .pool = pool,
                               .progress = o->progress };
    rc = export_write(x, &t, e);
out:
    export_close(x);
    pool_close(pool);
    vocab_fini(&v);
    return rc;
}

/* --- All ways --- */

static bool is_gguf_path(const char *path) {
    size_t n = strlen(path);
    return n >= 5 && !strcmp(path + n - 5, ".gguf");
}

static void warn_if_quantized(const struct model *m, enum qtype wanted) {
    for (uint32_t i = 0; i < m->n_weights; i++) {
        const struct weight *w = &m->weights[i];
        if (qtype_is_float(w->type) || w->type == wanted) continue;
        log_warn("%s is quantized (%s is %s): its errors stay in what is written", m->file->path, w->name,
                 qtype_name(w->type));
        return;
    }
}

static enum err_code convert_model(const struct convert_options *o, struct convert_result *r, struct err *e) {
    struct model *m;
    TRY(model_open(o->in, false, &m, e));
    warn_if_quantized(m, o->type);
    enum err_code rc = is_gguf_path(o->out) ? model_to_gguf(m, o, r, e) : export_hf(m, o, r, e);
    model_close(m);
    return rc;
}

static enum err_code convert_stored(const struct convert_options *o, struct convert_result *r, bool *done,
                                    struct err *e) {
    struct tfile *f;
    TRY(tfile_open(o->in, 0, &f, e));
    *done = f->kind == TFILE_GGUF;
    enum err_code rc = *done ? regroup(f, o, r, e) : ERR_NONE;
    tfile_close(f);
    return rc;
}

enum err_code convert_run(const struct convert_options *o, struct convert_result *r, struct err *e) {
    enum err_code rc = ERR_NONE;
    bool done = false;
    *r = (struct convert_result){ 0 };
    if (is_gguf_path(o->out)) remove_left(o->out);
    if (o->type == QTYPE_NONE && is_gguf_path(o->out)) rc = convert_stored(o, r, &done, e);
    if (!rc && !done) rc = convert_model(o, r, e);
    if (rc) {
        mem_free(r->file);
        *r = (struct convert_result){ 0 };
    }
    return rc;
}
