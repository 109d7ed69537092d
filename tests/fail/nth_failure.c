/* The n-th allocation fails, and the n-th call to the system, for every n of loading, generating, quantizing and
 * converting a small model: an error that says what happened, or (where the call can be made again or done without) the
 * very same result; no leak of memory, descriptors or mappings, no output that is not whole, and a run right after it
 * that succeeds.
 *
 * The linker puts this file's functions between the program and the C library (--wrap), so calls that other libraries
 * make are not counted. Arguments: "every", or the largest number of places to try in each scenario, spread evenly, and
 * a model's directory to take instead of the one that is made here. Quantizing that one takes seconds, so one run
 * serves all its allocations: where one is to fail the process forks, and the child has only to give up. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "../remove_all.h"
#include "../unit/hf_model.h"
#include "base/num.h"
#include "quant/hash.h"
#include "snug.h"

static int n_failed;

/* --- What fails --- */

enum call { CALL_ALLOC, CALL_READ, CALL_WRITE, CALL_OTHER, CALL_COUNT };
static const char *const call_names[] = { "allocation", "read", "write", "other call" };

/* How the chosen call goes wrong: with an errno, or SHORT, by doing a byte of its work. */
enum { SHORT = -1 };
static struct { enum call call; long at; int how; } chosen;
static atomic_long seen[CALL_COUNT], live_blocks, live_files, live_maps;

/* Of a run's n allocations `tries` fail, spread evenly, each in a child of its own. */
enum verdict { GAVE_UP, WENT_ON, WRONG };
static struct { long n, tries, begun, *went_on; size_t n_went_on; bool in_child; } forked;

static long place(long i, long n, long tries) { return 1 + i * n / tries; }

/* In the child, whether this is one. */
static bool fork_here(long n) {
    int status;
    forked.begun++;
    fflush(stdout);
    pid_t child = fork();
    if (!child) return forked.in_child = true;
    if (child < 0 || waitpid(child, &status, 0) < 0) abort();
    if (WIFEXITED(status) && WEXITSTATUS(status) == WENT_ON) forked.went_on[forked.n_went_on++] = n;
    else if (!WIFEXITED(status) || WEXITSTATUS(status) != GAVE_UP) n_failed++;
    if (WIFSIGNALED(status)) printf("allocation %ld ends with signal %d\n", n, WTERMSIG(status));
    return false;
}

/* A child that can do without its memory comes to where it would change the files that its parent is at work on: this
 * place is tried again by itself. */
static void end_child_that_goes_on(void) {
    if (forked.in_child) _exit(WENT_ON);
}

static bool fails(enum call call) {
    long n = atomic_fetch_add(&seen[call], 1) + 1;
    if (call == CALL_ALLOC && !forked.in_child && forked.begun < forked.tries &&
        n == place(forked.begun, forked.n, forked.tries))
        return fork_here(n);
    return n == chosen.at && call == chosen.call;
}

static bool refuse(enum call call) {
    if (!fails(call)) return false;
    errno = chosen.how;
    return true;
}

#define WRAP(result, name, ...) result __real_##name(__VA_ARGS__); result __wrap_##name(__VA_ARGS__)

WRAP(int, posix_memalign, void **p, size_t align, size_t n);
int __wrap_posix_memalign(void **p, size_t align, size_t n) {
    if (fails(CALL_ALLOC)) return ENOMEM;
    int failed = __real_posix_memalign(p, align, n);
    if (!failed) atomic_fetch_add(&live_blocks, 1);
    return failed;
}

WRAP(void, free, void *p);
void __wrap_free(void *p) {
    if (p) atomic_fetch_sub(&live_blocks, 1);
    __real_free(p);
}

/* What the kernel says of the machine in /proc and /sys is done without where it cannot be read: not counted. */
enum { MAX_FILES = 1024 };
static bool is_kernel_file[MAX_FILES];

WRAP(int, open64, const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (flags & O_CREAT) end_child_that_goes_on();
    bool kernel = !strncmp(path, "/proc/", 6) || !strncmp(path, "/sys/", 5);
    if (!kernel && refuse(CALL_OTHER)) return -1;
    int fd = __real_open64(path, flags, mode);
    if (fd >= 0) atomic_fetch_add(&live_files, 1);
    if (fd >= 0 && fd < MAX_FILES) is_kernel_file[fd] = kernel;
    return fd;
}

