/* Parses a GGUF file. Owns the tables of metadata and tensors; the span stays the caller's and is never copied, except
 * for keys and names, which get their terminating NUL.
 *
 * Promises that after gguf_open every pointer it hands out lies inside the span with the length it says, that keys and
 * names are unique, and that no header, however hostile, makes it allocate more than a small multiple of the file's own
 * size. What the keys mean is for the model layer to say. */
#include "format/gguf_read.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"

enum {
    MIN_KV_BYTES = 8 + 1 + 4 + 1,            /* key of one byte, type, value of one byte */
    MIN_TENSOR_BYTES = 8 + 1 + 4 + 4 + 8,    /* name of one byte, no dimension, type, offset */
    MAX_KEY_BYTES = 65535,
    MAX_NAME_BYTES = 63,
    MAX_TENSORS = 1 << 24,                   /* an index of 32 bits has room to spare */
    DEFAULT_ALIGNMENT = 32,
};
#define MAX_LENGTH ((uint64_t)1 << 30) /* of strings and arrays: ggml's limit */

static const struct { const char *name; size_t bytes; } types[GGUF_TYPE_COUNT] = {
    [GGUF_U8] = { "u8", 1 },       [GGUF_I8] = { "i8", 1 },     [GGUF_U16] = { "u16", 2 },
    [GGUF_I16] = { "i16", 2 },     [GGUF_U32] = { "u32", 4 },   [GGUF_I32] = { "i32", 4 },
    [GGUF_F32] = { "f32", 4 },     [GGUF_BOOL] = { "bool", 1 }, [GGUF_STRING] = { "string", 0 },
    [GGUF_ARRAY] = { "array", 0 }, [GGUF_U64] = { "u64", 8 },   [GGUF_I64] = { "i64", 8 },
    [GGUF_F64] = { "f64", 8 },
};

const char *gguf_type_name(enum gguf_type t) { return (unsigned)t < GGUF_TYPE_COUNT ? types[t].name : "?"; }
size_t gguf_type_bytes(enum gguf_type t) { return (unsigned)t < GGUF_TYPE_COUNT ? types[t].bytes : 0; }

bool gguf_probe(struct span file) { return file.n >= 4 && memcmp(file.p, "GGUF", 4) == 0; }

char *gguf_split_path(const char *prefix, unsigned no, unsigned count) {
    size_t size = strlen(prefix) + sizeof("-4294967295-of-4294967295.gguf");
    char *path = mem_alloc(size, 1);
    if (path) snprintf(path, size, "%s-%05u-of-%05u.gguf", prefix, no + 1, count);
    return path;
}

/* --- A cursor over the span --- */

struct cursor { struct span s; size_t at; struct err *e; };

static enum err_code cut_short(struct cursor *c, const char *what) {
    return err_set_at(c->e, ERR_FORMAT, c->at, "the file ends inside %s; it is incomplete or damaged", what);
}

static enum err_code take(struct cursor *c, uint64_t n, const char *what, const uint8_t **p) {
    if (n > c->s.n - c->at) return cut_short(c, what);
    *p = c->s.p + c->at;
    c->at += (size_t)n;
    return ERR_NONE;
}

static enum err_code take_u32(struct cursor *c, const char *what, uint32_t *v) {
    const uint8_t *p = NULL;
    TRY(take(c, 4, what, &p));
    memcpy(v, p, 4);
    return ERR_NONE;
}

static enum err_code take_u64(struct cursor *c, const char *what, uint64_t *v) {
    const uint8_t *p = NULL;
    TRY(take(c, 8, what, &p));
    memcpy(v, p, 8);
    return ERR_NONE;
}

static enum err_code take_str(struct cursor *c, const char *what, struct str *s) {
    uint64_t n;
    size_t at = c->at;
    const uint8_t *p = NULL;
    TRY(take_u64(c, what, &n));
    if (n > MAX_LENGTH)
        return err_set_at(c->e, ERR_FORMAT, at, "%s claims a length of %" PRIu64 " bytes; the limit is 2^30", what, n);
    TRY(take(c, n, what, &p));
    *s = (struct str){ (const char *)p, (size_t)n };
    return ERR_NONE;
}

