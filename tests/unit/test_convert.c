/* Containers: what comes out of GGUF -> directory -> GGUF and the other ways is compared with what went in, byte for
 * byte, and our GGUF of models/tiny with llama.cpp's files of the same model, key by key. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../assert_ok.h"
#include "../remove_all.h"
#include "base/num.h"
#include "format/safetensors.h"
#include "model/model.h"
#include "quant/convert.h"
#include "quant/export_hf_meta.h"
#include "quant/export_hf_tok.h"
#include "quant/measurement.h"
#include "runtime/vocab_file.h"

/* --- Places --- */

struct path { char p[512]; };
static char dir[] = "/tmp/snug-convert-XXXXXX";

static struct path in_repo(const char *name) {
    const char *root = getenv("SNUG_SOURCE");
    struct path out;
    snprintf(out.p, sizeof out.p, "%s/%s", root ? root : ".", name);
    return out;
}
static struct path scratch(const char *name) {
    struct path out;
    snprintf(out.p, sizeof out.p, "%s/%s", dir, name);
    return out;
}
static int make_dir(void **state) {
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}
static int remove_dir(void **state) {
    (void)state;
    remove_all(dir);
    return 0;
}
static int empty_dir(void **state) {
    (void)state;
    remove_all(dir);
    return mkdir(dir, 0700);
}

/* --- Converting --- */

static struct convert_result convert(const char *in, const char *out, enum qtype type) {
    struct convert_options o = { .in = in, .out = out, .type = type, .threads = 2 };
    struct convert_result r;
    struct err e = { 0 };
    assert_ok(convert_run(&o, &r, &e), &e);
    assert_string_equal(r.file, out);
    mem_free(r.file);
    return r;
}
static void check_refused(const struct convert_options *o, enum err_code want, const char *word) {
    struct convert_result r;
    struct err e = { 0 };
    char text[800];
    assert_int_equal(convert_run(o, &r, &e), want);
    err_format(&e, text, sizeof text);
    if (!strstr(text, word)) fail_msg("\"%s\" says nothing of \"%s\"", text, word);
    assert_null(r.file);
}

static struct tfile *open_file(const char *path) {
    struct tfile *f;
    struct err e = { 0 };
    assert_ok(tfile_open(path, 0, &f, &e), &e);
    return f;
}
/* Every tensor with its type, shape and bytes. */
static void assert_same_tensors(const struct tfile *a, const struct tfile *b) {
    assert_int_equal(a->n_tensors, b->n_tensors);
    for (size_t i = 0; i < a->n_tensors; i++) {
        const struct tfile_tensor *x = &a->tensors[i], *y = tfile_find(b, x->name);
        if (!y) fail_msg("%s is missing", x->name);
        assert_int_equal(x->type, y->type);
        assert_memory_equal(x->ne, y->ne, sizeof x->ne);
        assert_int_equal(x->bytes, y->bytes);
        assert_memory_equal(x->data, y->data, x->bytes);
    }
}
static void assert_same_paths(const char *a, const char *b) {
    struct os_map x, y;
    struct err e = { 0 };
    assert_ok(os_map_open(a, &x, &e), &e);
    assert_ok(os_map_open(b, &y, &e), &e);
    assert_int_equal(x.n, y.n);
    assert_memory_equal(x.p, y.p, x.n);
    os_map_close(&x);
    os_map_close(&y);
}

static const char *const families[] = { "llama",        "llama-mha",  "llama-rope3",   "llama-yarn",
                                        "llama-linear", "llama-bias", "llama-sharded", "mistral-nemo" };

/* Weights as they were, and hyper-parameters that rotate alike: the numbers of llama3 scaling may be others that mean
 * the same, so the angles are compared. */
static void directories_come_back_the_same(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(families); i++) {
        char name[64];
        snprintf(name, sizeof name, "tests/data/arch/%s", families[i]);
        struct path from = in_repo(name), gguf = scratch("x.gguf"), back = scratch("back");
        struct model *a, *b;
        struct err e = { 0 };
        convert(from.p, gguf.p, QTYPE_NONE);
        convert(gguf.p, back.p, QTYPE_NONE);
        assert_ok(model_open(from.p, false, &a, &e), &e);
        assert_ok(model_open(back.p, false, &b, &e), &e);
        assert_same_tensors(a->file, b->file);
        assert_int_equal(a->hp.float_type, b->hp.float_type);
        assert_int_equal(a->hp.bos, b->hp.bos);
        assert_int_equal(a->hp.eos, b->hp.eos);
        assert_int_equal(a->hp.n_ctx_train, b->hp.n_ctx_train);
        assert_true(a->hp.norm_eps == b->hp.norm_eps);
        assert_int_equal(a->hp.rope.scaling, b->hp.rope.scaling);
        assert_true(fabsf(a->hp.rope.attn_factor - b->hp.rope.attn_factor) < 1e-6f);
        float fa[64], fb[64];
        assert_in_range(a->hp.rope.n_rot, 2, 128);
        rope_inv_freq(&a->hp.rope, NULL, 0, fa);
        rope_inv_freq(&b->hp.rope, NULL, 0, fb);
        for (uint32_t k = 0; k < a->hp.rope.n_rot / 2; k++) assert_true(fabsf(fa[k] - fb[k]) <= 1e-5f * fa[k]);
        model_close(a);
        model_close(b);
        empty_dir(NULL);
    }
}

