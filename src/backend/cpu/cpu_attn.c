/* Attention over paged caches.
 *
 * Positions are cut into chunks at fixed multiples of CHUNK. Within a chunk the softmax is computed whole: largest
 * score, exponentials, weighted sum of V. Chunks are then merged one after the other, in ascending order, by rescaling
 * to the larger of the two largest scores. This order of arithmetic holds for every way to share the work, so a token's
 * result depends neither on the number of threads nor on the tokens beside it.
 *
 * Tokens next to each other in one sequence form a tile; K and V are read once for all queries of a tile that share a
 * KV head. Few tokens (decoding): pieces are chunks, whose results wait in scratch memory for the merge, and the heads
 * of a row of K are taken together so that memory is read in order. Many tokens (a prompt): pieces are a tile and a KV
 * head, and rows are widened to float once a tile. */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "backend/cpu/cpu_ops.h"
#include "base/num.h"

enum {
    CHUNK = 256,       /* positions; the scores of a tile, 64 * 256 floats, stay in a second-level cache */
    TILE_QUERIES = 64, /* queries in a piece, unless the group of one KV head alone is larger */
    RUN = 32,          /* rows of K or V that a kernel passes over at a time, at most */
    WIDEN_FROM = 8,    /* queries of a KV head for which widening a row once pays */
    SPLIT_TOKENS = 4,  /* graphs of at most so many tokens are always split over chunks */
    LANES = 16,        /* floats that results are aligned to */
    PIECES_A_THREAD = 4,
};

/* Numbers of the operation that do not change from run to run. */
struct shape {
    struct attn_desc d;
    uint32_t n_head, n_kv_head, group; /* group: query heads of a KV head */
    uint64_t n_tok, n_pages, n_chunks; /* n_chunks: of the longest possible sequence */
    uint32_t tile_tokens;              /* at most, in a tile */
    uint32_t n_queries;                /* at most, in a piece */
    bool split;                        /* pieces are chunks */
    uint32_t part;                     /* floats of a partial result: largest score, sum, pad to LANES, weighted V */
};

/* Neighbouring tokens of one sequence, and the positions that at least one of them sees. */
struct tile {
    size_t token;
    uint32_t n_tok;
    int64_t begin, end;
    size_t first_piece;
};

/* Where a shape's scratch memory lies; sizes in bytes, all offsets multiples of 64. */
struct layout { uint64_t tiles, parts, thread, q, s, now, sum, row, all; };

/* An operation at work. */
struct attention {
    const struct cpu_run *r;
    struct shape s;
    struct layout l;
    struct tile *tiles;
    size_t n_tiles;
    uint32_t heads; /* KV heads in a piece */
};

static struct shape shape_of(const struct cpu_dev *d, const struct graph *g, const struct op *op) {
    const struct tensor *q = graph_tensor(g, op->src[0]), *k = graph_tensor(g, op->src[1]);
    const struct tensor *pages = graph_tensor(g, op->src[5]);
    struct shape s = { .d = op->attn, .n_tok = q->ne[1], .n_pages = pages->ne[0] };
    s.n_head = (uint32_t)(q->ne[0] / s.d.head_dim);
    s.n_kv_head = (uint32_t)(k->ne[0] / s.d.head_dim);
    s.group = s.n_head / s.n_kv_head;
    uint64_t capacity;
    if (!mul_u64(s.n_pages, s.d.page, &capacity)) capacity = UINT64_MAX - CHUNK;
    s.n_chunks = div_up(capacity, CHUNK);
    s.tile_tokens = (uint32_t)max_u64(TILE_QUERIES / s.group, 1);
    s.n_queries = (uint32_t)max_u64(TILE_QUERIES, s.group);
    s.split = s.n_tok <= SPLIT_TOKENS || s.n_tok * s.n_kv_head < (uint64_t)PIECES_A_THREAD * pool_size(d->pool);
    s.part = LANES + (uint32_t)round_up(s.d.head_dim_v, LANES);
    return s;
}

