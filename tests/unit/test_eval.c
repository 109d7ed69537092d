/* snug_eval on texts of several kinds: a conversation is scored as the text that it stands for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "snug.h"

static struct snug_eval_result eval(const char *content, const char *ending) {
    char path[64], model[600];
    struct snug_eval_result r;
    struct snug_error e;
    snprintf(path, sizeof path, "/tmp/snug-eval-XXXXXX%s", ending);
    int fd = mkstemps(path, (int)strlen(ending));
    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, strlen(content)), strlen(content));
    close(fd);
    snprintf(model, sizeof model, "%s/models/tiny", getenv("SNUG_SOURCE"));
    struct snug_eval_options o = { .model = model, .text_file = path, .n_ctx = 8,
                                   .open = { .threads = 1, .exact = true } };
    int rc = snug_eval(&o, &r, &e);
    remove(path);
    if (rc) fail_msg("%s", e.message);
    return r;
}

static void test_conversations(void **state) {
    (void)state;
    struct snug_eval_result plain = eval(
        "user: Where does the old fox live?\nassistant: Under the hill, with his wife.\n", ".txt");
    struct snug_eval_result chat = eval(
        "{\"messages\": [{\"role\": \"user\", \"content\": \"Where does the old fox live?\"},"
        " {\"role\": \"assistant\", \"content\": \"Under the hill, with his wife.\"}]}\n", ".jsonl");
    assert_true(plain.tokens > 0);
    assert_int_equal(chat.tokens, plain.tokens);
    assert_true(chat.ppl == plain.ppl);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_conversations) };
    return cmocka_run_group_tests_name("eval", tests, NULL, NULL);
}
