/* The pool runs every piece exactly once, whatever the number of threads. Built with -Db_sanitize=thread it also shows
 * that workers see the job and the caller sees the results without a race: all shared data below is plain. */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/cpu.h"
#include "base/mem.h"
#include "base/pool.h"

enum { MAX_N = 10000, MAX_THREADS = 9 };

struct job {
    size_t n, grain;
    unsigned n_threads;
    unsigned visits[MAX_N];
    uint64_t sum[MAX_THREADS][8]; /* one cache line a thread */
};

static void visit(void *arg, size_t begin, size_t end, unsigned thread) {
    struct job *j = arg;
    /* cmocka's asserts belong to the main thread: a wrong piece shows as a wrong count. */
    if (thread >= j->n_threads || begin % j->grain || (end - begin != j->grain && end != j->n)) return;
    for (size_t i = begin; i < end; i++) {
        j->visits[i]++;
        j->sum[thread][0] += i;
    }
}

static void every_index_is_visited_once(void **state) {
    (void)state;
    static const size_t ns[] = { 0, 1, 2, 7, 64, 1000, MAX_N }, grains[] = { 1, 3, 64, 9999, 20000 };
    struct job *j = NEW(struct job);
    for (unsigned threads = 0; threads <= 4; threads++) {
        struct pool *p = NULL; /* with 0: the caller alone */
        if (threads) assert_int_equal(pool_open(threads, &p, NULL), ERR_NONE);
        assert_int_equal(pool_size(p), threads ? threads : 1);
        for (size_t c = 0; c < ARRAY_LEN(ns) * ARRAY_LEN(grains); c++) {
            size_t n = ns[c / ARRAY_LEN(grains)], grain = grains[c % ARRAY_LEN(grains)];
            *j = (struct job){ .n = n, .grain = grain, .n_threads = pool_size(p) };
            pool_run(p, j->n, j->grain, visit, j);
            uint64_t sum = 0;
            for (unsigned t = 0; t < MAX_THREADS; t++) sum += j->sum[t][0];
            assert_true(sum == (j->n ? j->n * (j->n - 1) / 2 : 0));
            for (size_t i = 0; i < MAX_N; i++) assert_int_equal(j->visits[i], i < j->n);
        }
        pool_close(p);
    }
    mem_free(j);
}

static void add_one(void *arg, size_t begin, size_t end, unsigned thread) {
    (void)thread;
    uint32_t *counts = arg;
    for (size_t i = begin; i < end; i++) counts[i * 16]++;
}

/* Each call's pieces read what the call before wrote, on whichever thread. */
static void many_tiny_loops(void **state) {
    (void)state;
    enum { CALLS = 10000, PIECES = 5 };
    static uint32_t counts[PIECES * 16];
    for (unsigned threads = 1; threads <= 4; threads++) {
        struct pool *p;
        memset(counts, 0, sizeof(counts));
        assert_int_equal(pool_open(threads, &p, NULL), ERR_NONE);
        for (int i = 0; i < CALLS; i++) {
            pool_run(p, PIECES, 1, add_one, counts);
            assert_int_equal(counts[(i % PIECES) * 16], i + 1);
        }
        for (int k = 0; k < PIECES; k++) assert_int_equal(counts[k * 16], CALLS);
        pool_close(p);
    }
}

static void nap(long ns) {
    nanosleep(&(struct timespec){ 0, ns }, NULL);
}

static void add_slowly(void *arg, size_t begin, size_t end, unsigned thread) {
    if (thread) nap(300000);
    add_one(arg, begin, end, thread);
}

/* Workers that fell asleep are woken, and a caller that fell asleep waiting for a slow worker is woken too. */
static void sleepers_wake(void **state) {
    (void)state;
    enum { CALLS = 200, PIECES = 8 };
    static uint32_t counts[PIECES * 16];
    struct pool *p;
    assert_int_equal(pool_open(4, &p, NULL), ERR_NONE);
    for (int i = 0; i < CALLS; i++) {
        if (i % 4 == 0) nap(500000);
        pool_run(p, PIECES, 1, add_slowly, counts);
        for (int k = 0; k < PIECES; k++) assert_int_equal(counts[k * 16], i + 1);
    }
    pool_close(p);
}

