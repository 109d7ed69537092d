#ifndef TESTS_REMOVE_ALL_H
#define TESTS_REMOVE_ALL_H
#include <stdio.h>

#include "base/mem.h"
#include "base/os.h"

/* A file, or a directory with all that is in it. What is not there is fine. */
static inline void remove_all(const char *path) {
    char **names;
    size_t n;
    if (os_is_dir(path) && os_list_dir(path, &names, &n, NULL) == ERR_NONE) {
        for (size_t i = 0; i < n; i++) {
            char *inner = os_path_join(path, names[i]);
            remove_all(inner);
            mem_free(inner);
            mem_free(names[i]);
        }
        mem_free(names);
    }
    remove(path);
}
#endif