static uint64_t aligned_bytes(uint64_t n, uint64_t size) { return round_up(n * size, 64); }

/* false on overflow. */
static bool layout_of(const struct shape *s, struct layout *l) {
    uint64_t n_parts = s->split ? s->n_tok * s->n_head : 0;
    if (!mul_u64(n_parts, s->n_chunks, &n_parts) || n_parts > UINT64_MAX / s->part / 8) return false;
    l->tiles = 0;
    l->parts = l->tiles + aligned_bytes(s->n_tok, sizeof(struct tile));
    l->thread = l->parts + aligned_bytes(n_parts * s->part, sizeof(float));
    l->q = 0; /* the following are within a thread's part */
    l->s = l->q + aligned_bytes((uint64_t)s->n_queries * s->d.head_dim, sizeof(float));
    l->now = l->s + aligned_bytes((uint64_t)s->n_queries * CHUNK, sizeof(float));
    l->sum = l->now + aligned_bytes((uint64_t)s->n_queries * s->part, sizeof(float));
    l->row = l->sum + aligned_bytes((uint64_t)s->n_queries * s->part, sizeof(float));
    l->all = l->row + aligned_bytes((uint64_t)RUN * max_u64(s->d.head_dim, s->d.head_dim_v), sizeof(float));
    return true;
}

uint64_t cpu_attention_scratch(const struct cpu_dev *d, const struct graph *g, const struct op *op) {
    const struct shape s = shape_of(d, g, op);
    struct layout l;
    if (!layout_of(&s, &l)) return UINT64_MAX;
    return l.thread + l.all * pool_size(d->pool);
}

/* --- Tiles --- */

static int64_t first_seen(const struct attn_desc *d, int64_t pos) {
    return d->window && pos >= d->window ? pos - d->window + 1 : 0;
}

/* A tile's positions follow each other, so that every position between its begin and its end is seen by some token of
 * it and holds numbers. */
static void make_tiles(struct attention *a) {
    const int32_t *pos = src_i32(a->r->p, a->r->op, 3), *seq = src_i32(a->r->p, a->r->op, 4); // (n_tok)
    a->n_tiles = 0;
    for (size_t t = 0; t < a->s.n_tok;) {
        struct tile *tile = &a->tiles[a->n_tiles++];
        *tile = (struct tile){ .token = t, .n_tok = 1, .begin = first_seen(&a->s.d, pos[t]) };
        while (++t < a->s.n_tok && tile->n_tok < a->s.tile_tokens && seq[t] == seq[t - 1] && pos[t] == pos[t - 1] + 1)
            tile->n_tok++;
        tile->end = (int64_t)pos[tile->token] + tile->n_tok;
        assert(seq[tile->token] >= 0 && (uint64_t)seq[tile->token] < tensor_rows(src_tensor(a->r->p, a->r->op, 5)));
        assert(tile->end <= 0 || (uint64_t)(tile->end - 1) / a->s.d.page < a->s.n_pages);
    }
}

static size_t chunks_of(const struct tile *t) {
    return t->end > t->begin ? (size_t)((t->end - 1) / CHUNK - t->begin / CHUNK + 1) : 0;
}

/* Pieces of a tile: chunks (or one) times shares of the KV heads, which are as large as the queries of a piece and the
 * need for pieces allow. */
static size_t number_pieces(struct attention *a) {
    size_t n = 0, most_tokens = 1;
    for (size_t i = 0; i < a->n_tiles; i++) {
        n += a->s.split ? chunks_of(&a->tiles[i]) : 1;
        most_tokens = max_u64(most_tokens, a->tiles[i].n_tok);
    }
    const size_t want = (size_t)PIECES_A_THREAD * pool_size(a->r->d->pool);
    a->heads = (uint32_t)min_u64(max_u64(a->s.n_queries / (most_tokens * a->s.group), 1), a->s.n_kv_head);
    while (a->heads > 1 && n * div_up(a->s.n_kv_head, a->heads) < want) a->heads = (a->heads + 1) / 2;
    const size_t shares = div_up(a->s.n_kv_head, a->heads);
    n = 0;
    for (size_t i = 0; i < a->n_tiles; i++) {
        a->tiles[i].first_piece = n;
        n += (a->s.split ? chunks_of(&a->tiles[i]) : 1) * shares;
    }
    return n;
}