/* A key or a name: 1 to max bytes of printable UTF-8, copied and terminated. */
static enum err_code take_name(struct cursor *c, const char *what, size_t max, struct arena *mem, const char **out) {
    struct str s;
    size_t at = c->at;
    TRY(take_str(c, what, &s));
    if (s.n == 0 || s.n > max)
        return err_set_at(c->e, ERR_FORMAT, at, "%s has a length of %zu bytes; 1 to %zu are allowed", what, s.n, max);
    if (!tfile_is_name(s.p, s.n))
        return err_set_at(c->e, ERR_FORMAT, at, "%s is not printable UTF-8 text", what);
    *out = arena_strndup(mem, s.p, s.n);
    return *out ? ERR_NONE : err_no_memory(c->e, s.n + 1);
}

/* --- Header --- */

static enum err_code read_preamble(struct cursor *c, struct gguf *g, uint64_t *n_tensors, uint64_t *n_kv) {
    if (!gguf_probe(c->s))
        return err_set_at(c->e, ERR_FORMAT, 0, "this is not a GGUF file: it does not begin with the letters GGUF");
    c->at = 4;
    TRY(take_u32(c, "the version", &g->version));
    if (g->version && (g->version & 0xffff) == 0)
        return err_set_at(c->e, ERR_UNSUPPORTED, 4,
                          "this is a big-endian GGUF file; get or make the little-endian one");
    if (g->version != 2 && g->version != 3)
        return err_set_at(c->e, ERR_UNSUPPORTED, 4, "GGUF version %" PRIu32 " is not supported, only 2 and 3 are",
                          g->version);
    TRY(take_u64(c, "the number of tensors", n_tensors));
    TRY(take_u64(c, "the number of metadata keys", n_kv));
    size_t left = c->s.n - c->at;
    if (*n_kv > left / MIN_KV_BYTES || *n_kv > MAX_LENGTH)
        return err_set_at(c->e, ERR_FORMAT, 16, "%" PRIu64 " metadata keys cannot stand in the %zu bytes that follow",
                          *n_kv, left);
    if (*n_tensors > left / MIN_TENSOR_BYTES || *n_tensors > MAX_TENSORS)
        return err_set_at(c->e, ERR_FORMAT, 8, "%" PRIu64 " tensors cannot be described in the %zu bytes that follow",
                          *n_tensors, left);
    return ERR_NONE;
}

/* --- Metadata --- */

static enum err_code read_elements(struct cursor *c, const char *key, struct gguf_array *a) {
    size_t at = c->at, size = gguf_type_bytes(a->elem), left = c->s.n - c->at;
    if (a->n > left / (size ? size : 8)) return cut_short(c, key);
    if (a->elem == GGUF_STRING) {
        struct str s;
        for (uint64_t i = 0; i < a->n; i++) TRY(take_str(c, key, &s));
    } else {
        c->at += (size_t)(a->n * size);
    }
    a->p = c->s.p + at;
    a->bytes = c->at - at;
    for (uint64_t i = 0; a->elem == GGUF_BOOL && i < a->n; i++)
        if (a->p[i] > 1)
            return err_set_at(c->e, ERR_FORMAT, at + i, "a value of key %.80s is neither true nor false", key);
    return ERR_NONE;
}

static enum err_code read_type(struct cursor *c, const char *key, enum gguf_type *type) {
    size_t at = c->at;
    uint32_t id;
    TRY(take_u32(c, key, &id));
    if (id >= GGUF_TYPE_COUNT)
        return err_set_at(c->e, ERR_FORMAT, at, "key %.80s has a value of the unknown type %" PRIu32, key, id);
    *type = (enum gguf_type)id;
    return ERR_NONE;
}

