/* Opens any set of weight files as one table of tensors. Owns the mappings, the readers' tables and the merged, sorted
 * view; promises that names are unique over all files and that a set is complete: every shard is there and says the
 * same as the others and the index. What a name or a key means is for the model layer. */
#include "format/tfile.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "base/str.h"
#include "format/safetensors.h"

enum { MAX_FILES = UINT16_MAX }; /* tfile_tensor.shard and split.count have 16 bits */

/* One mapped file with what its reader found; exactly one of gguf and st is set. */
struct part { char *path; struct os_map map; struct gguf *gguf; struct safetensors *st; };

struct tfile_private {
    struct part *parts;
    struct tfile_tensor *tensors;
    const struct tfile_tensor **by_name;
    struct hf_config *config, *generation, *tokenizer_config;
};

static struct span span_of(const struct os_map *m) { return (struct span){ m->p, m->n }; }

static bool ends_in(const char *name, const char *suffix) {
    size_t n = strlen(name), n_suffix = strlen(suffix);
    return n > n_suffix && !strcmp(name + n - n_suffix, suffix);
}

/* --- Parts --- */

static void part_close(struct part *p) {
    gguf_close(p->gguf);
    safetensors_close(p->st);
    os_map_close(&p->map);
    mem_free(p->path);
    *p = (struct part){ 0 };
}

/* Takes path, also on failure; NULL stands for a failed allocation. */
static enum err_code part_open(char *path, enum tfile_kind kind, struct part *p, struct err *e) {
    enum err_code rc;
    *p = (struct part){ .path = path };
    if (!path) return err_no_memory(e, 0);
    TRY_OUT(rc, os_map_open(path, &p->map, e));
    rc = kind == TFILE_GGUF ? gguf_open(span_of(&p->map), &p->gguf, e) : safetensors_open(span_of(&p->map), &p->st, e);
    if (rc) err_where(e, rc, "%s", path);
out:
    if (rc) part_close(p);
    return rc;
}

static enum err_code add_part(struct tfile *f, char *path, struct err *e) {
    struct part *parts = NULL, part;
    enum tfile_kind kind = f->kind == TFILE_GGUF ? TFILE_GGUF : TFILE_SAFETENSORS;
    TRY(part_open(path, kind, &part, e));
    if (f->n_files < MAX_FILES) parts = mem_realloc(f->priv->parts, f->n_files, f->n_files + 1, sizeof(*parts));
    if (!parts) {
        part_close(&part);
        return f->n_files < MAX_FILES ? err_no_memory(e, (f->n_files + 1) * sizeof(*parts))
                                      : err_set(e, ERR_TOO_LARGE, "more than %d weight files", MAX_FILES);
    }
    f->priv->parts = parts;
    parts[f->n_files++] = part;
    f->file_bytes += part.map.n;
    return ERR_NONE;
}

static const struct tfile_tensor *part_tensors(const struct part *p, size_t *n) {
    *n = p->gguf ? p->gguf->n_tensors : p->st->n_tensors;
    return p->gguf ? p->gguf->tensors : p->st->tensors;
}

/* --- The merged table --- */

