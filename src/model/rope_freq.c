/* Rotary frequencies: the angle per position of each pair, with context scaling inside.
 *
 * Computed in double and rounded once. transformers computes in float; the two differ by an ulp or two, far below what
 * any logit shows. Kinds: Position Interpolation (linear), NTK-aware with a base that grows (dynamic), YaRN
 * (arXiv:2309.00071), LongRoPE (arXiv:2402.13753), and the
 * three bands of Llama 3.1. */
#include <math.h>

#include "base/num.h"
#include "model/hparams.h"

static const double pi = 3.14159265358979323846;

/* Angle per position of pair i without scaling. */
static double plain(double base, uint32_t n_rot, uint32_t i) {
    return pow(base, -2.0 * i / n_rot);
}

/* The base that dynamic scaling puts in for a sequence of len tokens, longer than the model was trained for. */
static double dynamic_base(const struct rope_params *r, uint32_t len) {
    double stretch = (double)r->factor * len / r->original_ctx - (r->factor - 1.0);
    return r->base * pow(stretch, r->n_rot / (r->n_rot - 2.0));
}

/* Where on the dimensions (a real number) a pair turns `turns` times in the original context. */
static double yarn_dimension(const struct rope_params *r, double turns) {
    return r->n_rot * log(r->original_ctx / (turns * 2 * pi)) / (2 * log((double)r->base));
}

/* Share of the scaled angle in pair i: 0 for those that turn often, 1 for those that hardly turn, a ramp between. */
static double yarn_ramp(const struct rope_params *r, uint32_t i) {
    double low = yarn_dimension(r, r->beta_fast), high = yarn_dimension(r, r->beta_slow);
    if (r->truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, r->n_rot - 1.0);
    if (low == high) high += 0.001; /* as transformers, against a division by zero */
    return fmin(fmax((i - low) / (high - low), 0), 1);
}

float rope_yarn_magnitude(float factor, float mscale) {
    return factor <= 1 ? 1 : (float)(0.1 * mscale * log((double)factor) + 1);
}

/* By wavelength in tokens: short ones stay, those longer than the original context are divided by factor, and the
 * frequencies between are a weighted mean. */
static double llama3_divisor(const struct rope_params *r, double freq) {
    double wavelength = 2 * pi / freq, turns = r->original_ctx / wavelength;
    if (turns > r->high_freq_factor) return 1;
    if (turns < r->low_freq_factor) return r->factor;
    double smooth = (turns - r->low_freq_factor) / ((double)r->high_freq_factor - r->low_freq_factor);
    return 1 / ((1 - smooth) / r->factor + smooth);
}

void rope_freq_divisors(const struct rope_params *r, float *divisors) {
    for (uint32_t i = 0; i < r->n_rot / 2; i++) divisors[i] = (float)llama3_divisor(r, plain(r->base, r->n_rot, i));
}

void rope_inv_freq(const struct rope_params *r, const float *divisors, uint32_t total_len, float *inv_freq) {
    double base = r->base;
    if (r->scaling == ROPE_SCALE_DYNAMIC && total_len > r->original_ctx) base = dynamic_base(r, total_len);
    for (uint32_t i = 0; i < r->n_rot / 2; i++) {
        double f = plain(base, r->n_rot, i);
        if (divisors) f /= divisors[i];
        switch (r->scaling) {
        case ROPE_SCALE_NONE:
        case ROPE_SCALE_DYNAMIC: break;
        case ROPE_SCALE_LINEAR: f /= r->factor; break;
        case ROPE_SCALE_LONG: f /= (total_len > r->original_ctx ? r->long_factors : r->short_factors)[i]; break;
        case ROPE_SCALE_LLAMA3: f /= llama3_divisor(r, f); break;
        case ROPE_SCALE_YARN: {
            double ramp = yarn_ramp(r, i);
            f = f / r->factor * ramp + f * (1 - ramp);
            break;
        }
        }
        inv_freq[i] = (float)f;
    }
}
