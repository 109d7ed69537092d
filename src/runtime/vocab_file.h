#ifndef RUNTIME_VOCAB_FILE_H
#define RUNTIME_VOCAB_FILE_H
/* Vocabularies from files and into files: the seam between format, which reads and writes them, and text, which uses
 * them. Two vocabularies are compared by vocab_same (text/vocab.h). */
#include "format/gguf_write.h"
#include "format/hf_tokenizer.h"
#include "format/tfile.h"
#include "text/vocab.h"

/* What the model's own files say, for what a tokenizer's leave open. */
struct vocab_hints {
    uint32_t n_vocab;      /* rows of the embedding, 0 if unknown */
    int32_t bos, eos, pad; /* -1 if unknown */
};

/* All fill *v, the caller's to vocab_fini; after an error it is empty. Nothing is borrowed from the source. */
/* Of an opened model. A model without tokenizer gives VOCAB_NONE and no pieces. */
enum err_code vocab_from_file(const struct tfile *f, struct vocab *v, struct err *e);
/* From GGUF's keys tokenizer.*. */
enum err_code vocab_from_gguf(const struct gguf *g, struct vocab *v, struct err *e);
/* From a directory's tokenizer. Ids below n_vocab that no piece has get one that is never used; a piece beyond it is
 * ERR_FORMAT. */
enum err_code vocab_from_hf(const struct hf_tokenizer *t, const struct vocab_hints *hints, struct vocab *v,
                            struct err *e);
/* Sets GGUF's keys tokenizer.* so that vocab_from_gguf gives the vocabulary back. */
enum err_code vocab_to_gguf(const struct vocab *v, struct gguf_writer *w, struct err *e);
#endif
