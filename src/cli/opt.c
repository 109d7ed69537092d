/* Options from the table. See opt.h. A line of the table has its fields between " | ": "command | NAME | operands |
 * what it does" or "option | NAMES of commands or * | spellings | argument or - | what it does". */
#include "cli/opt.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/str.h"

/* Made from the table at build time. */
extern const unsigned char options_table[];
extern const size_t options_table_bytes;

enum { MAX_FIELDS = 5, MAX_WORDS = 256 };

struct given { struct str name; const char *value; };
struct opts {
    struct given given[MAX_WORDS];
    size_t n_given;
    const char *operands[MAX_WORDS];
    size_t n_operands;
};

/* --- The table --- */

struct line { struct str field[MAX_FIELDS]; size_t n; };

static struct str cut(struct str *rest, const char *sep) {
    size_t n = strlen(sep);
    for (size_t i = 0; i + n <= rest->n; i++) {
        if (memcmp(rest->p + i, sep, n) != 0) continue;
        struct str head = { rest->p, i };
        *rest = (struct str){ rest->p + i + n, rest->n - i - n };
        return head;
    }
    struct str all = *rest;
    *rest = (struct str){ rest->p + rest->n, 0 };
    return all;
}

/* The next line that is neither empty nor a comment; false at the end. */
static bool next_line(struct str *table, struct line *l) {
    while (table->n) {
        struct str text = cut(table, "\n");
        if (!text.n || text.p[0] == '#') continue;
        *l = (struct line){ .n = 0 }; /* a field that the line lacks is empty */
        while (text.n && l->n < MAX_FIELDS) l->field[l->n++] = cut(&text, " | ");
        return true;
    }
    return false;
}

static struct str table_start(void) { return (struct str){ (const char *)options_table, options_table_bytes }; }

static bool has_word(struct str words, const char *word) {
    while (words.n)
        if (str_eqz(cut(&words, " "), word)) return true;
    return false;
}

static bool is_command(const struct line *l, const char *command) {
    return str_eqz(l->field[0], "command") && (!command || str_eqz(l->field[1], command));
}
static bool is_option_of(const struct line *l, const char *command) {
    return str_eqz(l->field[0], "option") && (str_eqz(l->field[1], "*") || has_word(l->field[1], command));
}

static bool known_command(const char *command) {
    struct str t = table_start();
    for (struct line l; next_line(&t, &l);)
        if (is_command(&l, command)) return true;
    return false;
}

/* The long spelling of an option's line: its last word. */
static struct str long_name(struct str spellings) {
    struct str last = spellings;
    while (spellings.n) last = cut(&spellings, " ");
    return last;
}

static bool find_option(const char *command, const char *word, struct line *l) {
    struct str t = table_start();
    while (next_line(&t, l))
        if (is_option_of(l, command) && has_word(l->field[2], word)) return true;
    return false;
}

/* --- Parsing --- */

