/* Reads plain text and JSON into calibration records. Owns copies of all text in one arena. What a conversation looks
 * like to a model and how text becomes tokens is for callers. */
#include "format/calib_text.h"

#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#include "base/compiler.h"
#include "base/utf8.h"

/* Where a record comes from, for errors: "line 3", "element 3". */
struct place { const char *unit; size_t number; };

static enum err_code fail(struct place at, struct err *e, const char *what) {
    return err_set(e, ERR_FORMAT, "%s %zu %s", at.unit, at.number, what);
}

/* --- Building --- */

static enum err_code start(struct calib_text **out, struct err *e) {
    *out = NEW(struct calib_text);
    return *out ? ERR_NONE : err_no_memory(e, sizeof(**out));
}

/* Ends every reader: a source without records is an error. */
static enum err_code finish(enum err_code rc, struct calib_text **c, struct err *e) {
    if (!rc && !(*c)->n_records) rc = err_set(e, ERR_FORMAT, "the calibration source is empty");
    if (rc) {
        calib_text_close(*c);
        *c = NULL;
    }
    return rc;
}

void calib_text_close(struct calib_text *c) {
    if (!c) return;
    arena_fini(&c->mem);
    mem_free(c->records);
    mem_free(c);
}

static enum err_code add(struct calib_text *c, struct calib_record r, struct err *e) {
    size_t n = c->n_records;
    if (!(n & (n - 1))) { /* room doubles at each power of two */
        struct calib_record *all = mem_realloc(c->records, n, n ? 2 * n : 1, sizeof(*all));
        if (!all) return err_no_memory(e, 2 * n * sizeof(*all));
        c->records = all;
    }
    c->records[c->n_records++] = r;
    return ERR_NONE;
}

static enum err_code copy(struct calib_text *c, const char *p, size_t n, struct str *out, struct err *e) {
    char *text = arena_strndup(&c->mem, p, n);
    *out = (struct str){ text, n };
    return text ? ERR_NONE : err_no_memory(e, n + 1);
}

static enum err_code copy_json(struct calib_text *c, const json_t *v, struct str *out, struct err *e) {
    return copy(c, json_string_value(v), json_string_length(v), out, e);
}

/* --- Plain text --- */

enum err_code calib_text_plain(struct span data, struct calib_text **out, struct err *e) {
    static const uint8_t bom[3] = { 0xEF, 0xBB, 0xBF };
    struct calib_record r = { .kind = CALIB_TEXT };
    if (data.n >= sizeof(bom) && !memcmp(data.p, bom, sizeof(bom))) data = (struct span){ data.p + 3, data.n - 3 };
    TRY(start(out, e));
    enum err_code rc = ERR_NONE;
    if (data.n && !utf8_valid((const char *)data.p, data.n))
        rc = err_set(e, ERR_FORMAT, "this is not UTF-8 text; calibration takes .txt, .jsonl and .json");
    if (!rc && data.n) rc = copy(*out, (const char *)data.p, data.n, &r.text, e);
    if (!rc && data.n) rc = add(*out, r, e);
    return finish(rc, out, e);
}

/* --- Records of JSON --- */

/* A message's content: text, or a list of parts of which those with text count; absent or null for a bare tool call. */
static enum err_code copy_content(struct calib_text *c, const json_t *v, struct place at, struct str *out,
                                  struct err *e) {
    struct buf all = { 0 };
    *out = (struct str){ "", 0 };
    if (!v || json_is_null(v)) return ERR_NONE;
    if (json_is_string(v)) return copy_json(c, v, out, e);
    if (!json_is_array(v)) return fail(at, e, "has a message whose content is no text");
    for (size_t i = 0; i < json_array_size(v); i++) {
        const json_t *text = json_object_get(json_array_get(v, i), "text");
        if (json_is_string(text)) buf_add(&all, json_string_value(text), json_string_length(text));
    }
    enum err_code rc = buf_status(&all, e);
    if (!rc && all.n) rc = copy(c, all.p, all.n, out, e);
    buf_fini(&all);
    return rc;
}

struct str calib_plain_role(struct str role) {
    if (str_eqz(role, "human")) return STR("user");
    if (str_eqz(role, "gpt")) return STR("assistant");
    return role;
}

static enum err_code add_chat(struct calib_text *c, const json_t *list, struct place at, struct err *e) {
    size_t n = json_array_size(list);
    struct calib_message *messages = arena_alloc(&c->mem, n, sizeof(*messages));
    struct calib_record r = { .kind = CALIB_CHAT, .messages = messages, .n_messages = n };
    if (!messages) return err_no_memory(e, n * sizeof(*messages));
    if (!n) return fail(at, e, "has a conversation without messages");
    for (size_t i = 0; i < n; i++) {
        const json_t *m = json_array_get(list, i), *role = json_object_get(m, "role"),
                     *text = json_object_get(m, "content");
        if (!role) {
            role = json_object_get(m, "from");
            text = json_object_get(m, "value");
        }
        if (!json_is_string(role)) return fail(at, e, "has a message without a role");
        struct str word = calib_plain_role((struct str){ json_string_value(role), json_string_length(role) });
        TRY(copy(c, word.p, word.n, &messages[i].role, e));
        TRY(copy_content(c, text, at, &messages[i].content, e));
    }
    return add(c, r, e);
}

