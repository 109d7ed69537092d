/* Owns: the table of kernels and the facts of each type's int8 arithmetic.
 * Promises: the choice depends on the features given and nothing else.
 * Leaves to others: the bodies (kern_ref.c, unit_ref.c, x86/), who calls them (cpu_matmul.c). */
#include "backend/cpu/kern.h"

#include <string.h>

#include "base/cpu.h"

static const struct int8_form forms[QTYPE_ID_LIMIT] = {
    [QTYPE_Q4_0] = { 32, 8, false },   [QTYPE_Q4_1] = { 32, 0, true },    [QTYPE_Q5_0] = { 32, 16, false },
    [QTYPE_Q5_1] = { 32, 0, true },    [QTYPE_Q8_0] = { 32, 128, false }, [QTYPE_IQ4_NL] = { 32, 128, false },
    [QTYPE_Q2_K] = { 16, 0, true },    [QTYPE_Q3_K] = { 16, 4, false },   [QTYPE_Q4_K] = { 32, 0, true },
    [QTYPE_Q5_K] = { 32, 0, true },    [QTYPE_Q6_K] = { 16, 32, false },  [QTYPE_IQ4_XS] = { 32, 128, false },
    [QTYPE_IQ1_S] = { 32, 16, false },    [QTYPE_IQ1_M] = { 16, 16, false },
    [QTYPE_IQ2_XXS] = { 32, 128, false }, [QTYPE_IQ2_XS] = { 16, 128, false }, [QTYPE_IQ2_S] = { 16, 128, false },
    [QTYPE_IQ3_XXS] = { 32, 128, false }, [QTYPE_IQ3_S] = { 32, 16, false },   [QTYPE_MXFP4] = { 32, 16, false },
    [QTYPE_TQ1_0] = { 32, 1, false },     [QTYPE_TQ2_0] = { 32, 1, false },
};

const struct int8_form *int8_form(enum qtype type) {
    static const struct int8_form none;
    return (unsigned)type < QTYPE_ID_LIMIT ? &forms[type] : &none;
}

void kern_init(struct kern *k, unsigned features) {
    memset(k, 0, sizeof *k);
    for (uint32_t id = 0; id < QTYPE_ID_LIMIT; id++) k->widen[id] = qtype_info(id) ? qtype_info(id)->decode : NULL;
#define KERNEL(op, fn, isa, need) if (!((need) & ~features)) k->op = op##_##isa;
#define KERNEL_OF(op, type, codec, isa, need) if (!((need) & ~features)) k->op[QTYPE_##type] = op##_##codec##_##isa;
#include "backend/cpu/kernels.def"
#undef KERNEL
#undef KERNEL_OF
    /* Measured (docs/kernels.md). */
    const uint8_t arranged = features & CPU_VNNI ? 4 : ROWS_TOKENS;
    for (uint32_t id = 0; id < QTYPE_ID_LIMIT; id++) {
        k->few_tokens[id] = k->lanes[id] ? 2 : k->arrange[id] ? arranged : 3;
        k->several_tokens[id] = k->lanes[id] ? 8 : 0;
    }
}
