/* Scores of attention in AVX-512. */
#include "backend/cpu/vec/attn_dot_loop.h"

void attn_dot_f32_avx512(const struct attn_job *j) { attn_dot(j, QTYPE_F32); }
void attn_dot_f16_avx512(const struct attn_job *j) { attn_dot(j, QTYPE_F16); }
void attn_dot_q8_0_avx512(const struct attn_job *j) { attn_dot(j, QTYPE_Q8_0); }
