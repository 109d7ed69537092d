/* System calls: reading, listing, and that files are written whole or not at all. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/os.h"

static char dir[] = "/tmp/snug-os-XXXXXX";

static const char *at(const char *name) {
    static char path[4][200];
    static unsigned turn;
    char *p = path[turn++ % 4];
    snprintf(p, sizeof(path[0]), "%s/%s", dir, name);
    return p;
}

static void expect_file(const char *path, const char *text) {
    char *data;
    size_t n;
    assert_int_equal(os_read_file(path, 1 << 20, &data, &n, NULL), ERR_NONE);
    assert_int_equal(n, strlen(text));
    assert_string_equal(data, text);
    mem_free(data);
}

static void refusals_name_the_path(void **state) {
    (void)state;
    struct os_map m;
    struct err e;
    char *data, text[700];
    size_t n;
    assert_int_equal(os_map_open(at("absent"), &m, &e), ERR_NOT_FOUND);
    err_format(&e, text, sizeof(text));
    assert_non_null(strstr(text, at("absent")));
    assert_int_equal(os_map_open(dir, &m, &e), ERR_USAGE);
    err_format(&e, text, sizeof(text));
    assert_true(strstr(text, dir) && strstr(text, "is a directory"));
    assert_int_equal(os_map_open("/dev/null", &m, &e), ERR_USAGE);
    assert_int_equal(mkfifo(at("pipe"), 0600), 0);
    assert_int_equal(os_map_open(at("pipe"), &m, &e), ERR_USAGE);
    unlink(at("pipe"));
    assert_int_equal(os_read_file(dir, 100, &data, &n, &e), ERR_USAGE);
    assert_int_equal(os_read_file(at("absent"), 100, &data, &n, &e), ERR_NOT_FOUND);
}

static void files_are_mapped_and_read(void **state) {
    (void)state;
    enum { N = 300001 };
    char *bytes = mem_alloc(N, 1);
    for (int i = 0; i < N; i++) bytes[i] = (char)(i * 7 + (i >> 8));
    assert_int_equal(os_write_file(at("data"), bytes, N, NULL), ERR_NONE);
    struct os_map m;
    assert_int_equal(os_map_open(at("data"), &m, NULL), ERR_NONE);
    assert_int_equal(m.n, N);
    for (int advice = OS_SEQUENTIAL; advice <= OS_DONTNEED; advice++) os_advise(m.p + 5, N - 9, advice);
    assert_memory_equal(m.p, bytes, N);
    os_map_close(&m);
    assert_null(m.p);
    os_map_close(&m);
    char *data;
    size_t n;
    struct err e;
    assert_int_equal(os_read_file(at("data"), N, &data, &n, &e), ERR_NONE);
    assert_int_equal(n, N);
    assert_memory_equal(data, bytes, N);
    assert_int_equal(data[n], 0);
    mem_free(data);
    assert_int_equal(os_read_file(at("data"), N - 1, &data, &n, &e), ERR_TOO_LARGE);
    mem_free(bytes);
    /* Files of the kernel claim to be empty. */
    assert_int_equal(os_read_file("/proc/self/status", 1 << 20, &data, &n, &e), ERR_NONE);
    assert_true(n > 100 && strlen(data) == n);
    mem_free(data);
    assert_int_equal(os_read_file("/proc/self/status", 10, &data, &n, &e), ERR_TOO_LARGE);
    assert_int_equal(os_write_file(at("empty"), "", 0, NULL), ERR_NONE);
    assert_int_equal(os_map_open(at("empty"), &m, NULL), ERR_NONE);
    assert_int_equal(m.n, 0);
    os_map_close(&m);
    expect_file(at("empty"), "");
    unlink(at("data"));
    unlink(at("empty"));
}

static void directories_are_listed_in_order(void **state) {
    (void)state;
    static const char *const made[] = { "b", "a", "c.gguf", "B" }, *const sorted[] = { "B", "a", "b", "c.gguf" };
    char **names;
    size_t n;
    struct err e;
    char *sub = os_path_join(dir, "sub"), *slash = os_path_join("d/", "x"), *bare = os_path_join("", "x");
    assert_true(!strcmp(slash, "d/x") && !strcmp(bare, "x"));
    assert_int_equal(os_make_dir(sub, &e), ERR_NONE);
    assert_int_equal(os_make_dir(sub, &e), ERR_NONE);
    assert_true(os_is_dir(sub) && os_exists(sub) && !os_exists(at("sub2")));
    assert_int_equal(os_list_dir(sub, &names, &n, &e), ERR_NONE);
    assert_int_equal(n, 0);
    mem_free(names);
    for (size_t i = 0; i < ARRAY_LEN(made); i++) {
        char *path = os_path_join(sub, made[i]);
        assert_int_equal(os_write_file(path, "x", 1, &e), ERR_NONE);
        assert_false(os_is_dir(path));
        mem_free(path);
    }
    assert_int_equal(os_list_dir(sub, &names, &n, &e), ERR_NONE);
    assert_int_equal(n, ARRAY_LEN(sorted));
    for (size_t i = 0; i < n; i++) {
        assert_string_equal(names[i], sorted[i]);
        char *path = os_path_join(sub, names[i]);
        assert_int_equal(os_make_dir(path, &e), ERR_EXISTS);
        unlink(path);
        mem_free(path);
        mem_free(names[i]);
    }
    mem_free(names);
    rmdir(sub);
    assert_int_equal(os_list_dir(sub, &names, &n, &e), ERR_NOT_FOUND);
    mem_free(sub);
    mem_free(slash);
    mem_free(bare);
}

