#ifndef TEXT_PRETOK_H
#define TEXT_PRETOK_H
/* Cutting text into words before merging, by the rules of pretok.def. */
#include <stdbool.h>
#include "base/err.h"
#include "base/str.h"

enum pretok_flags {
    PRETOK_ADD_BOS = 1,       /* a GGUF file that does not say so wants a begin token */
    PRETOK_IGNORE_MERGES = 2, /* words that are pieces are taken whole */
    PRETOK_NFC = 4,           /* text is brought to Unicode's form C first */
};
#define PRETOK_MAX_RE 6
struct pretok_rule { const char *names; unsigned flags; const char *re[PRETOK_MAX_RE]; };

/* The rule of a GGUF name; NULL if unknown. */
const struct pretok_rule *pretok_rule_named(struct str name);
/* The rule with exactly these n expressions, best with these flags; NULL if there is none. */
const struct pretok_rule *pretok_rule_like(const struct str *re, size_t n, unsigned flags);
/* The rule's own name, as it is written to files. */
struct str pretok_rule_name(const struct pretok_rule *rule);

struct pretok;
enum err_code pretok_open(const struct pretok_rule *rule, struct pretok **out, struct err *e);
void pretok_close(struct pretok *p); /* NULL is fine */

/* What one thread needs to run the expressions. Zeroed is ready to be closed. */
struct pretok_run { void *match[PRETOK_MAX_RE], *ctx, *stack; };
enum err_code pretok_run_init(const struct pretok *p, struct pretok_run *r, struct err *e);
void pretok_run_fini(struct pretok_run *r);
typedef enum err_code pretok_word(void *user, const char *p, size_t n, struct err *e);
/* Calls word for each word of s in order; together they are s. s must be valid UTF-8. */
enum err_code pretok_split(const struct pretok *p, struct pretok_run *r, struct str s, pretok_word *word, void *user,
                           struct err *e);
#endif
