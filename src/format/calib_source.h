#ifndef FORMAT_CALIB_SOURCE_H
#define FORMAT_CALIB_SOURCE_H
/* Any calibration source, record by record. */
#include "format/calib_text.h"

struct calib_source;
/* name: a file, or FILE:COLUMN with the name of the column (parquet) or field (JSON) that holds the text. A file with
 * that very name goes first. A parquet file is known by its first bytes and read as it comes, .jsonl and .json (see
 * calib_text.h) and anything else, which is one text, are held whole. On error *out is NULL. */
enum err_code calib_source_open(const char *name, struct calib_source **out, struct err *e);
/* The next record, *more false behind the last. What out points to is good until the next call. A source without any
 * record is an error. Errors name the file. */
enum err_code calib_source_next(struct calib_source *s, struct calib_record *out, bool *more, struct err *e);
void calib_source_close(struct calib_source *s); /* NULL is fine */

/* The file that a name means, without its column; caller frees with mem_free; NULL when out of memory. */
char *calib_source_file(const char *name);
#endif
