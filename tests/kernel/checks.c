/* Input for the checks of kernels, and how close is close enough. */
#include "checks.h"

#include <sys/mman.h>
#include <unistd.h>

struct rng rng;

/* --- Input --- */

void fill_floats(float *x, size_t n, enum kind kind) {
    for (size_t i = 0; i < n; i++) {
        float r = rng_f32(&rng) * 2 - 1;
        x[i] = kind == ZERO ? 0 : kind == HUGE_VALUES ? r * 1e18f : kind == DENORMAL ? r * 1e-39f : r;
        if (kind == EXTREME) x[i] = rng_u32(&rng) & 1 ? 1 : -1;
        if (kind == OUTLIER && rng_below(&rng, 100) == 0) x[i] = r * 1000;
    }
}

/* Where a block keeps its halves: random bytes there could be infinite. */
static const int half_at[QTYPE_ID_LIMIT][2] = {
    [QTYPE_Q4_0] = { 0, -1 },  [QTYPE_Q4_1] = { 0, 2 },   [QTYPE_Q5_0] = { 0, -1 },   [QTYPE_Q5_1] = { 0, 2 },
    [QTYPE_Q8_0] = { 0, -1 },  [QTYPE_IQ4_NL] = { 0, -1 }, [QTYPE_Q2_K] = { 80, 82 }, [QTYPE_Q3_K] = { 108, -1 },
    [QTYPE_Q4_K] = { 0, 2 },   [QTYPE_Q5_K] = { 0, 2 },   [QTYPE_Q6_K] = { 208, -1 }, [QTYPE_IQ4_XS] = { 0, -1 },
    [QTYPE_IQ2_XXS] = { 0, -1 }, [QTYPE_IQ2_XS] = { 0, -1 }, [QTYPE_IQ2_S] = { 0, -1 }, [QTYPE_IQ3_XXS] = { 0, -1 },
    [QTYPE_IQ3_S] = { 0, -1 }, [QTYPE_IQ1_S] = { 0, -1 }, [QTYPE_IQ1_M] = { -1, -1 }, [QTYPE_MXFP4] = { -1, -1 },
    [QTYPE_TQ1_0] = { 52, -1 }, [QTYPE_TQ2_0] = { 64, -1 },
    [QTYPE_NVFP4] = { -1, -1 },
};

/* MXFP4's exponent: products with activations of any kind stay finite. */
static uint8_t random_exponent(enum kind kind) {
    if (kind == DENORMAL) return (uint8_t)rng_below(&rng, 4);
    return (uint8_t)(kind == HUGE_VALUES ? 143 : 100 + rng_below(&rng, 40));
}

static uint16_t random_half(enum kind kind) {
    float r = rng_f32(&rng) * 2 - 1;
    if (kind == ZERO) return rng_u32(&rng) & 1 ? 0x8000 : 0;
    if (kind == HUGE_VALUES) return r < 0 ? 0xfbff : 0x7bff;
    if (kind == DENORMAL) return (uint16_t)(rng_u32(&rng) & 0x83ff);
    return f16_from_f32(r);
}

void fill_blocks(uint8_t *w, enum qtype type, size_t n, enum kind kind) {
    const struct qtype_info *q = qtype_info(type);
    if (qtype_is_float(type)) {
        float *x = malloc(n * sizeof(float));
        fill_floats(x, n, kind == HUGE_VALUES && type == QTYPE_F16 ? NORMAL : kind);
        q->encode(x, w, n);
        free(x);
        return;
    }
    for (size_t b = 0; b < n / q->block_weights; b++, w += q->block_bytes) {
        static const uint8_t same[] = { 0x80, 0xff, 0x00, 0x7f };
        uint8_t byte = same[rng_below(&rng, 4)];
        const uint16_t random = random_half(kind);
        for (size_t i = 0; i < q->block_bytes; i++) w[i] = kind == EXTREME ? byte : (uint8_t)rng_u32(&rng);
        for (int h = 0; h < 2; h++) {
            uint16_t half = random_half(kind);
            if (half_at[type][h] >= 0) memcpy(w + half_at[type][h], &half, 2);
        }
        if (type == QTYPE_MXFP4) w[0] = random_exponent(kind);
        for (int i = 0; type == QTYPE_IQ1_M && i < 4; i++) /* the half is the top nibbles of four words */
            w[49 + 2 * i] = (uint8_t)((w[49 + 2 * i] & 15) | (random >> 4 * i & 15) << 4);
    }
}

uint8_t *end_of_memory(size_t n) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), size = round_up(n, page);
    uint8_t *p = mmap(NULL, size + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(p != MAP_FAILED);
    assert_int_equal(mprotect(p + size, page, PROT_NONE), 0);
    return p + size;
}

size_t random_length(enum qtype type, size_t max) {
    size_t block = qtype_info(type)->block_weights;
    return block * (1 + rng_below(&rng, (uint32_t)(max / block)));
}

double sum_bound(size_t n, double magnitude) {
    return (double)(n + 1) * (FLT_EPSILON / 2) * magnitude + (double)(n + 1) * FLT_TRUE_MIN;
}

void assert_close(const char *name, double got, double want, double bound) {
    if (!(fabs(got - want) <= bound)) fail_msg("%s: want %.9g got %.9g, bound %g", name, want, got, bound);
}
