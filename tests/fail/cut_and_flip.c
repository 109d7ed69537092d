/* Damages good files and parses what is left: cut_and_flip NAME strict|loose FILE... Every file is cut at every byte
 * and has every bit flipped, in this one process; the parser (fuzz_one of a fuzz target) must answer with an error
 * that has a sentence, or with a valid parse. strict: a cut file is never taken, padding and blanks at its end aside.
 *
 * Each case has five seconds, then the process dies by SIGALRM. Without sanitizers the process may take 512 MB of
 * address space, so a damaged length that is believed shows as "out of memory". */
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/os.h"
#include "fuzz.h"

enum { MAX_FILE_BYTES = 4096, CASE_SECONDS = 5 };

struct count { size_t taken, refused, wrong; };

/* Parses a copy of the exact size, so that one byte too far is seen. */
static bool parse(const char *data, size_t n, struct count *count) {
    struct err e = { 0 };
    uint8_t *exact = mem_alloc(n, 1);
    memcpy(exact, data, n);
    alarm(CASE_SECONDS);
    enum err_code rc = fuzz_one((struct span){ exact, n }, &e);
    alarm(0);
    mem_free(exact);
    if (rc) count->refused++;
    else count->taken++;
    if (rc && (!e.msg[0] || e.code != rc || rc == ERR_NO_MEMORY || rc == ERR_INTERNAL)) {
        printf("code %d '%s'\n", rc, e.msg);
        count->wrong++;
    }
    return rc == ERR_NONE;
}

static bool is_filler(char c) { return c == 0 || c == ' ' || c == '\n'; }

static void cut(const char *data, size_t size, bool strict, struct count *count) {
    size_t needed = size;
    while (needed && is_filler(data[needed - 1])) needed--;
    for (size_t n = 0; n < size; n++) {
        if (!parse(data, n, count) || !strict || n >= needed) continue;
        printf("taken although only %zu of %zu bytes are there\n", n, size);
        count->wrong++;
    }
}

static void flip(char *data, size_t size, struct count *count) {
    for (size_t i = 0; i < size; i++)
        for (int bit = 0; bit < 8; bit++) {
            data[i] ^= (char)(1 << bit);
            parse(data, size, count);
            data[i] ^= (char)(1 << bit);
        }
}

static bool damage(const char *name, bool strict, const char *path) {
    char *data;
    size_t n;
    struct count count = { 0 };
    printf("[ RUN      ] damaged %s: %s\n", name, path);
    if (os_read_file(path, MAX_FILE_BYTES, &data, &n, NULL) || !parse(data, n, &count)) {
        printf("cannot be read while it is whole\n");
        count.wrong++;
    } else {
        cut(data, n, strict, &count);
        flip(data, n, &count);
        mem_free(data);
    }
    if (!count.refused) count.wrong++;
    printf("%zu refused, %zu taken, %zu wrong\n", count.refused, count.taken, count.wrong);
    printf("[  %s ] damaged %s: %s\n", count.wrong ? "FAILED " : "     OK", name, path);
    return !count.wrong;
}

int main(int argc, char **argv) {
    bool good = argc > 3;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__clang__)
    struct rlimit limit = { (rlim_t)512 << 20, (rlim_t)512 << 20 };
    setrlimit(RLIMIT_AS, &limit);
#endif
    for (int i = 3; i < argc; i++) good &= damage(argv[1], !strcmp(argv[2], "strict"), argv[i]);
    return !good;
}
