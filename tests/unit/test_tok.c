/* The tokenizer's parts and its interface on small vocabularies made here, where the right ids follow by hand. Real
 * vocabularies are in test_tok_reference. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "../assert_ok.h"
#include "base/log.h"
#include "base/rng.h"
#include "base/utf8.h"
#include "text/bytes.h"
#include "text/charsmap.h"
#include "text/merge.h"
#include "text/nfc.h"
#include "text/pretok.h"
#include "text/special.h"
#include "text/tok.h"

/* --- Bytes --- */

static void alphabet_is_gpt2s(void **state) {
    (void)state;
    /* As GPT-2's vocab.json has them: space U+0120, newline U+010A, DEL U+0121, byte A0 U+0142, soft hyphen U+0143. */
    assert_int_equal(alphabet_of_byte('A'), 'A');
    assert_int_equal(alphabet_of_byte(' '), 0x120);
    assert_int_equal(alphabet_of_byte('\n'), 0x10a);
    assert_int_equal(alphabet_of_byte(0x7f), 0x121);
    assert_int_equal(alphabet_of_byte(0xa0), 0x142);
    assert_int_equal(alphabet_of_byte(0xad), 0x143);
    assert_int_equal(alphabet_of_byte(0xff), 0xff);
    for (int b = 0; b < 256; b++) assert_int_equal(byte_of_alphabet(alphabet_of_byte((uint8_t)b)), b);
    assert_int_equal(byte_of_alphabet(' '), -1);
    assert_int_equal(byte_of_alphabet(0x144), -1);
    char out[8];
    assert_int_equal(bytes_of_piece(STR("\xc4\xa0" "a\xc4\x8a"), out), 3);
    assert_memory_equal(out, " a\n", 3);
    /* U+0144 is no byte, so the piece stands for itself. */
    assert_int_equal(bytes_of_piece(STR("\xc4\xa0\xc5\x84"), out), 4);
    assert_memory_equal(out, "\xc4\xa0\xc5\x84", 4);
}

static void check_text(struct str in, enum broken_rule rule, bool last, const char *want, size_t want_used) {
    struct buf out = { 0 };
    size_t used = bytes_to_text(in, rule, last, &out);
    assert_int_equal(out.n, strlen(want));
    if (out.n) assert_memory_equal(out.p, want, out.n);
    assert_int_equal(used, want_used);
    buf_fini(&out);
}

#define R "\xef\xbf\xbd"
static void broken_bytes_become_replacements(void **state) {
    (void)state;
    /* The examples of the Unicode Standard, tables 3-8 to 3-11. */
    check_text(STR("\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41"), BROKEN_PART, true, R R R R R R R R "A", 9);
    check_text(STR("\xed\xa0\x80\xed\xbf\xbf\xed\xaf\x41"), BROKEN_PART, true, R R R R R R R R "A", 9);
    check_text(STR("\xf4\x91\x92\x93\xff\x41\x80\xbf\x42"), BROKEN_PART, true, R R R R R "A" R R "B", 9);
    check_text(STR("\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41"), BROKEN_PART, true, R R R R "A", 9);
    check_text(STR("\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41"), BROKEN_BYTE, true, R R R R R R R R "A", 9);
    /* An unfinished end is held back while more may come; an end that cannot be finished is not. */
    check_text(STR("a\xf0\x9f\xa6"), BROKEN_PART, false, "a", 1);
    check_text(STR("a\xf0\x9f\xa6"), BROKEN_PART, true, "a" R, 4);
    check_text(STR("a\xf0\x9f\xa6"), BROKEN_BYTE, true, "a" R R R, 4);
    check_text(STR("a\xf0\x9f\xa6\xf0\x9f"), BROKEN_PART, false, "a" R, 4);
    check_text(STR("a\xc0"), BROKEN_PART, false, "a" R, 2);
    check_text(STR("\xf0\x9f\xa6\x99"), BROKEN_PART, false, "\xf0\x9f\xa6\x99", 4);
}

/* --- Normal form --- */

static void check_nfc(const char *text, const char *want) {
    struct err e = { 0 };
    struct buf got = { 0 };
    assert_ok(nfc_text(str_of(text), &got, &e), &e);
    assert_string_equal(got.p, want);
    assert_true(!nfc_is_sure(str_of(text)) || !strcmp(text, want));
    buf_fini(&got);
}

/* Lines of Unicode's NormalizationTest.txt. */
static void nfc_is_unicodes(void **state) {
    (void)state;
    check_nfc("a\u00e9z", "a\u00e9z");
    check_nfc("\u1e0a\u0323", "\u1e0c\u0307");
    check_nfc("D\u0307\u0323", "\u1e0c\u0307");
    check_nfc("\u0344", "\u0308\u0301");
    check_nfc("ab\u00e9e\u0301\u00e9 \u0301\u201cx\u201d", "ab\u00e9\u00e9\u00e9 \u0301\u201cx\u201d");
    check_nfc("\u212b\u2126", "\u00c5\u03a9");
    check_nfc("\u1100\u1161\u11a8 \uac00", "\uac01 \uac00");
    check_nfc("a\u0315\u0300\u05aeb", "\u00e0\u05ae\u0315b");
    check_nfc("a\u0f73\u0f71b", "a\u0f71\u0f71\u0f72b");
    check_nfc("\u0958\ufb1d", "\u0915\u093c\u05d9\u05b4"); /* excluded from composition */
}

