/* Which types a KV cache can have. See kv_types.h. */
#include "plan/kv_types.h"
#include "base/num.h"

static enum err_code named(const char *name, enum qtype usual, const char *option, enum qtype *out, struct err *e) {
    *out = name ? qtype_from_name(name) : usual;
    if (*out == QTYPE_F32 || *out == QTYPE_F16 || *out == QTYPE_Q8_0) return ERR_NONE;
    return err_set(e, ERR_USAGE, "%s %s: a KV cache is f32, f16 or q8_0", option, name);
}

enum err_code kv_types_named(const char *k, const char *v, bool exact, struct kv_types *out, struct err *e) {
    const enum qtype usual = exact ? QTYPE_F32 : QTYPE_F16;
    TRY(named(k, usual, "--cache-type-k", &out->k, e));
    return named(v, usual, "--cache-type-v", &out->v, e);
}

enum err_code kv_types_check(const struct hparams *hp, struct kv_types kv, struct err *e) {
    const bool latent = hp->kv_lora;
    const struct { enum qtype type; uint64_t head; const char *of; } caches[] = {
        { kv.k, latent ? hparams_k_width(hp) : hp->head_dim, "keys" },
        { latent ? kv.k : kv.v, latent ? hp->kv_lora : hp->head_dim_v, "values" },
    };
    for (size_t i = 0; i < ARRAY_LEN(caches); i++)
        if (caches[i].head % qtype_info(caches[i].type)->block_weights)
            return err_set(e, ERR_UNSUPPORTED,
                           "heads of %llu numbers are not whole blocks of %s: the cache of %s can be f16 or f32",
                           (unsigned long long)caches[i].head, qtype_name(caches[i].type), caches[i].of);
    return ERR_NONE;
}
