#ifndef MODEL_HPARAMS_H
#define MODEL_HPARAMS_H
/* Hyper-parameters: the checked numbers of a model, whichever file they came from. Plain data. */
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "format/tfile.h"
#include "graph/graph.h"

enum rope_scaling { ROPE_SCALE_NONE, ROPE_SCALE_LINEAR, ROPE_SCALE_YARN, ROPE_SCALE_LLAMA3, ROPE_SCALE_DYNAMIC };

struct rope_params {
    float base;
    uint32_t n_rot;              /* rotated part of each head */
    enum rope_pairing pairing;   /* as the rows of q and k lie in the source */
    enum rope_scaling scaling;
    float factor;                /* 1 without scaling */
    uint32_t original_ctx;       /* context before scaling; n_ctx_train without scaling and for dynamic */
    float low_freq_factor, high_freq_factor;  /* llama3, else 0 */
    float beta_fast, beta_slow;               /* yarn, else 0 */
    float attn_factor;                        /* multiplies cos and sin, already resolved; 1 but for yarn. GGUF's key
                                               * attn_factor is this / rope_yarn_magnitude(factor, 1) */
    bool truncate;                            /* yarn: ramp ends rounded to whole dimensions */
};

struct hparams {
    const struct arch *arch;
    char name[128];              /* general.name, or the name of the directory or file */
    uint32_t n_vocab, n_ctx_train, n_embd, n_layer, n_head, n_head_kv, head_dim, n_ff;
    uint32_t window;             /* tokens that a token sees, itself included; 0: all before it */
    float norm_eps;
    bool tied;                   /* no output matrix: token_embd serves as head */
    enum qtype float_type;       /* type of the weights that config.json announces; QTYPE_NONE for GGUF */
    bool attn_bias, ffn_bias;
    struct rope_params rope;
    int32_t bos, eos;            /* -1: unknown */
};

/* Reads and checks the hyper-parameters of an opened file set (GGUF keys, or config.json in both spellings). Errors
 * name file and key; an unknown architecture is ERR_UNSUPPORTED and lists the known ones. */
enum err_code hparams_read(const struct tfile *f, struct hparams *hp, struct err *e);
/* Angles per position, inv_freq (n_rot / 2), with every kind of scaling inside; divisors (n_rot / 2) of rope_freqs or
 * NULL. total_len: tokens of the longest sequence, which only DYNAMIC depends on. */
void rope_inv_freq(const struct rope_params *r, const float *divisors, uint32_t total_len, float *inv_freq);
/* What a GGUF file keeps in rope_freqs.weight instead of llama3 scaling: divisors (n_rot / 2) of the unscaled angles,
 * between 1 and factor. For scaling ROPE_SCALE_LLAMA3 only. */
void rope_freq_divisors(const struct rope_params *r, float *divisors);
/* What yarn multiplies cos and sin by when the file does not say: 0.1 mscale ln(factor) + 1, at least 1. */
float rope_yarn_magnitude(float factor, float mscale);
#endif
