#ifndef QUANT_EXPORT_H
#define QUANT_EXPORT_H
/* Writes a model as GGUF, every matrix in a type of its own: what converting and quantizing share.
 *
 * export_open makes metadata and the list of tensors; types can then be set and sizes asked at will; export_write
 * streams the weights, row piece by row piece, through the searching encoders. Memory is a few pieces, whatever the
 * model. */
#include "base/log.h"
#include "base/pool.h"
#include "format/gguf_write.h"
#include "model/model.h"
#include "text/vocab.h"

struct export_tensor {
    const struct weight *w;  /* NULL: made here (rope_freqs) */
    const float *data;       /* then its values */
    enum qtype type;
    const float *importance; /* (n_in), of a stack (n_mat, n_in), or NULL; borrowed until the export is closed */
};

struct export {
    const struct model *m;
    struct gguf_writer *writer;
    struct export_tensor *tensors; /* in file order; index is the writer's */
    size_t n_tensors;
    bool plain;                    /* round as the codecs do, without a search: for types that lose next to nothing */
    float *divisors;               /* of llama3 scaling, if the source has it as numbers */
};

/* m and v are borrowed. Matrices begin in the type they have, vectors in F32. ERR_UNSUPPORTED for what GGUF has no key
 * for (dynamic rope scaling). */
enum err_code export_open(const struct model *m, const struct vocab *v, struct export **out, struct err *e);
void export_close(struct export *x); /* NULL is fine */
enum err_code export_set_type(struct export *x, size_t index, enum qtype type, struct err *e);
/* general.file_type. */
void export_set_file_type(struct export *x, uint32_t file_type);
/* Whether a tensor is a matrix, whose type may be chosen. */
bool export_is_matrix(const struct export *x, size_t index);

struct export_target {
    const char *path;
    uint64_t split_max_size; /* 0: one file */
    bool resume;             /* go on with what an interrupted run of the same export left behind */
    bool keep_part;          /* leave that behind when the work is interrupted or runs out of space or memory */
    struct pool *pool;
    struct progress progress;
};
/* Space on the disk is checked first. A weight that is not finite or beyond the type's reach is an error that names the
 * tensor. Same export, same bytes, whatever the pool. */
enum err_code export_write(struct export *x, const struct export_target *t, struct err *e);
/* A tensor's bytes as they are stored, unread. */
enum err_code export_copy(const struct tfile_tensor *t, struct tstream *s, struct err *e);
#endif