/* Llama 3.1's own numbers come back as people write them. Base and divisors: its config.json. */
static void llama3_scaling_is_found(void **state) {
    (void)state;
    struct rope_params r = { .base = 500000, .n_rot = 128, .scaling = ROPE_SCALE_LLAMA3, .factor = 8, .attn_factor = 1,
                             .original_ctx = 8192, .low_freq_factor = 1, .high_freq_factor = 4 };
    struct rope_params found = { .base = 500000, .n_rot = 128, .attn_factor = 1 };
    struct err e = { 0 };
    float divisors[64];
    rope_freq_divisors(&r, divisors);
    assert_ok(hf_meta_llama3(&found, divisors, &e), &e);
    assert_true(found.factor == 8 && found.low_freq_factor == 1 && found.high_freq_factor == 4);
    assert_int_equal(found.original_ctx, 8192);
    divisors[3] = 5; /* a pair that turns often is never scaled */
    assert_int_equal(hf_meta_llama3(&found, divisors, &e), ERR_UNSUPPORTED);
}

static void no_key_for_dynamic_scaling(void **state) {
    (void)state;
    struct path from = in_repo("tests/data/arch/llama-dynamic"), out = scratch("x.gguf");
    check_refused(&(struct convert_options){ .in = from.p, .out = out.p, .threads = 1 }, ERR_UNSUPPORTED, "dynamic");
    assert_false(os_exists(out.p));
}

/* --- Split and merge --- */

static void sets_are_merged_to_the_same_file(void **state) {
    (void)state;
    struct path from = in_repo("models/tiny"), whole = scratch("whole.gguf"), set = scratch("set.gguf");
    struct path merged = scratch("merged.gguf"), first = scratch("set-00001-of-00004.gguf");
    struct convert_result r = { 0 };
    struct err e = { 0 };
    convert(from.p, whole.p, QTYPE_NONE);
    struct convert_options o = { .in = whole.p, .out = set.p, .type = QTYPE_NONE, .split_max_size = 3500000,
                                 .threads = 1 };
    assert_ok(convert_run(&o, &r, &e), &e);
    /* 11.7 MB; behind the first, weights have 0.4 MB at most, so files are full to 3.1 of 3.5 MB at least: four. */
    assert_int_equal(r.n_files, 4);
    assert_string_equal(r.file, first.p);
    mem_free(r.file);
    uint64_t bytes = 0;
    for (unsigned i = 0; i < r.n_files; i++) {
        char name[64];
        struct os_map m;
        snprintf(name, sizeof name, "set-%05u-of-00004.gguf", i + 1);
        assert_ok(os_map_open(scratch(name).p, &m, &e), &e);
        assert_true(m.n <= o.split_max_size);
        bytes += m.n;
        os_map_close(&m);
    }
    assert_int_equal(bytes, r.file_bytes);
    convert(scratch("set-00003-of-00004.gguf").p, merged.p, QTYPE_NONE);
    assert_same_paths(whole.p, merged.p);
    check_refused(&o, ERR_EXISTS, "set-00001-of-00004.gguf");
    o.force = true;
    assert_ok(convert_run(&o, &r, &e), &e);
    mem_free(r.file);
    empty_dir(NULL);
}

/* Quantized files of any mix and any keys go through as they are; so do architectures that no model file knows. */
static void stored_is_untouched(void **state) {
    (void)state;
    const float x[32] = { 1 };
    struct path from = scratch("odd.gguf"), out = scratch("copy.gguf");
    struct gguf_writer *w;
    struct tstream *s;
    struct err e = { 0 };
    assert_ok(gguf_writer_new(&w, &e), &e);
    gguf_writer_str(w, "general.architecture", STR("of-tomorrow"));
    gguf_writer_f32(w, "snug.predicted_kld", 0.25f);
    assert_ok(gguf_writer_tensor(w, "a.weight", QTYPE_F32, 1, (uint64_t[]){ 32 }, &e), &e);
    assert_ok(gguf_writer_open(w, from.p, NULL, &s, &e), &e);
    assert_ok(tstream_put(s, x, sizeof x, &e), &e);
    assert_ok(tstream_commit(s, &e), &e);
    gguf_writer_free(w);
    convert(from.p, out.p, QTYPE_NONE);
    assert_same_paths(from.p, out.p);
    empty_dir(NULL);
}

