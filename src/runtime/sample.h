#ifndef RUNTIME_SAMPLE_H
#define RUNTIME_SAMPLE_H
/* Choosing the next token from logits: penalties, top-k, top-p, min-p, temperature, draw, in llama.cpp's order. */
#include <stdint.h>
#include "base/err.h"
#include "base/rng.h"
#include "format/hf_config.h"

struct sample_params {
    float temp;               /* <= 0: the likeliest token */
    int32_t top_k;            /* <= 0: all */
    float top_p, min_p;       /* 1 and 0: off */
    float repeat_penalty;     /* 1: off */
    float presence_penalty, frequency_penalty; /* 0: off */
    int32_t repeat_last_n;    /* tokens that penalties look back over; 0: none, -1: all that the sampler saw */
    uint64_t seed;
};
/* llama.cpp's defaults, then what generation_config.json says (generation may be NULL); a seed nobody can guess. A
 * value of the wrong kind or outside of its range in the file is an error that names file and key. */
enum err_code sample_defaults(const struct hf_config *generation, struct sample_params *p, struct err *e);

struct sampler;
enum err_code sampler_open(const struct sample_params *p, uint32_t n_vocab, struct sampler **out, struct err *e);
void sampler_close(struct sampler *s);
/* A token that is part of the text now: penalties count it. */
enum err_code sampler_accept(struct sampler *s, int32_t id, struct err *e);
/* Picks from logits (n_vocab), which it changes. Ties go to the lower id. */
int32_t sampler_pick(struct sampler *s, float *logits);
#endif
