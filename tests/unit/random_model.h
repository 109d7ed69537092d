#ifndef UNIT_RANDOM_MODEL_H
#define UNIT_RANDOM_MODEL_H
/* A small Llama with random weights in BF16, without tokenizer, written as GGUF. Include format_files.h before. */
#include "base/num.h"
#include "base/rng.h"
#include "format/gguf_write.h"

struct random_shape { uint32_t n_embd, n_head, n_head_kv, n_vocab, n_layer, n_ff, n_ctx; };

struct random_tensor { const char *name; uint64_t ne[2]; }; /* ne[1] 0: a vector */
enum { RANDOM_BLOCK_TENSORS = 9 };

static inline void random_block(const struct random_shape *s, struct random_tensor t[RANDOM_BLOCK_TENSORS]) {
    uint64_t d = s->n_embd, kv = d / s->n_head * s->n_head_kv, ff = s->n_ff;
    const struct random_tensor all[RANDOM_BLOCK_TENSORS] = {
        { "attn_norm", { d, 0 } },    { "attn_q", { d, d } },   { "attn_k", { d, kv } },
        { "attn_v", { d, kv } },      { "attn_output", { d, d } }, { "ffn_norm", { d, 0 } },
        { "ffn_gate", { d, ff } },    { "ffn_up", { d, ff } },  { "ffn_down", { ff, d } },
    };
    memcpy(t, all, sizeof all);
}

static inline void random_declare(struct gguf_writer *w, const char *name, const uint64_t ne[2]) {
    unsigned dims = ne[1] ? 2 : 1;
    if (gguf_writer_tensor(w, name, dims == 2 ? QTYPE_BF16 : QTYPE_F32, dims, ne, NULL)) abort();
}

/* Vectors are ones, matrices nearly Gaussian with a spread that keeps activations near one. poison is added to the one
 * in the middle. */
static inline void random_put(struct tstream *s, struct rng *r, const uint64_t ne[2], float poison) {
    uint64_t n = ne[0] * (ne[1] ? ne[1] : 1);
    float *v = mem_alloc(n, sizeof *v);
    uint16_t *h = mem_alloc(n, sizeof *h);
    for (uint64_t i = 0; i < n; i++) {
        float sum = rng_f32(r) + rng_f32(r) + rng_f32(r) - 1.5f;
        v[i] = ne[1] ? 2 * sum / sqrtf((float)ne[0]) : 1;
        h[i] = bf16_from_f32(v[i]);
    }
    v[n / 2] += poison;
    h[n / 2] = bf16_from_f32(v[n / 2]);
    if (tstream_put(s, ne[1] ? (void *)h : v, n * (ne[1] ? sizeof *h : sizeof *v), NULL)) abort();
    mem_free(v);
    mem_free(h);
}

static inline void random_keys(struct gguf_writer *w, const struct random_shape *s) {
    gguf_writer_str(w, "general.architecture", STR("llama"));
    gguf_writer_str(w, "general.name", STR("random"));
    gguf_writer_u32(w, "llama.vocab_size", s->n_vocab);
    gguf_writer_u32(w, "llama.context_length", s->n_ctx);
    gguf_writer_u32(w, "llama.embedding_length", s->n_embd);
    gguf_writer_u32(w, "llama.block_count", s->n_layer);
    gguf_writer_u32(w, "llama.feed_forward_length", s->n_ff);
    gguf_writer_u32(w, "llama.attention.head_count", s->n_head);
    gguf_writer_u32(w, "llama.attention.head_count_kv", s->n_head_kv);
    gguf_writer_f32(w, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    gguf_writer_f32(w, "llama.rope.freq_base", 10000);
    gguf_writer_str(w, "tokenizer.ggml.model", STR("none"));
}

/* poison is added to one weight of `victim`, a tensor's name or "". */
static inline void random_model(const char *path, const struct random_shape *shape, uint64_t seed, const char *victim,
                                float poison) {
    const uint64_t embd[2] = { shape->n_embd, shape->n_vocab }, norm[2] = { shape->n_embd, 0 };
    struct random_tensor block[RANDOM_BLOCK_TENSORS];
    struct gguf_writer *w;
    struct tstream *s = NULL;
    struct rng r;
    char name[64];
    if (gguf_writer_new(&w, NULL)) abort();
    random_block(shape, block);
    random_keys(w, shape);
    random_declare(w, "token_embd.weight", embd);
    random_declare(w, "output_norm.weight", norm);
    for (int pass = 0; pass < 2; pass++) {
        if (pass) {
            rng_seed(&r, seed);
            if (gguf_writer_open(w, path, NULL, &s, NULL)) abort();
            random_put(s, &r, embd, strcmp("token_embd.weight", victim) ? 0 : poison);
            random_put(s, &r, norm, strcmp("output_norm.weight", victim) ? 0 : poison);
        }
        for (uint32_t l = 0; l < shape->n_layer; l++)
            for (size_t i = 0; i < RANDOM_BLOCK_TENSORS; i++) {
                snprintf(name, sizeof name, "blk.%u.%s.weight", l, block[i].name);
                if (!pass) random_declare(w, name, block[i].ne);
                else random_put(s, &r, block[i].ne, strcmp(name, victim) ? 0 : poison);
            }
    }
    if (tstream_commit(s, NULL)) abort();
    gguf_writer_free(w);
}
#endif
