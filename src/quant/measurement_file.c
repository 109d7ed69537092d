/* The measurement file and the importances beside it.
 *
 * The importances are written first: the JSON file names their hash, so a pair of two runs is noticed. Importances are
 * kept as llama.cpp's tools do, sums of squares and numbers of tokens; stats_importance makes them the same way, so
 * that what is read is bit for bit what was measured. docs/formats/measurement.md. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "base/os.h"
#include "quant/importance.h"
#include "quant/measurement_json.h"

enum { VERSION = 1, MAX_JSON_BYTES = 1 << 28 };
static const char format_name[] = "snug measurement";

char *measurement_importance_path(const char *path) {
    size_t n = strlen(path);
    if (n > 5 && strcmp(path + n - 5, ".json") == 0) n -= 5;
    struct buf b = { 0 };
    buf_add(&b, path, n);
    buf_addz(&b, ".imatrix.gguf");
    if (b.failed) buf_fini(&b);
    return b.p;
}

/* --- Importances --- */

/* The number of tokens rounded down to a power of two, so that sum = mean * count and mean = sum / count are exact. */
static float counted_tokens(const struct measurement *m) {
    uint64_t tokens = (uint64_t)m->settings.rows * m->settings.length, count = 1;
    while (count <= tokens / 2) count *= 2;
    return (float)count;
}

static enum err_code read_importances(struct measurement *m, const bool *has, const char *path, struct err *e) {
    struct imatrix *file;
    bool found = true;
    TRY(imatrix_open(path, &file, e));
    enum err_code rc = ERR_NONE;
    for (size_t i = 0; i < m->n_tensors && !rc; i++) {
        if (has[i]) rc = importance_take(file, &m->mem, &m->tensors[i], &found, e);
        if (!rc && !found) rc = err_set(e, ERR_FORMAT, "it has no importances of %s", m->tensors[i].name);
    }
    imatrix_close(file);
    return err_where(e, rc, "%s", path);
}

/* --- JSON --- */

static json_t *json_of_tensor(const struct measured_tensor *t) {
    json_t *shape = json_pack("[I, I]", (json_int_t)t->ne[0], (json_int_t)t->ne[1]);
    if (shape && t->ne[2] > 1 && json_array_append_new(shape, json_integer((json_int_t)t->ne[2]))) {
        json_decref(shape);
        shape = NULL;
    }
    return json_pack("{s:s, s:o, s:b, s:f, s:o, s:o}", "name", t->name, "shape", shape, "importance",
                     t->importance != NULL, "sensitivity", t->sensitivity, "probes", json_of_probes(t), "tries",
                     json_of_tries(t));
}

static json_t *json_of_measurement(const struct measurement *m) {
    json_t *tensors = json_array();
    for (size_t i = 0; i < m->n_tensors && tensors; i++)
        if (json_array_append_new(tensors, json_of_tensor(&m->tensors[i]))) {
            json_decref(tensors);
            tensors = NULL;
        }
    return json_pack("{s:s, s:i, s:{s:s, s:s, s:I, s:o}, s:o, s:o, s:o}", "format", format_name, "version", VERSION,
                     "model", "name", m->model_name, "arch", m->arch, "parameters", (json_int_t)m->parameters, "hash",
                     json_of_hash(m->model_hash), "settings", json_of_settings(&m->settings), "importance_hash",
                     json_of_hash(measurement_hash_importances(m)), "tensors", tensors);
}

enum err_code measurement_write(const struct measurement *m, const char *path, struct err *e) {
    char *beside = measurement_importance_path(path);
    struct buf text = { 0 };
    enum err_code rc = beside ? importance_write(m, counted_tokens(m), beside, e) : err_no_memory(e, strlen(path));
    if (!rc) rc = json_to_buf(json_of_measurement(m), JSON_INDENT(1), &text, e);
    if (!rc) rc = os_write_file(path, text.p, text.n, e);
    buf_fini(&text);
    mem_free(beside);
    return rc;
}

static enum err_code read_tensor(const json_t *v, struct arena *mem, struct measured_tensor *t, bool *has_importance,
                                 struct err *e) {
    char name[SLOT_NAME_BYTES];
    TRY(json_get_text(v, "name", name, sizeof name, e));
    t->name = arena_strdup(mem, name);
    if (!t->name) return err_no_memory(e, sizeof name);
    const json_t *shape = json_object_get(v, "shape");
    size_t n_dims = json_array_size(shape);
    t->ne[2] = 1;
    for (size_t i = 0; i < max_u64(n_dims, 2); i++) {
        json_int_t n = json_integer_value(json_array_get(shape, i));
        if (n < 1 || n > UINT32_MAX || i == ARRAY_LEN(t->ne))
            return err_set(e, ERR_FORMAT, "\"shape\" of %s must be two or three whole numbers", name);
        t->ne[i] = (uint64_t)n;
    }
    *has_importance = json_is_true(json_object_get(v, "importance"));
    enum err_code rc = json_get_real(v, "sensitivity", &t->sensitivity, e);
    if (!rc && !(t->sensitivity > 0)) rc = err_set(e, ERR_FORMAT, "\"sensitivity\" must be more than 0");
    if (!rc) rc = json_to_tries(json_object_get(v, "tries"), mem, t, e);
    if (!rc) rc = json_to_probes(json_object_get(v, "probes"), mem, t, e);
    return err_where(e, rc, "%s", name);
}

