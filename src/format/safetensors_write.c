/* Writes safetensors files as the Hugging Face libraries name and shard them. Owns the tensor descriptions; promises
 * that the sizes it names are those of the files, and that equal calls give equal files. Streaming of data is
 * tstream's. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "base/os.h"
#include "format/safetensors.h"

enum { HEADER_ALIGNMENT = 8, MAX_FILES = 99999 /* five digits */ };

struct tensor { char *name; enum qtype type; uint32_t n_dims; uint64_t ne[TFILE_MAX_DIMS]; uint64_t bytes; };

struct safetensors_writer {
    struct tensor *tensors;
    size_t n_tensors;
    uint64_t data_bytes;
    uint64_t max_bytes; /* of one file's data; 0 for no limit */
};

enum err_code safetensors_writer_new(struct safetensors_writer **out, struct err *e) {
    *out = NEW(struct safetensors_writer);
    return *out ? ERR_NONE : err_no_memory(e, sizeof(**out));
}

void safetensors_writer_free(struct safetensors_writer *w) {
    if (!w) return;
    for (size_t i = 0; i < w->n_tensors; i++) mem_free(w->tensors[i].name);
    mem_free(w->tensors);
    mem_free(w);
}

void safetensors_writer_split(struct safetensors_writer *w, uint64_t max_bytes) { w->max_bytes = max_bytes; }

enum err_code safetensors_writer_tensor(struct safetensors_writer *w, const char *name, enum qtype type,
                                        uint32_t n_dims, const uint64_t *ne, struct err *e) {
    struct tensor t = { .type = type, .n_dims = n_dims, .ne = { 1, 1, 1, 1 } };
    if (!qtype_is_float(type))
        return err_set(e, ERR_UNSUPPORTED, "tensor %s: safetensors files hold F32, F16 and BF16, not %s", name,
                       qtype_name(type));
    if (n_dims > TFILE_MAX_DIMS) return err_set(e, ERR_FORMAT, "tensor %s has more than 4 dimensions", name);
    for (uint32_t d = 0; d < n_dims; d++) t.ne[d] = ne[d];
    bool fits = qtype_row_bytes(type, t.ne[0], &t.bytes);
    for (int d = 1; fits && d < TFILE_MAX_DIMS; d++) fits = mul_u64(t.bytes, t.ne[d], &t.bytes);
    uint64_t data_bytes;
    if (!fits || !add_u64(w->data_bytes, t.bytes, &data_bytes) || data_bytes > INT64_MAX)
        return err_set(e, ERR_TOO_LARGE, "tensor %s: the file would pass 2^63 bytes", name);
    if (!(w->n_tensors & (w->n_tensors - 1))) { /* room doubles at each power of two */
        size_t n = w->n_tensors ? 2 * w->n_tensors : 1;
        struct tensor *all = mem_realloc(w->tensors, w->n_tensors, n, sizeof(*all));
        if (!all) return err_no_memory(e, n * sizeof(*all));
        w->tensors = all;
    }
    t.name = mem_strdup(name);
    if (!t.name) return err_no_memory(e, strlen(name) + 1);
    w->tensors[w->n_tensors++] = t;
    w->data_bytes = data_bytes;
    return ERR_NONE;
}

static enum err_code check_names(const struct safetensors_writer *w, struct err *e) {
    const char **names = NEW_ARRAY(const char *, w->n_tensors);
    if (!names) return err_no_memory(e, w->n_tensors * sizeof(*names));
    for (size_t i = 0; i < w->n_tensors; i++) names[i] = w->tensors[i].name;
    const char *twin = tfile_twin(names, w->n_tensors);
    mem_free(names);
    return twin ? err_set(e, ERR_FORMAT, "two tensors are named %s", twin) : ERR_NONE;
}

/* --- JSON --- */

static int add_text(const char *p, size_t n, void *buf) {
    buf_add(buf, p, n);
    return 0;
}

/* Takes root; NULL stands for a failure to build it. */
static enum err_code put_json(json_t *root, struct buf *out, struct err *e) {
    int failed = root ? json_dump_callback(root, add_text, out, JSON_COMPACT) : -1;
    json_decref(root);
    return failed ? err_no_memory(e, 0) : buf_status(out, e);
}

static json_t *tensor_json(const struct tensor *t, uint64_t begin) {
    const uint64_t end = begin + t->bytes;
    json_t *shape = json_array();
    for (uint32_t d = t->n_dims; d-- > 0; ) json_array_append_new(shape, json_integer((json_int_t)t->ne[d]));
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", qtype_name(t->type), "shape", shape, "data_offsets",
                     (json_int_t)begin, (json_int_t)end);
}

/* Length, JSON and padding for tensors [begin, end). */
static enum err_code put_header(const struct safetensors_writer *w, size_t begin, size_t end, struct buf *out,
                                struct err *e) {
    struct buf text = { 0 };
    uint64_t at = 0;
    json_t *root = json_pack("{s:{s:s}}", "__metadata__", "format", "pt"); /* transformers refuses files without it */
    for (size_t i = begin; i < end; at += w->tensors[i++].bytes) {
        const struct tensor *t = &w->tensors[i];
        if (json_object_set_new(root, t->name, tensor_json(t, at))) {
            json_decref(root);
            return err_set(e, ERR_FORMAT, "tensor %.100s cannot be described in JSON", t->name);
        }
    }
    enum err_code rc = put_json(root, &text, e);
    while (text.n % HEADER_ALIGNMENT && !text.failed) buf_addc(&text, ' ');
    uint64_t n = text.n;
    buf_add(out, &n, sizeof(n));
    buf_add(out, text.p, text.n);
    if (!rc) rc = buf_status(&text, e);
    if (!rc) rc = buf_status(out, e);
    buf_fini(&text);
    return rc;
}

