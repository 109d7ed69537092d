/* snug_show: what a file holds. Metadata as GGUF keys, or the settings of a Hugging Face directory; all tensors. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "api/api.h"
#include "base/os.h"

enum { SHOWN_ELEMENTS = 6 };

static json_t *text_json(struct str s) {
    json_t *j = json_stringn(s.p, s.n);
    return j ? j : json_string("(not UTF-8)");
}

/* Element i of an array of numbers or bools, or the one value of a scalar. */
static json_t *number_json(const struct gguf_array *a, uint64_t i) {
    int64_t v;
    uint64_t u;
    double d;
    if (a->elem == GGUF_BOOL && gguf_array_u64(a, i, &u)) return json_boolean(u);
    if (a->elem != GGUF_F32 && a->elem != GGUF_F64 && gguf_array_i64(a, i, &v)) return json_integer(v);
    if (a->elem == GGUF_U64 && gguf_array_u64(a, i, &u)) return json_real((double)u);
    json_t *j = gguf_array_f64(a, i, &d) ? json_real(d) : NULL;
    return j ? j : json_null();
}

static json_t *value_json(const struct gguf_kv *kv) {
    struct gguf_array rest = kv->value;
    struct str s;
    if (kv->type == GGUF_STRING) return gguf_array_next_str(&rest, &s) ? text_json(s) : json_null();
    if (kv->type != GGUF_ARRAY) return number_json(&kv->value, 0);
    json_t *all = json_array();
    if (rest.elem == GGUF_STRING)
        while (gguf_array_next_str(&rest, &s)) json_array_append_new(all, text_json(s));
    else
        for (uint64_t i = 0; i < kv->value.n; i++) json_array_append_new(all, number_json(&kv->value, i));
    return all;
}

/* The first elements of an array, everything of anything else. */
static void put_short(struct buf *b, const json_t *j) {
    if (json_is_string(j)) {
        buf_add(b, json_string_value(j), json_string_length(j));
        return;
    }
    if (!json_is_array(j)) {
        char *z = json_dumps(j, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
        buf_addz(b, z ? z : "?");
        free(z);
        return;
    }
    buf_addf(b, "[%zu] ", json_array_size(j));
    for (size_t i = 0; i < json_array_size(j) && i < SHOWN_ELEMENTS; i++) {
        char *z = json_dumps(json_array_get(j, i), JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
        buf_addf(b, "%s%s", i ? ", " : "", z ? z : "?");
        free(z);
    }
    if (json_array_size(j) > SHOWN_ELEMENTS) buf_addz(b, ", ...");
}

static enum err_code set_meta(struct snug_meta *m, const char *key, json_t *j, struct err *e) {
    struct buf shown = { 0 };
    put_short(&shown, j);
    buf_addz(&shown, "");
    char *dump = json_dumps(j, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(9));
    *m = (struct snug_meta){ mem_strdup(key), mem_strdup(shown.p ? shown.p : ""), mem_strdup(dump ? dump : "null") };
    free(dump);
    buf_fini(&shown);
    return m->key && m->value && m->json ? ERR_NONE : err_no_memory(e, shown.n);
}

static enum err_code show_gguf(const struct gguf *g, struct snug_file *out, struct err *e) {
    out->meta = NEW_ARRAY(struct snug_meta, g->n_kv);
    if (!out->meta) return err_no_memory(e, g->n_kv * sizeof *out->meta);
    for (size_t i = 0; i < g->n_kv; i++) {
        json_t *j = value_json(&g->kv[i]);
        enum err_code rc = set_meta(&out->meta[out->n_meta++], g->kv[i].key, j, e);
        json_decref(j);
        if (rc) return rc;
    }
    return ERR_NONE;
}

static enum err_code show_config(const struct tfile *f, struct snug_file *out, struct err *e) {
    char *path = os_path_join(f->dir, "config.json"), *text = NULL;
    size_t n;
    if (!path) return err_no_memory(e, 1);
    enum err_code rc = os_read_file(path, 64u << 20, &text, &n, e);
    mem_free(path);
    if (rc) return rc;
    json_t *config = json_loadb(text, n, 0, NULL), *value;
    const char *key;
    mem_free(text);
    out->meta = NEW_ARRAY(struct snug_meta, json_object_size(config));
    if (!out->meta) rc = err_no_memory(e, json_object_size(config) * sizeof *out->meta);
    json_object_foreach(config, key, value) {
        if (rc) break;
        rc = set_meta(&out->meta[out->n_meta++], key, value, e);
    }
    json_decref(config);
    return rc;
}

static enum err_code show_tensors(const struct tfile *f, struct snug_file *out, struct err *e) {
    out->tensors = NEW_ARRAY(struct snug_tensor, f->n_tensors);
    if (!out->tensors) return err_no_memory(e, f->n_tensors * sizeof *out->tensors);
    for (size_t i = 0; i < f->n_tensors; i++) {
        const struct tfile_tensor *t = &f->tensors[i];
        struct snug_tensor *s = &out->tensors[out->n_tensors++];
        *s = (struct snug_tensor){ .name = mem_strdup(t->name), .type = qtype_info(t->type) ? qtype_name(t->type) : "?",
                                   .n_dims = t->n_dims, .bytes = t->bytes };
        if (!s->name) return err_no_memory(e, strlen(t->name));
        memcpy(s->ne, t->ne, sizeof s->ne);
        out->parameters += tfile_tensor_weights(t);
    }
    out->file_bytes = f->file_bytes;
    return ERR_NONE;
}

int snug_show(const char *path, struct snug_file *out, struct snug_error *error) {
    struct err e = { 0 };
    struct tfile *f = NULL;
    memset(out, 0, sizeof *out);
    enum err_code rc = tfile_open(path, TFILE_NO_WEIGHTS_OK, &f, &e);
    if (!rc && f->gguf) rc = show_gguf(f->gguf, out, &e);
    else if (!rc && f->dir && f->config) rc = show_config(f, out, &e);
    if (!rc) rc = show_tensors(f, out, &e);
    tfile_close(f);
    if (rc) snug_file_free(out);
    return api_result(rc, &e, error);
}

void snug_file_free(struct snug_file *f) {
    for (size_t i = 0; i < f->n_meta; i++) {
        mem_free(f->meta[i].key);
        mem_free(f->meta[i].value);
        mem_free(f->meta[i].json);
    }
    for (size_t i = 0; i < f->n_tensors; i++) mem_free(f->tensors[i].name);
    mem_free(f->meta);
    mem_free(f->tensors);
    memset(f, 0, sizeof *f);
}
