/* The footer. Owns finding and checking what it says; pages are parquet_column.c's.
 *
 * The schema is read whole, once, to choose the column. Row groups stay where they are and are read one by one, so that
 * a file of a million column chunks costs no memory for those that nobody asks for. Field numbers are those of the
 * format's definition (docs/formats/parquet.md). */
#include "format/parquet_meta.h"

#include <string.h>

#include "base/compiler.h"
#include "base/num.h"
#include "base/utf8.h"

enum { MAX_DEPTH = 32, TAIL_BYTES = 8, HEAD_BYTES = 4 };
enum { REPETITION_REQUIRED, REPETITION_OPTIONAL, REPETITION_REPEATED };
enum { TYPE_BYTE_ARRAY = 6, TYPE_GROUP = -1 };

/* One element of the schema, which lists a tree depth first. */
struct node {
    struct str name;
    int type; /* TYPE_GROUP: it has children */
    unsigned repetition;
    size_t n_children, end; /* end: the element behind its last descendant */
    struct parquet_leaf at; /* levels include its own; index: leaves before it */
};

struct schema { struct node *nodes; size_t n, n_leaves; };

/* --- The footer's place --- */

bool parquet_probe(struct span file) { return file.n >= HEAD_BYTES && !memcmp(file.p, "PAR1", HEAD_BYTES); }

static enum err_code find_footer(struct span file, struct parquet_meta *m, struct thrift *t, struct err *e) {
    uint32_t n;
    if (!parquet_probe(file)) return err_set_at(e, ERR_FORMAT, 0, "this is not a parquet file");
    const uint8_t *tail = file.p + file.n - TAIL_BYTES;
    if (file.n >= HEAD_BYTES + TAIL_BYTES && !memcmp(tail + 4, "PARE", 4))
        return err_set(e, ERR_UNSUPPORTED, "this parquet file is encrypted");
    if (file.n < HEAD_BYTES + TAIL_BYTES || memcmp(tail + 4, "PAR1", 4) != 0)
        return err_set_at(e, ERR_FORMAT, file.n, "the parquet file is not complete: its last four bytes are not PAR1");
    memcpy(&n, tail, sizeof n);
    size_t most = file.n - HEAD_BYTES - TAIL_BYTES;
    if (n > most)
        return err_set_at(e, ERR_FORMAT, file.n - TAIL_BYTES, "its description should have %u bytes, the file has %zu "
                          "for it", n, most);
    m->file = file;
    m->data_end = file.n - TAIL_BYTES - n;
    *t = (struct thrift){ .data = { file.p + m->data_end, n } };
    return ERR_NONE;
}

static enum err_code bad_footer(const struct parquet_meta *m, const struct thrift *t, struct err *e) {
    return err_set_at(e, ERR_FORMAT, m->data_end + t->at, "the file's description of itself is damaged");
}

/* --- Schema --- */

static void read_node(struct thrift *t, struct node *n) {
    struct thrift_field f = { 0 };
    *n = (struct node){ .type = TYPE_GROUP };
    while (thrift_field(t, &f)) switch (f.id) {
        case 1: n->type = (int)thrift_uint(t, f.type, INT32_MAX); break;
        case 3: n->repetition = (unsigned)thrift_uint(t, f.type, REPETITION_REPEATED); break;
        case 4: n->name = thrift_binary(t, f.type); break;
        case 5: n->n_children = (size_t)thrift_uint(t, f.type, INT32_MAX); break;
        default: thrift_skip(t, f.type);
        }
}

/* Gives node i and its descendants their levels and ends; false if the list ends before the tree does. */
static bool place(struct schema *s, size_t i, struct parquet_leaf above, unsigned depth) {
    struct node *n = &s->nodes[i];
    n->at = above;
    if (i && n->repetition != REPETITION_REQUIRED) n->at.max_def++;
    if (i && n->repetition == REPETITION_REPEATED) n->at.max_rep++;
    n->at.index = s->n_leaves;
    n->end = i + 1;
    if (!n->n_children) return n->type == TYPE_GROUP ? i == 0 : ++s->n_leaves;
    if (depth == MAX_DEPTH || n->type != TYPE_GROUP) return false;
    for (size_t k = 0; k < n->n_children; k++) {
        if (n->end == s->n || !place(s, n->end, n->at, depth + 1)) return false;
        n->end = s->nodes[n->end].end;
    }
    return true;
}

static enum err_code read_schema(const struct parquet_meta *m, struct thrift *t, enum thrift_type type,
                                 struct schema *s, struct err *e) {
    size_t n = thrift_list(t, type, THRIFT_STRUCT);
    if (t->bad || s->nodes || !n) return bad_footer(m, t, e);
    s->nodes = mem_calloc(n, sizeof *s->nodes);
    if (!s->nodes) return err_no_memory(e, n * sizeof *s->nodes);
    s->n = n;
    for (size_t i = 0; i < n && !t->bad; i++) read_node(t, &s->nodes[i]);
    if (t->bad || !place(s, 0, (struct parquet_leaf){ 0 }, 0) || s->nodes[0].end != n) return bad_footer(m, t, e);
    return ERR_NONE;
}

