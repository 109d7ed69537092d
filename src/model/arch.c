/* The families' list, and what they share: names in Hugging Face files, shapes of weights, tensors that mean nothing.
 *
 * A model has a slot if its hyper-parameters say so; nothing here looks into files. */
#include "model/arch.h"

#include <stdlib.h>
#include <string.h>

#include "base/num.h"

#define ARCH(name) extern const struct arch arch_##name;
#include "model/arch.def"
#undef ARCH
const struct arch *const arch_all[] = {
#define ARCH(name) &arch_##name,
#include "model/arch.def"
#undef ARCH
    NULL
};

/* --- Names --- */

/* What most families call their tensors. */
static const char *const common_names[SLOT_COUNT] = {
    [SLOT_TOKEN_EMBD] = "model.embed_tokens.weight",
    [SLOT_OUTPUT_NORM] = "model.norm.weight",
    [SLOT_OUTPUT_NORM_B] = "model.norm.bias",
    [SLOT_OUTPUT] = "lm_head.weight",
    [SLOT_ATTN_NORM] = "model.layers.%u.input_layernorm.weight",
    [SLOT_ATTN_NORM_B] = "model.layers.%u.input_layernorm.bias",
    [SLOT_ATTN_Q] = "model.layers.%u.self_attn.q_proj.weight",
    [SLOT_ATTN_Q_B] = "model.layers.%u.self_attn.q_proj.bias",
    [SLOT_ATTN_K] = "model.layers.%u.self_attn.k_proj.weight",
    [SLOT_ATTN_K_B] = "model.layers.%u.self_attn.k_proj.bias",
    [SLOT_ATTN_V] = "model.layers.%u.self_attn.v_proj.weight",
    [SLOT_ATTN_V_B] = "model.layers.%u.self_attn.v_proj.bias",
    [SLOT_ATTN_QKV] = "model.layers.%u.self_attn.qkv_proj.weight",
    [SLOT_ATTN_Q_NORM] = "model.layers.%u.self_attn.q_norm.weight",
    [SLOT_ATTN_K_NORM] = "model.layers.%u.self_attn.k_norm.weight",
    [SLOT_ATTN_Q_A] = "model.layers.%u.self_attn.q_a_proj.weight",
    [SLOT_ATTN_Q_A_NORM] = "model.layers.%u.self_attn.q_a_layernorm.weight",
    [SLOT_ATTN_Q_UP] = "model.layers.%u.self_attn.q_b_proj.weight",
    [SLOT_ATTN_KV_A] = "model.layers.%u.self_attn.kv_a_proj_with_mqa.weight",
    [SLOT_ATTN_KV_A_NORM] = "model.layers.%u.self_attn.kv_a_layernorm.weight",
    [SLOT_ATTN_K_UP] = "model.layers.%u.self_attn.kv_b_proj.weight",
    [SLOT_ATTN_V_UP] = "model.layers.%u.self_attn.kv_b_proj.weight",
    [SLOT_ATTN_SINKS] = "model.layers.%u.self_attn.sinks",
    [SLOT_ATTN_OUT] = "model.layers.%u.self_attn.o_proj.weight",
    [SLOT_ATTN_OUT_B] = "model.layers.%u.self_attn.o_proj.bias",
    [SLOT_ATTN_POST_NORM] = "model.layers.%u.post_attention_layernorm.weight",
    [SLOT_FFN_NORM] = "model.layers.%u.post_attention_layernorm.weight",
    [SLOT_FFN_NORM_B] = "model.layers.%u.post_attention_layernorm.bias",
    [SLOT_FFN_GATE] = "model.layers.%u.mlp.gate_proj.weight",
    [SLOT_FFN_GATE_B] = "model.layers.%u.mlp.gate_proj.bias",
    [SLOT_FFN_UP] = "model.layers.%u.mlp.up_proj.weight",
    [SLOT_FFN_UP_B] = "model.layers.%u.mlp.up_proj.bias",
    [SLOT_FFN_DOWN] = "model.layers.%u.mlp.down_proj.weight",
    [SLOT_FFN_DOWN_B] = "model.layers.%u.mlp.down_proj.bias",
    [SLOT_ROUTER] = "model.layers.%u.mlp.gate.weight",
    [SLOT_ROUTER_CHOICE_B] = "model.layers.%u.mlp.gate.e_score_correction_bias",
    [SLOT_EXPERT_GATE] = "model.layers.%u.mlp.experts.%x.gate_proj.weight",
    [SLOT_EXPERT_UP] = "model.layers.%u.mlp.experts.%x.up_proj.weight",
    [SLOT_EXPERT_DOWN] = "model.layers.%u.mlp.experts.%x.down_proj.weight",
    [SLOT_SHARED_GATE] = "model.layers.%u.mlp.shared_experts.gate_proj.weight",
    [SLOT_SHARED_UP] = "model.layers.%u.mlp.shared_experts.up_proj.weight",
    [SLOT_SHARED_DOWN] = "model.layers.%u.mlp.shared_experts.down_proj.weight",
    [SLOT_FFN_POST_NORM] = "model.layers.%u.post_feedforward_layernorm.weight",
};

