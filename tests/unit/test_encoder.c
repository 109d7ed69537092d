/* Searching encoders against what another quantizer chose for the same rows with the same importances (the tiny model's
 * files in SNUG_SHARED), against published errors on normal data, and on the inputs that break scale searches. */
#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "base/num.h"
#include "base/rng.h"
#include "base/cpu.h"
#include "qtype/qtype.h"
#include "quant/enc_level.h"
#include "quant/encoder.h"

/* --- Reading just enough of GGUF and safetensors --- */

struct file { uint8_t *p; size_t n; };
struct tensor { uint64_t ne[4], off; uint32_t type; const uint8_t *data; };

static bool read_whole(const char *dir, const char *name, struct file *f) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *in = fopen(path, "rb");
    if (!in) return false;
    fseek(in, 0, SEEK_END);
    f->n = (size_t)ftell(in);
    f->p = malloc(f->n + 1);
    rewind(in);
    bool ok = fread(f->p, 1, f->n, in) == f->n;
    f->p[f->n] = 0;
    fclose(in);
    return ok;
}

static uint64_t take(const uint8_t **p, unsigned n) {
    uint64_t v = 0;
    memcpy(&v, *p, n);
    *p += n;
    return v;
}

static void skip_value(const uint8_t **p, uint64_t type) {
    static const unsigned size[] = { 1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8 };
    if (type == 8) {
        uint64_t n = take(p, 8);
        *p += n;
    } else if (type == 9) {
        uint64_t element = take(p, 4), n = take(p, 8);
        while (n--) skip_value(p, element);
    } else {
        *p += size[type];
    }
}

/* Calls back for the tensor named `name`; false if there is none. Test data only: nothing is checked. */
static bool gguf_tensor(const struct file *f, const char *name, struct tensor *out) {
    const uint8_t *p = f->p + 8;
    uint64_t n_tensors = take(&p, 8), n_kv = take(&p, 8);
    bool found = false;
    for (uint64_t i = 0; i < n_kv; i++) {
        uint64_t n = take(&p, 8);
        p += n;
        skip_value(&p, take(&p, 4));
    }
    for (uint64_t i = 0; i < n_tensors; i++) {
        struct tensor t = { .ne = { 1, 1, 1, 1 } };
        uint64_t n = take(&p, 8);
        bool hit = n == strlen(name) && !memcmp(p, name, n);
        p += n;
        uint64_t n_dims = take(&p, 4);
        for (uint64_t d = 0; d < n_dims; d++) t.ne[d] = take(&p, 8);
        t.type = (uint32_t)take(&p, 4);
        t.off = take(&p, 8);
        if (hit) *out = t, found = true;
    }
    size_t header = (size_t)(p - f->p);
    if (found) out->data = f->p + round_up(header, 32) + out->off;
    return found;
}

/* A BF16 tensor of a safetensors file as floats. */
static float *safetensors_floats(const struct file *f, const char *name, size_t n) {
    char key[136];
    uint64_t header;
    memcpy(&header, f->p, 8);
    snprintf(key, sizeof key, "\"%s\"", name);
    const char *at = strstr((const char *)f->p + 8, key);
    assert_non_null(at);
    at = strstr(at, "data_offsets");
    assert_non_null(at);
    unsigned long begin, end;
    assert_int_equal(sscanf(strchr(at, '['), "[%lu,%lu]", &begin, &end), 2);
    assert_int_equal(end - begin, 2 * n);
    float *x = malloc(n * sizeof *x);
    qtype_info(QTYPE_BF16)->decode(f->p + 8 + header + begin, x, n);
    return x;
}

/* GGUF stores the rows of Q and K so that the two halves of each head (of 64 rows) interleave. */
static void permute_rows(float *x, size_t rows, size_t n) {
    float *copy = malloc(rows * n * sizeof *copy);
    memcpy(copy, x, rows * n * sizeof *copy);
    for (size_t r = 0; r < rows; r++) {
        size_t head = r / 64, i = r % 64, from = head * 64 + i % 2 * 32 + i / 2;
        memcpy(x + r * n, copy + from * n, n * sizeof *x);
    }
    free(copy);
}