/* utf8proc does the same where it is quick enough to ask. */
static void nfc_is_utf8procs(void **state) {
    (void)state;
    static const char *const parts[] = {
        "a", "\u0301", "\u0323", "\u0f73", "\u0f72", "e", "\u1e69", "\u05ae", "\u0345", "\uac00", "\u11a8", "\u0344",
    };
    struct rng rng;
    struct err e = { 0 };
    rng_seed(&rng, 11);
    for (int round = 0; round < 300; round++) {
        struct buf text = { 0 }, got = { 0 };
        buf_addz(&text, "");
        for (uint32_t n = rng_below(&rng, 60); n; n--) buf_addz(&text, parts[rng_below(&rng, ARRAY_LEN(parts))]);
        utf8proc_uint8_t *want = utf8proc_NFC((const utf8proc_uint8_t *)text.p);
        assert_ok(nfc_text((struct str){ text.p, text.n }, &got, &e), &e);
        buf_addz(&got, "");
        assert_string_equal(got.p, (char *)want);
        free(want);
        buf_fini(&text);
        buf_fini(&got);
    }
}

/* A megabyte of marks of two classes in turn: all of the first come before all of the second. */
static void many_marks(void **state) {
    (void)state;
    enum { PAIRS = 250000 };
    struct buf text = { 0 }, want = { 0 }, got = { 0 };
    struct err e = { 0 };
    buf_addz(&text, "a");
    for (int i = 0; i < PAIRS; i++) buf_addz(&text, "\u0301\u0323");
    buf_addz(&want, "\u1ea1");
    for (int i = 1; i < PAIRS; i++) buf_addz(&want, "\u0323");
    for (int i = 0; i < PAIRS; i++) buf_addz(&want, "\u0301");
    assert_ok(nfc_text((struct str){ text.p, text.n }, &got, &e), &e);
    assert_int_equal(got.n, want.n);
    assert_memory_equal(got.p, want.p, want.n);
    buf_fini(&text);
    buf_fini(&want);
    buf_fini(&got);
}

/* --- Merging --- */

/* The definition, step by step: the lowest rank, the leftmost of equals. */
static size_t merge_plainly(const struct merge_slot *table, size_t n_table, int32_t *id, size_t n) {
    for (;;) {
        const struct merge_slot *best = NULL;
        size_t at = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            for (size_t k = 0; k < n_table; k++) {
                if (table[k].left != id[i] || table[k].right != id[i + 1]) continue;
                if (!best || table[k].rank < best->rank) {
                    best = &table[k];
                    at = i;
                }
                break;
            }
        }
        if (!best) return n;
        id[at] = best->result;
        memmove(id + at + 1, id + at + 2, (n - at - 2) * sizeof(*id));
        n--;
    }
}

/* Random tables over few symbols, some ranks equal, and words on both sides of where merging changes its method. */
static void merges_follow_the_definition(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 7);
    for (int round = 0; round < 300; round++) {
        struct merge_table t;
        struct merge_word w = { 0 };
        struct merge_slot list[24];
        struct err e = { 0 };
        int32_t plain[200];
        size_t n_table = 1 + rng_below(&rng, 24), n = 1 + rng_below(&rng, 200);
        assert_ok(merge_init(&t, 0, &e), &e);
        for (size_t k = 0; k < n_table; k++) {
            uint32_t rank = round % 2 ? (uint32_t)k : rng_below(&rng, 6);
            list[k] = (struct merge_slot){ (int32_t)rng_below(&rng, 8), (int32_t)rng_below(&rng, 8), rank,
                                           (int32_t)rng_below(&rng, 8) };
            assert_ok(merge_add(&t, &list[k], &e), &e);
        }
        assert_ok(merge_reserve(&w, n, &e), &e);
        for (size_t i = 0; i < n; i++) {
            plain[i] = w.id[i] = rng_below(&rng, 20) ? (int32_t)rng_below(&rng, 4) : -1;
            w.off[i] = (uint32_t)i;
        }
        w.n = n;
        n = merge_plainly(list, n_table, plain, n);
        assert_ok(merge_run(&t, &w, &e), &e);
        assert_int_equal(w.n, n);
        assert_memory_equal(w.id, plain, n * sizeof(*plain));
        for (size_t i = 1; i < n; i++) assert_true(w.off[i] > w.off[i - 1]);
        merge_fini(&t);
        merge_word_fini(&w);
    }
}

/* --- Words --- */

static enum err_code note_word(void *user, const char *p, size_t n, struct err *e) {
    struct buf *b = user;
    buf_add(b, p, n);
    buf_addc(b, '|');
    return buf_status(b, e);
}

static void split(const char *rule, struct str text, struct buf *out) {
    struct err e = { 0 };
    struct pretok *p;
    struct pretok_run run;
    buf_clear(out);
    buf_addz(out, "");
    assert_non_null(pretok_rule_named(str_of(rule)));
    assert_ok(pretok_open(pretok_rule_named(str_of(rule)), &p, &e), &e);
    assert_ok(pretok_run_init(p, &run, &e), &e);
    assert_ok(pretok_split(p, &run, text, note_word, out, &e), &e);
    pretok_run_fini(&run);
    pretok_close(p);
}

static void check_words(const char *rule, const char *text, const char *want) {
    struct buf got = { 0 };
    split(rule, str_of(text), &got);
    assert_string_equal(got.p, want);
    buf_fini(&got);
}