WRAP(int, close, int fd);
int __wrap_close(int fd) {
    atomic_fetch_sub(&live_files, 1);
    return __real_close(fd);
}

WRAP(ssize_t, read, int fd, void *p, size_t n);
ssize_t __wrap_read(int fd, void *p, size_t n) {
    if (is_kernel_file[fd] || !fails(CALL_READ)) return __real_read(fd, p, n);
    if (chosen.how == SHORT) return __real_read(fd, p, n < 1 ? n : 1);
    errno = chosen.how;
    return -1;
}

WRAP(ssize_t, write, int fd, const void *p, size_t n);
ssize_t __wrap_write(int fd, const void *p, size_t n) {
    if (forked.in_child) return (ssize_t)n; /* what a run that gives up keeps: the parent is to write it */
    if (!fails(CALL_WRITE)) return __real_write(fd, p, n);
    if (chosen.how == SHORT) return __real_write(fd, p, n < 1 ? n : 1);
    errno = chosen.how;
    return -1;
}

WRAP(void *, mmap64, void *at, size_t n, int prot, int flags, int fd, off_t off);
void *__wrap_mmap64(void *at, size_t n, int prot, int flags, int fd, off_t off) {
    if (refuse(CALL_OTHER)) return MAP_FAILED;
    void *p = __real_mmap64(at, n, prot, flags, fd, off);
    if (p != MAP_FAILED) atomic_fetch_add(&live_maps, 1);
    return p;
}

WRAP(int, munmap, void *p, size_t n);
int __wrap_munmap(void *p, size_t n) {
    atomic_fetch_sub(&live_maps, 1);
    return __real_munmap(p, n);
}

WRAP(int, fstat64, int fd, struct stat *st);
int __wrap_fstat64(int fd, struct stat *st) { return refuse(CALL_OTHER) ? -1 : __real_fstat64(fd, st); }
WRAP(int, ftruncate64, int fd, off_t n);
int __wrap_ftruncate64(int fd, off_t n) { return refuse(CALL_OTHER) ? -1 : __real_ftruncate64(fd, n); }
WRAP(off_t, lseek64, int fd, off_t off, int whence);
off_t __wrap_lseek64(int fd, off_t off, int whence) {
    return refuse(CALL_OTHER) ? -1 : __real_lseek64(fd, off, whence);
}
WRAP(int, rename, const char *from, const char *to);
int __wrap_rename(const char *from, const char *to) {
    end_child_that_goes_on();
    return refuse(CALL_OTHER) ? -1 : __real_rename(from, to);
}
WRAP(int, unlink, const char *path);
int __wrap_unlink(const char *path) { return forked.in_child ? 0 : __real_unlink(path); }
/* Nothing here outlives the machine: syncing thousands of times would only take time. */
WRAP(int, fsync, int fd);
int __wrap_fsync(int fd) {
    (void)fd;
    return refuse(CALL_OTHER) ? -1 : 0;
}

/* --- Places --- */

static char scratch[] = "/tmp/snug-nth-XXXXXX";
static struct { char dir[512], gguf[64], small[64], out[64], out_dir[64]; } at;

/* Everything but the models that are read. */
static void remove_outputs(void) {
    char **names;
    size_t n;
    if (os_list_dir(scratch, &names, &n, NULL)) abort();
    for (size_t i = 0; i < n; i++) {
        char *path = os_path_join(scratch, names[i]);
        if (strcmp(path, at.dir) && strcmp(path, at.gguf) && strcmp(path, at.small)) remove_all(path);
        mem_free(path);
        mem_free(names[i]);
    }
    mem_free(names);
}

static uint64_t hash_file(const char *path, uint64_t h) {
    char *data;
    size_t n;
    if (os_read_file(path, (size_t)1 << 30, &data, &n, NULL)) return 0;
    h = hash_bytes(h, data, n);
    mem_free(data);
    return h;
}

/* Of a file, or of all files of a directory; 0 if there is none. */
static uint64_t hash_output(const char *path) {
    char **names;
    size_t n;
    uint64_t h = HASH_START;
    if (!os_exists(path)) return 0;
    if (!os_is_dir(path)) return hash_file(path, h);
    if (os_list_dir(path, &names, &n, NULL)) abort();
    for (size_t i = 0; i < n; i++) {
        char *inner = os_path_join(path, names[i]);
        h = hash_file(inner, hash_bytes(h, names[i], strlen(names[i])));
        mem_free(inner);
        mem_free(names[i]);
    }
    mem_free(names);
    return h;
}

