/* Gemma 1, 2 and 3 (text): norms whose stored weight lacks 1, embeddings times the square root of their width, a gate
 * by tanh gelu, one matrix for embedding and head. Gemma 2 and 3 norm each branch's result too and have windows. Gemma
 * 2: in every other block, and soft caps. Gemma 3: in five of six, which rotate by a base of their own, and norms of
 * query and key heads. */
#include <math.h>

#include "model/build.h"
#include "model/hparams_keys.h"

static enum err_code read_hf(const struct hf_config *c, struct hparams *hp, struct err *e) {
    bool found, bidirectional = false;
    TRY(hf_config_bool(c, "use_bidirectional_attention", &bidirectional, &found, e));
    if (bidirectional)
        return err_set(e, ERR_UNSUPPORTED, "use_bidirectional_attention: models that see what follows do not generate");
    return hparams_hf_biases(c, hp, e);
}

static enum err_code read_hf_scaled(const struct hf_config *c, struct hparams *hp, struct err *e) {
    float scalar = 256; /* transformers' default */
    bool found;
    TRY(hf_config_f32(c, "query_pre_attn_scalar", &scalar, &found, e));
    hp->attn_scale = 1 / sqrtf(scalar);
    return read_hf(c, hp, e);
}

/* The largest model of each generation divides by the embedding's share of a head instead of by the head's size; only
 * its number of blocks tells in files of others. */
static void scale_of_largest(struct hparams *hp, uint32_t n_layer) {
    uint32_t share = hp->n_embd / hp->n_head;
    if (hp->attn_scale == 0 && hp->n_layer == n_layer) hp->attn_scale = 1 / sqrtf((float)share);
}

static enum err_code read_gguf_2(const struct tfile *f, struct hparams *hp, struct err *e) {
    (void)f;
    (void)e;
    if (hp->attn_softcap == 0) hp->attn_softcap = 50; /* Gemma 2's values, which old files do not state */
    if (hp->final_softcap == 0) hp->final_softcap = 30;
    scale_of_largest(hp, 46);
    return ERR_NONE;
}

static enum err_code read_gguf_3(const struct tfile *f, struct hparams *hp, struct err *e) {
    (void)f;
    (void)e;
    scale_of_largest(hp, 62);
    return ERR_NONE;
}

static const struct slot_name hf_names[] = {
    { SLOT_FFN_NORM, "model.layers.%u.pre_feedforward_layernorm.weight" },
    { 0, NULL },
};
static const char *const classes_1[] = { "gemma", NULL }, *const classes_2[] = { "gemma2", NULL },
                  *const classes_3[] = { "gemma3_text", NULL };

#define COMMON .norm_add = 1, .act = GLU_GELU_TANH, .gelu_is_tanh = true, .embd_sqrt = true, .tied = true

const struct arch arch_gemma = {
    .name = "gemma",
    .hf_classes = classes_1,
    .gguf_pairing = ROPE_HALVES,
    .hf_pairing = ROPE_HALVES,
    .traits = { COMMON },
    .read_hf = read_hf,
    .block = build_block,
};

const struct arch arch_gemma2 = {
    .name = "gemma2",
    .hf_classes = classes_2,
    .gguf_pairing = ROPE_HALVES,
    .hf_pairing = ROPE_HALVES,
    .traits = { COMMON, .post_norm = true, .window_period = 2 },
    .read_hf = read_hf_scaled,
    .read_gguf = read_gguf_2,
    .hf_names = hf_names,
    .block = build_block,
};

const struct arch arch_gemma3 = {
    .name = "gemma3",
    .hf_classes = classes_3,
    .gguf_pairing = ROPE_HALVES,
    .hf_pairing = ROPE_HALVES,
    .traits = { COMMON, .post_norm = true, .qk_norm = QK_NORM_HEAD, .window_period = 6, .local_rope = true,
                .local_rope_base = 10000 },
    .read_hf = read_hf_scaled,
    .read_gguf = read_gguf_3,
    .hf_names = hf_names,
    .block = build_block,
};
