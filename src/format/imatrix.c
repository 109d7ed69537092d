/* Importances: the GGUF form keeps sums and counts as tensors, the older one a list of sums with the number of chunks.
 *
 * Both become the same entries. The older form has one count for all experts of a weight, and its sums are scaled so
 * that dividing by that count gives the means. */
#include "format/imatrix.h"

#include <math.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "base/os.h"
#include "format/gguf_read.h"
#include "format/gguf_write.h"

static const char sums_end[] = ".in_sum2", counts_end[] = ".counts";
enum { MAX_NAME = 128 };

/* --- Entries --- */

static enum err_code check_values(const struct imatrix_entry *t, const float *v, uint64_t n, const char *what,
                                  struct err *e) {
    for (uint64_t i = 0; i < n; i++)
        if (!(v[i] >= 0) || !isfinite(v[i]))
            return err_set(e, ERR_FORMAT, "%s %llu of %s is %g: the file is damaged", what, (unsigned long long)i,
                           t->name, (double)v[i]);
    return ERR_NONE;
}

/* Copies floats, whatever their alignment in the file. */
static enum err_code copy_floats(struct imatrix *m, const void *p, uint64_t n, const float **out, struct err *e) {
    float *v = arena_alloc(&m->mem, (size_t)n, sizeof *v);
    if (!v) return err_no_memory(e, n * sizeof *v);
    memcpy(v, p, (size_t)n * sizeof *v);
    *out = v;
    return ERR_NONE;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct imatrix_entry *)a)->name, ((const struct imatrix_entry *)b)->name);
}

static enum err_code check_entries(struct imatrix *m, struct err *e) {
    if (!m->n_entries) return err_set(e, ERR_FORMAT, "it holds no importances");
    qsort(m->entries, m->n_entries, sizeof *m->entries, by_name);
    for (size_t i = 0; i < m->n_entries; i++) {
        const struct imatrix_entry *t = &m->entries[i];
        if (i && !strcmp(t->name, t[-1].name)) return err_set(e, ERR_FORMAT, "%s appears twice", t->name);
        TRY(check_values(t, t->sums, t->n, "sum", e));
        TRY(check_values(t, t->counts, t->n_counts, "count", e));
    }
    return ERR_NONE;
}

const struct imatrix_entry *imatrix_find(const struct imatrix *m, const char *name) {
    struct imatrix_entry key = { .name = name };
    return bsearch(&key, m->entries, m->n_entries, sizeof key, by_name);
}

void imatrix_close(struct imatrix *m) {
    if (!m) return;
    struct arena mem = m->mem; /* m itself is not in it */
    arena_fini(&mem);
    mem_free(m);
}

/* --- Means --- */

static float count_of(const struct imatrix_entry *t, uint64_t part) { return t->counts[t->n_counts == 1 ? 0 : part]; }

/* Whether a part, an expert or the whole, saw any token. */
static bool part_seen(const struct imatrix_entry *t, uint64_t part, uint64_t n_in) {
    const float *sums = t->sums + part * n_in;
    if (!(count_of(t, part) > 0)) return false;
    for (uint64_t j = 0; j < n_in; j++)
        if (sums[j] > 0) return true;
    return false;
}

/* What parts without tokens get: the mean over all tokens of the others. */
static void mean_of_seen(const struct imatrix_entry *t, const bool *seen, uint64_t parts, uint64_t n_in, float *out) {
    for (uint64_t j = 0; j < n_in; j++) {
        double sum = 0, count = 0;
        for (uint64_t k = 0; k < parts; k++) {
            if (!seen[k]) continue;
            sum += (double)t->sums[k * n_in + j];
            count += (double)count_of(t, k);
        }
        out[j] = count > 0 ? (float)(sum / count) : 1;
    }
}

static enum err_code part_means(const struct imatrix_entry *t, uint64_t parts, uint64_t n_in, float *out,
                                struct err *e) {
    bool *seen = mem_alloc((size_t)parts, sizeof *seen);
    const float *others = NULL;
    if (!seen) return err_no_memory(e, parts);
    for (uint64_t k = 0; k < parts; k++) seen[k] = part_seen(t, k, n_in);
    for (uint64_t k = 0; k < parts; k++) {
        float *to = out + k * n_in;
        for (uint64_t j = 0; j < n_in && seen[k]; j++) to[j] = t->sums[k * n_in + j] / count_of(t, k);
        if (seen[k]) continue;
        if (others) memcpy(to, others, (size_t)n_in * sizeof *to);
        else mean_of_seen(t, seen, parts, n_in, to);
        others = to;
    }
    mem_free(seen);
    return ERR_NONE;
}

