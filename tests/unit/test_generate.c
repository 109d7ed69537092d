/* The generation loop on the model that ships, greedily: what is given out, when, and why it ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/generate.h"

/* What the reference implementation (transformers, float, greedy) goes on with after "Once upon a time,". */
static const char prompt[] = "Once upon a time,";
static const char story[] = " there was a man who had a son called Jack, and he was a man, and";
enum { STORY_TOKENS = 18, CTX = 64 };

static struct engine *en;
static int32_t *prompt_ids;
static size_t n_prompt;

struct heard { char text[1000]; size_t n; unsigned calls, stop_after; size_t longest; unsigned before_text; };

static bool hear(void *user, const char *text, size_t n) {
    struct heard *h = user;
    assert_true(h->n + n < sizeof h->text);
    memcpy(h->text + h->n, text, n);
    h->n += n;
    h->text[h->n] = 0;
    h->calls++;
    if (!h->n) h->before_text = h->calls;
    if (n > h->longest) h->longest = n;
    return !h->stop_after || h->calls < h->stop_after;
}

static const struct sample_params greedy = { .temp = 0, .top_p = 1, .repeat_penalty = 1 };

static struct generate_desc story_of(int64_t max_tokens, struct heard *h) {
    return (struct generate_desc){ .prompt = prompt_ids, .n_prompt = n_prompt, .max_tokens = max_tokens,
                                   .sampling = &greedy,
                                   .on_text = hear, .user = h };
}

static struct generate_result run(const struct generate_desc *d, uint32_t n_ctx) {
    struct session *s;
    struct generate_result r;
    struct err e;
    assert_int_equal(session_open(en, &(struct pass_desc){ .n_ctx = n_ctx }, &s, NULL), ERR_NONE);
    if (generate(s, en, d, &r, &e)) fail_msg("%s", e.msg);
    session_close(s);
    return r;
}

/* Runs the story with stop texts; what was given out must be `want`, to the listener and in the result. */
static void expect_stop(const char *const *stop, size_t n_stop, const char *want, enum generate_stop why) {
    struct heard h = { 0 };
    struct generate_desc d = story_of(STORY_TOKENS, &h);
    d.stop = stop;
    d.n_stop = n_stop;
    struct generate_result r = run(&d, CTX);
    assert_int_equal(r.stop, why);
    assert_string_equal(h.text, want);
    assert_int_equal(r.text.n, strlen(want));
    assert_memory_equal(r.text.p ? r.text.p : "", want, r.text.n);
    generate_fini(&r);
}

static void test_length(void **state) {
    (void)state;
    struct heard h = { 0 };
    struct generate_desc d = story_of(STORY_TOKENS, &h);
    struct generate_result r = run(&d, CTX);
    assert_string_equal(h.text, story);
    assert_int_equal(r.n_tokens, STORY_TOKENS);
    assert_int_equal(r.stop, STOP_LENGTH);
    assert_true(h.longest < 12); /* streamed, not given at once */
    generate_fini(&r);
    h = (struct heard){ 0 };
    d.max_tokens = 1;
    r = run(&d, CTX);
    assert_string_equal(h.text, " there");
    assert_int_equal(r.n_tokens, 1);
    generate_fini(&r);
}

static void test_stop_texts(void **state) {
    (void)state;
    expect_stop((const char *const[]){ " called" }, 1, " there was a man who had a son", STOP_WORD);
    /* Over the borders of several tokens, and inside of one. */
    expect_stop((const char *const[]){ "an who had a so" }, 1, " there was a m", STOP_WORD);
    expect_stop((const char *const[]){ "er" }, 1, " th", STOP_WORD);
    expect_stop((const char *const[]){ " there was a man who had a son called Jack," }, 1, "", STOP_WORD);
    /* The one that begins first wins, whatever their order. */
    expect_stop((const char *const[]){ "Jack", "son", " was" }, 3, " there", STOP_WORD);
    /* An empty text is none. */
    expect_stop((const char *const[]){ "", "," }, 2, " there was a man who had a son called Jack", STOP_WORD);
}

static void test_held_back_text_is_released(void **state) {
    (void)state;
    /* Begins like the text again and again and never comes. */
    expect_stop((const char *const[]){ " a man who had a daughter" }, 1, story, STOP_LENGTH);
    /* The text ends while the stop text could still come. */
    expect_stop((const char *const[]){ ", and then" }, 1, story, STOP_LENGTH);
    expect_stop((const char *const[]){ "and he was a man, and she" }, 1, story, STOP_LENGTH);
}