/* --- Types --- */

static void types_are_as_asked(void **state) {
    (void)state;
    static const struct { enum qtype type; uint32_t file_type; } cases[] = {
        { QTYPE_F32, 0 }, { QTYPE_F16, 1 }, { QTYPE_Q8_0, 7 }, { QTYPE_BF16, 32 } }; /* llama.cpp's numbers */
    struct path from = in_repo("tests/data/arch/llama"), out = scratch("x.gguf"), again = scratch("y.gguf");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint32_t file_type = 99;
        struct err e = { 0 };
        convert(from.p, out.p, cases[i].type);
        struct tfile *f = open_file(out.p);
        for (size_t k = 0; k < f->n_tensors; k++)
            assert_int_equal(f->tensors[k].type, f->tensors[k].n_dims > 1 ? cases[i].type : QTYPE_F32);
        assert_ok(gguf_get_u32(f->gguf, "general.file_type", &file_type, NULL, &e), &e);
        assert_int_equal(file_type, cases[i].file_type);
        tfile_close(f);
        convert(out.p, again.p, cases[i].type); /* through the model once more: nothing changes */
        assert_same_paths(out.p, again.p);
        empty_dir(NULL);
    }
}

/* What an F32 file holds of bf16 weights is exact, so it gives them back. */
static void wider_types_lose_nothing(void **state) {
    (void)state;
    struct path from = in_repo("tests/data/arch/llama"), wide = scratch("wide"), gguf = scratch("x.gguf");
    struct path back = scratch("back");
    convert(from.p, wide.p, QTYPE_F32);
    convert(wide.p, gguf.p, QTYPE_NONE);
    convert(gguf.p, back.p, QTYPE_BF16);
    struct tfile *a = open_file(from.p), *b = open_file(back.p), *c = open_file(wide.p);
    assert_same_tensors(a, b);
    const char *dtype = "";
    struct err e = { 0 };
    assert_ok(hf_config_str(c->config, "dtype", &dtype, NULL, &e), &e);
    assert_string_equal(dtype, "float32");
    tfile_close(a);
    tfile_close(b);
    tfile_close(c);
    empty_dir(NULL);
}

/* The directory of arch/llama with its first norm and the second row of block 0's v_proj changed. */
static void damaged_copy(const char *to, float norm, float weight) {
    struct tfile *f = open_file(in_repo("tests/data/arch/llama").p);
    struct safetensors_writer *w;
    struct tstream *s;
    struct err e = { 0 };
    char *text;
    size_t n;
    struct path config = in_repo("tests/data/arch/llama/config.json");
    assert_ok(os_make_dir(to, &e), &e);
    assert_ok(os_read_file(config.p, 1 << 20, &text, &n, &e), &e);
    char *path = os_path_join(to, "config.json");
    assert_ok(os_write_file(path, text, n, &e), &e);
    mem_free(path);
    mem_free(text);
    assert_ok(safetensors_writer_new(&w, &e), &e);
    for (size_t i = 0; i < f->n_tensors; i++) {
        const struct tfile_tensor *t = &f->tensors[i];
        assert_ok(safetensors_writer_tensor(w, t->name, t->type, t->n_dims, t->ne, &e), &e);
    }
    assert_ok(safetensors_writer_open(w, to, &s, &e), &e);
    for (size_t i = 0; i < f->n_tensors; i++) {
        const struct tfile_tensor *t = &f->tensors[i];
        uint16_t *x = mem_alloc(t->bytes, 1);
        memcpy(x, t->data, t->bytes);
        if (strstr(t->name, "layers.0.self_attn.v_proj")) x[t->ne[0] + 7] = bf16_from_f32(weight);
        if (strstr(t->name, "model.norm")) x[1] = bf16_from_f32(norm);
        assert_ok(tstream_put(s, x, t->bytes, &e), &e);
        mem_free(x);
    }
    assert_ok(tstream_commit(s, &e), &e);
    safetensors_writer_free(w);
    tfile_close(f);
}

