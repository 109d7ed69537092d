#ifndef UNIT_EXPERT_MODEL_H
#define UNIT_EXPERT_MODEL_H
/* A small mixture of experts with random weights whose rows have 256 weights, so that every stored type fits them: as
 * GGUF, without tokenizer. Include format_files.h before. */
#include <sys/stat.h>
#include "hf_model.h"
#include "quant/convert.h"

enum { WIDE_VOCAB = 320 };

static inline void expert_model(const char *gguf, uint64_t seed) {
    static const char config[] =
        "{\"model_type\": \"mixtral\", \"architectures\": [\"MixtralForCausalLM\"], \"hidden_size\": 256,"
        " \"intermediate_size\": 256, \"num_hidden_layers\": 1, \"num_attention_heads\": 4, \"num_key_value_heads\": 1,"
        " \"num_local_experts\": 4, \"num_experts_per_tok\": 2, \"vocab_size\": 320, \"max_position_embeddings\": 64,"
        " \"rms_norm_eps\": 1e-5, \"rope_theta\": 10000.0, \"tie_word_embeddings\": false, \"hidden_act\": \"silu\","
        " \"torch_dtype\": \"float32\"}";
    char dir[64], path[2][96];
    struct err e = { 0 };
    snprintf(dir, sizeof dir, "%s", scratch("experts"));
    snprintf(path[0], sizeof path[0], "%s/config.json", dir);
    snprintf(path[1], sizeof path[1], "%s/model.safetensors", dir);
    struct convert_options o = { .in = dir, .out = gguf, .type = QTYPE_NONE, .threads = 2 };
    struct convert_result r = { 0 };
    if (mkdir(dir, 0700) || hf_model_write(dir, config, seed, &e) || convert_run(&o, &r, &e)) {
        printf("%s: %s\n", e.where, e.msg);
        abort();
    }
    mem_free(r.file);
    for (int i = 0; i < 2; i++) unlink(path[i]);
    rmdir(dir);
}
#endif