/* --- One piece --- */

/* What a thread works on: n_x queries of each of n_heads KV heads from head on, in memory ordered by KV head, token of
 * the tile, query head. */
struct piece {
    const struct attention *a;
    const struct tile *tile;
    const int32_t *pages; // (n_pages), of the tile's sequence
    uint32_t head, n_heads, n_x;
    float *q;         // (n_heads * n_x, head_dim), times scale
    float *s;         // (n_heads * n_x, CHUNK)
    float *now, *sum; // (n_heads * n_x, part): of a chunk, of the chunks before
    float *row;       // (RUN, head_dim): widened rows
};

/* The query head of query x of a piece, and its token. */
static size_t query_at(const struct piece *p, uint32_t x, size_t *token) {
    const uint32_t group = p->a->s.group, in_head = x % p->n_x;
    *token = p->tile->token + in_head / group;
    return (size_t)(p->head + x / p->n_x) * group + in_head % group;
}

/* What the scores of a token at pos are multiplied with. */
static float score_scale(const struct attn_desc *d, int64_t pos) {
    if (d->temp_beta == 0 || pos < 0) return d->scale;
    int64_t spans = (pos + d->temp_offset) / d->temp_span; /* whole ones */
    return d->scale * (1 + d->temp_beta * logf(1 + (float)spans));
}

/* Scale goes into the queries: one product a number instead of one a score. */
static void gather_queries(const struct piece *p) {
    const struct shape *s = &p->a->s;
    const float *q = src_f32(p->a->r->p, p->a->r->op, 0);
    for (uint32_t x = 0; x < p->n_heads * p->n_x; x++) {
        size_t token, head = query_at(p, x, &token);
        const float *from = q + (token * s->n_head + head) * s->d.head_dim;
        const float scale = score_scale(&s->d, src_i32(p->a->r->p, p->a->r->op, 3)[token]);
        for (uint32_t i = 0; i < s->d.head_dim; i++) p->q[(size_t)x * s->d.head_dim + i] = from[i] * scale;
    }
}

/* Rows of K (src 1) or V (src 2) that lie behind each other in memory, from the piece's first head on. */
struct run { const uint8_t *rows; int64_t n; size_t row_bytes, head_bytes; };

/* Positions at .. of a sequence up to end, the page's end or a run's rows; no rows when at is end. */
static struct run run_at(const struct piece *p, unsigned src, int64_t at, int64_t end) {
    const struct cpu_run *r = p->a->r;
    const struct tensor *cache = src_tensor(r->p, r->op, src); // (head_dim or more * n_kv_head, n_cells)
    const uint64_t page = p->a->s.d.page, row_bytes = tensor_row_bytes(cache);
    if (at >= end) return (struct run){ NULL, 0, 0, 0 };
    const int64_t n = (int64_t)min_u64(min_u64(RUN, (uint64_t)(end - at)), page - (uint64_t)at % page);
    const uint64_t cell = (uint64_t)p->pages[(uint64_t)at / page] * page + (uint64_t)at % page;
    assert(p->pages[(uint64_t)at / page] >= 0 && cell + (uint64_t)n <= tensor_rows(cache));
    const uint64_t head_bytes = row_bytes / p->a->s.n_kv_head;
    const uint8_t *rows = r->p->at[r->op->src[src]] + cell * row_bytes + p->head * head_bytes;
    return (struct run){ rows, n, row_bytes, head_bytes };
}

