/* safetensors: a file, or what begins with a brace as the index of a set. */
#include <string.h>

#include "format/safetensors.h"
#include "fuzz.h"

static enum err_code use_index(struct span data, struct err *e) {
    struct safetensors_index *x;
    enum err_code rc = safetensors_index_open(data, &x, e);
    if (rc) return rc;
    for (size_t i = 0; i < x->n_entries; i++) {
        const char *file = x->files[safetensors_index_find(x, x->entries[i].tensor)];
        fuzz_touch(file, strlen(file));
    }
    safetensors_index_close(x);
    return ERR_NONE;
}

enum err_code fuzz_one(struct span data, struct err *e) {
    struct safetensors *s;
    if (data.n && data.p[0] == '{') return use_index(data, e);
    enum err_code rc = safetensors_open(data, &s, e);
    if (rc) return rc;
    for (size_t i = 0; i < s->n_tensors; i++) {
        fuzz_touch(s->tensors[i].name, strlen(s->tensors[i].name));
        fuzz_touch(s->tensors[i].data, s->tensors[i].bytes);
    }
    safetensors_close(s);
    return ERR_NONE;
}
