/* Owns bringing text to form C. utf8proc has the tables and composes; marks are put in order here, because utf8proc
 * swaps neighbours until all are, which takes minutes for a megabyte of marks of two classes in turn. */
#include <string.h>
#include <utf8proc.h>
#include "base/mem.h"
#include "base/utf8.h"
#include "text/nfc.h"

/* Runs of marks up to this length are sorted by inserting; real text has one to three. */
#define SHORT_RUN 16
/* The longest canonical decomposition has four characters. */
#define MAX_DECOMPOSED 8

/* Bytes that begin a character from U+0300 on; all characters before it are composed and no marks. */
static bool may_change(char c) { return (uint8_t)c >= 0xcc; }
/* Bytes that begin none. */
static bool is_inner(char c) { return ((uint8_t)c & 0xc0) == 0x80; }

bool nfc_is_sure(struct str text) {
    for (size_t i = 0; i < text.n; i++) {
        if (may_change(text.p[i])) return false;
    }
    return true;
}

static unsigned class_of(int32_t cp) { return (unsigned)utf8proc_get_property(cp)->combining_class & 0xff; }

static enum err_code decompose(struct str text, struct buf *cps, struct err *e) {
    utf8proc_int32_t to[MAX_DECOMPOSED];
    uint32_t cp;
    int boundary = 0;
    for (size_t i = 0; i < text.n; ) {
        i += utf8_step(text.p + i, text.n - i, &cp);
        utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)cp, to, MAX_DECOMPOSED,
                                                     UTF8PROC_STABLE | UTF8PROC_COMPOSE, &boundary);
        if (n < 0 || n > MAX_DECOMPOSED) return err_set(e, ERR_INTERNAL, "U+%04X does not decompose", cp);
        buf_add(cps, to, (size_t)n * sizeof(*to));
    }
    return buf_status(cps, e);
}

static void sort_short(int32_t *cp, size_t n) {
    for (size_t i = 1; i < n; i++) {
        int32_t x = cp[i];
        size_t k = i;
        for (; k && class_of(cp[k - 1]) > class_of(x); k--) cp[k] = cp[k - 1];
        cp[k] = x;
    }
}

/* By counting the classes, of which there are fewer than 256. */
static enum err_code sort_long(int32_t *cp, size_t n, struct err *e) {
    size_t at[257] = { 0 };
    int32_t *sorted = mem_alloc(n, sizeof(*sorted));
    if (!sorted) return err_no_memory(e, n * sizeof(*sorted));
    for (size_t i = 0; i < n; i++) at[class_of(cp[i]) + 1]++;
    for (size_t c = 1; c < 257; c++) at[c] += at[c - 1];
    for (size_t i = 0; i < n; i++) sorted[at[class_of(cp[i])]++] = cp[i];
    memcpy(cp, sorted, n * sizeof(*cp));
    mem_free(sorted);
    return ERR_NONE;
}

/* Sorts each run of marks by class, those of one class staying in order. */
static enum err_code order_marks(int32_t *cp, size_t n, struct err *e) {
    for (size_t i = 0, end; i < n; i = end + 1) {
        for (end = i; end < n && class_of(cp[end]); ) end++;
        if (end - i > SHORT_RUN) TRY(sort_long(cp + i, end - i, e));
        else sort_short(cp + i, end - i);
    }
    return ERR_NONE;
}

/* Appends form C of one stretch; cps is room for it. */
static enum err_code normalize(struct str text, struct buf *cps, struct buf *out, struct err *e) {
    buf_clear(cps);
    TRY(decompose(text, cps, e));
    int32_t *cp = (void *)cps->p; /* as aligned as all memory is */
    utf8proc_ssize_t n = (utf8proc_ssize_t)(cps->n / sizeof(*cp));
    TRY(order_marks(cp, (size_t)n, e));
    n = utf8proc_normalize_utf32(cp, n, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    if (n < 0) return err_set(e, ERR_INTERNAL, "the text does not compose: %s", utf8proc_errmsg(n));
    for (utf8proc_ssize_t i = 0; i < n; i++) {
        char put[4];
        buf_add(out, put, utf8_put((uint32_t)cp[i], put));
    }
    return ERR_NONE;
}

/* Characters before U+0300 never compose with what stands before them. So a stretch to normalize begins with the
 * character before the first that may, and ends before the next of these. */
enum err_code nfc_text(struct str text, struct buf *out, struct err *e) {
    struct buf cps = { 0 };
    enum err_code rc;
    size_t done = 0;
    for (size_t i = 0; i < text.n; ) {
        if (!may_change(text.p[i])) {
            i++;
            continue;
        }
        size_t from = i;
        while (from > done && is_inner(text.p[--from])) continue;
        while (i < text.n && (may_change(text.p[i]) || is_inner(text.p[i]))) i++;
        buf_add(out, text.p + done, from - done);
        TRY_OUT(rc, normalize((struct str){ text.p + from, i - from }, &cps, out, e));
        done = i;
    }
    buf_add(out, text.p + done, text.n - done);
    rc = buf_status(out, e);
out:
    buf_fini(&cps);
    return rc;
}
