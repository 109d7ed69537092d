/* Rows of the float types in AVX2. */
#include "backend/cpu/x86/vec_avx2.h"
#include "backend/cpu/vec/rows_f32_loop.h"

void rows_f32_avx2(const struct rows_job *j) { float_rows(j, QTYPE_F32, 2); }
void rows_f16_avx2(const struct rows_job *j) { float_rows(j, QTYPE_F16, 2); }
void rows_bf16_avx2(const struct rows_job *j) { float_rows(j, QTYPE_BF16, 2); }