/* --- Errors --- */

/* The types that can be written. */
static const enum qtype *written_types(size_t *n) {
    static enum qtype out[QTYPE_ID_LIMIT];
    size_t n_all;
    const enum qtype *all = qtype_all(&n_all);
    *n = 0;
    for (size_t i = 0; i < n_all; i++)
        if (qtype_can_write(all[i])) out[(*n)++] = all[i];
    return out;
}

static double weighted_error(const float *x, const float *y, const float *a, size_t rows, size_t n) {
    double sum = 0;
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < n; j++) {
            double d = (double)x[r * n + j] - (double)y[r * n + j];
            sum += (a ? (double)a[j] : 1) * d * d;
        }
    return sum;
}

static float *encode_decode(enum qtype t, const float *x, size_t rows, size_t n, const float *a) {
    const struct qtype_info *q = qtype_info(t);
    struct encoder_input in = { .importance = a };
    uint64_t bytes;
    struct err e = { 0 };
    assert_true(qtype_row_bytes(t, n, &bytes));
    uint8_t *blocks = malloc(bytes * rows);
    float *y = malloc(rows * n * sizeof *y);
    if (encode_rows(t, x, rows, n, &in, blocks, &e)) fail_msg("%s", e.msg);
    q->decode(blocks, y, rows * n);
    free(blocks);
    return y;
}

/* --- Tests --- */

static void not_worse_than_another_quantizer(void **state) {
    (void)state;
    static const char *const files[] = {
        "Q2_K",  "Q3_K_M",  "Q4_K_M", "Q5_K_M", "Q6_K",    "IQ4_XS",
        "IQ3_S", "IQ3_XXS", "IQ2_S",  "IQ2_XS", "IQ2_XXS", "IQ1_M",
    };
    static const struct { const char *gguf, *hf; size_t rows, n; bool permuted; } kinds[] = {
        { "attn_q", "self_attn.q_proj", 256, 256, true },     { "attn_k", "self_attn.k_proj", 128, 256, true },
        { "attn_v", "self_attn.v_proj", 128, 256, false },    { "attn_output", "self_attn.o_proj", 256, 256, false },
        { "ffn_gate", "mlp.gate_proj", 768, 256, false },     { "ffn_up", "mlp.up_proj", 768, 256, false },
        { "ffn_down", "mlp.down_proj", 256, 768, false },
    };
    const char *shared = getenv("SNUG_SHARED");
    char dir[400], gguf_dir[416], name[128];
    snprintf(dir, sizeof dir, "%s/models/tiny", shared ? shared : "");
    snprintf(gguf_dir, sizeof gguf_dir, "%s/llamacpp", dir);
    struct file model, imatrix;
    if (!shared || !read_whole(dir, "model.safetensors", &model) || !read_whole(gguf_dir, "imatrix.gguf", &imatrix)) {
        printf("comparison with another quantizer: SNUG_SHARED names no reference data\n");
        skip();
    }
    struct { double ours, theirs; int tensors, worse; } total[QTYPE_ID_LIMIT] = { 0 };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct file theirs;
        snprintf(name, sizeof name, "%s.gguf", files[i]);
        assert_true(read_whole(gguf_dir, name, &theirs));
        for (int block = 0; block < 6; block++)
            for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
                size_t rows = kinds[k].rows, n = kinds[k].n;
                struct tensor t, importance;
                snprintf(name, sizeof name, "blk.%d.%s.weight", block, kinds[k].gguf);
                assert_true(gguf_tensor(&theirs, name, &t));
                const struct qtype_info *q = qtype_info(t.type);
                if (!qtype_can_write(t.type)) continue;
                assert_true(t.ne[0] == n && t.ne[1] == rows);
                snprintf(name, sizeof name, "blk.%d.%s.weight.in_sum2", block, kinds[k].gguf);
                assert_true(gguf_tensor(&imatrix, name, &importance) && importance.type == 0 && importance.ne[0] == n);
                float *a = malloc(n * sizeof *a), *y = malloc(rows * n * sizeof *y);
                memcpy(a, importance.data, n * sizeof *a);
                snprintf(name, sizeof name, "model.layers.%d.%s.weight", block, kinds[k].hf);
                float *x = safetensors_floats(&model, name, rows * n);
                if (kinds[k].permuted) permute_rows(x, rows, n);
                q->decode(t.data, y, rows * n);
                float *z = encode_decode(q->type, x, rows, n, a);
                double their_error = weighted_error(x, y, a, rows, n), our_error = weighted_error(x, z, a, rows, n);
                if (our_error > their_error)
                    fail_msg("%s: %s of block %d: error %g, the other's %g", q->name, kinds[k].gguf, block, our_error,
                             their_error);
                total[q->type].ours += our_error / their_error;
                total[q->type].tensors++;
                free(a); free(x); free(y); free(z);
            }
        free(theirs.p);
    }
    size_t n_types;
    const enum qtype *types = written_types(&n_types);
    for (size_t i = 0; i < n_types; i++)
        if (total[types[i]].tensors)
            print_message("%-7s %3d tensors, mean ratio of weighted error to the other's %.4f\n", qtype_name(types[i]),
                          total[types[i]].tensors, total[types[i]].ours / total[types[i]].tensors);
    free(model.p);
    free(imatrix.p);
}

