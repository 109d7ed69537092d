/* Settings, tries and probes to and from JSON. Numbers are written with all 17 digits, so they come back bit for bit.
 * */
#include "quant/measurement_json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

json_t *json_of_hash(uint64_t hash) {
    char text[17];
    snprintf(text, sizeof text, "%016" PRIx64, hash);
    return json_string(text);
}

json_t *json_of_settings(const struct measured_settings *s) {
    json_t *v = json_pack("{s:s, s:o, s:I, s:I, s:I, s:I, s:I}", "source", s->source, "text_hash",
                          json_of_hash(s->text_hash), "rows", (json_int_t)s->rows, "length", (json_int_t)s->length,
                          "probe_rows", (json_int_t)s->probe_rows, "probe_length", (json_int_t)s->probe_length,
                          "probe_layers", (json_int_t)s->probe_layers);
    if (s->imatrix_hash && json_object_set_new(v, "imatrix_hash", json_of_hash(s->imatrix_hash))) {
        json_decref(v);
        return NULL;
    }
    return v;
}

/* Takes item, also when array or item is NULL; false when out of memory. */
static bool append(json_t *array, json_t *item) {
    if (array) return json_array_append_new(array, item) == 0;
    json_decref(item);
    return false;
}

static json_t *finished(json_t *array, bool ok) {
    if (ok) return array;
    json_decref(array);
    return NULL;
}

json_t *json_of_tries(const struct measured_tensor *t) {
    json_t *array = json_array();
    bool ok = array != NULL;
    for (size_t i = 0; i < t->n_tries && ok; i++)
        ok = append(array, json_pack("{s:s, s:f, s:f}", "type", qtype_name(t->tries[i].type), "bpw", t->tries[i].bpw,
                                     "rfn_error", t->tries[i].rfn));
    return finished(array, ok);
}

json_t *json_of_probes(const struct measured_tensor *t) {
    json_t *array = json_array();
    bool ok = array != NULL;
    for (size_t i = 0; i < t->n_probes && ok; i++)
        ok = append(array, json_pack("{s:s, s:f}", "type", qtype_name(t->probes[i].type), "kld", t->probes[i].kld));
    return finished(array, ok);
}

static int add_text(const char *p, size_t n, void *out) {
    buf_add(out, p, n);
    return 0;
}

enum err_code json_to_buf(json_t *v, size_t flags, struct buf *out, struct err *e) {
    int failed = v ? json_dump_callback(v, add_text, out, flags) : -1;
    json_decref(v);
    buf_addc(out, '\n');
    return failed ? err_no_memory(e, 0) : buf_status(out, e);
}

/* --- Reading --- */

static enum err_code bad_field(const char *field, const char *want, struct err *e) {
    return err_set(e, ERR_FORMAT, "\"%s\" must be %s", field, want);
}

enum err_code json_get_u64(const json_t *v, const char *field, uint64_t max, uint64_t *out, struct err *e) {
    const json_t *x = json_object_get(v, field);
    if (!json_is_integer(x) || json_integer_value(x) < 0 || (uint64_t)json_integer_value(x) > max)
        return bad_field(field, "a whole number that is not negative", e);
    *out = (uint64_t)json_integer_value(x);
    return ERR_NONE;
}

enum err_code json_get_real(const json_t *v, const char *field, double *out, struct err *e) {
    const json_t *x = json_object_get(v, field);
    double d = json_number_value(x);
    if (!json_is_number(x) || !isfinite(d) || d < 0) return bad_field(field, "a number that is not negative", e);
    *out = d;
    return ERR_NONE;
}

enum err_code json_get_text(const json_t *v, const char *field, char *out, size_t size, struct err *e) {
    const json_t *x = json_object_get(v, field);
    size_t n = json_string_length(x);
    if (!json_is_string(x) || n >= size) return bad_field(field, "a short text", e);
    memcpy(out, json_string_value(x), n + 1);
    return ERR_NONE;
}

