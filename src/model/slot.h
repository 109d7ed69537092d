#ifndef MODEL_SLOT_H
#define MODEL_SLOT_H
/* The places that weights have in a model. One list, slots.def, gives names to both the program and GGUF. */
#include <stdbool.h>
#include <stdint.h>

enum slot {
#define SLOT(name, gguf, shape, part) SLOT_##name,
#include "model/slots.def"
#undef SLOT
    SLOT_COUNT
};
struct slot_info {
    const char *gguf_name; /* %u: the block */
    const char *part;
    bool matrix;           /* may be quantized; else a few floats */
    bool experts;          /* a matrix for every expert, of which a token needs hparams.n_expert_used */
    bool per_block;
};
const struct slot_info *slot_info(enum slot s);

enum { SLOT_NAME_BYTES = 96 };
/* A name with its block put in for %u and its expert for %x; names without are copied. */
void slot_format_name(const char *pattern, uint32_t layer, uint32_t expert, char out[SLOT_NAME_BYTES]);
/* Whether a name has a place for an expert's number: a file with that name keeps every expert by itself. */
bool slot_name_has_expert(const char *pattern);
#endif
