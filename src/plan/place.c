/* Placement of whole layers. See place.h. */
#include "plan/place.h"
#include <string.h>

static void total(struct place_share *s) { s->total = s->weights + s->kv + s->compute; }

void place_layers(const struct place_request *r, struct placement *out) {
    memset(out, 0, sizeof *out);
    uint64_t kv_layer = r->n_layer ? r->kv_bytes / r->n_layer : 0;
    uint32_t left = r->n_layer;
    for (uint32_t g = 0; g < r->n_gpus && left; g++) {
        struct place_share *s = &out->gpu[g];
        uint64_t room = r->vram[g] > r->compute_bytes ? r->vram[g] - r->compute_bytes : 0;
        uint64_t n = room / (r->layer_bytes + kv_layer + (r->layer_bytes + kv_layer == 0));
        s->layers = n < left ? (uint32_t)n : left;
        left -= s->layers;
        s->weights = s->layers * r->layer_bytes;
        s->kv = s->layers * kv_layer;
        s->compute = s->layers ? r->compute_bytes : 0;
        /* The head follows the last layer when all layers found a place. */
        if (!left && r->vram[g] >= s->weights + s->kv + s->compute + r->outside_bytes) {
            s->weights += r->outside_bytes;
            total(s);
            out->gpu_layers = r->n_layer;
            out->fits = true;
            return;
        }
        total(s);
    }
    out->gpu_layers = r->n_layer - left;
    out->cpu = (struct place_share){ .layers = left, .weights = left * r->layer_bytes + r->outside_bytes,
                                     .kv = r->kv_bytes - out->gpu_layers * kv_layer, .compute = r->compute_bytes };
    total(&out->cpu);
    out->fits = out->cpu.total <= r->ram;
    if (!out->fits) out->missing = out->cpu.total - r->ram;
}
