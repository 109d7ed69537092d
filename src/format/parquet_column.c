/* Pages: header, levels, values. Owns the buffers of the page and of the dictionary at hand.
 *
 * Nothing is decoded ahead: levels and values are streams over the page's bytes, so memory is one page, its dictionary
 * and one string, whatever a page claims to hold. */
#include "format/parquet_column.h"

#include <string.h>
#include <zlib.h>

#include "base/compiler.h"
#include "base/mem.h"

/* Far more than any writer's page, and little enough to be had anywhere. */
enum { MAX_PAGE_BYTES = 1 << 28, MAX_PAGE_VALUES = 1 << 26 };
enum page_type { PAGE_DATA, PAGE_INDEX, PAGE_DICTIONARY, PAGE_DATA_V2 };
/* Encodings as the format numbers them; the two of a dictionary mean the same. */
enum { PLAIN = 0, PLAIN_DICTIONARY = 2, RLE = 3, DELTA_LENGTH = 6, DELTA_STRINGS = 7, RLE_DICTIONARY = 8 };

struct page {
    uint64_t type, n_stored, n_bytes; /* bytes in the file, and decompressed */
    uint64_t n_values, encoding, def_encoding, rep_encoding;
    uint64_t def_bytes, rep_bytes;    /* version 2 */
    bool plain, has_crc, described;   /* plain: version 2, not compressed */
    uint32_t crc;
    uint64_t at;                      /* of its header, for errors */
};

void parquet_column_begin(struct parquet_column *c, struct span file, const struct parquet_leaf *leaf,
                          const struct parquet_chunk *chunk) {
    struct parquet_column begun = { .leaf = *leaf, .file = { file.p, (size_t)(chunk->offset + chunk->bytes) },
                                    .at = chunk->offset, .left = chunk->n_values, .codec = chunk->codec,
                                    .page_room = c->page_room, .dictionary_room = c->dictionary_room };
    mem_free(c->dictionary);
    buf_fini(&c->values.last);
    *c = begun;
}

void parquet_column_fini(struct parquet_column *c) {
    parquet_room_fini(&c->page_room);
    parquet_room_fini(&c->dictionary_room);
    mem_free(c->dictionary);
    buf_fini(&c->values.last);
    *c = (struct parquet_column){ 0 };
}

/* --- Headers --- */

static void read_data_header(struct thrift *t, enum thrift_type type, struct page *p) {
    struct thrift_field f = { 0 };
    if (type != THRIFT_STRUCT) t->bad = true;
    p->described = true;
    while (thrift_field(t, &f)) switch (f.id) {
        case 1: p->n_values = thrift_uint(t, f.type, INT32_MAX); break;
        case 2: p->encoding = thrift_uint(t, f.type, INT32_MAX); break;
        case 3: p->def_encoding = thrift_uint(t, f.type, INT32_MAX); break;
        case 4: p->rep_encoding = thrift_uint(t, f.type, INT32_MAX); break;
        default: thrift_skip(t, f.type);
        }
}

static void read_dictionary_header(struct thrift *t, enum thrift_type type, struct page *p) {
    struct thrift_field f = { 0 };
    if (type != THRIFT_STRUCT) t->bad = true;
    p->described = true;
    while (thrift_field(t, &f)) switch (f.id) {
        case 1: p->n_values = thrift_uint(t, f.type, INT32_MAX); break;
        case 2: p->encoding = thrift_uint(t, f.type, INT32_MAX); break;
        default: thrift_skip(t, f.type);
        }
}

static void read_data_header_v2(struct thrift *t, enum thrift_type type, struct page *p) {
    struct thrift_field f = { 0 };
    if (type != THRIFT_STRUCT) t->bad = true;
    p->described = true;
    while (thrift_field(t, &f)) switch (f.id) {
        case 1: p->n_values = thrift_uint(t, f.type, INT32_MAX); break;
        case 4: p->encoding = thrift_uint(t, f.type, INT32_MAX); break;
        case 5: p->def_bytes = thrift_uint(t, f.type, INT32_MAX); break;
        case 6: p->rep_bytes = thrift_uint(t, f.type, INT32_MAX); break;
        case 7: p->plain = !thrift_bool(t, f.type); break;
        default: thrift_skip(t, f.type);
        }
}

