/* Perplexity of the small model, and of files that llama.cpp made of it, against what llama-perplexity says for the
 * same text (baseline.json beside the models): 60 windows of 512 tokens, the second half of each scored, BOS in front.
 *
 * 0.2 %: llama.cpp rounds activations to 8 bits, as we do without --exact; what differs is the order of sums and the
 * unit in which activations are rounded. A wrong score (a window shifted by one token, a half too many) is several
 * percent away; without BOS only IQ2_XXS is, by 0.25 %, so that test_score looks at the windows themselves.
 *
 * Also of Gemma 3 270M (windows, two rotary bases, a vocabulary of 262144), whose terms keep it out of the repository:
 * SNUG_GEMMA3 names its public Q4_K_M file of 253113024 bytes. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "../assert_ok.h"
#include "base/os.h"
#include "runtime/score.h"

enum { CHUNKS = 60, CTX = 512 };

static char shared[400];

/* A text in shared/text and how many of its first windows are scored. */
struct sample { const char *name; uint32_t n_ctx; size_t chunks; };

static double perplexity_of(const char *model, bool exact, const struct sample *sample) {
    char path[600];
    struct engine *en;
    struct err e;
    struct str text = { 0 };
    char *bytes;
    assert_ok(engine_open(model, &(struct engine_options){ .exact = exact }, &en, &e), &e);
    snprintf(path, sizeof path, "%s/text/%s", shared, sample->name);
    assert_ok(os_read_file(path, 1 << 24, &bytes, &text.n, &e), &e);
    text.p = bytes;
    int32_t *ids, *cut;
    size_t n;
    assert_ok(tok_encode(en->tok, text, TOK_ADD_SPECIAL, &ids, &n, &e), &e);
    struct windows w = { .n_ctx = sample->n_ctx, .n_vocab = en->model->hp.n_vocab };
    assert_ok(windows_cut(ids, n, sample->n_ctx, sample->chunks, en->vocab.bos, &cut, &w.n_windows, &e), &e);
    w.ids = cut;
    assert_int_equal(w.n_windows, sample->chunks);
    struct model_source source;
    assert_ok(model_source_open(&source, en, &w, &e), &e);
    struct score_result r;
    const struct score_desc desc = { .windows = &w, .model = model_source_rows, .model_user = &source };
    assert_ok(score_run(&desc, &r, &e), &e);
    assert_int_equal(r.tokens, sample->chunks * (sample->n_ctx / 2 - 1));
    model_source_close(&source);
    mem_free(cut);
    mem_free(ids);
    mem_free(bytes);
    engine_close(en);
    return r.ppl;
}

static double perplexity(const char *model, bool exact) {
    char path[600];
    snprintf(path, sizeof path, "%s/models/tiny%s", shared, model);
    return perplexity_of(path, exact, &(struct sample){ "tales-evaluation.txt", CTX, CHUNKS });
}

/* A field of the baseline's row of tiny with this recipe. */
static double expected(const json_t *baseline, const char *recipe, const char *field) {
    size_t i;
    const json_t *row;
    json_array_foreach(json_object_get(baseline, "rows"), i, row)
        if (!strcmp(json_string_value(json_object_get(row, "model")), "tiny") &&
            !strcmp(json_string_value(json_object_get(row, "recipe")), recipe))
            return json_number_value(json_object_get(row, field));
    fail_msg("the baseline has no row of %s", recipe);
    return 0;
}

static void compare(const char *model, bool exact, double want) {
    double got = perplexity(model, exact), off = 100 * fabs(got / want - 1);
    printf("%-24s%-8s %8.4f instead of %8.4f, %.3f %% away\n", *model ? model : "the model", exact ? " exact" : "",
           got, want, off);
    if (!(off <= 0.2)) fail_msg("%s: %.4f instead of %.4f", model, got, want);
}

/* llama.cpp's figure for the same weights in BF16, so that it rounds activations to no less. The model's windows are
 * half as long as the sample; without them the perplexity is 594. */
static void test_gemma3(void **state) {
    (void)state;
    const char *file = getenv("SNUG_GEMMA3"), *root = getenv("SNUG_SHARED");
    snprintf(shared, sizeof shared, "%s", root ? root : "");
    if (!file || !root) {
        printf("SNUG_GEMMA3 or SNUG_SHARED is not set: Gemma 3 270M is not scored, this test is skipped\n");
        skip();
    }
    double want = 18.98283, got = perplexity_of(file, true, &(struct sample){ "evaluation.txt", 1024, 1 });
    double off = 100 * fabs(got / want - 1);
    printf("Gemma 3 270M %8.4f instead of %8.4f, %.3f %% away\n", got, want, off);
    assert_true(off <= 0.2);
}

static void test_perplexities(void **state) {
    (void)state;
    static const char *const recipes[] = { "Q2_K", "Q3_K_M", "Q4_K_M", "Q5_K_M", "Q6_K", "IQ4_XS", "IQ3_S", "IQ3_XXS",
                                           "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M" };
    const char *root = getenv("SNUG_SHARED");
    snprintf(shared, sizeof shared, "%s", root ? root : "");
    char path[600];
    snprintf(path, sizeof path, "%s/models/baseline.json", shared);
    if (!root || !os_exists(path)) {
        printf("SNUG_SHARED has no models/baseline.json: the perplexities are not compared, this test is skipped\n");
        skip();
    }
    json_t *baseline = json_load_file(path, 0, NULL);
    assert_non_null(baseline);
    compare("", false, expected(baseline, "Q4_K_M", "ppl_base"));
    compare("", true, expected(baseline, "Q4_K_M", "ppl_base"));
    for (size_t i = 0; i < ARRAY_LEN(recipes); i++) {
        char file[64];
        snprintf(file, sizeof file, "/llamacpp/%s.gguf", recipes[i]);
        compare(file, false, expected(baseline, recipes[i], "ppl"));
    }
    compare("/llamacpp/Q4_K_M.gguf", true, expected(baseline, "Q4_K_M", "ppl"));
    json_decref(baseline);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_perplexities), cmocka_unit_test(test_gemma3) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
