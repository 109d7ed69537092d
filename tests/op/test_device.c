/* What every host device promises besides arithmetic: buffers and their bounds, lent memory, and graphs that are
 * refused because a tensor is misplaced or of a type that cannot be run. */
#include "rig.h"

#include <string.h>

#include "base/cpu.h"

static const char *const names[] = { "ref", "cpu" };

static struct backend *open_device(const char *name) {
    struct backend *b;
    assert_int_equal(backend_open(name, &(struct backend_options){ .threads = 1 }, &b, NULL), ERR_NONE);
    return b;
}

static void unknown_names_are_refused(void **state) {
    (void)state;
    struct backend *b = (void *)1;
    struct err e = { 0 };
    assert_int_equal(backend_open("gpu", &(struct backend_options){ 0 }, &b, &e), ERR_USAGE);
    assert_null(b);
    assert_non_null(strstr(e.msg, "gpu"));
    backend_close(NULL);
}

static void info_says_host_memory(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct backend *b = open_device(names[i]);
        struct device_info info;
        b->ops->info(b, &info);
        assert_string_equal(info.kind, "cpu");
        assert_true(info.host_memory && info.memory_bytes > 0 && info.name[0]);
        backend_close(b);
    }
}

static void copies_stay_inside(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct backend *b = open_device(names[i]);
        uint32_t id, other, again;
        char text[8] = "abcdefg", back[8] = { 0 };
        assert_int_equal(backend_alloc(b, sizeof text, &id, NULL), ERR_NONE);
        assert_int_equal(backend_alloc(b, 0, &other, NULL), ERR_NONE);
        assert_true(id != 0 && other != 0 && id != other);
        assert_int_equal(backend_upload(b, id, 0, text, 8, NULL), ERR_NONE);
        assert_int_equal(backend_download(b, id, 3, back, 5, NULL), ERR_NONE);
        assert_string_equal(back, "defg");
        assert_int_equal(backend_upload(b, id, 8, text, 0, NULL), ERR_NONE);
        assert_int_equal(backend_upload(b, id, 1, text, 8, NULL), ERR_INTERNAL);
        assert_int_equal(backend_upload(b, id, UINT64_MAX, text, 8, NULL), ERR_INTERNAL); /* the sum wraps to 7 */
        assert_int_equal(backend_download(b, id, 8, back, 1, NULL), ERR_INTERNAL);
        assert_int_equal(backend_download(b, 0, 0, back, 1, NULL), ERR_INTERNAL);
        assert_int_equal(backend_download(b, 77, 0, back, 1, NULL), ERR_INTERNAL);
        backend_release(b, id);
        assert_int_equal(backend_download(b, id, 0, back, 1, NULL), ERR_INTERNAL);
        assert_int_equal(backend_alloc(b, 1, &again, NULL), ERR_NONE);
        assert_int_equal(again, id); /* a free number is used again */
        assert_int_equal(backend_alloc(b, UINT64_MAX, &again, NULL), ERR_NO_MEMORY);
        assert_int_equal(backend_wait(b, 5, NULL), ERR_INTERNAL);
        backend_release(b, 0);
        backend_close(b);
    }
}

static void lent_memory_is_read_only(void **state) {
    (void)state;
    static const char lent[] = "mapped file";
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct backend *b = open_device(names[i]);
        uint32_t id;
        char back[sizeof lent];
        assert_int_equal(backend_import(b, lent, sizeof lent, &id, NULL), ERR_NONE);
        assert_int_equal(backend_download(b, id, 0, back, sizeof lent, NULL), ERR_NONE);
        assert_string_equal(back, lent);
        assert_int_equal(backend_upload(b, id, 0, back, 1, NULL), ERR_INTERNAL);
        backend_close(b);
    }
}

/* a + b, with everything in one buffer. */
struct sum { struct graph *g; tensor_id a, b, out; };