static void values_out_of_reach_are_named(void **state) {
    (void)state;
    struct path big = scratch("big"), nan_norm = scratch("nan"), inf = scratch("inf"), out = scratch("x.gguf");
    struct path out_dir = scratch("out");
    damaged_copy(big.p, 1, 70000); /* half's largest number is 65504 */
    damaged_copy(nan_norm.p, NAN, 1);
    damaged_copy(inf.p, 1, INFINITY);
    const struct { const char *in, *out, *word; enum qtype type; enum err_code rc; } cases[] = {
        { big.p, out.p, "blk.0.attn_v.weight", QTYPE_F16, ERR_UNSUPPORTED },
        { big.p, out.p, "blk.0.attn_v.weight", QTYPE_Q8_0, ERR_UNSUPPORTED },
        { big.p, out_dir.p, "layers.0.self_attn.v_proj.weight", QTYPE_F16, ERR_UNSUPPORTED },
        { nan_norm.p, out.p, "output_norm.weight", QTYPE_F16, ERR_FORMAT },
        { inf.p, out.p, "blk.0.attn_v.weight", QTYPE_NONE, ERR_FORMAT },
        { inf.p, out_dir.p, "layers.0.self_attn.v_proj.weight", QTYPE_NONE, ERR_FORMAT },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        check_refused(&(struct convert_options){ .in = cases[i].in, .out = cases[i].out, .type = cases[i].type,
                                                 .threads = 2 }, cases[i].rc, cases[i].word);
        assert_false(os_exists(cases[i].out)); /* no file, no directory, nothing partial */
        char part[600];
        snprintf(part, sizeof part, "%s.part", cases[i].out);
        assert_false(os_exists(part));
    }
    convert(big.p, out.p, QTYPE_BF16);
    empty_dir(NULL);
}

/* --- Directories that are there --- */

static void directories_need_force(void **state) {
    (void)state;
    struct path from = in_repo("tests/data/arch/llama-sharded"), to = scratch("to"), note = scratch("to/note.txt");
    struct err e = { 0 };
    struct convert_result r = { 0 };
    struct convert_options o = { .in = from.p, .out = to.p, .type = QTYPE_NONE, .split_max_size = 60000, .threads = 1 };
    assert_ok(os_make_dir(to.p, &e), &e);
    assert_ok(os_write_file(note.p, "mine", 4, &e), &e);
    check_refused(&o, ERR_EXISTS, "--force");
    o.force = true;
    assert_ok(convert_run(&o, &r, &e), &e);
    assert_in_range(r.n_files, 2, 9);
    mem_free(r.file);
    assert_true(os_exists(scratch("to/model.safetensors.index.json").p));
    /* One file now: the index and the shards would be read in its place, so they are gone. What is not ours stays. */
    o.split_max_size = 0;
    assert_ok(convert_run(&o, &r, &e), &e);
    assert_int_equal(r.n_files, 1);
    mem_free(r.file);
    assert_false(os_exists(scratch("to/model.safetensors.index.json").p));
    assert_true(os_exists(note.p));
    struct tfile *a = open_file(from.p), *b = open_file(to.p);
    assert_same_tensors(a, b);
    tfile_close(a);
    tfile_close(b);
    o.type = QTYPE_Q8_0;
    check_refused(&o, ERR_USAGE, "bf16");
    check_refused(&(struct convert_options){ .in = from.p, .out = note.p, .threads = 1 }, ERR_EXISTS, "note.txt");
    empty_dir(NULL);
}

static bool stop(void *user, const char *what, double done, double total) {
    (void)what;
    (void)total;
    return done < *(double *)user;
}
static void interrupted_work_leaves_nothing(void **state) {
    (void)state;
    struct path from = in_repo("tests/data/arch/llama"), gguf = scratch("x.gguf"), to = scratch("to");
    double limit = 100000;
    struct convert_options o = { .in = from.p, .out = gguf.p, .type = QTYPE_NONE, .threads = 1,
                                 .progress = { stop, &limit } };
    char **names;
    size_t n;
    check_refused(&o, ERR_INTERRUPTED, "interrupted");
    o.out = to.p;
    check_refused(&o, ERR_INTERRUPTED, "interrupted");
    struct err e = { 0 };
    assert_ok(os_list_dir(dir, &names, &n, &e), &e);
    assert_int_equal(n, 0);
    mem_free(names);
}

/* --- Kills --- */

/* Names in the scratch directory that begin so. */
static size_t count_files(const char *prefix) {
    char **names;
    size_t n, found = 0;
    struct err e = { 0 };
    assert_ok(os_list_dir(dir, &names, &n, &e), &e);
    for (size_t i = 0; i < n; i++) {
        found += !strncmp(names[i], prefix, strlen(prefix));
        mem_free(names[i]);
    }
    mem_free(names);
    return found;
}

/* Converts in a process of its own that is killed after so long, 0: never. false if it was too slow for that. */
static bool convert_and_kill(const struct convert_options *o, uint64_t ns) {
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        struct convert_result r;
        _exit(convert_run(o, &r, NULL) ? 1 : 0);
    }
    int status;
    if (ns) {
        usleep((useconds_t)(ns / 1000));
        kill(pid, SIGKILL);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status)) return false;
    assert_int_equal(WEXITSTATUS(status), 0);
    return true;
}

/* Kills at moments spread over the time that a conversion takes. Afterwards the output is not there, or is whole: it
 * opens, with the tensors of one that nobody killed. The next conversion needs no force, and leaves nothing else. */