static void read_header(struct thrift *t, struct page *p) {
    struct thrift_field f = { 0 };
    uint64_t type = UINT64_MAX;
    while (thrift_field(t, &f)) switch (f.id) {
        case 1: type = thrift_uint(t, f.type, INT32_MAX); break;
        case 2: p->n_bytes = thrift_uint(t, f.type, INT32_MAX); break;
        case 3: p->n_stored = thrift_uint(t, f.type, INT32_MAX); break;
        case 4:
            p->crc = (uint32_t)thrift_int(t, f.type);
            p->has_crc = true;
            break;
        case 5: read_data_header(t, f.type, p); break;
        case 7: read_dictionary_header(t, f.type, p); break;
        case 8: read_data_header_v2(t, f.type, p); break;
        default: thrift_skip(t, f.type);
        }
    p->type = type;
}

static enum err_code bad_page(const struct page *p, struct err *e, const char *what) {
    return err_set_at(e, ERR_FORMAT, p->at, "a page is damaged: %s", what);
}

/* Header and stored bytes of the next page; c->at moves behind it. */
static enum err_code take_page(struct parquet_column *c, struct page *p, struct span *body, struct err *e) {
    struct thrift t = { .data = { c->file.p + c->at, c->file.n - (size_t)c->at } };
    *p = (struct page){ .at = c->at };
    read_header(&t, p);
    if (t.bad) return bad_page(p, e, t.data.n ? "its header" : "its row group ends before its values do");
    if (p->n_stored > t.data.n - t.at) return bad_page(p, e, "it runs over the end of its row group");
    if (p->n_bytes > MAX_PAGE_BYTES || p->n_values > MAX_PAGE_VALUES)
        return err_set_at(e, ERR_FORMAT, p->at, "a page claims %llu bytes and %llu values: at most %d and %d are taken",
                          (unsigned long long)p->n_bytes, (unsigned long long)p->n_values, (int)MAX_PAGE_BYTES,
                          (int)MAX_PAGE_VALUES);
    if (!p->described && p->type != PAGE_INDEX) return bad_page(p, e, "its header does not fit its kind");
    *body = (struct span){ t.data.p + t.at, (size_t)p->n_stored };
    c->at += t.at + p->n_stored;
    if (p->has_crc && crc32(0, body->p, (uInt)body->n) != p->crc) return bad_page(p, e, "its checksum does not match");
    return ERR_NONE;
}

/* --- Dictionary --- */

static bool take_length(struct span *in, size_t *n) {
    uint32_t v;
    if (in->n < sizeof v) return false;
    memcpy(&v, in->p, sizeof v);
    *in = (struct span){ in->p + sizeof v, in->n - sizeof v };
    *n = v;
    return v <= in->n;
}

static struct str take_bytes(struct span *in, size_t n) {
    struct str s = { (const char *)in->p, n };
    *in = (struct span){ in->p + n, in->n - n };
    return s;
}

static bool take_plain(struct span *in, struct str *out) {
    size_t n;
    if (!take_length(in, &n)) return false;
    *out = take_bytes(in, n);
    return true;
}

static enum err_code load_dictionary(struct parquet_column *c, const struct page *p, struct span body, struct err *e) {
    if (c->dictionary) return bad_page(p, e, "it is a second dictionary");
    if (p->encoding != PLAIN && p->encoding != PLAIN_DICTIONARY)
        return bad_page(p, e, "a dictionary must be stored plainly");
    TRY(parquet_decompress(c->codec, body, (size_t)p->n_bytes, &c->dictionary_room, &body, e));
    if (p->n_values > body.n / 4) return bad_page(p, e, "its dictionary has fewer strings than it says");
    c->dictionary = mem_alloc((size_t)p->n_values, sizeof *c->dictionary);
    if (!c->dictionary) return err_no_memory(e, p->n_values * sizeof *c->dictionary);
    c->n_dictionary = (size_t)p->n_values;
    for (size_t i = 0; i < c->n_dictionary; i++)
        if (!take_plain(&body, &c->dictionary[i]))
            return bad_page(p, e, "its dictionary has fewer strings than it says");
    return ERR_NONE;
}

