/* The journal: a line that says whose it is, then one line a tensor and kind of result.
 *
 * A line counts when it is whole and valid; the first that is not ends what is taken over, and the file is cut there
 * before new lines follow. */
#include "quant/journal.h"

#include <string.h>

#include "base/os.h"
#include "quant/measurement_json.h"

struct journal {
    struct os_out out; /* not open: nothing is kept */
    json_t *tries, *probes; /* objects: name -> array */
};

enum { MAX_BYTES = 1 << 28 };

static json_t *identity_line(const struct measurement *m) {
    return json_pack("{s:o, s:o}", "model", json_of_hash(m->model_hash), "settings", json_of_settings(&m->settings));
}

static bool take_line(struct journal *j, json_t *line) {
    const char *name = json_string_value(json_object_get(line, "tensor"));
    json_t *tries = json_object_get(line, "tries"), *probes = json_object_get(line, "probes");
    if (!name || !(tries || probes)) return false;
    if (tries) return json_object_set(j->tries, name, tries) == 0;
    return json_object_set(j->probes, name, probes) == 0;
}

/* Bytes of the file that are good. */
static size_t take_lines(struct journal *j, const char *p, size_t n, const json_t *identity) {
    size_t good = 0;
    while (good < n) {
        const char *end = memchr(p + good, '\n', n - good);
        json_t *line = end ? json_loadb(p + good, (size_t)(end - p) - good, 0, NULL) : NULL;
        bool ok = line && (good ? take_line(j, line) : json_equal(line, identity));
        json_decref(line);
        if (!ok) break;
        good = (size_t)(end - p) + 1;
    }
    return good;
}

static enum err_code put_line(struct journal *j, json_t *line, struct err *e) {
    struct buf text = { 0 };
    enum err_code rc = json_to_buf(line, JSON_COMPACT, &text, e);
    if (!rc) rc = os_out_write(&j->out, text.p, text.n, e);
    if (!rc) rc = os_out_flush(&j->out, e);
    buf_fini(&text);
    return rc;
}

static enum err_code open_file(struct journal *j, const char *path, bool resume, const struct measurement *m,
                               struct err *e) {
    struct buf part = { 0 };
    buf_addf(&part, "%s.part", path);
    TRY(buf_status(&part, e));
    char *data = NULL;
    size_t n = 0, good = 0;
    json_t *identity = identity_line(m);
    resume = resume && os_exists(part.p) && !os_read_file(part.p, MAX_BYTES, &data, &n, NULL);
    if (resume) good = take_lines(j, data, n, identity);
    enum err_code rc = os_out_open(&j->out, path, good > 0, good, e);
    if (!rc && !good) rc = put_line(j, json_incref(identity), e);
    json_decref(identity);
    mem_free(data);
    buf_fini(&part);
    return rc;
}

enum err_code journal_open(const char *path, bool resume, const struct measurement *identity, struct journal **out,
                           struct err *e) {
    *out = NULL;
    struct journal *j = NEW(struct journal);
    if (!j) return err_no_memory(e, sizeof *j);
    j->tries = json_object();
    j->probes = json_object();
    enum err_code rc = j->tries && j->probes ? ERR_NONE : err_no_memory(e, 0);
    if (!rc && path) rc = open_file(j, path, resume, identity, e);
    if (rc) journal_close(j, false);
    else *out = j;
    return rc;
}

void journal_close(struct journal *j, bool remove) {
    if (!j) return;
    os_out_abandon(&j->out, !remove);
    json_decref(j->tries);
    json_decref(j->probes);
    mem_free(j);
}

bool journal_find_tries(const struct journal *j, struct arena *mem, struct measured_tensor *t) {
    const json_t *v = json_object_get(j->tries, t->name);
    return v && json_to_tries(v, mem, t, NULL) == ERR_NONE;
}

bool journal_find_probes(const struct journal *j, struct arena *mem, struct measured_tensor *t) {
    const json_t *v = json_object_get(j->probes, t->name);
    return v && json_to_probes(v, mem, t, NULL) == ERR_NONE;
}

enum err_code journal_keep_tries(struct journal *j, const struct measured_tensor *t, struct err *e) {
    if (!j->out.is_open) return ERR_NONE;
    return put_line(j, json_pack("{s:s, s:o}", "tensor", t->name, "tries", json_of_tries(t)), e);
}

enum err_code journal_keep_probes(struct journal *j, const struct measured_tensor *t, struct err *e) {
    if (!j->out.is_open) return ERR_NONE;
    return put_line(j, json_pack("{s:s, s:o}", "tensor", t->name, "probes", json_of_probes(t)), e);
}