static enum err_code read_kv(struct cursor *c, struct arena *mem, struct gguf_kv *kv) {
    TRY(take_name(c, "a metadata key", MAX_KEY_BYTES, mem, &kv->key));
    TRY(read_type(c, kv->key, &kv->type));
    kv->value.elem = kv->type;
    kv->value.n = 1;
    if (kv->type == GGUF_ARRAY) {
        TRY(read_type(c, kv->key, &kv->value.elem));
        size_t at = c->at;
        TRY(take_u64(c, kv->key, &kv->value.n));
        if (kv->value.elem == GGUF_ARRAY)
            return err_set_at(c->e, ERR_UNSUPPORTED, at, "key %.80s is an array of arrays", kv->key);
        if (kv->value.n > MAX_LENGTH)
            return err_set_at(c->e, ERR_FORMAT, at, "key %.80s claims %" PRIu64 " elements; the limit is 2^30", kv->key,
                              kv->value.n);
    }
    return read_elements(c, kv->key, &kv->value);
}

static int by_key(const void *a, const void *b) {
    const struct gguf_kv *const *x = a, *const *y = b;
    return strcmp((*x)->key, (*y)->key);
}

static enum err_code read_metadata(struct cursor *c, struct gguf *g, size_t n) {
    struct gguf_kv *kv = arena_alloc(&g->mem, n, sizeof(*kv));
    g->by_key = arena_alloc(&g->mem, n, sizeof(struct gguf_kv *));
    if (!kv || !g->by_key) return err_no_memory(c->e, n * sizeof(*kv));
    g->kv = kv;
    for (size_t i = 0; i < n; i++) {
        TRY(read_kv(c, &g->mem, &kv[i]));
        g->by_key[i] = &kv[i];
        g->n_kv++;
    }
    if (n) qsort(g->by_key, n, sizeof(struct gguf_kv *), by_key);
    for (size_t i = 1; i < n; i++)
        if (!strcmp(g->by_key[i - 1]->key, g->by_key[i]->key))
            return err_set(c->e, ERR_FORMAT, "metadata key %.80s appears twice", g->by_key[i]->key);
    return ERR_NONE;
}

static enum err_code read_alignment(struct gguf *g, struct err *e) {
    uint32_t a = DEFAULT_ALIGNMENT;
    bool found;
    TRY(gguf_get_u32(g, "general.alignment", &a, &found, e));
    if (!a || (a & (a - 1)))
        return err_set(e, ERR_FORMAT, "general.alignment is %" PRIu32 ", which is not a power of two", a);
    g->alignment = a;
    return ERR_NONE;
}

/* --- Tensors --- */

/* Reads one entry of the table; file_off is relative to the data section, whose beginning is not known yet. */
static enum err_code read_tensor(struct cursor *c, struct arena *mem, struct tfile_tensor *t) {
    uint64_t weights = 1;
    uint32_t id;
    TRY(take_name(c, "a tensor name", MAX_NAME_BYTES, mem, &t->name));
    size_t at = c->at;
    TRY(take_u32(c, t->name, &t->n_dims));
    if (t->n_dims > TFILE_MAX_DIMS)
        return err_set_at(c->e, ERR_FORMAT, at, "tensor %s has %" PRIu32 " dimensions; at most 4 are allowed", t->name,
                          t->n_dims);
    for (uint32_t d = 0; d < TFILE_MAX_DIMS; d++) {
        t->ne[d] = 1;
        if (d < t->n_dims) TRY(take_u64(c, t->name, &t->ne[d]));
        if (!t->ne[d] || !mul_u64(weights, t->ne[d], &weights))
            return err_set_at(c->e, ERR_FORMAT, at, "tensor %s has impossible dimensions", t->name);
    }
    at = c->at;
    TRY(take_u32(c, t->name, &id));
    const struct qtype_info *info = qtype_info(id);
    if (!info)
        return err_set_at(c->e, ERR_UNSUPPORTED, at, "tensor %s is stored as type number %" PRIu32
                          ", which this version does not read", t->name, id);
    t->type = info->type;
    t->type_name = info->name;
    if (!qtype_row_bytes(t->type, t->ne[0], &t->bytes) || !mul_u64(t->bytes, weights / t->ne[0], &t->bytes))
        return err_set_at(c->e, ERR_FORMAT, at,
                          "tensor %s: rows of %" PRIu64 " weights do not divide into blocks of %s (%" PRIu32 ")",
                          t->name, t->ne[0], info->name, info->block_weights);
    return take_u64(c, t->name, &t->file_off);
}