/* --- The work --- */

static const char prompt[] = "he hello he";

static int generate_from(const char *path, unsigned threads, uint64_t *result, struct snug_error *e) {
    struct snug_open_options o = { .threads = threads };
    struct snug_generate_options g = { .prompt = prompt, .prompt_bytes = strlen(prompt), .max_tokens = 4, .n_ctx = 64,
                                       .ignore_eos = true, .sampling = { .set = SNUG_SET_TEMP } };
    struct snug_generate_result r;
    struct snug_model *m;
    int rc = snug_open(path, &o, &m, e);
    if (rc) return rc;
    rc = snug_generate(m, &g, &r, e);
    if (!rc) {
        *result = hash_bytes(HASH_START, r.tokens, r.generated_tokens * sizeof *r.tokens);
        snug_generate_free(&r);
    }
    snug_close(m);
    return rc;
}

static int generate_dir(uint64_t *result, struct snug_error *e) { return generate_from(at.dir, 1, result, e); }
static int generate_gguf(uint64_t *result, struct snug_error *e) { return generate_from(at.gguf, 1, result, e); }
static int generate_threads(uint64_t *result, struct snug_error *e) { return generate_from(at.gguf, 2, result, e); }

/* To a size, or by a recipe where one is named. */
static int quantize_from(const char *model, const char *out, unsigned threads, const char *recipe,
                         struct snug_error *e) {
    struct snug_quantize_options o = { .model = model, .out = out, .bits_per_weight = recipe ? 0 : 9, .type = recipe,
                                       .pure = recipe, .calib_rows = 1, .calib_length = 8, .threads = threads };
    struct snug_quantize_result r;
    int rc = snug_quantize(&o, &r, e);
    if (!rc) snug_quantize_free(&r);
    return rc;
}

static int quantize(uint64_t *result, struct snug_error *e) {
    return *result = 0, quantize_from(at.small, at.out, 1, NULL, e);
}
static int quantize_threads(uint64_t *result, struct snug_error *e) {
    return *result = 0, quantize_from(at.small, at.out, 2, NULL, e);
}
static int quantize_recipe(uint64_t *result, struct snug_error *e) {
    return *result = 0, quantize_from(at.gguf, at.out, 1, "Q4_0", e);
}
static int quantize_floats(uint64_t *result, struct snug_error *e) {
    return *result = 0, quantize_from(at.gguf, at.out, 1, NULL, e);
}

static int convert(const char *in, const char *out, struct snug_error *e) {
    struct snug_convert_options o = { .in = in, .out = out, .threads = 1 };
    struct snug_convert_result r;
    int rc = snug_convert(&o, &r, e);
    if (!rc) snug_free(r.file);
    return rc;
}

static int dir_to_gguf(uint64_t *result, struct snug_error *e) { return *result = 0, convert(at.dir, at.out, e); }
static int gguf_to_dir(uint64_t *result, struct snug_error *e) { return *result = 0, convert(at.gguf, at.out_dir, e); }

struct scenario {
    const char *name;
    int (*run)(uint64_t *result, struct snug_error *e);
    const char *output; /* file or directory that appears, NULL: none */
    bool calls;         /* system calls fail too, not allocations alone */
    bool forks;         /* with a model that is given: a long run, on one thread */
};
static const struct scenario scenarios[] = {
    { "generate from a directory", generate_dir, NULL, true, false },
    { "generate from GGUF", generate_gguf, NULL, true, false },
    { "generate on two threads", generate_threads, NULL, false, false },
    { "quantize to a size", quantize, at.out, true, true },
    { "quantize on two threads", quantize_threads, at.out, false, false },
    { "quantize by a recipe", quantize_recipe, at.out, true, true },
    { "try every type", quantize_floats, at.out, false, true },
    { "directory to GGUF", dir_to_gguf, at.out, true, false },
    { "GGUF to directory", gguf_to_dir, at.out_dir, true, false },
};

/* --- Trying --- */

static int n_tries, n_without;

struct outcome { int rc; uint64_t result, output; struct snug_error e; };