/* Worked out by hand from the expressions. */
static void rules_cut_words(void **state) {
    (void)state;
    check_words("gpt-2", "Hello, world's 12345  x\n\n y", "Hello|,| world|'s| 12345| | x|\n\n| y|");
    check_words("smollm", "a 123 b", "a| |1|2|3| b|");
    check_words("llama-bpe", "Hello, world'S 12345  x\n\n y", "Hello|,| world|'S| |123|45| | x|\n\n| y|");
    check_words("llama3", "f(x)\n  return;", "f|(x|)\n| | return|;|");
    check_words("qwen2", "a 123", "a| |1|2|3|");
    check_words("tekken", "camelCase HTTPServer/x", "camel|Case| HTTPServer|/x|");
    check_words("default", "Hi, you've 1234!", "Hi|,| you|'|ve| |123|4|!|");
    /* Class \s has U+0085 but not U+180E, as Unicode says since 6.3; U+017F is an s without case. */
    check_words("llama-bpe", "!\xe1\xa0\x8e!\xc2\x85", "!\xe1\xa0\x8e!|\xc2\x85|");
    check_words("llama-bpe", "it'\xc5\xbf", "it|'\xc5\xbf|");
}

/* What Python's module regex makes of the same expressions, each applied to the words that the one before left; the
 * texts have letters with and without case, ideographs, digits of two scripts and all kinds of blanks. */
static void rules_agree_with_regex(void **state) {
    (void)state;
    static const char *const texts[] = {
        "Hello, world's 12345678  x\n\n y",
        ("It'S \u4e2d\u6587ABC\u5b57 \ud55c\uad6d\uc5b4 \u65e5\u672c\u8a9e\u3072\u3089\u304c\u306a, \u00e9migr\u00e9 "
         "\u03a9\u03bc\u03ad\u03b3\u03b1\u2026\r\n\u041f\u0440\u0438\u0432\u0435\u0442  \u043c\u0438\u0440 1234"),
        "camelCase HTTPServer\u4e2dx 1,234,567.5 \u00bd1234\u00bd5",
        "  \n\n \ttabs\u3000\u3002\u2018q\u2019 \u201cz\u201d  ",
        "I'll we'VE 12 123 1234 12345 \u0663\u0664\u0665\u0666\u0667",
    };
    static const struct { const char *rule, *words[ARRAY_LEN(texts)]; } cases[] = {
        { "deepseek-llm",
          { "Hello|,| world|'|s| |12345678| | x|\n|\n| y|",
            "It|'|S| |\u4e2d\u6587|ABC|\u5b57| |\ud55c\uad6d\uc5b4| |\u65e5\u672c\u8a9e\u3072\u3089\u304c\u306a|,| "
            "\u00e9|migr|\u00e9| \u03a9\u03bc\u03ad\u03b3\u03b1|\u2026|\r|\n|\u041f\u0440\u0438\u0432\u0435\u0442| | "
            "\u043c\u0438\u0440| |1234|",
            "camelCase| HTTPServer|\u4e2d|x| |1|,|234|,|567|.|5| |\u00bd1234\u00bd5|",
            "  |\n|\n| |\ttabs|\u3000\u3002\u2018|q|\u2019| |\u201c|z|\u201d|  |",
            "I|'|ll| we|'|VE| |12| |123| |1234| |12345| |\u0663\u0664\u0665\u0666\u0667|" } },
        { "bailingmoe",
          { "Hello|,| world|'s| |1|2|3|4|5|6|7|8| | x|\n\n| y|",
            "It|'S| \u4e2d\u6587ABC\u5b57| \ud55c\uad6d\uc5b4| \u65e5\u672c\u8a9e\u3072\u3089\u304c\u306a|,| \u00e9mi"
            "gr\u00e9| \u03a9\u03bc\u03ad\u03b3\u03b1|\u2026\r\n|\u041f\u0440\u0438\u0432\u0435\u0442| | \u043c\u0438"
            "\u0440| |1|2|3|4|",
            "camelCase| HTTPServer\u4e2dx| |1|,|2|3|4|,|5|6|7|.|5| |\u00bd|1|2|3|4|\u00bd|5|",
            "  \n\n| |\ttabs|\u3000|\u3002\u2018|q|\u2019| \u201c|z|\u201d|  |",
            "I|'ll| we|'VE| |1|2| |1|2|3| |1|2|3|4| |1|2|3|4|5| |\u0663|\u0664|\u0665|\u0666|\u0667|" } },
        { "kimi-k2",
          { "Hello|,| world's| |123|456|78| | x|\n\n| y|",
            "It'S| |\u4e2d\u6587|ABC|\u5b57| \ud55c\uad6d\uc5b4| |\u65e5\u672c\u8a9e|\u3072\u3089\u304c\u306a|,| "
            "\u00e9migr\u00e9| \u03a9\u03bc\u03ad\u03b3\u03b1|\u2026\r\n|\u041f\u0440\u0438\u0432\u0435\u0442| | "
            "\u043c\u0438\u0440| |123|4|",
            "camel|Case| HTTPServer|\u4e2d|x| |1|,|234|,|567|.|5| |\u00bd12|34\u00bd|5|",
            "  \n\n| |\ttabs|\u3000|\u3002\u2018|q|\u2019| \u201c|z|\u201d|  |",
            "I'll| we'VE| |12| |123| |123|4| |123|45| |\u0663\u0664\u0665|\u0666\u0667|" } },
        { "superbpe",
          { "Hello, world's |12|345|678|  x\n\n y|",
            "It'S \u4e2d\u6587ABC\u5b57 \ud55c\uad6d\uc5b4 \u65e5\u672c\u8a9e\u3072\u3089\u304c\u306a, \u00e9migr"
            "\u00e9 \u03a9\u03bc\u03ad\u03b3\u03b1\u2026\r\n\u041f\u0440\u0438\u0432\u0435\u0442  \u043c\u0438\u0440 "
            "|1|234|",
            "camelCase HTTPServer\u4e2dx |1|,|234|,|567|.|5| |\u00bd1|234\u00bd5|",
            "  \n\n \ttabs\u3000\u3002\u2018q\u2019 \u201cz\u201d  |",
            "I'll we'VE |12| |123| |1|234| |12|345| |\u0663\u0664|\u0665\u0666\u0667|" } },
        { "gemma4",
          { "Hello, world's 12345678  x|\n\n| y|",
            "It'S \u4e2d\u6587ABC\u5b57 \ud55c\uad6d\uc5b4 \u65e5\u672c\u8a9e\u3072\u3089\u304c\u306a, \u00e9migr"
            "\u00e9 \u03a9\u03bc\u03ad\u03b3\u03b1\u2026\r|\n|\u041f\u0440\u0438\u0432\u0435\u0442  \u043c\u0438"
            "\u0440 1234|",
            "camelCase HTTPServer\u4e2dx 1,234,567.5 \u00bd1234\u00bd5|",
            "  |\n\n| \ttabs\u3000\u3002\u2018q\u2019 \u201cz\u201d  |",
            "I'll we'VE 12 123 1234 12345 \u0663\u0664\u0665\u0666\u0667|" } },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (size_t k = 0; k < ARRAY_LEN(texts); k++) check_words(cases[i].rule, texts[k], cases[i].words[k]);
    }
}

