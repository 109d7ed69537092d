#ifndef PLAN_KV_TYPES_H
#define PLAN_KV_TYPES_H
/* The types that keys and values are kept in. */
#include <stdbool.h>
#include "base/err.h"
#include "model/hparams.h"
#include "qtype/qtype.h"

/* F32 (zero), F16 or Q8_0 each. Where keys are values too (latent attention) k is that of both. */
struct kv_types { enum qtype k, v; };

/* By names, "f32", "f16" or "q8_0"; NULL: f16, or f32 if exact. ERR_USAGE for another one, with the option's name. */
enum err_code kv_types_named(const char *k, const char *v, bool exact, struct kv_types *out, struct err *e);
/* ERR_UNSUPPORTED when the model's heads are not whole blocks of the types. */
enum err_code kv_types_check(const struct hparams *hp, struct kv_types kv, struct err *e);
#endif
