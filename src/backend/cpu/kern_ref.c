/* Scalar bodies of the kernels that do not read stored blocks, and the rows kernels of the float types. Obvious, in
 * the order of the formulas; every machine can run them, and the tests measure the fast ones against them. */
#include <math.h>
#include <string.h>

#include "backend/cpu/kern.h"
#include "base/num.h"

float dot_f32_ref(const float *a, const float *b, size_t n) {
    float s = 0;
    for (size_t i = 0; i < n; i++) s += a[i] * b[i];
    return s;
}

void round_ref(const float *x, size_t n, const struct int8_form *form, struct x_unit *out) {
    memset(out, 0, sizeof *out);
    for (size_t s = 0; s * form->sub < n; s++) {
        size_t begin = s * form->sub, end = min_u64(begin + form->sub, n);
        float max = 0;
        for (size_t i = begin; i < end; i++) max = fmaxf(max, fabsf(x[i]));
        if (max < ROUND_TINY) continue;
        float inv = 127 / max;
        int32_t sum = 0;
        for (size_t i = begin; i < end; i++) {
            out->q[i] = (int8_t)nearbyintf(x[i] * inv);
            sum += out->q[i];
        }
        out->scale[s] = max / 127;
        if (form->has_min) out->sum[s] = out->scale[s] * (float)sum;
        else out->corr[s] = -form->offset * sum;
    }
}

static void tile_ref(const struct tile_job *j, unsigned sub) {
    for (unsigned t = 0; t < j->n_tok; t++)
        for (int r = 0; r < PANEL_ROWS; r++) {
            float sum = 0;
            for (size_t u = 0; u < j->n_units; u++) {
                const struct x_unit *x = &j->x[u * j->x_tokens + t];
                const struct panel_unit *w = &j->w[u];
                for (unsigned s = 0; s < UNIT / sub; s++) {
                    int32_t isum = j->form->has_min ? 0 : x->corr[s];
                    for (unsigned e = sub * s; e < sub * (s + 1); e++) isum += w->q[e / 4][r][e % 4] * x->q[e];
                    sum += w->scale[s][r] * x->scale[s] * (float)isum;
                    if (j->form->has_min) sum += w->min[s][r] * x->sum[s];
                }
            }
            float *out = &j->out[t * j->out_stride + r];
            *out = j->add ? *out + sum : sum;
        }
}

void tile16_ref(const struct tile_job *j) { tile_ref(j, 16); }
void tile32_ref(const struct tile_job *j) { tile_ref(j, 32); }

void tile_f32_ref(const struct f32_tile_job *j) {
    for (unsigned t = 0; t < j->n_tok; t++)
        for (int r = 0; r < F32_ROWS; r++) {
            float *out = &j->out[t * j->out_stride + r], sum = j->add ? *out : 0;
            for (size_t k = 0; k < j->n_k; k++) sum += j->w[k * F32_ROWS + r] * j->x[k * TILE_TOKENS + t];
            *out = sum;
        }
}

void pack_f32_ref(const struct pack_f32_job *j) {
    for (size_t k = 0; k < j->n_k; k++)
        for (size_t r = 0; r < j->width; r++) j->out[k * j->width + r] = r < j->n_rows ? j->rows[r * j->stride + k] : 0;
}

/* load(i): weight i of the row, as a float. */
#define FLOAT_ROWS(codec, T, load)                                                                   \
    void rows_##codec##_ref(const struct rows_job *j) {                                              \
        for (size_t r = 0; r < j->n_rows; r++)                                                       \
            for (unsigned t = 0; t < j->n_tok; t++) {                                                \
                const uint8_t *w = j->w + r * j->row_bytes;                                          \
                const float *x = (const float *)j->x + t * j->x_stride;                              \
                float sum = 0;                                                                       \
                for (size_t i = 0; i < j->n_in; i++) {                                               \
                    T v;                                                                             \
                    memcpy(&v, w + i * sizeof v, sizeof v);                                          \
                    sum += load(v) * x[i];                                                           \
                }                                                                                    \
                j->out[t * j->out_stride + r] = sum;                                                 \
            }                                                                                        \
    }

FLOAT_ROWS(f32, float, )
FLOAT_ROWS(f16, uint16_t, f32_from_f16)
FLOAT_ROWS(bf16, uint16_t, f32_from_bf16)

/* --- Limits --- */

uint64_t read_sum_ref(const uint8_t *p, size_t n) {
    uint64_t s[4] = { 0 }, v[4];
    size_t i = 0;
    for (; i + sizeof v <= n; i += sizeof v) {
        memcpy(v, p + i, sizeof v);
        for (int c = 0; c < 4; c++) s[c] += v[c];
    }
    for (; i < n; i++) s[0] += p[i];
    return s[0] + s[1] + s[2] + s[3];
}

enum { CHAINS = 8 }; /* sums that do not wait for one another */

uint64_t spin_int8_ref(size_t loops, uint64_t *ops) {
    uint32_t s[CHAINS] = { 0 }, a = (uint32_t)loops | 1;
    for (size_t i = 0; i < loops; i++)
        for (int c = 0; c < CHAINS; c++) s[c] = s[c] * a + 1;
    *ops = loops * CHAINS * 2;
    for (int c = 1; c < CHAINS; c++) s[0] ^= s[c];
    return s[0];
}

uint64_t spin_f32_ref(size_t loops, uint64_t *ops) {
    float s[CHAINS] = { 0 }, a = 1 / (float)(loops + 1);
    for (size_t i = 0; i < loops; i++)
        for (int c = 0; c < CHAINS; c++) s[c] = s[c] * a + 1;
    *ops = loops * CHAINS * 2;
    for (int c = 1; c < CHAINS; c++) s[0] += s[c];
    return f32_to_bits(s[0]);
}