static void output_appears_on_commit_only(void **state) {
    (void)state;
    struct os_out o;
    struct err e;
    assert_int_equal(os_write_file(at("out"), "old", 3, &e), ERR_NONE);
    assert_int_equal(os_out_open(&o, at("out"), false, 0, &e), ERR_NONE);
    assert_int_equal(os_out_write(&o, "new ", 4, &e), ERR_NONE);
    assert_int_equal(os_out_sync(&o, &e), ERR_NONE);
    assert_int_equal(os_out_write(&o, "text", 4, &e), ERR_NONE);
    assert_int_equal(o.n, 8);
    expect_file(at("out"), "old");
    assert_int_equal(os_out_commit(&o, &e), ERR_NONE);
    os_out_abandon(&o, false);
    expect_file(at("out"), "new text");
    assert_false(os_exists(at("out.part")));

    assert_int_equal(os_out_open(&o, at("out"), false, 0, &e), ERR_NONE);
    assert_int_equal(os_out_write(&o, "junk", 4, &e), ERR_NONE);
    os_out_abandon(&o, false);
    expect_file(at("out"), "new text");
    assert_false(os_exists(at("out.part")));
    unlink(at("out"));
    struct os_out never = { 0 };
    os_out_abandon(&never, false);
}

static void killed_output_resumes(void **state) {
    (void)state;
    struct os_out o;
    struct err e;
    /* A child writes, syncs and dies without a chance to clean up. */
    pid_t child = fork();
    if (child == 0) {
        if (os_out_open(&o, at("long"), false, 0, &e) || os_out_write(&o, "0123456789", 10, &e)) _exit(1);
        _exit(os_out_sync(&o, &e) != ERR_NONE);
    }
    int status;
    assert_true(waitpid(child, &status, 0) == child && status == 0);
    assert_false(os_exists(at("long")));
    expect_file(at("long.part"), "0123456789");

    assert_int_equal(os_out_open(&o, at("long"), true, 11, &e), ERR_FORMAT);
    expect_file(at("long.part"), "0123456789");
    assert_int_equal(os_out_open(&o, at("long"), true, 6, &e), ERR_NONE);
    assert_int_equal(o.n, 6);
    assert_int_equal(os_out_write(&o, "abc", 3, &e), ERR_NONE);
    os_out_abandon(&o, true);
    expect_file(at("long.part"), "012345abc");
    assert_int_equal(os_out_open(&o, at("long"), true, 9, &e), ERR_NONE);
    assert_int_equal(os_out_write(&o, "!", 1, &e), ERR_NONE);
    assert_int_equal(os_out_commit(&o, &e), ERR_NONE);
    expect_file(at("long"), "012345abc!");
    unlink(at("long"));
    /* Nothing to resume: from the start it is a new file, from elsewhere an error. */
    assert_int_equal(os_out_open(&o, at("long"), true, 1, &e), ERR_NOT_FOUND);
    assert_false(os_exists(at("long.part")));
    assert_int_equal(os_out_open(&o, at("long"), true, 0, &e), ERR_NONE);
    os_out_abandon(&o, false);
}

static void output_refuses_what_it_cannot_replace(void **state) {
    (void)state;
    struct os_out o, second;
    struct err e;
    assert_int_equal(os_out_open(&o, dir, false, 0, &e), ERR_USAGE);
    assert_int_equal(os_out_open(&o, "/dev/null", false, 0, &e), ERR_USAGE);
    assert_int_equal(os_out_open(&o, at("no/such/dir"), false, 0, &e), ERR_NOT_FOUND);
    assert_int_equal(os_out_open(&o, at("one"), false, 0, &e), ERR_NONE);
    assert_int_equal(os_out_write(&o, "mine", 4, &e), ERR_NONE);
    assert_int_equal(os_out_open(&second, at("one"), false, 0, &e), ERR_EXISTS);
    assert_int_equal(os_out_commit(&o, &e), ERR_NONE);
    expect_file(at("one"), "mine");
    unlink(at("one"));
}

