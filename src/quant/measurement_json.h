#ifndef QUANT_MEASUREMENT_JSON_H
#define QUANT_MEASUREMENT_JSON_H
/* Parts of a measurement as JSON values: what the measurement file and the journal have in common. */
#include <jansson.h>
#include "base/str.h"
#include "quant/measurement.h"

/* New references; NULL when out of memory. */
json_t *json_of_settings(const struct measured_settings *s);
json_t *json_of_tries(const struct measured_tensor *t);
json_t *json_of_probes(const struct measured_tensor *t);
/* 16 hexadecimal digits: JSON's integers would lose bits. */
json_t *json_of_hash(uint64_t hash);

/* Appends v and a line's end; takes the reference, which may be NULL: that is out of memory. flags are jansson's. */
enum err_code json_to_buf(json_t *v, size_t flags, struct buf *out, struct err *e);

/* Checked reading. Errors name the field; arrays come from mem and are set in t. */
enum err_code json_to_settings(const json_t *v, struct measured_settings *out, struct err *e);
enum err_code json_to_tries(const json_t *v, struct arena *mem, struct measured_tensor *t, struct err *e);
enum err_code json_to_probes(const json_t *v, struct arena *mem, struct measured_tensor *t, struct err *e);

/* Fields of an object; field names what is wrong. */
enum err_code json_get_u64(const json_t *v, const char *field, uint64_t max, uint64_t *out, struct err *e);
enum err_code json_get_real(const json_t *v, const char *field, double *out, struct err *e); /* finite, not negative */
enum err_code json_get_hash(const json_t *v, const char *field, uint64_t *out, struct err *e);
enum err_code json_get_text(const json_t *v, const char *field, char *out, size_t size, struct err *e);
#endif