static void kill_conversions(struct convert_options o, size_t n_files) {
    size_t n = strlen(o.out);
    bool gguf = n > 5 && !strcmp(o.out + n - 5, ".gguf");
    struct path good = scratch(gguf ? "good.gguf" : "good"), out = scratch(o.out);
    struct convert_options undisturbed = o;
    enum { KILLS = 12 };
    char *opened = mem_strdup(out.p);
    if (o.split_max_size) { /* a set opens by its first file */
        char name[64];
        snprintf(name, sizeof name, "%.*s-00001-of-%05zu.gguf", (int)(n - 5), o.out, n_files);
        mem_free(opened);
        opened = mem_strdup(scratch(name).p);
    }
    o.out = out.p;
    undisturbed.out = good.p;
    undisturbed.split_max_size = 0;
    uint64_t start = os_now_ns();
    assert_true(convert_and_kill(&undisturbed, 0));
    uint64_t whole = os_now_ns() - start;
    struct tfile *want = open_file(good.p);
    unsigned done = 0;
    for (int i = 0; i < KILLS; i++) {
        done += convert_and_kill(&o, whole * (uint64_t)(i + 1) / KILLS);
        if (!os_exists(opened)) continue;
        if (os_is_dir(opened) && !os_exists(scratch("out/config.json").p)) continue; /* files are moving in */
        struct tfile *got = open_file(opened);
        assert_same_tensors(want, got);
        tfile_close(got);
        for (size_t f = 1; f <= n_files; f++) {
            char name[64];
            snprintf(name, sizeof name, "out-%05zu-of-%05zu.gguf", f, n_files);
            remove_all(scratch(name).p);
        }
        remove_all(out.p);
    }
    if (!os_exists(opened)) assert_true(convert_and_kill(&o, 0));
    struct tfile *got = open_file(opened);
    assert_same_tensors(want, got);
    tfile_close(got);
    tfile_close(want);
    assert_int_equal(count_files("out"), n_files);
    mem_free(opened);
    printf("%u of %d were faster than their kill\n", done, (int)KILLS);
    empty_dir(NULL);
}

static void killed_conversions_leave_all_or_nothing(void **state) {
    (void)state;
    struct path from = in_repo("models/tiny");
    struct convert_options o = { .in = from.p, .out = "out.gguf", .type = QTYPE_NONE, .threads = 1 };
    kill_conversions(o, 1);
    o.split_max_size = 3000000;
    struct convert_result r;
    struct path set = scratch("s.gguf");
    struct convert_options counted = o;
    counted.out = set.p;
    assert_int_equal(convert_run(&counted, &r, NULL), ERR_NONE);
    mem_free(r.file);
    empty_dir(NULL);
    kill_conversions(o, r.n_files);
    o.split_max_size = 0;
    o.out = "out";
    kill_conversions(o, 1);
}

static void put_file(const char *name) {
    struct err e = { 0 };
    assert_ok(os_write_file(scratch(name).p, "old", 3, &e), &e);
}

/* What kills leave in the worst places, made by hand. */
static void leftovers_are_taken_over(void **state) {
    (void)state;
    struct path from = in_repo("tests/data/arch/llama"), gguf = scratch("x.gguf"), to = scratch("to");
    put_file("x.gguf.part");
    put_file("x-00002-of-00007.gguf.part");
    put_file("x-00001-of-00003.gguf.part"); /* the second had its name already, the first one not */
    put_file("x-00002-of-00003.gguf");
    put_file("x-00002-of-00004.gguf");      /* no leftover: nothing says that its set was never complete */
    put_file("x-other.gguf.part");
    convert(from.p, gguf.p, QTYPE_NONE);
    assert_false(os_exists(scratch("x-00002-of-00003.gguf").p));
    assert_true(os_exists(scratch("x-00002-of-00004.gguf").p));
    assert_true(os_exists(scratch("x-other.gguf.part").p));
    assert_int_equal(count_files("x"), 3);

    /* A directory: killed while it was written, and while its files moved into one that was there. */
    struct err e = { 0 };
    assert_ok(os_make_dir(scratch("to.part").p, &e), &e);
    put_file("to.part/model-00001-of-00009.safetensors");
    put_file("to.part/model.safetensors.part");
    convert(from.p, to.p, QTYPE_NONE);
    assert_int_equal(count_files("to"), 1);
    assert_false(os_exists(scratch("to/model-00001-of-00009.safetensors").p));
    remove(scratch("to/config.json").p);
    struct convert_options o = { .in = from.p, .out = to.p, .type = QTYPE_NONE, .threads = 1 };
    check_refused(&o, ERR_EXISTS, "--force"); /* a directory without a model, but not our doing */
    assert_ok(os_make_dir(scratch("to/convert.part").p, &e), &e);
    put_file("to/convert.part/config.json");
    convert(from.p, to.p, QTYPE_NONE);
    assert_false(os_exists(scratch("to/convert.part").p));
    struct tfile *a = open_file(from.p), *b = open_file(to.p);
    assert_same_tensors(a, b);
    tfile_close(a);
    tfile_close(b);
    empty_dir(NULL);
}