static const char *const rule_names[] = {
    "llama-bpe", "dbrx", "qwen2", "stablelm2", "qwen35", "gpt-2", "smollm", "falcon", "tekken", "gpt-4o", "deepseek-v3",
    "deepseek-coder", "deepseek-llm", "bailingmoe", "kimi-k2", "superbpe", "gemma4", "seed-coder", "bloom", "viking",
    "default",
};

/* Whatever the rule, words make up the text again; and a long run of anything does not exhaust the matcher. */
static void words_are_the_text(void **state) {
    (void)state;
    static const char *const runs[] = { "a", "A", " ", "\n", "1", "'", "!", "\xe4\xb8\x80", " \n", "aB", "\xcc\x81",
                                        "\u00bd1", "\t\u4e00", "    \u4e00" };
    for (size_t r = 0; r < ARRAY_LEN(rule_names); r++) {
        for (size_t k = 0; k < ARRAY_LEN(runs); k++) {
            struct buf text = { 0 }, words = { 0 };
            while (text.n < 200000) buf_addz(&text, runs[k]);
            buf_addz(&text, "\u4e00x 1\t'Re \xc3\x89t\xc3\xa9 \xe4\xb8\xad 4567 ,.|\r\n end");
            split(rule_names[r], (struct str){ text.p, text.n }, &words);
            size_t at = 0;
            for (size_t i = 0; i < words.n; i++) { /* a word's end or the text's own bar */
                if (at < text.n && words.p[i] == text.p[at]) at++;
                else assert_int_equal(words.p[i], '|');
            }
            assert_int_equal(at, text.n);
            buf_fini(&text);
            buf_fini(&words);
        }
    }
}

static void rules_are_found(void **state) {
    (void)state;
    const struct pretok_rule *llama = pretok_rule_named(STR("llama-v3")), *dbrx = pretok_rule_named(STR("dbrx"));
    struct str re = str_of(llama->re[0]);
    assert_ptr_equal(llama, pretok_rule_named(STR("llama-bpe")));
    assert_null(pretok_rule_named(STR("llama")));
    assert_null(pretok_rule_named(STR("")));
    assert_null(pretok_rule_named(STR("llama-bpe llama3")));
    assert_true(str_eqz(pretok_rule_name(llama), "llama-bpe"));
    /* The same expression, told apart by what else the file says. */
    assert_ptr_equal(pretok_rule_like(&re, 1, PRETOK_IGNORE_MERGES), llama);
    assert_ptr_equal(pretok_rule_like(&re, 1, 0), dbrx);
    assert_null(pretok_rule_like(&STR("[a-z]+"), 1, 0));
    /* Characters may be written as such where the row has escapes, as DeepSeek's files do. */
    const struct str v3[] = {
        STR("\\p{N}{1,3}"), STR("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"),
        STR("[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
            "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"),
    };
    assert_ptr_equal(pretok_rule_like(v3, ARRAY_LEN(v3), 0), pretok_rule_named(STR("deepseek-v3")));
    assert_null(pretok_rule_like(v3, 2, 0));
    assert_null(pretok_rule_like(&re, 0, 0));
}

/* --- Whole tokenizers --- */

/* A vocabulary from a list "kind text" with scores going down; texts are literals. */
struct row { enum token_kind kind; const char *text; };

static void make_vocab(struct vocab *v, enum vocab_model model, const struct row *rows, uint32_t n) {
    *v = (struct vocab){ .model = model, .n = n, .bos = -1, .eos = -1, .unk = -1, .pad = -1, .eot = -1 };
    v->piece = arena_alloc(&v->arena, n, sizeof(*v->piece));
    v->kind = arena_alloc(&v->arena, n, 1);
    v->score = arena_alloc(&v->arena, n, sizeof(*v->score));
    for (uint32_t i = 0; i < n; i++) {
        v->piece[i] = str_of(rows[i].text);
        v->kind[i] = (uint8_t)rows[i].kind;
        v->score[i] = -(float)i;
    }
    strcpy(v->pre, "gpt-2");
}

/* "1 2 3" */
static void check_ids(const struct tok *t, struct str text, unsigned flags, const char *want) {
    struct err e = { 0 };
    struct buf got = { 0 };
    int32_t *ids;
    size_t n;
    assert_ok(tok_encode(t, text, flags, &ids, &n, &e), &e);
    buf_addz(&got, "");
    for (size_t i = 0; i < n; i++) buf_addf(&got, "%s%d", i ? " " : "", ids[i]);
    assert_string_equal(got.p, want);
    buf_fini(&got);
    mem_free(ids);
}

