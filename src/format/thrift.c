/* Thrift's compact protocol: numbers of seven bits a byte, fields by the distance of their ids. Owns the checks that
 * nothing is read beyond the span; what fields mean is for callers. */
#include "format/thrift.h"

enum { MAX_DEPTH = 32, LONG_LIST = 15 };

static uint8_t next_byte(struct thrift *t) {
    if (t->bad || t->at == t->data.n) {
        t->bad = true;
        return 0;
    }
    return t->data.p[t->at++];
}

static uint64_t next_varint(struct thrift *t) {
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t b = next_byte(t);
        v |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80)) return v;
    }
    t->bad = true;
    return 0;
}

/* Zigzag: 0, -1, 1, -2, ... */
static int64_t next_signed(struct thrift *t) {
    uint64_t v = next_varint(t);
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

static void pass(struct thrift *t, uint64_t n) {
    if (t->bad || n > t->data.n - t->at) t->bad = true;
    else t->at += (size_t)n;
}

bool thrift_field(struct thrift *t, struct thrift_field *f) {
    uint8_t head = next_byte(t);
    f->type = head & 15;
    if (t->bad || f->type == THRIFT_STOP) return false;
    int64_t id = head >> 4 ? f->id + (int64_t)(head >> 4) : next_signed(t);
    if (id < INT16_MIN || id > INT16_MAX || f->type > THRIFT_STRUCT) t->bad = true;
    f->id = (int32_t)id;
    return !t->bad;
}

int64_t thrift_int(struct thrift *t, enum thrift_type type) {
    if (type == THRIFT_I8) return (int8_t)next_byte(t);
    if (type < THRIFT_I16 || type > THRIFT_I64) t->bad = true;
    return t->bad ? 0 : next_signed(t);
}

uint64_t thrift_uint(struct thrift *t, enum thrift_type type, uint64_t max) {
    int64_t v = thrift_int(t, type);
    if (v < 0 || (uint64_t)v > max) t->bad = true;
    return t->bad ? 0 : (uint64_t)v;
}

bool thrift_bool(struct thrift *t, enum thrift_type type) {
    if (type != THRIFT_TRUE && type != THRIFT_FALSE) t->bad = true;
    return type == THRIFT_TRUE;
}

struct str thrift_binary(struct thrift *t, enum thrift_type type) {
    uint64_t n = type == THRIFT_BINARY ? next_varint(t) : 0;
    if (type != THRIFT_BINARY) t->bad = true;
    const char *p = (const char *)t->data.p + t->at;
    pass(t, n);
    return t->bad ? (struct str){ "", 0 } : (struct str){ p, (size_t)n };
}

/* Every element takes a byte or more, so a count beyond what is left is a lie. */
static size_t begin_list(struct thrift *t, enum thrift_type *elem) {
    uint8_t head = next_byte(t);
    uint64_t n = head >> 4 == LONG_LIST ? next_varint(t) : head >> 4;
    *elem = head & 15;
    if (n > t->data.n - t->at) t->bad = true;
    return t->bad ? 0 : (size_t)n;
}

size_t thrift_list(struct thrift *t, enum thrift_type type, enum thrift_type elem) {
    enum thrift_type have = elem;
    size_t n = type == THRIFT_LIST ? begin_list(t, &have) : 0;
    if (type != THRIFT_LIST || (n && have != elem)) t->bad = true;
    return t->bad ? 0 : n;
}

static void skip_deep(struct thrift *t, enum thrift_type type, unsigned depth);

static void skip_map(struct thrift *t, unsigned depth) {
    uint64_t n = next_varint(t);
    if (!n) return;
    uint8_t types = next_byte(t);
    if (n > t->data.n - t->at) t->bad = true;
    for (uint64_t i = 0; i < n && !t->bad; i++) {
        skip_deep(t, types >> 4, depth);
        skip_deep(t, types & 15, depth);
    }
}

static void skip_list(struct thrift *t, unsigned depth) {
    enum thrift_type elem;
    size_t n = begin_list(t, &elem);
    for (size_t i = 0; i < n && !t->bad; i++) {
        if (elem == THRIFT_TRUE || elem == THRIFT_FALSE) next_byte(t); /* in a list a boolean is a byte */
        else skip_deep(t, elem, depth);
    }
}

static void skip_deep(struct thrift *t, enum thrift_type type, unsigned depth) {
    struct thrift_field f = { 0 };
    if (depth == MAX_DEPTH) t->bad = true;
    if (t->bad) return;
    switch (type) {
    case THRIFT_TRUE:
    case THRIFT_FALSE: break;
    case THRIFT_I8: next_byte(t); break;
    case THRIFT_I16:
    case THRIFT_I32:
    case THRIFT_I64: next_varint(t); break;
    case THRIFT_DOUBLE: pass(t, 8); break;
    case THRIFT_BINARY: pass(t, next_varint(t)); break;
    case THRIFT_LIST:
    case THRIFT_SET: skip_list(t, depth + 1); break;
    case THRIFT_MAP: skip_map(t, depth + 1); break;
    case THRIFT_STRUCT:
        while (thrift_field(t, &f)) skip_deep(t, f.type, depth + 1);
        break;
    default: t->bad = true;
    }
}

void thrift_skip(struct thrift *t, enum thrift_type type) { skip_deep(t, type, 0); }