enum err_code imatrix_means(const struct imatrix_entry *t, uint64_t n_in, uint64_t n_experts, float *out,
                            struct err *e) {
    uint64_t all, parts = t->n == n_in ? 1 : n_experts;
    if (!mul_u64(n_in, parts, &all) || t->n != all || (t->n_counts != 1 && t->n_counts != parts))
        return err_set(e, ERR_FORMAT, "it has %llu importances of %s with %llu counts, the weight has %llu inputs and "
                       "%llu experts: they are of another model", (unsigned long long)t->n, t->name,
                       (unsigned long long)t->n_counts, (unsigned long long)n_in, (unsigned long long)n_experts);
    TRY(part_means(t, parts, n_in, out, e));
    for (uint64_t k = parts; k < n_experts; k++) memcpy(out + k * n_in, out, (size_t)n_in * sizeof *out);
    for (uint64_t j = 0; j < all; j++)
        if (!isfinite(out[j])) return err_set(e, ERR_FORMAT, "an importance of %s is infinite", t->name);
    return ERR_NONE;
}

/* --- GGUF --- */

static bool ends_in(const char *name, const char *end) {
    size_t n = strlen(name), n_end = strlen(end);
    return n > n_end && !strcmp(name + n - n_end, end);
}

static const struct tfile_tensor *find_counts(const struct gguf *g, const char *weight, size_t hint) {
    char name[MAX_NAME];
    snprintf(name, sizeof name, "%s%s", weight, counts_end);
    /* Writers put the counts behind their sums. */
    if (hint < g->n_tensors && !strcmp(g->tensors[hint].name, name)) return &g->tensors[hint];
    for (size_t i = 0; i < g->n_tensors; i++)
        if (!strcmp(g->tensors[i].name, name)) return &g->tensors[i];
    return NULL;
}

static enum err_code take_tensor(struct imatrix *m, const struct gguf *g, size_t i, struct err *e) {
    const struct tfile_tensor *sums = &g->tensors[i], *counts;
    struct imatrix_entry *t = &m->entries[m->n_entries];
    size_t n = strlen(sums->name) - strlen(sums_end);
    t->name = arena_strndup(&m->mem, sums->name, n);
    if (!t->name) return err_no_memory(e, n + 1);
    counts = find_counts(g, t->name, i + 1);
    if (!counts) return err_set(e, ERR_FORMAT, "it has sums of %s and no counts", t->name);
    if (sums->type != QTYPE_F32 || counts->type != QTYPE_F32)
        return err_set(e, ERR_FORMAT, "the importances of %s are not stored as F32", t->name);
    t->n = tfile_tensor_weights(sums);
    t->n_counts = tfile_tensor_weights(counts);
    if (!t->n || !t->n_counts || t->n % t->n_counts)
        return err_set(e, ERR_FORMAT, "%s has %llu sums and %llu counts", t->name, (unsigned long long)t->n,
                       (unsigned long long)t->n_counts);
    TRY(copy_floats(m, sums->data, t->n, &t->sums, e));
    TRY(copy_floats(m, counts->data, t->n_counts, &t->counts, e));
    m->n_entries++;
    return ERR_NONE;
}

static enum err_code take_datasets(struct imatrix *m, const struct gguf *g, struct err *e) {
    struct gguf_array a = { 0 };
    bool found;
    struct str s;
    TRY(gguf_get_array(g, "imatrix.datasets", &a, &found, e));
    if (!found || a.elem != GGUF_STRING) return ERR_NONE;
    struct str *all = arena_alloc(&m->mem, (size_t)a.n, sizeof *all);
    if (!all) return err_no_memory(e, a.n * sizeof *all);
    m->datasets = all;
    for (; gguf_array_next_str(&a, &s); m->n_datasets++) {
        all[m->n_datasets] = (struct str){ arena_strndup(&m->mem, s.p, s.n), s.n };
        if (!all[m->n_datasets].p) return err_no_memory(e, s.n);
    }
    return ERR_NONE;
}

static enum err_code take_gguf(struct imatrix *m, const struct gguf *g, struct err *e) {
    struct str type = { "", 0 };
    bool found;
    TRY(gguf_get_str(g, "general.type", &type, &found, e));
    if (!str_eqz(type, "imatrix"))
        return err_set(e, ERR_FORMAT, "this GGUF file is no importance file: its general.type is not imatrix");
    TRY(gguf_get_u32(g, "imatrix.chunk_count", &m->n_chunks, &found, e));
    TRY(gguf_get_u32(g, "imatrix.chunk_size", &m->chunk_length, &found, e));
    TRY(take_datasets(m, g, e));
    m->entries = arena_alloc(&m->mem, g->n_tensors, sizeof *m->entries);
    if (!m->entries) return err_no_memory(e, g->n_tensors * sizeof *m->entries);
    for (size_t i = 0; i < g->n_tensors; i++)
        if (ends_in(g->tensors[i].name, sums_end)) TRY(take_tensor(m, g, i, e));
    return ERR_NONE;
}