/* The scores (src 1, K) or the weighted sums (src 2, V) of a chunk's positions begin .. end, run by run, all heads. The
 * kernels ask for the next run, and in the last one for what comes after: the processor does not see it by itself, as
 * heads jump from row to row and pages lie anywhere. Each head asks for its own part, or, of rows that the piece reads
 * whole, for as much of them in ascending order. */
static void pass_over(const struct piece *p, unsigned src, int64_t begin, int64_t end, struct run after) {
    const struct cpu_run *r = p->a->r;
    const struct kern *kern = &r->d->kern;
    const struct shape *s = &p->a->s;
    const struct tensor *cache = src_tensor(r->p, r->op, src);
    const size_t dim = src == 1 ? s->d.head_dim : s->d.head_dim_v;
    const bool widen = cache->type != QTYPE_F32 && p->n_x >= WIDEN_FROM, whole = p->n_heads == s->n_kv_head;
    struct run now = run_at(p, src, begin, end), next;
    for (int64_t at = begin; at < end; at += now.n, now = next) {
        next = at + now.n < end ? run_at(p, src, at + now.n, end) : after;
        for (uint32_t h = 0; h < p->n_heads; h++) {
            struct attn_job j = {
                .rows = now.rows + h * now.head_bytes,
                .row_bytes = now.row_bytes,
                .n_rows = (size_t)now.n,
                .n = dim,
                .n_x = p->n_x,
                .x = src == 1 ? p->q + (size_t)h * p->n_x * dim : p->now + (size_t)h * p->n_x * s->part + LANES,
                .x_stride = src == 1 ? dim : s->part,
                .s = p->s + (size_t)h * p->n_x * CHUNK + (at - begin),
                .s_stride = CHUNK,
                .next = next.n ? next.rows + (whole ? (size_t)next.n : 1) * h * next.head_bytes : NULL,
                .n_next = (size_t)next.n,
                .next_stride = whole ? next.head_bytes : next.row_bytes,
                .next_bytes = next.head_bytes,
            };
            if (widen) {
                const uint8_t *rows = j.rows;
                for (size_t i = 0; i < j.n_rows; i++)
                    kern->widen[cache->type](rows + i * now.row_bytes, p->row + i * dim, dim);
                j.rows = p->row;
                j.row_bytes = dim * sizeof(float);
            }
            (src == 1 ? kern->attn_dot : kern->attn_mix)[widen ? QTYPE_F32 : cache->type](&j);
        }
    }
}

/* Scores of one query over the chunk's positions begin .. end become weights, zero where its token does not see. */
static void weigh(const struct piece *p, uint32_t x, int64_t begin, int64_t end) {
    const struct attn_desc *d = &p->a->s.d;
    size_t token;
    query_at(p, x, &token);
    const int64_t pos = (int64_t)src_i32(p->a->r->p, p->a->r->op, 3)[token];
    const int64_t from = (int64_t)max_u64((uint64_t)first_seen(d, pos), (uint64_t)begin) - begin;
    const int64_t to = pos + 1 < end ? pos + 1 - begin : end - begin;
    float *s = p->s + (size_t)x * CHUNK, *now = p->now + (size_t)x * p->a->s.part;
    memset(now, 0, p->a->s.part * sizeof *now);
    if (from >= to) {
        memset(s, 0, (size_t)(end - begin) * sizeof *s);
        return;
    }
    for (int64_t i = from; i < to && d->softcap > 0; i++) s[i] = d->softcap * tanhf(s[i] / d->softcap);
    now[1] = p->a->r->d->kern.softmax(s + from, (size_t)(to - from), &now[0]);
    for (int64_t i = 0; i < from; i++) s[i] = 0;
    for (int64_t i = to; i < end - begin; i++) s[i] = 0;
}

/* A chunk's positions that the tile sees. */
struct span { int64_t begin, end; };
static struct span span_of(const struct tile *t, int64_t chunk) {
    return (struct span){ (int64_t)max_u64((uint64_t)t->begin, (uint64_t)chunk * CHUNK),
                          (int64_t)min_u64((uint64_t)t->end, (uint64_t)(chunk + 1) * CHUNK) };
}

