#ifndef FORMAT_HF_TOK_IMPL_H
#define FORMAT_HF_TOK_IMPL_H
/* Shared between the files that read a directory's tokenizer. Not for others. */
#include <jansson.h>
#include <string.h>
#include "format/hf_tokenizer.h"

#define SPACE "\xe2\x96\x81" /* U+2581 */

static inline bool text_is(const json_t *o, const char *key, const char *text) {
    const char *s = json_string_value(json_object_get(o, key));
    return s && !strcmp(s, text);
}

static inline bool is_type(const json_t *o, const char *type) { return text_is(o, "type", type); }

static inline const char *type_of(const json_t *o) {
    const char *s = json_string_value(json_object_get(o, "type"));
    return s ? s : "(no type)";
}

static inline bool flag(const json_t *o, const char *key, bool absent) {
    const json_t *v = json_object_get(o, key);
    return json_is_boolean(v) ? json_is_true(v) : absent;
}

/* Copies text into the record's memory. */
enum err_code hf_tok_keep(struct hf_tokenizer *t, const char *p, size_t n, struct str *out, struct err *e);
/* Fills a new record from a file's JSON; frees what it made on error. */
typedef enum err_code hf_tok_reader(struct hf_tokenizer *t, const json_t *root, struct err *e);
enum err_code hf_tok_parse(struct span json, hf_tok_reader *read, struct hf_tokenizer **out, struct err *e);
/* tokenizer.json: "added_tokens" and then "model" of root. */
enum err_code hf_tok_read_model(struct hf_tokenizer *t, const json_t *root, struct err *e);
#endif
