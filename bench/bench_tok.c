/* Speed of the tokenizer on one core: the fastest of several runs over each text, and the time to make it ready.
 *
 *   bench_tok MODEL TEXT...      MODEL: a directory with a tokenizer, or a GGUF file
 *
 * Besides the files, texts that repeat one thing, most of which have no words to cut at, show that time stays linear:
 * a megabyte goes as fast as 64 kB. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "base/os.h"
#include "runtime/vocab_file.h"
#include "text/tok.h"

enum { RUNS = 7, SHORT = 64 << 10, LONG = 1 << 20 };

static enum err_code open_vocab(const char *path, struct vocab *v, struct err *e) {
    const struct vocab_hints hints = { 0, -1, -1, -1 };
    struct hf_tokenizer *t;
    struct tfile *f;
    enum err_code rc;
    if (os_is_dir(path)) {
        TRY(hf_tokenizer_open(path, NULL, &t, e));
        rc = vocab_from_hf(t, &hints, v, e);
        hf_tokenizer_close(t);
        return rc;
    }
    TRY(tfile_open(path, 0, &f, e));
    rc = vocab_from_file(f, v, e);
    tfile_close(f);
    return rc;
}

static enum err_code bench_text(const struct tok *t, const char *name, struct str text, struct err *e) {
    uint64_t best = UINT64_MAX;
    size_t n = 0;
    for (int i = 0; i < RUNS; i++) {
        int32_t *ids;
        uint64_t start = os_now_ns();
        TRY(tok_encode(t, text, 0, &ids, &n, e));
        best = min_u64(best, os_now_ns() - start);
        mem_free(ids);
    }
    printf("| %s | %zu | %zu | %.2f | %.2f |\n", name, text.n, n, (double)text.n / (double)n,
           (double)text.n * 1e3 / (double)best);
    return ERR_NONE;
}

static enum err_code bench_file(const struct tok *t, const char *path, struct err *e) {
    struct os_map map;
    TRY(os_map_open(path, &map, e));
    const char *name = strrchr(path, '/');
    enum err_code rc = bench_text(t, name ? name + 1 : path, (struct str){ (const char *)map.p, map.n }, e);
    os_map_close(&map);
    return rc;
}

static const struct { const char *name, *unit; } repeated[] = {
    { "one letter", "a" }, { "spaces", " " }, { "two letters", "ab" }, { "an emoji", "\U0001f999" },
    { "an ideograph", "\u4e2d" }, { "digits", "1" }, { "marks of two classes", "\u0301\u0323" },
    { "blanks and an ideograph", "                \u4e2d" }, { "halves of characters", "\xf0\x9f" },
};

static enum err_code bench_repeated(const struct tok *t, size_t i, size_t size, struct err *e) {
    struct buf text = { 0 };
    while (text.n < size && !text.failed) buf_addz(&text, repeated[i].unit);
    enum err_code rc = buf_status(&text, e);
    if (!rc) rc = bench_text(t, repeated[i].name, (struct str){ text.p, text.n }, e);
    buf_fini(&text);
    return rc;
}

int main(int argc, char **argv) {
    struct vocab v = { 0 };
    struct tok *t = NULL;
    struct err e = { 0 };
    enum err_code rc;
    if (argc < 3) {
        fprintf(stderr, "usage: %s MODEL TEXT...\n", argv[0]);
        return 2;
    }
    uint64_t start = os_now_ns();
    TRY_OUT(rc, open_vocab(argv[1], &v, &e));
    uint64_t read = os_now_ns();
    TRY_OUT(rc, tok_open(&v, &t, &e));
    printf("%u pieces: read in %.0f ms, ready after %.0f ms more\n\n", v.n, (double)(read - start) * 1e-6,
           (double)(os_now_ns() - read) * 1e-6);
    puts("| text | bytes | tokens | bytes a token | MB/s |\n|---|---|---|---|---|");
    for (int i = 2; i < argc; i++) TRY_OUT(rc, bench_file(t, argv[i], &e));
    for (size_t i = 0; i < ARRAY_LEN(repeated); i++) {
        TRY_OUT(rc, bench_repeated(t, i, SHORT, &e));
        TRY_OUT(rc, bench_repeated(t, i, LONG, &e));
    }
out:
    tok_close(t);
    vocab_fini(&v);
    if (rc) {
        char line[700];
        err_format(&e, line, sizeof(line));
        fprintf(stderr, "%s\n", line);
    }
    return err_exit_status(rc);
}