/* --- Files --- */

/* First tensors of the files; begins, if not NULL, has room for one a tensor and one more. */
static size_t cut(const struct safetensors_writer *w, size_t *begins) {
    uint64_t bytes = 0;
    size_t n_files = 1;
    if (begins) begins[0] = 0;
    for (size_t i = 0; i < w->n_tensors; i++) {
        if (w->max_bytes && bytes && bytes + w->tensors[i].bytes > w->max_bytes) {
            if (begins) begins[n_files] = i;
            n_files++;
            bytes = 0;
        }
        bytes += w->tensors[i].bytes;
    }
    if (begins) begins[n_files] = w->n_tensors;
    return n_files;
}

uint32_t safetensors_writer_n_files(const struct safetensors_writer *w) { return (uint32_t)cut(w, NULL); }

static void file_name(char *name, size_t size, size_t i, size_t n_files) {
    if (n_files == 1) snprintf(name, size, "model.safetensors");
    else snprintf(name, size, "model-%05zu-of-%05zu.safetensors", i + 1, n_files);
}

static enum err_code put_index(const struct safetensors_writer *w, const size_t *begins, size_t n_files,
                               struct buf *out, struct err *e) {
    char name[64];
    json_t *map = json_object();
    for (size_t f = 0; f < n_files; f++) {
        file_name(name, sizeof(name), f, n_files);
        for (size_t i = begins[f]; i < begins[f + 1]; i++)
            json_object_set_new(map, w->tensors[i].name, json_string(name));
    }
    return put_json(json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)w->data_bytes, "weight_map", map),
                    out, e);
}

/* The index, if there is one, is the first file of the plan, so that it appears last. */
static enum err_code make_plan(const struct safetensors_writer *w, const char *dir, struct tstream_plan *plan,
                               struct err *e) {
    char name[64];
    enum err_code rc = ERR_NONE;
    size_t *begins = NEW_ARRAY(size_t, w->n_tensors + 2);
    if (!begins) return err_no_memory(e, w->n_tensors * sizeof(*begins));
    size_t n = cut(w, begins), indexed = n > 1;
    if (n > MAX_FILES) TRY_OUT(rc, err_set(e, ERR_TOO_LARGE, "%zu files are too many for one set", n));
    *plan = (struct tstream_plan){ .files = NEW_ARRAY(struct tstream_file, n + indexed), .n_files = n + indexed,
                                   .slots = NEW_ARRAY(struct tstream_slot, w->n_tensors), .n_slots = w->n_tensors };
    if (!plan->files || !plan->slots) TRY_OUT(rc, err_no_memory(e, w->n_tensors * sizeof(*plan->slots)));
    for (size_t i = 0; i < w->n_tensors; i++) plan->slots[i].bytes = w->tensors[i].bytes;
    for (size_t i = 0; i < n; i++) {
        struct tstream_file *file = &plan->files[i + indexed];
        file_name(name, sizeof(name), i, n);
        file->path = os_path_join(dir, name);
        file->n_tensors = begins[i + 1] - begins[i];
        if (!file->path) TRY_OUT(rc, err_no_memory(e, strlen(dir) + sizeof(name)));
        TRY_OUT(rc, put_header(w, begins[i], begins[i + 1], &file->header, e));
    }
    if (indexed) {
        plan->files[0].path = os_path_join(dir, "model.safetensors.index.json");
        if (!plan->files[0].path) TRY_OUT(rc, err_no_memory(e, strlen(dir) + sizeof(name)));
        TRY_OUT(rc, put_index(w, begins, n, &plan->files[0].header, e));
    }
out:
    if (rc) tstream_plan_fini(plan);
    mem_free(begins);
    return rc;
}

enum err_code safetensors_writer_total_bytes(struct safetensors_writer *w, uint64_t *bytes, struct err *e) {
    struct tstream_plan plan = { 0 };
    TRY(make_plan(w, "", &plan, e));
    *bytes = w->data_bytes;
    for (size_t i = 0; i < plan.n_files; i++) *bytes += plan.files[i].header.n;
    tstream_plan_fini(&plan);
    return ERR_NONE;
}

enum err_code safetensors_writer_open(struct safetensors_writer *w, const char *dir, struct tstream **out,
                                      struct err *e) {
    struct tstream_plan plan = { 0 };
    *out = NULL;
    TRY(check_names(w, e));
    TRY(make_plan(w, dir, &plan, e));
    return tstream_open(&plan, NULL, out, e);
}

enum err_code safetensors_writer_open_file(struct safetensors_writer *w, const char *path, struct tstream **out,
                                           struct err *e) {
    struct tstream_plan plan = { 0 };
    *out = NULL;
    TRY(check_names(w, e));
    w->max_bytes = 0;
    TRY(make_plan(w, "", &plan, e));
    mem_free(plan.files[0].path);
    plan.files[0].path = mem_strdup(path);
    if (!plan.files[0].path) {
        tstream_plan_fini(&plan);
        return err_no_memory(e, strlen(path));
    }
    return tstream_open(&plan, NULL, out, e);
}
