#ifndef FORMAT_GGUF_WRITE_H
#define FORMAT_GGUF_WRITE_H
/* Writes GGUF version 3, alignment 32, in one file or a split set. Sizes are exact before any weights exist.
 *
 * Use: gguf_writer_new; the setters; gguf_writer_tensor for each tensor; read sizes and change types at will;
 * gguf_writer_open; tstream_put for the data of each tensor in the order declared; tstream_commit. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "base/str.h"
#include "format/gguf_read.h"
#include "format/tstream.h"
#include "qtype/qtype.h"

struct gguf_writer;
enum err_code gguf_writer_new(struct gguf_writer **out, struct err *e);
void gguf_writer_free(struct gguf_writer *w); /* NULL is fine */

/* Metadata. Keys keep the order of their first setting; setting a key again replaces its value in place. What goes
 * wrong (memory, an empty or overlong key) is kept and reported by gguf_writer_status and everything that returns an
 * error. */
void gguf_writer_u16(struct gguf_writer *w, const char *key, uint16_t v);
void gguf_writer_u32(struct gguf_writer *w, const char *key, uint32_t v);
void gguf_writer_u64(struct gguf_writer *w, const char *key, uint64_t v);
void gguf_writer_i32(struct gguf_writer *w, const char *key, int32_t v);
void gguf_writer_f32(struct gguf_writer *w, const char *key, float v);
void gguf_writer_bool(struct gguf_writer *w, const char *key, bool v);
void gguf_writer_str(struct gguf_writer *w, const char *key, struct str v);
/* Elements of a fixed-size type, little-endian as in memory. */
void gguf_writer_array(struct gguf_writer *w, const char *key, enum gguf_type elem, const void *p, uint64_t n);
void gguf_writer_str_array(struct gguf_writer *w, const char *key, const struct str *p, uint64_t n);
/* The same key, type and value as in a file that was read; general.alignment and split.*, which describe that file, are
 * left out. */
void gguf_writer_copy(struct gguf_writer *w, const struct gguf_kv *kv);
void gguf_writer_remove(struct gguf_writer *w, const char *key); /* fine if absent */
enum err_code gguf_writer_status(const struct gguf_writer *w, struct err *e);

/* Adds a tensor behind the others; indices count from 0. Name of 1 to 63 bytes, unique; ne fastest first. */
enum err_code gguf_writer_tensor(struct gguf_writer *w, const char *name, enum qtype type, uint32_t n_dims,
                                 const uint64_t *ne, struct err *e);
size_t gguf_writer_n_tensors(const struct gguf_writer *w);
/* O(1). ERR_FORMAT if the type does not suit the row length. */
enum err_code gguf_writer_set_type(struct gguf_writer *w, size_t index, enum qtype type, struct err *e);
/* Data bytes of a tensor as it stands, without padding: what tstream_put expects of it. */
uint64_t gguf_writer_tensor_bytes(const struct gguf_writer *w, size_t index);
/* Bytes that a tensor would take in the file with that type, padding included; false if the type does not suit. */
bool gguf_writer_padded_bytes(const struct gguf_writer *w, size_t index, enum qtype type, uint64_t *bytes);

/* Largest size of one file of the set, 0 (the default) for a single file. A tensor that is larger gets a file alone. */
void gguf_writer_split(struct gguf_writer *w, uint64_t max_bytes);
/* Exact bytes of everything that would be written now, all files together. O(keys) unsplit, O(tensors) split. */
enum err_code gguf_writer_total_bytes(struct gguf_writer *w, uint64_t *bytes, struct err *e);
/* Files that would be written now. O(tensors). */
size_t gguf_writer_n_files(const struct gguf_writer *w);
/* Path of file number i of them, when written to path; caller frees with mem_free; NULL when out of memory. */
char *gguf_writer_file_path(const struct gguf_writer *w, const char *path, size_t i);
/* The bytes before the tensor data of the single file, padding included, appended to out. */
enum err_code gguf_writer_header(struct gguf_writer *w, struct buf *out, struct err *e);
/* Starts writing to path (split: PREFIX-00001-of-0000N.gguf, PREFIX being path without .gguf). Of what an interrupted
 * run left in its partial files, keeps the tensors that are there to their end, at most *n_done (SIZE_MAX: all), if the
 * files have exactly the headers they would get now; *n_done says how many were kept. n_done may be NULL: none. The
 * writer may be freed while the stream lives. */
enum err_code gguf_writer_open(struct gguf_writer *w, const char *path, size_t *n_done, struct tstream **out,
                               struct err *e);
#endif