/* An old model stays as it is until the new one is complete. */
static void replacing_keeps_the_old_until_the_end(void **state) {
    (void)state;
    struct path from = in_repo("tests/data/arch/llama"), other = in_repo("tests/data/arch/llama-mha");
    struct path to = scratch("to");
    double limit = 50000;
    convert(other.p, to.p, QTYPE_NONE);
    struct convert_options o = { .in = from.p, .out = to.p, .type = QTYPE_NONE, .threads = 1, .force = true,
                                 .progress = { stop, &limit } };
    check_refused(&o, ERR_INTERRUPTED, "interrupted");
    struct tfile *a = open_file(other.p), *b = open_file(to.p);
    assert_same_tensors(a, b);
    tfile_close(a);
    tfile_close(b);
    assert_false(os_exists(scratch("to/convert.part").p));
    empty_dir(NULL);
}

/* A measurement of a directory serves the GGUF made of it: both hash alike, permuted rows and all. */
static void containers_hash_alike(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(families); i++) {
        char name[64];
        snprintf(name, sizeof name, "tests/data/arch/%s", families[i]);
        struct path from = in_repo(name), gguf = scratch("h.gguf");
        struct model *a, *b;
        struct err e = { 0 };
        convert(from.p, gguf.p, QTYPE_NONE);
        assert_ok(model_open(from.p, false, &a, &e), &e);
        assert_ok(model_open(gguf.p, false, &b, &e), &e);
        uint64_t hash_a, hash_b;
        assert_ok(measurement_hash_model(a, &hash_a, &e), &e);
        assert_ok(measurement_hash_model(b, &hash_b, &e), &e);
        assert_true(hash_a == hash_b);
        model_close(a);
        model_close(b);
        empty_dir(NULL);
    }
}

/* --- Plain rounding --- */

/* Q8_0 by plain rounding, as llama.cpp's converter writes it: the largest magnitude of 32 weights becomes 127, and each
 * weight the nearest multiple of the scale. */
static void check_q8_rows(const struct weight *from, const struct tfile_tensor *to) {
    float *row = mem_alloc(from->ne[0], sizeof *row);
    const uint8_t *at = to->data;
    for (uint64_t r = 0; r < from->ne[1]; r++) {
        model_read_rows(from, r, 1, row);
        for (uint64_t b = 0; b < from->ne[0]; b += 32, at += 34) {
            float largest = 0;
            for (int j = 0; j < 32; j++) largest = fmaxf(largest, fabsf(row[b + j]));
            uint16_t half = f16_from_f32(largest / 127);
            float scale = f32_from_f16(half);
            assert_memory_equal(at, &half, 2);
            for (int j = 0; j < 32; j++)
                assert_true(fabsf(row[b + j] - scale * (float)(int8_t)at[2 + j]) <= 0.50001f * scale ||
                            abs((int8_t)at[2 + j]) == 127);
        }
    }
    mem_free(row);
}

static void q8_0_is_rounded_plainly(void **state) {
    (void)state;
    struct path from = in_repo("tests/data/arch/llama"), out = scratch("q8.gguf");
    convert(from.p, out.p, QTYPE_Q8_0);
    struct model *m;
    struct err e = { 0 };
    assert_ok(model_open(from.p, false, &m, &e), &e);
    struct tfile *f = open_file(out.p);
    unsigned n = 0;
    for (uint32_t i = 0; i < m->n_weights; i++) {
        const struct tfile_tensor *t = tfile_find(f, m->weights[i].name);
        assert_non_null(t);
        if (t->type != QTYPE_Q8_0) continue;
        check_q8_rows(&m->weights[i], t);
        n++;
    }
    assert_int_equal(n, 2 + 7 * 2); /* embedding, head, two blocks */
    tfile_close(f);
    model_close(m);
    empty_dir(NULL);
}

/* --- Tokenizers --- */

static struct span span_of(const struct buf *b) { return (struct span){ (const uint8_t *)b->p, b->n }; }

