/* Runs a target over every file of its corpus, without libFuzzer: replay NAME DIRECTORY. Files named bad_* must be
 * refused with a sentence, all others taken. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "fuzz.h"

/* Whether the file fared as its name says. The copy has the exact size, so that one byte too far is seen. */
static bool replay(const char *path, const char *name) {
    struct os_map map;
    struct err e = { 0 };
    char text[700];
    if (os_map_open(path, &map, &e)) return false;
    uint8_t *exact = mem_alloc(map.n, 1);
    if (map.n) memcpy(exact, map.p, map.n);
    enum err_code rc = fuzz_one((struct span){ exact, map.n }, &e);
    mem_free(exact);
    os_map_close(&map);
    err_format(&e, text, sizeof(text));
    bool bad = !strncmp(name, "bad_", 4), good = bad ? rc && e.msg[0] : !rc;
    if (!good) printf("%s: expected to be %s: %s\n", path, bad ? "refused" : "taken", text);
    return good;
}

int main(int argc, char **argv) {
    char **names;
    size_t n, failed = 0;
    struct err e = { 0 };
    if (argc != 3 || os_list_dir(argv[2], &names, &n, &e)) {
        fprintf(stderr, "usage: %s NAME DIRECTORY\n", argv[0]);
        return 2;
    }
    printf("[ RUN      ] corpus of %s\n%zu files\n", argv[1], n);
    for (size_t i = 0; i < n; i++) {
        char *path = os_path_join(argv[2], names[i]);
        failed += !path || !replay(path, names[i]);
        mem_free(path);
        mem_free(names[i]);
    }
    mem_free(names);
    if (!n) failed++;
    printf("[  %s ] corpus of %s\n", failed ? "FAILED " : "     OK", argv[1]);
    return failed != 0;
}
