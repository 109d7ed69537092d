/* Float kernels in AVX-512: dot, packing, the register tile, widening. */
#include "backend/cpu/x86/vec_avx512.h"
#include "backend/cpu/vec/f32_loop.h"

float dot_f32_avx512(const float *a, const float *b, size_t n) { return dot(a, b, n); }
void pack_f32_avx512(const struct pack_f32_job *j) { pack(j); }
void tile_f32_avx512(const struct f32_tile_job *j) { tile(j, vec_fma); }

/* In integers, since the processor's own conversion takes numbers below the normal ones for 0. */
void narrow_bf16_avx512(const float *x, void *out, size_t n) {
    const __m512i half = _mm512_set1_epi32(0x7fff), one = _mm512_set1_epi32(1);
    const __m512i quiet = _mm512_set1_epi32(0x400000);
    for (size_t i = 0; i < n; i += VEC) {
        const __mmask16 some = n - i < VEC ? vec_first(n - i) : 0xffff;
        const __m512i v = _mm512_maskz_loadu_epi32(some, x + i), odd = _mm512_and_si512(_mm512_srli_epi32(v, 16), one);
        const __mmask16 nan = _mm512_cmp_ps_mask(_mm512_castsi512_ps(v), _mm512_castsi512_ps(v), _CMP_UNORD_Q);
        const __m512i up = _mm512_add_epi32(_mm512_add_epi32(v, half), odd);
        const __m512i bits = _mm512_mask_or_epi32(up, nan, v, quiet);
        _mm256_mask_storeu_epi16((uint16_t *)out + i, some, _mm512_cvtepi32_epi16(_mm512_srli_epi32(bits, 16)));
    }
}

void widen_f16_avx512(const void *w, float *out, size_t n) { widen_16(w, out, n, QTYPE_F16); }
void widen_bf16_avx512(const void *w, float *out, size_t n) { widen_16(w, out, n, QTYPE_BF16); }
