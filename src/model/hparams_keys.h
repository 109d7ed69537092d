#ifndef MODEL_HPARAMS_KEYS_H
#define MODEL_HPARAMS_KEYS_H
/* What the readers and writers of hyper-parameters share: the table of keys that stand in both formats. */
#include <stddef.h>
#include "model/model.h"

enum hparams_kind { HPARAMS_U32, HPARAMS_F32, HPARAMS_BOOL };
enum hparams_need {
    HPARAMS_NEEDED, /* an error where it is missing */
    HPARAMS_MAYBE,  /* else the default that stands in *hp already; positive in the end */
    HPARAMS_ZERO,   /* the same, and 0 is a value */
};
struct hparams_key {
    const char *gguf; /* behind "llama." */
    const char *hf;   /* names parted by '|' */
    enum hparams_kind kind;
    enum hparams_need need;
    size_t off;       /* of the field in struct hparams */
    uint32_t max;     /* HPARAMS_U32: the largest value */
};
extern const struct hparams_key hparams_keys[];
extern const size_t hparams_n_keys;

static inline void *hparams_field(struct hparams *hp, const struct hparams_key *k) { return (char *)hp + k->off; }
static inline const void *hparams_value(const struct hparams *hp, const struct hparams_key *k) {
    return (const char *)hp + k->off;
}
/* Whether a model has the number that a new struct hparams has, so that no file needs to say it. */
bool hparams_is_default(const struct hparams *hp, const struct hparams_key *k);
/* The values before any file is read. */
void hparams_init(struct hparams *hp);
/* Called after each key: what stands behind the heads in the table takes its default from them. */
void hparams_key_read(struct hparams *hp, const struct hparams_key *k);

/* GGUF's key of the norms' epsilon for this kind of norm, and config.json's names of it. */
const char *hparams_eps_key(const struct hparams *hp);

/* Every count positive and below its limit; heads divide. Before anything loops over them. */
enum err_code hparams_check_counts(const struct tfile *f, struct hparams *hp, struct err *e);
/* What the sizes of experts follow from where a file does not say them. */
void hparams_expert_sizes(struct hparams *hp);
/* Windowed blocks by the rule that of every `period` the last sees everything; 0: all have the window. */
void hparams_window_every(struct hparams *hp, uint32_t period);

/* Blocks that do not turn by the family's rules (t.no_rope_period, t.global_no_rope); hp->windowed is known. */
void hparams_usual_no_rope(const struct hparams *hp, struct layer_set *out);

/* A read_hf: "attention_bias" for q, k, v and o, "attention_out_bias" for o alone, "mlp_bias". */
enum err_code hparams_hf_biases(const struct hf_config *c, struct hparams *hp, struct err *e);

/* hp->arch is NULL before; errors name the key, the caller adds the file. */
enum err_code hparams_from_gguf(const struct tfile *f, struct hparams *hp, struct err *e);
enum err_code hparams_from_hf(const struct tfile *f, struct hparams *hp, struct err *e);
/* "llama, mistral" of all families, for errors; buf is returned. */
const char *hparams_known(bool hf, char *buf, size_t size);
#endif