static struct sum sum_of(uint32_t act, uint32_t io) {
    struct sum s = { .g = graph_new() };
    s.a = graph_input(s.g, "a", QTYPE_F32, (uint64_t[]){ 4 }, 1);
    s.b = graph_input(s.g, "b", QTYPE_F32, (uint64_t[]){ 4 }, 1);
    s.out = graph_add(s.g, s.a, s.b, 1);
    graph_output(s.g, s.out);
    assert_int_equal(graph_finish(s.g, NULL), ERR_NONE);
    graph_place(s.g, act, io);
    return s;
}

static void misplaced_tensors_are_refused(void **state) {
    (void)state;
    static const float lent[64];
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct backend *b = open_device(names[i]);
        uint32_t io, file;
        assert_int_equal(backend_alloc(b, 4096, &io, NULL), ERR_NONE);
        assert_int_equal(backend_import(b, lent, sizeof lent, &file, NULL), ERR_NONE);
        struct sum s = sum_of(io, io);
        struct tensor *a = &s.g->tensors[s.a], *out = &s.g->tensors[s.out];
        struct program *p;
        struct err e = { 0 };
        assert_int_equal(backend_compile(b, s.g, &p, &e), ERR_NONE);
        program_free(b, p);
        const struct place good = a->place, good_out = out->place;
        const struct { struct place at; const char *says; } bad[] = {
            { { 0, 0 }, "does not exist" },        { { 9, 0 }, "does not exist" },
            { { io, 4096 - 15 }, "leave" },        { { io, UINT64_MAX - 3 }, "leave" },
            { { io, good.off + 2 }, "multiple" },
        };
        for (size_t k = 0; k < ARRAY_LEN(bad); k++) {
            a->place = bad[k].at;
            assert_int_equal(backend_compile(b, s.g, &p, &e), ERR_INTERNAL);
            assert_null(p);
            assert_non_null(strstr(e.msg, bad[k].says));
            assert_non_null(strstr(e.msg, "a: "));
        }
        a->place = (struct place){ file, 0 }; /* reading lent memory is fine, writing is not */
        assert_int_equal(backend_compile(b, s.g, &p, &e), ERR_NONE);
        program_free(b, p);
        out->place = (struct place){ file, 0 };
        assert_int_equal(backend_compile(b, s.g, &p, &e), ERR_INTERNAL);
        assert_non_null(strstr(e.msg, "read-only"));
        out->place = good_out;
        a->place = good;
        a->type = QTYPE_F16; /* no device adds halves */
        assert_false(backend_supports(b, s.g, &s.g->ops[0]));
        assert_int_equal(backend_compile(b, s.g, &p, &e), ERR_UNSUPPORTED);
        assert_non_null(strstr(e.msg, "ADD"));
        program_free(b, NULL);
        graph_free(s.g);
        backend_close(b);
    }
}

static void weights_take_the_bytes_of_the_file(void **state) {
    (void)state;
    struct backend *b = open_device("cpu");
    assert_int_equal(backend_weight_bytes(b, QTYPE_Q4_K, (uint64_t[]){ 512, 3, 1, 1 }), 2 * 144 * 3);
    assert_int_equal(backend_weight_bytes(b, QTYPE_Q4_K, (uint64_t[]){ 500, 3, 1, 1 }), 0);
    assert_int_equal(backend_weight_bytes(b, QTYPE_NONE, (uint64_t[]){ 512, 3, 1, 1 }), 0);
    assert_int_equal(backend_weight_bytes(b, QTYPE_F32, (uint64_t[]){ 1u << 31, 1u << 31, 1u << 31, 1 }), 0);
    backend_close(b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unknown_names_are_refused),     cmocka_unit_test(info_says_host_memory),
        cmocka_unit_test(copies_stay_inside),            cmocka_unit_test(lent_memory_is_read_only),
        cmocka_unit_test(misplaced_tensors_are_refused), cmocka_unit_test(weights_take_the_bytes_of_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
