/* Reads safetensors files and the index of a sharded set. Owns tables; the span stays the caller's.
 *
 * A file is a length (u64), a JSON header of that length, and the data, which the tensors cover from the first byte to
 * the last without overlap. All of that is checked, so what is handed out lies in the span. Types that hold no weights
 * here (integers, 8-bit floats) are listed with type QTYPE_NONE. Writing is in safetensors_write.c. */
#include "format/safetensors.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"

enum { PREFIX_BYTES = 8 };
#define MAX_HEADER_BYTES ((uint64_t)100000000) /* the reference implementation's limit */

static const struct dtype { const char *name; unsigned bits; enum qtype type; } dtypes[] = {
    { "F32", 32, QTYPE_F32 },     { "F16", 16, QTYPE_F16 },     { "BF16", 16, QTYPE_BF16 },
    { "F64", 64, QTYPE_NONE },    { "I64", 64, QTYPE_NONE },    { "U64", 64, QTYPE_NONE },
    { "I32", 32, QTYPE_NONE },    { "U32", 32, QTYPE_NONE },    { "I16", 16, QTYPE_NONE },
    { "U16", 16, QTYPE_NONE },    { "I8", 8, QTYPE_NONE },      { "U8", 8, QTYPE_NONE },
    { "BOOL", 8, QTYPE_NONE },    { "F8_E4M3", 8, QTYPE_NONE }, { "F8_E5M2", 8, QTYPE_NONE },
    { "F8_E8M0", 8, QTYPE_NONE }, { "F6_E2M3", 6, QTYPE_NONE }, { "F6_E3M2", 6, QTYPE_NONE },
    { "F4", 4, QTYPE_NONE },      { "C64", 64, QTYPE_NONE },
};

static const struct dtype *find_dtype(const char *name) {
    for (size_t i = 0; name && i < ARRAY_LEN(dtypes); i++)
        if (!strcmp(dtypes[i].name, name)) return &dtypes[i];
    return NULL;
}

/* --- One tensor of the header --- */

/* A JSON integer of 0 or more. */
static bool get_u64(const json_t *v, uint64_t *out) {
    if (!json_is_integer(v) || json_integer_value(v) < 0) return false;
    *out = (uint64_t)json_integer_value(v);
    return true;
}

/* torch's shape, slowest first, becomes ne. Dimensions beyond the fourth (kernels of vision towers have five) are
 * multiplied into the slowest one. */
static enum err_code read_shape(const json_t *shape, struct tfile_tensor *t, uint64_t *weights, struct err *e) {
    size_t n = json_array_size(shape);
    *weights = 1;
    for (int d = 0; d < TFILE_MAX_DIMS; d++) t->ne[d] = 1;
    t->n_dims = n < TFILE_MAX_DIMS ? (uint32_t)n : TFILE_MAX_DIMS;
    if (!json_is_array(shape)) return err_set(e, ERR_FORMAT, "tensor %s has no shape", t->name);
    for (size_t d = 0; d < n; d++) {
        uint64_t v, *ne = &t->ne[d < TFILE_MAX_DIMS ? d : TFILE_MAX_DIMS - 1];
        if (!get_u64(json_array_get(shape, n - 1 - d), &v) || !mul_u64(*weights, v, weights) || !mul_u64(*ne, v, ne))
            return err_set(e, ERR_FORMAT, "tensor %s has an impossible shape", t->name);
    }
    return ERR_NONE;
}

/* data_n: bytes behind the header. */
static enum err_code read_tensor(const char *name, const json_t *v, uint64_t data_n, struct tfile_tensor *t,
                                 struct err *e) {
    uint64_t weights, bits, begin, end;
    const char *text = json_string_value(json_object_get(v, "dtype"));
    const struct dtype *dtype = find_dtype(text);
    const json_t *offsets = json_object_get(v, "data_offsets");
    t->name = name;
    if (!tfile_is_name(name, strlen(name)))
        return err_set(e, ERR_FORMAT, "a tensor name has control characters: %s", name);
    if (!text) return err_set(e, ERR_FORMAT, "tensor %s has no dtype", name);
    if (!dtype) return err_set(e, ERR_UNSUPPORTED, "tensor %s has the unknown dtype %s", name, text);
    t->type = dtype->type;
    t->type_name = dtype->name;
    TRY(read_shape(json_object_get(v, "shape"), t, &weights, e));
    if (json_array_size(offsets) != 2 || !get_u64(json_array_get(offsets, 0), &begin) ||
        !get_u64(json_array_get(offsets, 1), &end) || begin > end)
        return err_set(e, ERR_FORMAT, "tensor %s has no valid data_offsets", name);
    if (!mul_u64(weights, dtype->bits, &bits) || bits % 8 || bits / 8 != end - begin)
        return err_set(e, ERR_FORMAT,
                       "tensor %s: its shape in %s does not make the %" PRIu64 " bytes of its data_offsets", name,
                       dtype->name, end - begin);
    if (end > data_n)
        return err_set(e, ERR_FORMAT, "tensor %s is cut: %" PRIu64 " of its %" PRIu64
                       " bytes are missing; the file is incomplete, get it again",
                       name, min_u64(end - data_n, end - begin), end - begin);
    t->bytes = end - begin;
    t->file_off = begin;
    return ERR_NONE;
}

