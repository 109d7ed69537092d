/* Scalar bodies of the kernels that read stored blocks: rows and panel of the types whose codes are numbers or places
 * in a list of levels (grid_ref.c has the others). They say what the fast ones must do.
 *
 * Each type is one function that takes a unit apart into codes, scales and mins; the two kernels are made from it.
 * Codes are unsigned, so that every type but those with 8-bit levels multiplies as unsigned weight times signed
 * activation. */
#include "backend/cpu/unit_ref.h"

static void fifth_bits(uint32_t high, uint8_t *q) {
    for (int j = 0; j < 32; j++) q[j] |= (uint8_t)((high >> j & 1) << 4);
}

static void levels(uint8_t *q) {
    for (int j = 0; j < 32; j++) q[j] = (uint8_t)(iq4_levels[q[j]] + 128);
}

static void unpack_q4_0(const uint8_t *b, struct unit_codes *u) {
    for (int g = 0; g < 8; g++, b += 18) {
        u->scale[g] = f32_from_f16(load_u16(b));
        nibbles16(b + 2, u->q + 32 * g);
    }
}

static void unpack_q4_1(const uint8_t *b, struct unit_codes *u) {
    for (int g = 0; g < 8; g++, b += 20) {
        u->scale[g] = f32_from_f16(load_u16(b));
        u->min[g] = f32_from_f16(load_u16(b + 2));
        nibbles16(b + 4, u->q + 32 * g);
    }
}

static void unpack_q5_0(const uint8_t *b, struct unit_codes *u) {
    for (int g = 0; g < 8; g++, b += 22) {
        u->scale[g] = f32_from_f16(load_u16(b));
        nibbles16(b + 6, u->q + 32 * g);
        fifth_bits(load_u32(b + 2), u->q + 32 * g);
    }
}

static void unpack_q5_1(const uint8_t *b, struct unit_codes *u) {
    for (int g = 0; g < 8; g++, b += 24) {
        u->scale[g] = f32_from_f16(load_u16(b));
        u->min[g] = f32_from_f16(load_u16(b + 2));
        nibbles16(b + 8, u->q + 32 * g);
        fifth_bits(load_u32(b + 4), u->q + 32 * g);
    }
}

static void unpack_q8_0(const uint8_t *b, struct unit_codes *u) {
    for (int g = 0; g < 8; g++, b += 34) {
        u->scale[g] = f32_from_f16(load_u16(b));
        for (int j = 0; j < 32; j++) u->q[32 * g + j] = b[2 + j] ^ 0x80;
    }
}

static void unpack_iq4_nl(const uint8_t *b, struct unit_codes *u) {
    unpack_q4_0(b, u);
    for (int g = 0; g < 8; g++) levels(u->q + 32 * g);
}

static void unpack_iq4_xs(const uint8_t *b, struct unit_codes *u) {
    float d = f32_from_f16(load_u16(b));
    unsigned high = load_u16(b + 2);
    for (int g = 0; g < 8; g++) {
        unsigned s = (b[4 + g / 2] >> 4 * (g & 1) & 15) | (high >> 2 * g & 3) << 4;
        u->scale[g] = d * (float)((int)s - 32);
        nibbles16(b + 8 + 16 * g, u->q + 32 * g);
        levels(u->q + 32 * g);
    }
}

static void unpack_q2_k(const uint8_t *b, struct unit_codes *u) {
    float d = f32_from_f16(load_u16(b + 80)), dmin = f32_from_f16(load_u16(b + 82));
    for (int s = 0; s < 16; s++) {
        u->scale[s] = d * (float)(b[s] & 15);
        u->min[s] = -dmin * (float)(b[s] >> 4);
    }
    pairs(b + 16, u->q);
}

static void unpack_q3_k(const uint8_t *b, struct unit_codes *u) {
    const uint8_t *sc = b + 96;
    float d = f32_from_f16(load_u16(b + 108));
    for (int s = 0; s < 16; s++) {
        int low = s < 8 ? sc[s] & 15 : sc[s - 8] >> 4, high = sc[8 + (s & 3)] >> 2 * (s >> 2) & 3;
        u->scale[s] = d * (float)((low | high << 4) - 32);
    }
    pairs(b + 32, u->q);
    for (int e = 0; e < UNIT; e++) u->q[e] |= (uint8_t)((b[e & 31] >> (e >> 5) & 1) << 2);
}

static void k4_scales(const uint8_t *b, struct unit_codes *u) {
    float d = f32_from_f16(load_u16(b)), dmin = f32_from_f16(load_u16(b + 2));
    for (unsigned g = 0; g < 8; g++) {
        u->scale[g] = d * (float)k4_scale(b + 4, g);
        u->min[g] = -dmin * (float)k4_min(b + 4, g);
    }
}

static void nibbles32(const uint8_t *b, uint8_t *q) {
    for (int e = 0; e < UNIT; e++) q[e] = b[32 * (e >> 6) + (e & 31)] >> 4 * (e >> 5 & 1) & 15;
}

static void unpack_q4_k(const uint8_t *b, struct unit_codes *u) {
    k4_scales(b, u);
    nibbles32(b + 16, u->q);
}

static void unpack_q5_k(const uint8_t *b, struct unit_codes *u) {
    k4_scales(b, u);
    nibbles32(b + 48, u->q);
    for (int e = 0; e < UNIT; e++) u->q[e] |= (uint8_t)((b[16 + (e & 31)] >> (e >> 5) & 1) << 4);
}

static void unpack_q6_k(const uint8_t *b, struct unit_codes *u) {
    float d = f32_from_f16(load_u16(b + 208));
    for (int s = 0; s < 16; s++) u->scale[s] = d * (float)(int8_t)b[192 + s];
    for (int e = 0; e < UNIT; e++) {
        int half = e >> 7, low = b[64 * half + (e & 63)] >> 4 * (e >> 6 & 1) & 15;
        int high = b[128 + 32 * half + (e & 31)] >> 2 * (e >> 5 & 3) & 3;
        u->q[e] = (uint8_t)(low | high << 4);
    }
}

UNIT_KERNELS(Q4_0, q4_0)
UNIT_KERNELS(Q4_1, q4_1)
UNIT_KERNELS(Q5_0, q5_0)
UNIT_KERNELS(Q5_1, q5_1)
UNIT_KERNELS(Q8_0, q8_0)
UNIT_KERNELS(IQ4_NL, iq4_nl)
UNIT_KERNELS(Q2_K, q2_k)
UNIT_KERNELS(Q3_K, q3_k)
UNIT_KERNELS(Q4_K, q4_k)
UNIT_KERNELS(Q5_K, q5_k)
UNIT_KERNELS(Q6_K, q6_k)
UNIT_KERNELS(IQ4_XS, iq4_xs)
