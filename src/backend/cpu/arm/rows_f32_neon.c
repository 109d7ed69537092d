/* Rows of the float types in NEON. */
#include "backend/cpu/arm/vec_neon.h"
#include "backend/cpu/vec/rows_f32_loop.h"

void rows_f32_neon(const struct rows_job *j) { float_rows(j, QTYPE_F32, 1); }
void rows_f16_neon(const struct rows_job *j) { float_rows(j, QTYPE_F16, 1); }
void rows_bf16_neon(const struct rows_job *j) { float_rows(j, QTYPE_BF16, 1); }