/* Normal numbers, Box and Muller. */
static void fill_normal(float *x, size_t n, uint64_t seed) {
    struct rng rng;
    rng_seed(&rng, seed);
    for (size_t i = 0; i < n; i++) {
        double u = 1 - rng_f64(&rng), v = rng_f64(&rng);
        x[i] = (float)(sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
    }
}

/* Mean squared errors that ggml's quantizers with uniform importances reach on N(0, 1) (research on the formats). */
static void normal_data(void **state) {
    (void)state;
    static const struct { enum qtype type; double published; } known[] = {
        { QTYPE_Q2_K, .0718 }, { QTYPE_Q3_K, .0209 }, { QTYPE_IQ4_XS, .00572 }, { QTYPE_IQ4_NL, .00562 },
        { QTYPE_Q4_K, .00502 }, { QTYPE_Q4_0, .00666 }, { QTYPE_Q5_K, .00125 }, { QTYPE_Q5_0, .00164 },
        { QTYPE_Q5_1, .00114 }, { QTYPE_Q6_K, .00030 }, { QTYPE_Q8_0, 3e-5 }, { QTYPE_IQ3_S, .01875 },
        { QTYPE_IQ1_S, .2357 },
    };
    const size_t rows = 24, n = 4096;
    float *x = malloc(rows * n * sizeof *x);
    fill_normal(x, rows * n, 7);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        float *y = encode_decode(known[i].type, x, rows, n, NULL);
        double error = weighted_error(x, y, NULL, rows, n) / (double)(rows * n);
        print_message("%-7s %.6f of the variance, published %.6f\n", qtype_name(known[i].type), error,
                      known[i].published);
        /* The published figures have two or three digits; the sample here differs by a few parts in a thousand. */
        if (error > known[i].published * 1.02) fail_msg("%s: %g", qtype_name(known[i].type), error);
        free(y);
    }
    free(x);
}

/* --- Blocks that break scale searches --- */

enum { N = 512 };

enum shape { ZERO, EQUAL, EQUAL_NEGATIVE, NEGATIVE, POSITIVE, ONE_SPIKE, ALTERNATING, OFFSET, SHAPES };

static void fill_shape(float *x, enum shape s, float scale, struct rng *rng) {
    for (int j = 0; j < N; j++) {
        float u = rng_f32(rng);
        switch (s) {
        case ZERO: x[j] = 0; break;
        case EQUAL: x[j] = scale; break;
        case EQUAL_NEGATIVE: x[j] = -scale; break;
        case NEGATIVE: x[j] = -scale * u; break;
        case POSITIVE: x[j] = scale * u; break;
        case ONE_SPIKE: x[j] = j % 256 == 77 ? -scale : 0; break;
        case ALTERNATING: x[j] = j & 1 ? scale : -scale; break;
        default: x[j] = scale * (0.9f + 0.1f * u); break;
        }
    }
}

