#ifndef BACKEND_CPU_KERN_H
#define BACKEND_CPU_KERN_H
/* The kernels: what each operation promises, the blocks they share, and the table of the best bodies for a machine.
 *
 * Three layouts carry the int8 products; in a vector's lanes are elements of one row (rows), tokens (lanes), or rows
 * (panel, tile). All cut the inner dimension into units of 256 weights: one block of a K type, or as many blocks of
 * 32 or 64. Within a unit a sub-block of 16 or 32 weights has one scale (and one min), and the activations are rounded
 * with one scale for the same 16 or 32 values. docs/kernels.md has the pictures. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "qtype/qtype.h"

enum {
    UNIT = 256,        /* weights in a unit */
    UNIT_SUBS = 16,    /* sub-blocks in a unit, at most */
    PANEL_ROWS = 16,   /* rows of weights in an int8 panel */
    TILE_TOKENS = 12,  /* tokens that a tile kernel takes at most */
    ROWS_TOKENS = 12,  /* tokens that a rows kernel takes at most */
    ROWS_F32_TOKENS = 4, /* the same of the float types */
    LANES_TOKENS = 16, /* tokens that a lanes kernel takes at most */
    LANES_TURN = 4,    /* its tokens are filled up to a multiple of this */
    F32_ROWS = 32,     /* rows of weights in a float panel */
};

/* How a type's codes are multiplied. weight = scale * (code - offset) + min, codes unsigned. */
struct int8_form {
    uint8_t sub;     /* weights under one scale: 16 or 32; 0: the type has no int8 kernels */
    uint8_t offset;  /* 0 with a min; otherwise 1, 4, 8, 16, 32 or 128 (codes above 63) */
    bool has_min;
};
/* Never NULL. */
const struct int8_form *int8_form(enum qtype type);
/* The type's largest code, which tells how many products can be added in 16 bits; 0 without int8 kernels. */
uint8_t int8_top(enum qtype type);

/* One unit of activations of one token, x is about scale * q. */
struct x_unit {
    int8_t q[UNIT];            /* -127..127 */
    float scale[UNIT_SUBS];    /* of each sub-block; UNIT / sub are used, the rest is 0 */
    union {
        float sum[UNIT_SUBS];  /* scale * sum of q, for types with a min */
        int32_t corr[UNIT_SUBS]; /* -offset * sum of q, for the others */
    };
} ALIGNED(64);

/* Brings a unit of activations into the order in which the rows kernel of the same type and features wants it. A type
 * that has none wants them as round leaves them. */
typedef void arrange_fn(struct x_unit *x);

/* One unit of PANEL_ROWS rows of weights, interleaved: the codes k..k+3 of row r are q[k / 4][r]. */
struct panel_unit {
    uint8_t q[UNIT / 4][PANEL_ROWS][4];
    float scale[UNIT_SUBS][PANEL_ROWS];
    float min[UNIT_SUBS][PANEL_ROWS];
} ALIGNED(64);

/* Rows of weights as stored times a few tokens: out[t][r] = dot(row r, x[t]). */
struct rows_job {
    const uint8_t *w;
    size_t row_bytes, n_rows;
    size_t n_in;               /* weights in a row, a multiple of the type's block */
    const void *x;             /* float[n_tok][x_stride], or struct x_unit[ceil(n_in / UNIT)][n_tok], arranged */
    size_t x_stride;           /* floats; ignored with x_unit */
    unsigned n_tok;            /* 1..ROWS_TOKENS, 1..ROWS_F32_TOKENS */
    float *out;
    size_t out_stride;
};
typedef void rows_fn(const struct rows_job *j);

/* The same for several tokens, 1..LANES_TOKENS. x is struct x_unit[ceil(n_in / UNIT)][n_tok rounded up to a multiple of
 * LANES_TURN], turned. */
typedef void lanes_fn(const struct rows_job *j);
/* Brings one unit of the activations of n_tok tokens, as round leaves them, to the order in which the lanes kernel of
 * the same type and features wants them. There is room for n_tok rounded up. */
typedef void turn_fn(struct x_unit *x, unsigned n_tok);

/* Unpacks n_units units, starting with unit `first`, of PANEL_ROWS rows. */
struct panel_job {
    const uint8_t *rows[PANEL_ROWS];  /* the rows' beginnings; rows may repeat */
    size_t n_in;
    size_t first, n_units;
    struct panel_unit *out;
};
typedef void panel_fn(const struct panel_job *j);

/* What a panel will be made of next, to be fetched on the side: `bytes` of each of PANEL_ROWS rows. NULL: nothing. */
struct fetch {
    const uint8_t *at;
    size_t row_bytes, bytes;
};

/* Panel times tile: out[t][r] (+)= dot(row r, x[t]) over n_units units, for all PANEL_ROWS rows. */
struct tile_job {
    const struct panel_unit *w;
    const struct x_unit *x;    /* [n_units][x_tokens], the first n_tok of each are used */
    size_t n_units, x_tokens;
    unsigned n_tok;            /* 1..TILE_TOKENS */
    const struct int8_form *form;
    uint8_t top;               /* int8_top of the type */
    bool add;                  /* add to out instead of overwriting */
    struct fetch fetch;        /* a kernel may ignore it */
    float *out;
    size_t out_stride;
};
typedef void tile_fn(const struct tile_job *j);

/* Rounds n floats (n <= UNIT, a multiple of the form's sub; the rest is 0) to one unit, ties to even. A sub-block
 * whose largest magnitude is below ROUND_TINY becomes zero. All bodies give the same bits. */
#define ROUND_TINY 0x1p-100f
typedef void round_fn(const float *x, size_t n, const struct int8_form *form, struct x_unit *out);

