/* A model on a device with memory of its own: everything is carried there, nothing is lent, the logits are the same. */
#include "far_device.h"
#include <stdlib.h>
#include "runtime/session.h"

enum { N = 40 };

static struct engine *open_tiny(const struct engine_options *o) {
    char dir[600];
    struct engine *en;
    struct err e;
    snprintf(dir, sizeof dir, "%s/models/tiny", getenv("SNUG_SOURCE"));
    if (engine_open(dir, o, &en, &e)) fail_msg("%s", e.msg);
    return en;
}

/* Logits after a prompt and after one more token, which finds the prompt in the cache. */
static float *logits_of(struct engine *en) {
    size_t n_vocab = en->model->hp.n_vocab;
    float *out = mem_alloc(2 * n_vocab, sizeof *out);
    int32_t ids[N];
    struct session *s;
    for (int i = 0; i < N; i++) ids[i] = 100 + i * 37 % 3900;
    assert_int_equal(session_open(en, &(struct pass_desc){ .n_ctx = N }, &s, NULL), ERR_NONE);
    assert_int_equal(session_eval(s, &(struct batch){ .n = N - 1, .ids = ids }, out, NULL), ERR_NONE);
    assert_int_equal(session_eval(s, &(struct batch){ .n = 1, .ids = ids + N - 1 }, out + n_vocab, NULL), ERR_NONE);
    session_close(s);
    return out;
}

static void test_same_logits_from_afar(void **state) {
    (void)state;
    bool closed = false;
    struct far *far = far_open();
    far->closed = &closed;
    struct engine *near_en = open_tiny(&(struct engine_options){ .backend = "ref", .exact = true });
    struct engine *en = open_tiny(&(struct engine_options){ .device = &far->base, .exact = true });
    float *want = logits_of(near_en), *got = logits_of(en);
    assert_memory_equal(got, want, 2 * en->model->hp.n_vocab * sizeof *want);
    mem_free(want);
    mem_free(got);
    engine_close(near_en);
    engine_close(en);
    assert_true(closed);
}

static void test_weights_are_carried(void **state) {
    (void)state;
    struct far *far = far_open();
    struct engine *en = open_tiny(&(struct engine_options){ .device = &far->base });
    uint64_t carried = 0, taken = 0;
    for (uint32_t i = 0; i < en->model->n_weights; i++) {
        const struct weight *w = &en->model->weights[i];
        uint64_t bytes = slot_info(w->slot)->matrix ? w->src->bytes : w->ne[0] * sizeof(float);
        carried += bytes;
        taken += (bytes + FAR_PADDING + 63) / 64 * 64;
    }
    assert_int_equal(far->uploaded, carried);
    assert_int_equal(far->allocated, taken);
    assert_int_equal(en->own_bytes, taken);
    assert_int_equal(en->mapped_bytes, 0);
    engine_close(en);
}

static void test_a_session_gives_back_its_memory(void **state) {
    (void)state;
    struct far *far = far_open();
    struct engine *en = open_tiny(&(struct engine_options){ .device = &far->base });
    unsigned before = far->buffers;
    float *logits = logits_of(en);
    assert_int_equal(far->buffers, before);
    assert_int_equal(far->downloaded, 2 * en->model->hp.n_vocab * sizeof *logits);
    mem_free(logits);
    engine_close(en);
}

/* The device belongs to the engine as soon as it is handed over. */
static void test_a_failed_opening_closes_the_device(void **state) {
    (void)state;
    bool closed = false;
    struct far *far = far_open();
    struct engine *en;
    far->closed = &closed;
    assert_int_not_equal(engine_open("no/such/model", &(struct engine_options){ .device = &far->base }, &en, NULL),
                         ERR_NONE);
    assert_null(en);
    assert_true(closed);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_logits_from_afar),
        cmocka_unit_test(test_weights_are_carried),
        cmocka_unit_test(test_a_session_gives_back_its_memory),
        cmocka_unit_test(test_a_failed_opening_closes_the_device),
    };
    return cmocka_run_group_tests_name("engine", tests, NULL, NULL);
}
