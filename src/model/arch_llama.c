/* Llama 1, 2 and 3, TinyLlama, SmolLM, Mistral: pre-norm blocks, rotary positions, grouped heads, gated silu.
 *
 * GGUF's arch llama keeps the pairs that a rotation turns as neighbours, Hugging Face as halves of a head, so rows of q
 * and k change places between the two (model_file_row). */
#include "model/build.h"

#include <string.h>

static enum err_code read_hf(const struct hf_config *c, struct hparams *hp, struct err *e) {
    const char *act = "silu";
    bool found;
    TRY(hf_config_str(c, "hidden_act", &act, &found, e));
    if (strcmp(act, "silu")) return err_set(e, ERR_UNSUPPORTED, "hidden_act is \"%.64s\"; known are: silu", act);
    TRY(hf_config_bool(c, "attention_bias", &hp->attn_bias, &found, e));
    TRY(hf_config_bool(c, "mlp_bias", &hp->ffn_bias, &found, e));
    return hf_config_u32(c, "sliding_window", &hp->window, &found, e); /* Mistral's */
}

static enum err_code read_gguf(const struct tfile *f, struct hparams *hp, struct err *e) {
    uint32_t experts = 0;
    bool found;
    TRY(gguf_get_u32(f->gguf, "llama.expert_count", &experts, &found, e)); /* Mixtral's */
    if (experts)
        return err_set(e, ERR_UNSUPPORTED, "expert_count is %u: mixtures of experts are not supported yet", experts);
    TRY(gguf_get_u32(f->gguf, "llama.attention.sliding_window", &hp->window, &found, e));
    /* Whether there are biases is said by the tensors alone. */
    hp->attn_bias = tfile_find(f, "blk.0.attn_q.bias");
    hp->ffn_bias = tfile_find(f, "blk.0.ffn_up.bias");
    return ERR_NONE;
}

static const char *hf_name(enum slot s) {
    switch (s) {
    case SLOT_TOKEN_EMBD: return "model.embed_tokens.weight";
    case SLOT_OUTPUT_NORM: return "model.norm.weight";
    case SLOT_OUTPUT: return "lm_head.weight";
    case SLOT_ATTN_NORM: return "model.layers.%u.input_layernorm.weight";
    case SLOT_ATTN_Q: return "model.layers.%u.self_attn.q_proj.weight";
    case SLOT_ATTN_Q_B: return "model.layers.%u.self_attn.q_proj.bias";
    case SLOT_ATTN_K: return "model.layers.%u.self_attn.k_proj.weight";
    case SLOT_ATTN_K_B: return "model.layers.%u.self_attn.k_proj.bias";
    case SLOT_ATTN_V: return "model.layers.%u.self_attn.v_proj.weight";
    case SLOT_ATTN_V_B: return "model.layers.%u.self_attn.v_proj.bias";
    case SLOT_ATTN_OUT: return "model.layers.%u.self_attn.o_proj.weight";
    case SLOT_ATTN_OUT_B: return "model.layers.%u.self_attn.o_proj.bias";
    case SLOT_FFN_NORM: return "model.layers.%u.post_attention_layernorm.weight";
    case SLOT_FFN_GATE: return "model.layers.%u.mlp.gate_proj.weight";
    case SLOT_FFN_GATE_B: return "model.layers.%u.mlp.gate_proj.bias";
    case SLOT_FFN_UP: return "model.layers.%u.mlp.up_proj.weight";
    case SLOT_FFN_UP_B: return "model.layers.%u.mlp.up_proj.bias";
    case SLOT_FFN_DOWN: return "model.layers.%u.mlp.down_proj.weight";
    case SLOT_FFN_DOWN_B: return "model.layers.%u.mlp.down_proj.bias";
    default: return NULL;
    }
}

static unsigned vector(uint64_t ne[TENSOR_DIMS], uint64_t n) {
    ne[0] = n;
    return 1;
}

static unsigned matrix(uint64_t ne[TENSOR_DIMS], uint64_t n_in, uint64_t n_out) {
    ne[0] = n_in;
    ne[1] = n_out;
    return 2;
}

