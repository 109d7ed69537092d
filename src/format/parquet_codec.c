/* One function a codec over the libraries that do the work; the table at the end is what the format numbers.
 *
 * Codecs with a stream interface write into memory that doubles while they deliver. Those without one have a bound on
 * how much a compressed byte can become, which is held against the size before memory is taken. */
#include "format/parquet_codec.h"

#include <brotli/decode.h>
#include <lz4.h>
#include <snappy-c.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "base/compiler.h"
#include "base/mem.h"

enum {
    FIRST_ROOM = 1 << 16,
    SNAPPY_MOST = 22, /* a copy of 64 bytes takes 3 */
    LZ4_MOST = 255,   /* a byte of a match's length stands for 255 */
};

void parquet_room_fini(struct parquet_room *r) {
    mem_free(r->p);
    *r = (struct parquet_room){ 0 };
}

/* At least n bytes, of which the first `used` are kept. */
static enum err_code grow(struct parquet_room *r, size_t used, size_t n, struct err *e) {
    if (n <= r->cap && r->p) return ERR_NONE;
    uint8_t *p = mem_realloc(r->p, used, n, 1);
    if (!p) return err_no_memory(e, n);
    r->p = p;
    r->cap = n;
    return ERR_NONE;
}

static enum err_code broken(struct err *e, const char *codec) {
    return err_set(e, ERR_FORMAT, "a page is damaged: its data are no valid %s or not of the size it names", codec);
}

/* --- A stream, whatever the codec --- */

struct stream {
    struct span in;
    uint8_t *out;      /* where to write, `left` bytes; a step moves both on */
    size_t left;
    bool ended;        /* the codec says that this was all */
    void *state;
};
/* Takes from in, gives to out; false if the data are broken. */
typedef bool step_fn(struct stream *s);

/* One byte more than n is offered, so that data which go on are noticed. */
static enum err_code run_stream(struct stream *s, step_fn *step, const char *codec, size_t n, struct parquet_room *room,
                                struct err *e) {
    size_t done = 0;
    while (!s->ended) {
        size_t cap = done < FIRST_ROOM ? FIRST_ROOM : 2 * done;
        TRY(grow(room, done, cap < n + 1 ? cap : n + 1, e));
        size_t room_left = (room->cap < n + 1 ? room->cap : n + 1) - done, in_left = s->in.n;
        s->out = room->p + done;
        s->left = room_left;
        if (!step(s)) return broken(e, codec);
        done += room_left - s->left;
        if (done > n || (!s->ended && s->left == room_left && s->in.n == in_left)) return broken(e, codec);
    }
    return done == n && !s->in.n ? ERR_NONE : broken(e, codec);
}

/* Several gzip members may follow one another. */
static bool step_zlib(struct stream *s) {
    z_stream *z = s->state;
    z->next_in = (Bytef *)s->in.p; /* zlib does not write to it */
    z->avail_in = (uInt)s->in.n;
    z->next_out = s->out;
    z->avail_out = (uInt)s->left;
    int rc = inflate(z, Z_NO_FLUSH);
    s->in = (struct span){ s->in.p + (s->in.n - z->avail_in), z->avail_in };
    s->left = z->avail_out;
    if (rc == Z_STREAM_END && s->in.n) return inflateReset(z) == Z_OK;
    s->ended = rc == Z_STREAM_END;
    return rc == Z_OK || rc == Z_STREAM_END || rc == Z_BUF_ERROR;
}

static enum err_code gunzip(struct span in, size_t n, struct parquet_room *room, struct err *e) {
    z_stream z = { 0 };
    struct stream s = { .in = in, .state = &z };
    /* 15: the largest window; 32: gzip and zlib headers are told apart. */
    if (inflateInit2(&z, 15 + 32) != Z_OK) return err_no_memory(e, 1 << 15);
    enum err_code rc = run_stream(&s, step_zlib, "gzip", n, room, e);
    inflateEnd(&z);
    return rc;
}

static bool step_zstd(struct stream *s) {
    ZSTD_inBuffer in = { s->in.p, s->in.n, 0 };
    ZSTD_outBuffer out = { s->out, s->left, 0 };
    size_t rc = ZSTD_decompressStream(s->state, &out, &in);
    s->in = (struct span){ s->in.p + in.pos, s->in.n - in.pos };
    s->left -= out.pos;
    s->ended = rc == 0 && !s->in.n;
    return !ZSTD_isError(rc);
}

static enum err_code unzstd(struct span in, size_t n, struct parquet_room *room, struct err *e) {
    struct stream s = { .in = in, .state = ZSTD_createDStream() };
    if (!s.state) return err_no_memory(e, 1 << 17);
    enum err_code rc = run_stream(&s, step_zstd, "zstd", n, room, e);
    ZSTD_freeDStream(s.state);
    return rc;
}

