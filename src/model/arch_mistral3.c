/* Ministral 3: as Llama, with yarn whose magnitude cancels out, and queries that grow with the position. */
#include "model/build.h"

#define BETA_KEY "mistral3.attention.temperature_scale"

static enum err_code read_hf(const struct hf_config *c, struct hparams *hp, struct err *e) {
    bool found;
    TRY(hf_config_f32(c, "rope_scaling.llama_4_scaling_beta", &hp->temp_beta, &found, e));
    TRY(hf_config_f32(c, "rope_parameters.llama_4_scaling_beta", &hp->temp_beta, &found, e));
    hp->temp_span = hp->rope.original_ctx;
    return ERR_NONE;
}

static enum err_code read_gguf(const struct tfile *f, struct hparams *hp, struct err *e) {
    bool found;
    hp->temp_span = hp->rope.original_ctx;
    return gguf_get_f32(f->gguf, BETA_KEY, &hp->temp_beta, &found, e);
}

static void write_gguf(const struct hparams *hp, struct gguf_writer *w) {
    if (hp->temp_beta != 0) gguf_writer_f32(w, BETA_KEY, hp->temp_beta);
}

static const char *const hf_classes[] = { "ministral3", NULL };

const struct arch arch_mistral3 = {
    .name = "mistral3",
    .hf_classes = hf_classes,
    .permute_qk = true,
    .gguf_pairing = ROPE_NEIGHBOURS,
    .hf_pairing = ROPE_HALVES,
    .traits = { .yarn_log_unit = 1 },
    .read_hf = read_hf,
    .read_gguf = read_gguf,
    .write_gguf = write_gguf,
    .block = build_block,
};