static void two_pools_at_once(void **state) {
    (void)state;
    static uint32_t a[100 * 16], b[100 * 16];
    struct pool *p, *q;
    assert_int_equal(pool_open(3, &p, NULL), ERR_NONE);
    assert_int_equal(pool_open(2, &q, NULL), ERR_NONE);
    for (int i = 0; i < 100; i++) {
        pool_run(p, 100, 7, add_one, a);
        pool_run(q, 100, 3, add_one, b);
    }
    pool_close(p);
    pool_run(q, 100, 0, add_one, b); /* grain 0 counts as 1 */
    pool_close(q);
    for (int i = 0; i < 100; i++) assert_true(a[i * 16] == 100 && b[i * 16] == 101);
}

static void sizes_are_checked(void **state) {
    (void)state;
    struct pool *p;
    struct err e;
    assert_int_equal(pool_open(0, &p, NULL), ERR_NONE);
    assert_true(pool_size(p) >= 1);
    pool_close(p);
    assert_int_equal(pool_open(1000000, &p, &e), ERR_USAGE);
    assert_null(p);
    pool_close(NULL);
}

/* --- Binding: what the system says of each thread --- */

struct masks { cpu_set_t of[MAX_THREADS]; unsigned n; atomic_uint arrived; };

/* One piece a thread: none goes on before all threads have one. */
static void note_mask(void *arg, size_t begin, size_t end, unsigned thread) {
    struct masks *m = arg;
    (void)begin, (void)end;
    sched_getaffinity(0, sizeof(cpu_set_t), &m->of[thread]);
    atomic_fetch_add(&m->arrived, 1);
    while (atomic_load(&m->arrived) < m->n) nap(100000);
}

static void masks_of_pool(struct masks *m, bool bind, unsigned n_threads) {
    struct pool *p;
    *m = (struct masks){ .n = n_threads };
    pool_bind(bind);
    assert_int_equal(pool_open(n_threads, &p, NULL), ERR_NONE);
    pool_run(p, n_threads, 1, note_mask, m);
    pool_close(p);
    pool_bind(false);
}

/* All threads may run wherever the process may. */
static bool are_free(const struct masks *m, const cpu_set_t *whole) {
    for (unsigned t = 0; t < m->n; t++)
        if (!CPU_EQUAL(&m->of[t], whole)) return false;
    return true;
}

/* Each worker has a part of it that no other has, and something is left for the caller, who may go anywhere. */
static bool are_apart(const struct masks *m, const cpu_set_t *whole) {
    cpu_set_t seen, both;
    CPU_ZERO(&seen);
    for (unsigned t = 1; t < m->n; t++) {
        CPU_AND(&both, &m->of[t], whole);
        if (!CPU_COUNT(&both) || !CPU_EQUAL(&both, &m->of[t])) return false;
        CPU_AND(&both, &m->of[t], &seen);
        if (CPU_COUNT(&both)) return false;
        CPU_OR(&seen, &seen, &m->of[t]);
    }
    return CPU_EQUAL(&m->of[0], whole) && CPU_COUNT(&seen) < CPU_COUNT(whole);
}

static void workers_stay_on_cores_of_their_own(void **state) {
    (void)state;
    cpu_set_t whole;
    struct masks m;
    unsigned places = cpu_places();
    sched_getaffinity(0, sizeof(whole), &whole);
    if (places < 2 || places > MAX_THREADS - 1) skip();
    assert_true(cpu_place() < places);
    for (unsigned n = 2; n <= places; n++) {
        masks_of_pool(&m, true, n);
        assert_true(are_apart(&m, &whole));
        masks_of_pool(&m, false, n);
        assert_true(are_free(&m, &whole));
    }
    masks_of_pool(&m, true, places + 1);
    assert_true(are_free(&m, &whole));
}

/* The program started anew, on one processor: a process keeps what it learns of the machine first. */
static int run_masked(void) {
    cpu_set_t one;
    struct masks m;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    if (sched_setaffinity(0, sizeof(one), &one)) return 1;
    if (cpu_physical_cores() != 1 || cpu_places() != 1 || cpu_place() != 0) return 2;
    masks_of_pool(&m, true, 2);
    return are_free(&m, &one) ? 0 : 3;
}

static void a_mask_is_respected(void **state) {
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        execl("/proc/self/exe", "test_pool", "masked", (char *)NULL);
        _exit(4);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "masked")) return run_masked();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_index_is_visited_once),
        cmocka_unit_test(many_tiny_loops),
        cmocka_unit_test(sleepers_wake),
        cmocka_unit_test(two_pools_at_once),
        cmocka_unit_test(sizes_are_checked),
        cmocka_unit_test(workers_stay_on_cores_of_their_own),
        cmocka_unit_test(a_mask_is_respected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
