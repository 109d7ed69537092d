#ifndef MODEL_BUILD_H
#define MODEL_BUILD_H
/* Steps that the files of families build their blocks from. Errors stick to the graph; nothing here needs checking. */
#include "model/model.h"

/* The weight as a tensor of the graph, NO_TENSOR if the model has none. */
tensor_id build_weight(struct build *b, enum slot s, uint32_t layer);
/* RMS norm with the weight of slot s. */
tensor_id build_norm(struct build *b, enum slot s, uint32_t layer, tensor_id x);
/* x (n_in, n_tok) -> (n_out, n_tok) by the matrix of slot s, plus the bias of slot bias if the model has one. Taps. */
tensor_id build_linear(struct build *b, enum slot s, enum slot bias, uint32_t layer, tensor_id x);
/* Rotates all heads of x as the model says. */
tensor_id build_rope(struct build *b, tensor_id x);
/* Stores k and v in the block's caches and attends to all that q may see; scale 1 / sqrt(head_dim). */
tensor_id build_attention(struct build *b, tensor_id q, tensor_id k, tensor_id v);
#endif