static void check_decoded(const struct tok *t, const int32_t *ids, size_t n, bool skip, const char *want) {
    struct err e = { 0 };
    struct buf got = { 0 };
    assert_ok(tok_decode(t, ids, n, skip, &got, &e), &e);
    assert_int_equal(got.n, strlen(want));
    if (got.n) assert_memory_equal(got.p, want, got.n);
    buf_fini(&got);
}

static const struct row spm_rows[] = {
    { TOKEN_UNKNOWN, "<unk>" },   { TOKEN_CONTROL, "<s>" },     { TOKEN_CONTROL, "</s>" }, /* 0 1 2 */
    { TOKEN_USER, "<s><t>" },     { TOKEN_NORMAL, "ab" },       { TOKEN_NORMAL, "bc" },    /* 3 4 5 */
    { TOKEN_NORMAL, "\xe2\x96\x81" "a" }, { TOKEN_NORMAL, "\xe2\x96\x81\xe2\x96\x81" },    /* 6 7 */
    { TOKEN_NORMAL, "\xe2\x96\x81" },     { TOKEN_NORMAL, "a" },                           /* 8 9 */
    { TOKEN_NORMAL, "b" },        { TOKEN_NORMAL, "c" },        { TOKEN_BYTE, "<0xC3>" },  /* 10 11 12 */
    { TOKEN_BYTE, "<0xA9>" },     { TOKEN_NORMAL, "\xe2\x96\x81" "ab" },                   /* 13 14 */
};

static void spm_rules(void **state) {
    (void)state;
    struct vocab v;
    struct tok *t;
    struct err e = { 0 };
    make_vocab(&v, VOCAB_SPM, spm_rows, ARRAY_LEN(spm_rows));
    v.bos = 1;
    v.eos = 2;
    v.unk = 0;
    v.add_bos = v.add_space_prefix = true;
    assert_ok(tok_open(&v, &t, &e), &e);
    check_ids(t, STR(""), 0, "");
    check_ids(t, STR(""), TOK_ADD_SPECIAL, "1");
    check_ids(t, STR("a"), TOK_ADD_SPECIAL, "1 6");
    /* _abc: ab scores higher than bc and _a, then _ + ab makes _ab. */
    check_ids(t, STR("abc"), 0, "14 11");
    check_ids(t, STR(" abc"), 0, "7 4 11");
    /* A byte without a piece of its own is unknown, once for a run. */
    check_ids(t, STR("a\xc3\xa9zzb"), 0, "6 12 13 0 10");
    /* The longest special piece wins, user-defined ones even as plain text, and each stretch gets its space. */
    check_ids(t, STR("a<s>b"), TOK_PARSE_SPECIAL, "6 1 8 10");
    check_ids(t, STR("a<s><t>b"), TOK_PARSE_SPECIAL, "6 3 8 10");
    check_ids(t, STR("a<s><t>b"), 0, "6 3 8 10");
    check_ids(t, STR("<s>"), TOK_PARSE_SPECIAL, "1");
    check_ids(t, STR("<s>"), 0, "8 0");
    check_decoded(t, (int32_t[]){ 1, 14, 11, 2 }, 4, true, "abc");
    check_decoded(t, (int32_t[]){ 1, 14, 11, 2 }, 4, false, "<s> abc</s>");
    check_decoded(t, (int32_t[]){ 12, 13, 12 }, 3, false, "\xc3\xa9" R);
    tok_close(t);
    v.prefix_space_first_only = true;
    assert_ok(tok_open(&v, &t, &e), &e);
    check_ids(t, STR("a<s>b"), TOK_PARSE_SPECIAL, "6 1 10");
    check_ids(t, STR("<s>b"), TOK_PARSE_SPECIAL, "1 10");
    tok_close(t);
    v.prefix_space_once = true;
    assert_ok(tok_open(&v, &t, &e), &e);
    check_ids(t, STR(" abc"), 0, "14 11");
    tok_close(t);
    v.add_space_prefix = false;
    assert_ok(tok_open(&v, &t, &e), &e);
    check_ids(t, STR("abc"), 0, "4 11");
    check_decoded(t, (int32_t[]){ 14 }, 1, false, " ab");
    tok_close(t);
    vocab_fini(&v);
}

/* Where a piece goes on behind a space, words cannot be merged apart: a_b is reached over a_. */
static void spm_merges_across_spaces(void **state) {
    (void)state;
    static const struct row rows[] = {
        { TOKEN_NORMAL, "a\xe2\x96\x81" "b" }, { TOKEN_NORMAL, "a\xe2\x96\x81" }, { TOKEN_NORMAL, "\xe2\x96\x81" },
        { TOKEN_NORMAL, "a" }, { TOKEN_NORMAL, "b" },
    };
    struct vocab v;
    struct tok *t;
    struct err e = { 0 };
    make_vocab(&v, VOCAB_SPM, rows, ARRAY_LEN(rows));
    assert_ok(tok_open(&v, &t, &e), &e);
    check_ids(t, STR("a b a"), 0, "0 2 3");
    tok_close(t);
    vocab_fini(&v);
}