static const char *own_name(const struct slot_name *names, enum slot s) {
    for (; names && names->name; names++)
        if (names->slot == s) return names->name;
    return NULL;
}

const char *arch_hf_name(const struct arch *a, enum slot s) {
    const char *own = own_name(a->hf_names, s);
    if (own) return *own ? own : NULL;
    return common_names[s];
}

const char *arch_gguf_name(const struct arch *a, enum slot s) {
    const char *own = own_name(a->gguf_names, s);
    return own ? own : slot_info(s)->gguf_name;
}

/* Buffers that old versions of transformers and of GGUF converters saved; they follow from the hyper-parameters. */
static const char *const ignored_ends[] = { ".rotary_emb.inv_freq", ".attn_rot_embd.weight", ".masked_bias" };

/* The blocks that DeepSeek and GLM train for guessing the token after the next stand behind the last one. */
static bool behind_the_last_block(const struct hparams *hp, const char *name) {
    static const char *const starts[] = { "model.layers.", "layers." };
    for (size_t i = 0; i < ARRAY_LEN(starts); i++) {
        size_t n = strlen(starts[i]);
        if (!strncmp(name, starts[i], n)) return strtoul(name + n, NULL, 10) >= hp->n_layer;
    }
    return false;
}

bool arch_may_ignore(const struct hparams *hp, const char *name) {
    size_t n = strlen(name);
    for (size_t i = 0; i < ARRAY_LEN(ignored_ends); i++) {
        size_t k = strlen(ignored_ends[i]);
        if (n >= k && !strcmp(name + n - k, ignored_ends[i])) return true;
    }
    return hp->n_expert && behind_the_last_block(hp, name);
}

/* --- Shapes --- */

static bool has_ffn_norm(const struct traits *t) { return t->parallel ? t->own_ffn_norm : !t->no_pre_norm; }

