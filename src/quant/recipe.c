/* llama.cpp's mixes as they are with an importance matrix (docs/formats/blocks.md has the types). The rules are rows of
 * recipe_rule.def; here is what their words mean. They look at the kind of matrix, the number of its block, how many
 * query heads share a key head, and how many experts there are. */
#include "quant/recipe.h"
#include <fnmatch.h>
#include <string.h>
#include <strings.h>

static const struct recipe recipes[] = {
#define RECIPE(name, file_type, base) { name, file_type, QTYPE_##base },
#include "quant/recipe.def"
#undef RECIPE
};

/* llama.cpp's other spellings. */
static const struct { const char *name, *means; } aliases[] = {
    { "Q3_K", "Q3_K_M" }, { "Q4_K", "Q4_K_M" }, { "Q5_K", "Q5_K_M" },
};

enum err_code recipe_find(const char *name, const struct recipe **out, struct err *e) {
    const char *wanted = name;
    *out = NULL;
    for (size_t i = 0; i < ARRAY_LEN(aliases); i++)
        if (!strcasecmp(aliases[i].name, name)) wanted = aliases[i].means;
    for (size_t i = 0; i < ARRAY_LEN(recipes); i++)
        if (!strcasecmp(recipes[i].name, wanted)) *out = &recipes[i];
    if (*out) return ERR_NONE;
    return err_set(e, ERR_USAGE, "type %s is not known: Q4_K_M, Q3_K_M, Q2_K, IQ4_XS, Q8_0 ...", name);
}

/* What a matrix is to a mix. */
enum kind { ANY, HEAD, EMBD, ATTN_Q, ATTN_K, ATTN_V, ATTN_QKV, ATTN_OUT, FFN_IN, FFN_DOWN };

static enum kind kind_of(const struct weight *w, const struct hparams *hp) {
    switch (w->slot) {
    case SLOT_OUTPUT: return HEAD;
    case SLOT_TOKEN_EMBD: return hp->tied ? HEAD : EMBD;
    case SLOT_ATTN_Q: return ATTN_Q;
    case SLOT_ATTN_K: return ATTN_K;
    case SLOT_ATTN_V: return ATTN_V;
    case SLOT_ATTN_QKV: return ATTN_QKV;
    case SLOT_ATTN_OUT: return ATTN_OUT;
    case SLOT_FFN_GATE: case SLOT_FFN_UP: case SLOT_EXPERT_GATE: case SLOT_EXPERT_UP: case SLOT_SHARED_GATE:
    case SLOT_SHARED_UP: return FFN_IN;
    case SLOT_FFN_DOWN: case SLOT_EXPERT_DOWN: case SLOT_SHARED_DOWN: return FFN_DOWN;
    default: return ANY;
    }
}

enum when {
    ALWAYS,
    SHARED,      /* four or more query heads share a value head */
    LLAMA_70B,   /* eight of them do: its bits are cheap */
    EXPERTS, EIGHT, NOT_EIGHT, /* four or more experts; exactly eight; not */
    NO_STACK,    /* not one matrix for each expert */
    FIRST_TWO, FIRST_FOUR, FIRST_16TH, FIRST_8TH, MIDDLE, /* blocks; MIDDLE: neither the first nor the last eighth */
    MORE_BITS,   /* the first and last eighth and every third block between */
    EIGHT_MORE,  /* of a model of eight experts, likewise */
};

static bool more_bits(uint32_t i, uint32_t n) { return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2; }

static bool holds(enum when when, const struct weight *w, const struct hparams *hp) {
    const uint32_t i = w->layer, n = hp->n_layer;
    switch (when) {
    case ALWAYS: return true;
    case SHARED: return hp->n_head >= 4 * hp->n_head_kv;
    case LLAMA_70B: return n == 80 && hp->n_head != hp->n_head_kv;
    case EXPERTS: return hp->n_expert >= 4;
    case EIGHT: return hp->n_expert == 8;
    case NOT_EIGHT: return hp->n_expert != 8;
    case NO_STACK: return w->ne[2] <= 1;
    case FIRST_TWO: return i < 2;
    case FIRST_FOUR: return i < 4;
    case FIRST_16TH: return i < n / 16;
    case FIRST_8TH: return i < n / 8;
    case MIDDLE: return i >= n / 8 && i < 7 * n / 8;
    case MORE_BITS: return more_bits(i, n);
    case EIGHT_MORE: return hp->n_expert == 8 && more_bits(i, n);
    }
    return false;
}

