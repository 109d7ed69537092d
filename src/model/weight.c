/* Reading weights: whatever order and shape a file keeps them in, rows come out as GGUF has them, or as they are used.
 *
 * Nothing here allocates or fails: model_open has checked that every number lies inside of its tensor. */
#include <assert.h>
#include <string.h>

#include "base/num.h"
#include "base/os.h"
#include "model/model.h"

uint32_t model_permuted_heads(const struct hparams *hp, enum slot s) {
    if (!hp->arch->permute_qk) return 0;
    if (s == SLOT_ATTN_Q || s == SLOT_ATTN_Q_B) return hp->n_head;
    if (s == SLOT_ATTN_K || s == SLOT_ATTN_K_B) return hp->n_head_kv;
    return 0;
}

/* Row 2i + j of a head among neighbours is row j * half + i among halves. Reading the hyper-parameters made sure that a
 * head has two rows at least. */
uint64_t rope_row_in_halves(uint64_t n_rows, uint32_t heads, uint64_t r) {
    uint64_t dim = n_rows / heads;
    assert(dim >= 2);
    uint64_t in_head = r % dim;
    return r - in_head + in_head % 2 * (dim / 2) + in_head / 2;
}

uint64_t rope_row_in_neighbours(uint64_t n_rows, uint32_t heads, uint64_t r) {
    uint64_t dim = n_rows / heads;
    assert(dim >= 2);
    uint64_t in_head = r % dim;
    return r - in_head + in_head % (dim / 2) * 2 + in_head / (dim / 2);
}

uint64_t model_file_row(const struct weight *w, uint64_t r) {
    uint64_t n_rows = slot_info(w->slot)->matrix ? w->ne[1] : w->ne[0];
    return w->permute_heads ? rope_row_in_halves(n_rows, w->permute_heads, r) : r;
}

uint64_t model_weight_rows(const struct weight *w) { return w->ne[1] * w->ne[2] * w->ne[3]; }

uint64_t model_weight_bytes(const struct weight *w) {
    uint64_t row = 0;
    qtype_row_bytes(w->type, w->ne[0], &row);
    return row * model_weight_rows(w);
}

struct source_map model_plain_map(const struct weight *w) {
    bool apart = w->n_parts > 1, stacked = w->ne[2] > 1;
    return (struct source_map){ .col_i = 1, .row_r = apart && !stacked ? 0 : 1,
                                .row_x = apart && stacked ? 0 : w->ne[1] };
}

/* --- MXFP4 in two tensors --- */

enum { MX_WEIGHTS = 32, MX_CODES = 16 };

/* One block as GGUF has it: the scale, then codes, the j-th of the first half sharing a byte with the j-th of the
 * second. Hugging Face files pair neighbours. */
static void mx_block(const struct weight *w, uint64_t index, uint8_t block[1 + MX_CODES]) {
    const uint8_t *from = w->src->data + index * MX_CODES;
    uint8_t codes[MX_WEIGHTS];
    for (unsigned i = 0; i < MX_CODES; i++) {
        codes[2 * i] = from[i] & 15;
        codes[2 * i + 1] = from[i] >> 4;
    }
    block[0] = w->scales->data[index];
    for (unsigned j = 0; j < MX_CODES; j++) block[1 + j] = (uint8_t)(codes[j] | codes[j + MX_CODES] << 4);
}

/* Blocks of a row, decoded, as stored, or both; either may be NULL. */
static void mx_row(const struct weight *w, uint64_t number, float *decoded, uint8_t *stored) {
    uint64_t r = number % w->ne[1], x = number / w->ne[1], n = w->ne[0] / MX_WEIGHTS;
    uint64_t first = (w->map.row0 + r * w->map.row_r + x * w->map.row_x) * n;
    for (uint64_t i = 0; i < n; i++) {
        uint8_t block[1 + MX_CODES];
        mx_block(w, first + i, block);
        if (stored) memcpy(stored + i * sizeof block, block, sizeof block);
        if (decoded) qtype_info(w->type)->decode(block, decoded + i * MX_WEIGHTS, MX_WEIGHTS);
    }
}

/* --- Rows --- */

/* Where a row's numbers lie: from p on, one `step` bytes after the other. */
struct row { const uint8_t *p; uint64_t step; };

