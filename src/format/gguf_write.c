/* Lays out and writes GGUF. Owns copies of metadata and tensor descriptions; promises that the sizes it names are those
 * of the files it writes, to the byte, and that equal calls give equal files. Streaming of data is tstream's.
 *
 * Shards of a split set follow llama.cpp's convention: the first has all metadata, each has split.no, split.count and
 * split.tensors.count, and offsets begin at 0 in each. */
#include "format/gguf_write.h"

#include <inttypes.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"

enum {
    VERSION = 3,
    ALIGNMENT = 32,
    PREAMBLE_BYTES = 4 + 4 + 8 + 8,
    MAX_KEY_BYTES = 65535,
    MAX_NAME_BYTES = 63,
    MAX_FILES = UINT16_MAX,
    /* keys split.no, split.count (u16) and split.tensors.count (i32), each with length and type */
    SPLIT_KEY_BYTES = (8 + 8 + 4 + 2) + (8 + 11 + 4 + 2) + (8 + 19 + 4 + 4),
};

/* value is as in the file, behind the type. */
struct entry { char *key; enum gguf_type type; struct buf value; };
struct tensor { char *name; enum qtype type; uint32_t n_dims; uint64_t ne[TFILE_MAX_DIMS]; uint64_t bytes; };

struct gguf_writer {
    struct entry *kv;
    size_t n_kv;
    struct tensor *tensors;
    size_t n_tensors;
    uint64_t info_bytes; /* of all entries of the tensor table */
    uint64_t data_bytes; /* of all tensors, padded */
    uint64_t max_bytes;  /* of one file; 0 for no limit */
    struct err failed;   /* what a setter could not say */
};

enum err_code gguf_writer_new(struct gguf_writer **out, struct err *e) {
    *out = NEW(struct gguf_writer);
    return *out ? ERR_NONE : err_no_memory(e, sizeof(**out));
}

void gguf_writer_free(struct gguf_writer *w) {
    if (!w) return;
    for (size_t i = 0; i < w->n_kv; i++) {
        mem_free(w->kv[i].key);
        buf_fini(&w->kv[i].value);
    }
    for (size_t i = 0; i < w->n_tensors; i++) mem_free(w->tensors[i].name);
    mem_free(w->kv);
    mem_free(w->tensors);
    mem_free(w);
}

enum err_code gguf_writer_status(const struct gguf_writer *w, struct err *e) {
    if (w->failed.code && e) *e = w->failed;
    return w->failed.code;
}

/* --- Metadata --- */

static void put_u32(struct buf *b, uint32_t v) { buf_add(b, &v, sizeof(v)); }
static void put_u64(struct buf *b, uint64_t v) { buf_add(b, &v, sizeof(v)); }
static void put_str(struct buf *b, struct str s) {
    put_u64(b, s.n);
    buf_add(b, s.p, s.n);
}

static struct entry *find(struct gguf_writer *w, const char *key) {
    for (size_t i = 0; i < w->n_kv; i++)
        if (!strcmp(w->kv[i].key, key)) return &w->kv[i];
    return NULL;
}

/* Room doubles at each power of two. NULL when out of memory; old stays valid. */
static void *grow(void *old, size_t n, size_t size) {
    return n & (n - 1) ? old : mem_realloc(old, n, n ? 2 * n : 1, size);
}

/* The emptied value of a key that is there from now on, or NULL after a failure. */
static struct buf *value_of(struct gguf_writer *w, const char *key, enum gguf_type type) {
    size_t n = strlen(key);
    struct entry *kv = find(w, key);
    if (!kv) {
        if (!n || n > MAX_KEY_BYTES) {
            err_set(&w->failed, ERR_INTERNAL, "a metadata key has a length of %zu bytes; 1 to 65535 are allowed", n);
            return NULL;
        }
        struct entry *all = grow(w->kv, w->n_kv, sizeof(*all));
        char *copy = mem_strdup(key);
        if (all) w->kv = all;
        if (!all || !copy) {
            mem_free(copy);
            err_no_memory(&w->failed, n + 1);
            return NULL;
        }
        kv = &w->kv[w->n_kv++];
        *kv = (struct entry){ .key = copy };
    }
    kv->type = type;
    buf_clear(&kv->value);
    return &kv->value;
}