static const struct { const char *mixes; enum kind kind; enum when when; enum qtype type; } rules[] = {
#define RULE(mixes, kind, when, type) { mixes, kind, when, QTYPE_##type },
#include "quant/recipe_rule.def"
#undef RULE
};

enum qtype recipe_fit(enum qtype t, uint64_t n) {
    const struct qtype_info *info = qtype_info(t);
    if (n % info->block_weights == 0) return t;
    enum qtype small = info->block_weights == 256 ? QTYPE_IQ4_NL : QTYPE_F16;
    if (t == QTYPE_Q4_K) small = QTYPE_Q5_0;
    else if (t == QTYPE_Q5_K) small = QTYPE_Q5_1;
    else if (t == QTYPE_Q6_K) small = QTYPE_Q8_0;
    else if (t == QTYPE_TQ1_0 || t == QTYPE_TQ2_0) small = QTYPE_Q4_0;
    return n % qtype_info(small)->block_weights == 0 ? small : QTYPE_F16;
}

enum qtype recipe_type(const struct recipe *r, const struct hparams *hp, const struct weight *w) {
    if (qtype_is_float(r->base)) return r->base;
    const enum kind kind = kind_of(w, hp);
    for (size_t i = 0; i < ARRAY_LEN(rules); i++)
        if ((rules[i].kind == kind || rules[i].kind == ANY) && holds(rules[i].when, w, hp) &&
            !fnmatch(rules[i].mixes, r->name, 0))
            return recipe_fit(rules[i].type, w->ne[0]);
    return recipe_fit(r->base, w->ne[0]);
}

uint32_t recipe_file_type(enum qtype most) {
    for (size_t i = 0; i < ARRAY_LEN(recipes); i++)
        if (recipes[i].base == most) return recipes[i].file_type;
    return 1;
}

enum err_code keep_parse(const char *text, struct keep *out, struct err *e) {
    const char *equals = strrchr(text, '=');
    if (!equals || equals == text || (size_t)(equals - text) >= sizeof out->pattern)
        return err_set(e, ERR_USAGE, "--keep %s: PATTERN=TYPE is needed, such as 'blk.*.attn_v.weight=Q6_K'", text);
    memset(out, 0, sizeof *out);
    memcpy(out->pattern, text, (size_t)(equals - text));
    out->type = qtype_from_name(equals + 1);
    if (qtype_can_write(out->type)) return ERR_NONE;
    if (out->type != QTYPE_NONE)
        return err_set(e, ERR_USAGE, "--keep %s: %s can be read but not written", text, equals + 1);
    return err_set(e, ERR_USAGE, "--keep %s: type %s is not known", text, equals + 1);
}

enum err_code keep_check(struct keep *keep, size_t n, const struct model *m, struct err *e) {
    for (uint32_t i = 0; i < m->n_weights; i++) {
        const struct weight *w = &m->weights[i];
        if (!slot_info(w->slot)->matrix) continue;
        for (size_t k = 0; k < n; k++) {
            if (fnmatch(keep[k].pattern, w->name, 0)) continue;
            keep[k].used = true;
            if (w->ne[0] % qtype_info(keep[k].type)->block_weights)
                return err_set(e, ERR_USAGE, "--keep %s: a row of %s has %llu weights, %s needs a multiple of %u",
                               keep[k].pattern, w->name, (unsigned long long)w->ne[0], qtype_name(keep[k].type),
                               qtype_info(keep[k].type)->block_weights);
        }
    }
    for (size_t k = 0; k < n; k++)
        if (!keep[k].used) return err_set(e, ERR_USAGE, "--keep %s matches no matrix", keep[k].pattern);
    return ERR_NONE;
}

enum qtype keep_type(const struct keep *keep, size_t n, const char *name) {
    for (size_t k = n; k-- > 0;)
        if (!fnmatch(keep[k].pattern, name, 0)) return keep[k].type;
    return QTYPE_NONE;
}