static void test_context_end(void **state) {
    (void)state;
    struct heard h = { 0 };
    struct generate_desc d = story_of(-1, &h);
    /* Each token but the last one drawn takes a place. */
    struct generate_result r = run(&d, (uint32_t)n_prompt + 4);
    assert_int_equal(r.stop, STOP_CONTEXT);
    assert_int_equal(r.n_tokens, 5);
    assert_string_equal(h.text, " there was a man who");
    generate_fini(&r);
    h = (struct heard){ 0 };
    r = run(&d, (uint32_t)n_prompt);
    assert_int_equal(r.stop, STOP_CONTEXT);
    assert_string_equal(h.text, " there");
    generate_fini(&r);
}

static void test_prompt_longer_than_the_context(void **state) {
    (void)state;
    struct session *s;
    struct heard h = { 0 };
    struct generate_desc d = story_of(4, &h);
    struct generate_result r;
    struct err e;
    assert_int_equal(session_open(en, &(struct pass_desc){ .n_ctx = (uint32_t)n_prompt - 1 }, &s, NULL), ERR_NONE);
    assert_int_equal(generate(s, en, &d, &r, &e), ERR_TOO_LARGE);
    generate_fini(&r);
    d.n_prompt = 0;
    assert_int_equal(generate(s, en, &d, &r, &e), ERR_USAGE);
    generate_fini(&r);
    session_close(s);
    assert_int_equal(h.n, 0);
}

/* How often the listener is asked while the prompt is read. */
static unsigned prompt_calls(void) {
    struct heard h = { 0 };
    struct generate_desc d = story_of(1, &h);
    struct generate_result r = run(&d, CTX);
    generate_fini(&r);
    return h.before_text;
}

static void test_interruption(void **state) {
    (void)state;
    /* The listener says enough at its first text, and at each up to the eighth. What it heard is in the result. */
    unsigned asked = prompt_calls();
    assert_true(asked >= en->model->hp.n_layer);
    struct heard h = { 0 };
    struct generate_desc d = story_of(STORY_TOKENS, &h);
    d.on_text = hear;
    size_t before = 0;
    for (unsigned calls = 1; calls <= 8; calls++) {
        h = (struct heard){ .stop_after = asked + calls };
        struct generate_result r = run(&d, CTX);
        assert_int_equal(r.stop, STOP_INTERRUPTED);
        assert_int_equal(h.calls, asked + calls);
        assert_int_equal(r.text.n, h.n);
        assert_memory_equal(story, h.text, h.n);
        assert_true(r.n_tokens < STORY_TOKENS && h.n >= before);
        before = h.n;
        generate_fini(&r);
    }
    assert_true(before > 0);
}

static void test_interruption_while_text_is_held_back(void **state) {
    (void)state;
    /* Nothing is given out before the stop text is decided, yet the listener is asked after every token. */
    struct heard h = { .stop_after = prompt_calls() + 4 };
    struct generate_desc d = story_of(STORY_TOKENS, &h);
    d.stop = (const char *const[]){ " there was a man who had a son called Jill" };
    d.n_stop = 1;
    struct generate_result r = run(&d, CTX);
    assert_int_equal(r.stop, STOP_INTERRUPTED);
    assert_int_equal(h.n, 0);
    assert_int_equal(r.n_tokens, 4);
    generate_fini(&r);
}

static void test_interruption_of_the_prompt(void **state) {
    (void)state;
    /* A long prompt is read in batches; the listener is asked while they run. */
    enum { N = 1000 };
    int32_t ids[N];
    for (int i = 0; i < N; i++) ids[i] = 100 + i % 3000;
    struct heard h = { .stop_after = 1 };
    struct generate_desc d = story_of(4, &h);
    d.prompt = ids;
    d.n_prompt = N;
    struct generate_result r = run(&d, 1024);
    assert_int_equal(r.stop, STOP_INTERRUPTED);
    assert_int_equal(r.n_tokens, 0);
    assert_int_equal(h.n, 0);
    generate_fini(&r);
}

static int open_tiny(void **state) {
    (void)state;
    char dir[600];
    struct err e;
    snprintf(dir, sizeof dir, "%s/models/tiny", getenv("SNUG_SOURCE"));
    if (engine_open(dir, &(struct engine_options){ .threads = 2, .exact = true }, &en, &e) ||
        tok_encode(en->tok, (struct str){ prompt, strlen(prompt) }, TOK_ADD_SPECIAL, &prompt_ids, &n_prompt, &e)) {
        fprintf(stderr, "%s\n", e.msg);
        return -1;
    }
    return 0;
}

static int close_tiny(void **state) {
    (void)state;
    mem_free(prompt_ids);
    engine_close(en);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_length),
        cmocka_unit_test(test_stop_texts),
        cmocka_unit_test(test_held_back_text_is_released),
        cmocka_unit_test(test_context_end),
        cmocka_unit_test(test_prompt_longer_than_the_context),
        cmocka_unit_test(test_interruption),
        cmocka_unit_test(test_interruption_while_text_is_held_back),
        cmocka_unit_test(test_interruption_of_the_prompt),
    };
    return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
