#ifndef BACKEND_CPU_X86_SIGNS_AVX2_H
#define BACKEND_CPU_X86_SIGNS_AVX2_H
/* Signs of the types that keep seven for each 8 weights: brought to 32 bytes of eight, bit j of byte l set where
 * element 8 l + j of the unit is negative. */
#include <immintrin.h>

#include "base/compiler.h"

/* Each byte has seven signs in its lower bits; any bit above. The eighth makes their number even. */
static ALWAYS_INLINE __m256i even_signs32(__m256i seven) {
    const __m128i odd = _mm_setr_epi8(0, -128, -128, 0, -128, 0, 0, -128, -128, 0, 0, -128, 0, -128, -128, 0);
    __m256i x = _mm256_and_si256(seven, _mm256_set1_epi8(127));
    __m256i both = _mm256_and_si256(_mm256_xor_si256(x, _mm256_srli_epi16(x, 4)), _mm256_set1_epi8(15));
    return _mm256_or_si256(x, _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(odd), both));
}

/* Eight words that have four times seven signs each, from their lowest bit up. */
static ALWAYS_INLINE __m256i signs_of_words(__m256i words) {
    __m256i a = _mm256_blend_epi16(words, _mm256_slli_epi32(words, 2), 0xaa);
    __m256i b = _mm256_blend_epi16(_mm256_slli_epi32(words, 1), _mm256_slli_epi32(words, 3), 0xaa);
    return even_signs32(_mm256_blendv_epi8(a, b, _mm256_set1_epi16((short)0xff00)));
}
#endif
