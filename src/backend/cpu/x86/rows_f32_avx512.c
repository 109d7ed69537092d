/* Rows of the float types in AVX-512: in vectors of 256 bits, which stream from the second-level cache
 * faster than those of 512, but with 32 registers, which hold the sums of more rows than AVX2's 16. That makes 1.4
 * times the speed for 4 tokens (Zen 4). */
#include "backend/cpu/x86/vec_avx2.h"
#include "backend/cpu/vec/rows_f32_loop.h"

void rows_f32_avx512(const struct rows_job *j) { float_rows(j, QTYPE_F32, 4); }
void rows_f16_avx512(const struct rows_job *j) { float_rows(j, QTYPE_F16, 4); }
void rows_bf16_avx512(const struct rows_job *j) { float_rows(j, QTYPE_BF16, 4); }