static bool has_steps(enum qtype t) { return t == QTYPE_IQ1_S || t == QTYPE_IQ1_M; }

/* Types whose weights are points of a grid, which has no zero. */
static bool has_grid(enum qtype t) {
    return has_steps(t) || t == QTYPE_IQ2_XXS || t == QTYPE_IQ2_XS || t == QTYPE_IQ2_S || t == QTYPE_IQ3_XXS ||
           t == QTYPE_IQ3_S;
}

/* For every type, shape and scale, from far below the least half to as much as the type can hold: the search never does
 * worse than plain rounding, and never writes what decodes to infinity or NaN. Near the least half scales are so coarse
 * that luck decides: there a twentieth more is allowed, and 1e-5 of the weights' own square; 1e-4 for types whose half
 * is multiplied by an integer scale and so comes there sooner, and 1e-3 where points of a grid lead to the same values
 * at several scales, one of which the search follows. */
static void hard_blocks(void **state) {
    (void)state;
    size_t n_types;
    const enum qtype *types = written_types(&n_types);
    for (size_t i = 0; i < n_types; i++) {
        const struct qtype_info *q = qtype_info(types[i]);
        struct rng rng;
        rng_seed(&rng, 3); /* the same weights for every type, whatever rows the table has */
        float most = encoder_reach(q->type);
        const float scales[] = { 1e-42f, 1e-30f, 1e-12f, 1e-9f, 1e-7f, 3e-6f, 1e-3f, 1, 60000, most / 16, most };
        for (size_t k = 0; k < sizeof scales / sizeof *scales; k++)
            for (int s = 0; s < SHAPES; s++) {
                if (qtype_is_float(q->type) && scales[k] > 1e18f) continue; /* their squares are no floats */
                float x[N], plain[N];
                uint8_t blocks[4 * N];
                fill_shape(x, s, scales[k], &rng);
                float *y = encode_decode(q->type, x, 1, N, NULL);
                q->encode(x, blocks, N);
                q->decode(blocks, plain, N);
                for (int j = 0; j < N; j++)
                    if (!isfinite(y[j]) || (s == ZERO && y[j] != 0))
                        fail_msg("%s: %g became %g", q->name, (double)x[j], (double)y[j]);
                double found = weighted_error(x, y, NULL, 1, N), rounded = weighted_error(x, plain, NULL, 1, N);
                double square = 0;
                for (int j = 0; j < N; j++) square += (double)x[j] * (double)x[j];
                bool two_scales = q->block_weights == 256; /* the half is a 32nd of the blocks' scales, or less */
                bool coarse = scales[k] < (two_scales ? 1e-2f : 1e-4f);
                double share = scales[k] < 1e-5f && has_grid(q->type) ? 1e-3 : coarse && two_scales ? 1e-4 : 1e-5;
                if (found > rounded * (coarse ? 1.05 : 1 + 1e-6) + share * square)
                    fail_msg("%s, shape %d, scale %g: error %g, plain rounding %g", q->name, s, (double)scales[k],
                             found, rounded);
                free(y);
            }
    }
}

/* What a type can represent exactly is kept exactly. */
static void representable_values_are_kept(void **state) {
    (void)state;
    size_t n_types;
    const enum qtype *types = written_types(&n_types);
    for (size_t i = 0; i < n_types; i++) {
        float x[N];
        for (int j = 0; j < N; j++) x[j] = has_grid(types[i]) || j % 3 == 0 ? 0.5f : 0;
        for (int j = 0; j < N && has_grid(types[i]) && !has_steps(types[i]); j += 4) x[j] = x[j + 1] = -0.5f;
        float *y = encode_decode(types[i], x, 1, N, NULL);
        bool exact = types[i] != QTYPE_IQ4_NL && types[i] != QTYPE_IQ4_XS; /* they have no zero */
        for (int j = 0; j < N; j++)
            if (fabsf(x[j] - y[j]) > (exact ? 0.0003f : 0.005f))
                fail_msg("%s: %g became %g", qtype_name(types[i]), (double)x[j], (double)y[j]);
        free(y);
    }
}

