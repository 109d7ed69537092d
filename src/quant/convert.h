#ifndef QUANT_CONVERT_H
#define QUANT_CONVERT_H
/* The same weights in another container: GGUF and Hugging Face directories, each from the other and from its own kind.
 *
 * A GGUF file that becomes GGUF as stored (split, merged, copied) keeps its metadata and tensors to the byte, whatever
 * its architecture. All other ways go through the model: names, rows and hyper-parameters are understood, weights that
 * are not finite or beyond the type's reach are errors that name the tensor. */
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "base/log.h"
#include "qtype/qtype.h"

struct convert_options {
    const char *in, *out;    /* out ending in .gguf: GGUF, otherwise a directory */
    enum qtype type;         /* F32, F16, BF16, Q8_0 (GGUF only); QTYPE_NONE: as stored */
    uint64_t split_max_size; /* of one file; 0: one file */
    bool force;              /* what is there may be replaced */
    unsigned threads;        /* 0: one per physical core */
    struct progress progress;
};
struct convert_result {
    char *file;              /* the first file, or the directory; caller frees with mem_free */
    uint64_t file_bytes;     /* weight files, all together */
    uint32_t n_files;        /* weight files */
    uint64_t n_tensors;
};
/* The output appears when it is complete or not at all. After an error *r is zeroed. */
enum err_code convert_run(const struct convert_options *o, struct convert_result *r, struct err *e);
#endif