static struct outcome run(const struct scenario *s) {
    struct outcome o = { 0 };
    long blocks = live_blocks, files = live_files, maps = live_maps;
    for (int c = 0; c < CALL_COUNT; c++) seen[c] = 0;
    o.rc = s->run(&o.result, &o.e);
    chosen.at = 0;
    if (live_blocks != blocks || live_files != files || live_maps != maps) {
        printf("%s: %ld blocks, %ld files, %ld mappings are left\n", s->name, live_blocks - blocks, live_files - files,
               live_maps - maps);
        n_failed++;
    }
    o.output = s->output ? hash_output(s->output) : 0;
    return o;
}

static bool may_be_survived(void) { return chosen.how == SHORT || chosen.how == EINTR; }

static bool code_fits(int rc, enum call call, int how) {
    if (call == CALL_ALLOC) return rc == ERR_NO_MEMORY;
    return rc == (how == ENOSPC ? ERR_NO_SPACE : ERR_IO);
}

/* One call fails once. */
static void try_one(const struct scenario *s, const struct outcome *good, enum call call, long n, int how) {
    chosen.call = call;
    chosen.how = how;
    chosen.at = n;
    bool must_survive = may_be_survived();
    struct outcome o = run(s);
    const char *wrong = NULL;
    n_tries++;
    if (!o.rc) {
        if (o.result != good->result || o.output != good->output) wrong = "succeeds with another result";
        n_without += !must_survive;
    } else if (must_survive) {
        wrong = "is not tried again";
    } else if (!code_fits(o.rc, call, how)) {
        wrong = "ends with another error";
    } else if (o.output && o.output != good->output) {
        wrong = "leaves an output that is not whole";
    } else if (!*o.e.message) {
        wrong = "says nothing";
    }
    if (wrong) {
        printf("%s: %s %ld (%s): %s: %d %s\n", s->name, call_names[call], n,
               how == SHORT ? "short" : strerrorname_np(how), wrong, o.rc, o.e.message);
        n_failed++;
    }
}

/* What a failed run left must not harm the next one. */
static void try_after(const struct scenario *s, const struct outcome *good) {
    if (s->output && os_exists(s->output)) return; /* complete, only its name's durability failed */
    struct outcome o = run(s);
    if (o.rc || o.result != good->result || o.output != good->output) {
        printf("%s: the run after a failed one gives %d %s\n", s->name, o.rc, o.e.message);
        n_failed++;
    }
}

static void try_calls(const struct scenario *s, const struct outcome *good, enum call call, long n, long most) {
    static const int hows[CALL_COUNT][5] = {
        [CALL_ALLOC] = { ENOMEM }, [CALL_READ] = { SHORT, EINTR, EIO }, [CALL_WRITE] = { SHORT, EINTR, EIO, ENOSPC },
        [CALL_OTHER] = { EIO },
    };
    long tries = n < most ? n : most;
    for (long i = 0; i < tries; i++)
        for (const int *how = hows[call]; *how; how++) {
            try_one(s, good, call, place(i, n, tries), *how);
            if (i % 16 == 0) try_after(s, good);
            remove_outputs();
        }
}

static void end_child(const struct scenario *s, const struct outcome *o, bool leaks) {
    bool right = !leaks && (!o->rc || (o->rc == ERR_NO_MEMORY && *o->e.message && !o->output));
    if (!right)
        printf("%s: allocation %ld: %d %s\n", s->name, place(forked.begun - 1, forked.n, forked.tries), o->rc,
               o->e.message);
    fflush(stdout);
    _exit(!right ? WRONG : o->rc ? GAVE_UP : WENT_ON);
}

/* One run, and a child for each allocation that fails in it. */
static void try_forked(const struct scenario *s, const struct outcome *good, long n, long most) {
    int before = n_failed;
    long tries = n < most ? n : most;
    forked.went_on = NEW_ARRAY(long, (size_t)tries);
    forked.n = n;
    forked.tries = tries;
    struct outcome o = run(s);
    if (forked.in_child) end_child(s, &o, n_failed != before);
    if (o.rc || o.output != good->output || forked.begun != forked.tries) {
        printf("%s: the run that forks gives %d %s\n", s->name, o.rc, o.e.message);
        n_failed++;
    }
    n_tries += (int)(forked.tries - (long)forked.n_went_on);
    forked.tries = 0;
    remove_outputs();
    for (size_t i = 0; i < forked.n_went_on; i++) {
        try_one(s, good, CALL_ALLOC, forked.went_on[i], ENOMEM);
        remove_outputs();
    }
    mem_free(forked.went_on);
    memset(&forked, 0, sizeof forked);
}

