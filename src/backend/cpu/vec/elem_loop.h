#ifndef BACKEND_CPU_VEC_ELEM_LOOP_H
#define BACKEND_CPU_VEC_ELEM_LOOP_H
/* Element-wise kernels: exponentials of softmax and SiLU, blending. */
#include <math.h>

#include "backend/cpu/kern.h"
#include "backend/cpu/vec/vec.h"

/* exp(x) = 2^n * exp(r), n = round(x / ln 2), |r| <= ln(2) / 2; ln 2 in two parts and the polynomial are those of the
 * Cephes library's expf, whose error is under two units in the last place. The clamp keeps n within -202 .. 130, which
 * becomes zero or infinity; a NaN passes. */
static ALWAYS_INLINE vec vec_exp(vec x) {
    x = vec_min(vec_all(90.0f), vec_max(vec_all(-140.0f), x));
    const vec n = vec_nearest(x * vec_all(1.44269504088896341f));
    vec r = vec_fma(n, vec_all(-0.693359375f), x), y = vec_all(1.9875691500e-4f);
    r = vec_fma(n, vec_all(2.12194440e-4f), r);
    y = vec_fma(y, r, vec_all(1.3981999507e-3f));
    y = vec_fma(y, r, vec_all(8.3334519073e-3f));
    y = vec_fma(y, r, vec_all(4.1665795894e-2f));
    y = vec_fma(y, r, vec_all(1.6666665459e-1f));
    y = vec_fma(y, r, vec_all(5.0000001201e-1f));
    return vec_scaled(vec_fma(r * r, y, r) + vec_all(1.0f), n);
}

static ALWAYS_INLINE float softmax(float *s, size_t n, float *max) {
    vec most = vec_all(-INFINITY), sum = vec_all(0);
    size_t i = 0;
    for (; i + VEC <= n; i += VEC) most = vec_max(most, vec_load(s + i));
    float m = vec_most(most);
    for (; i < n; i++) m = fmaxf(m, s[i]);
    for (i = 0; i + VEC <= n; i += VEC) {
        const vec w = vec_exp(vec_load(s + i) - vec_all(m));
        vec_store(s + i, w);
        sum += w;
    }
    if (i < n) { /* the lanes beyond the end are stored nowhere, and loaded again as 0 */
        vec_store_some(s + i, vec_exp(vec_load_some(s + i, n - i) - vec_all(m)), n - i);
        sum += vec_load_some(s + i, n - i);
    }
    *max = m;
    return vec_sum(sum);
}

static ALWAYS_INLINE vec silu(vec gate) { return gate / (vec_all(1.0f) + vec_exp(vec_all(0) - gate)); }

static ALWAYS_INLINE void silu_mul(const float *gate, const float *up, float *out, size_t n) {
    size_t i = 0;
    for (; i + VEC <= n; i += VEC) vec_store(out + i, silu(vec_load(gate + i)) * vec_load(up + i));
    if (i < n) {
        n -= i;
        vec_store_some(out + i, silu(vec_load_some(gate + i, n)) * vec_load_some(up + i, n), n);
    }
}

static ALWAYS_INLINE void blend(float *acc, float a, const float *x, float b, size_t n) {
    size_t i = 0;
    for (; i + VEC <= n; i += VEC)
        vec_store(acc + i, vec_fma(vec_all(b), vec_load(x + i), vec_all(a) * vec_load(acc + i)));
    for (; i < n; i++) acc[i] = a * acc[i] + b * x[i];
}
#endif
