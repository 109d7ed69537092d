#ifndef PLAN_PLACE_H
#define PLAN_PLACE_H
/* Which layers go where: a pure function of sizes and memories. GPUs are filled with whole layers from the model's end,
 * each with its share of the KV cache, the head first; the embedding and what is left stay in the computer's memory. */
#include <stdbool.h>
#include <stdint.h>

enum { PLACE_MAX_GPUS = 7 };

struct place_request {
    uint32_t n_layer;
    uint64_t layer_bytes, outside_bytes; /* weights: of one block, of all that is in none */
    uint64_t kv_bytes;                   /* whole cache */
    uint64_t compute_bytes;              /* activations, inputs, scratch: once on each device that computes */
    uint64_t vram[PLACE_MAX_GPUS];
    uint32_t n_gpus;
    uint64_t ram;
};
struct place_share { uint32_t layers; uint64_t weights, kv, compute, total; };
struct placement {
    struct place_share gpu[PLACE_MAX_GPUS], cpu;
    uint32_t gpu_layers;
    bool fits;         /* every device holds its share */
    uint64_t missing;  /* bytes that the computer's memory lacks, if not */
};
void place_layers(const struct place_request *r, struct placement *out);
#endif
