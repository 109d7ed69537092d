/* snug tokenize: text to ids, one piece a line. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/mem.h"
#include "base/str.h"
#include "base/utf8.h"
#include "cli/cli.h"

/* A piece may be part of a character: bytes that are no UTF-8 are shown as <XX>. */
static void put_piece(struct buf *out, const char *p, size_t n) {
    while (n) {
        uint32_t cp;
        size_t k = utf8_step(p, n, &cp);
        if (cp == 0xFFFD && k == 1) buf_addf(out, "<%02X>", (unsigned char)*p);
        else buf_add(out, p, k);
        p += k;
        n -= k;
    }
    buf_add(out, "", 0);
}

static int print(const snug_model *m, const struct snug_tokens *t, bool json) {
    json_t *ids = json_array(), *pieces = json_array();
    struct buf shown = { 0 };
    struct snug_error error;
    int failed = 0;
    for (size_t i = 0; i < t->n && !failed; i++) {
        char *text;
        size_t n;
        failed = snug_piece(m, t->ids[i], &text, &n, &error);
        if (failed) break;
        buf_clear(&shown);
        put_piece(&shown, text, n);
        if (json) {
            json_array_append_new(ids, json_integer(t->ids[i]));
            json_array_append_new(pieces, json_stringn(shown.p ? shown.p : "", shown.n));
        } else {
            printf("%6d -> '%.*s'\n", t->ids[i], (int)shown.n, shown.p ? shown.p : "");
        }
        snug_free(text);
    }
    buf_fini(&shown);
    if (failed || !json) {
        json_decref(ids);
        json_decref(pieces);
        return failed ? cli_fail(&error) : cli_flush();
    }
    return cli_json(json_pack("{s:o, s:o}", "ids", ids, "pieces", pieces));
}

static enum err_code read_text(const struct opts *o, char **owned, const char **text, size_t *n, struct err *e) {
    const char *p = opts_str(o, "--prompt"), *file = opts_str(o, "--file");
    if (p && file) return err_set(e, ERR_USAGE, "-p and -f exclude each other");
    if (!p && !file && isatty(STDIN_FILENO)) return err_set(e, ERR_USAGE, "no text: give one with -p TEXT or -f FILE");
    if (!p) TRY(cli_read_text(file, owned, n, e));
    *text = p ? p : *owned;
    if (p) *n = strlen(p);
    return ERR_NONE;
}

int cmd_tokenize(const struct opts *o) {
    const char *path, *text = NULL;
    char *owned = NULL;
    size_t n = 0;
    struct err e;
    struct snug_error error;
    snug_model *m = NULL;
    struct snug_tokens t = { 0 };
    enum err_code rc = opts_one_operand(o, "a model", &path, &e);
    if (!rc) rc = read_text(o, &owned, &text, &n, &e);
    int status = rc ? cli_fail_usage(&e) : 0;
    if (!rc && (snug_open_vocab(path, &m, &error) ||
                snug_tokenize(m, text, n, !opts_has(o, "--no-bos"), !opts_has(o, "--no-parse-special"), &t, &error)))
        status = cli_fail(&error);
    else if (!rc) status = print(m, &t, opts_has(o, "--json"));
    snug_free(t.ids);
    snug_close(m);
    mem_free(owned);
    return status;
}
