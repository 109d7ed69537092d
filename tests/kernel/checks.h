#ifndef TESTS_KERNEL_CHECKS_H
#define TESTS_KERNEL_CHECKS_H
/* One check for each operation of kernels.def, in check_X.c files by subject; test_kern.c runs them on every row of
 * the table that the machine can run. A new operation needs a function check_OPERATION here. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backend/cpu/kern.h"
#include "base/cpu.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/rng.h"

typedef void any_fn(void);
struct body {
    const char *name;
    any_fn *fn;
    unsigned needs;
    enum qtype type; /* of KERNEL_OF, QTYPE_NONE otherwise */
};
typedef void check_fn(const struct body *b);
check_fn check_dot_f32, check_round, check_pack_f32, check_tile_f32, check_widen;      /* check_float.c */
check_fn check_tile_bf16, check_read_sum, check_spin_int8, check_spin_f32, check_spin_bf16;
check_fn check_panel, check_tile16, check_tile32, check_rows, check_arrange;           /* check_int8.c */
check_fn check_lanes, check_turn;
check_fn check_attn_dot, check_attn_mix, check_narrow, check_softmax, check_blend, check_silu_mul; /* check_attn.c */

/* Seeded by main. */
extern struct rng rng;

enum kind { NORMAL, ZERO, HUGE_VALUES, DENORMAL, EXTREME, OUTLIER, N_KINDS };
void fill_floats(float *x, size_t n, enum kind kind);
/* n weights of any content that a file may hold with finite scales. */
void fill_blocks(uint8_t *w, enum qtype type, size_t n, enum kind kind);
/* The end of n bytes of memory, behind which nothing can be read: weights may stand at the end of a mapped file. Never
 * freed. */
uint8_t *end_of_memory(size_t n);
/* A length up to max that the type allows, with every tail. */
size_t random_length(enum qtype type, size_t max);
/* A float sum of n terms, in any order, rounds by at most this; each operation may lose the smallest float too. */
double sum_bound(size_t n, double magnitude);
void assert_close(const char *name, double got, double want, double bound);
#endif
