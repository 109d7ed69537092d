#ifndef QUANT_IMPORTANCE_H
#define QUANT_IMPORTANCE_H
/* Importances between measurements and the files that llama.cpp's tools share. */
#include "format/imatrix.h"
#include "quant/measurement.h"

/* What the file knows of t's inputs becomes t's importance, in mem. found false: nothing, and t stays as it is. The
 * error names a weight of another shape. */
enum err_code importance_take(const struct imatrix *m, struct arena *mem, struct measured_tensor *t, bool *found,
                              struct err *e);
/* The same for all tensors of a measurement, whose settings then name the file's text. Tensors that the file does not
 * know stay as they are. ERR_FORMAT if it knows none. */
enum err_code importance_take_all(const struct imatrix *m, struct measurement *to, struct err *e);

/* Writes m's importances (imatrix_write), each as that mean times `count` tokens. */
enum err_code importance_write(const struct measurement *m, float count, const char *path, struct err *e);

/* Of names and values: tells apart what was mixed up. */
uint64_t importance_hash(const struct imatrix *m);
#endif