/* Linux's own device that is always full. */
static void full_disk_is_reported(void **state) {
    (void)state;
    struct os_out o;
    struct err e;
    assert_int_equal(os_out_open(&o, at("big"), false, 0, &e), ERR_NONE);
    int full = open("/dev/full", O_WRONLY);
    assert_true(full >= 0 && dup2(full, o.fd) >= 0);
    close(full);
    enum err_code rc = ERR_NONE;
    for (int i = 0; i < 100 && !rc; i++) rc = os_out_write(&o, dir, sizeof(dir), &e);
    if (!rc) rc = os_out_commit(&o, &e);
    assert_int_equal(rc, ERR_NO_SPACE);
    assert_non_null(strstr(e.where, at("big")));
    os_out_abandon(&o, false);
    assert_false(os_exists(at("big")) || os_exists(at("big.part")));
}

static void newer_files_are_told(void **state) {
    (void)state;
    const struct timespec old[2] = { { 1000, 5 }, { 1000, 5 } }, later[2] = { { 1000, 6 }, { 1000, 6 } };
    assert_int_equal(os_write_file(at("n1"), "1", 1, NULL), ERR_NONE);
    assert_int_equal(os_write_file(at("n2"), "2", 1, NULL), ERR_NONE);
    assert_int_equal(utimensat(AT_FDCWD, at("n1"), old, 0), 0);
    assert_true(os_is_newer(at("n2"), at("n1")) && !os_is_newer(at("n1"), at("n2")));
    assert_int_equal(utimensat(AT_FDCWD, at("n2"), later, 0), 0);
    assert_true(os_is_newer(at("n2"), at("n1")) && !os_is_newer(at("n1"), at("n2")));
    assert_int_equal(utimensat(AT_FDCWD, at("n2"), old, 0), 0);
    assert_false(os_is_newer(at("n2"), at("n1")) || os_is_newer(at("n1"), at("n2")));
    unlink(at("n2"));
    assert_false(os_is_newer(at("n2"), at("n1")) || os_is_newer(at("n1"), at("n2")));
    unlink(at("n1"));
}

/* A part is stale when it is there and nobody writes it. */
static void stale_parts_are_told(void **state) {
    (void)state;
    struct os_out o;
    assert_false(os_out_is_stale(at("s")));
    assert_int_equal(os_out_open(&o, at("s"), false, 0, NULL), ERR_NONE);
    assert_false(os_out_is_stale(at("s")));
    os_out_abandon(&o, true);
    assert_true(os_out_is_stale(at("s")));
    assert_int_equal(os_rename(at("s.part"), at("t"), NULL), ERR_NONE);
    assert_true(os_exists(at("t")) && !os_out_is_stale(at("s")));
    struct err e = { 0 };
    assert_int_equal(os_rename(at("s.part"), at("u"), &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.where, at("u")));
    unlink(at("t"));
}

static void machine_is_described(void **state) {
    (void)state;
    uint64_t before = os_now_ns(), bytes = 0;
    assert_true(os_total_memory() > 64 << 20);
    assert_true(os_free_memory() > 0 && os_free_memory() <= os_total_memory());
    assert_true(os_cpu_quota() >= 0);
    assert_true(os_random_u64() != os_random_u64());
    assert_int_equal(os_free_disk(at("not-there-yet"), &bytes, NULL), ERR_NONE);
    assert_true(bytes > 0);
    assert_int_equal(os_free_disk(at("no/such/dir"), &bytes, NULL), ERR_NOT_FOUND);
    assert_true(os_now_ns() >= before);
}

/* A large zeroed block costs memory when it is touched, not before. */
static void large_blocks_are_lazy(void **state) {
    (void)state;
    const size_t size = 256 << 20;
    uint64_t start = os_rss();
    char *p = mem_calloc(size, 1);
    assert_non_null(p);
    uint64_t untouched = os_rss();
    memset(p, 1, size);
    uint64_t touched = os_rss();
    mem_free(p);
    assert_true(untouched < start + size / 4);
    assert_true(touched > start + size / 2);
    assert_true(os_peak_rss() > start + size / 2);
}

static int make_dir(void **state) {
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state) {
    (void)state;
    return rmdir(dir); /* fails if a test left something */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refusals_name_the_path),
        cmocka_unit_test(files_are_mapped_and_read),
        cmocka_unit_test(directories_are_listed_in_order),
        cmocka_unit_test(output_appears_on_commit_only),
        cmocka_unit_test(killed_output_resumes),
        cmocka_unit_test(output_refuses_what_it_cannot_replace),
        cmocka_unit_test(full_disk_is_reported),
        cmocka_unit_test(newer_files_are_told), cmocka_unit_test(stale_parts_are_told),
        cmocka_unit_test(machine_is_described),
        cmocka_unit_test(large_blocks_are_lazy),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
