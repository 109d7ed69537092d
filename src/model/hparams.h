#ifndef MODEL_HPARAMS_H
#define MODEL_HPARAMS_H
/* Hyper-parameters: the checked numbers of a model, whichever file they came from. Plain data. */
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "format/tfile.h"
#include "graph/graph.h"

enum { HPARAMS_MAX_LAYERS = 1 << 12, ROPE_MAX_FACTORS = 256 };

/* A set of blocks. */
struct layer_set { uint64_t bits[HPARAMS_MAX_LAYERS / 64]; };
static inline bool layer_set_has(const struct layer_set *s, uint32_t l) { return s->bits[l / 64] >> (l % 64) & 1; }
static inline void layer_set_add(struct layer_set *s, uint32_t l) { s->bits[l / 64] |= 1ull << (l % 64); }

enum rope_scaling {
    ROPE_SCALE_NONE, ROPE_SCALE_LINEAR, ROPE_SCALE_YARN, ROPE_SCALE_LLAMA3, ROPE_SCALE_DYNAMIC, ROPE_SCALE_LONG
};

struct rope_params {
    float base;
    uint32_t n_rot;              /* rotated part of each head; 0: nothing turns */
    enum rope_pairing pairing;   /* as the rows of q and k lie in the source */
    enum rope_scaling scaling;
    float factor;                /* 1 without scaling */
    uint32_t original_ctx;       /* context before scaling; n_ctx_train without scaling and for dynamic */
    float low_freq_factor, high_freq_factor;  /* llama3, else 0 */
    float beta_fast, beta_slow;               /* yarn, else 0 */
    float attn_factor;           /* multiplies cos and sin, resolved; 1 but for yarn and long. GGUF's
                                               * key attn_factor is this / rope_yarn_magnitude(factor, 1) for yarn */
    float mscale_all;                         /* yarn of DeepSeek: what attn_scale has inside already, else 0 */
    bool truncate;                            /* yarn: ramp ends rounded to whole dimensions */
    float short_factors[ROPE_MAX_FACTORS];    /* long: (n_rot / 2) divisors up to original_ctx ... */
    float long_factors[ROPE_MAX_FACTORS];     /* ... and for every position of a longer sequence */
};

enum qk_norm {
    QK_NORM_NONE,
    QK_NORM_HEAD,  /* every head by itself, one weight of head_dim for all of them */
    QK_NORM_HEADS, /* every head by itself, each with its own weight */
    QK_NORM_ROW,   /* all heads together */
};

/* Which parts the blocks of a model have and how they work: mostly the family's, in some families a key's. */
struct traits {
    enum norm_kind norm;
    float norm_add;            /* Hugging Face stores norm weights with this much missing (Gemma: 1) */
    bool norm_bias;
    bool no_pre_norm, post_norm; /* norms before, and after, attention and feed-forward */
    bool parallel;             /* attention and feed-forward read one norm's result and are added together */
    bool own_ffn_norm;         /* parallel, but with a norm of its own for the feed-forward */
    enum qk_norm qk_norm;
    bool qk_norm_after_rope;
    bool fused_qkv;            /* attn_qkv holds q, k and v */
    bool fused_gate_up;        /* ffn_up holds gate and up */
    bool ungated;              /* down(act(up)) instead of down(act(gate) * up) */
    bool sinks;
    enum glu_kind act;
    bool gelu_is_tanh;         /* where config.json says "gelu" */
    enum expert_score pick_score, weigh_score;
    uint32_t group_best;       /* experts whose scores make the score of their group */
    bool expert_norm;          /* hparams.expert_norm where no key says it */
    bool yarn_fractional;      /* yarn's ramp does not end at whole dimensions, which GGUF has no key for */
    float yarn_log_unit;       /* GGUF's key yarn_log_multiplier is mscale_all_dim times this; 0: no such key */
    bool router_bias, choice_bias, expert_bias;
    bool shared_gate;          /* the shared expert is scaled by sigmoid of one more router row */
    bool embd_sqrt;            /* embeddings are multiplied by sqrt(n_embd) */
    bool tied;                 /* no output matrix, where config.json does not say */
    bool logits_divided;       /* by logit_scale instead of multiplied */
    bool local_rope;           /* windowed blocks turn without the scaling of the others ... */
    float local_rope_base;     /* ... by this base, where no file says another; 0: by the same */
    bool global_no_rope;       /* blocks without the window do not turn, in models that have one */
    uint32_t no_rope_period;   /* of so many blocks the last does not turn, where config.json does not say otherwise
                                * (GGUF has no key); 0: no rule */
    uint32_t window_period;    /* of so many blocks the last sees everything, where no file says otherwise; 0: every
                                * block has the window */
};