/* The ternary search finds the best d of all halves, whose codes are then those of the nearest level. */
static void ternary_is_best_of_all_halves(void **state) {
    (void)state;
    enum { n = 256 };
    struct rng rng;
    rng_seed(&rng, 17);
    for (int round = 0; round < 12; round++) {
        float x[n], a[n];
        double mean = 0, least = INFINITY;
        fill_normal(x, n, 300 + (uint64_t)round);
        for (int j = 0; j < n; j++) {
            a[j] = round & 1 ? 1 : expf(6 * rng_f32(&rng));
            if (round % 3 == 1) x[j] *= 1e-3f * x[j] * x[j];
            if (round % 3 == 2 && j % 50) x[j] = 0;
            mean += (double)a[j] / n;
        }
        for (uint16_t h = 1; h < 0x7c00; h++) {
            double d = (double)f32_from_f16(h), error = 0;
            for (int j = 0; j < n && error < least; j++) {
                double size = fabs((double)x[j]), off = size > d / 2 ? size - d : size;
                error += (1e-6 * mean + (double)a[j]) * off * off; /* encode_rows adds this trace */
            }
            if (error < least) least = error;
        }
        for (int j = 0; j < n; j++) a[j] += (float)(1e-6 * mean);
        const enum qtype types[] = { QTYPE_TQ1_0, QTYPE_TQ2_0 };
        for (int k = 0; k < 2; k++) {
            float *y = encode_decode(types[k], x, 1, n, a);
            double found = weighted_error(x, y, a, 1, n);
            if (found > least * (1 + 1e-5)) fail_msg("round %d: error %.9g, best %.9g", round, found, least);
            free(y);
        }
    }
}

/* The MXFP4 search finds the best of all 255 exponents, with large weights that matter little among them. */
static void mxfp4_is_best_of_all_exponents(void **state) {
    (void)state;
    enum { n = 32 };
    static const double size[] = { 0, .5, 1, 1.5, 2, 3, 4, 6 };
    struct rng rng;
    rng_seed(&rng, 18);
    for (int round = 0; round < 400; round++) {
        float x[n], a[n];
        double least = INFINITY;
        fill_normal(x, n, 400 + (uint64_t)round);
        for (int j = 0; j < n; j++) {
            x[j] = ldexpf(x[j], round / 4 - 94);
            a[j] = round & 1 ? 1 : expf(4 * rng_f32(&rng));
        }
        if (round % 5 == 0) x[7] *= 200, a[7] = 1e-4f;
        for (int e = 0; e < 255; e++) {
            double error = 0;
            for (int j = 0; j < n && error < least; j++) {
                double off = INFINITY;
                for (int l = 0; l < 8; l++) off = fmin(off, fabs(fabs((double)x[j]) - ldexp(size[l], e - 127)));
                error += (double)a[j] * off * off;
            }
            if (error < least) least = error;
        }
        float *y = encode_decode(QTYPE_MXFP4, x, 1, n, a);
        double found = weighted_error(x, y, a, 1, n);
        /* The trace that encode_rows adds to the importances counts where one is tiny. */
        if (found > least * (1 + 1e-2)) fail_msg("round %d: error %.9g, best %.9g", round, found, least);
        free(y);
    }
}

/* What a block of these types decodes to is written so that it decodes to the same again, plainly too if its largest
 * magnitude is the format's largest level or d. */