static bool step_brotli(struct stream *s) {
    BrotliDecoderResult rc = BrotliDecoderDecompressStream(s->state, &s->in.n, &s->in.p, &s->left, &s->out, NULL);
    s->ended = rc == BROTLI_DECODER_RESULT_SUCCESS;
    return rc != BROTLI_DECODER_RESULT_ERROR;
}

static enum err_code unbrotli(struct span in, size_t n, struct parquet_room *room, struct err *e) {
    struct stream s = { .in = in, .state = BrotliDecoderCreateInstance(NULL, NULL, NULL) };
    if (!s.state) return err_no_memory(e, 1 << 17);
    enum err_code rc = run_stream(&s, step_brotli, "brotli", n, room, e);
    BrotliDecoderDestroyInstance(s.state);
    return rc;
}

/* --- Codecs without a stream --- */

static enum err_code unsnappy(struct span in, size_t n, struct parquet_room *room, struct err *e) {
    size_t have = n;
    if (n / SNAPPY_MOST > in.n) return broken(e, "snappy");
    TRY(grow(room, 0, n, e));
    snappy_status rc = snappy_uncompress((const char *)in.p, in.n, (char *)room->p, &have);
    return rc == SNAPPY_OK && have == n ? ERR_NONE : broken(e, "snappy");
}

/* Bytes that one block gives, -1 if it is broken or has more than cap. */
static int64_t unlz4_block(struct span in, uint8_t *out, size_t cap) {
    if (in.n > INT32_MAX || cap > INT32_MAX) return -1;
    int n = LZ4_decompress_safe((const char *)in.p, (char *)out, (int)in.n, (int)cap);
    return n < 0 ? -1 : n;
}

static enum err_code unlz4_raw(struct span in, size_t n, struct parquet_room *room, struct err *e) {
    if (n / LZ4_MOST > in.n) return broken(e, "LZ4");
    TRY(grow(room, 0, n, e));
    return unlz4_block(in, room->p, n) == (int64_t)n ? ERR_NONE : broken(e, "LZ4");
}

static bool take_u32_be(struct span *in, size_t *out) {
    if (in->n < 4) return false;
    *out = (size_t)in->p[0] << 24 | (size_t)in->p[1] << 16 | (size_t)in->p[2] << 8 | in->p[3];
    *in = (struct span){ in->p + 4, in->n - 4 };
    return true;
}

/* Hadoop's frames: the size of a piece, then blocks with their sizes until the piece is complete. */
static bool unlz4_hadoop(struct span in, size_t n, uint8_t *out) {
    size_t done = 0, piece, block;
    while (in.n) {
        if (!take_u32_be(&in, &piece) || piece > n - done) return false;
        for (size_t end = done + piece; done < end;) {
            if (!take_u32_be(&in, &block) || block > in.n) return false;
            int64_t got = unlz4_block((struct span){ in.p, block }, out + done, end - done);
            if (got <= 0) return false;
            done += (size_t)got;
            in = (struct span){ in.p + block, in.n - block };
        }
    }
    return done == n;
}

/* The first writers of this codec number left Hadoop's frames out. */
static enum err_code unlz4(struct span in, size_t n, struct parquet_room *room, struct err *e) {
    if (n / LZ4_MOST > in.n) return broken(e, "LZ4");
    TRY(grow(room, 0, n, e));
    return unlz4_hadoop(in, n, room->p) ? ERR_NONE : unlz4_raw(in, n, room, e);
}

/* --- The table --- */

typedef enum err_code decompress_fn(struct span in, size_t n, struct parquet_room *room, struct err *e);
static decompress_fn *const codecs[] = {
    [PARQUET_SNAPPY] = unsnappy, [PARQUET_GZIP] = gunzip, [PARQUET_BROTLI] = unbrotli,
    [PARQUET_LZ4] = unlz4,       [PARQUET_ZSTD] = unzstd, [PARQUET_LZ4_RAW] = unlz4_raw,
};

enum err_code parquet_decompress(unsigned codec, struct span in, size_t n, struct parquet_room *room, struct span *out,
                                 struct err *e) {
    *out = in;
    if (codec == PARQUET_PLAIN && in.n != n)
        return err_set(e, ERR_FORMAT, "a page is damaged: it has %zu bytes and not the %zu it names", in.n, n);
    if (codec == PARQUET_PLAIN) return ERR_NONE;
    if (codec >= ARRAY_LEN(codecs) || !codecs[codec])
        return err_set(e, ERR_UNSUPPORTED, "the compression of its pages (%s) is not supported: write it with zstd",
                       codec == PARQUET_LZO ? "LZO" : "an unknown one");
    TRY(codecs[codec](in, n, room, e));
    *out = (struct span){ room->p, n };
    return ERR_NONE;
}
