/* Finds out what a calibration source is and passes its records on. Owns the mapping of the file and the words in which
 * a source is named. */
#include "format/calib_source.h"

#include <string.h>

#include "base/os.h"
#include "format/parquet.h"
#include "format/parquet_meta.h"

struct calib_source {
    char *file;
    const char *column; /* NULL: none was named; borrowed within `name` */
    char *name;
    struct os_map map;          /* while a parquet file is read */
    struct parquet *parquet;
    struct calib_text *text;    /* or all records of a text */
    size_t n_given;
};

/* Where the column's name begins, NULL if the whole name is a file's. */
static const char *column_of(const char *name) {
    const char *colon = strrchr(name, ':');
    return colon && colon != name && colon[1] && !strchr(colon, '/') && !os_exists(name) ? colon + 1 : NULL;
}

char *calib_source_file(const char *name) {
    const char *column = column_of(name);
    return column ? mem_strndup(name, (size_t)(column - 1 - name)) : mem_strdup(name);
}

static bool ends_in(const char *path, const char *suffix) {
    size_t n = strlen(path), n_suffix = strlen(suffix);
    return n > n_suffix && !strcmp(path + n - n_suffix, suffix);
}

static enum err_code open_text(struct calib_source *s, struct span data, struct err *e) {
    if (ends_in(s->file, ".jsonl")) return calib_text_jsonl(data, s->column, &s->text, e);
    if (ends_in(s->file, ".json")) return calib_text_json(data, s->column, &s->text, e);
    if (s->column) return err_set(e, ERR_USAGE, "a column is named (\"%s\"), but this is plain text", s->column);
    return calib_text_plain(data, &s->text, e);
}

static enum err_code open_file(struct calib_source *s, struct err *e) {
    TRY(os_map_open(s->file, &s->map, e));
    struct span data = { s->map.p, s->map.n };
    if (parquet_probe(data)) return parquet_open(data, s->column, &s->parquet, e);
    enum err_code rc = open_text(s, data, e);
    os_map_close(&s->map);
    return rc;
}

enum err_code calib_source_open(const char *name, struct calib_source **out, struct err *e) {
    struct calib_source *s = NEW(struct calib_source);
    *out = NULL;
    if (!s) return err_no_memory(e, sizeof *s);
    s->name = mem_strdup(name);
    s->file = calib_source_file(name);
    if (s->name) s->column = column_of(s->name);
    enum err_code rc = s->file && s->name ? ERR_NONE : err_no_memory(e, strlen(name));
    if (!rc) rc = err_where(e, open_file(s, e), "%s", s->file);
    if (rc) calib_source_close(s);
    else *out = s;
    return rc;
}

enum err_code calib_source_next(struct calib_source *s, struct calib_record *out, bool *more, struct err *e) {
    if (s->text) {
        *more = s->n_given < s->text->n_records;
        if (*more) *out = s->text->records[s->n_given++];
        return ERR_NONE;
    }
    enum err_code rc = parquet_next(s->parquet, out, more, e);
    if (!rc && !*more && !s->n_given) rc = err_set(e, ERR_FORMAT, "the calibration source is empty");
    s->n_given++;
    return err_where(e, rc, "%s", s->file);
}

void calib_source_close(struct calib_source *s) {
    if (!s) return;
    parquet_close(s->parquet);
    calib_text_close(s->text);
    os_map_close(&s->map);
    mem_free(s->file);
    mem_free(s->name);
    mem_free(s);
}
