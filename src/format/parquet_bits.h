#ifndef FORMAT_PARQUET_BITS_H
#define FORMAT_PARQUET_BITS_H
/* Parquet's two ways to pack integers, as streams over bytes that are borrowed. Nothing is allocated. */
#include <stdbool.h>
#include "base/str.h"

/* Levels and dictionary indices: runs of one value, and runs of packed ones. */
struct hybrid {
    struct span in;
    unsigned width; /* bits of a value, at most 32 */
    uint64_t run;   /* values left in the run */
    bool packed;
    uint32_t value;
    const uint8_t *bits;
    uint64_t bit;
};
/* in: the runs; width at most 32. */
void hybrid_open(struct hybrid *h, struct span in, unsigned width);
/* false at the end of the data or where they are broken. */
bool hybrid_next(struct hybrid *h, uint32_t *out);
/* Bits that values from 0 to max take. */
unsigned hybrid_width(uint32_t max);

/* DELTA_BINARY_PACKED: differences in blocks of miniblocks, each of which has its own width. */
struct delta {
    struct span in;             /* behind the miniblock that is being read */
    uint64_t left;              /* values to come */
    uint64_t n_mini, per_mini;  /* miniblocks of a block, values of a miniblock */
    uint64_t mini, in_mini;     /* the next miniblock, values left in the present one */
    const uint8_t *widths, *bits;
    uint64_t bit;
    uint64_t value, least;      /* sums wrap, as the format wants it */
    bool first;
};
/* false if the header is broken or names other than n values. */
bool delta_open(struct delta *d, struct span in, uint64_t n);
/* false at the end or where the data are broken. */
bool delta_next(struct delta *d, int64_t *out);
/* Walks over all values that are left; *rest is what follows them. false if they are broken. */
bool delta_skip(struct delta d, struct span *rest);
#endif
