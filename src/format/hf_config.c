/* JSON documents of a Hugging Face directory: one parsed tree, looked up by path. Owns the tree; promises that whatever
 * the file holds, a getter gives a value of the kind asked for or an error that names file and path. jansson bounds the
 * depth of nesting (2048). */
#include "format/hf_config.h"

#include <float.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"

#define MAX_FILE_BYTES ((size_t)16 << 20) /* tokenizer_config.json with a long list of added tokens stays below 1 MB */
#define EXACT_INTEGER 9007199254740992.0  /* 2^53: up to here a double holds every integer */

struct hf_config { json_t *root; char *name; };

/* --- Opening --- */

/* tokenizer_config.json usually says model_max_length = 1000000000000000019884624838656 ("none"), which no 64-bit
 * integer holds: such a document is read again with its integers as doubles. */
static json_t *parse(struct span json, json_error_t *je) {
    const char *p = json.n ? (const char *)json.p : "";
    json_t *root = json_loadb(p, json.n, JSON_REJECT_DUPLICATES, je);
    if (!root && json_error_code(je) == json_error_numeric_overflow)
        root = json_loadb(p, json.n, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, je);
    return root;
}

enum err_code hf_config_parse(struct span json, const char *name, struct hf_config **out, struct err *e) {
    json_error_t je;
    *out = NULL;
    struct hf_config *c = NEW(struct hf_config);
    if (!c) return err_no_memory(e, sizeof(*c));
    enum err_code rc = ERR_NONE;
    c->name = mem_strdup(name);
    c->root = parse(json, &je);
    if (!c->name)
        rc = err_no_memory(e, strlen(name) + 1);
    else if (!c->root)
        rc = err_set(e, ERR_FORMAT, "this is not valid JSON: line %d: %s", je.line, je.text);
    else if (!json_is_object(c->root))
        rc = err_set(e, ERR_FORMAT, "the JSON document should be an object, { ... }");
    if (rc) {
        hf_config_close(c);
        return err_where(e, rc, "%s", name);
    }
    *out = c;
    return ERR_NONE;
}

enum err_code hf_config_open(const char *path, struct hf_config **out, struct err *e) {
    char *data;
    size_t n;
    *out = NULL;
    TRY(os_read_file(path, MAX_FILE_BYTES, &data, &n, e));
    enum err_code rc = hf_config_parse((struct span){ (const uint8_t *)data, n }, path, out, e);
    mem_free(data);
    return rc;
}

void hf_config_close(struct hf_config *c) {
    if (!c) return;
    json_decref(c->root);
    mem_free(c->name);
    mem_free(c);
}

/* --- Looking up --- */

/* The member or element that the segment key[0..n) names; NULL if there is none. */
static const json_t *descend(const json_t *at, const char *key, size_t n) {
    char name[128];
    if (n >= sizeof(name)) return NULL;
    memcpy(name, key, n);
    name[n] = 0;
    if (json_is_object(at)) return json_object_get(at, name);
    char *end;
    unsigned long i = strtoul(name, &end, 10);
    return n && !*end ? json_array_get(at, i) : NULL; /* NULL for what is no array */
}

static const json_t *find(const struct hf_config *c, const char *path) {
    const json_t *at = c->root;
    for (const char *seg = path; at; ) {
        const char *dot = strchr(seg, '.');
        at = descend(at, seg, dot ? (size_t)(dot - seg) : strlen(seg));
        if (!dot) break;
        seg = dot + 1;
    }
    return at && !json_is_null(at) ? at : NULL;
}

static enum hf_kind kind_of(const json_t *v) {
    if (!v) return HF_ABSENT;
    switch (json_typeof(v)) {
    case JSON_TRUE:
    case JSON_FALSE: return HF_BOOL;
    case JSON_INTEGER: return HF_INT;
    case JSON_REAL: return HF_REAL;
    case JSON_STRING: return HF_STRING;
    case JSON_ARRAY: return HF_ARRAY;
    case JSON_OBJECT: return HF_OBJECT;
    case JSON_NULL: break;
    }
    return HF_ABSENT;
}

enum hf_kind hf_config_kind(const struct hf_config *c, const char *path) { return kind_of(find(c, path)); }

