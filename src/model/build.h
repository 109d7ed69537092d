#ifndef MODEL_BUILD_H
#define MODEL_BUILD_H
/* Steps that the files of families build their blocks from. Weights that a model does not have are left out: a norm
 * without weight passes x on, a sum without bias adds none. Errors stick to the graph; nothing here needs checking. */
#include "model/model.h"

/* The weight as a tensor of the graph, NO_TENSOR if the model has none. */
tensor_id build_weight(struct build *b, enum slot s, uint32_t layer);
/* Norm with the weight of slot s and the bias of slot bias (SLOT_COUNT: none); x itself if there is no such weight. */
tensor_id build_norm(struct build *b, enum slot s, enum slot bias, uint32_t layer, tensor_id x);
/* x (n_in, n_tok) -> (n_out, n_tok) by the matrix of slot s, plus the bias of slot bias if the model has one. Taps. */
tensor_id build_linear(struct build *b, enum slot s, enum slot bias, uint32_t layer, tensor_id x);
/* The same by the matrices of a stack: graph_matmul_id with the stack of slot s. */
struct stack_desc { enum slot s, bias; tensor_id x, ids; };
tensor_id build_stack(struct build *b, uint32_t layer, const struct stack_desc *d);
/* Of every `group` numbers of x's rows, `count` from `first` on. */
static inline tensor_id build_slice(struct build *b, tensor_id x, uint64_t group, uint64_t first, uint64_t count) {
    return graph_slice(b->g, x, &(struct slice_desc){ group, first, count });
}
/* x + residual_scale * branch. */
tensor_id build_residual(struct build *b, tensor_id x, tensor_id branch);

/* x (n_embd, n_tok), normed already, -> (n_embd, n_tok): queries, keys and values, rotation, the caches, attention,
 * output. build_attn.c. */
tensor_id build_attn(struct build *b, uint32_t layer, tensor_id x);
/* The same with keys and values squeezed into one short row a token (DeepSeek). build_latent.c. */
tensor_id build_latent_attn(struct build *b, uint32_t layer, tensor_id x);
/* x (n_embd, n_tok), normed already, -> (n_embd, n_tok): gated or plain, dense or by experts. build_ffn.c. */
tensor_id build_ffn(struct build *b, uint32_t layer, tensor_id x);

/* --- Whole blocks, for struct arch --- */
/* Attention, then feed-forward, each between its norms. */
tensor_id build_block(struct build *b, uint32_t layer, tensor_id x);
/* Both from one norm (or one each), side by side. */
tensor_id build_parallel_block(struct build *b, uint32_t layer, tensor_id x);

/* Pieces of build_attn that other attentions share. */
tensor_id build_rope(struct build *b, uint32_t layer, tensor_id x, uint32_t head_dim);
struct attn_desc build_attn_desc(const struct build *b, uint32_t layer);
#endif