static void check(struct gguf_writer *w, const struct buf *value) {
    if (!w->failed.code) buf_status(value, &w->failed);
}

static void set_scalar(struct gguf_writer *w, const char *key, enum gguf_type type, const void *v, size_t n) {
    struct buf *value = value_of(w, key, type);
    if (!value) return;
    buf_add(value, v, n);
    check(w, value);
}

void gguf_writer_u16(struct gguf_writer *w, const char *key, uint16_t v) {
    set_scalar(w, key, GGUF_U16, &v, sizeof(v));
}
void gguf_writer_u32(struct gguf_writer *w, const char *key, uint32_t v) {
    set_scalar(w, key, GGUF_U32, &v, sizeof(v));
}
void gguf_writer_u64(struct gguf_writer *w, const char *key, uint64_t v) {
    set_scalar(w, key, GGUF_U64, &v, sizeof(v));
}
void gguf_writer_i32(struct gguf_writer *w, const char *key, int32_t v) { set_scalar(w, key, GGUF_I32, &v, sizeof(v)); }
void gguf_writer_f32(struct gguf_writer *w, const char *key, float v) { set_scalar(w, key, GGUF_F32, &v, sizeof(v)); }
void gguf_writer_bool(struct gguf_writer *w, const char *key, bool v) {
    set_scalar(w, key, GGUF_BOOL, &(uint8_t){ v }, 1);
}

void gguf_writer_str(struct gguf_writer *w, const char *key, struct str v) {
    struct buf *value = value_of(w, key, GGUF_STRING);
    if (!value) return;
    put_str(value, v);
    check(w, value);
}

void gguf_writer_array(struct gguf_writer *w, const char *key, enum gguf_type elem, const void *p, uint64_t n) {
    struct buf *value = value_of(w, key, GGUF_ARRAY);
    if (!value) return;
    put_u32(value, elem);
    put_u64(value, n);
    buf_add(value, p, (size_t)n * gguf_type_bytes(elem));
    check(w, value);
}

void gguf_writer_str_array(struct gguf_writer *w, const char *key, const struct str *p, uint64_t n) {
    struct buf *value = value_of(w, key, GGUF_ARRAY);
    if (!value) return;
    put_u32(value, GGUF_STRING);
    put_u64(value, n);
    for (uint64_t i = 0; i < n; i++) put_str(value, p[i]);
    check(w, value);
}

void gguf_writer_copy(struct gguf_writer *w, const struct gguf_kv *kv) {
    if (!strcmp(kv->key, "general.alignment") || !strncmp(kv->key, "split.", 6)) return;
    struct buf *value = value_of(w, kv->key, kv->type);
    if (!value) return;
    if (kv->type == GGUF_ARRAY) {
        put_u32(value, kv->value.elem);
        put_u64(value, kv->value.n);
    }
    buf_add(value, kv->value.p, (size_t)kv->value.bytes);
    check(w, value);
}

void gguf_writer_remove(struct gguf_writer *w, const char *key) {
    struct entry *kv = find(w, key);
    if (!kv) return;
    mem_free(kv->key);
    buf_fini(&kv->value);
    w->n_kv--;
    memmove(kv, kv + 1, (size_t)(w->kv + w->n_kv - kv) * sizeof(*kv));
}

/* --- Tensors --- */

static uint64_t padded(uint64_t bytes) { return round_up(bytes, ALIGNMENT); }

/* Data bytes with a type; false if it does not suit or the padded size passes 2^64. */
static bool bytes_as(const struct tensor *t, enum qtype type, uint64_t *bytes) {
    uint64_t room;
    bool fits = qtype_row_bytes(type, t->ne[0], bytes);
    for (int d = 1; fits && d < TFILE_MAX_DIMS; d++) fits = mul_u64(*bytes, t->ne[d], bytes);
    return fits && add_u64(*bytes, ALIGNMENT, &room);
}