enum err_code json_get_hash(const json_t *v, const char *field, uint64_t *out, struct err *e) {
    char text[17];
    TRY(json_get_text(v, field, text, sizeof text, e));
    if (strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16)
        return bad_field(field, "16 hexadecimal digits", e);
    *out = strtoull(text, NULL, 16);
    return ERR_NONE;
}

static enum err_code get_u32(const json_t *v, const char *field, uint32_t *out, struct err *e) {
    uint64_t n;
    TRY(json_get_u64(v, field, UINT32_MAX, &n, e));
    *out = (uint32_t)n;
    return ERR_NONE;
}

enum err_code json_to_settings(const json_t *v, struct measured_settings *out, struct err *e) {
    TRY(json_get_text(v, "source", out->source, sizeof out->source, e));
    TRY(json_get_hash(v, "text_hash", &out->text_hash, e));
    TRY(get_u32(v, "rows", &out->rows, e));
    TRY(get_u32(v, "length", &out->length, e));
    TRY(get_u32(v, "probe_rows", &out->probe_rows, e));
    TRY(get_u32(v, "probe_length", &out->probe_length, e));
    if (json_object_get(v, "imatrix_hash")) TRY(json_get_hash(v, "imatrix_hash", &out->imatrix_hash, e));
    return get_u32(v, "probe_layers", &out->probe_layers, e);
}

static enum err_code get_type(const json_t *v, enum qtype *out, struct err *e) {
    char name[16];
    TRY(json_get_text(v, "type", name, sizeof name, e));
    *out = qtype_from_name(name);
    return *out == QTYPE_NONE ? err_set(e, ERR_FORMAT, "the type \"%s\" is not known", name) : ERR_NONE;
}

enum err_code json_to_tries(const json_t *v, struct arena *mem, struct measured_tensor *t, struct err *e) {
    size_t n = json_array_size(v);
    if (!json_is_array(v) || !n || n > QTYPE_ID_LIMIT) return bad_field("tries", "a list of tries", e);
    struct measured_try *tries = arena_alloc(mem, n, sizeof *tries);
    if (!tries) return err_no_memory(e, n * sizeof *tries);
    for (size_t i = 0; i < n; i++) {
        const json_t *x = json_array_get(v, i);
        TRY(get_type(x, &tries[i].type, e));
        TRY(json_get_real(x, "bpw", &tries[i].bpw, e));
        TRY(json_get_real(x, "rfn_error", &tries[i].rfn, e));
        if (tries[i].bpw != qtype_bpw(tries[i].type)) return bad_field("bpw", "the type's bits per weight", e);
        if (i && tries[i].bpw < tries[i - 1].bpw) return bad_field("tries", "in ascending bits per weight", e);
    }
    t->tries = tries;
    t->n_tries = n;
    return ERR_NONE;
}

enum err_code json_to_probes(const json_t *v, struct arena *mem, struct measured_tensor *t, struct err *e) {
    size_t n = json_array_size(v);
    if (!json_is_array(v) || n > QTYPE_ID_LIMIT) return bad_field("probes", "a list of probes", e);
    struct measured_probe *probes = arena_alloc(mem, n, sizeof *probes);
    if (!probes) return err_no_memory(e, n * sizeof *probes);
    for (size_t i = 0; i < n; i++) {
        const json_t *x = json_array_get(v, i);
        TRY(get_type(x, &probes[i].type, e));
        TRY(json_get_real(x, "kld", &probes[i].kld, e));
        if (!measured_try_of(t, probes[i].type))
            return err_set(e, ERR_FORMAT, "the type %s was probed but not tried", qtype_name(probes[i].type));
        if (i && qtype_bpw(probes[i].type) <= qtype_bpw(probes[i - 1].type))
            return bad_field("probes", "in ascending bits per weight", e);
    }
    t->probes = probes;
    t->n_probes = n;
    return ERR_NONE;
}
