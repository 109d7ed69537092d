#ifndef UNIT_HF_MODEL_H
#define UNIT_HF_MODEL_H
/* A Hugging Face directory of any family with random weights: config.json is the test's, and every tensor that the
 * family's tables ask for with it gets its name and shape from them. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/os.h"
#include "base/rng.h"
#include "format/safetensors.h"
#include "model/model.h"

/* Several slots can lie in one tensor: it is as large as they need together. */
struct hf_tensor { char name[SLOT_NAME_BYTES]; uint64_t ne[3]; bool vector; };

static inline void hf_tensor_grow(struct hf_tensor *t, const struct weight *w, const struct source_map *p) {
    uint64_t i = w->ne[0] - 1, r = w->ne[1] - 1, x = w->ne[2] - 1;
    uint64_t rows = p->row0 + i * p->row_i + r * p->row_r + x * p->row_x + 1;
    uint64_t cols = p->col0 + i * p->col_i + r * p->col_r + 1;
    if (cols > t->ne[0]) t->ne[0] = cols;
    if (rows > t->ne[1]) t->ne[1] = rows;
}

/* The tensors of a weight, appended to list (n); their number after it. */
static inline size_t hf_tensors_of(const struct model *m, const struct weight *w, struct hf_tensor *list, size_t n) {
    const char *pattern = arch_hf_name(m->hp.arch, w->slot);
    if (!pattern) return n;
    bool apart = slot_name_has_expert(pattern), stack = w->ne[2] > 1;
    struct source_map plain = model_plain_map(w), map = plain;
    if (m->hp.arch->hf_map) m->hp.arch->hf_map(&m->hp, w->slot, w->ne, &map);
    for (uint64_t x = 0; x < (apart ? w->ne[stack ? 2 : 1] : 1); x++) {
        struct hf_tensor t = { .ne = { 1, 1, 1 }, .vector = w->ne[1] == 1 && !stack };
        slot_format_name(pattern, w->layer, (uint32_t)x, t.name);
        size_t i = 0;
        while (i < n && strcmp(list[i].name, t.name)) i++;
        if (i == n) list[n++] = t;
        if (memcmp(&map, &plain, sizeof map)) hf_tensor_grow(&list[i], w, &map);
        else memcpy(list[i].ne, w->ne, sizeof t.ne);
        if (apart) list[i].ne[stack ? 2 : 1] = 1;
    }
    return n;
}

/* Matrices are nearly Gaussian with a spread that keeps activations near one; vectors are near what a norm's weight is,
 * and no two of their elements are equal. */
static inline enum err_code hf_tensor_put(const struct hf_tensor *t, struct rng *r, struct tstream *s, struct err *e) {
    uint64_t n = t->ne[0] * t->ne[1] * t->ne[2];
    float *v = mem_alloc(n, sizeof *v);
    if (!v) return err_no_memory(e, n * sizeof *v);
    for (uint64_t i = 0; i < n; i++) {
        float sum = rng_f32(r) + rng_f32(r) + rng_f32(r) - 1.5f;
        v[i] = t->vector ? 1 + 0.2f * sum : 2 * sum / sqrtf((float)t->ne[0]);
    }
    enum err_code rc = tstream_put(s, v, n * sizeof *v, e);
    mem_free(v);
    return rc;
}

static inline enum err_code hf_tensors_write(const char *dir, const struct hf_tensor *list, size_t n, uint64_t seed,
                                             struct err *e) {
    struct safetensors_writer *w = NULL;
    struct tstream *s = NULL;
    struct rng r;
    enum err_code rc;
    rng_seed(&r, seed);
    TRY_OUT(rc, safetensors_writer_new(&w, e));
    for (size_t i = 0; i < n; i++) {
        const struct hf_tensor *t = &list[i];
        unsigned dims = t->ne[2] > 1 ? 3 : t->vector ? 1 : 2;
        TRY_OUT(rc, safetensors_writer_tensor(w, t->name, QTYPE_F32, dims, t->ne, e));
    }
    TRY_OUT(rc, safetensors_writer_open(w, dir, &s, e));
    for (size_t i = 0; i < n; i++) TRY_OUT(rc, hf_tensor_put(&list[i], &r, s, e));
    rc = tstream_commit(s, e);
    s = NULL;
out:
    tstream_abandon(s, false);
    safetensors_writer_free(w);
    return rc;
}

/* dir must exist; config says "torch_dtype": "float32". */
static inline enum err_code hf_model_write(const char *dir, const char *config, uint64_t seed, struct err *e) {
    struct model *m;
    struct hf_tensor *list = NULL;
    char *path = os_path_join(dir, "config.json");
    enum err_code rc = os_write_file(path, config, strlen(config), e);
    mem_free(path);
    TRY(rc);
    TRY(model_open(dir, true, &m, e));
    size_t n = 0, most = (size_t)m->n_weights * (1 + m->hp.n_expert);
    list = NEW_ARRAY(struct hf_tensor, most);
    if (!list) TRY_OUT(rc, err_no_memory(e, most * sizeof *list));
    for (uint32_t i = 0; i < m->n_weights; i++) n = hf_tensors_of(m, &m->weights[i], list, n);
    rc = hf_tensors_write(dir, list, n, seed, e);
out:
    mem_free(list);
    model_close(m);
    return rc;
}
#endif