/* --- Choosing --- */

static const struct node *child_named(const struct schema *s, const struct node *group, const char *name) {
    size_t i = (size_t)(group - s->nodes) + 1;
    for (; i < group->end; i = s->nodes[i].end)
        if (str_eqz(s->nodes[i].name, name)) return &s->nodes[i];
    return NULL;
}

static bool is_string(const struct node *n) { return n && n->type == TYPE_BYTE_ARRAY && n->repetition < 2; }

/* A list of structs: groups of one child each around the struct, exactly one of them repeated. */
static bool choose_chat(struct parquet_meta *m, const struct schema *s, const struct node *column) {
    static const char *const names[][2] = { { "role", "content" }, { "from", "value" } };
    for (const struct node *n = column; n->n_children; n++) {
        if (n->repetition == REPETITION_REPEATED) m->def_present = n->at.max_def;
        for (size_t i = 0; i < ARRAY_LEN(names) && n->at.max_rep == 1; i++) {
            const struct node *role = child_named(s, n, names[i][0]), *text = child_named(s, n, names[i][1]);
            if (!is_string(role) || !is_string(text)) continue;
            m->chat = true;
            m->column = column->name;
            m->leaf[PARQUET_ROLE] = role->at;
            m->leaf[PARQUET_CONTENT] = text->at;
            return true;
        }
        if (n->n_children != 1) return false;
    }
    return false;
}

static bool choose_text(struct parquet_meta *m, const struct node *column) {
    if (!is_string(column)) return false;
    m->column = column->name;
    m->leaf[PARQUET_TEXT] = column->at;
    return true;
}

static bool choose(struct parquet_meta *m, const struct schema *s, const char *name) {
    const struct node *n = child_named(s, s->nodes, name);
    return n && (choose_text(m, n) || choose_chat(m, s, n));
}

/* Names of the columns for an error; those that are too many, missing or no plain text are left out. */
static void list_columns(const struct schema *s, char *out, size_t size) {
    size_t n = 0;
    out[0] = 0;
    for (size_t i = 1; i < s->n; i = s->nodes[i].end) {
        struct str name = s->nodes[i].name;
        if (!name.n || n + name.n + 3 > size || !utf8_valid(name.p, name.n) || memchr(name.p, 0, name.n)) continue;
        if (n) out[n++] = ',', out[n++] = ' ';
        memcpy(out + n, name.p, name.n);
        out[n += name.n] = 0;
    }
}

static enum err_code choose_column(struct parquet_meta *m, const struct schema *s, const char *name, struct err *e) {
    static const char *const usual[] = { "messages", "conversations", "text", "content" };
    char columns[200];
    if (name && choose(m, s, name)) return ERR_NONE;
    for (size_t i = 0; !name && i < ARRAY_LEN(usual); i++)
        if (choose(m, s, usual[i])) return ERR_NONE;
    list_columns(s, columns, sizeof columns);
    if (name && child_named(s, s->nodes, name))
        return err_set(e, ERR_USAGE, "its column \"%s\" holds neither strings nor lists of messages", name);
    if (name) return err_set(e, ERR_USAGE, "it has no column \"%s\"; it has: %s", name, columns);
    return err_set(e, ERR_USAGE, "none of its columns has a usual name (text, content, messages, conversations): name "
                   "one as FILE:COLUMN; it has: %s", columns);
}

/* --- The whole --- */

static enum err_code read_footer(struct parquet_meta *m, struct thrift *t, struct schema *s, struct err *e) {
    struct thrift_field f = { 0 };
    bool has_groups = false;
    while (thrift_field(t, &f)) switch (f.id) {
        case 2: TRY(read_schema(m, t, f.type, s, e)); break;
        case 4:
            m->groups = *t;
            has_groups = f.type == THRIFT_LIST;
            thrift_skip(t, f.type);
            break;
        case 8: return err_set(e, ERR_UNSUPPORTED, "this parquet file is encrypted");
        default: thrift_skip(t, f.type);
        }
    if (t->bad || !s->n || !has_groups) return bad_footer(m, t, e);
    m->n_groups = thrift_list(&m->groups, THRIFT_LIST, THRIFT_STRUCT);
    return m->groups.bad ? bad_footer(m, &m->groups, e) : ERR_NONE;
}

enum err_code parquet_meta_open(struct span file, const char *name, struct parquet_meta *out, struct err *e) {
    struct thrift t;
    struct schema s = { 0 };
    *out = (struct parquet_meta){ 0 };
    TRY(find_footer(file, out, &t, e));
    enum err_code rc = read_footer(out, &t, &s, e);
    if (!rc) rc = choose_column(out, &s, name, e);
    out->n_leaves = s.n_leaves;
    mem_free(s.nodes);
    return rc;
}

