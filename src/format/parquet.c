/* Rows of a parquet file put together from the columns at hand, row group by row group. Owns the walk and the record
 * that is given out; bytes are parquet_column.c's. */
#include "format/parquet.h"

#include "base/utf8.h"
#include "format/parquet_column.h"
#include "format/parquet_meta.h"

struct parquet {
    struct parquet_meta meta;
    struct parquet_column columns[PARQUET_LEAVES];
    struct parquet_cell cells[PARQUET_LEAVES]; /* chat: the next ones, if ahead */
    bool ahead;
    uint64_t rows_left, row; /* of the row group; of the file, counted from 1 */
    struct arena mem;        /* of the record */
    struct calib_message *messages;
    size_t n_messages;
};

enum err_code parquet_open(struct span file, const char *column, struct parquet **out, struct err *e) {
    struct parquet *p = NEW(struct parquet);
    *out = NULL;
    if (!p) return err_no_memory(e, sizeof *p);
    enum err_code rc = parquet_meta_open(file, column, &p->meta, e);
    if (rc) parquet_close(p);
    else *out = p;
    return rc;
}

void parquet_close(struct parquet *p) {
    if (!p) return;
    for (size_t i = 0; i < PARQUET_LEAVES; i++) parquet_column_fini(&p->columns[i]);
    arena_fini(&p->mem);
    mem_free(p->messages);
    mem_free(p);
}

static enum err_code bad_row(const struct parquet *p, struct err *e, const char *what) {
    return err_set(e, ERR_FORMAT, "row %llu %s", (unsigned long long)p->row, what);
}

/* The cells that follow, of both columns; ahead is false behind the row group's last. */
static enum err_code look_ahead(struct parquet *p, struct err *e) {
    struct parquet_column *c = p->columns;
    if (!c[0].left != !c[1].left) return bad_row(p, e, "has as many roles as contents no longer: the file is damaged");
    p->ahead = c[0].left > 0;
    for (size_t i = 0; i < PARQUET_LEAVES && p->ahead; i++) TRY(parquet_column_next(&c[i], &p->cells[i], e));
    return ERR_NONE;
}

/* Goes to the next row group that has rows; false in *more behind the last. */
static enum err_code next_group(struct parquet *p, bool *more, struct err *e) {
    struct parquet_chunk chunks[PARQUET_LEAVES];
    while (!p->rows_left) {
        if (p->columns[0].left || p->ahead) return bad_row(p, e, "is not its row group's last: the file is damaged");
        TRY(parquet_meta_next(&p->meta, chunks, &p->rows_left, more, e));
        if (!*more) return ERR_NONE;
        for (size_t i = 0; i <= (size_t)p->meta.chat; i++)
            parquet_column_begin(&p->columns[i], p->meta.file, &p->meta.leaf[i], &chunks[i]);
        if (p->meta.chat) TRY(look_ahead(p, e));
    }
    *more = true;
    return ERR_NONE;
}

static enum err_code copy(struct parquet *p, struct str s, struct str *out, struct err *e) {
    if (!utf8_valid(s.p, s.n)) return bad_row(p, e, "is no UTF-8 text");
    char *text = arena_strndup(&p->mem, s.p, s.n);
    *out = (struct str){ text, s.n };
    return text ? ERR_NONE : err_no_memory(e, s.n + 1);
}

/* --- Text --- */

static enum err_code next_text(struct parquet *p, struct calib_record *out, bool *found, struct err *e) {
    struct parquet_cell cell;
    if (!p->columns[0].left) return bad_row(p, e, "is missing: its row group is damaged");
    TRY(parquet_column_next(&p->columns[PARQUET_TEXT], &cell, e));
    *found = cell.def == p->meta.leaf[PARQUET_TEXT].max_def;
    *out = (struct calib_record){ .kind = CALIB_TEXT };
    return *found ? copy(p, cell.value, &out->text, e) : ERR_NONE;
}

/* --- Conversations --- */

static enum err_code add_message(struct parquet *p, struct err *e) {
    const struct parquet_cell *role = &p->cells[PARQUET_ROLE], *content = &p->cells[PARQUET_CONTENT];
    size_t n = p->n_messages;
    if (!(n & (n - 1))) { /* room doubles at each power of two */
        struct calib_message *all = mem_realloc(p->messages, n, n ? 2 * n : 1, sizeof *all);
        if (!all) return err_no_memory(e, 2 * n * sizeof *all);
        p->messages = all;
    }
    struct calib_message *m = &p->messages[p->n_messages++];
    *m = (struct calib_message){ .content = STR("") };
    if (role->def < p->meta.leaf[PARQUET_ROLE].max_def) return bad_row(p, e, "has a message without a role");
    TRY(copy(p, calib_plain_role(role->value), &m->role, e));
    if (content->def == p->meta.leaf[PARQUET_CONTENT].max_def) TRY(copy(p, content->value, &m->content, e));
    return ERR_NONE;
}

static enum err_code next_chat(struct parquet *p, struct calib_record *out, bool *found, struct err *e) {
    p->n_messages = 0;
    if (!p->ahead || p->cells[0].rep) return bad_row(p, e, "is missing: its row group is damaged");
    do {
        bool role = p->cells[0].def >= p->meta.def_present, content = p->cells[1].def >= p->meta.def_present;
        if (role != content || p->cells[0].rep != p->cells[1].rep)
            return bad_row(p, e, "has not as many roles as contents: the file is damaged");
        if (role) TRY(add_message(p, e));
        TRY(look_ahead(p, e));
    } while (p->ahead && p->cells[0].rep);
    *found = p->n_messages > 0;
    *out = (struct calib_record){ .kind = CALIB_CHAT, .messages = p->messages, .n_messages = p->n_messages };
    return ERR_NONE;
}

/* --- The whole --- */

static enum err_code next_record(struct parquet *p, struct calib_record *out, bool *more, struct err *e) {
    bool found = false;
    while (!found) {
        TRY(next_group(p, more, e));
        if (!*more) return ERR_NONE;
        p->rows_left--;
        p->row++;
        arena_fini(&p->mem);
        TRY(p->meta.chat ? next_chat(p, out, &found, e) : next_text(p, out, &found, e));
    }
    return ERR_NONE;
}

enum err_code parquet_next(struct parquet *p, struct calib_record *out, bool *more, struct err *e) {
    enum err_code rc = next_record(p, out, more, e);
    return err_where(e, rc, "column %.*s", (int)(p->meta.column.n < 60 ? p->meta.column.n : 60), p->meta.column.p);
}