/* Scores by hand: what is unknown costs the worst score, -9, and 10 more. */
static void unigram_rules(void **state) {
    (void)state;
    static const struct row rows[] = {
        { TOKEN_UNKNOWN, "<unk>" }, { TOKEN_NORMAL, "a" },  { TOKEN_NORMAL, "b" }, /* 0 1 2 */
        { TOKEN_NORMAL, "ab" },     { TOKEN_NORMAL, "xa" }, { TOKEN_NORMAL, "c" }, /* 3 4 5 */
        { TOKEN_NORMAL, "cc" },     { TOKEN_UNUSED, "abc" },                       /* 6 7 */
    };
    static const float scores[] = { 0, -4, -9, -1, -9, -2, -4, 0 };
    struct vocab v;
    struct tok *t;
    struct err e = { 0 };
    make_vocab(&v, VOCAB_UNIGRAM, rows, ARRAY_LEN(rows));
    memcpy(v.score, scores, sizeof(scores));
    v.unk = 0;
    assert_ok(tok_open(&v, &t, &e), &e);
    check_ids(t, STR("abab"), 0, "3 3");
    check_ids(t, STR("ba"), 0, "2 1");
    check_ids(t, STR("xab"), 0, "4 2"); /* -9 - 9 against -19 - 1 */
    check_ids(t, STR("xxab"), 0, "0 4 2");
    check_ids(t, STR("xyab"), 0, "0 3"); /* one unknown token for the run */
    check_ids(t, STR("cc"), 0, "6"); /* -4 against -2 - 2: the first that was found stays */
    check_ids(t, STR("abc"), 0, "3 5"); /* unused pieces are not for texts */
    tok_close(t);
    vocab_fini(&v);
}

/* A table of replacements by hand: "a" to "x", "ab" to "yz". The children of a node stand in a block of 256 units. */
static void longest_replacement_counts(void **state) {
    (void)state;
    enum { ROOT = 256, A = 512, AB = 768, N = 1024 };
    struct { uint32_t bytes, unit[N]; char texts[5]; } table = { .bytes = 4 * N, .texts = { 'x', 0, 'y', 'z', 0 } };
    const uint32_t leaf = 1u << 31, has_leaf = 1u << 8;
    table.unit[0] = ROOT << 10;
    table.unit[ROOT ^ 'a'] = (uint32_t)(ROOT ^ 'a' ^ A) << 10 | has_leaf | 'a';
    table.unit[A] = leaf | 0;
    table.unit[A ^ 'b'] = (uint32_t)(A ^ 'b' ^ AB) << 10 | has_leaf | 'b';
    table.unit[AB] = leaf | 2;
    struct charsmap m;
    struct str to = { 0 };
    struct err e = { 0 };
    assert_ok(charsmap_init(&m, (struct str){ (char *)&table, 4 + 4 * N + 5 }, &e), &e);
    assert_int_equal(charsmap_find(&m, STR("abab"), &to), 2);
    assert_true(str_eqz(to, "yz"));
    assert_int_equal(charsmap_find(&m, STR("aab"), &to), 1);
    assert_true(str_eqz(to, "x"));
    assert_int_equal(charsmap_find(&m, STR("ba"), &to), 0);
    /* A text that does not end and a unit beyond the array are no replacements; a trie beyond the bytes is an error. */
    assert_ok(charsmap_init(&m, (struct str){ (char *)&table, 4 + 4 * N + 4 }, &e), &e);
    assert_int_equal(charsmap_find(&m, STR("ab"), &to), 1);
    table.unit[ROOT ^ 'a'] = (1u << 20) << 10 | has_leaf | 'a';
    assert_int_equal(charsmap_find(&m, STR("ab"), &to), 0);
    table.bytes += 8;
    assert_int_equal(charsmap_init(&m, (struct str){ (char *)&table, 4 + 4 * N + 5 }, &e), ERR_FORMAT);
}

/* Words are remembered within a call, but not beyond the stretch of text that they point into. */
static void many_stretches(void **state) {
    (void)state;
    struct vocab v;
    struct tok *t;
    struct err e = { 0 };
    struct buf text = { 0 }, want = { 0 };
    make_vocab(&v, VOCAB_SPM, spm_rows, ARRAY_LEN(spm_rows));
    v.add_space_prefix = true;
    assert_ok(tok_open(&v, &t, &e), &e);
    for (int i = 0; i < 400; i++) {
        buf_addz(&text, i % 3 ? "ab c<s>" : "ab ab<s>");
        buf_addf(&want, "%s14 %s 1", i ? " " : "", i % 3 ? "8 11" : "14");
    }
    check_ids(t, (struct str){ text.p, text.n }, TOK_PARSE_SPECIAL, want.p);
    buf_fini(&text);
    buf_fini(&want);
    tok_close(t);
    vocab_fini(&v);
}

/* 256 bytes in the alphabet, then pieces of two; ids of the bytes are the bytes. */
static void make_bytes(struct vocab *v, const char *const *merges, uint32_t n_merges, uint32_t n_more) {
    uint32_t n = 256 + n_merges + n_more;
    *v = (struct vocab){ .model = VOCAB_BPE, .n = n, .bos = -1, .eos = -1, .unk = -1, .pad = -1, .eot = -1 };
    v->piece = arena_alloc(&v->arena, n, sizeof(*v->piece));
    v->kind = arena_alloc(&v->arena, n, 1);
    v->merge = arena_alloc(&v->arena, n_merges + 1, sizeof(*v->merge));
    v->n_merges = n_merges;
    strcpy(v->pre, "llama-bpe");
    for (uint32_t i = 0; i < 256; i++) {
        char *p = arena_alloc(&v->arena, 4, 1);
        v->piece[i] = (struct str){ p, utf8_put(alphabet_of_byte((uint8_t)i), p) };
        v->kind[i] = TOKEN_NORMAL;
    }
    for (uint32_t i = 0; i < n_merges; i++) {
        const char *gap = strchr(merges[i] + 1, ' ');
        size_t left = (size_t)(gap - merges[i]), right = strlen(gap + 1);
        char *p = arena_alloc(&v->arena, left + right, 1);
        memcpy(p, merges[i], left);
        memcpy(p + left, gap + 1, right);
        v->merge[i] = str_of(merges[i]);
        v->piece[256 + i] = (struct str){ p, left + right };
        v->kind[256 + i] = TOKEN_NORMAL;
    }
}

