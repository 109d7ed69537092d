#ifndef QUANT_RECIPE_H
#define QUANT_RECIPE_H
/* Types by rule: llama.cpp's named mixes, what a row's length allows, and the user's own wishes. Pure functions. */
#include "model/model.h"

struct recipe { const char *name; uint32_t file_type; enum qtype base; };
/* Case-insensitive; Q3_K, Q4_K and Q5_K mean their _M mixes. ERR_UNSUPPORTED for a mix of types that are not there yet,
 * ERR_USAGE for any other name. */
enum err_code recipe_find(const char *name, const struct recipe **out, struct err *e);
/* The type that llama.cpp's quantizer, given importances, gives this matrix. */
enum qtype recipe_type(const struct recipe *r, const struct hparams *hp, const struct weight *w);
/* t if rows of n weights can have it, else what llama.cpp falls back to: a type of 32 weights a block, then F16. */
enum qtype recipe_fit(enum qtype t, uint64_t n);
/* general.file_type of a mix of our own: that of the first recipe whose base is the type that most bytes have. */
uint32_t recipe_file_type(enum qtype most);

/* --keep PATTERN=TYPE: shell patterns over tensor names; the last one that matches wins. */
struct keep { char pattern[96]; enum qtype type; bool used; };
/* ERR_USAGE for a word without '=' or a type that is unknown or read only. */
enum err_code keep_parse(const char *text, struct keep *out, struct err *e);
/* Checks that every pattern matches a matrix of m and that its type suits the rows. */
enum err_code keep_check(struct keep *keep, size_t n, const struct model *m, struct err *e);
/* QTYPE_NONE if no pattern matches. */
enum qtype keep_type(const struct keep *keep, size_t n, const char *name);
#endif
