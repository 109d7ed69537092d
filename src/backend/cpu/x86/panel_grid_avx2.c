/* Unpacking panels of 16 rows of the types with signs, in AVX2: magnitudes are added to the type's offset or taken off
 * it. */
#include "backend/cpu/x86/panel_loop_avx2.h"
#include "backend/cpu/x86/unpack_grid_avx2.h"

static ALWAYS_INLINE void signed_to_unit(const struct signed256 *s, const struct int8_form form, struct unit256 *u) {
    const __m256i o = _mm256_set1_epi8((char)form.offset);
    for (int i = 0; i < 32 / form.sub; i++) u->scale[i] = s->scale[i];
#pragma GCC unroll 8
    for (int v = 0; v < 8; v++)
        u->q[v] = _mm256_add_epi8(o, _mm256_sub_epi8(_mm256_xor_si256(s->q[v], s->minus[v]), s->minus[v]));
}

#define SIGNED_PANEL_KERNEL(codec, sub, offset)                                                                        \
    static ALWAYS_INLINE void unpack_##codec(const uint8_t *b, struct unit256 *u) {                                    \
        struct signed256 s;                                                                                            \
        take_##codec(b, &s);                                                                                           \
        signed_to_unit(&s, (struct int8_form){ sub, offset, false }, u);                                               \
    }                                                                                                                  \
    PANEL_KERNEL(codec, sub, offset, false)

SIGNED_PANEL_KERNEL(iq1_s, 32, 16)
SIGNED_PANEL_KERNEL(iq1_m, 16, 16)
SIGNED_PANEL_KERNEL(iq2_xxs, 32, 128)
SIGNED_PANEL_KERNEL(iq2_xs, 16, 128)
SIGNED_PANEL_KERNEL(iq2_s, 16, 128)
SIGNED_PANEL_KERNEL(iq3_xxs, 32, 128)
SIGNED_PANEL_KERNEL(iq3_s, 32, 16)
SIGNED_PANEL_KERNEL(mxfp4, 32, 16)