/* --- Row groups --- */

/* A chunk and what must agree with the schema. */
struct chunk { struct parquet_chunk c; uint64_t type, data, dictionary; bool elsewhere, encrypted, described; };

static void read_chunk_meta(struct thrift *t, enum thrift_type type, struct chunk *c) {
    struct thrift_field f = { 0 };
    if (type != THRIFT_STRUCT) t->bad = true;
    c->described = true;
    while (thrift_field(t, &f)) switch (f.id) {
        case 1: c->type = thrift_uint(t, f.type, INT32_MAX); break;
        case 4: c->c.codec = (unsigned)thrift_uint(t, f.type, INT32_MAX); break;
        case 5: c->c.n_values = thrift_uint(t, f.type, INT64_MAX); break;
        case 7: c->c.bytes = thrift_uint(t, f.type, INT64_MAX); break;
        case 9: c->data = thrift_uint(t, f.type, INT64_MAX); break;
        case 11: c->dictionary = thrift_uint(t, f.type, INT64_MAX); break;
        default: thrift_skip(t, f.type);
        }
}

static void read_chunk(struct thrift *t, struct chunk *c) {
    struct thrift_field f = { 0 };
    *c = (struct chunk){ 0 };
    while (thrift_field(t, &f)) switch (f.id) {
        case 1: c->elsewhere = thrift_binary(t, f.type).n > 0; break;
        case 3: read_chunk_meta(t, f.type, c); break;
        case 8:
            c->encrypted = true;
            thrift_skip(t, f.type);
            break;
        default: thrift_skip(t, f.type);
        }
}

/* A dictionary comes before the data; some writers say 0 where there is none. */
static enum err_code check_chunk(struct parquet_meta *m, size_t leaf, struct chunk *c, struct err *e) {
    uint64_t end;
    if (c->encrypted) return err_set(e, ERR_UNSUPPORTED, "this column is encrypted");
    if (c->elsewhere) return err_set(e, ERR_UNSUPPORTED, "this column's data lie in another file");
    if (!c->described || c->type != TYPE_BYTE_ARRAY)
        return err_set(e, ERR_FORMAT, "row group %zu is damaged: it does not describe this column", m->group);
    c->c.offset = c->dictionary && c->dictionary < c->data ? c->dictionary : c->data;
    if (!add_u64(c->c.offset, c->c.bytes, &end) || end > m->data_end || c->c.offset < HEAD_BYTES)
        return err_set(e, ERR_FORMAT, "row group %zu is damaged: it wants bytes %llu to %llu of %zu", m->group,
                       (unsigned long long)c->c.offset, (unsigned long long)end, m->data_end);
    if (c->c.offset < m->last_end[leaf])
        return err_set_at(e, ERR_FORMAT, c->c.offset, "row group %zu is damaged: it begins within the one before",
                          m->group);
    m->last_end[leaf] = end;
    return ERR_NONE;
}

static enum err_code read_chunks(struct parquet_meta *m, enum thrift_type type, struct parquet_chunk *chunks,
                                 struct err *e) {
    struct thrift *t = &m->groups;
    struct chunk c;
    size_t n = thrift_list(t, type, THRIFT_STRUCT);
    if (!t->bad && n != m->n_leaves)
        return err_set(e, ERR_FORMAT, "row group %zu is damaged: it has %zu columns, the file %zu", m->group, n,
                       m->n_leaves);
    for (size_t i = 0; i < n && !t->bad; i++) {
        read_chunk(t, &c);
        for (size_t k = 0; k <= (size_t)m->chat && !t->bad; k++) {
            if (m->leaf[k].index != i) continue;
            TRY(check_chunk(m, k, &c, e));
            chunks[k] = c.c;
        }
    }
    return ERR_NONE;
}

enum err_code parquet_meta_next(struct parquet_meta *m, struct parquet_chunk chunks[PARQUET_LEAVES], uint64_t *n_rows,
                                bool *more, struct err *e) {
    struct thrift *t = &m->groups;
    struct thrift_field f = { 0 };
    bool has_chunks = false, has_rows = false;
    *more = m->group < m->n_groups;
    if (!*more) return ERR_NONE;
    m->group++;
    while (thrift_field(t, &f)) switch (f.id) {
        case 1:
            TRY(read_chunks(m, f.type, chunks, e));
            has_chunks = true;
            break;
        case 3:
            *n_rows = thrift_uint(t, f.type, INT64_MAX);
            has_rows = true;
            break;
        default: thrift_skip(t, f.type);
        }
    return t->bad || !has_chunks || !has_rows ? bad_footer(m, t, e) : ERR_NONE;
}