/* --- Data --- */

/* How many of the page's values are there: those whose definition level is the full one. Walks a copy of the levels. */
static bool count_present(const struct parquet_column *c, uint64_t n_values, uint64_t *n) {
    struct hybrid defs = c->defs;
    uint32_t def;
    *n = n_values;
    if (!c->leaf.max_def) return true;
    *n = 0;
    for (uint64_t i = 0; i < n_values; i++) {
        if (!hybrid_next(&defs, &def)) return false;
        *n += def == c->leaf.max_def;
    }
    return true;
}

static enum err_code open_values(struct parquet_column *c, const struct page *p, struct span in, struct err *e) {
    struct parquet_values *v = &c->values;
    uint64_t n;
    v->encoding = (unsigned)p->encoding;
    v->bytes = in;
    buf_clear(&v->last);
    switch (p->encoding) {
    case PLAIN: return ERR_NONE;
    case PLAIN_DICTIONARY:
    case RLE_DICTIONARY:
        if (!c->dictionary) return bad_page(p, e, "it refers to a dictionary that is not there");
        if (in.n && in.p[0] > 32) return bad_page(p, e, "its indices have more than 32 bits");
        /* Without any value there may be no byte that says the width. */
        hybrid_open(&v->indices, (struct span){ in.p + (in.n > 0), in.n - (in.n > 0) }, in.n ? in.p[0] : 0);
        return ERR_NONE;
    case DELTA_STRINGS:
    case DELTA_LENGTH:
        if (!count_present(c, p->n_values, &n)) return bad_page(p, e, "its levels");
        if (!n) return ERR_NONE;
        if (p->encoding == DELTA_STRINGS && (!delta_open(&v->prefixes, in, n) || !delta_skip(v->prefixes, &in)))
            return bad_page(p, e, "the lengths that its strings share");
        if (!delta_open(&v->lengths, in, n) || !delta_skip(v->lengths, &v->bytes))
            return bad_page(p, e, "the lengths of its strings");
        return ERR_NONE;
    default:
        return err_set_at(e, ERR_UNSUPPORTED, p->at, "encoding %llu of strings is not known",
                          (unsigned long long)p->encoding);
    }
}

/* Takes levels with their length before them off a page of version 1. */
static bool open_levels(struct hybrid *h, struct span *in, uint32_t max) {
    size_t n;
    if (!max) return true;
    if (!take_length(in, &n)) return false;
    struct str levels = take_bytes(in, n);
    hybrid_open(h, (struct span){ (const uint8_t *)levels.p, levels.n }, hybrid_width(max));
    return true;
}

static enum err_code open_v1(struct parquet_column *c, const struct page *p, struct span body, struct err *e) {
    TRY(parquet_decompress(c->codec, body, (size_t)p->n_bytes, &c->page_room, &body, e));
    if ((c->leaf.max_def && p->def_encoding != RLE) || (c->leaf.max_rep && p->rep_encoding != RLE))
        return err_set_at(e, ERR_UNSUPPORTED, p->at, "levels in an outdated encoding: write the file again");
    if (!open_levels(&c->reps, &body, c->leaf.max_rep) || !open_levels(&c->defs, &body, c->leaf.max_def))
        return bad_page(p, e, "its levels");
    return open_values(c, p, body, e);
}

