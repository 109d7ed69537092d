#ifndef FORMAT_HF_CONFIG_H
#define FORMAT_HF_CONFIG_H
/* One JSON document of a Hugging Face directory (config.json, generation_config.json, tokenizer_config.json) with typed
 * access by path. What the keys mean is for the model layer to say.
 *
 * A path is keys joined by dots, a number where an array is entered: "rope_parameters.rope_theta", "layer_types.3".
 * JSON null counts as absent. Read-only after opening; safe to read from several threads. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "base/str.h"

struct hf_config;

enum hf_kind { HF_ABSENT, HF_BOOL, HF_INT, HF_REAL, HF_STRING, HF_ARRAY, HF_OBJECT };

/* Reads a file of at most 16 MiB; errors name it. On error *out is NULL. */
enum err_code hf_config_open(const char *path, struct hf_config **out, struct err *e);
/* The same from bytes; name stands for the file in errors. */
enum err_code hf_config_parse(struct span json, const char *name, struct hf_config **out, struct err *e);
void hf_config_close(struct hf_config *c); /* NULL is fine */

enum hf_kind hf_config_kind(const struct hf_config *c, const char *path);
/* Elements of an array, members of an object; 0 for all else. */
size_t hf_config_count(const struct hf_config *c, const char *path);

/* The name of the i-th member of an object, in the file's order; NULL beyond the last. Valid until hf_config_close. */
const char *hf_config_key(const struct hf_config *c, const char *path, size_t i);

/* Absent: *found = false and *out stays as it was, so callers put the default there first; found NULL makes absence an
 * error. Another kind, or a number that does not fit: ERR_FORMAT that names the file and the path.
 * Integers may be written as 4096 or 4096.0; f64 takes both; text is valid until hf_config_close. */
enum err_code hf_config_u64(const struct hf_config *c, const char *path, uint64_t *out, bool *found, struct err *e);
enum err_code hf_config_u32(const struct hf_config *c, const char *path, uint32_t *out, bool *found, struct err *e);
enum err_code hf_config_f64(const struct hf_config *c, const char *path, double *out, bool *found, struct err *e);
enum err_code hf_config_f32(const struct hf_config *c, const char *path, float *out, bool *found, struct err *e);
enum err_code hf_config_bool(const struct hf_config *c, const char *path, bool *out, bool *found, struct err *e);
enum err_code hf_config_str(const struct hf_config *c, const char *path, const char **out, bool *found, struct err *e);
/* What the caller says of a value that is there and that it cannot use: ERR_FORMAT that names the file, the path, what
 * it should be ("a number from 0 to 1") and what it is. */
enum err_code hf_config_wrong(const struct hf_config *c, const char *path, const char *want, struct err *e);
#endif