/* Turns relative offsets into places and checks them: each tensor follows the one before, padded, as ggml demands. */
static enum err_code place_tensors(struct cursor *c, struct gguf *g, struct tfile_tensor *tensors) {
    uint64_t next = 0, end, padded;
    g->data_off = round_up(c->at, g->alignment);
    g->data_end = g->n_tensors ? g->data_off : c->at;
    for (size_t i = 0; i < g->n_tensors; i++) {
        struct tfile_tensor *t = &tensors[i];
        if (t->file_off != next)
            return err_set(c->e, ERR_FORMAT, "tensor %s has the offset %" PRIu64 " where %" PRIu64 " is due", t->name,
                           t->file_off, next);
        if (!add_u64(t->bytes, g->alignment - 1, &padded) || !add_u64(next, padded & ~(g->alignment - 1), &next) ||
            !add_u64(g->data_off, t->file_off, &t->file_off) || !add_u64(t->file_off, t->bytes, &end))
            return err_set(c->e, ERR_FORMAT, "tensor %s ends beyond 2^64 bytes", t->name);
        if (end > c->s.n)
            return err_set_at(c->e, ERR_FORMAT, c->s.n, "tensor %s is cut: %" PRIu64 " of its %" PRIu64
                              " bytes are missing; the file is incomplete, get it again", t->name,
                              min_u64(end - c->s.n, t->bytes), t->bytes);
        t->data = c->s.p + t->file_off;
        g->data_end = end;
    }
    return ERR_NONE;
}

static enum err_code check_names(const struct gguf *g, struct err *e) {
    const char **names = NEW_ARRAY(const char *, g->n_tensors);
    if (!names) return err_no_memory(e, g->n_tensors * sizeof(*names));
    for (size_t i = 0; i < g->n_tensors; i++) names[i] = g->tensors[i].name;
    const char *twin = tfile_twin(names, g->n_tensors);
    mem_free(names);
    return twin ? err_set(e, ERR_FORMAT, "two tensors are named %s", twin) : ERR_NONE;
}

static enum err_code read_all(struct cursor *c, struct gguf *g) {
    uint64_t n_tensors, n_kv;
    TRY(read_preamble(c, g, &n_tensors, &n_kv));
    TRY(read_metadata(c, g, (size_t)n_kv));
    TRY(read_alignment(g, c->e));
    struct tfile_tensor *tensors = arena_alloc(&g->mem, (size_t)n_tensors, sizeof(*tensors));
    if (!tensors) return err_no_memory(c->e, n_tensors * sizeof(*tensors));
    g->tensors = tensors;
    for (uint64_t i = 0; i < n_tensors; i++, g->n_tensors++) TRY(read_tensor(c, &g->mem, &tensors[i]));
    TRY(check_names(g, c->e));
    return place_tensors(c, g, tensors);
}

enum err_code gguf_open(struct span file, struct gguf **out, struct err *e) {
    struct cursor c = { .s = file, .e = e };
    struct gguf *g = NEW(struct gguf);
    *out = NULL;
    if (!g) return err_no_memory(e, sizeof(*g));
    enum err_code rc = read_all(&c, g);
    if (rc) {
        gguf_close(g);
        return rc;
    }
    *out = g;
    return ERR_NONE;
}

void gguf_close(struct gguf *g) {
    if (!g) return;
    arena_fini(&g->mem);
    mem_free(g);
}

/* --- Access --- */

const struct gguf_kv *gguf_find(const struct gguf *g, const char *key) {
    size_t lo = 0, hi = g->n_kv;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int order = strcmp(g->by_key[mid]->key, key);
        if (order == 0) return g->by_key[mid];
        if (order < 0) lo = mid + 1;
        else hi = mid;
    }
    return NULL;
}