/* --- The whole header --- */

static int by_place(const void *a, const void *b) {
    const struct tfile_tensor *x = a, *y = b;
    if (x->file_off != y->file_off) return x->file_off < y->file_off ? -1 : 1;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* Sorts by place; the data section must be covered without overlap and hole. */
static enum err_code place_tensors(struct safetensors *s, struct tfile_tensor *tensors, struct span file,
                                   struct err *e) {
    uint64_t next = 0, data_n = file.n - s->data_off;
    if (s->n_tensors) qsort(tensors, s->n_tensors, sizeof(*tensors), by_place);
    for (size_t i = 0; i < s->n_tensors; i++) {
        struct tfile_tensor *t = &tensors[i];
        if (t->file_off != next)
            return err_set(e, ERR_FORMAT, "the data of tensor %s begin at %" PRIu64 "; byte %" PRIu64 " is due: %s",
                           t->name, t->file_off, next, t->file_off < next ? "tensors overlap" : "there is a hole");
        next += t->bytes;
        t->file_off += s->data_off;
        t->data = file.p + t->file_off;
    }
    if (next != data_n)
        return err_set_at(e, ERR_FORMAT, s->data_off + next, "%" PRIu64 " bytes behind the last tensor belong to none",
                          data_n - next);
    return ERR_NONE;
}

static enum err_code read_tensors(struct safetensors *s, json_t *root, struct span file, struct err *e) {
    const char *key;
    json_t *v;
    size_t n = json_object_size(root);
    struct tfile_tensor *tensors = arena_alloc(&s->mem, n, sizeof(*tensors));
    if (!tensors) return err_no_memory(e, n * sizeof(*tensors));
    s->tensors = tensors;
    json_object_foreach(root, key, v) {
        if (!strcmp(key, "__metadata__")) continue;
        const char *name = arena_strdup(&s->mem, key);
        if (!name) return err_no_memory(e, strlen(key) + 1);
        TRY(read_tensor(name, v, file.n - s->data_off, &tensors[s->n_tensors], e));
        s->n_tensors++;
    }
    return place_tensors(s, tensors, file, e);
}

static enum err_code read_header(struct safetensors *s, struct span file, json_t **root, struct err *e) {
    uint64_t n;
    json_error_t je;
    if (file.n < PREFIX_BYTES)
        return err_set_at(e, ERR_FORMAT, file.n, "the file is too short for a safetensors header");
    memcpy(&n, file.p, PREFIX_BYTES);
    if (n > MAX_HEADER_BYTES)
        return err_set_at(e, ERR_FORMAT, 0, "the header claims %" PRIu64 " bytes; the limit is 100 MB", n);
    if (n > file.n - PREFIX_BYTES)
        return err_set_at(e, ERR_FORMAT, file.n,
                          "the file ends inside its header, %" PRIu64 " bytes early; get it again",
                          n - (file.n - PREFIX_BYTES));
    s->data_off = PREFIX_BYTES + n;
    *root = json_loadb((const char *)file.p + PREFIX_BYTES, (size_t)n, JSON_REJECT_DUPLICATES, &je);
    if (!*root)
        return err_set_at(e, ERR_FORMAT, PREFIX_BYTES + (uint64_t)(je.position > 0 ? je.position : 0),
                          "the header is not valid JSON: %s", je.text);
    if (!json_is_object(*root)) return err_set_at(e, ERR_FORMAT, PREFIX_BYTES, "the header is not a JSON object");
    return ERR_NONE;
}

enum err_code safetensors_open(struct span file, struct safetensors **out, struct err *e) {
    json_t *root = NULL;
    enum err_code rc;
    *out = NULL;
    struct safetensors *s = NEW(struct safetensors);
    if (!s) return err_no_memory(e, sizeof(*s));
    TRY_OUT(rc, read_header(s, file, &root, e));
    TRY_OUT(rc, read_tensors(s, root, file, e));
    *out = s;
    s = NULL;
out:
    json_decref(root);
    safetensors_close(s);
    return rc;
}

void safetensors_close(struct safetensors *s) {
    if (!s) return;
    arena_fini(&s->mem);
    mem_free(s);
}

bool safetensors_probe(struct span file) {
    uint64_t n;
    if (file.n < PREFIX_BYTES + 1) return false;
    memcpy(&n, file.p, PREFIX_BYTES);
    return n <= MAX_HEADER_BYTES && file.p[PREFIX_BYTES] == '{';
}

/* --- The index of a sharded set --- */

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }
static int by_tensor(const void *a, const void *b) {
    const struct safetensors_index_entry *x = a, *y = b;
    return strcmp(x->tensor, y->tensor);
}

