/* config.json and its like: every getter on paths that real documents have. */
#include <string.h>

#include "format/hf_config.h"
#include "fuzz.h"

static const char *const paths[] = { "architectures", "architectures.0", "hidden_size", "rms_norm_eps", "head_dim",
                                     "rope_parameters", "rope_parameters.rope_theta", "rope_parameters.rope_type",
                                     "eos_token_id", "eos_token_id.1", "tie_word_embeddings", "vocab_size",
                                     "model_max_length", "bos_token.content", "a", "a.0.0.0", "" };

enum err_code fuzz_one(struct span data, struct err *e) {
    struct hf_config *c;
    enum err_code rc = hf_config_parse(data, "config.json", &c, e);
    if (rc) return rc;
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        uint64_t u64;
        uint32_t u32;
        double f64;
        float f32;
        bool b, found;
        const char *s;
        struct err bad;
        hf_config_kind(c, paths[i]);
        hf_config_count(c, paths[i]);
        hf_config_u64(c, paths[i], &u64, &found, &bad);
        hf_config_u32(c, paths[i], &u32, &found, &bad);
        hf_config_f64(c, paths[i], &f64, &found, &bad);
        hf_config_f32(c, paths[i], &f32, &found, &bad);
        hf_config_bool(c, paths[i], &b, &found, &bad);
        if (!hf_config_str(c, paths[i], &s, &found, &bad) && found) fuzz_touch(s, strlen(s));
    }
    hf_config_close(c);
    return ERR_NONE;
}