/* Any number: an unsigned one, a negative one, or a real one. */
struct number { enum { NOT_A_NUMBER, UNSIGNED, NEGATIVE, REAL } kind; uint64_t u; int64_t i; double d; };

static struct number of_u64(uint64_t u) { return (struct number){ .kind = UNSIGNED, .u = u, .d = (double)u }; }
static struct number of_f64(double d) { return (struct number){ .kind = REAL, .d = d }; }
static struct number of_i64(int64_t i) {
    return i >= 0 ? of_u64((uint64_t)i) : (struct number){ .kind = NEGATIVE, .i = i, .d = (double)i };
}

static struct number load(enum gguf_type t, const uint8_t *p) {
#define LOAD(type, of) do { type v_; memcpy(&v_, p, sizeof(v_)); return of(v_); } while (0)
    switch (t) {
    case GGUF_BOOL: /* 0 or 1 */
    case GGUF_U8: LOAD(uint8_t, of_u64);
    case GGUF_I8: LOAD(int8_t, of_i64);
    case GGUF_U16: LOAD(uint16_t, of_u64);
    case GGUF_I16: LOAD(int16_t, of_i64);
    case GGUF_U32: LOAD(uint32_t, of_u64);
    case GGUF_I32: LOAD(int32_t, of_i64);
    case GGUF_U64: LOAD(uint64_t, of_u64);
    case GGUF_I64: LOAD(int64_t, of_i64);
    case GGUF_F32: LOAD(float, of_f64);
    case GGUF_F64: LOAD(double, of_f64);
    default: return (struct number){ .kind = NOT_A_NUMBER };
    }
#undef LOAD
}

bool gguf_array_u64(const struct gguf_array *a, uint64_t i, uint64_t *out) {
    struct number v = load(a->elem, a->p + i * gguf_type_bytes(a->elem));
    *out = v.u;
    return v.kind == UNSIGNED;
}

bool gguf_array_i64(const struct gguf_array *a, uint64_t i, int64_t *out) {
    struct number v = load(a->elem, a->p + i * gguf_type_bytes(a->elem));
    if (v.kind == NEGATIVE) *out = v.i;
    else if (v.kind == UNSIGNED && v.u <= INT64_MAX) *out = (int64_t)v.u;
    else return false;
    return true;
}

bool gguf_array_f64(const struct gguf_array *a, uint64_t i, double *out) {
    struct number v = load(a->elem, a->p + i * gguf_type_bytes(a->elem));
    *out = v.d;
    return v.kind != NOT_A_NUMBER;
}

bool gguf_array_next_str(struct gguf_array *rest, struct str *out) {
    uint64_t n;
    if (rest->elem != GGUF_STRING || !rest->n) return false;
    memcpy(&n, rest->p, 8);
    *out = (struct str){ (const char *)rest->p + 8, (size_t)n };
    rest->p += 8 + n;
    rest->bytes -= 8 + n;
    rest->n--;
    return true;
}

/* *kv is NULL when the key is absent and may be. */
static enum err_code look_up(const struct gguf *g, const char *key, bool *found, const struct gguf_kv **kv,
                             struct err *e) {
    *kv = gguf_find(g, key);
    if (found) *found = *kv != NULL;
    if (!*kv && !found) return err_set(e, ERR_FORMAT, "the metadata key %.80s is missing", key);
    return ERR_NONE;
}

static enum err_code wrong_type(const struct gguf_kv *kv, const char *want, struct err *e) {
    return err_set(e, ERR_FORMAT, "the metadata key %.80s should be %s; its value of type %s is not or does not fit",
                   kv->key, want, gguf_type_name(kv->type));
}

static bool is_integer(const struct gguf_kv *kv) {
    return kv->type != GGUF_BOOL && kv->type != GGUF_ARRAY && kv->type != GGUF_STRING;
}