static void blocks_come_back(void **state) {
    (void)state;
    const enum qtype types[] = { QTYPE_TQ1_0, QTYPE_TQ2_0, QTYPE_MXFP4 };
    struct rng rng;
    rng_seed(&rng, 19);
    for (int k = 0; k < 3; k++)
        for (int round = 0; round < 100; round++) {
            const struct qtype_info *q = qtype_info(types[k]);
            static const float levels[] = { 0, .5f, 1, 1.5f, 2, 3, 4, 6 };
            float x[N], y[N];
            uint8_t blocks[N];
            for (int j = 0; j < N; j++) {
                float sign = rng_below(&rng, 2) ? 1 : -1, d = ldexpf(1, round / 10 - 8);
                x[j] = k < 2 ? ((float)rng_below(&rng, 3) - 1) * f32_from_f16((uint16_t)(0x2001 + round))
                             : sign * d * levels[rng_below(&rng, 8)];
                if (k == 2 && j % 32 == 5) x[j] = sign * d * 6;
            }
            q->encode(x, blocks, N);
            q->decode(blocks, y, N);
            float *z = encode_decode(types[k], x, 1, N, NULL);
            for (int j = 0; j < N; j++)
                if (x[j] != y[j] || x[j] != z[j])
                    fail_msg("%s: %g became %g plainly, %g", q->name, (double)x[j], (double)y[j], (double)z[j]);
            free(z);
        }
}

/* Columns that calibration never saw, and a matrix of which it saw nothing, get sane values. */
static void unseen_columns(void **state) {
    (void)state;
    float x[N], a[N], none[N] = { 0 };
    fill_normal(x, N, 21);
    for (int j = 0; j < N; j++) a[j] = j < 64 || j % 5 == 0 ? 0 : 1e-20f;
    size_t n_types;
    const enum qtype *types = written_types(&n_types);
    for (size_t i = 0; i < n_types; i++) {
        float *y = encode_decode(types[i], x, 1, N, a), *z = encode_decode(types[i], x, 1, N, none);
        float *plain = encode_decode(types[i], x, 1, N, NULL);
        for (int j = 0; j < N; j++) {
            /* Grids couple what calibration saw with what it did not, down to the signs. */
            const float bound = has_grid(types[i]) ? 5 : 2.5f;
            if (!(fabsf(x[j] - y[j]) < bound))
                fail_msg("%s: %g became %g", qtype_name(types[i]), (double)x[j], (double)y[j]);
            assert_true(z[j] == plain[j]);
        }
        free(y); free(z); free(plain);
    }
}

/* The diagonal of the second moment is the importance; where both are given the importance counts. */
static void diagonal_of_moment(void **state) {
    (void)state;
    enum { n = 256 };
    float x[n], a[n], *moment = calloc(n * n, sizeof *moment);
    uint8_t one[4 * n], two[4 * n], three[4 * n], none[4 * n];
    fill_normal(x, n, 33);
    for (int j = 0; j < n; j++) {
        a[j] = 1 + (float)(j % 7);
        moment[j * n + j] = a[j];
        moment[j * n + (j + 1) % n] = -5; /* off the diagonal anything goes */
    }
    float flat[n];
    for (int j = 0; j < n; j++) flat[j] = 3;
    const struct encoder_input by_a = { .importance = a }, by_moment = { .moment = moment };
    const struct encoder_input both = { .importance = flat, .moment = moment };
    assert_int_equal(encode_rows(QTYPE_Q3_K, x, 1, n, &by_a, one, NULL), ERR_NONE);
    assert_int_equal(encode_rows(QTYPE_Q3_K, x, 1, n, &by_moment, two, NULL), ERR_NONE);
    assert_int_equal(encode_rows(QTYPE_Q3_K, x, 1, n, &both, three, NULL), ERR_NONE);
    assert_int_equal(encode_rows(QTYPE_Q3_K, x, 1, n, NULL, none, NULL), ERR_NONE);
    assert_memory_equal(one, two, 110);
    assert_memory_equal(three, none, 110);
    assert_memory_not_equal(one, none, 110);
    free(moment);
}