static unsigned distance(struct str a, const char *b) { /* of Levenshtein, for short words */
    unsigned row[64];
    size_t n = strlen(b);
    if (n >= ARRAY_LEN(row)) return 99;
    for (size_t j = 0; j <= n; j++) row[j] = (unsigned)j;
    for (size_t i = 1; i <= a.n; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= n; j++) {
            unsigned best = diagonal + (a.p[i - 1] != b[j - 1]);
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[n];
}

/* Suggests an option only if at most a third of the typed letters would have to change: a slip, not another word. */
static enum err_code unknown_option(const char *command, const char *word, struct err *e) {
    struct str t = table_start(), nearest = { "", 0 };
    unsigned best = (unsigned)(strlen(word + strspn(word, "-")) + 1) / 3 + 1;
    for (struct line l; next_line(&t, &l);) {
        if (!is_option_of(&l, command)) continue;
        for (struct str words = l.field[2]; words.n;) {
            struct str w = cut(&words, " ");
            unsigned d = distance(w, word);
            if (d < best && w.n > 2) best = d, nearest = w;
        }
    }
    if (!nearest.n) return err_set(e, ERR_USAGE, "unknown option %s: see snug %s --help", word, command);
    return err_set(e, ERR_USAGE, "unknown option %s: did you mean %.*s?", word, (int)nearest.n, nearest.p);
}

static enum err_code take_option(struct opts *o, const char *command, int argc, char **argv, int *i, struct err *e) {
    char word[128];
    struct line l;
    const char *equals = !strncmp(argv[*i], "--", 2) ? strchr(argv[*i], '=') : NULL;
    snprintf(word, sizeof word, "%.*s", equals ? (int)(equals - argv[*i]) : (int)sizeof word - 1, argv[*i]);
    if (!find_option(command, word, &l)) return unknown_option(command, word, e);
    const char *value = NULL;
    if (str_eqz(l.field[3], "-")) {
        if (equals) return err_set(e, ERR_USAGE, "%s takes no value", word);
    } else if (equals) {
        value = equals + 1;
    } else {
        if (*i + 1 == argc) return err_set(e, ERR_USAGE, "%s needs a value", word);
        value = argv[++*i];
    }
    o->given[o->n_given++] = (struct given){ long_name(l.field[2]), value };
    return ERR_NONE;
}

enum err_code opts_parse(const char *command, int argc, char **argv, struct opts **out, struct err *e) {
    *out = NULL;
    if (!known_command(command)) return err_set(e, ERR_USAGE, "there is no command \"%s\": see snug --help", command);
    if (argc > MAX_WORDS) return err_set(e, ERR_USAGE, "more than %d words", MAX_WORDS);
    struct opts *o = NEW(struct opts);
    if (!o) return err_no_memory(e, sizeof *o);
    enum err_code rc = ERR_NONE;
    bool only_operands = false;
    for (int i = 0; i < argc && !rc; i++) {
        if (!only_operands && !strcmp(argv[i], "--")) only_operands = true;
        else if (!only_operands && argv[i][0] == '-' && argv[i][1]) rc = take_option(o, command, argc, argv, &i, e);
        else o->operands[o->n_operands++] = argv[i];
    }
    if (rc) opts_free(o);
    else *out = o;
    return rc;
}

void opts_free(struct opts *o) { mem_free(o); }

/* --- Asking --- */

size_t opts_count(const struct opts *o, const char *name) {
    size_t n = 0;
    for (size_t i = 0; i < o->n_given; i++) n += str_eqz(o->given[i].name, name);
    return n;
}

const char *opts_nth(const struct opts *o, const char *name, size_t nth) {
    for (size_t i = 0; i < o->n_given; i++)
        if (str_eqz(o->given[i].name, name) && nth-- == 0) return o->given[i].value;
    return NULL;
}

bool opts_has(const struct opts *o, const char *name) { return opts_count(o, name) > 0; }
const char *opts_str(const struct opts *o, const char *name) {
    size_t n = opts_count(o, name);
    return n ? opts_nth(o, name, n - 1) : NULL;
}
size_t opts_n_operands(const struct opts *o) { return o->n_operands; }
const char *opts_operand(const struct opts *o, size_t i) { return o->operands[i]; }

enum err_code opts_one_operand(const struct opts *o, const char *what, const char **out, struct err *e) {
    if (o->n_operands == 0) return err_set(e, ERR_USAGE, "%s is missing: see --help", what);
    if (o->n_operands > 1) return err_set(e, ERR_USAGE, "unexpected \"%s\" after \"%s\"", o->operands[1],
                                          o->operands[0]);
    *out = o->operands[0];
    return ERR_NONE;
}

static enum err_code bad_number(const char *name, const char *text, double min, double max, struct err *e) {
    return err_set(e, ERR_USAGE, "%s %s: a number from %.10g to %.10g is needed", name, text, min, max);
}

enum err_code opts_i64(const struct opts *o, const char *name, int64_t min, int64_t max, int64_t *out, struct err *e) {
    const char *text = opts_str(o, name);
    if (!text) return ERR_NONE;
    char *end;
    long long v = strtoll(text, &end, 10);
    if (end == text || *end || v < min || v > max) return bad_number(name, text, (double)min, (double)max, e);
    *out = v;
    return ERR_NONE;
}

enum err_code opts_u32(const struct opts *o, const char *name, uint32_t min, uint32_t max, uint32_t *out,
                       struct err *e) {
    int64_t v = *out;
    TRY(opts_i64(o, name, min, max, &v, e));
    *out = (uint32_t)v;
    return ERR_NONE;
}

enum err_code opts_f64(const struct opts *o, const char *name, double min, double max, double *out, struct err *e) {
    const char *text = opts_str(o, name);
    if (!text) return ERR_NONE;
    char *end;
    double v = strtod(text, &end);
    if (end == text || *end || !(v >= min && v <= max)) return bad_number(name, text, min, max, e);
    *out = v;
    return ERR_NONE;
}

enum err_code opts_bytes(const struct opts *o, const char *name, uint64_t *out, struct err *e) {
    const char *text = opts_str(o, name);
    return text ? err_where(e, parse_bytes(text, out, e), "%s", name) : ERR_NONE;
}

enum err_code opts_u32_list(const struct opts *o, const char *name, uint32_t *out, size_t max_n, size_t *n,
                            struct err *e) {
    const char *text = opts_str(o, name);
    if (!text) return ERR_NONE;
    for (*n = 0;;) {
        char *end;
        long long v = strtoll(text, &end, 10);
        if (end == text || (*end && *end != ',') || v < 0 || v > UINT32_MAX || *n == max_n)
            return err_set(e, ERR_USAGE, "%s %s: up to %zu whole numbers separated by commas are needed", name,
                           opts_str(o, name), max_n);
        out[(*n)++] = (uint32_t)v;
        if (!*end) return ERR_NONE;
        text = end + 1;
    }
}

/* --- Help --- */

static void print_option(const struct line *l) {
    char left[96];
    bool has_value = !str_eqz(l->field[3], "-");
    struct str words = l->field[2];
    int n = 2;
    left[0] = left[1] = ' ';
    left[2] = 0;
    while (words.n) {
        struct str w = cut(&words, " ");
        n += snprintf(left + n, sizeof left - n, "%.*s%s", (int)w.n, w.p, words.n ? ", " : "");
    }
    if (has_value) snprintf(left + n, sizeof left - n, " %.*s", (int)l->field[3].n, l->field[3].p);
    printf(strlen(left) < 30 ? "%-30s %.*s\n" : "%s\n                               %.*s\n", left, (int)l->field[4].n,
           l->field[4].p);
}

static void print_commands(void) {
    puts("snug fits a large language model into the memory you have, and runs it there.\n\nusage: snug COMMAND ...\n");
    struct str t = table_start();
    for (struct line l; next_line(&t, &l);)
        if (is_command(&l, NULL)) printf("  %-10.*s %.*s\n", (int)l.field[1].n, l.field[1].p, (int)l.field[3].n,
                                         l.field[3].p);
    puts("\nsnug COMMAND --help says more. Sizes are written 22G (10^9 bytes) or 22GiB (2^30).");
}

bool opts_help(const char *command) {
    if (!command) {
        print_commands();
        return true;
    }
    if (!known_command(command)) return false;
    struct str t = table_start();
    for (struct line l; next_line(&t, &l);) {
        if (is_command(&l, command))
            printf("usage: snug %s %.*s [OPTIONS]\n\n%.*s\n\n", command, (int)l.field[2].n, l.field[2].p,
                   (int)l.field[3].n, l.field[3].p);
    }
    t = table_start();
    for (struct line l; next_line(&t, &l);)
        if (is_option_of(&l, command)) print_option(&l);
    return true;
}
