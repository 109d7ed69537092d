/* Counting a model's weights. See inventory.h. */
#include "plan/inventory.h"
#include <string.h>
#include "base/num.h"

static uint64_t weights_in(const struct weight *w) { return w->ne[0] * w->ne[1] * w->ne[2] * w->ne[3]; }

static uint64_t stored_bytes(const struct weight *w, enum qtype type) {
    uint64_t row = 0;
    qtype_row_bytes(type, w->ne[0], &row);
    return row * w->ne[1] * w->ne[2] * w->ne[3];
}

enum qtype smallest_type(uint64_t n) {
    size_t count;
    const enum qtype *all = qtype_all(&count);
    for (size_t i = 0; i < count; i++)
        if (qtype_can_write(all[i]) && n % qtype_info(all[i])->block_weights == 0) return all[i];
    return QTYPE_F16;
}

static void add_part(struct inventory *v, const char *part, uint64_t bytes, uint64_t parameters) {
    uint32_t i = 0;
    while (i < v->n_parts && strcmp(v->parts[i].part, part) != 0) i++;
    if (i == INVENTORY_MAX_PARTS) return;
    if (i == v->n_parts) v->parts[v->n_parts++].part = part;
    v->parts[i].bytes += bytes;
    v->parts[i].parameters += parameters;
}

void inventory_take(const struct model *m, struct inventory *v) {
    memset(v, 0, sizeof *v);
    uint64_t layer = 0;
    for (uint32_t i = 0; i < m->n_weights; i++) {
        const struct weight *w = &m->weights[i];
        const struct slot_info *s = slot_info(w->slot);
        uint64_t n = weights_in(w), bytes = s->matrix ? stored_bytes(w, w->type) : round_up(n * sizeof(float), 64);
        add_part(v, s->part, bytes, n);
        v->parameters += n;
        *(s->matrix ? &v->matrix_bytes : &v->vector_bytes) += bytes;
        v->smallest_bytes += s->matrix ? stored_bytes(w, smallest_type(w->ne[0])) : bytes;
        if (!s->per_block) v->outside_bytes += bytes;
        if (i == 0 || w->layer != m->weights[i - 1].layer) layer = 0;
        if (s->per_block) layer += bytes;
        v->layer_bytes = max_u64(v->layer_bytes, layer);
    }
}