static enum err_code bad_type(const struct tensor *t, enum qtype type, struct err *e) {
    return err_set(e, ERR_FORMAT, "tensor %s: rows of %" PRIu64 " weights cannot be stored as %s", t->name, t->ne[0],
                   qtype_name(type));
}

static uint64_t info_bytes(const struct tensor *t) { return 8 + strlen(t->name) + 4 + 8 * (uint64_t)t->n_dims + 4 + 8; }

enum err_code gguf_writer_tensor(struct gguf_writer *w, const char *name, enum qtype type, uint32_t n_dims,
                                 const uint64_t *ne, struct err *e) {
    size_t n = strlen(name);
    struct tensor t = { .type = type, .n_dims = n_dims, .ne = { 1, 1, 1, 1 } };
    if (!n || n > MAX_NAME_BYTES || n_dims > TFILE_MAX_DIMS)
        return err_set(e, ERR_FORMAT, "tensor %.100s: GGUF holds names of 1 to %d bytes and at most %d dimensions",
                       name, MAX_NAME_BYTES, TFILE_MAX_DIMS);
    for (uint32_t d = 0; d < n_dims; d++) {
        t.ne[d] = ne[d];
        if (!ne[d]) return err_set(e, ERR_FORMAT, "tensor %s has no weights", name);
    }
    t.name = (char *)name;
    if (!bytes_as(&t, type, &t.bytes)) return bad_type(&t, type, e);
    uint64_t data_bytes;
    if (!add_u64(w->data_bytes, padded(t.bytes), &data_bytes))
        return err_set(e, ERR_TOO_LARGE, "tensor %s: the file would pass 2^64 bytes", name);
    struct tensor *all = grow(w->tensors, w->n_tensors, sizeof(*all));
    if (all) w->tensors = all;
    t.name = all ? mem_strdup(name) : NULL;
    if (!t.name) return err_no_memory(e, n + 1);
    w->tensors[w->n_tensors++] = t;
    w->data_bytes = data_bytes;
    w->info_bytes += info_bytes(&t);
    return ERR_NONE;
}

size_t gguf_writer_n_tensors(const struct gguf_writer *w) { return w->n_tensors; }

enum err_code gguf_writer_set_type(struct gguf_writer *w, size_t index, enum qtype type, struct err *e) {
    struct tensor *t = &w->tensors[index];
    uint64_t bytes, others = w->data_bytes - padded(t->bytes), total;
    if (!bytes_as(t, type, &bytes)) return bad_type(t, type, e);
    if (!add_u64(others, padded(bytes), &total))
        return err_set(e, ERR_TOO_LARGE, "tensor %s: the file would pass 2^64 bytes", t->name);
    t->type = type;
    t->bytes = bytes;
    w->data_bytes = total;
    return ERR_NONE;
}

uint64_t gguf_writer_tensor_bytes(const struct gguf_writer *w, size_t index) { return w->tensors[index].bytes; }

bool gguf_writer_padded_bytes(const struct gguf_writer *w, size_t index, enum qtype type, uint64_t *bytes) {
    if (!bytes_as(&w->tensors[index], type, bytes)) return false;
    *bytes = padded(*bytes);
    return true;
}

static enum err_code check_names(const struct gguf_writer *w, struct err *e) {
    const char **names = NEW_ARRAY(const char *, w->n_tensors);
    if (!names) return err_no_memory(e, w->n_tensors * sizeof(*names));
    for (size_t i = 0; i < w->n_tensors; i++) names[i] = w->tensors[i].name;
    const char *twin = tfile_twin(names, w->n_tensors);
    mem_free(names);
    return twin ? err_set(e, ERR_FORMAT, "two tensors are named %s", twin) : ERR_NONE;
}

/* --- Layout --- */