static struct row row_at(const struct weight *w, uint64_t number) {
    const struct source_map *m = &w->map;
    const struct qtype_info *q = qtype_info(w->type);
    uint64_t r = number % w->ne[1], x = number / w->ne[1];
    const struct tfile_tensor *t = w->n_parts == 1 ? w->src : w->parts[w->ne[2] > 1 ? x : r];
    uint64_t row_bytes = t->bytes / (t->ne[1] * t->ne[2] * t->ne[3]);
    uint64_t row = m->row0 + r * m->row_r + x * m->row_x, col = m->col0 + r * m->col_r;
    return (struct row){ t->data + row * row_bytes + col / q->block_weights * q->block_bytes,
                         m->row_i * row_bytes + m->col_i * q->block_bytes };
}

/* Whether the numbers of a row follow each other. */
static bool rows_are_whole(const struct weight *w) {
    return w->map.col_i == 1 && w->map.row_i == 0 && !w->scales;
}

static bool rows_are_together(const struct weight *w) {
    return rows_are_whole(w) && w->n_parts == 1 && w->map.row_r == 1 && w->map.row_x == w->ne[1];
}

bool model_is_in_file(const struct weight *w) {
    return rows_are_together(w) && w->map.row0 == 0 && w->map.col0 == 0 && w->map.col_r == 0;
}

const uint8_t *model_matrix_in_file(const struct weight *w, uint64_t x) {
    bool whole = rows_are_whole(w) && w->map.col_r == 0 && w->map.row_r == 1 && w->src->ne[0] == w->ne[0];
    return whole ? row_at(w, x * w->ne[1]).p : NULL;
}

static void read_row(const struct weight *w, uint64_t number, float *out) {
    const struct qtype_info *q = qtype_info(w->type);
    if (w->scales) {
        mx_row(w, number, out, NULL);
        return;
    }
    struct row row = row_at(w, number);
    if (rows_are_whole(w)) {
        q->decode(row.p, out, w->ne[0]);
        return;
    }
    for (uint64_t i = 0; i < w->ne[0]; i++) q->decode(row.p + i * row.step, out + i, 1);
}

void model_read_file_rows(const struct weight *w, uint64_t r0, uint64_t n, float *out) {
    if (rows_are_together(w)) {
        qtype_info(w->type)->decode(row_at(w, r0).p, out, n * w->ne[0]);
    } else {
        for (uint64_t r = 0; r < n; r++) read_row(w, r0 + r, out + r * w->ne[0]);
    }
    for (uint64_t i = 0; w->add != 0 && i < n * w->ne[0]; i++) out[i] += w->add;
}

void model_copy_file_rows(const struct weight *w, uint64_t r0, uint64_t n, void *out) {
    const struct qtype_info *q = qtype_info(w->type);
    uint64_t bytes = model_weight_bytes(w) / model_weight_rows(w);
    uint8_t *to = out;
    for (uint64_t r = 0; r < n; r++, to += bytes) {
        if (w->scales) {
            mx_row(w, r0 + r, NULL, to);
            continue;
        }
        struct row row = row_at(w, r0 + r);
        uint64_t n_pieces = rows_are_whole(w) ? 1 : w->ne[0], size = rows_are_whole(w) ? bytes : q->block_bytes;
        for (uint64_t i = 0; i < n_pieces; i++) memcpy(to + i * size, row.p + i * row.step, size);
    }
}

void model_read_rows(const struct weight *w, uint64_t r0, uint64_t n, float *out) {
    const struct qtype_info *q = qtype_info(w->type);
    if (!w->permute_heads) {
        model_read_file_rows(w, r0, n, out);
    } else if (slot_info(w->slot)->matrix) {
        for (uint64_t r = 0; r < n; r++) model_read_file_rows(w, model_file_row(w, r0 + r), 1, out + r * w->ne[0]);
    } else { /* a bias: floats, one row */
        for (uint64_t i = 0; i < w->ne[0]; i++)
            q->decode(w->src->data + model_file_row(w, i) * q->block_bytes, out + i, 1);
    }
}

void model_release_rows(const struct weight *w, uint64_t r0, uint64_t n) {
    if (!rows_are_together(w)) return;
    uint64_t bytes = model_weight_bytes(w) / model_weight_rows(w);
    os_advise(row_at(w, r0).p, n * bytes, OS_DONTNEED);
}

void model_release(const struct weight *w) {
    for (uint32_t i = 0; i < w->n_parts; i++) os_advise(w->parts[i]->data, w->parts[i]->bytes, OS_DONTNEED);
    if (w->scales) os_advise(w->scales->data, w->scales->bytes, OS_DONTNEED);
}
