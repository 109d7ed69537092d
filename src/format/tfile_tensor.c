/* Checks that all weight formats share. */
#include "format/tfile_tensor.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

bool tfile_is_name(const char *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if ((uint8_t)p[i] < 0x20 || p[i] == 0x7F) return false;
    return utf8_valid(p, n);
}

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

const char *tfile_twin(const char **names, size_t n) {
    if (n) qsort(names, n, sizeof(*names), by_text);
    for (size_t i = 1; i < n; i++)
        if (!strcmp(names[i - 1], names[i])) return names[i];
    return NULL;
}
