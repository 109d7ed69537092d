#ifndef FORMAT_PARQUET_CODEC_H
#define FORMAT_PARQUET_CODEC_H
/* Decompression of parquet's pages. */
#include "base/err.h"
#include "base/str.h"

/* Codecs as the format numbers them. */
enum parquet_codec {
    PARQUET_PLAIN, PARQUET_SNAPPY, PARQUET_GZIP, PARQUET_LZO, PARQUET_BROTLI, PARQUET_LZ4, PARQUET_ZSTD, PARQUET_LZ4_RAW
};

/* Memory that is used for one page after the other; zeroed is empty. */
struct parquet_room { uint8_t *p; size_t cap; };
void parquet_room_fini(struct parquet_room *r);

/* in, decompressed, must give exactly n bytes; *out lies in room, or is `in` where nothing is compressed, and is good
 * until the room is used again. Memory grows with what really comes out, so a page that lies about its size costs no
 * more than it holds. ERR_UNSUPPORTED for a codec that is not known, ERR_FORMAT for data that do not decompress. */
enum err_code parquet_decompress(unsigned codec, struct span in, size_t n, struct parquet_room *room, struct span *out,
                                 struct err *e);
#endif