/* One file of the set: tensors [begin, end), number no of count; count 0 for a file that stands alone. */
struct shard { size_t begin, end; unsigned no, count; };

static uint64_t kv_bytes(const struct gguf_writer *w) {
    uint64_t sum = 0;
    for (size_t i = 0; i < w->n_kv; i++) sum += 8 + strlen(w->kv[i].key) + 4 + w->kv[i].value.n;
    return sum;
}

static uint64_t single_bytes(const struct gguf_writer *w) {
    return padded(PREAMBLE_BYTES + kv_bytes(w) + w->info_bytes) + w->data_bytes;
}

/* Cuts the tensors into files of at most max_bytes where possible. begins, if not NULL, gets the first tensor of each
 * file and has room for one a tensor. */
static size_t cut(const struct gguf_writer *w, size_t *begins, uint64_t *total) {
    uint64_t head = PREAMBLE_BYTES + SPLIT_KEY_BYTES + kv_bytes(w), data = 0;
    size_t n_files = 1, begin = 0;
    *total = 0;
    if (begins) begins[0] = 0;
    for (size_t i = 0; i < w->n_tensors; i++) {
        const struct tensor *t = &w->tensors[i];
        if (i > begin && padded(head + info_bytes(t)) + data + padded(t->bytes) > w->max_bytes) {
            *total += padded(head) + data;
            head = PREAMBLE_BYTES + SPLIT_KEY_BYTES;
            data = 0;
            begin = i;
            if (begins) begins[n_files] = i;
            n_files++;
        }
        head += info_bytes(t);
        data += padded(t->bytes);
    }
    *total += padded(head) + data;
    return n_files;
}

static bool is_split(const struct gguf_writer *w) {
    return w->max_bytes && single_bytes(w) > w->max_bytes && w->n_tensors > 1;
}

void gguf_writer_split(struct gguf_writer *w, uint64_t max_bytes) { w->max_bytes = max_bytes; }

enum err_code gguf_writer_total_bytes(struct gguf_writer *w, uint64_t *bytes, struct err *e) {
    TRY(gguf_writer_status(w, e));
    *bytes = single_bytes(w);
    if (is_split(w)) cut(w, NULL, bytes);
    return ERR_NONE;
}

size_t gguf_writer_n_files(const struct gguf_writer *w) {
    uint64_t total;
    return is_split(w) ? cut(w, NULL, &total) : 1;
}

/* --- Header --- */

static void put_kv(struct buf *b, const char *key, enum gguf_type type, const void *value, size_t n) {
    put_str(b, str_of(key));
    put_u32(b, type);
    buf_add(b, value, n);
}

static void put_split_keys(const struct gguf_writer *w, const struct shard *s, struct buf *b) {
    uint16_t no = (uint16_t)s->no, count = (uint16_t)s->count;
    int32_t n_tensors = (int32_t)w->n_tensors;
    put_kv(b, "split.no", GGUF_U16, &no, sizeof(no));
    put_kv(b, "split.count", GGUF_U16, &count, sizeof(count));
    put_kv(b, "split.tensors.count", GGUF_I32, &n_tensors, sizeof(n_tensors));
}

static enum err_code put_header(const struct gguf_writer *w, const struct shard *s, struct buf *b, struct err *e) {
    uint64_t offset = 0;
    size_t begin = b->n, n_kv = s->no == 0 ? w->n_kv : 0;
    buf_add(b, "GGUF", 4);
    put_u32(b, VERSION);
    put_u64(b, s->end - s->begin);
    put_u64(b, n_kv + (s->count ? 3 : 0));
    for (size_t i = 0; i < n_kv; i++) put_kv(b, w->kv[i].key, w->kv[i].type, w->kv[i].value.p, w->kv[i].value.n);
    if (s->count) put_split_keys(w, s, b);
    for (size_t i = s->begin; i < s->end; i++) {
        const struct tensor *t = &w->tensors[i];
        put_str(b, str_of(t->name));
        put_u32(b, t->n_dims);
        for (uint32_t d = 0; d < t->n_dims; d++) put_u64(b, t->ne[d]);
        put_u32(b, t->type);
        put_u64(b, offset);
        offset += padded(t->bytes);
    }
    while ((b->n - begin) % ALIGNMENT && !b->failed) buf_addc(b, 0);
    return buf_status(b, e);
}

