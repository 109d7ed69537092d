/* llama.cpp's mixes as they are with an importance matrix (docs/formats/blocks.md has the types). The rules look at the
 * kind of matrix, the number of its block, and how many query heads share a key head. */
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

/* Mixes whose stored types snug does not have. */
static const char *const later[] = { "IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ3_XXS", "IQ3_XS",
                                     "IQ3_S", "IQ3_M", "TQ1_0", "TQ2_0", "MXFP4_MOE" };

enum err_code recipe_find(const char *name, const struct recipe **out, struct err *e) {
    const char *wanted = name;
    *out = NULL;
    for (size_t i = 0; i < ARRAY_LEN(aliases); i++)
        if (!strcasecmp(aliases[i].name, name)) wanted = aliases[i].means;
    for (size_t i = 0; i < ARRAY_LEN(recipes); i++)
        if (!strcasecmp(recipes[i].name, wanted)) *out = &recipes[i];
    if (*out) return ERR_NONE;
    for (size_t i = 0; i < ARRAY_LEN(later); i++)
        if (!strcasecmp(later[i], name))
            return err_set(e, ERR_UNSUPPORTED, "type %s uses stored types that snug cannot write yet", name);
    return err_set(e, ERR_USAGE, "type %s is not known: Q4_K_M, Q3_K_M, Q2_K, IQ4_XS, Q8_0 ...", name);
}

static bool is(const struct recipe *r, const char *name) { return !strcmp(r->name, name); }

/* Blocks that the _M mixes favour: the first and last eighth and every third between. */
static bool more_bits(uint32_t i, uint32_t n) { return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2; }

static enum qtype head_type(const struct recipe *r) { return r->base == QTYPE_Q8_0 ? QTYPE_Q8_0 : QTYPE_Q6_K; }

static enum qtype attn_v_type(const struct recipe *r, const struct hparams *hp, uint32_t i) {
    bool shared = hp->n_head / hp->n_head_kv >= 4;
    enum qtype t = r->base;
    if (is(r, "Q2_K")) t = shared ? QTYPE_Q4_K : QTYPE_Q3_K;
    else if (is(r, "Q2_K_S") && shared) t = QTYPE_Q4_K;
    else if (is(r, "Q3_K_M")) t = i < 2 ? QTYPE_Q5_K : QTYPE_Q4_K;
    else if (is(r, "Q3_K_L")) t = QTYPE_Q5_K;
    else if ((is(r, "IQ4_NL") || is(r, "IQ4_XS")) && shared) t = QTYPE_Q5_K;
    else if ((is(r, "Q4_K_M") || is(r, "Q5_K_M")) && more_bits(i, hp->n_layer)) t = QTYPE_Q6_K;
    else if (is(r, "Q4_K_S") && i < 4) t = QTYPE_Q5_K;
    /* Llama 70B: eight query heads share a value head, so its bits are cheap. */
    bool is_70b = hp->n_layer == 80 && hp->n_head != hp->n_head_kv;
    return is_70b && (t == QTYPE_Q3_K || t == QTYPE_Q4_K) ? QTYPE_Q5_K : t;
}

static enum qtype ffn_down_type(const struct recipe *r, uint32_t i, uint32_t n) {
    if (is(r, "Q2_K")) return QTYPE_Q3_K;
    if (is(r, "Q2_K_S")) return i < n / 8 ? QTYPE_Q4_K : r->base;
    if (is(r, "Q3_K_M")) return i < n / 16 ? QTYPE_Q5_K : QTYPE_Q4_K;
    if (is(r, "Q3_K_L")) return QTYPE_Q5_K;
    if (is(r, "Q4_K_M") || is(r, "Q5_K_M")) return more_bits(i, n) ? QTYPE_Q6_K : r->base;
    if (is(r, "Q4_K_S")) return i < n / 8 ? QTYPE_Q5_K : r->base;
    if (is(r, "Q4_0")) return i < n / 8 ? QTYPE_Q4_1 : r->base;
    if (is(r, "Q5_0")) return i < n / 8 ? QTYPE_Q5_1 : r->base;
    return r->base;
}

static enum qtype attn_out_type(const struct recipe *r) {
    if (is(r, "Q2_K")) return QTYPE_Q3_K;
    if (is(r, "Q3_K_M")) return QTYPE_Q4_K;
    if (is(r, "Q3_K_L")) return QTYPE_Q5_K;
    return r->base;
}

enum qtype recipe_fit(enum qtype t, uint64_t n) {
    const struct qtype_info *info = qtype_info(t);
    if (n % info->block_weights == 0) return t;
    enum qtype small = QTYPE_F16;
    if (t == QTYPE_Q2_K || t == QTYPE_Q3_K || t == QTYPE_IQ4_XS) small = QTYPE_IQ4_NL;
    else if (t == QTYPE_Q4_K) small = QTYPE_Q5_0;
    else if (t == QTYPE_Q5_K) small = QTYPE_Q5_1;
    else if (t == QTYPE_Q6_K) small = QTYPE_Q8_0;
    return n % qtype_info(small)->block_weights == 0 ? small : QTYPE_F16;
}

enum qtype recipe_type(const struct recipe *r, const struct hparams *hp, const struct weight *w) {
    if (qtype_is_float(r->base)) return r->base;
    enum qtype t = r->base;
    if (w->slot == SLOT_OUTPUT || (w->slot == SLOT_TOKEN_EMBD && hp->tied)) t = head_type(r);
    else if (w->slot == SLOT_ATTN_V) t = attn_v_type(r, hp, w->layer);
    else if (w->slot == SLOT_FFN_DOWN) t = ffn_down_type(r, w->layer, hp->n_layer);
    else if (w->slot == SLOT_ATTN_OUT) t = attn_out_type(r);
    return recipe_fit(t, w->ne[0]);
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
