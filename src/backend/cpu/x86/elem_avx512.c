/* Element-wise kernels in AVX-512: exponentials of softmax and SiLU. */
#include "backend/cpu/vec/elem_loop.h"

float softmax_avx512(float *s, size_t n, float *max) { return softmax(s, n, max); }
void silu_mul_avx512(const float *gate, const float *up, float *out, size_t n) { silu_mul(gate, up, out, n); }
