#ifndef QUANT_CALIB_H
#define QUANT_CALIB_H
/* Calibration text as sequences of tokens. */
#include "runtime/engine.h"

enum { CALIB_ROWS = 128, CALIB_LENGTH = 512 }; /* defaults */

struct calib_options {
    const char *file;      /* FILE or FILE:COLUMN (see calib_source.h); NULL: the built-in text */
    uint32_t rows, length; /* 0: the defaults. Fewer rows are made of a text that is too short for them */
};

/* rows sequences of length tokens each. */
struct calib_tokens {
    int32_t *ids; /* (rows, length) */
    uint32_t rows, length;
    char source[256]; /* the file's name without its directory, or "built-in" */
    uint64_t hash;    /* of ids */
};

/* Reads and tokenizes the text as one stream, cuts it into windows of `length` and takes `rows` of them, evenly spread.
 * Where the model wants BOS it takes the first place of each window. Conversations become lines "role: content".
 * Errors: a text shorter than one window, ids beyond the vocabulary, text for a model without tokenizer. */
enum err_code calib_open(const struct engine *en, const struct calib_options *o, struct calib_tokens *out,
                         struct err *e);
void calib_close(struct calib_tokens *c);

/* The text that comes with the program: prose in three languages, code, tables. */
struct str calib_builtin(void);
#endif
