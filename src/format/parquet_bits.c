/* Packed integers. See parquet_bits.h; every read is held against the end of the data. */
#include "format/parquet_bits.h"

/* A page of 2^16 differences a block is beyond any writer's; the format asks for multiples of 32 a miniblock. */
enum { MAX_BLOCK = 1 << 16, MINI_MULTIPLE = 32 };

static bool take_varint(struct span *in, uint64_t *out) {
    *out = 0;
    for (unsigned shift = 0; shift < 64 && in->n; shift += 7) {
        uint8_t b = *in->p;
        *in = (struct span){ in->p + 1, in->n - 1 };
        *out |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80)) return true;
    }
    return false;
}

static bool take_bytes(struct span *in, uint64_t n, const uint8_t **out) {
    if (n > in->n) return false;
    *out = in->p;
    *in = (struct span){ in->p + n, in->n - (size_t)n };
    return true;
}

/* Bits [at, at + width) of p, the lowest first; width at most 64. */
static uint64_t bits_at(const uint8_t *p, uint64_t at, unsigned width) {
    uint64_t v = 0;
    for (unsigned have = 0; have < width;) {
        unsigned shift = (unsigned)((at + have) & 7), n = 8 - shift < width - have ? 8 - shift : width - have;
        uint64_t part = p[(at + have) >> 3] >> shift & ((1u << n) - 1);
        v |= part << have;
        have += n;
    }
    return v;
}

/* --- Runs --- */

void hybrid_open(struct hybrid *h, struct span in, unsigned width) { *h = (struct hybrid){ .in = in, .width = width }; }

unsigned hybrid_width(uint32_t max) {
    unsigned n = 0;
    while (n < 32 && max >> n) n++;
    return n;
}

/* A last run of packed values may be cut behind the values that count. */
static bool next_run(struct hybrid *h) {
    uint64_t head;
    const uint8_t *value;
    if (!take_varint(&h->in, &head)) return false;
    h->packed = head & 1;
    h->run = head >> 1;
    if (!h->packed) {
        unsigned n = (h->width + 7) / 8;
        if (!take_bytes(&h->in, n, &value)) return false;
        h->value = (uint32_t)bits_at(value, 0, 8 * n);
        return true;
    }
    uint64_t there = h->width ? h->in.n / h->width : UINT64_MAX / 8, groups = h->run;
    h->bit = 0;
    if (groups <= there) {
        h->run = 8 * groups;
        return take_bytes(&h->in, groups * h->width, &h->bits);
    }
    h->run = 8 * (uint64_t)h->in.n / (h->width ? h->width : 1);
    return take_bytes(&h->in, h->in.n, &h->bits);
}

bool hybrid_next(struct hybrid *h, uint32_t *out) {
    while (!h->run)
        if (!next_run(h)) return false;
    h->run--;
    *out = h->value;
    if (!h->packed) return true;
    *out = (uint32_t)bits_at(h->bits, h->bit, h->width);
    h->bit += h->width;
    return true;
}

/* --- Differences --- */

static uint64_t unzigzag(uint64_t v) { return v >> 1 ^ (0 - (v & 1)); }

bool delta_open(struct delta *d, struct span in, uint64_t n) {
    uint64_t block;
    *d = (struct delta){ .in = in, .first = true };
    if (!take_varint(&d->in, &block) || !take_varint(&d->in, &d->n_mini) || !take_varint(&d->in, &d->left) ||
        !take_varint(&d->in, &d->value))
        return false;
    d->value = unzigzag(d->value);
    if (!d->n_mini || block > MAX_BLOCK || block % d->n_mini || d->left != n) return false;
    d->per_mini = block / d->n_mini;
    d->mini = d->n_mini;
    return d->per_mini && d->per_mini % MINI_MULTIPLE == 0;
}

static bool next_mini(struct delta *d) {
    if (d->mini == d->n_mini) {
        if (!take_varint(&d->in, &d->least) || !take_bytes(&d->in, d->n_mini, &d->widths)) return false;
        d->least = unzigzag(d->least);
        d->mini = 0;
    }
    unsigned width = d->widths[d->mini];
    if (width > 64 || !take_bytes(&d->in, d->per_mini / 8 * width, &d->bits)) return false;
    d->in_mini = d->per_mini;
    d->bit = 0;
    d->mini++;
    return true;
}

bool delta_next(struct delta *d, int64_t *out) {
    if (!d->left) return false;
    if (!d->first) {
        if (!d->in_mini && !next_mini(d)) return false;
        unsigned width = d->widths[d->mini - 1];
        d->value += d->least + bits_at(d->bits, d->bit, width);
        d->bit += width;
        d->in_mini--;
    }
    d->first = false;
    d->left--;
    *out = (int64_t)d->value;
    return true;
}

bool delta_skip(struct delta d, struct span *rest) {
    int64_t v;
    while (d.left)
        if (!delta_next(&d, &v)) return false;
    *rest = d.in;
    return true;
}