/* From GGUF to tokenizer.json and back: every piece, merge and flag. Real files, of both kinds. */
static void check_tokenizer(const struct vocab *v) {
    struct buf json = { 0 }, config_text = { 0 };
    struct hf_config *config;
    struct hf_tokenizer *t;
    struct vocab back;
    struct err e = { 0 };
    char why[200];
    assert_ok(hf_tok_json(v, &json, &e), &e);
    assert_ok(hf_tok_config(v, 100, &config_text, &e), &e);
    assert_ok(hf_config_parse(span_of(&config_text), "config", &config, &e), &e);
    assert_ok(hf_tokenizer_parse(span_of(&json), config, &t, &e), &e);
    assert_ok(vocab_from_hf(t, &(struct vocab_hints){ v->n, -1, -1, -1 }, &back, &e), &e);
    if (!vocab_same(v, &back, why, sizeof why)) fail_msg("%s", why);
    assert_string_equal(v->pre, back.pre);
    assert_int_equal(v->n_merges, back.n_merges);
    for (uint32_t i = 0; i < v->n_merges; i++) assert_true(str_eq(v->merge[i], back.merge[i]));
    for (uint32_t i = 0; i < v->n && v->score; i++)
        if (v->kind[i] == TOKEN_NORMAL) assert_true(v->score[i] == back.score[i]);
    assert_int_equal(v->add_bos, back.add_bos);
    assert_int_equal(v->add_eos, back.add_eos);
    assert_int_equal(v->ignore_merges, back.ignore_merges);
    assert_int_equal(v->nfc, back.nfc);
    assert_int_equal(v->add_space_prefix, back.add_space_prefix);
    assert_int_equal(v->prefix_space_first_only, back.prefix_space_first_only);
    vocab_fini(&back);
    hf_tokenizer_close(t);
    hf_config_close(config);
    buf_fini(&json);
    buf_fini(&config_text);
}

/* What tokenizer.json is not written for: readers would tokenize differently. */
static void some_tokenizers_are_refused(void **state) {
    (void)state;
    struct vocab unigram = { .model = VOCAB_UNIGRAM }, replacing = { .model = VOCAB_SPM, .charsmap = STR("x") };
    struct vocab *const refused[] = { &unigram, &replacing };
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        struct buf json = { 0 };
        struct err e = { 0 };
        assert_int_equal(hf_tok_json(refused[i], &json, &e), ERR_UNSUPPORTED);
        assert_non_null(strstr(e.msg, i ? "replaces" : "unigram"));
        buf_fini(&json);
    }
}

static void tokenizers_come_back(void **state) {
    (void)state;
    const char *root = getenv("SNUG_SHARED");
    const struct { const char *name; uint32_t n_vocab; } cases[] = {
        { "llama2", 32000 }, { "mistral_v1", 32000 }, { "mistral_v3", 32768 }, { "llama3_1", 128256 } };
    struct path tiny = in_repo("models/tiny");
    struct vocab v;
    struct err e = { 0 };
    struct tfile *f = open_file(tiny.p);
    assert_ok(vocab_from_file(f, &v, &e), &e);
    check_tokenizer(&v);
    vocab_fini(&v);
    tfile_close(f);
    if (!root) printf("SKIPPED PART: SNUG_SHARED is not set: tokenizers of Llama 2 and 3 are not checked\n");
    for (size_t i = 0; root && i < ARRAY_LEN(cases); i++) {
        char path[600];
        struct hf_tokenizer *t;
        struct hf_config *c;
        snprintf(path, sizeof path, "%s/tokenizers/%s/tokenizer_config.json", root, cases[i].name);
        assert_ok(hf_config_open(path, &c, &e), &e);
        *strrchr(path, '/') = 0;
        assert_ok(hf_tokenizer_open(path, c, &t, &e), &e);
        assert_ok(vocab_from_hf(t, &(struct vocab_hints){ cases[i].n_vocab, -1, -1, -1 }, &v, &e), &e);
        check_tokenizer(&v);
        vocab_fini(&v);
        hf_tokenizer_close(t);
        hf_config_close(c);
    }
}

/* Metadata that only snug knows go from file to file, those that describe the old weights do not. */
static void flags_of_the_tokenizer_stay(void **state) {
    (void)state;
    struct path from = in_repo("models/tiny"), a = scratch("a.gguf"), b = scratch("b.gguf"), c = scratch("c.gguf");
    struct gguf_writer *w;
    struct tstream *s;
    struct err e = { 0 };
    convert(from.p, a.p, QTYPE_NONE);
    struct tfile *f = open_file(a.p);
    assert_ok(gguf_writer_new(&w, &e), &e);
    for (size_t i = 0; i < f->gguf->n_kv; i++) gguf_writer_copy(w, &f->gguf->kv[i]);
    gguf_writer_bool(w, "snug.tokenizer.ignore_merges", false);
    gguf_writer_f32(w, "snug.predicted_kld", 0.25f);
    gguf_writer_str(w, "quantize.imatrix.file", STR("x"));
    for (size_t i = 0; i < f->n_tensors; i++) {
        const struct tfile_tensor *t = &f->tensors[i];
        assert_ok(gguf_writer_tensor(w, t->name, t->type, t->n_dims, t->ne, &e), &e);
    }
    assert_ok(gguf_writer_open(w, b.p, NULL, &s, &e), &e);
    for (size_t i = 0; i < f->n_tensors; i++)
        assert_ok(tstream_put(s, f->tensors[i].data, f->tensors[i].bytes, &e), &e);
    assert_ok(tstream_commit(s, &e), &e);
    gguf_writer_free(w);
    tfile_close(f);
    convert(b.p, c.p, QTYPE_Q8_0);
    f = open_file(c.p);
    bool flag = true;
    assert_ok(gguf_get_bool(f->gguf, "snug.tokenizer.ignore_merges", &flag, NULL, &e), &e);
    assert_false(flag);
    assert_null(gguf_find(f->gguf, "snug.predicted_kld"));
    assert_null(gguf_find(f->gguf, "quantize.imatrix.file"));
    tfile_close(f);
    empty_dir(NULL);
}