/* Shards stand beside the index: a name with a directory in it would leave the model's directory. */
static bool is_plain_name(const char *name) {
    return *name && tfile_is_name(name, strlen(name)) && !strchr(name, '/') && !strchr(name, '\\') &&
           strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* Fills x->files with the distinct names of weight_map, sorted. */
static enum err_code collect_files(struct safetensors_index *x, json_t *map, struct err *e) {
    const char *key;
    json_t *v;
    size_t n = 0;
    json_object_foreach(map, key, v) {
        const char *name = json_string_value(v);
        if (!name || !is_plain_name(name))
            return err_set(e, ERR_FORMAT, "weight_map names no file in this directory for tensor %s", key);
        x->files[n] = arena_strdup(&x->mem, name);
        if (!x->files[n++]) return err_no_memory(e, strlen(name) + 1);
    }
    if (n) qsort(x->files, n, sizeof(*x->files), by_text);
    for (size_t i = 0; i < n; i++)
        if (!x->n_files || strcmp(x->files[x->n_files - 1], x->files[i]) != 0) x->files[x->n_files++] = x->files[i];
    return ERR_NONE;
}

static enum err_code collect_entries(struct safetensors_index *x, json_t *map, struct err *e) {
    const char *key;
    json_t *v;
    json_object_foreach(map, key, v) {
        const char *name = json_string_value(v);
        const char **file = bsearch(&name, x->files, x->n_files, sizeof(*x->files), by_text);
        struct safetensors_index_entry *entry = &x->entries[x->n_entries++];
        entry->file = (uint32_t)(file - x->files);
        entry->tensor = arena_strdup(&x->mem, key);
        if (!entry->tensor) return err_no_memory(e, strlen(key) + 1);
    }
    qsort(x->entries, x->n_entries, sizeof(*x->entries), by_tensor);
    return ERR_NONE;
}

static enum err_code read_index(struct safetensors_index *x, json_t *root, struct err *e) {
    json_t *map = json_object_get(root, "weight_map");
    size_t n = json_object_size(map);
    if (!n) return err_set(e, ERR_FORMAT, "the index has no weight_map that says which file holds which tensor");
    if (n > UINT32_MAX) return err_set(e, ERR_TOO_LARGE, "the index names too many tensors");
    x->files = arena_alloc(&x->mem, n, sizeof(*x->files));
    x->entries = arena_alloc(&x->mem, n, sizeof(*x->entries));
    if (!x->files || !x->entries) return err_no_memory(e, n * sizeof(*x->entries));
    TRY(collect_files(x, map, e));
    return collect_entries(x, map, e);
}

enum err_code safetensors_index_open(struct span json, struct safetensors_index **out, struct err *e) {
    json_error_t je;
    enum err_code rc;
    *out = NULL;
    json_t *root = json_loadb(json.n ? (const char *)json.p : "", json.n, JSON_REJECT_DUPLICATES, &je);
    if (!root) return err_set(e, ERR_FORMAT, "the index is not valid JSON: line %d: %s", je.line, je.text);
    struct safetensors_index *x = NEW(struct safetensors_index);
    rc = x ? read_index(x, root, e) : err_no_memory(e, sizeof(*x));
    json_decref(root);
    if (rc) safetensors_index_close(x);
    else *out = x;
    return rc;
}

void safetensors_index_close(struct safetensors_index *x) {
    if (!x) return;
    arena_fini(&x->mem);
    mem_free(x);
}

int64_t safetensors_index_find(const struct safetensors_index *x, const char *tensor) {
    struct safetensors_index_entry key = { .tensor = tensor };
    const struct safetensors_index_entry *entry =
        bsearch(&key, x->entries, x->n_entries, sizeof(*x->entries), by_tensor);
    return entry ? (int64_t)entry->file : -1;
}
