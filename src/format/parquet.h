#ifndef FORMAT_PARQUET_H
#define FORMAT_PARQUET_H
/* Parquet files as calibration records: a column of strings, or of lists of messages. docs/formats/parquet.md. */
#include "format/calib_text.h"

struct parquet;
/* column NULL: the one with a usual name (see parquet_meta.h). file is borrowed until parquet_close. On error *out is
 * NULL. */
enum err_code parquet_open(struct span file, const char *column, struct parquet **out, struct err *e);
void parquet_close(struct parquet *p); /* NULL is fine */
/* The next record, *more false behind the last. Rows without a value and empty lists give none. What out points to is
 * good until the next call. Memory is a page of each column, a dictionary and a record. Errors name column and row. */
enum err_code parquet_next(struct parquet *p, struct calib_record *out, bool *more, struct err *e);
#endif
