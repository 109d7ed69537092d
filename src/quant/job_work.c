/* What a job keeps beside OUT while it runs, and its end: the measurement under OUT.HASH.json with its importances and
 * its journal. They go when OUT stands; a job that died between the two is recognised by the next one. */
#include <stdio.h>
#include <string.h>
#include "base/log.h"
#include "base/os.h"
#include "format/calib_source.h"
#include "quant/hash.h"
#include "quant/job_impl.h"

enum { HASH_DIGITS = 16 };

bool job_is_stale(const struct job *j, const char *path, const char *end) {
    struct buf left = { 0 };
    buf_addf(&left, "%s%s", path, end);
    bool stale = left.failed || tfile_changed_since(j->model->file, left.p);
    if (stale) log_warn("%s was written after %s%s: beginning anew", j->model->file->path, path, end);
    buf_fini(&left);
    return stale;
}

/* Everything that a measurement depends on and that a second start could change goes into its name. */
enum err_code job_work_name(struct job *j, struct err *e) {
    const struct calib_options *c = &j->d->calib;
    uint64_t h = hash_u64(hash_u64(hash_u64(HASH_START, j->r->source_hash), c->rows), c->length);
    if (j->work) return ERR_NONE;
    if (j->d->version) h = hash_bytes(h, j->d->version, strlen(j->d->version));
    if (c->file) {
        struct os_map text;
        char *file = calib_source_file(c->file);
        enum err_code rc = file ? os_map_open(file, &text, e) : err_no_memory(e, strlen(c->file));
        mem_free(file);
        TRY(rc);
        h = hash_bytes(hash_bytes(h, c->file, strlen(c->file)), text.p, text.n);
        os_map_close(&text);
    }
    if (j->imatrix) h = hash_u64(h, importance_hash(j->imatrix));
    struct buf path = { 0 };
    buf_addf(&path, "%s.%0*llx.json", j->d->out, (int)HASH_DIGITS, (unsigned long long)h);
    j->work = path.p;
    return buf_status(&path, e);
}

/* Whether a file's name is OUT's with any hash and this end. */
static bool is_work(const char *name, const char *out, const char *end) {
    size_t n = strlen(out);
    if (strncmp(name, out, n) != 0 || name[n] != '.') return false;
    return strspn(name + n + 1, "0123456789abcdef") == HASH_DIGITS && !strcmp(name + n + 1 + HASH_DIGITS, end);
}

static void remove_ending(const char *dir, const char *out, const char *end) {
    char **names;
    size_t n;
    if (os_list_dir(dir, &names, &n, NULL)) return;
    for (size_t i = 0; i < n; i++) {
        char *path = is_work(names[i], out, end) ? os_path_join(dir, names[i]) : NULL;
        if (path) remove(path);
        mem_free(path);
        mem_free(names[i]);
    }
    mem_free(names);
}

void job_work_remove(const struct job *j) {
    /* The measurement goes first: what is left of the others without it is of no use, and known as that. */
    static const char *const ends[] = { ".json", ".json.part", ".imatrix.gguf", ".imatrix.gguf.part",
                                        ".json.journal.part" };
    const char *slash = strrchr(j->d->out, '/'), *out = slash ? slash + 1 : j->d->out;
    char *dir = slash ? mem_strndup(j->d->out, (size_t)(slash - j->d->out) + 1) : mem_strdup(".");
    for (size_t i = 0; dir && i < ARRAY_LEN(ends); i++) remove_ending(dir, out, ends[i]);
    mem_free(dir);
}

/* Removes importances that neither a measurement nor a journal goes with. */
static void remove_orphan(const struct job *j) {
    char *importance = measurement_importance_path(j->work);
    struct buf journal = { 0 };
    buf_addf(&journal, "%s.journal.part", j->work);
    if (importance && !journal.failed && !os_exists(journal.p)) remove(importance);
    buf_fini(&journal);
    mem_free(importance);
}

enum err_code job_find_finished(struct job *j, struct err *e) {
    const struct job_desc *d = j->d;
    if (d->no_resume || d->measurement || j->recipe) return ERR_NONE; /* nothing is kept, or it is to be ignored */
    TRY(job_work_name(j, e));
    bool kept = os_exists(j->work);
    if (!kept) remove_orphan(j);
    j->finished = kept && !tfile_changed_since(j->model->file, d->out);
    return ERR_NONE;
}

enum err_code job_is_written(const struct job *j, bool *same, struct err *e) {
    struct buf header = { 0 };
    struct os_map map = { 0 };
    uint64_t bytes;
    enum err_code rc;
    *same = false;
    TRY_OUT(rc, gguf_writer_header(j->x->writer, &header, e));
    TRY_OUT(rc, gguf_writer_total_bytes(j->x->writer, &bytes, e));
    TRY_OUT(rc, os_map_open(j->d->out, &map, e));
    *same = map.n == bytes && map.n >= header.n && !memcmp(map.p, header.p, header.n);
out:
    os_map_close(&map);
    buf_fini(&header);
    return rc;
}