enum err_code gguf_get_u64(const struct gguf *g, const char *key, uint64_t *out, bool *found, struct err *e) {
    const struct gguf_kv *kv;
    uint64_t v;
    TRY(look_up(g, key, found, &kv, e));
    if (!kv) return ERR_NONE;
    if (!is_integer(kv) || !gguf_array_u64(&kv->value, 0, &v)) return wrong_type(kv, "an integer of 0 or more", e);
    *out = v;
    return ERR_NONE;
}

enum err_code gguf_get_u32(const struct gguf *g, const char *key, uint32_t *out, bool *found, struct err *e) {
    uint64_t v = 0;
    TRY(gguf_get_u64(g, key, &v, found, e));
    if (v > UINT32_MAX) return wrong_type(gguf_find(g, key), "an integer below 2^32", e);
    if (!found || *found) *out = (uint32_t)v;
    return ERR_NONE;
}

enum err_code gguf_get_i32(const struct gguf *g, const char *key, int32_t *out, bool *found, struct err *e) {
    const struct gguf_kv *kv;
    int64_t v;
    TRY(look_up(g, key, found, &kv, e));
    if (!kv) return ERR_NONE;
    if (!is_integer(kv) || !gguf_array_i64(&kv->value, 0, &v) || v < INT32_MIN || v > INT32_MAX)
        return wrong_type(kv, "a 32-bit integer", e);
    *out = (int32_t)v;
    return ERR_NONE;
}

enum err_code gguf_get_f32(const struct gguf *g, const char *key, float *out, bool *found, struct err *e) {
    const struct gguf_kv *kv;
    double v;
    TRY(look_up(g, key, found, &kv, e));
    if (!kv) return ERR_NONE;
    if (!is_integer(kv) || !gguf_array_f64(&kv->value, 0, &v) || (isfinite(v) && fabs(v) > FLT_MAX))
        return wrong_type(kv, "a number", e);
    *out = (float)v;
    return ERR_NONE;
}

enum err_code gguf_get_bool(const struct gguf *g, const char *key, bool *out, bool *found, struct err *e) {
    const struct gguf_kv *kv;
    TRY(look_up(g, key, found, &kv, e));
    if (!kv) return ERR_NONE;
    if (kv->type != GGUF_BOOL) return wrong_type(kv, "true or false", e);
    *out = *kv->value.p != 0;
    return ERR_NONE;
}

enum err_code gguf_get_str(const struct gguf *g, const char *key, struct str *out, bool *found, struct err *e) {
    const struct gguf_kv *kv;
    TRY(look_up(g, key, found, &kv, e));
    if (!kv) return ERR_NONE;
    if (kv->type != GGUF_STRING) return wrong_type(kv, "text", e);
    struct gguf_array rest = kv->value;
    gguf_array_next_str(&rest, out);
    return ERR_NONE;
}

enum err_code gguf_get_array(const struct gguf *g, const char *key, struct gguf_array *out, bool *found,
                             struct err *e) {
    const struct gguf_kv *kv;
    TRY(look_up(g, key, found, &kv, e));
    if (!kv) return ERR_NONE;
    if (kv->type != GGUF_ARRAY) return wrong_type(kv, "an array", e);
    *out = kv->value;
    return ERR_NONE;
}

enum err_code gguf_get_u32_each(const struct gguf *g, const char *key, uint32_t *out, size_t n, bool *found,
                                struct err *e) {
    const struct gguf_kv *kv;
    TRY(look_up(g, key, found, &kv, e));
    if (!kv) return ERR_NONE;
    if (kv->type == GGUF_ARRAY && kv->value.n != n)
        return err_set(e, ERR_FORMAT, "the metadata key %.80s has %" PRIu64 " values; %zu are needed", key, kv->value.n,
                       n);
    for (size_t i = 0; i < n; i++) {
        uint64_t v;
        if (!gguf_array_u64(&kv->value, kv->type == GGUF_ARRAY ? i : 0, &v) || v > UINT32_MAX)
            return wrong_type(kv, "integers below 2^32", e);
        out[i] = (uint32_t)v;
    }
    return ERR_NONE;
}