/* Float tiles. w is a packed panel [n_k][F32_ROWS], x a packed tile [n_k][TILE_TOKENS]. tile_bf16 has pairs of BF16 in
 * the place of floats, the products of which are added, and takes numbers below the normal ones for 0. */
struct f32_tile_job {
    const float *w, *x;
    size_t n_k;
    unsigned n_tok;            /* 1..TILE_TOKENS */
    bool add;
    float *out;                /* [n_tok][F32_ROWS] at out_stride */
    size_t out_stride;
};
typedef void tile_f32_fn(const struct f32_tile_job *j);
/* out[k][r] = rows[r][k] for n_rows <= width rows of n_k floats, out (n_k, width); rows beyond n_rows become 0. */
struct pack_f32_job {
    const float *rows;
    size_t stride, n_rows, n_k, width;
    float *out;
};
typedef void pack_f32_fn(const struct pack_f32_job *j);
/* Stored to float, n weights. */
typedef void widen_fn(const void *w, float *out, size_t n);

/* Attention on rows of a cache (cpu_attn.c), which stand at row_bytes from each other in the cache's type. The numbers
 * of one vector and one row are summed in the same order whatever n_x and n_rows are. */
struct attn_job {
    const void *rows;
    size_t row_bytes, n_rows, n; /* n: numbers of a row that count, the head's; whole blocks */
    float *x;                    /* (n_x, n) at x_stride */
    float *s;                    /* (n_x, n_rows) at s_stride */
    size_t n_x, x_stride, s_stride;
    /* What the next job will read, for the kernel to fetch ahead while it works: n_next rows of next_bytes, NULL for
     * none. It is never used. */
    const uint8_t *next;
    size_t n_next, next_stride, next_bytes;
};
/* Asks for rows first .. first + n - 1 of what comes next, into the second-level cache. */
static ALWAYS_INLINE void attn_ask_next(const struct attn_job *j, size_t first, size_t n) {
    for (size_t r = first; r < first + n && r < j->n_next; r++)
        for (size_t k = 0; k < j->next_bytes; k += 64) PREFETCH(j->next + r * j->next_stride + k);
}
/* s[i][r] = dot(x[i], row r). */
typedef void attn_dot_fn(const struct attn_job *j);
/* x[i] += sum over r of s[i][r] * row r, r ascending. */
typedef void attn_mix_fn(const struct attn_job *j);
/* *max becomes the largest of n > 0 numbers, each s[i] exp(s[i] - *max); returns their sum. */
typedef float softmax_fn(float *s, size_t n, float *max);
/* acc[i] = a * acc[i] + b * x[i]. */
typedef void blend_fn(float *acc, float a, const float *x, float b, size_t n);
/* out[i] = silu(gate[i]) * up[i]. */
typedef void silu_mul_fn(const float *gate, const float *up, float *out, size_t n);
/* Float to stored, n numbers (whole blocks), with the bits of the type's encode. */
typedef void narrow_fn(const float *x, void *out, size_t n);

/* Any n, any alignment. */
typedef float dot_f32_fn(const float *a, const float *b, size_t n);

/* Limits of the machine (peak.h). read_sum reads n bytes as fast as it can. The others do `loops` rounds of
 * multiplications and additions between registers; *ops is how many (each of the two counts one). Both return a
 * value that needs it all. */
typedef uint64_t read_sum_fn(const uint8_t *p, size_t n);
typedef uint64_t spin_fn(size_t loops, uint64_t *ops);

#define KERNEL(op, fn, isa, need) fn##_fn op##_##isa;
#define KERNEL_OF(op, type, codec, isa, need) op##_fn op##_##codec##_##isa;
#include "backend/cpu/kernels.def"
#undef KERNEL
#undef KERNEL_OF

/* The best body of each operation. Constant after kern_init. */
struct kern {
    dot_f32_fn *dot_f32;
    round_fn *round;
    tile_f32_fn *tile_f32;
    tile_f32_fn *tile_bf16;              /* NULL where the processor has none; narrow[QTYPE_BF16] is there with it */
    pack_f32_fn *pack_f32;
    tile_fn *tile16, *tile32;            /* by the form's sub */
    read_sum_fn *read_sum;
    spin_fn *spin_int8, *spin_f32;
    spin_fn *spin_bf16;                  /* NULL where tile_bf16 is */
    /* The fastest way of n tokens: lanes if bit n is set, else rows up to few_tokens (at most ROWS_TOKENS), else panels
     * and tiles. */
    uint32_t lanes_tokens[QTYPE_ID_LIMIT];
    uint8_t few_tokens[QTYPE_ID_LIMIT];
    rows_fn *rows[QTYPE_ID_LIMIT];       /* NULL where a type has none; F32, F16, BF16 take float activations */
    arrange_fn *arrange[QTYPE_ID_LIMIT]; /* of the chosen rows kernel; NULL: nothing to do */
    lanes_fn *lanes[QTYPE_ID_LIMIT];     /* NULL where a type has none, and likewise the next */
    turn_fn *turn[QTYPE_ID_LIMIT];
    panel_fn *panel[QTYPE_ID_LIMIT];     /* NULL where a type has none */
    widen_fn *widen[QTYPE_ID_LIMIT];     /* never NULL for a known type */
    attn_dot_fn *attn_dot[QTYPE_ID_LIMIT]; /* F32, F16, Q8_0, and likewise below */
    attn_mix_fn *attn_mix[QTYPE_ID_LIMIT];
    narrow_fn *narrow[QTYPE_ID_LIMIT];   /* and BF16, or NULL */
    softmax_fn *softmax;
    blend_fn *blend;
    silu_mul_fn *silu_mul;
};
/* features: of base/cpu.h, cpu_features() for this machine. */
void kern_init(struct kern *k, unsigned features);
#endif