size_t hf_config_count(const struct hf_config *c, const char *path) {
    const json_t *v = find(c, path);
    return json_is_array(v) ? json_array_size(v) : json_object_size(v); /* 0 for what is no object */
}

const char *hf_config_key(const struct hf_config *c, const char *path, size_t i) {
    json_t *o = (json_t *)find(c, path);
    void *at = json_object_iter(o); /* NULL for what is no object */
    for (; at && i; i--) at = json_object_iter_next(o, at);
    return at ? json_object_iter_key(at) : NULL;
}

/* --- Typed values --- */

/* *v is NULL when the value is absent and may be. */
static enum err_code look_up(const struct hf_config *c, const char *path, bool *found, const json_t **v,
                             struct err *e) {
    *v = find(c, path);
    if (found) *found = *v != NULL;
    if (*v || found) return ERR_NONE;
    return err_where(e, err_set(e, ERR_FORMAT, "the key %s is missing", path), "%s", c->name);
}

enum err_code hf_config_wrong(const struct hf_config *c, const char *path, const char *want, struct err *e) {
    static const char *const names[] = { "null", "true or false", "an integer", "a number",
                                         "text", "an array",      "an object" };
    const json_t *v = find(c, path);
    char value[32] = "";
    if (json_is_number(v)) snprintf(value, sizeof value, ", %.9g", json_number_value(v));
    return err_where(e, err_set(e, ERR_FORMAT, "the key %s should be %s; it is %s%s", path, want, names[kind_of(v)],
                                value), "%s", c->name);
}

enum err_code hf_config_u64(const struct hf_config *c, const char *path, uint64_t *out, bool *found, struct err *e) {
    const json_t *v;
    TRY(look_up(c, path, found, &v, e));
    if (!v) return ERR_NONE;
    double d = json_real_value(v); /* 0 for what is no real number */
    if (json_is_integer(v) && json_integer_value(v) >= 0)
        *out = (uint64_t)json_integer_value(v);
    else if (json_is_real(v) && d >= 0 && d <= EXACT_INTEGER && d == floor(d))
        *out = (uint64_t)d;
    else
        return hf_config_wrong(c, path, "an integer of 0 or more", e);
    return ERR_NONE;
}

enum err_code hf_config_u32(const struct hf_config *c, const char *path, uint32_t *out, bool *found, struct err *e) {
    uint64_t v = 0;
    TRY(hf_config_u64(c, path, &v, found, e));
    if (v > UINT32_MAX) return hf_config_wrong(c, path, "below 2^32", e);
    if (!found || *found) *out = (uint32_t)v;
    return ERR_NONE;
}

enum err_code hf_config_f64(const struct hf_config *c, const char *path, double *out, bool *found, struct err *e) {
    const json_t *v;
    TRY(look_up(c, path, found, &v, e));
    if (!v) return ERR_NONE;
    if (!json_is_number(v)) return hf_config_wrong(c, path, "a number", e);
    *out = json_number_value(v);
    return ERR_NONE;
}

enum err_code hf_config_f32(const struct hf_config *c, const char *path, float *out, bool *found, struct err *e) {
    const json_t *v;
    TRY(look_up(c, path, found, &v, e));
    if (!v) return ERR_NONE;
    if (!json_is_number(v) || fabs(json_number_value(v)) > FLT_MAX)
        return hf_config_wrong(c, path, "a number of single precision", e);
    *out = (float)json_number_value(v);
    return ERR_NONE;
}

enum err_code hf_config_bool(const struct hf_config *c, const char *path, bool *out, bool *found, struct err *e) {
    const json_t *v;
    TRY(look_up(c, path, found, &v, e));
    if (!v) return ERR_NONE;
    if (!json_is_boolean(v)) return hf_config_wrong(c, path, "true or false", e);
    *out = json_is_true(v);
    return ERR_NONE;
}

enum err_code hf_config_str(const struct hf_config *c, const char *path, const char **out, bool *found, struct err *e) {
    const json_t *v;
    TRY(look_up(c, path, found, &v, e));
    if (!v) return ERR_NONE;
    if (!json_is_string(v)) return hf_config_wrong(c, path, "text", e);
    *out = json_string_value(v);
    return ERR_NONE;
}
