/* Float kernels in AVX2: dot, packing, the register tile, widening. */
#include "backend/cpu/x86/vec_avx2.h"
#include "backend/cpu/vec/f32_loop.h"

float dot_f32_avx2(const float *a, const float *b, size_t n) { return dot(a, b, n); }
void pack_f32_avx2(const struct pack_f32_job *j) { pack(j); }
void tile_f32_avx2(const struct f32_tile_job *j) { tile(j, vec_fma); }
void widen_f16_avx2(const void *w, float *out, size_t n) { widen_16(w, out, n, QTYPE_F16); }
void widen_bf16_avx2(const void *w, float *out, size_t n) { widen_16(w, out, n, QTYPE_BF16); }
void widen_q8_0_avx2(const void *w, float *out, size_t n) { widen_q8_0(w, out, n); }