enum err_code gguf_writer_header(struct gguf_writer *w, struct buf *out, struct err *e) {
    TRY(gguf_writer_status(w, e));
    TRY(check_names(w, e));
    return put_header(w, &(struct shard){ .end = w->n_tensors }, out, e);
}

/* --- Files --- */

/* Path of file number no of count; count 0 for a file that stands alone. A set's prefix is path without .gguf. */
static char *file_path(const char *path, unsigned no, unsigned count) {
    size_t n = strlen(path);
    if (!count) return mem_strndup(path, n);
    char *prefix = mem_strndup(path, n > 5 && !strcmp(path + n - 5, ".gguf") ? n - 5 : n);
    char *out = prefix ? gguf_split_path(prefix, no, count) : NULL;
    mem_free(prefix);
    return out;
}

char *gguf_writer_file_path(const struct gguf_writer *w, const char *path, size_t i) {
    size_t n = gguf_writer_n_files(w);
    return file_path(path, (unsigned)i, n > 1 ? (unsigned)n : 0);
}

static enum err_code plan_file(const struct gguf_writer *w, const char *path, const struct shard *s,
                               struct tstream_plan *plan, struct err *e) {
    struct tstream_file *file = &plan->files[s->no];
    file->n_tensors = s->end - s->begin;
    file->path = file_path(path, s->no, s->count);
    if (!file->path) return err_no_memory(e, strlen(path) + 1);
    for (size_t i = s->begin; i < s->end; i++) {
        uint64_t bytes = w->tensors[i].bytes;
        plan->slots[i] = (struct tstream_slot){ bytes, padded(bytes) - bytes };
    }
    return put_header(w, s, &file->header, e);
}

static enum err_code make_plan(const struct gguf_writer *w, const char *path, struct tstream_plan *plan,
                               struct err *e) {
    uint64_t total;
    enum err_code rc = ERR_NONE;
    size_t n_files = 1, *begins = NEW_ARRAY(size_t, w->n_tensors + 1); /* one file at least */
    if (!begins) return err_no_memory(e, w->n_tensors * sizeof(*begins));
    if (is_split(w)) n_files = cut(w, begins, &total);
    if (n_files > MAX_FILES || w->n_tensors > INT32_MAX)
        TRY_OUT(rc, err_set(e, ERR_TOO_LARGE, "%zu files are too many for one set; choose a larger size", n_files));
    *plan = (struct tstream_plan){ .files = NEW_ARRAY(struct tstream_file, n_files), .n_files = n_files,
                                   .slots = NEW_ARRAY(struct tstream_slot, w->n_tensors), .n_slots = w->n_tensors };
    if (!plan->files || !plan->slots) TRY_OUT(rc, err_no_memory(e, w->n_tensors * sizeof(*plan->slots)));
    for (size_t i = 0; i < n_files; i++) {
        size_t end = i + 1 < n_files ? begins[i + 1] : w->n_tensors;
        struct shard s = { begins[i], end, (unsigned)i, n_files > 1 ? (unsigned)n_files : 0 };
        TRY_OUT(rc, plan_file(w, path, &s, plan, e));
    }
out:
    if (rc) tstream_plan_fini(plan);
    mem_free(begins);
    return rc;
}

enum err_code gguf_writer_open(struct gguf_writer *w, const char *path, size_t *n_done, struct tstream **out,
                               struct err *e) {
    struct tstream_plan plan = { 0 };
    *out = NULL;
    TRY(gguf_writer_status(w, e));
    TRY(check_names(w, e));
    TRY(make_plan(w, path, &plan, e));
    return tstream_open(&plan, n_done, out, e);
}
