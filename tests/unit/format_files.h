#ifndef UNIT_FORMAT_FILES_H
#define UNIT_FORMAT_FILES_H
/* Files for the tests of src/format: the seeds in fuzz/corpus, shared reference data, a directory for what is written.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/os.h"

/* Paths live until four further calls. */
static inline const char *path_of(const char *root, const char *rest) {
    static char path[4][700];
    static unsigned turn;
    char *p = path[turn++ % 4];
    snprintf(p, sizeof(path[0]), "%s/%s", root, rest);
    return p;
}

static inline const char *corpus(const char *rest) {
    const char *root = getenv("SNUG_SOURCE");
    char sub[300];
    snprintf(sub, sizeof(sub), "fuzz/corpus/%s", rest);
    return path_of(root ? root : ".", sub);
}

/* NULL, said aloud, when the reference data are not there. */
static inline const char *shared(const char *rest) {
    const char *root = getenv("SNUG_SHARED");
    if (!root) printf("SKIPPED PART: reference data (SNUG_SHARED) are absent: %s\n", rest);
    return root ? path_of(root, rest) : NULL;
}

static char scratch_dir[] = "/tmp/snug-format-XXXXXX";
static inline int scratch_make(void **state) {
    (void)state;
    return mkdtemp(scratch_dir) ? 0 : -1;
}
static inline const char *scratch(const char *name) { return path_of(scratch_dir, name); }
static inline int scratch_remove(void **state) {
    char **names;
    size_t n;
    (void)state;
    if (os_list_dir(scratch_dir, &names, &n, NULL)) return -1;
    for (size_t i = 0; i < n; i++) {
        unlink(scratch(names[i]));
        mem_free(names[i]);
    }
    mem_free(names);
    return rmdir(scratch_dir);
}

static inline struct span read_bytes(const char *path) {
    char *data;
    size_t n;
    if (os_read_file(path, (size_t)1 << 30, &data, &n, NULL)) {
        printf("cannot read %s\n", path);
        abort();
    }
    return (struct span){ (uint8_t *)data, n };
}
static inline void write_bytes(const char *path, const void *p, size_t n) {
    if (os_write_file(path, p, n, NULL)) abort();
}
static inline bool same_bytes(const char *a, const char *b) {
    struct span x = read_bytes(a), y = read_bytes(b);
    bool same = x.n == y.n && !memcmp(x.p, y.p, x.n);
    mem_free((void *)x.p);
    mem_free((void *)y.p);
    return same;
}
#endif