static unsigned shape(const struct hparams *hp, enum slot s, uint64_t ne[TENSOR_DIMS]) {
    uint64_t q = (uint64_t)hp->head_dim * hp->n_head, kv = (uint64_t)hp->head_dim * hp->n_head_kv;
    switch (s) {
    case SLOT_TOKEN_EMBD: return matrix(ne, hp->n_embd, hp->n_vocab);
    case SLOT_OUTPUT: return hp->tied ? 0 : matrix(ne, hp->n_embd, hp->n_vocab);
    case SLOT_ROPE_FREQS: return vector(ne, hp->rope.n_rot / 2);
    case SLOT_OUTPUT_NORM:
    case SLOT_ATTN_NORM:
    case SLOT_FFN_NORM: return vector(ne, hp->n_embd);
    case SLOT_ATTN_Q: return matrix(ne, hp->n_embd, q);
    case SLOT_ATTN_K:
    case SLOT_ATTN_V: return matrix(ne, hp->n_embd, kv);
    case SLOT_ATTN_OUT: return matrix(ne, q, hp->n_embd);
    case SLOT_ATTN_Q_B: return hp->attn_bias ? vector(ne, q) : 0;
    case SLOT_ATTN_K_B:
    case SLOT_ATTN_V_B: return hp->attn_bias ? vector(ne, kv) : 0;
    case SLOT_ATTN_OUT_B: return hp->attn_bias ? vector(ne, hp->n_embd) : 0;
    case SLOT_FFN_GATE:
    case SLOT_FFN_UP: return matrix(ne, hp->n_embd, hp->n_ff);
    case SLOT_FFN_DOWN: return matrix(ne, hp->n_ff, hp->n_embd);
    case SLOT_FFN_GATE_B:
    case SLOT_FFN_UP_B: return hp->ffn_bias ? vector(ne, hp->n_ff) : 0;
    case SLOT_FFN_DOWN_B: return hp->ffn_bias ? vector(ne, hp->n_embd) : 0;
    default: return 0;
    }
}

static tensor_id block(struct build *b, uint32_t layer, tensor_id x) {
    tensor_id h = build_norm(b, SLOT_ATTN_NORM, layer, x);
    tensor_id q = build_rope(b, build_linear(b, SLOT_ATTN_Q, SLOT_ATTN_Q_B, layer, h));
    tensor_id k = build_rope(b, build_linear(b, SLOT_ATTN_K, SLOT_ATTN_K_B, layer, h));
    tensor_id v = build_linear(b, SLOT_ATTN_V, SLOT_ATTN_V_B, layer, h);
    h = build_attention(b, q, k, v);
    x = graph_add(b->g, x, build_linear(b, SLOT_ATTN_OUT, SLOT_ATTN_OUT_B, layer, h), 1);

    h = build_norm(b, SLOT_FFN_NORM, layer, x);
    tensor_id gate = build_linear(b, SLOT_FFN_GATE, SLOT_FFN_GATE_B, layer, h);
    tensor_id up = build_linear(b, SLOT_FFN_UP, SLOT_FFN_UP_B, layer, h);
    h = graph_glu(b->g, gate, up, &(struct glu_desc){ .kind = GLU_SILU });
    return graph_add(b->g, x, build_linear(b, SLOT_FFN_DOWN, SLOT_FFN_DOWN_B, layer, h), 1);
}

/* Buffers that old versions of transformers and of GGUF converters saved; they follow from the hyper-parameters. */
static const char *const ignored[] = { ".rotary_emb.inv_freq", ".attn_rot_embd.weight", NULL };
static const char *const hf_classes[] = { "llama", "mistral", NULL };

const struct arch arch_llama = {
    .name = "llama",
    .hf_classes = hf_classes,
    .permute_qk = true,
    .gguf_pairing = ROPE_NEIGHBOURS,
    .hf_pairing = ROPE_HALVES,
    .read_hf = read_hf,
    .read_gguf = read_gguf,
    .hf_name = hf_name,
    .hf_constants = "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"hidden_act\": \"silu\"}",
    .ignored = ignored,
    .shape = shape,
    .block = block,
};