static void bpe_rules(void **state) {
    (void)state;
    static const char *const merges[] = { "b c", "a b", "ab c", "\xc4\xa0 a", "a a", "aa aa" }; /* 256 .. 261 */
    struct vocab v;
    struct tok *t;
    struct err e = { 0 };
    make_bytes(&v, merges, ARRAY_LEN(merges), 2);
    v.piece[262] = STR("<|im_end|>");
    v.kind[262] = TOKEN_CONTROL;
    v.piece[263] = STR("<tool>");
    v.kind[263] = TOKEN_USER;
    v.bos = v.eos = 5;
    assert_ok(tok_open(&v, &t, &e), &e);
    check_ids(t, STR("abc"), 0, "97 256"); /* b c comes before a b */
    check_ids(t, STR("ab abc"), 0, "257 259 256");
    check_ids(t, STR("aaaaa"), 0, "261 97");
    check_ids(t, STR("a<|im_end|>b"), TOK_PARSE_SPECIAL, "97 262 98");
    check_ids(t, STR("<|im_end|>"), 0, "60 124 105 109 95 101 110 100 124 62");
    check_ids(t, STR("<tool>"), 0, "263");
    check_ids(t, STR("a"), TOK_ADD_SPECIAL, "97"); /* there is a begin token, but the vocabulary does not ask for it */
    assert_true(tok_is_eog(t, 5) && tok_is_eog(t, 262));
    assert_false(tok_is_eog(t, 263) || tok_is_eog(t, 97) || tok_is_eog(t, -1) || tok_is_eog(t, 264));
    tok_close(t);
    v.add_bos = v.add_eos = v.ignore_merges = true;
    assert_ok(tok_open(&v, &t, &e), &e);
    check_ids(t, STR("abc"), TOK_ADD_SPECIAL, "5 258 5"); /* a piece as a whole */
    tok_close(t);
    vocab_fini(&v);
}

/* Any bytes come back as they were, and where they are text, decoding gives that text. */
static void bytes_survive(void **state) {
    (void)state;
    static const char *const merges[] = { "\xc3\x83 \xc2\xa9", "a b" };
    struct vocab v;
    struct tok *t;
    struct err e = { 0 };
    struct rng rng;
    rng_seed(&rng, 3);
    make_bytes(&v, merges, ARRAY_LEN(merges), 0);
    assert_ok(tok_open(&v, &t, &e), &e);
    for (int round = 0; round < 500; round++) {
        char text[300];
        struct buf back = { 0 };
        int32_t *ids;
        size_t n_text = rng_below(&rng, sizeof(text)), n;
        for (size_t i = 0; i < n_text; i++) text[i] = (char)(rng_below(&rng, 3) ? rng_u32(&rng) : rng_u32(&rng) % 128);
        assert_ok(tok_encode(t, (struct str){ text, n_text }, 0, &ids, &n, &e), &e);
        for (size_t i = 0; i < n; i++) assert_ok(tok_piece(t, ids[i], &back, &e), &e);
        assert_int_equal(back.n, n_text);
        if (n_text) assert_memory_equal(back.p, text, n_text);
        buf_clear(&back);
        assert_ok(tok_decode(t, ids, n, false, &back, &e), &e);
        assert_true(utf8_valid(back.p, back.n));
        buf_fini(&back);
        mem_free(ids);
    }
    tok_close(t);
    vocab_fini(&v);
}

/* Long words of one letter: a million letters are 250,000 pieces of four. A quadratic method would take hours. */
static void long_words_end(void **state) {
    (void)state;
    /* In the alphabet the bytes of U+1F999 are U+00F0, U+0141, U+00A6, U+013B. */
    static const char *const merges[] = { "a a", "aa aa", "\xc4\xa0 \xc4\xa0", "\u0141 \u00a6", "\u00f0 \u0141\u00a6" };
    const size_t n_text = 1000000;
    struct vocab v;
    struct tok *t;
    struct err e = { 0 };
    int32_t *ids;
    size_t n;
    char *text = mem_alloc(n_text, 1);
    make_bytes(&v, merges, ARRAY_LEN(merges), 0);
    assert_ok(tok_open(&v, &t, &e), &e);
    memset(text, 'a', n_text);
    assert_ok(tok_encode(t, (struct str){ text, n_text }, 0, &ids, &n, &e), &e);
    assert_int_equal(n, n_text / 4);
    for (size_t i = 0; i < n; i++) assert_int_equal(ids[i], 257);
    mem_free(ids);
    memset(text, ' ', n_text);
    assert_ok(tok_encode(t, (struct str){ text, n_text }, 0, &ids, &n, &e), &e);
    assert_int_equal(n, n_text / 2);
    mem_free(ids);
    for (size_t i = 0; i < n_text; i++) text[i] = "ab"[i % 2]; /* nothing merges */
    assert_ok(tok_encode(t, (struct str){ text, n_text }, 0, &ids, &n, &e), &e);
    assert_int_equal(n, n_text);
    mem_free(ids);
    for (size_t i = 0; i < n_text; i++) text[i] = "\xf0\x9f\xa6\x99"[i % 4]; /* three of four bytes merge */
    assert_ok(tok_encode(t, (struct str){ text, n_text }, 0, &ids, &n, &e), &e);
    assert_int_equal(n, n_text / 2);
    mem_free(ids);
    for (size_t i = 0; i < n_text; i++) text[i] = "\xf0\x9f"[i % 2]; /* no text: every byte is a word */
    assert_ok(tok_encode(t, (struct str){ text, n_text }, 0, &ids, &n, &e), &e);
    assert_int_equal(n, n_text);
    mem_free(ids);
    mem_free(text);
    tok_close(t);
    vocab_fini(&v);
}