/* Asks for the rows that a piece begins with; those that the piece before has asked for are there already. */
static void ask_first(const struct piece *p, int64_t chunk) {
    const struct span now = span_of(p->tile, chunk);
    const struct run r = run_at(p, 1, now.begin, p->tile->end > p->tile->begin ? now.end : now.begin);
    for (int64_t i = 0; i < r.n; i++)
        for (size_t k = 0; k < p->n_heads * r.head_bytes; k += 64) PREFETCH(r.rows + (size_t)i * r.row_bytes + k);
}

/* The partial results of all queries of the piece over one chunk, in now. goes_on: the next chunk follows. */
static void attend_chunk(const struct piece *p, int64_t chunk, bool goes_on) {
    const struct span now = span_of(p->tile, chunk), next = span_of(p->tile, chunk + goes_on);
    pass_over(p, 1, now.begin, now.end, run_at(p, 2, now.begin, now.end));
    for (uint32_t x = 0; x < p->n_heads * p->n_x; x++) weigh(p, x, now.begin, now.end);
    pass_over(p, 2, now.begin, now.end, run_at(p, 1, next.begin, goes_on ? next.end : next.begin));
}

/* sum takes in the partial result of the next chunk. A sum of 0 is that of no position. */
static void merge(const struct attention *a, float *sum, const float *next) {
    if (next[1] == 0) return;
    const float apart = sum[1] > 0 ? next[0] - sum[0] : INFINITY; /* the larger one's weight is 1 */
    const float keep = apart > 0 ? expf(-apart) : 1, take = apart > 0 ? 1 : expf(apart);
    a->r->d->kern.blend(sum + LANES, keep, next + LANES, take, a->s.d.head_dim_v);
    sum[1] = keep * sum[1] + take * next[1];
    if (apart > 0) sum[0] = next[0];
}

/* The token's and head's place in the result; a token that sees nothing gets zeros. A head's sink is one score more in
 * the sum, without a value. */
static void put(const struct attention *a, size_t token, size_t head, const float *sum) {
    const struct cpu_run *r = a->r;
    const uint32_t dim = a->s.d.head_dim_v;
    float *out = dst_f32(r->p, r->op) + (token * a->s.n_head + head) * dim;
    float inv = sum[1] > 0 ? 1 / sum[1] : 0;
    if (sum[1] > 0 && r->op->src[6] != NO_TENSOR) {
        const float sink = src_f32(r->p, r->op, 6)[head], max = fmaxf(sum[0], sink), keep = expf(sum[0] - max);
        inv = keep / (sum[1] * keep + expf(sink - max));
    }
    for (uint32_t i = 0; i < dim; i++) out[i] = sum[LANES + i] * inv;
}

static float *part_at(const struct attention *a, size_t token, size_t chunk, size_t head) {
    float *parts = (float *)(void *)((uint8_t *)a->r->scratch + a->l.parts);
    return parts + ((token * a->s.n_chunks + chunk) * a->s.n_head + head) * a->s.part;
}

/* All chunks of a tile, merged on the way. */
static void attend_tile(const struct piece *p) {
    const struct attention *a = p->a;
    const uint32_t n = p->n_heads * p->n_x;
    const int64_t first = p->tile->begin / CHUNK;
    memset(p->sum, 0, (size_t)n * a->s.part * sizeof *p->sum);
    for (size_t c = 0, n_chunks = chunks_of(p->tile); c < n_chunks; c++) {
        attend_chunk(p, first + (int64_t)c, c + 1 < n_chunks);
        for (uint32_t x = 0; x < n; x++) merge(a, p->sum + (size_t)x * a->s.part, p->now + (size_t)x * a->s.part);
    }
    for (uint32_t x = 0; x < n; x++) {
        size_t token, head = query_at(p, x, &token);
        put(a, token, head, p->sum + (size_t)x * a->s.part);
    }
}