static enum err_code add_field(struct calib_text *c, const json_t *v, struct place at, struct err *e) {
    struct calib_record r = { .kind = CALIB_TEXT };
    if (json_is_array(v)) return add_chat(c, v, at, e);
    TRY(copy_json(c, v, &r.text, e));
    return add(c, r, e);
}

static enum err_code add_object(struct calib_text *c, const json_t *o, const char *field, struct place at,
                                struct err *e) {
    static const struct { const char *name; bool list; } usual[] = {
        { "messages", true }, { "conversations", true }, { "text", false }, { "content", false },
    };
    const json_t *v = field ? json_object_get(o, field) : NULL;
    if (json_is_array(v) || json_is_string(v)) return add_field(c, v, at, e);
    if (field)
        return err_set(e, ERR_FORMAT, "%s %zu has no \"%s\" that is a text or a list of messages", at.unit, at.number,
                       field);
    for (size_t i = 0; i < ARRAY_LEN(usual); i++) {
        v = json_object_get(o, usual[i].name);
        if (usual[i].list ? json_is_array(v) : json_is_string(v)) return add_field(c, v, at, e);
    }
    return fail(at, e,
                "is no JSON object with \"text\" or \"content\" (text) or \"messages\" or \"conversations\" (lists)");
}

static bool is_blank(const char *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (p[i] != ' ' && p[i] != '\t' && p[i] != '\r') return false;
    return true;
}

enum err_code calib_text_jsonl(struct span data, const char *field, struct calib_text **out, struct err *e) {
    const char *p = (const char *)data.p, *end = data.n ? p + data.n : p;
    struct place at = { "line", 0 };
    TRY(start(out, e));
    enum err_code rc = ERR_NONE;
    while (!rc && p != end) {
        const char *nl = memchr(p, '\n', (size_t)(end - p)), *stop = nl ? nl : end;
        at.number++;
        size_t n = (size_t)(stop - p);
        if (!is_blank(p, n)) {
            json_error_t je;
            json_t *v = json_loadb(p, n, JSON_ALLOW_NUL, &je);
            rc = v ? add_object(*out, v, field, at, e)
                   : err_set(e, ERR_FORMAT, "line %zu is not valid JSON: %s", at.number, je.text);
            json_decref(v);
        }
        p = nl ? nl + 1 : end;
    }
    return finish(rc, out, e);
}

/* --- Token ids --- */

static enum err_code add_ids(struct calib_text *c, const json_t *list, struct place at, struct err *e) {
    size_t n = json_array_size(list);
    uint32_t *ids = arena_alloc(&c->mem, n, sizeof(*ids));
    struct calib_record r = { .kind = CALIB_IDS, .ids = ids, .n_ids = n };
    if (!ids) return err_no_memory(e, n * sizeof(*ids));
    if (!n) return fail(at, e, "holds no token ids");
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(list, i);
        if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > INT32_MAX)
            return fail(at, e, "holds something that is no token id (an integer from 0 to 2^31 - 1)");
        ids[i] = (uint32_t)json_integer_value(v);
    }
    return add(c, r, e);
}

enum err_code calib_text_json(struct span data, const char *field, struct calib_text **out, struct err *e) {
    json_error_t je;
    *out = NULL;
    json_t *root = json_loadb(data.n ? (const char *)data.p : "", data.n, JSON_ALLOW_NUL, &je);
    if (!root) return err_set(e, ERR_FORMAT, "this is not valid JSON: line %d: %s", je.line, je.text);
    enum err_code rc = start(out, e);
    if (!rc && !json_is_array(root)) rc = err_set(e, ERR_FORMAT, "a JSON array of token ids or of records is expected");
    if (!rc && json_is_integer(json_array_get(root, 0))) {
        rc = add_ids(*out, root, (struct place){ "array number", 1 }, e);
    } else {
        for (size_t i = 0; !rc && i < json_array_size(root); i++) {
            const json_t *v = json_array_get(root, i);
            struct place at = { "element", i + 1 };
            rc = json_is_array(v) ? add_ids(*out, v, at, e) : add_object(*out, v, field, at, e);
        }
    }
    json_decref(root);
    if (!*out) return rc;
    return finish(rc, out, e);
}

void calib_chat_text(const struct calib_record *r, struct buf *out) {
    for (size_t i = 0; i < r->n_messages; i++) {
        const struct calib_message *m = &r->messages[i];
        buf_add(out, m->role.p, m->role.n);
        buf_addz(out, ": ");
        buf_add(out, m->content.p, m->content.n);
        buf_addc(out, '\n');
    }
}