static enum err_code read_gguf(struct imatrix *m, struct span file, struct err *e) {
    struct gguf *g;
    TRY(gguf_open(file, &g, e));
    enum err_code rc = take_gguf(m, g, e);
    gguf_close(g);
    return rc;
}

/* --- The older form --- */

struct reader { struct span in; size_t at; };

static enum err_code cut_short(const struct reader *r, struct err *e) {
    return err_set_at(e, ERR_FORMAT, r->at, "the importance file is damaged or ends early");
}

static enum err_code take_bytes(struct reader *r, uint64_t n, const uint8_t **out, struct err *e) {
    *out = r->in.p + r->at;
    if (n > r->in.n - r->at) return cut_short(r, e);
    r->at += (size_t)n;
    return ERR_NONE;
}

static enum err_code take_count(struct reader *r, uint32_t *out, struct err *e) {
    const uint8_t *p;
    TRY(take_bytes(r, sizeof *out, &p, e));
    memcpy(out, p, sizeof *out);
    return *out > INT32_MAX ? cut_short(r, e) : ERR_NONE;
}

static enum err_code take_entry(struct imatrix *m, struct reader *r, struct err *e) {
    struct imatrix_entry *t = &m->entries[m->n_entries];
    uint32_t length, calls, n;
    const uint8_t *p;
    TRY(take_count(r, &length, e));
    TRY(take_bytes(r, length, &p, e));
    if (!length || length >= MAX_NAME || !tfile_is_name((const char *)p, length))
        return err_set_at(e, ERR_FORMAT, r->at, "this is no importance file: a weight's name is expected");
    t->name = arena_strndup(&m->mem, (const char *)p, length);
    if (!t->name) return err_no_memory(e, length);
    TRY(take_count(r, &calls, e));
    TRY(take_count(r, &n, e));
    TRY(take_bytes(r, 4 * (uint64_t)n, &p, e));
    if (!n) return cut_short(r, e);
    /* Without a number of calls the values are means. */
    float count = calls ? (float)calls : 1;
    t->n = n;
    t->n_counts = 1;
    TRY(copy_floats(m, p, n, &t->sums, e));
    TRY(copy_floats(m, &count, 1, &t->counts, e));
    m->n_entries++;
    return ERR_NONE;
}

/* Newer writers of this form add the number of chunks and the name of the text. */
static enum err_code take_origin(struct imatrix *m, struct reader *r, struct err *e) {
    uint32_t length;
    const uint8_t *p;
    if (r->at == r->in.n) return ERR_NONE;
    TRY(take_count(r, &m->n_chunks, e));
    TRY(take_count(r, &length, e));
    TRY(take_bytes(r, length, &p, e));
    struct str *name = arena_alloc(&m->mem, 1, sizeof *name);
    const char *text = arena_strndup(&m->mem, (const char *)p, length);
    if (!name || !text) return err_no_memory(e, length);
    *name = (struct str){ text, length };
    m->datasets = name;
    m->n_datasets = 1;
    return ERR_NONE;
}

static enum err_code read_older(struct imatrix *m, struct span file, struct err *e) {
    enum { LEAST_ENTRY = 12 }; /* three counts */
    struct reader r = { file, 0 };
    uint32_t n;
    TRY(take_count(&r, &n, e));
    if (n > file.n / LEAST_ENTRY) return err_set_at(e, ERR_FORMAT, 0, "this is no importance file");
    m->entries = arena_alloc(&m->mem, n, sizeof *m->entries);
    if (!m->entries) return err_no_memory(e, n * sizeof *m->entries);
    for (uint32_t i = 0; i < n; i++) TRY(take_entry(m, &r, e));
    return take_origin(m, &r, e);
}

enum err_code imatrix_read(struct span file, struct imatrix **out, struct err *e) {
    struct imatrix *m = NEW(struct imatrix);
    *out = NULL;
    if (!m) return err_no_memory(e, sizeof *m);
    enum err_code rc = gguf_probe(file) ? read_gguf(m, file, e) : read_older(m, file, e);
    if (!rc) rc = check_entries(m, e);
    if (rc) imatrix_close(m);
    else *out = m;
    return rc;
}