static enum err_code read_tensors(const json_t *list, struct measurement *m, bool **has, struct err *e) {
    size_t n = json_array_size(list);
    if (!n) return err_set(e, ERR_FORMAT, "\"tensors\" must be a list of tensors");
    m->tensors = arena_alloc(&m->mem, n, sizeof *m->tensors);
    *has = arena_alloc(&m->mem, n, sizeof **has);
    if (!m->tensors || !*has) return err_no_memory(e, n * sizeof *m->tensors);
    for (size_t i = 0; i < n; i++) {
        TRY(read_tensor(json_array_get(list, i), &m->mem, &m->tensors[i], &(*has)[i], e));
        if (measurement_find(m, m->tensors[i].name)) return err_set(e, ERR_FORMAT, "%s appears twice",
                                                                    m->tensors[i].name);
        m->n_tensors = i + 1;
    }
    return ERR_NONE;
}

static enum err_code read_root(const json_t *root, struct measurement *m, bool **has, struct err *e) {
    char format[sizeof format_name];
    uint64_t version;
    if (json_get_text(root, "format", format, sizeof format, NULL) || strcmp(format, format_name) != 0)
        return err_set(e, ERR_FORMAT, "it is no measurement file");
    TRY(json_get_u64(root, "version", INT32_MAX, &version, e));
    if (version != VERSION)
        return err_set(e, ERR_UNSUPPORTED, "it has version %llu of the format, this program reads %d: measure again",
                       (unsigned long long)version, VERSION);
    const json_t *model = json_object_get(root, "model");
    TRY(json_get_text(model, "name", m->model_name, sizeof m->model_name, e));
    TRY(json_get_text(model, "arch", m->arch, sizeof m->arch, e));
    TRY(json_get_u64(model, "parameters", INT64_MAX, &m->parameters, e));
    TRY(json_get_hash(model, "hash", &m->model_hash, e));
    TRY(json_to_settings(json_object_get(root, "settings"), &m->settings, e));
    return read_tensors(json_object_get(root, "tensors"), m, has, e);
}

/* --- Against a model --- */

static enum err_code check_weight(const struct measured_tensor *t, const struct weight *w, struct err *e) {
    if (!t) return err_set(e, ERR_FORMAT, "it does not know the model's tensor %s: it was made of another model",
                           w->name);
    if (!memcmp(t->ne, w->ne, sizeof t->ne)) return ERR_NONE;
    const unsigned long long a[] = { t->ne[0], t->ne[1], t->ne[2] }, b[] = { w->ne[0], w->ne[1], w->ne[2] };
    return err_set(e, ERR_FORMAT,
                   "it was made of another model: %s is (%llu, %llu, %llu) there and (%llu, %llu, %llu) here", w->name,
                   a[0], a[1], a[2], b[0], b[1], b[2]);
}

static enum err_code check_model(const struct measurement *m, const struct model *model, struct err *e) {
    size_t matrices = 0;
    if (strcmp(m->arch, model->hp.arch->name) != 0)
        return err_set(e, ERR_FORMAT, "it was made of a model of architecture %s, this one is %s", m->arch,
                       model->hp.arch->name);
    for (uint32_t i = 0; i < model->n_weights; i++) {
        const struct weight *w = &model->weights[i];
        if (!slot_info(w->slot)->matrix) continue;
        TRY(check_weight(measurement_find(m, w->name), w, e));
        matrices++;
    }
    if (matrices != m->n_tensors)
        return err_set(e, ERR_FORMAT, "it was made of another model: it has %zu matrices, this one %zu", m->n_tensors,
                       matrices);
    uint64_t hash;
    TRY(measurement_hash_model(model, &hash, e));
    if (m->model_hash != hash)
        return err_set(e, ERR_FORMAT, "it was made of a model with the same shapes and other weights (\"%s\"): measure "
                       "this one with another file name", m->model_name);
    return ERR_NONE;
}

static enum err_code check_importances(const struct measurement *m, const json_t *root, struct err *e) {
    uint64_t hash;
    TRY(json_get_hash(root, "importance_hash", &hash, e));
    if (hash == measurement_hash_importances(m)) return ERR_NONE;
    return err_set(e, ERR_FORMAT, "the importances beside it are those of another run: measure again");
}

static enum err_code read_both(const char *path, const struct model *model, struct measurement *m, struct err *e) {
    char *text = NULL, *beside = NULL;
    size_t n;
    bool *has = NULL;
    json_error_t je;
    json_t *root = NULL;
    enum err_code rc;
    TRY(os_read_file(path, MAX_JSON_BYTES, &text, &n, e));
    root = json_loadb(text, n, JSON_REJECT_DUPLICATES, &je);
    if (!root) TRY_OUT(rc, err_set_at(e, ERR_FORMAT, (uint64_t)je.position, "it is no valid JSON: %s", je.text));
    TRY_OUT(rc, read_root(root, m, &has, e));
    if (model) TRY_OUT(rc, check_model(m, model, e));
    beside = measurement_importance_path(path);
    if (!beside) TRY_OUT(rc, err_no_memory(e, strlen(path)));
    TRY_OUT(rc, read_importances(m, has, beside, e));
    rc = check_importances(m, root, e);
out:
    json_decref(root);
    mem_free(text);
    mem_free(beside);
    return rc;
}

enum err_code measurement_read(const char *path, const struct model *model, struct measurement **out, struct err *e) {
    *out = NULL;
    struct measurement *m = NEW(struct measurement);
    if (!m) return err_no_memory(e, sizeof *m);
    enum err_code rc = read_both(path, model, m, e);
    if (!rc) *out = m;
    else measurement_free(m);
    return err_where(e, rc, "%s", path);
}