/* Levels come first and are never compressed. */
static enum err_code open_v2(struct parquet_column *c, const struct page *p, struct span body, struct err *e) {
    uint64_t levels = p->rep_bytes + p->def_bytes;
    if (levels > body.n || levels > p->n_bytes) return bad_page(p, e, "its levels");
    hybrid_open(&c->reps, (struct span){ body.p, (size_t)p->rep_bytes }, hybrid_width(c->leaf.max_rep));
    hybrid_open(&c->defs, (struct span){ body.p + p->rep_bytes, (size_t)p->def_bytes }, hybrid_width(c->leaf.max_def));
    body = (struct span){ body.p + levels, body.n - (size_t)levels };
    unsigned codec = p->plain || !body.n ? PARQUET_PLAIN : c->codec;
    TRY(parquet_decompress(codec, body, (size_t)(p->n_bytes - levels), &c->page_room, &body, e));
    return open_values(c, p, body, e);
}

static enum err_code next_page(struct parquet_column *c, struct err *e) {
    struct page p;
    struct span body;
    TRY(take_page(c, &p, &body, e));
    enum err_code rc = ERR_NONE;
    switch (p.type) {
    case PAGE_INDEX: return ERR_NONE;
    case PAGE_DICTIONARY: rc = load_dictionary(c, &p, body, e); break;
    case PAGE_DATA: rc = open_v1(c, &p, body, e); break;
    case PAGE_DATA_V2: rc = open_v2(c, &p, body, e); break;
    default: return bad_page(&p, e, "it is of a kind that is not known");
    }
    if (rc && e && !e->has_off) { /* from the codec, which does not know where */
        e->has_off = true;
        e->off = p.at;
    }
    if (rc || p.type == PAGE_DICTIONARY) return rc;
    if (p.n_values > c->left) return bad_page(&p, e, "it has more values than its row group");
    c->page_left = p.n_values;
    return ERR_NONE;
}

/* --- Values --- */

/* The next string begins with the first bytes of the one before. */
static bool next_shared(struct parquet_values *v, struct str *out) {
    int64_t prefix, length;
    if (!delta_next(&v->prefixes, &prefix) || !delta_next(&v->lengths, &length)) return false;
    if (prefix < 0 || (uint64_t)prefix > v->last.n || length < 0 || (uint64_t)length > v->bytes.n) return false;
    struct str rest = take_bytes(&v->bytes, (size_t)length);
    v->last.n = (size_t)prefix;
    buf_add(&v->last, rest.p, rest.n);
    *out = (struct str){ v->last.p ? v->last.p : "", v->last.n };
    return true;
}

static bool next_value(struct parquet_column *c, struct str *out) {
    struct parquet_values *v = &c->values;
    uint32_t index;
    int64_t length;
    switch (v->encoding) {
    case PLAIN: return take_plain(&v->bytes, out);
    case DELTA_STRINGS: return next_shared(v, out);
    case DELTA_LENGTH:
        if (!delta_next(&v->lengths, &length) || length < 0 || (uint64_t)length > v->bytes.n) return false;
        *out = take_bytes(&v->bytes, (size_t)length);
        return true;
    default:
        if (!hybrid_next(&v->indices, &index) || index >= c->n_dictionary) return false;
        *out = c->dictionary[index];
        return true;
    }
}

enum err_code parquet_column_next(struct parquet_column *c, struct parquet_cell *out, struct err *e) {
    while (!c->page_left) TRY(next_page(c, e));
    *out = (struct parquet_cell){ 0 };
    c->page_left--;
    c->left--;
    bool ok = (!c->leaf.max_rep || hybrid_next(&c->reps, &out->rep)) &&
              (!c->leaf.max_def || hybrid_next(&c->defs, &out->def));
    if (!ok || out->rep > c->leaf.max_rep || out->def > c->leaf.max_def)
        return err_set_at(e, ERR_FORMAT, c->at, "the page before is damaged: its levels");
    if (out->def == c->leaf.max_def && !next_value(c, &out->value))
        return err_set_at(e, ERR_FORMAT, c->at, "the page before is damaged: its strings");
    return buf_status(&c->values.last, e);
}
