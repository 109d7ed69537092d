#ifndef FORMAT_GGUF_READ_H
#define FORMAT_GGUF_READ_H
/* One GGUF file, version 2 or 3, read from a byte span: metadata and tensor table. docs/formats/gguf.md. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "format/tfile_tensor.h"

/* Value types by their id in the file. */
enum gguf_type {
    GGUF_U8, GGUF_I8, GGUF_U16, GGUF_I16, GGUF_U32, GGUF_I32, GGUF_F32, GGUF_BOOL, GGUF_STRING, GGUF_ARRAY, GGUF_U64,
    GGUF_I64, GGUF_F64, GGUF_TYPE_COUNT
};
const char *gguf_type_name(enum gguf_type t); /* "u32", "string" */
/* Bytes of one value; 0 for strings and arrays. */
size_t gguf_type_bytes(enum gguf_type t);

/* n elements of one type, little-endian, of any alignment, in the file; strings each with their u64 length before. */
struct gguf_array { enum gguf_type elem; uint64_t n; const uint8_t *p; uint64_t bytes; };

struct gguf_kv {
    const char *key; /* terminated, printable UTF-8 */
    enum gguf_type type;
    struct gguf_array value; /* type GGUF_ARRAY: the elements; otherwise one element of that type */
};

/* Plain data, read-only for others. Keys and names live in mem, everything else in the span. */
struct gguf {
    uint32_t version;
    uint64_t alignment;
    uint64_t data_off; /* where tensor data begin */
    uint64_t data_end; /* end of the last tensor, without padding */
    const struct gguf_kv *kv; /* in file order */
    size_t n_kv;
    const struct tfile_tensor *tensors; /* in file order; shard 0 */
    size_t n_tensors;
    const struct gguf_kv **by_key; /* sorted, for gguf_find */
    struct arena mem;
};

/* Reads and checks everything but the weights. file must stay valid until gguf_close. Errors carry the byte offset; a
 * file that ends early names the first tensor that is cut. On error *out is NULL. */
enum err_code gguf_open(struct span file, struct gguf **out, struct err *e);
void gguf_close(struct gguf *g); /* NULL is fine */
/* Whether the file claims to be GGUF (first four bytes). */
bool gguf_probe(struct span file);
/* PREFIX-00001-of-00003.gguf for file number 0 of 3; caller frees with mem_free; NULL when out of memory. */
char *gguf_split_path(const char *prefix, unsigned no, unsigned count);

/* NULL if there is none. */
const struct gguf_kv *gguf_find(const struct gguf *g, const char *key);

/* Typed values. A key that is absent sets *found to false and leaves *out alone, so that callers put the default there
 * first; found NULL makes absence an error. A value of another kind, or one that does not fit, is an ERR_FORMAT that
 * names the key. Integers of all widths are taken for one another when the value fits; floats also take integers. */
enum err_code gguf_get_u32(const struct gguf *g, const char *key, uint32_t *out, bool *found, struct err *e);
enum err_code gguf_get_u64(const struct gguf *g, const char *key, uint64_t *out, bool *found, struct err *e);
enum err_code gguf_get_i32(const struct gguf *g, const char *key, int32_t *out, bool *found, struct err *e);
enum err_code gguf_get_f32(const struct gguf *g, const char *key, float *out, bool *found, struct err *e);
enum err_code gguf_get_bool(const struct gguf *g, const char *key, bool *out, bool *found, struct err *e);
/* Any bytes, borrowed from the span. */
enum err_code gguf_get_str(const struct gguf *g, const char *key, struct str *out, bool *found, struct err *e);
enum err_code gguf_get_array(const struct gguf *g, const char *key, struct gguf_array *out, bool *found, struct err *e);
/* A scalar for all or an array with one value for each: out has n elements. */
enum err_code gguf_get_u32_each(const struct gguf *g, const char *key, uint32_t *out, size_t n, bool *found,
                                struct err *e);

/* Element i < n of an array of integers or bools (floats for _f64 too); false if the kind is another or it does not
 * fit. */
bool gguf_array_u64(const struct gguf_array *a, uint64_t i, uint64_t *out);
bool gguf_array_i64(const struct gguf_array *a, uint64_t i, int64_t *out);
bool gguf_array_f64(const struct gguf_array *a, uint64_t i, double *out);
/* Walks an array of strings from the front: start with a copy of the array; each call takes one off. false at the end
 * or if the elements are no strings. */
bool gguf_array_next_str(struct gguf_array *rest, struct str *out);
#endif
