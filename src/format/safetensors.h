#ifndef FORMAT_SAFETENSORS_H
#define FORMAT_SAFETENSORS_H
/* safetensors files, the index of a sharded set, and writing both. docs/formats/safetensors.md. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "format/tfile_tensor.h"
#include "format/tstream.h"

/* --- Reading --- */
struct safetensors {
    const struct tfile_tensor *tensors; /* in order of their data; dimensions reversed to fastest first; shard 0 */
    size_t n_tensors;
    uint64_t data_off;
    struct arena mem;
};
/* Checks the whole header: data in range, without overlaps and holes. file must stay valid until safetensors_close. */
enum err_code safetensors_open(struct span file, struct safetensors **out, struct err *e);
void safetensors_close(struct safetensors *s); /* NULL is fine */
/* Whether the file can be safetensors: a plausible header length followed by '{'. */
bool safetensors_probe(struct span file);

/* model.safetensors.index.json: which shard has which tensor. */
struct safetensors_index_entry { const char *tensor; uint32_t file; };
struct safetensors_index {
    const char **files; /* names inside the directory, sorted, each once; no path separators */
    size_t n_files;
    struct safetensors_index_entry *entries; /* sorted by tensor */
    size_t n_entries;
    struct arena mem;
};
enum err_code safetensors_index_open(struct span json, struct safetensors_index **out, struct err *e);
void safetensors_index_close(struct safetensors_index *x); /* NULL is fine */
/* File number of a tensor, -1 if the index does not name it. */
int64_t safetensors_index_find(const struct safetensors_index *x, const char *tensor);

/* --- Writing --- */
struct safetensors_writer;
enum err_code safetensors_writer_new(struct safetensors_writer **out, struct err *e);
void safetensors_writer_free(struct safetensors_writer *w); /* NULL is fine */
/* Adds a tensor behind the others. type: F32, F16 or BF16; ne fastest first, as everywhere. */
enum err_code safetensors_writer_tensor(struct safetensors_writer *w, const char *name, enum qtype type,
                                        uint32_t n_dims, const uint64_t *ne, struct err *e);
/* Most data bytes of one file, headers aside, 0 (the default) for a single one. A larger tensor gets a file alone. */
void safetensors_writer_split(struct safetensors_writer *w, uint64_t max_bytes);
enum err_code safetensors_writer_total_bytes(struct safetensors_writer *w, uint64_t *bytes, struct err *e);
/* Files of weights that would be written now, the index not among them. O(tensors). */
uint32_t safetensors_writer_n_files(const struct safetensors_writer *w);
/* Starts writing dir/model.safetensors, or dir/model-00001-of-0000N.safetensors with model.safetensors.index.json.
 * dir must exist. Data go through tstream_put in the order declared. The writer may be freed while the stream lives. */
enum err_code safetensors_writer_open(struct safetensors_writer *w, const char *dir, struct tstream **out,
                                      struct err *e);
/* The same into one file of any name, never split. */
enum err_code safetensors_writer_open_file(struct safetensors_writer *w, const char *path, struct tstream **out,
                                           struct err *e);
#endif