struct hparams {
    const struct arch *arch;
    struct traits t;             /* arch->traits, as the file's keys may have changed it */
    char name[128];              /* general.name, or the name of the directory or file */
    uint32_t n_vocab, n_ctx_train, n_embd, n_layer, n_head, n_head_kv, head_dim, head_dim_v, n_ff;
    uint32_t window;             /* tokens that a token sees in windowed blocks, itself included; 0: no windows */
    float norm_eps;
    bool tied;                   /* no output matrix: token_embd serves as head */
    enum qtype float_type;       /* type of the weights that config.json announces; QTYPE_NONE for GGUF */
    bool attn_bias, attn_out_bias, ffn_bias;
    struct rope_params rope;
    bool has_local_rope;         /* windowed blocks turn by rope_local instead */
    struct rope_params rope_local;
    struct layer_set windowed, no_rope;
    /* Factors; 1 or 0 where the family has none. */
    float embd_scale, residual_scale, logit_scale;
    float attn_scale;            /* of q.k; 0: 1 / sqrt(head_dim) */
    float attn_softcap, final_softcap; /* 0: none */
    float temp_beta;             /* struct attn_desc's; 0: none */
    uint32_t temp_span;
    /* Mixtures of experts; n_expert 0: none. */
    uint32_t n_expert, n_expert_used, n_expert_shared, n_ff_expert, n_ff_shared, n_dense_lead, moe_step;
    uint32_t n_expert_group, n_expert_group_used;
    float expert_scale;          /* of the weights of chosen experts */
    bool expert_norm;            /* those weights are divided by their sum */
    float glu_alpha, glu_limit;  /* of GLU_OAI */
    struct layer_set moe;        /* blocks with experts */
    /* Multi-head latent attention; kv_lora 0: none. head_dim is then the whole head's, n_rot its last part. */
    uint32_t q_lora, kv_lora;
    int32_t bos, eos;            /* -1: unknown */
};

/* Numbers that a position keeps in a block's caches of keys and values. Latent attention keeps one row for both. */
uint64_t hparams_k_width(const struct hparams *hp);
uint64_t hparams_v_width(const struct hparams *hp);

/* Reads and checks the hyper-parameters of an opened file set (GGUF keys, or config.json in both spellings). Errors
 * name file and key; an unknown architecture is ERR_UNSUPPORTED and lists the known ones. */
enum err_code hparams_read(const struct tfile *f, struct hparams *hp, struct err *e);
/* Angles per position, inv_freq (n_rot / 2), with every kind of scaling inside; divisors (n_rot / 2) of rope_freqs or
 * NULL. total_len: tokens of the longest sequence, which
 * DYNAMIC and LONG alone depend on. */
void rope_inv_freq(const struct rope_params *r, const float *divisors, uint32_t total_len, float *inv_freq);
/* What a GGUF file keeps in rope_freqs.weight instead of llama3 scaling: divisors (n_rot / 2) of the unscaled angles,
 * between 1 and factor. For scaling ROPE_SCALE_LLAMA3 only. */
void rope_freq_divisors(const struct rope_params *r, float *divisors);
/* What yarn multiplies cos and sin by when the file does not say: 0.1 mscale ln(factor) + 1, at least 1. */
float rope_yarn_magnitude(float factor, float mscale);
#endif
