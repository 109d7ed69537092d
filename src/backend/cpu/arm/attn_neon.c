/* Attention in NEON. */
#include "backend/cpu/vec/attn_dot_loop.h"
#include "backend/cpu/vec/attn_mix_loop.h"

void attn_dot_f32_neon(const struct attn_job *j) { attn_dot(j, QTYPE_F32); }
void attn_dot_f16_neon(const struct attn_job *j) { attn_dot(j, QTYPE_F16); }
void attn_dot_q8_0_neon(const struct attn_job *j) { attn_dot(j, QTYPE_Q8_0); }

void attn_mix_f32_neon(const struct attn_job *j) { attn_mix(j, QTYPE_F32); }
void attn_mix_f16_neon(const struct attn_job *j) { attn_mix(j, QTYPE_F16); }
void attn_mix_q8_0_neon(const struct attn_job *j) { attn_mix(j, QTYPE_Q8_0); }