static void try_scenario(const struct scenario *s, long most, bool forks) {
    struct outcome warm = run(s); /* what is found out once a process is found out here */
    remove_outputs();
    struct outcome good = run(s);
    long n[CALL_COUNT];
    for (int c = 0; c < CALL_COUNT; c++) n[c] = seen[c];
    remove_outputs();
    if (warm.rc || good.rc || warm.result != good.result || warm.output != good.output) {
        printf("%s: %d %s\n", s->name, good.rc, good.e.message);
        n_failed++;
        return;
    }
    printf("%s: %ld allocations, %ld reads, %ld writes, %ld other calls\n", s->name, n[CALL_ALLOC], n[CALL_READ],
           n[CALL_WRITE], n[CALL_OTHER]);
    n_tries = n_without = 0;
    if (forks) try_forked(s, &good, n[CALL_ALLOC], most);
    for (int c = forks; c < (s->calls ? CALL_COUNT : 1); c++) try_calls(s, &good, (enum call)c, n[c], most);
    printf("    %d tries, %d of them with the same result as without a failure\n", n_tries, n_without);
    fflush(stdout);
}

/* --- The model --- */

/* One block, 300 tokens: the corpus' tokenizer knows a few, the others have no text. */
static void make_model(void) {
    static const char config[] =
        "{\"model_type\": \"llama\", \"architectures\": [\"LlamaForCausalLM\"], \"hidden_size\": 32,"
        " \"intermediate_size\": 32, \"num_hidden_layers\": 1, \"num_attention_heads\": 2, \"num_key_value_heads\": 1,"
        " \"vocab_size\": 300, \"max_position_embeddings\": 64, \"rms_norm_eps\": 1e-5, \"rope_theta\": 10000.0,"
        " \"tie_word_embeddings\": false, \"torch_dtype\": \"float32\", \"hidden_act\": \"silu\"}";
    struct err e = { 0 };
    const char *root = getenv("SNUG_SOURCE");
    char from[600], to[600];
    snprintf(from, sizeof from, "%s/fuzz/corpus/tokenizer_json/smollm.json", root ? root : ".");
    snprintf(to, sizeof to, "%s/tokenizer.json", at.dir);
    char *text;
    size_t n;
    if (mkdir(at.dir, 0700) || os_read_file(from, 1 << 20, &text, &n, &e) || os_write_file(to, text, n, &e) ||
        hf_model_write(at.dir, config, 1, &e)) {
        printf("%s: %s\n", e.where, e.msg);
        exit(1);
    }
    mem_free(text);
}

int main(int argc, char **argv) {
    struct snug_error e;
    bool given = argc > 2;
    long most = argc < 2 || !strcmp(argv[1], "every") ? LONG_MAX : atol(argv[1]);
    if (!mkdtemp(scratch)) return 1;
    snprintf(at.gguf, sizeof at.gguf, "%s/model.gguf", scratch);
    snprintf(at.out, sizeof at.out, "%s/out.gguf", scratch);
    snprintf(at.out_dir, sizeof at.out_dir, "%s/out", scratch);
    snprintf(at.dir, sizeof at.dir, "%s/model", scratch);
    snprintf(at.small, sizeof at.small, "%s/%s", scratch, given ? "small.gguf" : "model.gguf");
    if (given) snprintf(at.dir, sizeof at.dir, "%s", argv[2]);
    else make_model();
    if (convert(at.dir, at.gguf, &e) || (given && quantize_from(at.gguf, at.small, 2, "IQ1_S", &e))) {
        printf("%s\n", e.message);
        return 1;
    }
    for (size_t i = 0; i < ARRAY_LEN(scenarios); i++) {
        const struct scenario *s = &scenarios[i];
        if (s->run == quantize_floats && !given) continue; /* what quantize_threads does there */
        try_scenario(s, most, given && s->forks);
    }
    remove_all(scratch);
    printf("%d problems\n", n_failed);
    return n_failed != 0;
}
