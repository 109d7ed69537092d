#ifndef FORMAT_TSTREAM_H
#define FORMAT_TSTREAM_H
/* Tensor data streamed into one or more files whose headers and layout are known; files appear when all are complete.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "base/str.h"

struct tstream;

/* One file: its header and the number of tensors behind it. */
struct tstream_file { char *path; struct buf header; size_t n_tensors; };
/* Sizes of one tensor's data and of the zeros behind. */
struct tstream_slot { uint64_t bytes, pad; };
/* What is to be written; slots of all files in order. */
struct tstream_plan { struct tstream_file *files; size_t n_files; struct tstream_slot *slots; size_t n_slots; };
void tstream_plan_fini(struct tstream_plan *p);

/* Takes the plan's contents (plan is zeroed, also on failure). *n_done as for gguf_writer_open; NULL means 0. */
enum err_code tstream_open(struct tstream_plan *plan, size_t *n_done, struct tstream **out, struct err *e);
/* The next n bytes of data; pieces may end anywhere inside a tensor but not run into the next one. */
enum err_code tstream_put(struct tstream *s, const void *p, size_t n, struct err *e);
/* Tensors that are complete. */
size_t tstream_n_done(const struct tstream *s);
/* What was put so far survives a crash; tstream_n_done tensors can then be resumed. */
enum err_code tstream_sync(struct tstream *s, struct err *e);
/* After the last tensor: gives all files their names, the first one last, and frees s, also on failure. A failure
 * leaves the partial files of a stream that was opened with n_done, which can be resumed, and removes all others. */
enum err_code tstream_commit(struct tstream *s, struct err *e);
/* Frees s; partial files are removed unless keep_part. NULL is fine. */
void tstream_abandon(struct tstream *s, bool keep_part);
#endif
