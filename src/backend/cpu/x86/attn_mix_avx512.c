/* Weighted sums of attention in AVX-512. */
#include "backend/cpu/vec/attn_mix_loop.h"

void attn_mix_f32_avx512(const struct attn_job *j) { attn_mix(j, QTYPE_F32); }
void attn_mix_f16_avx512(const struct attn_job *j) { attn_mix(j, QTYPE_F16); }
void attn_mix_q8_0_avx512(const struct attn_job *j) { attn_mix(j, QTYPE_Q8_0); }