/* Rows do not see each other, nor the lengths of rows each other's blocks. */
static void rows_are_independent(void **state) {
    (void)state;
    enum { rows = 3, n = 1056 }; /* 33 blocks of 32: the last tile of each row is not full */
    size_t n_types;
    const enum qtype *types = written_types(&n_types);
    float *x = malloc(rows * n * sizeof *x), *a = malloc(n * sizeof *a);
    fill_normal(x, rows * n, 1);
    for (int j = 0; j < n; j++) a[j] = (float)(1 + j % 5);
    for (size_t i = 0; i < n_types; i++) {
        const struct qtype_info *q = qtype_info(types[i]);
        size_t len = q->block_weights == 256 ? 1024 : n;
        const struct encoder_input in = { .importance = a };
        uint64_t bytes;
        assert_true(qtype_row_bytes(q->type, len, &bytes));
        uint8_t *all = malloc(rows * bytes), *alone = malloc(bytes);
        assert_int_equal(encode_rows(q->type, x, rows, len, &in, all, NULL), ERR_NONE);
        for (size_t r = 0; r < rows; r++) {
            assert_int_equal(encode_rows(q->type, x + r * len, 1, len, &in, alone, NULL), ERR_NONE);
            assert_memory_equal(all + r * bytes, alone, bytes);
        }
        free(all); free(alone);
    }
    free(x); free(a);
}

/* Every level of this build that the processor can run writes the bytes of the first, for every type, on weights of
 * many kinds: normal, with heavy tails, blocks far from zero, all but empty, at both ends of half's range; and on rows
 * whose last tile is not full. */
static void levels_write_the_same_bytes(void **state) {
    (void)state;
    enum { n = 1312, kinds = 7 }; /* 41 blocks of 32; 5 of 256 */
    static float x[n], w[n];
    static uint8_t first[4 * n], other[4 * n];
    size_t n_types, n_levels, ran = 0;
    const enum qtype *types = written_types(&n_types);
    const struct enc_level *const *levels = enc_levels(&n_levels);
    assert_int_equal(levels[0]->needs, 0);
    struct rng rng;
    rng_seed(&rng, 11);
    for (size_t l = 1; l < n_levels; l++) {
        if (levels[l]->needs & ~cpu_features()) continue;
        ran++;
        for (int round = 0; round < 3 * kinds; round++) {
            fill_normal(x, n, 100 + (uint64_t)round);
            for (int j = 0; j < n; j++) {
                switch (round % kinds) {
                case 0: x[j] *= 0.02f; break;
                case 1: x[j] *= x[j] * x[j]; break;
                case 2: x[j] += 3; break;
                case 3: x[j] = j % 61 ? 0 : x[j]; break;
                case 4: x[j] *= 1e-7f; break;
                case 5: x[j] = fminf(fmaxf(x[j] * 20000, -65504), 65504); break;
                default: x[j] = (float)(j % 9) - 4; break;
                }
                w[j] = round & 1 ? 1 : 1e-6f + expf(4 * rng_f32(&rng));
            }
            for (size_t i = 0; i < n_types; i++) {
                const struct qtype_info *q = qtype_info(types[i]);
                size_t len = n / q->block_weights * q->block_weights;
                memset(first, 1, sizeof first);
                memset(other, 1, sizeof other);
                levels[0]->search[types[i]](x, w, first, len);
                levels[l]->search[types[i]](x, w, other, len);
                if (memcmp(first, other, sizeof first))
                    fail_msg("%s, round %d: %s and %s differ", q->name, round, levels[0]->name, levels[l]->name);
            }
        }
    }
    if (n_levels > 1 && !ran) {
        printf("this processor runs none of the faster encoders\n");
        skip();
    }
}

/* A cap on features caps the encoders too, and changes no byte. */
static void capped_encoders(void **state) {
    (void)state;
    float x[N];
    uint8_t capped[4 * N], uncapped[4 * N];
    fill_normal(x, N, 8);
    assert_true(cpu_limit("scalar"));
    assert_int_equal(encode_rows(QTYPE_Q4_K, x, 1, N, NULL, capped, NULL), ERR_NONE);
    assert_true(cpu_limit("native"));
    assert_int_equal(encode_rows(QTYPE_Q4_K, x, 1, N, NULL, uncapped, NULL), ERR_NONE);
    assert_memory_equal(capped, uncapped, N / 256 * 144);
}