/* One chunk of a tile; the partial results are kept for merge_parts. */
static void attend_part(const struct piece *p, size_t chunk, bool goes_on) {
    const struct attention *a = p->a;
    attend_chunk(p, p->tile->begin / CHUNK + (int64_t)chunk, goes_on);
    for (uint32_t x = 0; x < p->n_heads * p->n_x; x++) {
        size_t token, head = query_at(p, x, &token);
        memcpy(part_at(a, token, chunk, head), p->now + (size_t)x * a->s.part, a->s.part * sizeof(float));
    }
}

static const struct tile *tile_of(const struct attention *a, size_t piece) {
    size_t low = 0, high = a->n_tiles; /* the last tile whose first piece is not behind this one */
    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        if (a->tiles[middle].first_piece <= piece) low = middle;
        else high = middle;
    }
    return &a->tiles[low];
}

static void run_pieces(void *arg, size_t begin, size_t end, unsigned thread) {
    const struct attention *a = arg;
    const struct cpu_run *r = a->r;
    uint8_t *own = (uint8_t *)r->scratch + a->l.thread + thread * a->l.all;
    const size_t shares = div_up(a->s.n_kv_head, a->heads);
    for (size_t i = begin; i < end; i++) {
        const struct tile *tile = tile_of(a, i);
        const size_t share = (i - tile->first_piece) % shares, chunk = (i - tile->first_piece) / shares;
        struct piece p = {
            .a = a,
            .tile = tile,
            .pages = src_i32(r->p, r->op, 5) + (uint64_t)src_i32(r->p, r->op, 4)[tile->token] * a->s.n_pages,
            .head = (uint32_t)share * a->heads,
            .n_x = tile->n_tok * a->s.group,
            .q = (float *)(void *)(own + a->l.q),
            .s = (float *)(void *)(own + a->l.s),
            .now = (float *)(void *)(own + a->l.now),
            .sum = (float *)(void *)(own + a->l.sum),
            .row = (float *)(void *)(own + a->l.row),
        };
        p.n_heads = (uint32_t)min_u64(a->heads, a->s.n_kv_head - p.head);
        ask_first(&p, tile->begin / CHUNK + (int64_t)chunk);
        gather_queries(&p);
        /* The thread's next piece is the next chunk, unless there are several for each. */
        if (a->s.split) attend_part(&p, chunk, shares == 1 && chunk + 1 < chunks_of(tile));
        else attend_tile(&p);
    }
}

/* Heads begin .. end of all tokens; the first part serves as the sum. */
static void merge_parts(void *arg, size_t begin, size_t end, unsigned thread) {
    (void)thread;
    const struct attention *a = arg;
    for (size_t i = begin; i < end; i++) {
        const size_t token = i / a->s.n_head, head = i % a->s.n_head;
        size_t t = 0;
        while (t + 1 < a->n_tiles && a->tiles[t + 1].token <= token) t++;
        float *sum = part_at(a, token, 0, head);
        const size_t n = chunks_of(&a->tiles[t]);
        if (n == 0) memset(sum, 0, a->s.part * sizeof *sum);
        for (size_t c = 1; c < n; c++) merge(a, sum, part_at(a, token, c, head));
        put(a, token, head, sum);
    }
}

void cpu_attention(struct cpu_run *r) {
    struct attention a = { .r = r, .s = shape_of(r->d, r->p->g, r->op) };
    layout_of(&a.s, &a.l); /* fits, or compile would have failed */
    a.tiles = (struct tile *)(void *)((uint8_t *)r->scratch + a.l.tiles);
    make_tiles(&a);
    const size_t n_pieces = number_pieces(&a);
    pool_run(r->d->pool, n_pieces, 1, run_pieces, &a);
    if (a.s.split) pool_run(r->d->pool, a.s.n_tok * a.s.n_head, a.s.group, merge_parts, &a);
}
