/* Owns the table of stored types, built from qtype.def, and the look-ups over it: by id, by name, by size.
 *
 * Everything here is constant data or pure, so it is safe from any thread. The arithmetic of each type is in the codec
 * files; what a searching encoder chooses is quant's. */
#include "qtype/qtype.h"

#include <strings.h>

#include "base/compiler.h"
#include "base/num.h"
#include "qtype/codec.h"

/* Indexed by GGUF id; a row whose name is NULL is an id that this program does not know. */
static const struct qtype_info infos[QTYPE_ID_LIMIT] = {
#define QTYPE_READ(name, id, weights, bytes, codec, text) \
    [id] = { text, QTYPE_##name, weights, bytes, decode_##codec, NULL },
#define QTYPE(name, id, weights, bytes, codec, text) \
    [id] = { text, QTYPE_##name, weights, bytes, decode_##codec, encode_##codec },
#include "qtype/qtype.def"
#undef QTYPE
};

/* In the table's order. */
static const enum qtype ascending[] = {
#define QTYPE(name, id, weights, bytes, codec, text) QTYPE_##name,
#include "qtype/qtype.def"
#undef QTYPE
};

const struct qtype_info *qtype_info(uint32_t id) {
    return id < QTYPE_ID_LIMIT && infos[id].name ? &infos[id] : NULL;
}

const char *qtype_name(enum qtype t) {
    const struct qtype_info *q = qtype_info(t);
    return q ? q->name : "?";
}

enum qtype qtype_from_name(const char *name) {
    for (size_t i = 0; i < ARRAY_LEN(ascending); i++)
        if (!strcasecmp(infos[ascending[i]].name, name)) return ascending[i];
    return QTYPE_NONE;
}

const enum qtype *qtype_all(size_t *n) {
    *n = ARRAY_LEN(ascending);
    return ascending;
}

double qtype_bpw(enum qtype t) {
    const struct qtype_info *q = qtype_info(t);
    return q ? 8.0 * q->block_bytes / q->block_weights : 0;
}

bool qtype_row_bytes(enum qtype t, uint64_t n, uint64_t *bytes) {
    const struct qtype_info *q = qtype_info(t);
    if (!q || n % q->block_weights) return false;
    return mul_u64(n / q->block_weights, q->block_bytes, bytes);
}

bool qtype_can_write(enum qtype t) {
    const struct qtype_info *q = qtype_info(t);
    return q && q->encode;
}

bool qtype_is_float(enum qtype t) { return t == QTYPE_F32 || t == QTYPE_F16 || t == QTYPE_BF16; }