static void bad_input(void **state) {
    (void)state;
    float x[2 * N], a[N];
    uint8_t out[8 * N];
    struct err e = { 0 };
    const float bad[] = { NAN, INFINITY, -INFINITY };
    for (int k = 0; k < 3; k++) {
        fill_normal(x, 2 * N, 2);
        x[N + 17] = bad[k];
        assert_int_equal(encode_rows(QTYPE_Q4_K, x, 2, N, NULL, out, &e), ERR_FORMAT);
        assert_non_null(strstr(e.msg, "row 1, column 17"));
        assert_int_equal(encode_rows(QTYPE_F32, x, 2, N, NULL, out, &e), ERR_FORMAT);
    }
    fill_normal(x, 2 * N, 2);
    x[5] = 65520; /* the first number that rounds to infinity in half */
    assert_int_equal(encode_rows(QTYPE_F16, x, 1, N, NULL, out, &e), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "row 0, column 5"));
    x[5] = nextafterf(65520, 0);
    assert_int_equal(encode_rows(QTYPE_F16, x, 1, N, NULL, out, &e), ERR_NONE);
    assert_int_equal(out[11] << 8 | out[10], 0x7bff);
    x[5] = FLT_MAX;
    assert_int_equal(encode_rows(QTYPE_BF16, x, 1, N, NULL, out, &e), ERR_UNSUPPORTED);
    assert_int_equal(encode_rows(QTYPE_F32, x, 1, N, NULL, out, &e), ERR_NONE);
    x[5] = 65520;
    assert_int_equal(encode_rows(QTYPE_Q8_0, x, 1, N, NULL, out, &e), ERR_UNSUPPORTED);
    x[5] = 65504;
    assert_int_equal(encode_rows(QTYPE_Q8_0, x, 1, N, NULL, out, &e), ERR_NONE);
    assert_int_equal(encode_rows(QTYPE_Q8_0, x, 1, 33, NULL, out, &e), ERR_UNSUPPORTED);
    assert_int_equal(encode_rows(QTYPE_Q4_K, x, 1, 32, NULL, out, &e), ERR_UNSUPPORTED);
    assert_int_equal(encode_rows(QTYPE_NONE, x, 1, N, NULL, out, &e), ERR_UNSUPPORTED);
    assert_int_equal(encode_rows(QTYPE_NVFP4, x, 1, N, NULL, out, &e), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "NVFP4 can be read but not written"));
    assert_int_equal(encode_rows(QTYPE_Q4_K, x, 0, N, NULL, out, &e), ERR_NONE);
    fill_normal(x, N, 2);
    for (int k = 0; k < 3; k++) {
        for (int j = 0; j < N; j++) a[j] = 1;
        a[300] = k < 2 ? bad[k] : -1;
        const struct encoder_input in = { .importance = a };
        assert_int_equal(encode_rows(QTYPE_Q4_K, x, 1, N, &in, out, &e), ERR_FORMAT);
        assert_non_null(strstr(e.msg, "column 300"));
    }
}

/* With a name, that test alone: on an emulated processor the whole takes minutes. */
int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(not_worse_than_another_quantizer),
        cmocka_unit_test(normal_data),
        cmocka_unit_test(hard_blocks),
        cmocka_unit_test(representable_values_are_kept),
        cmocka_unit_test(ternary_is_best_of_all_halves),
        cmocka_unit_test(mxfp4_is_best_of_all_exponents),
        cmocka_unit_test(blocks_come_back),
        cmocka_unit_test(unseen_columns),
        cmocka_unit_test(diagonal_of_moment),
        cmocka_unit_test(rows_are_independent),
        cmocka_unit_test(levels_write_the_same_bytes),
        cmocka_unit_test(capped_encoders),
        cmocka_unit_test(bad_input),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
