#ifndef MODEL_HPARAMS_READ_H
#define MODEL_HPARAMS_READ_H
/* What the readers of hyper-parameters share: the counts that every model has, with their names in both formats. */
#include <stddef.h>
#include "model/model.h"

struct hparams_count {
    const char *gguf; /* behind "llama." */
    const char *hf;
    size_t off;       /* of a uint32_t in struct hparams */
    uint32_t max;     /* what is above is a broken file, and products of these limits stay far below 2^64 */
    bool required;    /* else the default that stands in *hp already */
};
enum { HPARAMS_COUNTS = 8 };
extern const struct hparams_count hparams_counts[HPARAMS_COUNTS];
static inline uint32_t *hparams_count_of(struct hparams *hp, const struct hparams_count *c) {
    return (uint32_t *)(void *)((char *)hp + c->off);
}

/* hp->arch is NULL before; errors name the key, the caller adds the file. */
enum err_code hparams_from_gguf(const struct tfile *f, struct hparams *hp, struct err *e);
enum err_code hparams_from_hf(const struct tfile *f, struct hparams *hp, struct err *e);
/* "llama, mistral" of all families, for errors; buf is returned. */
const char *hparams_known(bool hf, char *buf, size_t size);
#endif
