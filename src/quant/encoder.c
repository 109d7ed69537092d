/* Owns the front of the encoders: checks the weights, prepares the weights of their errors, and hands each row to the
 * search of its type, in the fastest level that the processor has. The searches are enc_*.c; they never see bad
 * input. */
#include "quant/encoder.h"

#include <float.h>
#include <math.h>

#include "base/compiler.h"
#include "base/cpu.h"
#include "base/mem.h"
#include "quant/enc_level.h"

extern const struct enc_level enc_level_base, enc_level_avx2;

static const struct enc_level *const levels[] = {
    &enc_level_base,
#if defined(__x86_64__)
    &enc_level_avx2,
#endif
};

const struct enc_level *const *enc_levels(size_t *n) {
    *n = ARRAY_LEN(levels);
    return levels;
}

static search_fn *search_of(enum qtype t) {
    unsigned features = cpu_features();
    size_t i = ARRAY_LEN(levels) - 1;
    while (i > 0 && levels[i]->needs & ~features) i--; /* the first needs nothing */
    return levels[i]->search[t];
}

float encoder_reach(enum qtype t) {
    if (t == QTYPE_F32) return FLT_MAX;
    /* The largest floats that do not round to infinity; every other type keeps its scales in halves
     * but MXFP4, which is held to the same. */
    return t == QTYPE_BF16 ? 0x1.fefffep127f : 0x1.ffdffep15f;
}

/* One pass that is only true or false, then one that looks for the culprit. */
static enum err_code check_row(enum qtype t, const float *x, size_t n, uint64_t row, struct err *e) {
    const float reach = encoder_reach(t);
    bool good = true;
    for (size_t j = 0; j < n; j++) good &= fabsf(x[j]) <= reach;
    if (good) return ERR_NONE;
    size_t j = 0;
    while (fabsf(x[j]) <= reach) j++;
    if (!isfinite(x[j]))
        return err_set(e, ERR_FORMAT, "the weight in row %llu, column %zu is %g: the model is damaged",
                       (unsigned long long)row, j, (double)x[j]);
    return err_set(e, ERR_UNSUPPORTED, "the weight %g in row %llu, column %zu is beyond what %s can hold (%g); keep "
                   "this tensor as BF16 or F32", (double)x[j], (unsigned long long)row, j, qtype_name(t),
                   (double)reach);
}

/* The weights of the errors: importances scaled to a mean of 1, plus a trace that keeps columns which calibration never
 * saw from taking any value at all. */
static enum err_code error_weights(const struct encoder_input *in, size_t n, float *w, struct err *e) {
    const float *a = in ? in->importance ? in->importance : in->moment : NULL;
    size_t stride = in && !in->importance && in->moment ? n + 1 : 1;
    const double trace = 1e-6;
    double sum = 0;
    for (size_t j = 0; j < n; j++) {
        float v = a ? a[j * stride] : 1;
        if (!(v >= 0) || !isfinite(v))
            return err_set(e, ERR_FORMAT, "the importance of column %zu is %g: calibration gave a bad value", j,
                           (double)v);
        sum += (double)v;
    }
    if (sum == 0) a = NULL, sum = (double)n;
    for (size_t j = 0; j < n; j++) w[j] = (float)(trace + (double)n / sum * (a ? (double)a[j * stride] : 1));
    return ERR_NONE;
}

enum err_code encode_rows(enum qtype t, const float *w, size_t n_rows, size_t n, const struct encoder_input *in,
                          void *out, struct err *e) {
    uint64_t row_bytes;
    if (!qtype_info(t)) return err_set(e, ERR_UNSUPPORTED, "type %d is not known", (int)t);
    if (!qtype_can_write(t)) return err_set(e, ERR_UNSUPPORTED, "%s can be read but not written", qtype_name(t));
    if (!qtype_row_bytes(t, n, &row_bytes))
        return err_set(e, ERR_UNSUPPORTED, "rows of %zu weights cannot be stored as %s, whose blocks have %u", n,
                       qtype_name(t), (unsigned)qtype_info(t)->block_weights);
    float *weights = mem_alloc(n, sizeof *weights);
    if (!weights) return err_no_memory(e, (uint64_t)n * sizeof *weights);
    search_fn *search = search_of(t);
    bool plain = in && in->plain;
    uint64_t first = in ? in->first_row : 0;
    enum err_code rc;
    TRY_OUT(rc, error_weights(in, n, weights, e));
    for (size_t r = 0; r < n_rows; r++) {
        TRY_OUT(rc, check_row(t, w + r * n, n, first + r, e));
        if (plain) qtype_info(t)->encode(w + r * n, (uint8_t *)out + r * row_bytes, n);
        else search(w + r * n, weights, (uint8_t *)out + r * row_bytes, n);
    }
out:
    mem_free(weights);
    return rc;
}