static int by_name(const void *a, const void *b) {
    const struct tfile_tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static enum err_code merge(struct tfile *f, struct err *e) {
    size_t n = 0, n_part;
    for (size_t i = 0; i < f->n_files; i++) {
        part_tensors(&f->priv->parts[i], &n_part);
        n += n_part;
    }
    struct tfile_tensor *all = f->priv->tensors = NEW_ARRAY(struct tfile_tensor, n);
    const struct tfile_tensor **sorted = f->priv->by_name = NEW_ARRAY(const struct tfile_tensor *, n);
    if (!all || !sorted) return err_no_memory(e, n * sizeof(*all));
    f->tensors = all;
    for (size_t i = 0; i < f->n_files; i++) {
        const struct tfile_tensor *t = part_tensors(&f->priv->parts[i], &n_part);
        for (size_t k = 0; k < n_part; k++, f->n_tensors++) {
            all[f->n_tensors] = t[k];
            all[f->n_tensors].shard = (uint16_t)i;
            sorted[f->n_tensors] = &all[f->n_tensors];
        }
    }
    qsort(sorted, n, sizeof(struct tfile_tensor *), by_name);
    for (size_t i = 1; i < n; i++)
        if (!strcmp(sorted[i - 1]->name, sorted[i]->name))
            return err_set(e, ERR_FORMAT, "tensor %s is both in %s and in %s", sorted[i]->name,
                           tfile_file_path(f, sorted[i - 1]->shard), tfile_file_path(f, sorted[i]->shard));
    return ERR_NONE;
}

const struct tfile_tensor *tfile_find(const struct tfile *f, const char *name) {
    struct tfile_tensor key = { .name = name }, *key_at = &key;
    const struct tfile_tensor **hit =
        bsearch(&key_at, f->priv->by_name, f->n_tensors, sizeof(struct tfile_tensor *), by_name);
    return hit ? *hit : NULL;
}

const char *tfile_file_path(const struct tfile *f, size_t i) { return f->priv->parts[i].path; }

bool tfile_changed_since(const struct tfile *f, const char *path) {
    for (size_t i = 0; i < f->n_files; i++)
        if (os_is_newer(tfile_file_path(f, i), path)) return true;
    return false;
}

/* --- GGUF --- */

/* What the split.* keys of one shard say; count 0 or 1 means a file that stands alone. */
struct split { uint32_t no, count, n_tensors; };

static enum err_code read_split(const struct part *p, struct split *s, struct err *e) {
    bool found;
    *s = (struct split){ 0 };
    enum err_code rc = gguf_get_u32(p->gguf, "split.count", &s->count, &found, e);
    if (!rc && s->count > 1) rc = gguf_get_u32(p->gguf, "split.no", &s->no, NULL, e);
    if (!rc && s->count > 1) rc = gguf_get_u32(p->gguf, "split.tensors.count", &s->n_tensors, NULL, e);
    if (!rc && s->count > 1 && (s->count > MAX_FILES || s->no >= s->count))
        rc =
            err_set(e, ERR_FORMAT, "the file says that it is number %" PRIu32 " of %" PRIu32 " files", s->no, s->count);
    return rc ? err_where(e, rc, "%s", p->path) : ERR_NONE;
}

/* Where the name's -00001-of-00003.gguf begins; NULL if it is not the one that the split demands. */
static const char *split_suffix(const char *path, const struct split *s) {
    char suffix[48];
    int n = snprintf(suffix, sizeof(suffix), "-%05" PRIu32 "-of-%05" PRIu32 ".gguf", s->no + 1, s->count);
    size_t n_path = strlen(path);
    if (n_path < (size_t)n || strcmp(path + n_path - n, suffix) != 0) return NULL;
    return path + n_path - n;
}

static enum err_code open_shards(struct tfile *f, const struct split *first, struct err *e) {
    const char *suffix = split_suffix(f->path, first);
    uint64_t n_tensors = 0;
    if (!suffix)
        return err_set(e, ERR_FORMAT, "%s is file %" PRIu32 " of a set of %" PRIu32 " and must be named ...-%05" PRIu32
                       "-of-%05" PRIu32 ".gguf, so that the others can be found", f->path, first->no + 1, first->count,
                       first->no + 1, first->count);
    char *prefix = mem_strndup(f->path, (size_t)(suffix - f->path));
    if (!prefix) return err_no_memory(e, (uint64_t)(suffix - f->path));
    enum err_code rc = ERR_NONE;
    for (uint32_t i = 0; i < first->count; i++) {
        struct split s;
        TRY_OUT(rc, add_part(f, gguf_split_path(prefix, i, first->count), e));
        TRY_OUT(rc, read_split(&f->priv->parts[i], &s, e));
        n_tensors += f->priv->parts[i].gguf->n_tensors;
        if (s.no != i || s.count != first->count || s.n_tensors != first->n_tensors) {
            rc = err_set(e, ERR_FORMAT, "the file does not belong to the set of %s: its split keys differ", f->path);
            err_where(e, rc, "%s", f->priv->parts[i].path);
            goto out;
        }
    }
    if (n_tensors != first->n_tensors)
        rc = err_set(e, ERR_FORMAT,
                     "the %" PRIu32 " files of the set hold %" PRIu64 " tensors together; %" PRIu32 " are due",
                     first->count, n_tensors, first->n_tensors);
out:
    mem_free(prefix);
    return rc;
}

static enum err_code open_gguf(struct tfile *f, struct err *e) {
    struct split s;
    f->kind = TFILE_GGUF;
    TRY(add_part(f, mem_strdup(f->path), e));
    TRY(read_split(&f->priv->parts[0], &s, e));
    if (s.count > 1) { /* begin again, in order */
        f->n_files = 0;
        f->file_bytes = 0;
        part_close(&f->priv->parts[0]);
        TRY(open_shards(f, &s, e));
    }
    f->gguf = f->priv->parts[0].gguf;
    return ERR_NONE;
}

/* --- Hugging Face --- */

/* A file of the directory, left out in silence when it is not there. */
static enum err_code open_config(const char *dir, const char *name, struct hf_config **out, struct err *e) {
    char *path = os_path_join(dir, name);
    if (!path) return err_no_memory(e, strlen(dir) + strlen(name) + 2);
    enum err_code rc = os_exists(path) ? hf_config_open(path, out, e) : ERR_NONE;
    mem_free(path);
    return rc;
}

static enum err_code open_configs(struct tfile *f, struct err *e) {
    TRY(open_config(f->dir, "config.json", &f->priv->config, e));
    TRY(open_config(f->dir, "generation_config.json", &f->priv->generation, e));
    TRY(open_config(f->dir, "tokenizer_config.json", &f->priv->tokenizer_config, e));
    f->config = f->priv->config;
    f->generation = f->priv->generation;
    f->tokenizer_config = f->priv->tokenizer_config;
    return ERR_NONE;
}

/* The shards and the index must name each other's tensors, all of them. */
static enum err_code check_index(const struct tfile *f, const struct safetensors_index *x, struct err *e) {
    for (size_t i = 0; i < f->n_tensors; i++) {
        const struct tfile_tensor *t = &f->tensors[i];
        if (safetensors_index_find(x, t->name) != t->shard)
            return err_set(e, ERR_FORMAT, "tensor %s is in %s, which the index does not say", t->name,
                           tfile_file_path(f, t->shard));
    }
    for (size_t i = 0; i < x->n_entries; i++)
        if (!tfile_find(f, x->entries[i].tensor))
            return err_set(e, ERR_FORMAT, "tensor %s is in the index but not in %s", x->entries[i].tensor,
                           x->files[x->entries[i].file]);
    return ERR_NONE;
}

static enum err_code open_indexed(struct tfile *f, const char *index_path, struct err *e) {
    struct os_map map;
    struct safetensors_index *x = NULL;
    enum err_code rc;
    TRY(os_map_open(index_path, &map, e));
    TRY_OUT(rc, safetensors_index_open(span_of(&map), &x, e));
    for (size_t i = 0; i < x->n_files; i++) TRY_OUT(rc, add_part(f, os_path_join(f->dir, x->files[i]), e));
    TRY_OUT(rc, merge(f, e));
    rc = check_index(f, x, e);
out:
    safetensors_index_close(x);
    os_map_close(&map);
    return rc ? err_where(e, rc, "%s", index_path) : ERR_NONE;
}

static enum err_code open_every(struct tfile *f, struct err *e) {
    char **names;
    size_t n;
    TRY(os_list_dir(f->dir, &names, &n, e));
    enum err_code rc = ERR_NONE;
    for (size_t i = 0; i < n; i++) {
        if (!rc && ends_in(names[i], ".safetensors")) rc = add_part(f, os_path_join(f->dir, names[i]), e);
        mem_free(names[i]);
    }
    mem_free(names);
    return rc;
}

static enum err_code open_weights(struct tfile *f, unsigned flags, struct err *e) {
    char *index = os_path_join(f->dir, "model.safetensors.index.json"),
         *single = os_path_join(f->dir, "model.safetensors");
    enum err_code rc = ERR_NONE;
    if (!index || !single) rc = err_no_memory(e, strlen(f->dir) + 32);
    else if (os_exists(index)) rc = open_indexed(f, index, e);
    else if (os_exists(single)) rc = add_part(f, mem_strdup(single), e);
    else rc = open_every(f, e);
    if (!rc && !f->n_files && !(flags & TFILE_NO_WEIGHTS_OK))
        rc = err_set(e, ERR_NOT_FOUND, "%s has a config.json but no weights: model.safetensors, or shards with "
                     "model.safetensors.index.json, are expected", f->dir);
    mem_free(single);
    mem_free(index);
    return rc;
}

static enum err_code open_dir(struct tfile *f, unsigned flags, struct err *e) {
    f->kind = TFILE_HF;
    f->dir = mem_strdup(f->path);
    if (!f->dir) return err_no_memory(e, strlen(f->path) + 1);
    TRY(open_configs(f, e));
    if (!f->config)
        return err_set(e, ERR_NOT_FOUND,
                       "%s is a directory without config.json: a Hugging Face model directory or a .gguf or "
                       ".safetensors file is expected",
                       f->path);
    return open_weights(f, flags, e);
}

/* --- Opening --- */

static char *dir_of(const char *path) {
    const char *slash = strrchr(path, '/');
    if (!slash) return mem_strdup(".");
    return mem_strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

static enum err_code open_beside_config(struct tfile *f, enum tfile_kind kind, struct err *e) {
    f->kind = kind;
    f->dir = dir_of(f->path);
    if (!f->dir) return err_no_memory(e, strlen(f->path) + 1);
    TRY(open_configs(f, e));
    return kind == TFILE_SAFETENSORS ? add_part(f, mem_strdup(f->path), e) : ERR_NONE;
}

/* A file named config.json: the model without its weights. */
static bool is_config_path(const char *path) {
    const char *slash = strrchr(path, '/');
    return !strcmp(slash ? slash + 1 : path, "config.json");
}

static enum err_code open_any(struct tfile *f, unsigned flags, struct err *e) {
    struct os_map map;
    if (os_is_dir(f->path)) return open_dir(f, flags, e);
    TRY(os_map_open(f->path, &map, e));
    bool gguf = gguf_probe(span_of(&map)), st = !gguf && safetensors_probe(span_of(&map));
    os_map_close(&map);
    if (!gguf && !st) { /* neither by content: the name decides whose complaint is the clearer one */
        gguf = ends_in(f->path, ".gguf");
        st = ends_in(f->path, ".safetensors");
    }
    if (gguf) return open_gguf(f, e);
    if (st) return open_beside_config(f, TFILE_SAFETENSORS, e);
    if ((flags & TFILE_NO_WEIGHTS_OK) && is_config_path(f->path)) return open_beside_config(f, TFILE_HF, e);
    return err_set(e, ERR_FORMAT,
                   "%s is neither GGUF nor safetensors: a .gguf file, a .safetensors file or a Hugging Face "
                   "model directory is expected",
                   f->path);
}

enum err_code tfile_open(const char *path, unsigned flags, struct tfile **out, struct err *e) {
    enum err_code rc;
    *out = NULL;
    struct tfile *f = NEW(struct tfile);
    if (!f) return err_no_memory(e, sizeof(*f));
    f->priv = NEW(struct tfile_private);
    f->path = mem_strdup(path);
    if (!f->priv || !f->path) TRY_OUT(rc, err_no_memory(e, strlen(path) + sizeof(*f->priv)));
    TRY_OUT(rc, open_any(f, flags, e));
    if (!f->tensors) TRY_OUT(rc, merge(f, e)); /* an index has made it do so already */
    *out = f;
    return ERR_NONE;
out:
    tfile_close(f);
    return rc;
}

void tfile_close(struct tfile *f) {
    if (!f) return;
    struct tfile_private *p = f->priv;
    if (p) {
        for (size_t i = 0; i < f->n_files; i++) part_close(&p->parts[i]);
        mem_free(p->parts);
        mem_free(p->tensors);
        mem_free(p->by_name);
        hf_config_close(p->config);
        hf_config_close(p->generation);
        hf_config_close(p->tokenizer_config);
        mem_free(p);
    }
    mem_free(f->dir);
    mem_free(f->path);
    mem_free(f);
}