/* --- Against llama.cpp --- */

/* Keys that may differ: ours says more, or says it of other weights. */
static bool may_differ(const char *key) {
    static const char *const keys[] = {
        "general.file_type",            /* theirs is Q6_K */
        "general.type",                 /* theirs was converted before the key was usual */
        "llama.attention.key_length",   /* the default, so theirs leaves it out */
        "llama.attention.value_length", /* likewise */
        "tokenizer.ggml.add_eos_token", /* false is the default */
    };
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (!strcmp(key, keys[i])) return true;
    return !strncmp(key, "quantize.imatrix.", 17);
}

static void same_as_llama_cpp(void **state) {
    (void)state;
    const char *root = getenv("SNUG_SHARED");
    if (!root) {
        printf("SNUG_SHARED is not set: llama.cpp's file of models/tiny is not compared\n");
        skip();
    }
    char path[600];
    snprintf(path, sizeof path, "%s/models/tiny/llamacpp/Q6_K.gguf", root);
    struct path from = in_repo("models/tiny"), out = scratch("x.gguf");
    convert(from.p, out.p, QTYPE_F32);
    struct tfile *a = open_file(out.p), *b = open_file(path);
    size_t n_same = 0;
    for (size_t i = 0; i < b->gguf->n_kv; i++) {
        const struct gguf_kv *theirs = &b->gguf->kv[i], *ours = gguf_find(a->gguf, theirs->key);
        if (may_differ(theirs->key)) continue;
        if (!ours) fail_msg("%s is missing", theirs->key);
        assert_int_equal(ours->type, theirs->type);
        assert_int_equal(ours->value.elem, theirs->value.elem);
        assert_int_equal(ours->value.bytes, theirs->value.bytes);
        assert_memory_equal(ours->value.p, theirs->value.p, theirs->value.bytes);
        n_same++;
    }
    for (size_t i = 0; i < a->gguf->n_kv; i++)
        if (!may_differ(a->gguf->kv[i].key) && !gguf_find(b->gguf, a->gguf->kv[i].key))
            fail_msg("%s is one too many", a->gguf->kv[i].key);
    assert_int_equal(n_same, 21); /* 26 of theirs less imatrix's four and file_type */
    assert_int_equal(a->n_tensors, b->n_tensors);
    for (size_t i = 0; i < b->n_tensors; i++) {
        const struct tfile_tensor *theirs = &b->tensors[i], *ours = tfile_find(a, theirs->name);
        if (!ours) fail_msg("%s is missing", theirs->name);
        assert_memory_equal(ours->ne, theirs->ne, sizeof ours->ne);
        /* Rows of q and k in another order would be another matrix: 6 bits a weight leave an error of 2 %. */
        double diff = 0, sum = 0;
        uint64_t n = tfile_tensor_weights(theirs);
        float *x = mem_alloc(n, sizeof *x);
        qtype_info(theirs->type)->decode(theirs->data, x, n);
        for (uint64_t k = 0; k < n; k++) {
            double y = ((const float *)(const void *)ours->data)[k];
            diff += (x[k] - y) * (x[k] - y);
            sum += y * y;
        }
        if (!(diff <= 0.03 * 0.03 * sum)) fail_msg("%s differs", theirs->name);
        mem_free(x);
    }
    tfile_close(a);
    tfile_close(b);
    empty_dir(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(directories_come_back_the_same), cmocka_unit_test(llama3_scaling_is_found),
        cmocka_unit_test(no_key_for_dynamic_scaling),     cmocka_unit_test(sets_are_merged_to_the_same_file),
        cmocka_unit_test(stored_is_untouched),            cmocka_unit_test(types_are_as_asked),
        cmocka_unit_test(wider_types_lose_nothing),       cmocka_unit_test(values_out_of_reach_are_named),
        cmocka_unit_test(directories_need_force),         cmocka_unit_test(interrupted_work_leaves_nothing),
        cmocka_unit_test(some_tokenizers_are_refused),
        cmocka_unit_test(tokenizers_come_back),           cmocka_unit_test(flags_of_the_tokenizer_stay),
        cmocka_unit_test(killed_conversions_leave_all_or_nothing), cmocka_unit_test(leftovers_are_taken_over),
        cmocka_unit_test(containers_hash_alike),
        cmocka_unit_test(replacing_keeps_the_old_until_the_end),   cmocka_unit_test(q8_0_is_rounded_plainly),
        cmocka_unit_test(same_as_llama_cpp),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
