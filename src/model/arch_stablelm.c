/* StableLM: layer norms, a quarter of each head rotated. The 12B model has a norm for each head of q and k, and
 * attention and feed-forward side by side behind one norm. */
#include "model/build.h"

static enum err_code read_hf(const struct hf_config *c, struct hparams *hp, struct err *e) {
    bool found, heads_normed = false;
    TRY(hf_config_bool(c, "use_qkv_bias", &hp->attn_bias, &found, e));
    TRY(hf_config_bool(c, "use_parallel_residual", &hp->t.parallel, &found, e));
    TRY(hf_config_bool(c, "qk_layernorm", &heads_normed, &found, e));
    if (heads_normed) hp->t.qk_norm = QK_NORM_HEADS;
    return ERR_NONE;
}

/* Converters have written use_parallel_residual for models that have none, so the tensors decide. */
static enum err_code read_gguf(const struct tfile *f, struct hparams *hp, struct err *e) {
    (void)e;
    hp->t.parallel = !tfile_find(f, "blk.0.ffn_norm.weight");
    if (tfile_find(f, "blk.0.attn_q_norm.weight")) hp->t.qk_norm = QK_NORM_HEADS;
    return ERR_NONE;
}

static void write_gguf(const struct hparams *hp, struct gguf_writer *w) {
    gguf_writer_bool(w, "stablelm.use_parallel_residual", hp->t.parallel);
}

static tensor_id block(struct build *b, uint32_t layer, tensor_id x) {
    return b->m->hp.t.parallel ? build_parallel_block(b, layer, x) : build_block(b, layer, x);
}

static const struct slot_name hf_names[] = {
    { SLOT_ATTN_Q_NORM, "model.layers.%u.self_attn.q_layernorm.norms.%x.weight" },
    { SLOT_ATTN_K_NORM, "model.layers.%u.self_attn.k_layernorm.norms.%x.weight" },
    { 0, NULL },
};
static const char *const hf_classes[] = { "stablelm", NULL };

const struct arch arch_stablelm = {
    .name = "stablelm",
    .hf_classes = hf_classes,
    .gguf_pairing = ROPE_HALVES,
    .hf_pairing = ROPE_HALVES,
    .traits = { .norm = NORM_LAYER, .norm_bias = true },
    .read_hf = read_hf,
    .read_gguf = read_gguf,
    .write_gguf = write_gguf,
    .hf_names = hf_names,
    .block = block,
};
