/* What quantizing keeps in memory: a few blocks, never the model. Models of 2 and 8 blocks, whose blocks are most of
 * them, are measured and written by processes of their own, whose peaks must not differ by even one block. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include "format_files.h"
#include "quant/job.h"
#include "random_model.h"

enum { N_EMBD = 320, N_FF = 960, FEW = 2, MANY = 8 };
/* Two matrices of n_embd squared, two of half of that, three of the feed-forward; two bytes a weight. */
enum { BLOCK_BYTES = 2 * (3 * N_EMBD * N_EMBD + 3 * N_EMBD * N_FF) };

static const char *model_path(uint32_t n_layer) {
    char name[32];
    snprintf(name, sizeof name, "%u.gguf", n_layer);
    return scratch(name);
}

static void make_model(uint32_t n_layer) {
    const struct random_shape shape = { N_EMBD, 10, 5, 64, n_layer, N_FF, 64 };
    random_model(model_path(n_layer), &shape, 1, "", 0);
}

/* This program as a job: MODEL OUT TEXT. */
static int be_job(char **arg) {
    struct job_desc d = { .model = arg[0], .out = arg[1], .target = JOB_BPW, .bits_per_weight = 5,
                          .calib = { arg[2], 2, 8 }, .threads = 2 };
    struct job_result r;
    enum err_code rc = job_run(&d, &r, NULL);
    job_result_fini(&r);
    return (int)rc;
}

static uint64_t peak_of(uint32_t n_layer) {
    struct rusage used;
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        execl("/proc/self/exe", "test_memory", model_path(n_layer), scratch("out.gguf"), scratch("ids.json"), NULL);
        _exit(127);
    }
    assert_int_equal(wait4(pid, &status, 0, &used), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_true(os_exists(scratch("out.gguf")));
    unlink(scratch("out.gguf"));
    return (uint64_t)used.ru_maxrss * 1024;
}

static void peak_does_not_grow_with_blocks(void **state) {
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    printf("a sanitizer keeps memory that was freed\n");
    skip();
#endif
    write_bytes(scratch("ids.json"), "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16]",
                79);
    make_model(FEW);
    make_model(MANY);
    uint64_t few = peak_of(FEW), many = peak_of(MANY);
    printf("%d blocks: %.1f MB, %d blocks: %.1f MB, a block: %.1f MB\n", (int)FEW, (double)few / 1e6, (int)MANY,
           (double)many / 1e6, BLOCK_BYTES / 1e6);
    assert_true(many < few + BLOCK_BYTES);
}

int main(int argc, char **argv) {
    if (argc == 4) return be_job(argv + 1);
    const struct CMUnitTest tests[] = { cmocka_unit_test(peak_does_not_grow_with_blocks) };
    return cmocka_run_group_tests_name("memory", tests, scratch_make, scratch_remove);
}