static void stream_holds_characters_together(void **state) {
    (void)state;
    struct vocab v;
    struct tok *t;
    struct tok_stream s;
    struct buf out = { 0 };
    struct err e = { 0 };
    static const int32_t ids[] = { 'a', 0xf0, 0x9f, 0xa6, 0x99, 0xe2, 'b', 0xff, 0xe2, 0x82 };
    static const size_t bytes_after[] = { 1, 1, 1, 1, 5, 5, 9, 12, 12, 12 };
    make_bytes(&v, NULL, 0, 0);
    assert_ok(tok_open(&v, &t, &e), &e);
    tok_stream_init(&s, t, false);
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        assert_ok(tok_stream_push(&s, ids[i], &out, &e), &e);
        assert_int_equal(out.n, bytes_after[i]);
    }
    tok_stream_end(&s, &out);
    assert_string_equal(out.p, "a\xf0\x9f\xa6\x99" R "b" R R);
    tok_stream_fini(&s);
    buf_fini(&out);
    tok_close(t);
    vocab_fini(&v);
}

static void check_refused(struct vocab *v, enum err_code want, const char *word) {
    struct tok *t;
    struct err e = { 0 };
    assert_int_equal(tok_open(v, &t, &e), want);
    assert_null(t);
    assert_non_null(strstr(e.msg, word));
}

static void wrong_input_is_refused(void **state) {
    (void)state;
    struct vocab v = { 0 };
    struct tok *t;
    struct buf out = { 0 };
    struct err e = { 0 };
    check_refused(&v, ERR_UNSUPPORTED, "no tokenizer");
    make_bytes(&v, NULL, 0, 0);
    v.eos = 256;
    check_refused(&v, ERR_FORMAT, "256");
    v.eos = -1;
    assert_ok(tok_open(&v, &t, &e), &e);
    assert_int_equal(tok_decode(t, (int32_t[]){ 256 }, 1, false, &out, &e), ERR_USAGE);
    assert_int_equal(tok_piece(t, -1, &out, &e), ERR_USAGE);
    assert_non_null(strstr(e.msg, "-1"));
    tok_close(t);
    tok_close(NULL);
    vocab_fini(&v);
    make_vocab(&v, VOCAB_SPM, spm_rows, ARRAY_LEN(spm_rows));
    v.kind[4] = TOKEN_BYTE;
    check_refused(&v, ERR_FORMAT, "ab");
    v.kind[4] = TOKEN_NORMAL;
    v.score[4] = NAN;
    check_refused(&v, ERR_FORMAT, "score");
    vocab_fini(&v);
    buf_fini(&out);
}

static void note_line(void *user, enum log_level level, const char *line) {
    if (level == LOG_WARN) snprintf(user, 200, "%s", line);
}

static void unknown_rule_warns(void **state) {
    (void)state;
    struct vocab v;
    struct tok *t;
    struct err e = { 0 };
    char line[200] = "";
    make_bytes(&v, NULL, 0, 0);
    strcpy(v.pre, "no-such-rule");
    log_set(note_line, line);
    assert_ok(tok_open(&v, &t, &e), &e);
    log_set(NULL, NULL);
    assert_non_null(strstr(line, "no-such-rule"));
    tok_close(t);
    vocab_fini(&v);
}

static void same_vocabularies(void **state) {
    (void)state;
    struct vocab a, b;
    char why[100];
    make_bytes(&a, NULL, 0, 1);
    make_bytes(&b, NULL, 0, 1);
    a.piece[256] = b.piece[256] = STR("<x>");
    a.kind[256] = b.kind[256] = TOKEN_USER;
    assert_true(vocab_same(&a, &b, why, sizeof(why)));
    b.piece[256] = STR("<y>");
    assert_false(vocab_same(&a, &b, why, sizeof(why)));
    assert_non_null(strstr(why, "<y>"));
    b.piece[256] = STR("<x>");
    b.kind[256] = TOKEN_CONTROL;
    assert_false(vocab_same(&a, &b, NULL, 0));
    b.kind[256] = TOKEN_USER;
    b.bos = 3;
    assert_false(vocab_same(&a, &b, NULL, 0));
    b.bos = -1;
    b.n--;
    assert_false(vocab_same(&a, &b, why, sizeof(why)));
    assert_non_null(strstr(why, "257"));
    vocab_fini(&a);
    vocab_fini(&b);
    vocab_fini(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alphabet_is_gpt2s),
        cmocka_unit_test(broken_bytes_become_replacements),
        cmocka_unit_test(nfc_is_unicodes),
        cmocka_unit_test(nfc_is_utf8procs),
        cmocka_unit_test(many_marks),
        cmocka_unit_test(merges_follow_the_definition),
        cmocka_unit_test(rules_cut_words),
        cmocka_unit_test(rules_agree_with_regex),
        cmocka_unit_test(words_are_the_text),
        cmocka_unit_test(rules_are_found),
        cmocka_unit_test(spm_rules),
        cmocka_unit_test(spm_merges_across_spaces),
        cmocka_unit_test(unigram_rules),
        cmocka_unit_test(longest_replacement_counts),
        cmocka_unit_test(many_stretches),
        cmocka_unit_test(bpe_rules),
        cmocka_unit_test(bytes_survive),
        cmocka_unit_test(long_words_end),
        cmocka_unit_test(stream_holds_characters_together),
        cmocka_unit_test(wrong_input_is_refused),
        cmocka_unit_test(unknown_rule_warns),
        cmocka_unit_test(same_vocabularies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