enum err_code imatrix_open(const char *path, struct imatrix **out, struct err *e) {
    struct os_map map;
    *out = NULL;
    TRY(os_map_open(path, &map, e));
    enum err_code rc = imatrix_read((struct span){ map.p, map.n }, out, e);
    os_map_close(&map);
    return err_where(e, rc, "%s", path);
}

/* --- Writing --- */

static enum err_code declare(const struct imatrix *m, struct gguf_writer *w, struct err *e) {
    gguf_writer_str(w, "general.type", STR("imatrix"));
    gguf_writer_str_array(w, "imatrix.datasets", m->datasets, m->n_datasets);
    gguf_writer_u32(w, "imatrix.chunk_count", m->n_chunks);
    gguf_writer_u32(w, "imatrix.chunk_size", m->chunk_length);
    for (size_t i = 0; i < m->n_entries; i++) {
        const struct imatrix_entry *t = &m->entries[i];
        char name[MAX_NAME];
        snprintf(name, sizeof name, "%s%s", t->name, sums_end);
        TRY(gguf_writer_tensor(w, name, QTYPE_F32, 2, (uint64_t[]){ t->n / t->n_counts, t->n_counts }, e));
        snprintf(name, sizeof name, "%s%s", t->name, counts_end);
        TRY(gguf_writer_tensor(w, name, QTYPE_F32, 2, (uint64_t[]){ 1, t->n_counts }, e));
    }
    return ERR_NONE;
}

static enum err_code put(const struct imatrix *m, struct tstream *s, struct err *e) {
    for (size_t i = 0; i < m->n_entries; i++) {
        const struct imatrix_entry *t = &m->entries[i];
        TRY(tstream_put(s, t->sums, (size_t)t->n * sizeof *t->sums, e));
        TRY(tstream_put(s, t->counts, (size_t)t->n_counts * sizeof *t->counts, e));
    }
    return ERR_NONE;
}

static enum err_code write_gguf(const struct imatrix *m, const char *path, struct err *e) {
    struct gguf_writer *w = NULL;
    struct tstream *s = NULL;
    enum err_code rc = gguf_writer_new(&w, e);
    if (!rc) rc = declare(m, w, e);
    if (!rc) rc = gguf_writer_open(w, path, NULL, &s, e);
    if (!rc) rc = put(m, s, e);
    if (!rc) rc = tstream_commit(s, e);
    else tstream_abandon(s, false);
    gguf_writer_free(w);
    return rc;
}

static void put_count(struct buf *b, uint64_t n) {
    uint32_t v = (uint32_t)n;
    buf_add(b, &v, sizeof v);
}

static void put_text(struct buf *b, struct str s) {
    put_count(b, s.n);
    buf_add(b, s.p, s.n);
}

/* Means times the number of chunks, which is what readers divide by. */
static enum err_code put_entry(struct buf *b, const struct imatrix *m, const struct imatrix_entry *t, struct err *e) {
    uint32_t calls = m->n_chunks ? m->n_chunks : 1;
    if (t->n > INT32_MAX) return err_set(e, ERR_UNSUPPORTED, "%s is too large for the older form: write GGUF", t->name);
    float *v = mem_alloc((size_t)t->n, sizeof *v);
    if (!v) return err_no_memory(e, t->n * sizeof *v);
    enum err_code rc = imatrix_means(t, t->n / t->n_counts, t->n_counts, v, e);
    for (uint64_t i = 0; i < t->n; i++) v[i] *= (float)calls;
    put_text(b, str_of(t->name));
    put_count(b, calls);
    put_count(b, t->n);
    buf_add(b, v, (size_t)t->n * sizeof *v);
    mem_free(v);
    return rc;
}

static enum err_code write_older(const struct imatrix *m, const char *path, struct err *e) {
    struct buf b = { 0 };
    enum err_code rc = ERR_NONE;
    put_count(&b, m->n_entries);
    for (size_t i = 0; i < m->n_entries && !rc; i++) rc = put_entry(&b, m, &m->entries[i], e);
    put_count(&b, m->n_chunks);
    put_text(&b, m->n_datasets ? m->datasets[0] : STR(""));
    if (!rc) rc = buf_status(&b, e);
    if (!rc) rc = os_write_file(path, b.p, b.n, e);
    buf_fini(&b);
    return rc;
}

enum err_code imatrix_write(const struct imatrix *m, const char *path, struct err *e) {
    return ends_in(path, ".dat") ? write_older(m, path, e) : write_gguf(m, path, e);
}
