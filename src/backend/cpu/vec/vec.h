#ifndef BACKEND_CPU_VEC_VEC_H
#define BACKEND_CPU_VEC_VEC_H
/* VEC floats in a register. The loops of this folder are written once over it, and each file OPERATIONS_ISA.c expands
 * them with its own: the vec of the vec_ISA.h that it includes before them, or else of the widest registers that its
 * compilation may use.
 *
 * + - * / work on a vec. A vec_ISA.h adds what C has no operator for:
 *
 *     VEC, VEC_REGISTERS           floats of a vec; how many of them the processor holds
 *     vec_load, vec_store          from and to any address
 *     vec_load_some, .._store_some the first n <= VEC alone are touched; the others of what is loaded are 0
 *     vec_all(x)                   x in every lane
 *     vec_fma(a, b, c)             a * b + c, rounded once
 *     vec_max, vec_min             the second where one is NaN, or NaN
 *     vec_nearest                  to integers, ties to even
 *     vec_scaled(v, n)             v * 2^n, v about 1 and n an integer within -202 .. 130, rounded once
 *     vec_most(v)                  the largest lane
 *     vec_sum(v)                   of all lanes, always in the same order
 *     vec16, vec16_load, .._some   VEC numbers of 16 bits as they stand in memory
 *     vec16_all(x)                 x in every lane
 *     vec_of_f16, vec_of_bf16      such numbers as floats
 *     vec_load_i8                  VEC signed bytes as floats
 *     vec_sums(v)                  lane i is the sum of v[i]'s lanes, of VEC vectors (not in AVX-512)
 *     vec_store_halves             each half of the lanes to an address of its own (likewise)
 *     vec_transpose(v)             v[r] lane c becomes v[c] lane r, of VEC vectors
 *     fetch_ahead(p, bytes)        asks for what stands some KiB beyond p, where that pays */
#if defined(BACKEND_CPU_X86_VEC_AVX2_H) || defined(BACKEND_CPU_X86_VEC_AVX512_H)
/* chosen */
#elif defined(__AVX512F__)
#include "backend/cpu/x86/vec_avx512.h"
#elif defined(__AVX2__)
#include "backend/cpu/x86/vec_avx2.h"
#else
#include "backend/cpu/arm/vec_neon.h"
#endif
#include "qtype/codec.h"
#include "qtype/qtype.h"

/* A number of F32, F16 or BF16. */
static ALWAYS_INLINE size_t vec_bytes_of(const enum qtype type) { return type == QTYPE_F32 ? 4 : 2; }

/* VEC numbers of F32, F16 or BF16. */
static ALWAYS_INLINE vec vec_widen(const uint8_t *p, const enum qtype type) {
    if (type == QTYPE_F32) return vec_load(p);
    return type == QTYPE_F16 ? vec_of_f16(vec16_load(p)) : vec_of_bf16(vec16_load(p));
}
static ALWAYS_INLINE vec vec_widen_some(const uint8_t *p, size_t n, const enum qtype type) {
    if (type == QTYPE_F32) return vec_load_some(p, n);
    return type == QTYPE_F16 ? vec_of_f16(vec16_load_some(p, n)) : vec_of_bf16(vec16_load_some(p, n));
}

/* A block of Q8_0 is a half, the scale, and Q8_0_WEIGHTS signed bytes. */
enum { Q8_0_WEIGHTS = 32, Q8_0_BYTES = 34 };
static ALWAYS_INLINE vec vec_q8_0_scale(const uint8_t *block) { return vec_of_f16(vec16_all(load_u16(block))); }

/* Number i of a row of a cache in F32, F16 or Q8_0, and those behind it; scale: of their block, with Q8_0 alone. */
static ALWAYS_INLINE vec vec_of_row(const uint8_t *row, size_t i, const enum qtype type, vec scale) {
    if (type == QTYPE_Q8_0) return scale * vec_load_i8(row + i / Q8_0_WEIGHTS * Q8_0_BYTES + 2 + i % Q8_0_WEIGHTS);
    vec v = vec_widen(row + i * vec_bytes_of(type), type);
    LOADED(v); /* several products use it, and with loads for all AVX2 waits for them */
    return v;
}
#endif