/* Whether these hyper-parameters have the slot in this block at all. */
static bool has(const struct hparams *hp, enum slot s, uint32_t layer) {
    const struct traits *t = &hp->t;
    bool moe = layer_set_has(&hp->moe, layer), latent = hp->kv_lora > 0;
    switch (s) {
    case SLOT_TOKEN_EMBD:
    case SLOT_OUTPUT_NORM:
    case SLOT_ATTN_OUT: return true;
    case SLOT_OUTPUT: return !hp->tied;
    case SLOT_OUTPUT_NORM_B: return t->norm_bias;
    case SLOT_ROPE_FREQS: return true;
    case SLOT_ROPE_LONG:
    case SLOT_ROPE_SHORT: return hp->rope.scaling == ROPE_SCALE_LONG;
    case SLOT_ATTN_NORM: return !t->no_pre_norm;
    case SLOT_ATTN_NORM_B: return t->norm_bias && !t->no_pre_norm;
    case SLOT_ATTN_Q: return !t->fused_qkv && !hp->q_lora;
    case SLOT_ATTN_K:
    case SLOT_ATTN_V: return !t->fused_qkv && !latent;
    case SLOT_ATTN_Q_B:
    case SLOT_ATTN_K_B:
    case SLOT_ATTN_V_B: return hp->attn_bias && !latent;
    case SLOT_ATTN_QKV: return t->fused_qkv;
    case SLOT_ATTN_Q_NORM:
    case SLOT_ATTN_K_NORM: return t->qk_norm != QK_NORM_NONE;
    case SLOT_ATTN_Q_A:
    case SLOT_ATTN_Q_A_NORM:
    case SLOT_ATTN_Q_UP: return latent && hp->q_lora;
    case SLOT_ATTN_KV_A:
    case SLOT_ATTN_KV_A_NORM:
    case SLOT_ATTN_K_UP:
    case SLOT_ATTN_V_UP: return latent;
    case SLOT_ATTN_SINKS: return t->sinks;
    case SLOT_ATTN_OUT_B: return hp->attn_out_bias;
    case SLOT_ATTN_POST_NORM:
    case SLOT_FFN_POST_NORM: return t->post_norm;
    case SLOT_FFN_NORM: return has_ffn_norm(t);
    case SLOT_FFN_NORM_B: return has_ffn_norm(t) && t->norm_bias;
    case SLOT_FFN_GATE: return !moe && !t->ungated && !t->fused_gate_up;
    case SLOT_FFN_UP:
    case SLOT_FFN_DOWN: return !moe;
    case SLOT_FFN_GATE_B: return !moe && hp->ffn_bias && !t->ungated && !t->fused_gate_up;
    case SLOT_FFN_UP_B:
    case SLOT_FFN_DOWN_B: return !moe && hp->ffn_bias;
    case SLOT_ROUTER:
    case SLOT_EXPERT_GATE:
    case SLOT_EXPERT_UP:
    case SLOT_EXPERT_DOWN: return moe;
    case SLOT_ROUTER_B: return moe && t->router_bias;
    case SLOT_ROUTER_CHOICE_B: return moe && t->choice_bias;
    case SLOT_EXPERT_GATE_B:
    case SLOT_EXPERT_UP_B:
    case SLOT_EXPERT_DOWN_B: return moe && t->expert_bias;
    case SLOT_SHARED_GATE_INP: return moe && t->shared_gate;
    case SLOT_SHARED_GATE:
    case SLOT_SHARED_UP:
    case SLOT_SHARED_DOWN: return moe && hp->n_ff_shared;
    case SLOT_COUNT: break;
    }
    return false;
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

static unsigned stack(uint64_t ne[TENSOR_DIMS], uint64_t n_in, uint64_t n_out, uint64_t n) {
    ne[2] = n;
    matrix(ne, n_in, n_out);
    return 3;
}

static unsigned qk_norm(const struct hparams *hp, uint32_t heads, uint64_t ne[TENSOR_DIMS]) {
    switch (hp->t.qk_norm) {
    case QK_NORM_HEADS: return matrix(ne, hp->head_dim, heads);
    case QK_NORM_ROW: return vector(ne, (uint64_t)hp->head_dim * heads);
    default: return vector(ne, hp->head_dim);
    }
}

unsigned arch_shape(const struct hparams *hp, enum slot s, uint32_t layer, uint64_t ne[TENSOR_DIMS]) {
    uint64_t q = (uint64_t)hp->head_dim * hp->n_head, k = (uint64_t)hp->head_dim * hp->n_head_kv,
             v = (uint64_t)hp->head_dim_v * hp->n_head_kv, out = (uint64_t)hp->head_dim_v * hp->n_head;
    if (!has(hp, s, layer)) return 0;
    switch (s) {
    case SLOT_TOKEN_EMBD:
    case SLOT_OUTPUT: return matrix(ne, hp->n_embd, hp->n_vocab);
    case SLOT_ROPE_FREQS:
    case SLOT_ROPE_LONG:
    case SLOT_ROPE_SHORT: return vector(ne, hp->rope.n_rot / 2);
    case SLOT_ATTN_Q: return matrix(ne, hp->n_embd, q);
    case SLOT_ATTN_Q_B: return vector(ne, q);
    case SLOT_ATTN_K: return matrix(ne, hp->n_embd, k);
    case SLOT_ATTN_K_B: return vector(ne, k);
    case SLOT_ATTN_V: return matrix(ne, hp->n_embd, v);
    case SLOT_ATTN_V_B: return vector(ne, v);
    case SLOT_ATTN_QKV: return matrix(ne, hp->n_embd, q + k + v);
    case SLOT_ATTN_Q_NORM: return qk_norm(hp, hp->n_head, ne);
    case SLOT_ATTN_K_NORM: return qk_norm(hp, hp->n_head_kv, ne);
    case SLOT_ATTN_Q_A: return matrix(ne, hp->n_embd, hp->q_lora);
    case SLOT_ATTN_Q_A_NORM: return vector(ne, hp->q_lora);
    case SLOT_ATTN_Q_UP: return matrix(ne, hp->q_lora, q);
    case SLOT_ATTN_KV_A: return matrix(ne, hp->n_embd, (uint64_t)hp->kv_lora + hp->rope.n_rot);
    case SLOT_ATTN_KV_A_NORM: return vector(ne, hp->kv_lora);
    case SLOT_ATTN_K_UP: return stack(ne, hp->head_dim - hp->rope.n_rot, hp->kv_lora, hp->n_head);
    case SLOT_ATTN_V_UP: return stack(ne, hp->kv_lora, hp->head_dim_v, hp->n_head);
    case SLOT_ATTN_SINKS: return vector(ne, hp->n_head);
    case SLOT_ATTN_OUT: return matrix(ne, out, hp->n_embd);
    case SLOT_FFN_UP: return matrix(ne, hp->n_embd, hp->t.fused_gate_up ? 2ull * hp->n_ff : hp->n_ff);
    case SLOT_FFN_GATE: return matrix(ne, hp->n_embd, hp->n_ff);
    case SLOT_FFN_DOWN: return matrix(ne, hp->n_ff, hp->n_embd);
    case SLOT_FFN_GATE_B:
    case SLOT_FFN_UP_B: return vector(ne, hp->n_ff);
    case SLOT_ROUTER: return matrix(ne, hp->n_embd, hp->n_expert);
    case SLOT_ROUTER_B:
    case SLOT_ROUTER_CHOICE_B: return vector(ne, hp->n_expert);
    case SLOT_EXPERT_GATE:
    case SLOT_EXPERT_UP: return stack(ne, hp->n_embd, hp->n_ff_expert, hp->n_expert);
    case SLOT_EXPERT_DOWN: return stack(ne, hp->n_ff_expert, hp->n_embd, hp->n_expert);
    case SLOT_EXPERT_GATE_B:
    case SLOT_EXPERT_UP_B: return matrix(ne, hp->n_ff_expert, hp->n_expert);
    case SLOT_EXPERT_DOWN_B: return matrix(ne, hp->n_embd, hp->n_expert);
    case SLOT_SHARED_GATE:
    case SLOT_SHARED_UP: return matrix(ne, hp->n_embd, hp->n_ff_shared);
    case SLOT_SHARED_DOWN: return matrix(ne, hp->n_ff_shared, hp->n_embd);
    default: return vector(ne, hp->n_embd); /* norms, biases of what leads back to the states, SHARED_GATE_INP */
    }
}
