/* The arithmetic of the lanes kernels for LANES_N tokens: 8 in vectors of 512 bits, 4 in 256. lanes_vnni.c describes it
 * and reads this file twice, hence no include guard. */
#define NAME__(a, b) a##b
#define NAME_(a, b) NAME__(a, b)
#define NAME(a) NAME_(a, LANES_N)

#if LANES_N == 8
#define V __m512i
#define VF __m512
#define OP(op) _mm512_##op
#define LOAD(p) _mm512_load_si512(p)
#define AS_FLOATS(v) _mm512_castsi512_ps(v)
#define AND(a, b) _mm512_and_epi32(a, b)
#define XOR(a, b) _mm512_xor_si512(a, b)
#define EIGHT(n) _mm512_set1_epi64(n)
#else
#define V __m256i
#define VF __m256
#define OP(op) _mm256_##op
#define LOAD(p) _mm256_load_si256((const __m256i *)(const void *)(p))
#define AS_FLOATS(v) _mm256_castsi256_ps(v)
/* On lanes of 32 bits, unlike _mm256_and_si256: with the broadcast that makes one operand it is one instruction. */
#define AND(a, b) (__m256i)((__v8su)(a) & (__v8su)(b))
#define XOR(a, b) _mm256_xor_si256(a, b)
#define EIGHT(n) _mm256_set1_epi64x(n)
#endif

static ALWAYS_INLINE V NAME(four_bytes)(const void *p) {
    int32_t v;
    memcpy(&v, p, 4);
    return OP(set1_epi32)(v);
}

static ALWAYS_INLINE V NAME(eight_bytes)(const void *p) {
    int64_t v;
    memcpy(&v, p, 8);
    return EIGHT(v);
}

/* The bytes of even lanes are a, of odd ones b. */
static ALWAYS_INLINE V NAME(masks)(uint8_t a, uint8_t b) {
    return EIGHT((int64_t)(a * 0x01010101ull | b * 0x0101010100000000ull));
}

/* The codes of pair p, step i. */
static ALWAYS_INLINE V NAME(codes)(const enum lanes_source from, const uint8_t *w, const struct lanes_unit *u,
                                   unsigned p, unsigned i) {
    switch (from) {
    case LANES_Q4_K: return AND(NAME(four_bytes)(w + 16 + 32 * p + 4 * i), NAME(masks)(0x0f, 0xf0));
    case LANES_Q4_0: return AND(NAME(four_bytes)(w + 18 * p + 2 + 4 * i), NAME(masks)(0x0f, 0xf0));
    case LANES_Q4_1: return AND(NAME(four_bytes)(w + 20 * p + 4 + 4 * i), NAME(masks)(0x0f, 0xf0));
    case LANES_Q8_0: return XOR(NAME(eight_bytes)(w + 34 * p + 2 + 8 * i), NAME(masks)(0x80, 0x80));
    case LANES_Q2_K:
        return AND(NAME(four_bytes)(w + 16 + p / 4 * 32 + p % 2 * 16 + 4 * i),
                   p & 2 ? NAME(masks)(0x30, 0xc0) : NAME(masks)(0x03, 0x0c));
    case LANES_BUFFER16: return NAME(eight_bytes)(u->q[p / 4 * 2 + i / 2] + p % 4 * 16 + i % 2 * 8);
    case LANES_BUFFER32: break;
    }
    return NAME(eight_bytes)(u->q[i / 2] + 16 * p + i % 2 * 8);
}

/* Two pairs of a unit, p and p + 1, of LANES_ROWS rows times x. */
static ALWAYS_INLINE void NAME(multiply)(const struct lanes_type *type, const uint8_t *const w[LANES_ROWS],
                                         const struct lanes_unit u[LANES_ROWS], const struct x_unit *x,
                                         const unsigned p, VF sums[LANES_ROWS]) {
    const struct lanes_x at = lanes_x((struct x_unit *)x, LANES_N);
    const unsigned steps = lanes_steps(type), lanes = 2 * LANES_N;
    V s[2][LANES_ROWS];
#pragma GCC unroll 4
    for (int r = 0; r < LANES_ROWS; r++)
#pragma GCC unroll 2
        for (unsigned h = 0; h < 2; h++)
            s[h][r] = type->form.has_min ? OP(set1_epi32)(0) : LOAD(at.sum + lanes * (p + h));
#pragma GCC unroll 8
    for (unsigned i = 0; i < steps; i++) {
        const V x0 = LOAD(at.q + 4 * lanes * (steps * p + i)), x1 = LOAD(at.q + 4 * lanes * (steps * (p + 1) + i));
#pragma GCC unroll 4
        for (int r = 0; r < LANES_ROWS; r++) {
            s[0][r] = OP(dpbusd_epi32)(s[0][r], NAME(codes)(type->from, w[r], &u[r], p, i), x0);
            s[1][r] = OP(dpbusd_epi32)(s[1][r], NAME(codes)(type->from, w[r], &u[r], p + 1, i), x1);
        }
    }
#pragma GCC unroll 2
    for (unsigned h = 0; h < 2; h++) {
        const VF x_scale = AS_FLOATS(LOAD(at.scale + lanes * (p + h)));
        const VF x_sum = AS_FLOATS(LOAD(at.sum + lanes * (p + h)));
#pragma GCC unroll 4
        for (int r = 0; r < LANES_ROWS; r++) {
            const VF scale = AS_FLOATS(type->one_sub ? NAME(four_bytes)(u[r].scale + p + h)
                                                     : NAME(eight_bytes)(u[r].scale + 2 * (p + h)));
            sums[r] = OP(fmadd_ps)(OP(cvtepi32_ps)(s[h][r]), OP(mul_ps)(scale, x_scale), sums[r]);
            if (!type->form.has_min) continue;
            const float *at_min = u[r].scale + UNIT / type->form.sub;
            const VF min = AS_FLOATS(type->one_sub ? NAME(four_bytes)(at_min + p + h)
                                                   : NAME(eight_bytes)(at_min + 2 * (p + h)));
            sums[r] = OP(fmadd_ps)(min, x_sum, sums[r]);
        }
    }
}

/* The results of LANES_ROWS rows from `row` on, tokens from t on. */
static ALWAYS_INLINE void NAME(store)(const struct rows_job *j, size_t row, unsigned t, const VF s[LANES_ROWS]) {
    float all[2][LANES_N / 2][LANES_ROWS];
    const VF a = OP(add_ps)(OP(shuffle_ps)(s[0], s[1], 0x88), OP(shuffle_ps)(s[0], s[1], 0xdd));
    const VF b = OP(add_ps)(OP(shuffle_ps)(s[2], s[3], 0x88), OP(shuffle_ps)(s[2], s[3], 0xdd));
    OP(storeu_ps)(all[0][0], OP(shuffle_ps)(a, b, 0x88)); /* a quarter is an even token's four rows */
    OP(storeu_ps)(all[1][0], OP(shuffle_ps)(a, b, 0xdd));
    for (unsigned i = 0; i < LANES_N && t + i < j->n_tok; i++) {
        float *out = j->out + (t + i) * j->out_stride + row;
        if (j->n_rows - row >= LANES_ROWS) memcpy(out, all[i % 2][i / 2], sizeof all[0][0]);
        else memcpy(out, all[i % 2][i / 2], (j->n_rows - row) * sizeof *out);
    }
}

#undef NAME__
#undef NAME_
#undef NAME
#undef V
#undef VF
#undef OP
#undef LOAD
#undef AS_FLOATS
#undef AND
#undef XOR
#undef EIGHT
