/* embed SYMBOL FILE...: prints C source with the files' bytes, joined, as `const unsigned char SYMBOL[]` and their
 * number as `const size_t SYMBOL_bytes`. Runs while the project is built. */
#include <stdio.h>
#include <string.h>

static int print_file(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    if (!f) return perror(path), 1;
    for (int c; (c = getc(f)) != EOF; ++*n) printf("%d,%s", c, *n % 32 == 31 ? "\n" : "");
    int failed = ferror(f);
    if (failed) perror(path);
    fclose(f);
    return failed;
}

int main(int argc, char **argv) {
    if (argc < 3) return fprintf(stderr, "usage: embed SYMBOL FILE...\n"), 2;
    const char *symbol = argv[1];
    size_t n = 0;
    printf("#include <stddef.h>\nextern const unsigned char %s[];\nextern const size_t %s_bytes;\n", symbol, symbol);
    printf("const unsigned char %s[] = {\n", symbol);
    for (int i = 2; i < argc; i++)
        if (print_file(argv[i], &n)) return 1;
    printf("};\nconst size_t %s_bytes = %zu;\n", symbol, n);
    return fflush(stdout) || ferror(stdout);
}
