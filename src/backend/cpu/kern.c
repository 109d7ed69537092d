/* Owns: the table of kernels and the facts of each type's int8 arithmetic.
 * Promises: the choice depends on the features given and nothing else.
 * Leaves to others: the bodies (kern_ref.c, unit_ref.c, x86/), who calls them (cpu_matmul.c). */
#include "backend/cpu/kern.h"

#include <string.h>

#include "base/cpu.h"

static const struct {
    struct int8_form form;
    uint8_t top;
} facts[QTYPE_ID_LIMIT] = {
    [QTYPE_Q4_0] = { { 32, 8, false }, 15 },       [QTYPE_Q4_1] = { { 32, 0, true }, 15 },
    [QTYPE_Q5_0] = { { 32, 16, false }, 31 },      [QTYPE_Q5_1] = { { 32, 0, true }, 31 },
    [QTYPE_Q8_0] = { { 32, 128, false }, 255 },    [QTYPE_IQ4_NL] = { { 32, 128, false }, 241 },
    [QTYPE_Q2_K] = { { 16, 0, true }, 3 },         [QTYPE_Q3_K] = { { 16, 4, false }, 7 },
    [QTYPE_Q4_K] = { { 32, 0, true }, 15 },        [QTYPE_Q5_K] = { { 32, 0, true }, 31 },
    [QTYPE_Q6_K] = { { 16, 32, false }, 63 },      [QTYPE_IQ4_XS] = { { 32, 128, false }, 241 },
    [QTYPE_IQ1_S] = { { 32, 16, false }, 25 },     [QTYPE_IQ1_M] = { { 16, 16, false }, 25 },
    [QTYPE_IQ2_XXS] = { { 32, 128, false }, 171 }, [QTYPE_IQ2_XS] = { { 16, 128, false }, 171 },
    [QTYPE_IQ2_S] = { { 16, 128, false }, 171 },   [QTYPE_IQ3_XXS] = { { 32, 128, false }, 190 },
    [QTYPE_IQ3_S] = { { 32, 16, false }, 31 },     [QTYPE_MXFP4] = { { 32, 16, false }, 28 },
    [QTYPE_TQ1_0] = { { 32, 1, false }, 2 },       [QTYPE_TQ2_0] = { { 32, 1, false }, 3 },
    [QTYPE_NVFP4] = { { 16, 16, false }, 28 },
};

const struct int8_form *int8_form(enum qtype type) {
    return &facts[(unsigned)type < QTYPE_ID_LIMIT ? type : QTYPE_F32].form;
}

uint8_t int8_top(enum qtype type) { return (unsigned)type < QTYPE_ID_LIMIT ? facts[type].top : 0; }

/* Bits from..to. */
#define TOKENS(from, to) ((2u << (to)) - (1u << (from)))

/* Measured (docs/kernels.md). Arranged activations make rows cheaper, VNNI makes tiles cheaper still. Lanes are filled
 * up to 4, 8 or 16 tokens. */
static void choose_ways(struct kern *k, bool vnni) {
    /* Up to how many tokens rows are best with VNNI: the longer a unit takes to be taken apart for lanes, the more. */
    static const uint8_t rows_to[QTYPE_ID_LIMIT] = {
        [QTYPE_Q4_0] = 2, [QTYPE_Q4_1] = 3, [QTYPE_Q5_0] = 3, [QTYPE_Q5_1] = 3, [QTYPE_Q8_0] = 2, [QTYPE_IQ4_NL] = 3,
        [QTYPE_Q2_K] = 3, [QTYPE_Q3_K] = 3, [QTYPE_Q4_K] = 2, [QTYPE_Q5_K] = 3, [QTYPE_Q6_K] = 3, [QTYPE_IQ4_XS] = 3,
        [QTYPE_IQ1_S] = 4, [QTYPE_IQ1_M] = 4, [QTYPE_IQ2_XXS] = 5, [QTYPE_IQ2_XS] = 5, [QTYPE_IQ2_S] = 5,
        [QTYPE_IQ3_XXS] = 5, [QTYPE_IQ3_S] = 5, [QTYPE_MXFP4] = 3, [QTYPE_TQ1_0] = 2, [QTYPE_TQ2_0] = 2,
        [QTYPE_NVFP4] = 4,
    };
    for (uint32_t id = 0; id < QTYPE_ID_LIMIT; id++) {
        k->few_tokens[id] = !k->arrange[id] ? 3 : vnni ? rows_to[id] : 8;
        if (k->lanes[id]) k->lanes_tokens[id] = vnni ? TOKENS(rows_to[id] + 1, 8) : TOKENS(8, 8) | TOKENS(13, 16);
    }
    if (!vnni && k->lanes[QTYPE_MXFP4]) k->lanes_tokens[QTYPE_MXFP4] = TOKENS(3, 8) | TOKENS(13, 16);
}

void kern_init(struct kern *k, unsigned features) {
    memset(k, 0, sizeof *k);
    for (uint32_t id = 0; id < QTYPE_ID_LIMIT; id++) k->widen[id] = qtype_info(id) ? qtype_info(id)->decode : NULL;
#define KERNEL(op, fn, isa, need) if (!((need) & ~features)) k->op = op##_##isa;
#define KERNEL_OF(op, type, codec, isa, need) if (!((need) & ~features)) k->op[QTYPE_##type] = op##_##codec##_##isa;
#include "backend/cpu/kernels.def"
#undef KERNEL
#undef KERNEL_OF
    choose_ways(k, features & CPU_VNNI);
}
