/* GGUF: reads every key as every kind, every tensor, and writes the header again. */
#include "format/gguf_read.h"
#include "format/gguf_write.h"
#include "fuzz.h"

static void use_key(const struct gguf *g, const char *key) {
    uint32_t u32, each[3];
    uint64_t u64;
    int32_t i32;
    int64_t i64;
    float f32;
    double f64;
    bool b, found;
    struct str s;
    struct gguf_array a;
    gguf_get_u32(g, key, &u32, &found, NULL);
    gguf_get_u64(g, key, &u64, &found, NULL);
    gguf_get_i32(g, key, &i32, &found, NULL);
    gguf_get_f32(g, key, &f32, &found, NULL);
    gguf_get_bool(g, key, &b, &found, NULL);
    gguf_get_u32_each(g, key, each, 3, &found, NULL);
    if (!gguf_get_str(g, key, &s, &found, NULL)) fuzz_touch(s.p, s.n);
    if (gguf_get_array(g, key, &a, &found, NULL)) return;
    for (uint64_t i = 0; a.elem != GGUF_STRING && i < a.n; i++) {
        gguf_array_u64(&a, i, &u64);
        gguf_array_i64(&a, i, &i64);
        gguf_array_f64(&a, i, &f64);
    }
    while (gguf_array_next_str(&a, &s)) fuzz_touch(s.p, s.n);
}

static void write_again(const struct gguf *g) {
    struct gguf_writer *w;
    struct buf header = { 0 };
    if (gguf_writer_new(&w, NULL)) return;
    for (size_t i = 0; i < g->n_kv; i++) gguf_writer_copy(w, &g->kv[i]);
    for (size_t i = 0; i < g->n_tensors; i++) {
        const struct tfile_tensor *t = &g->tensors[i];
        gguf_writer_tensor(w, t->name, t->type, t->n_dims, t->ne, NULL);
    }
    gguf_writer_header(w, &header, NULL);
    buf_fini(&header);
    gguf_writer_free(w);
}

enum err_code fuzz_one(struct span data, struct err *e) {
    struct gguf *g;
    enum err_code rc = gguf_open(data, &g, e);
    if (rc) return rc;
    for (size_t i = 0; i < g->n_kv; i++) use_key(g, g->kv[i].key);
    for (size_t i = 0; i < g->n_tensors; i++) fuzz_touch(g->tensors[i].data, g->tensors[i].bytes);
    write_again(g);
    gguf_close(g);
    return ERR_NONE;
}
